"""The proxy does what its lanes say: shown with an echo server, and a RESP server for replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.proxy import FaultProxy, Lane

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(params=["tcp", "unix"])
async def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    """A proxy in front of a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    if request.param == "tcp":
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = FaultProxy(server.sockets[0].getsockname()[:2])
    else:
        server = await asyncio.start_unix_server(echo, tmp_path / "echo")
        proxy = FaultProxy(tmp_path / "echo", tmp_path / "proxy")
    async with proxy:
        yield proxy
    server.close()
    await server.wait_closed()


@pytest.fixture
async def peer(proxy: FaultProxy) -> AsyncIterator[Peer]:
    reader, writer = await connected(proxy)
    yield reader, writer
    writer.close()


async def connected(proxy: FaultProxy) -> Peer:
    if proxy.url.startswith("unix://"):
        return await asyncio.open_unix_connection(proxy.url.removeprefix("unix://"))
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def echoed(peer: Peer, sent: bytes = b"0123456789") -> bytes:
    reader, writer = peer
    writer.write(sent)
    return await reader.readexactly(len(sent))


async def test_it_forwards(proxy: FaultProxy, peer: Peer) -> None:
    assert await echoed(peer) == b"0123456789"
    assert (proxy.up.seen, proxy.down.seen, proxy.accepted, proxy.open) == (10, 10, 1, 1)


@pytest.mark.parametrize("lane", ["up", "down"])
async def test_it_slows_slices_and_corrupts(proxy: FaultProxy, peer: Peer, lane: str) -> None:
    changed: Lane = getattr(proxy, lane)
    changed.latency, changed.bandwidth, changed.slice = 0.0001, 1e6, 1
    assert await echoed(peer) == b"0123456789"
    changed.corrupt = frozenset({10, 12})
    assert await echoed(peer, b"abc") == bytes((0xFF ^ ord("a"), ord("b"), 0xFF ^ ord("c")))


async def test_it_holds_until_it_is_let_go(proxy: FaultProxy, peer: Peer) -> None:
    proxy.down.hold = asyncio.Event()
    echo = asyncio.create_task(echoed(peer))
    await proxy.down.arrived.wait()
    assert not echo.done()
    proxy.down.hold.set()
    assert await echo == b"0123456789"


async def test_a_black_hole_swallows(proxy: FaultProxy, peer: Peer) -> None:
    proxy.up.black_hole = True
    peer[1].write(b"lost")
    await proxy.up.arrived.wait()
    proxy.up.black_hole = False
    assert await echoed(peer) == b"0123456789"


async def test_a_limit_ends_a_connection_there(proxy: FaultProxy, peer: Peer) -> None:
    proxy.down.limit = 7
    peer[1].write(b"0123456789")
    assert await peer[0].read() == b"0123456"


async def test_a_reset_ends_every_connection(proxy: FaultProxy, peer: Peer) -> None:
    await echoed(peer)
    proxy.reset()
    try:
        assert await peer[0].read() == b""  # a Unix socket has no RST
    except ConnectionResetError:
        assert proxy.url.startswith("redis://")


async def test_it_can_refuse(proxy: FaultProxy) -> None:
    proxy.refuse = True
    peer = await connected(proxy)
    assert await peer[0].read() == b""
    peer[1].close()


async def test_a_half_open_connection_is_silent_and_new_ones_work(proxy: FaultProxy, peer: Peer) -> None:
    await echoed(peer)
    proxy.half_open()
    proxy.up.arrived.clear()
    peer[1].write(b"is anyone there?")
    other = await connected(proxy)
    assert await echoed(other) == b"0123456789"
    assert not peer[0].at_eof()
    assert proxy.open == 2
    other[1].close()


async def test_replies_are_injected_in_their_turn() -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"*2\r\n$3\r\none\r\n%1\r\n+k\r\n:1\r\n")
        writer.close()

    upstream = await asyncio.start_server(server, "127.0.0.1", 0)
    async with FaultProxy(upstream.sockets[0].getsockname()[:2]) as proxy:
        proxy.replies["SET"] = b"-OOM\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        get, set_ = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$-1\r\n"
        writer.write(get + set_ + get)
        answer = b"*2\r\n$3\r\none\r\n%1\r\n+k\r\n:1\r\n"
        expected = answer + b"-OOM\r\n" + answer
        assert await reader.readexactly(len(expected)) == expected
        assert proxy.up.seen == 2 * len(get)
        writer.close()
    upstream.close()
    await upstream.wait_closed()
