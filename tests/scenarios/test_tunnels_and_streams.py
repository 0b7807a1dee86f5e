"""What flows while it is made: tunnels, events, hints, uploads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.origin.scripted import Peer, scripted
from tests.scenarios.composed import edge_before, requested, settled, until
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import Hold, Reply, ScriptedOrigin

MIB = 1024 * 1024
UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: {}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Streams]:
    """A client's connection, for what the rig's client does not do."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


# Tunnels.


@asynccontextmanager
async def echo_site() -> AsyncIterator[str]:
    """An origin that says over a WebSocket what it is told."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(protocols=("chat",))
        await answer.prepare(request)
        async for message in answer:
            if message.type is aiohttp.WSMsgType.TEXT:
                await answer.send_str(f"{message.data}!")
            elif message.type is aiohttp.WSMsgType.BINARY:
                await answer.send_bytes(message.data)
        return answer

    site = web.Application()
    site.router.add_get("/echo", echo)
    runner = web.AppRunner(site, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_websocket_from_end_to_end() -> None:
    async with echo_site() as url, edge_before(url) as edge, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"http://127.0.0.1:{edge.port}/echo", protocols=("chat",)) as client:
            assert client.protocol == "chat"
            for number in range(5):
                await client.send_str(f"hello {number}")
                assert await client.receive_str() == f"hello {number}!"
            large = bytes(range(256)) * 4096
            await client.send_bytes(large)
            assert await client.receive_bytes() == large
            assert await client.close()
        assert edge.parts.counters.passes == 1
        assert edge.parts.memory.statistics().responses == 0
        await until(lambda: edge.parts.origin.servers[0].in_flight == 0)


async def test_a_tunnel_carries_bytes_it_knows_nothing_of_and_ends_when_either_side_does() -> None:
    gone = Hold()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst\x00\xff"
        )
        assert await peer.reader.readexactly(4) == b"\r\n\r\n"
        peer.write(b"second")
        assert await peer.reader.read() == b""
        gone.release()

    async with scripted(script) as origin, edge_before(origin.url) as edge:
        async with connection(edge.port) as (reader, writer):
            writer.write(UPGRADE.format("/", "websocket").encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"upgrade: websocket\r\n" in head.lower()
            assert await reader.readexactly(7) == b"first\x00\xff"
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(6) == b"second"
        await gone.wait()


async def test_a_tunnel_ends_when_the_origin_ends_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye")

    async with scripted(script) as origin, edge_before(origin.url) as edge, connection(edge.port) as (reader, writer):
        writer.write(UPGRADE.format("/", "websocket").encode())
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"bye"


async def test_an_upgrade_that_is_refused_is_an_ordinary_answer(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(403, {"Cache-Control": "max-age=60"}, b"no")
    for asked in (1, 2):
        async with connection(edge.port) as (reader, writer):
            writer.write(UPGRADE.format("/ws", "websocket").encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 403 ")
            assert await reader.readexactly(2) == b"no"
        assert origin.asked() == asked
    assert edge.parts.memory.statistics().responses == 0


async def test_an_upgrade_to_what_is_no_websocket_is_not_asked_for(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, body=b"plain")
    async with connection(edge.port) as (reader, writer):
        writer.write(UPGRADE.format("/", "odd").encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert "upgrade" not in origin.requests[0].fields


async def test_a_101_that_nobody_asked_for_is_no_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await peer.gone()

    async with scripted(script) as origin, edge_before(origin.url) as edge:
        assert (await edge.fetch("/")).status == 502


# Streams.


@pytest.mark.parametrize("control", ["no-store", "no-cache"])
async def test_events_are_delivered_one_by_one(edge: RunningEdge, origin: ScriptedOrigin, control: str) -> None:
    events = tuple(b"data: %d\n\n" % number for number in range(5))
    holds = {len(b"".join(events[:number])): Hold() for number in range(1, 5)}
    fields = {"Content-Type": "text/event-stream", "Cache-Control": control}
    origin.script = lambda request: Reply(200, fields, events, chunked=True, hold_at=holds)
    client = await edge.download("/events")
    for event, hold in zip(events, [*holds.values(), None], strict=True):
        assert await client.read(len(event)) == event
        if hold is not None:
            hold.release()
    assert (await client.rest()).complete


async def test_events_without_framing_are_delivered_one_by_one(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    fields = {"Content-Type": "text/event-stream"}
    origin.script = lambda request: Reply(
        200, fields, b"data: 1\n\ndata: 2\n\n", close_delimited=True, hold_at={9: hold}
    )
    client = await edge.download("/events")
    assert await client.read(9) == b"data: 1\n\n"
    hold.release()
    assert (await client.rest()).body == b"data: 1\n\ndata: 2\n\n"


async def test_a_client_that_leaves_ends_its_events(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    fields = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    origin.script = lambda request: Reply(200, fields, b"data: 1\n\ndata: 2\n\n", chunked=True, hold_at={9: hold})
    client = await edge.download("/events")
    assert await client.read(9) == b"data: 1\n\n"
    await client.close()
    await until(lambda: edge.parts.origin.servers[0].in_flight == 0)
    hold.release()


async def test_hints_reach_the_client_before_the_answer() -> None:
    hold = Hold()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        await hold.wait()
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok")
        await peer.gone()

    async with scripted(script) as hinting, edge_before(hinting.url) as edge:
        async with connection(edge.port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
            hints = await reader.readuntil(b"\r\n\r\n")
            assert hints.startswith(b"HTTP/1.1 103 ")
            assert b"Link: </a.css>; rel=preload\r\n" in hints
            hold.release()
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        hit = await edge.fetch("/")
        assert (hit.body, hit.interim) == (b"ok", ())


# Uploads.


async def test_an_upload_reaches_the_origin_while_it_is_sent() -> None:
    halfway = Hold()
    whole: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        whole.append(await peer.reader.readexactly(4 * MIB))
        halfway.release()
        whole.append(await peer.reader.readexactly(4 * MIB))
        peer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    content = bytes(range(256)) * (4 * MIB // 256)
    async with scripted(script) as origin, edge_before(origin.url) as edge, connection(edge.port) as (reader, writer):
        writer.write(b"POST /up HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n" % (8 * MIB) + content)
        await halfway.wait()  # the client has more to send
        writer.write(content)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
        assert b"".join(whole) == content * 2


async def test_a_chunked_upload_stays_chunked(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, body=request.body)
    body = b"5\r\nearly\r\n5;x=y\r\n late\r\n0\r\n\r\n"
    response = await edge.fetch("/up", "PUT", {"Transfer-Encoding": "chunked"}, body)
    assert response.body == b"early late"
    assert origin.requests[0].fields["transfer-encoding"] == "chunked"


async def test_an_upload_is_answered_before_its_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.gone()

    async with scripted(script) as origin, edge_before(origin.url) as edge, connection(edge.port) as (reader, writer):
        writer.write(b"POST /up HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000\r\n\r\nbeginning")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
        assert await reader.readexactly(2) == b"no"


async def test_an_upload_that_says_it_is_too_large_never_reaches_the_origin(origin: ScriptedOrigin) -> None:
    async with edge_before(origin.url, server={"max_body": 1000}) as edge:
        response = await edge.fetch("/up", "POST", {"Content-Length": "1001"})
        assert response.status == 413
        assert origin.asked() == 0


async def test_an_upload_that_turns_out_too_large_is_broken_off(origin: ScriptedOrigin) -> None:
    async with edge_before(origin.url, server={"max_body": 1000}) as edge:
        body = b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n"
        response = await edge.fetch("/up", "POST", {"Transfer-Encoding": "chunked"}, body)
        assert response.status == 413
        assert origin.asked() == 0  # the origin never had a whole request
        await settled(edge)


async def test_a_client_that_leaves_in_the_middle_of_its_upload_has_sent_nothing_whole(origin: ScriptedOrigin) -> None:
    async with edge_before(origin.url) as edge:
        async with connection(edge.port) as (_, writer):
            writer.write(b"POST /up HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000\r\n\r\nbeginning")
            await requested(edge, 1)
        await until(lambda: edge.parts.origin.servers[0].in_flight == 0)
        assert origin.asked() == 0


async def test_who_waits_to_be_told_is_told_to_continue(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, body=request.body)
    async with connection(edge.port) as (reader, writer):
        writer.write(b"POST /up HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(4) == b"body"
    assert "expect" not in origin.requests[0].fields


async def test_who_waits_to_be_told_is_not_told_to_continue_in_vain(origin: ScriptedOrigin) -> None:
    async with edge_before(origin.url, server={"max_body": 3}) as edge, connection(edge.port) as (reader, writer):
        writer.write(b"POST /up HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
    assert origin.asked() == 0


async def test_an_origin_that_does_not_read_holds_the_client_back() -> None:
    """Nobody keeps the content of an upload that is not taken."""
    reading = Hold()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await reading.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.reader.readexactly(32 * MIB)
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    loop = asyncio.get_running_loop()
    async with scripted(script) as origin, edge_before(origin.url, server={"max_body": 64 * MIB}) as edge:
        with socket.create_connection(("127.0.0.1", edge.port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(
                client, b"POST /up HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n" % (32 * MIB)
            )
            sending = asyncio.create_task(loop.sock_sendall(client, bytes(32 * MIB)))
            await reading.reached()
            for _ in range(1000):  # time enough, if anybody took it
                await asyncio.sleep(0)
            assert not sending.done()
            reading.release()
            await sending
            assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200 ")
