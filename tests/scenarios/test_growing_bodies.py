"""A body on its way and its readers: who leaves, who is slow, who wants only part, and what is too large to keep."""

from __future__ import annotations

import asyncio

import pytest

from edgecache.engine import fill
from tests.scenarios.composed import requested, settled, silent_client, until
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import Download, Hold, Reply, ScriptedOrigin

FRESH = {"Cache-Control": "max-age=60"}
TAGGED = {**FRESH, "ETag": '"1"'}
MIB = 1024 * 1024
LARGE = bytes(range(256)) * 16384  # 4 MiB


async def begin(edge: RunningEdge, hold: Hold, clients: int = 1, target: str = "/a") -> list[Download]:
    """Let clients ask, and return when the origin waits in the middle of the body."""
    before = edge.parts.counters.requests
    downloads = [await edge.download(target) for _ in range(clients)]
    await requested(edge, before + clients)
    await hold.reached()
    for each in downloads:
        await each.head()
    return downloads


# Leaving.


async def test_when_the_leader_leaves_the_others_get_everything(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, LARGE, hold_at={MIB: hold})
    leader, *followers = await begin(edge, hold, 3)
    await leader.read(10)
    await leader.close()
    await until(lambda: edge.parts.counters.client_aborts == 1)
    hold.release()
    for follower in followers:
        response = await follower.rest()
        assert response.complete
        assert response.body == LARGE
    assert origin.asked() == 1
    assert edge.parts.memory.statistics().responses == 1


async def test_when_the_leader_leaves_before_the_head_the_others_are_answered(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, LARGE, hold=hold)
    leader = await edge.download("/a")
    await hold.reached()
    follower = await edge.download("/a")
    await requested(edge, 2)
    await leader.close()
    hold.release()
    assert (await follower.rest()).body == LARGE
    assert origin.asked() == 1


async def test_when_everybody_leaves_early_the_origin_is_spared_the_rest(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, LARGE, hold_at={MIB: hold})
    for client in await begin(edge, hold, 3):
        await client.close()
    await settled(edge)
    assert edge.parts.counters.fills_abandoned == 1
    assert edge.parts.memory.statistics().responses == 0
    hold.release()
    assert (await edge.fetch("/a")).body == LARGE
    assert origin.asked() == 2


async def test_when_everybody_leaves_late_the_rest_is_fetched_for_the_next(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, LARGE, hold_at={len(LARGE) - MIB: hold})
    clients = await begin(edge, hold, 3)
    # Only what has come counts as not missing.
    await until(lambda: edge.parts.counters.bytes_from_origin == len(LARGE) - MIB)
    for client in clients:
        await client.close()
    await until(lambda: edge.parts.counters.client_aborts == 3)
    hold.release()
    await settled(edge)
    assert edge.parts.memory.statistics().responses == 1
    assert (await edge.fetch("/a")).body == LARGE
    assert origin.asked() == 1


async def test_a_body_of_unknown_length_is_given_up_when_everybody_leaves(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, b"early late", chunked=True, hold_at={5: hold})
    (client,) = await begin(edge, hold)
    await client.close()
    await settled(edge)
    hold.release()
    assert edge.parts.counters.fills_abandoned == 1
    assert edge.parts.memory.statistics().responses == 0


async def test_an_unstorable_body_is_given_up_when_its_client_leaves(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, {"Cache-Control": "no-store"}, b"early late", hold_at={5: hold})
    (client,) = await begin(edge, hold)
    await client.read(5)
    await client.close()
    await until(lambda: edge.parts.counters.client_aborts == 1)
    await until(lambda: edge.parts.origin.servers[0].in_flight == 0)
    hold.release()


# Slow readers.


async def test_a_client_that_does_not_read_delays_nobody(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, FRESH, LARGE)
    with silent_client(edge.port, "/a"):
        await requested(edge, 1)
        assert (await edge.fetch("/a")).body == LARGE
        assert (await edge.fetch("/a")).body == LARGE
    assert origin.asked() == 1


async def test_a_client_that_does_not_read_holds_an_unstorable_body_back(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    """The origin waits, rather than the edge holding what nobody takes."""
    end = Hold()
    reply = Reply(200, {"Cache-Control": "no-store"}, (LARGE,) * 8, chunked=True, hold_at={8 * len(LARGE): end})
    origin.script = lambda request: reply if request.target == "/a" else Reply(200)
    sent = asyncio.create_task(end.reached())
    with silent_client(edge.port, "/a"):
        await origin.received(1)
        for _ in range(50):  # time enough for an origin that nobody holds back
            await edge.fetch("/b")
        assert not sent.done()
    sent.cancel()


# What is too large to keep.


async def test_a_body_known_to_be_too_large_is_passed_on(start_edge: StartEdge, origin: ScriptedOrigin) -> None:
    edge = await start_edge(max_object=MIB)
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, LARGE, hold_at={2 * MIB: hold})
    clients = await begin(edge, hold, 2)
    assert origin.asked() == 2
    hold.release()
    for client in clients:
        response = await client.rest()
        assert response.body == LARGE
        assert "detail=too-large" in response.cache_status
    assert edge.parts.memory.statistics().responses == 0


async def test_a_body_that_outgrows_what_is_kept_goes_on_in_a_window(
    start_edge: StartEdge, origin: ScriptedOrigin
) -> None:
    edge = await start_edge(max_object=MIB)
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, LARGE, chunked=True, hold_at={2 * MIB: hold})
    sharing = await begin(edge, hold, 3)
    assert origin.asked() == 1
    await until(lambda: edge.parts.counters.bytes_from_origin == 2 * MIB)
    late = await edge.download("/a")
    await origin.received(2)  # it could not have had the beginning
    hold.release()
    for client in [*sharing, late]:
        response = await client.rest()
        assert response.complete
        assert response.body == LARGE
    await settled(edge)
    assert edge.parts.memory.statistics().responses == 0
    assert edge.parts.counters.not_storable["too-large"] == 2


