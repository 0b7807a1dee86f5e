"""What an origin can do wrong, and what a client then gets: a plain answer, a stale one, or another server's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from edgecache.origin.upstreams import TRIES_BEHIND_ONE_NAME
from tests.origin.scripted import EVIL, OK, Peer, answering, scripted
from tests.scenarios.composed import edge_before, settled, until
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, FakeClock, Hold, Received, Reply, ScriptedOrigin

FRESH = {"Cache-Control": "max-age=60"}
SOON = 0.05
"""Seconds of patience where patience is what is tried."""


def is_plain(response: ClientResponse, status: int, detail: str) -> bool:
    """Whether a response is this cache's own word, short and for people, that says what happened."""
    return (
        (response.status, response.complete) == (status, True)
        and response.fields["content-type"] == "text/plain; charset=utf-8"
        and response.fields["cache-control"] == "no-store"
        and response.body.startswith(b"%d " % status)
        and len(response.body) < 200
        and f"detail={detail}" in response.cache_status
    )


async def stored(edge: RunningEdge) -> int:
    await settled(edge)
    return edge.parts.memory.statistics().responses


# Not there.


async def test_an_origin_that_is_down(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    await origin.stop()
    response = await edge.fetch("/a")
    assert is_plain(response, 502, "origin-error")
    assert response.cache_status == "edgecache; fwd=uri-miss; detail=origin-error"
    assert await stored(edge) == 0


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "QUERY"])
async def test_an_origin_that_is_down_is_down_for_every_method(
    edge: RunningEdge, origin: ScriptedOrigin, method: str
) -> None:
    await origin.stop()
    response = await edge.fetch("/a", method, body=b"" if method in ("HEAD", "OPTIONS") else b"content")
    assert response.status == 502
    assert (response.body == b"") == (method == "HEAD")


async def test_an_origin_that_comes_back_is_asked_at_once(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, FRESH, b"back")
    await origin.stop()
    for _ in range(5):  # more than it takes to be taken out
        assert (await edge.fetch("/a")).status == 502
    async with origin:
        response = await edge.fetch("/a")
        assert (response.status, response.body) == (200, b"back")
        assert (await edge.fetch("/a")).cache_status.startswith("edgecache; hit")


