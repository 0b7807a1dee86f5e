"""Large answers of the hit lane: the socket takes what it has room for, and the rest waits for its client."""

from __future__ import annotations

import asyncio
import socket

import pytest

from edgecache.http.fields import format_http_date
from edgecache.purging.selector import Kind, Selector
from tests.scenarios.composed import edge_before, until
from tests.scenarios.rig import FakeClock, Received, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge

SIZE = 12 * 1024 * 1024
"""More than a socket has room for."""

REQUEST = b"GET /video HTTP/1.1\r\nHost: example.com\r\n\r\n"
PART = b"GET /video HTTP/1.1\r\nHost: example.com\r\nRange: bytes=1000000-9000000\r\n\r\n"
MEDIUM = b"GET /medium HTTP/1.1\r\nHost: example.com\r\n\r\n"
SHORT = b"GET /short HTTP/1.1\r\nHost: example.com\r\n\r\n"
BODY = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def site(origin: ScriptedOrigin, clock: FakeClock) -> ScriptedOrigin:
    """Three objects, one of them large."""

    def answer(request: Received) -> Reply:
        fields = {"Cache-Control": "max-age=600", "Date": format_http_date(clock.now), "ETag": '"1"'}
        return Reply(200, fields, {"/video": BODY, "/medium": BODY[:20_000]}.get(request.target, b"short"))

    origin.script = answer
    return origin


async def dialled(edge: RunningEdge) -> socket.socket:
    """Return a connection that takes in little unless it is read."""
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", edge.port))
    return client


async def read(client: socket.socket, size: int) -> bytes:
    """Read so many bytes, or what comes before the end."""
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < size and (more := await loop.sock_recv(client, min(1 << 20, size - len(data)))):
        data += more
    return bytes(data)


async def answered(client: socket.socket, request: bytes, size: int) -> bytes:
    """Ask, and return the content of the answer."""
    await asyncio.get_running_loop().sock_sendall(client, request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await read(client, 1)
    return await read(client, size)


async def test_a_slow_reader_gets_the_whole_and_is_counted_once(site: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(site.url, clock=clock) as edge:
        counters = edge.parts.counters
        for target in ("/video", "/short"):
            assert (await edge.fetch(target, fields={"Host": "example.com"})).status == 200
        with await dialled(edge) as client:
            assert await answered(client, REQUEST, SIZE) == BODY  # by the full lane, and learnt
            lane, sent = counters.hits_lane, counters.bytes_sent
            assert await answered(client, REQUEST, SIZE) == BODY
            await until(lambda: counters.bytes_sent == sent + SIZE)
            assert counters.hits_lane == lane + 1
            assert await answered(client, PART, 8_000_001) == BODY[1_000_000:9_000_001]
            assert await answered(client, PART, 8_000_001) == BODY[1_000_000:9_000_001]
            assert counters.hits_lane == lane + 2
        assert (counters.requests, counters.hits) == (6, 4)
        await until(lambda: counters.bytes_sent == sent + SIZE + 2 * 8_000_001)


async def test_what_is_asked_meanwhile_is_answered_in_order(site: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(site.url, clock=clock) as edge:
        loop = asyncio.get_running_loop()
        with await dialled(edge) as client:
            for request, size in ((SHORT, 5), (REQUEST, SIZE), (REQUEST, SIZE), (SHORT, 5), (SHORT, 5)):
                await answered(client, request, size)
            assert edge.parts.counters.hits_lane >= 1
            lane = edge.parts.counters.hits_lane
            await loop.sock_sendall(client, REQUEST)
            await until(lambda: edge.parts.counters.hits_lane == lane + 1)
            await loop.sock_sendall(client, SHORT + REQUEST + SHORT)
            for body in (BODY, b"short", BODY, b"short"):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += await read(client, 1)
                assert await read(client, len(body)) == body


async def test_a_large_answer_waits_for_a_small_one(site: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(site.url, clock=clock) as edge:
        counters, loop = edge.parts.counters, asyncio.get_running_loop()
        with await dialled(edge) as client:
            for request, size in ((MEDIUM, 20_000), (REQUEST, SIZE), (REQUEST, SIZE)):
                await answered(client, request, size)
            asked = 0
            while not edge.parts._server.buffered:  # until the socket has no room for all of it
                hits, asked = counters.hits, asked + 1
                await loop.sock_sendall(client, MEDIUM)
                await until(lambda hits=hits: counters.hits > hits)  # type: ignore[misc]
                await asyncio.sleep(0)
            await loop.sock_sendall(client, REQUEST)
            for body in (*[BODY[:20_000]] * asked, BODY):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += await read(client, 1)
                assert await read(client, len(body)) == body


async def test_who_leaves_early_is_counted_with_what_was_sent(site: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(site.url, clock=clock) as edge:
        counters = edge.parts.counters
        with await dialled(edge) as client:
            for _ in range(2):
                assert await answered(client, REQUEST, SIZE) == BODY
        with await dialled(edge) as client:
            lane, sent, aborted = counters.hits_lane, counters.bytes_sent, counters.client_aborts
            await asyncio.get_running_loop().sock_sendall(client, REQUEST)
            await until(lambda: counters.hits_lane == lane + 1)
        await until(lambda: counters.client_aborts == aborted + 1)
        assert 0 < counters.bytes_sent - sent < SIZE


async def test_a_purge_meanwhile_does_not_cut_what_is_on_its_way(site: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(site.url, clock=clock) as edge:
        with await dialled(edge) as client:
            for _ in range(2):
                assert await answered(client, REQUEST, SIZE) == BODY
            lane = edge.parts.counters.hits_lane
            await asyncio.get_running_loop().sock_sendall(client, REQUEST)
            await until(lambda: edge.parts.counters.hits_lane == lane + 1)
            await edge.parts.ledger.purge([Selector(Kind.ALL, "")])
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await read(client, 1)
            assert await read(client, SIZE) == BODY
