"""The rig itself, and one story of each kind that it is made for."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import FakeClock, Hold, Received, Reply, ScriptedOrigin, download, fetch

FRESH = {"Cache-Control": "max-age=60"}


async def test_the_origin_sees_what_was_sent_and_the_client_what_was_answered(origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(201, (("X", "1"), ("x", "2")), b"made")
    response = await fetch(origin.port, "/p?q", "POST", (("A", "b"),), b"content")
    assert (response.status, response.body, response.complete) == (201, b"made", True)
    assert response.fields.getall("x") == ["1", "2"]
    (request,) = origin.requests
    assert (request.number, request.method, request.target, request.body) == (1, "POST", "/p?q", b"content")
    assert request.fields["a"] == "b"
    assert origin.asked("/p?q") == origin.asked() == 1


async def test_a_script_may_wait(origin: ScriptedOrigin) -> None:
    async def script(request: Received) -> Reply:
        await asyncio.sleep(0)
        return Reply(200, (), request.target.encode())

    origin.script = script
    assert (await fetch(origin.port, "/a")).body == b"/a"


@pytest.mark.parametrize(
    ("reply", "body", "complete"),
    [
        (Reply(body=b"abcdef"), b"abcdef", True),
        (Reply(body=(b"abc", b"def"), chunked=True), b"abcdef", True),
        (Reply(body=b"abcdef", close_delimited=True), b"abcdef", True),
        (Reply(body=b"abcdef", abort_at=4), b"abcd", False),
        (Reply(body=b"abcdef", abort_at=0), b"", False),
        (Reply(body=(b"abc", b"def"), chunked=True, abort_at=4), b"abcd", False),
        (Reply(body=(b"abc", b"def"), chunked=True, abort_at=6), b"abcdef", False),
        (Reply(204), b"", True),
    ],
)
async def test_the_client_knows_whether_a_body_is_complete(
    origin: ScriptedOrigin, reply: Reply, body: bytes, complete: bool
) -> None:
    origin.script = lambda request: reply
    response = await fetch(origin.port)
    assert (response.body, response.complete) == (body, complete)


async def test_a_response_may_not_come_at_all(origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(abort_at=-1)
    with pytest.raises(asyncio.IncompleteReadError):
        await fetch(origin.port)


async def test_interim_responses_are_told_apart(origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(body=b"x", interim=((103, {"Link": "</a>"}),))
    response = await fetch(origin.port)
    assert (response.interim, response.status, response.body) == ((103,), 200, b"x")


async def test_a_body_is_held_where_the_story_wants_it(origin: ScriptedOrigin) -> None:
    first, second = Hold(), Hold()
    origin.script = lambda request: Reply(body=b"abcdef", hold=first, hold_at={2: second})
    client = await download(origin.port)
    await first.reached()
    first.release()
    assert await client.head() == 200
    await second.reached()
    assert await client.read(2) == b"ab"
    second.release()
    assert (await client.rest()).body == b"abcdef"


async def test_an_origin_can_stop_and_come_back(origin: ScriptedOrigin) -> None:
    await fetch(origin.port)
    await origin.stop()
    with pytest.raises(ConnectionRefusedError):
        await fetch(origin.port)
    async with origin:
        assert (await fetch(origin.port)).status == 404


# Through the edge.


async def test_a_miss_a_hit_and_time_passing(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = lambda request: Reply(200, FRESH, f"answer {request.number}".encode())
    assert (await edge.fetch("/a")).body == b"answer 1"
    clock.advance(59)
    hit = await edge.fetch("/a")
    assert (hit.body, hit.fields["age"]) == (b"answer 1", "59")
    assert hit.cache_status.startswith("edgecache; hit")
    clock.advance(1)
    assert (await edge.fetch("/a")).body == b"answer 2"


async def test_requests_for_one_key_collapse_into_one(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.script = lambda request: Reply(200, FRESH, b"once", hold=hold)
    clients = [asyncio.ensure_future(edge.fetch("/a")) for _ in range(5)]
    await hold.reached()
    hold.release()
    assert [(r.body, r.complete) for r in await asyncio.gather(*clients)] == [(b"once", True)] * 5
    assert origin.asked("/a") == 1


async def test_a_truncated_body_is_neither_complete_nor_stored(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, FRESH, b"abcdef", abort_at=3 if request.number == 1 else None)
    broken = await edge.fetch("/a")
    assert not broken.complete
    whole = await edge.fetch("/a")
    assert (whole.body, whole.complete) == (b"abcdef", True)


async def test_a_setting_of_the_cache_reaches_it(start_edge: StartEdge, origin: ScriptedOrigin) -> None:
    edge = await start_edge(max_object=3)
    origin.script = lambda request: Reply(200, FRESH, b"abcdef")
    await edge.fetch("/a")
    await edge.fetch("/a")
    assert origin.asked("/a") == 2