async def test_an_origin_that_is_down_loses_nothing_that_is_fresh(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda request: Reply(200, {"Cache-Control": "max-age=60, must-revalidate"}, b"stored")
    await edge.fetch("/a")
    await origin.stop()
    clock.advance(59)
    assert (await edge.fetch("/a")).body == b"stored"
    clock.advance(1)
    assert (await edge.fetch("/a")).status == 502


# Too slow.


async def test_an_origin_that_cannot_be_connected_to_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        with socket.create_connection(address):  # the whole backlog: who comes next is not answered
            url = f"http://127.0.0.1:{address[1]}"
            async with edge_before(url, origin={"connect_timeout": SOON}) as edge:
                assert is_plain(await edge.fetch("/a"), 504, "origin-timeout")


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=len)
async def test_an_origin_that_does_not_answer_in_time(words: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(words)
        await peer.gone()

    async with scripted(script) as origin, edge_before(origin.url, origin={"first_byte_timeout": SOON}) as edge:
        assert is_plain(await edge.fetch("/a"), 504, "origin-timeout")
        assert edge.parts.counters.origin_timeouts == 1
        assert await stored(edge) == 0


@pytest.mark.parametrize("control", ["max-age=60", "no-store"])
@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked", "X: close"])
async def test_an_origin_that_stops_in_the_middle(control: str, framing: str) -> None:
    body = "5\r\nearly\r\n" if "chunked" in framing else "early"
    answer = f"HTTP/1.1 200 OK\r\nCache-Control: {control}\r\n{framing}\r\n\r\n{body}".encode()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(answer)
        await peer.gone()

    async with scripted(script) as origin, edge_before(origin.url, origin={"between_bytes_timeout": SOON}) as edge:
        client = await edge.download("/a")
        assert await client.read(5) == b"early"
        assert not (await client.rest()).complete
        assert await stored(edge) == 0


async def test_an_origin_that_is_too_slow_is_replaced_by_what_is_stale(clock: FakeClock) -> None:
    fresh = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nstored"

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(fresh)
        await peer.gone()  # and silent for ever

    patience = {"first_byte_timeout": SOON}
    async with scripted(script) as origin, edge_before(origin.url, origin=patience, clock=clock) as edge:
        while (await edge.fetch("/a")).status != 200:
            pass  # so little patience may be too little for an origin that does its best
        clock.advance(61)
        response = await edge.fetch("/a")
        assert (response.status, response.body) == (200, b"stored")
        assert "detail=unreachable" in response.cache_status


# Not HTTP.


MALFORMED = {
    "nothing": b"",
    "words": b"go away\r\n\r\n",
    "http-0.9": b"<html>hello</html>",
    "http-2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status-99": b"HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n",
    "status-word": b"HTTP/1.1 OK OK\r\nContent-Length: 0\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "no-colon": b"HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n",
    "space-before-colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ngoods",
    "same-length-twice": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\ngood",
    "negative-length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "signed-length": b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\ngood",
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip-and-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked-in-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "too-long": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "too-many": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    "interim-flood": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20 + OK,
    "switched": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "304-unasked": b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    "206-unasked": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/9\r\nContent-Length: 4\r\n\r\ngood",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
async def test_an_answer_that_cannot_be_read_in_one_way_only(answer: bytes) -> None:
    answer = answer.replace(b"\r\n", b"\r\nCache-Control: max-age=60\r\n", 1)
    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        sent.append(await peer.request())
        peer.write(answer)

    async with scripted(script) as origin, edge_before(origin.url) as edge:
        assert is_plain(await edge.fetch("/a"), 502, "origin-error")
        assert len(sent) == 1
        assert await stored(edge) == 0


@pytest.mark.parametrize(
    "chunk", [b"x\r\ngood\r\n", b"-4\r\ngood\r\n", b"4\r\ngoodbye\r\n", b"4\ngood\n", b"0x4\r\ngood\r\n"]
)
async def test_a_chunk_that_is_none_breaks_the_body_off(chunk: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"

    async with scripted(answering(head + chunk + b"0\r\n\r\n")) as origin, edge_before(origin.url) as edge:
        response = await edge.fetch("/a")
        assert response.status == 502 or not response.complete
        assert await stored(edge) == 0


# Several servers.


@asynccontextmanager
async def two_origins() -> AsyncIterator[tuple[ScriptedOrigin, ScriptedOrigin]]:
    async with ScriptedOrigin() as one, ScriptedOrigin() as other:
        one.script = other.script = lambda request: Reply(200, {"Cache-Control": "no-store"}, b"up")
        yield one, other


async def test_with_one_server_down_nobody_notices() -> None:
    async with two_origins() as (one, other), edge_before(one.url, other.url) as edge:
        for _ in range(4):
            assert (await edge.fetch("/a")).body == b"up"
        assert one.asked() == other.asked() == 2
        await one.stop()
        for number in range(20):
            response = await edge.fetch(f"/{number}")
            assert (response.status, response.body) == (200, b"up")
        assert other.asked() == 22


async def test_with_one_server_down_a_herd_does_not_notice_either() -> None:
    async with two_origins() as (one, other), edge_before(one.url, other.url) as edge:
        await one.stop()
        for number in range(3):  # found out one by one, within what retries may add to the load
            assert (await edge.fetch(f"/{number}")).status == 200
        await edge.fetch("/0")
        await edge.fetch("/1")
        responses = await asyncio.gather(*(edge.fetch(f"/herd/{number}") for number in range(50)))
        assert {response.status for response in responses} == {200}


async def test_with_both_servers_down_it_is_told() -> None:
    async with two_origins() as (one, other), edge_before(one.url, other.url) as edge:
        await one.stop()
        await other.stop()
        assert is_plain(await edge.fetch("/a"), 502, "origin-error")


# Once, and to whom it was sent.


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("POST", 1), ("PUT", 1), ("DELETE", 1)])
async def test_what_may_have_been_done_is_not_done_again(
    edge: RunningEdge, origin: ScriptedOrigin, method: str, sent: int
) -> None:
    """A kept connection is closed by the origin just when a request is sent over it (RFC 9112 §9.3.1)."""

    def script(request: Received) -> Reply:
        return Reply(204, abort_at=-1 if request.number == 2 else None)

    origin.script = script
    await edge.fetch("/warm")
    body = b"content" if method in ("POST", "PUT") else b""
    response = await edge.fetch("/a", method, body=body)
    assert response.status == (204 if sent == 2 else 502)
    assert origin.asked("/a") == sent


async def test_a_fresh_connection_that_breaks_is_not_tried_again(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(abort_at=-1)
    assert (await edge.fetch("/a")).status == 502
    assert origin.asked() == 1


Push = Callable[[Peer], Awaitable[None]]


async def push_response(peer: Peer) -> None:
    peer.write(EVIL)


async def push_byte(peer: Peer) -> None:
    peer.write(b"\0")


async def push_interim(peer: Peer) -> None:
    peer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </evil>\r\n\r\n")


@pytest.mark.parametrize("push", [push_response, push_byte, push_interim])
async def test_bytes_on_an_idle_connection_answer_nobody(push: Push) -> None:
    idle, pushed = asyncio.Event(), Hold()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(OK)
        if len(origin.peers) == 1:
            await idle.wait()
            await push(peer)
            await peer.writer.drain()
            await pushed.wait()
        await peer.request()
        peer.write(OK)
        await peer.gone()

    async with scripted(script) as origin, edge_before(origin.url) as edge:
        assert (await edge.fetch("/a")).body == b"good"
        await until(lambda: edge.parts.origin.servers[0].in_flight == 0)
        idle.set()
        await pushed.reached()
        response = await edge.fetch("/b")
        assert (response.body, response.interim) == (b"good", ())
        assert len(origin.peers) == 2
        pushed.release()


async def test_an_answer_that_comes_after_its_time_answers_nobody_else() -> None:
    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            if b"/slow" in await peer.request():
                await late.wait()
                peer.write(EVIL)
            else:
                peer.write(OK)

    async with scripted(script) as origin, edge_before(origin.url, origin={"first_byte_timeout": SOON}) as edge:
        assert (await edge.fetch("/slow")).status == 504
        late.set()
        for number in range(5):
            assert b"evil" not in (await edge.fetch(f"/{number}")).body


# A deploy that has not reached every server.


async def test_a_missing_versioned_asset_is_asked_for_a_few_times_and_not_more(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = lambda request: Reply(200, FRESH, b"page")
    for number in range(60):  # which earns more retries than one asset may use
        await edge.fetch(f"/{number}")
    origin.script = lambda request: Reply(404)
    assert (await edge.fetch("/app-3f2a9c01.js")).status == 404
    assert origin.asked("/app-3f2a9c01.js") == TRIES_BEHIND_ONE_NAME
    fields, before = {"Content-Type": "text/javascript", **FRESH}, len(origin.requests)
    origin.script = lambda request: Reply(404) if request.number == before + 1 else Reply(200, fields, b"script")
    assert (await edge.fetch("/app-3f2a9c02.js")).body == b"script"
