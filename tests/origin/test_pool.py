"""Connections: kept, used again, dropped; and the bytes that nobody asked for reach nobody."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from edgecache.errors import OriginError, OriginTimeout

from .scripted import EVIL, OK, Clock, Peer, answering, body_of, fetch, request, scripted, ticks, upstreams


async def test_a_connection_is_used_again() -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        for _ in range(5):
            assert await fetch(client) == b"good"
        assert len(origin.peers) == 1


async def test_the_connection_used_last_is_used_first() -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        first, second = [await client.send(request()) for _ in range(2)]
        assert len(origin.peers) == 1, "a body that is here whole does not hold its connection"
        assert await body_of(second) == await body_of(first) == b"good"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood",
        b"HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: y, CLOSE\r\nContent-Length: 4\r\n\r\ngood",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\ngood",
        OK + b"\r\n",
        OK + b"more",
        OK + EVIL,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + EVIL,
    ],
)
async def test_a_connection_in_doubt_is_not_used_again(answer: bytes) -> None:
    async with scripted(answering(answer)) as origin, upstreams(origin) as client:
        for _ in range(3):
            assert await fetch(client) == b"good"
        assert len(origin.peers) == 3


@pytest.mark.parametrize("answer", [b"HTTP/1.1 204 x\r\n\r\n", b"HTTP/1.1 304 x\r\nContent-Length: 4\r\n\r\n"])
async def test_a_body_where_none_can_be_reaches_nobody(answer: bytes) -> None:
    async with scripted(answering(answer + b"evil", OK)) as origin, upstreams(origin) as client:
        assert await fetch(client) == b""
        await ticks()
        assert await fetch(client) == b""
        assert len(origin.peers) == 2


@pytest.mark.parametrize("waiting", [0, 1, 10])
@pytest.mark.parametrize("late", [EVIL, b"x", b"\r\n", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_late_bytes_answer_nobody(waiting: int, late: bytes) -> None:
    """The origin speaks on an idle connection; the next request is sent ``waiting`` loop rounds later.

    With none, the bytes are still in the kernel when the connection is chosen.
    """
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        for number in range(1, 51):
            assert await fetch(client) == b"good"
            origin.peers[-1].write(late)
            await ticks(waiting)
            assert len(origin.peers) == number


async def test_an_idle_connection_that_the_origin_closes_is_not_used() -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        for number in range(1, 20):
            assert await fetch(client) == b"good"
            assert len(origin.peers) == number
            origin.peers[-1].writer.write_eof()
            await ticks(number % 3)


async def test_a_connection_is_kept_for_so_long() -> None:
    clock = Clock()
    async with scripted(answering(OK)) as origin, upstreams(origin, keepalive=4.0, time=clock) as client:
        await fetch(client)
        clock.now += 3.9
        await fetch(client)
        assert len(origin.peers) == 1
        clock.now += 4.0
        await fetch(client)
        assert len(origin.peers) == 2


async def test_a_connection_that_nobody_uses_is_closed() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(OK)
        await peer.gone()
        closed.set()

    closed = asyncio.Event()
    async with scripted(script) as origin, upstreams(origin, keepalive=0.01) as client:
        await fetch(client)
        await closed.wait()


async def test_an_abandoned_body_costs_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await peer.gone()
        closed.set()

    closed = asyncio.Event()
    async with scripted(script) as origin, upstreams(origin) as client:
        response = await client.send(request())
        assert client.servers[0].in_flight == 1
        response.close()
        response.close()
        await closed.wait()
        chunks = (await client.send(request())).chunks()
        assert await anext(chunks) == b"part"
        closed.clear()
        await chunks.aclose()  # type: ignore[attr-defined]
        await closed.wait()
        assert client.servers[0].in_flight == 0


async def test_closing_a_response_that_is_here_whole_keeps_the_connection() -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        (await client.send(request())).close()
        await fetch(client)
        assert len(origin.peers) == 1


async def test_connections_are_bounded_and_waited_for_in_turn() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if len(origin.requests) == 2:
                both.set()
            await release.wait()
            peer.write(OK)

    both, release = asyncio.Event(), asyncio.Event()
    async with scripted(script) as origin, upstreams(origin, max_connections=2) as client:
        tasks = [asyncio.create_task(fetch(client)) for _ in range(10)]
        await both.wait()
        await ticks()
        assert client.servers[0].in_flight == 10
        release.set()
        assert await asyncio.gather(*tasks) == [b"good"] * 10
        assert len(origin.peers) == 2


async def test_idle_connections_are_bounded() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if len(origin.requests) == 70:
            release.set()
        await release.wait()
        peer.write(OK)
        await peer.gone()
        closed.append(peer)
        if len(closed) == 6:
            enough.set()

    release, enough = asyncio.Event(), asyncio.Event()
    closed: list[Peer] = []
    async with scripted(script) as origin, upstreams(origin) as client:
        await asyncio.gather(*(fetch(client) for _ in range(70)))
        await enough.wait()
        await ticks()
        assert len(closed) == 6


async def test_waiting_for_a_connection_is_bounded_too() -> None:
    async with (
        scripted(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")) as origin,
        upstreams(origin, max_connections=1, connect_timeout=0.3) as client,
    ):
        response = await client.send(request())
        with pytest.raises(OriginTimeout):
            await client.send(request())
        response.close()
        (await client.send(request())).close()


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 6, 10, 30])
async def test_cancelling_leaks_nothing(after: int) -> None:
    """``upstreams`` checks the slots when it is left; with one slot, a leaked one would block the last fetch."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await ticks(after % 5)
            peer.write(OK)

    async with scripted(script) as origin, upstreams(origin, max_connections=1) as client:
        for round_number in range(20):
            tasks = [asyncio.create_task(fetch(client)) for _ in range(3)]
            await ticks(after)
            tasks[round_number % 3].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(result == b"good" or isinstance(result, asyncio.CancelledError) for result in results)
        assert await fetch(client) == b"good"
        assert client.servers[0].in_flight == 0


@pytest.mark.parametrize("between", range(4))
@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_slot_is_not_lost_with_who_waited_for_it(cancelled_first: bool, between: int) -> None:
    """Somebody gives up just when what they waited for is given to them."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"

    async def script(peer: Peer) -> None:
        peer.write(head if await peer.request() == held else OK)
        await peer.gone()

    held = b"GET /held HTTP/1.1\r\nHost: site.example\r\n\r\n"
    async with scripted(script) as origin, upstreams(origin, max_connections=1) as client:
        response = await client.send(request("GET", "/held"))
        waiting = asyncio.create_task(client.send(request()))
        await ticks()
        events = [waiting.cancel, response.close]
        for event in events if cancelled_first else reversed(events):
            event()
            await ticks(between)
        with contextlib.suppress(asyncio.CancelledError):
            (await waiting).close()
        assert await fetch(client) == b"good"


async def test_a_cancelled_request_closes_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()
        closed.set()

    asked, closed = asyncio.Event(), asyncio.Event()
    async with scripted(script) as origin, upstreams(origin) as client:
        task = asyncio.create_task(client.send(request()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closed.wait()


async def test_closing_ends_what_is_going_on() -> None:
    async with (
        scripted(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")) as origin,
        upstreams(origin) as client,
    ):
        response = await client.send(request())
        await client.close()
        with pytest.raises(OriginError):
            await body_of(response)
        with pytest.raises(OriginError):
            await client.send(request())