async def test_an_outgrown_body_is_fetched_no_faster_than_it_is_read(
    start_edge: StartEdge, origin: ScriptedOrigin
) -> None:
    edge = await start_edge(max_object=MIB)
    end = Hold()
    script = Reply(200, FRESH, (LARGE,) * 8, chunked=True, hold_at={8 * len(LARGE): end})
    origin.script = lambda request: script if request.target == "/a" else Reply(200, {"Cache-Control": "no-store"})
    with silent_client(edge.port, "/a"):
        await until(lambda: edge.parts.counters.bytes_from_origin > 2 * MIB)
        for _ in range(50):  # time enough for a pump that nobody holds back
            await edge.fetch("/b")
        assert edge.parts.counters.bytes_from_origin < 4 * MIB


async def test_a_client_that_does_not_read_an_outgrown_body_is_left_behind(
    start_edge: StartEdge, origin: ScriptedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "PATIENCE_SECONDS", 0.0)
    edge = await start_edge(max_object=MIB)
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, (LARGE,) * 2, chunked=True, hold_at={10: hold})
    with silent_client(edge.port, "/a"):
        (client,) = await begin(edge, hold)
        hold.release()
        response = await client.rest()
        assert response.complete
        assert response.body == LARGE * 2
        await settled(edge)
    assert origin.asked() == 1


async def test_who_comes_after_a_body_was_outgrown_waits_for_nobody(
    start_edge: StartEdge, origin: ScriptedOrigin
) -> None:
    edge = await start_edge(max_object=MIB)
    origin.script = lambda request: Reply(200, FRESH, LARGE, chunked=True)
    await edge.fetch("/a")
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, LARGE, chunked=True, hold=hold)
    clients = [await edge.download("/a") for _ in range(3)]
    await origin.received(4)
    hold.release()
    for client in clients:
        assert (await client.rest()).body == LARGE


# Part of a body that is on its way.


async def test_head_does_not_wait_for_a_body(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, TAGGED, b"early late", hold_at={5: hold})
    (client,) = await begin(edge, hold)
    response = await edge.fetch("/a", "HEAD")
    assert (response.status, response.body, response.fields["content-length"]) == (200, b"", "10")
    hold.release()
    assert (await client.rest()).body == b"early late"


async def test_a_condition_that_holds_is_answered_at_once(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, TAGGED, b"early late", hold_at={5: hold})
    (client,) = await begin(edge, hold)
    response = await edge.fetch("/a", fields={"If-None-Match": '"1"'})
    assert (response.status, response.body) == (304, b"")
    assert origin.asked() == 1
    hold.release()
    assert (await client.rest()).body == b"early late"


async def test_a_condition_of_the_leader_does_not_become_everybodys(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, TAGGED, b"early late", hold_at={5: hold})
    leader = asyncio.create_task(edge.fetch("/a", fields={"If-None-Match": '"1"'}))
    await hold.reached()
    follower = await edge.download("/a")
    assert (await leader).status == 304
    assert "if-none-match" not in origin.requests[0].fields
    assert await follower.read(5) == b"early"
    hold.release()
    assert (await follower.rest()).body == b"early late"
    assert origin.asked() == 1


async def test_a_range_is_answered_as_soon_as_its_bytes_are_here(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, TAGGED, b"0123456789", hold_at={5: hold})
    (client,) = await begin(edge, hold)
    early = await edge.fetch("/a", fields={"Range": "bytes=1-3"})
    assert (early.status, early.body, early.fields["content-range"]) == (206, b"123", "bytes 1-3/10")
    late = await edge.download("/a", fields={"Range": "bytes=4-"})
    assert await late.read(1) == b"4"
    assert origin.asked() == 1
    beyond = await edge.fetch("/a", fields={"Range": "bytes=10-"})
    assert (beyond.status, beyond.fields["content-range"]) == (416, "bytes */10")
    hold.release()
    assert (await late.rest()).body == b"456789"
    assert (await client.rest()).body == b"0123456789"
    assert origin.asked() == 1


async def test_several_ranges_of_a_body_whose_other_readers_left(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, TAGGED, LARGE, hold_at={MIB: hold})
    (client,) = await begin(edge, hold)
    parts = await edge.download("/a", fields={"Range": f"bytes=0-9,{3 * MIB}-{3 * MIB + 9}"})
    assert await parts.head() == 206
    await client.close()
    await until(lambda: edge.parts.counters.client_aborts == 1)
    hold.release()
    response = await parts.rest()
    assert response.complete
    assert response.body.count(LARGE[:10]) == 2
    assert origin.asked() == 2  # the second part is too far away to wait for


async def test_readers_of_a_range_that_leave_are_readers_that_left(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, TAGGED, LARGE, hold_at={MIB: hold})
    (client,) = await begin(edge, hold)
    part = await edge.download("/a", fields={"Range": "bytes=10-"})
    assert await part.head() == 206
    await client.close()
    await part.close()
    await settled(edge)
    hold.release()
    assert edge.parts.counters.fills_abandoned == 1


async def test_what_is_too_large_and_came_at_once_is_counted_as_that(
    start_edge: StartEdge, origin: ScriptedOrigin
) -> None:
    """Not as a Content-Range that is wrong: there is none."""
    edge = await start_edge(max_object=100)
    origin.script = lambda _: Reply(200, FRESH, (b"x" * 60, b"x" * 60), chunked=True)
    assert (await edge.fetch("/a")).body == b"x" * 120
    await settled(edge)
    assert edge.parts.counters.not_storable == {"too-large": 1}
