"""Many ask at once: who waits for whom, who is released, and who gets what."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.scenarios.composed import requested, settled, until
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import ClientResponse, FakeClock, FieldsLike, Hold, Received, Reply, ScriptedOrigin

FRESH = {"Cache-Control": "max-age=60"}
HERD = 20


async def herd(
    edge: RunningEdge, hold: Hold, target: str = "/a", count: int = HERD, fields: FieldsLike = ()
) -> list[asyncio.Task[ClientResponse]]:
    """Let ``count`` clients ask for ``target``, all of them before the origin passes ``hold``."""
    before = edge.parts.counters.requests
    clients = [asyncio.create_task(edge.fetch(target, fields=fields)) for _ in range(count)]
    await hold.reached()
    await requested(edge, before + count)
    return clients


def numbered(request: Received, **reply: object) -> Reply:
    """An answer that tells which request it answers."""
    return Reply(body=f"answer {request.number}".encode(), **reply)  # type: ignore[arg-type]


def bodies(responses: list[ClientResponse]) -> list[bytes]:
    assert all(response.complete for response in responses)
    return sorted(response.body for response in responses)


# One answer for all.


async def test_a_herd_costs_one_request(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: numbered(request, fields=FRESH, hold=hold)
    clients = await herd(edge, hold)
    hold.release()
    responses = await asyncio.gather(*clients)
    assert bodies(responses) == [b"answer 1"] * HERD
    assert origin.asked() == 1
    told = Counter(response.cache_status for response in responses)
    assert told == {"edgecache; fwd=uri-miss; collapsed": HERD - 1, "edgecache; fwd=uri-miss; stored": 1}
    assert edge.parts.counters.collapsed == HERD - 1
    assert edge.parts.memory.statistics().responses == 1


async def test_followers_read_while_the_origin_still_sends(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, b"early late", hold_at={5: hold})
    clients = [await edge.download("/a") for _ in range(5)]
    await hold.reached()
    assert [await client.read(5) for client in clients] == [b"early"] * 5
    late = await edge.download("/a")
    assert await late.read(5) == b"early"
    hold.release()
    assert bodies([await client.rest() for client in [*clients, late]]) == [b"early late"] * 6
    assert origin.asked() == 1


async def test_a_stale_response_is_validated_once(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    hold = Hold()
    validated = {**FRESH, "ETag": '"1"'}
    origin.script = lambda request: Reply(200, validated, b"stored")
    await edge.fetch("/a")
    clock.advance(61)
    origin.script = lambda request: Reply(304, validated, hold=hold)
    clients = await herd(edge, hold)
    hold.release()
    assert bodies(await asyncio.gather(*clients)) == [b"stored"] * HERD
    assert origin.asked() == 2
    assert origin.requests[1].fields["if-none-match"] == '"1"'
    assert edge.parts.counters.revalidated == 1


async def test_a_stale_response_is_replaced_once(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    hold = Hold()
    origin.script = lambda request: numbered(request, fields={**FRESH, "ETag": f'"{request.number}"'})
    await edge.fetch("/a")
    clock.advance(61)
    origin.script = lambda request: numbered(request, fields=FRESH, hold=hold)
    clients = await herd(edge, hold)
    hold.release()
    assert bodies(await asyncio.gather(*clients)) == [b"answer 2"] * HERD
    assert origin.asked() == 2


async def test_two_variants_that_arrive_together_are_two_requests(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(
        200, {**FRESH, "Vary": "Accept-Language"}, request.fields["accept-language"].encode(), hold=hold
    )
    german = await herd(edge, hold, count=5, fields={"Accept-Language": "de"})
    french = await herd(edge, hold, count=5, fields={"Accept-Language": "fr"})
    hold.release()
    assert bodies(await asyncio.gather(*german)) == [b"de"] * 5
    assert bodies(await asyncio.gather(*french)) == [b"fr"] * 5
    assert origin.asked() == 2
    assert edge.parts.memory.statistics().responses == 2


# Answers that are nobody else's.


async def test_an_unstorable_answer_releases_everybody_at_once(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    first, everybody = Hold(), Hold()
    origin.script = lambda request: numbered(
        request, fields={"Cache-Control": "no-store"}, hold=first if request.number == 1 else everybody
    )
    clients = await herd(edge, first)
    first.release()
    await origin.received(HERD)  # nobody waits for anybody: all have been sent while none is answered
    everybody.release()
    expected = sorted(f"answer {number}".encode() for number in range(1, HERD + 1))
    assert bodies(await asyncio.gather(*clients)) == expected


async def test_a_key_whose_answer_was_unstorable_is_not_waited_for_a_while(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await start_edge(hit_for_miss=10)
    origin.script = lambda request: numbered(request, fields={"Cache-Control": "no-store"})
    await edge.fetch("/a")
    hold = Hold()
    clock.advance(9)
    origin.script = lambda request: numbered(request, fields={"Cache-Control": "no-store"}, hold=hold)
    clients = await herd(edge, hold, count=5)
    await origin.received(6)
    hold.release()
    assert len(set(bodies(await asyncio.gather(*clients)))) == 5

    clock.advance(10)
    again = Hold()
    origin.script = lambda request: numbered(request, fields=FRESH, hold=again)
    clients = await herd(edge, again, count=5)
    again.release()
    assert bodies(await asyncio.gather(*clients)) == [b"answer 7"] * 5
    assert origin.asked() == 7


async def test_a_storable_answer_makes_the_key_worth_waiting_for_at_once(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda request: Reply(200, {"Cache-Control": "no-store"})
    await edge.fetch("/a")
    origin.script = lambda request: Reply(200, FRESH, b"storable")
    await edge.fetch("/a")
    clock.advance(61)
    hold = Hold()
    origin.script = lambda request: numbered(request, fields=FRESH, hold=hold)
    clients = await herd(edge, hold)
    hold.release()
    assert bodies(await asyncio.gather(*clients)) == [b"answer 3"] * HERD
    assert origin.asked() == 3


async def test_what_must_be_validated_is_never_another_requests_answer(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()
    origin.script = lambda request: numbered(request, fields={"Cache-Control": "no-cache", "ETag": '"1"'}, hold=hold)
    clients = await herd(edge, hold, count=5)
    hold.release()
    assert len(set(bodies(await asyncio.gather(*clients)))) == 5

    again = Hold()
    origin.script = lambda request: Reply(304, {"ETag": '"1"'}, hold=again)
    clients = await herd(edge, again, count=5)
    await origin.received(10)
    again.release()
    assert len(set(bodies(await asyncio.gather(*clients)))) == 1
    assert all("if-none-match" in request.fields for request in origin.requests[5:])


async def test_a_request_after_a_successful_unsafe_one_never_joins_the_earlier_fetch(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()

    def script(request: Received) -> Reply:
        if request.method == "POST":
            return Reply(204)
        return numbered(request, fields=FRESH, hold=hold if request.number == 1 else None)

    origin.script = script
    (earlier,) = await herd(edge, hold, count=1)
    assert (await edge.fetch("/a", "POST", body=b"new")).status == 204
    assert (await edge.fetch("/a")).body == b"answer 3"
    hold.release()
    assert (await earlier).body == b"answer 1"
    await settled(edge)
    assert (await edge.fetch("/a")).body == b"answer 3"
    assert origin.asked() == 3


async def test_an_unsafe_request_that_fails_disturbs_nobody(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: (
        Reply(403) if request.method == "POST" else numbered(request, fields=FRESH, hold=hold)
    )
    (earlier,) = await herd(edge, hold, count=1)
    assert (await edge.fetch("/a", "POST", body=b"new")).status == 403
    later = asyncio.create_task(edge.fetch("/a"))
    await requested(edge, 3)
    hold.release()
    assert bodies(list(await asyncio.gather(earlier, later))) == [b"answer 1"] * 2


# When it goes wrong.


async def test_an_origin_that_breaks_off_is_asked_once(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(hold=hold, abort_at=-1)
    clients = await herd(edge, hold)
    hold.release()
    responses = await asyncio.gather(*clients)
    assert {response.status for response in responses} == {502}
    assert origin.asked() == 1


@pytest.mark.parametrize(
    ("failure", "control", "asked"),
    [
        # Once more, because the connection it broke off on was one that had been kept.
        (Reply(abort_at=-1), "max-age=60", 2),
        (Reply(503, body=b"down"), "max-age=60, stale-if-error=600", 1),
    ],
    ids=["no-answer", "503"],
)
async def test_a_failure_gives_everybody_the_stale_response(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, failure: Reply, control: str, asked: int
) -> None:
    origin.script = lambda request: Reply(200, {"Cache-Control": control, "ETag": '"1"'}, b"stale")
    await edge.fetch("/a")
    clock.advance(61)
    hold = Hold()

    async def fail(request: Received) -> Reply:
        await hold.wait()
        return failure

    origin.script = fail
    clients = await herd(edge, hold)
    hold.release()
    responses = await asyncio.gather(*clients)
    assert bodies(responses) == [b"stale"] * HERD
    assert origin.asked() == 1 + asked
    assert edge.parts.counters.hits_stale_error == HERD


async def test_a_server_error_is_each_requests_own(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    """It may not be shared (RFC 9111 §3); nor does it keep the next herd from being one."""
    first = Hold()
    origin.script = lambda request: numbered(request, status=503, hold=first if request.number == 1 else None)
    clients = await herd(edge, first, count=3)
    first.release()
    assert bodies(await asyncio.gather(*clients)) == [b"answer 1", b"answer 2", b"answer 3"]
    hold = Hold()
    origin.script = lambda request: numbered(request, fields=FRESH, hold=hold)
    clients = await herd(edge, hold)
    hold.release()
    assert bodies(await asyncio.gather(*clients)) == [b"answer 4"] * HERD


async def test_a_body_that_breaks_off_is_complete_for_nobody(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, b"early late", hold_at={5: hold}, abort_at=5)
    clients = [await edge.download("/a") for _ in range(5)]
    await hold.reached()
    assert [await client.read(5) for client in clients] == [b"early"] * 5
    hold.release()
    assert [(await client.rest()).complete for client in clients] == [False] * 5
    assert origin.asked() == 1
    assert edge.parts.memory.statistics().responses == 0


async def test_when_a_fetch_dies_somebody_who_waited_leads(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: numbered(request, fields=FRESH, hold=hold)
    clients = await herd(edge, hold)
    (fetching,) = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_run"]
    fetching.cancel()
    await origin.received(2)
    hold.release()
    responses = await asyncio.gather(*clients)
    assert sorted(response.status for response in responses) == [200] * (HERD - 1) + [502]
    assert {response.body for response in responses if response.status == 200} == {b"answer 2"}
    assert origin.asked() == 2


async def test_everybody_who_waits_is_answered_when_the_edge_stops(
    start_edge: StartEdge, origin: ScriptedOrigin
) -> None:
    edge = await start_edge()
    hold = Hold()
    origin.script = lambda request: numbered(request, fields=FRESH, hold=hold)
    clients = await herd(edge, hold, count=3)
    await edge.parts.close()
    outcomes = await asyncio.gather(*clients, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.IncompleteReadError | ConnectionError) for outcome in outcomes)
    await until(lambda: edge.parts.cache.in_flight == 0)
