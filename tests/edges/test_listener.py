"""Addresses, TLS, tunnels, and how a server ends."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from edgecache.edges.finished import Aborted
from edgecache.edges.listener import Listener, parse_listen
from edgecache.edges.server import EdgeServer
from edgecache.edges.settings import ServerSettings
from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.errors import ConfigError, OriginError
from edgecache.http.message import ResponseHead, fields_of
from tests.edges.wire import Client, ScriptedEngine, Site, delivery, site

GET = b"GET %b HTTP/1.1\r\nHost: a.example\r\n\r\n"


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:443", ("::1", 443)),
        ("*:80", ("", 80)),
        ("unix:/run/x.sock", Path("/run/x.sock")),
    ],
)
def test_addresses(listen: str, expected: tuple[str, int] | Path) -> None:
    assert parse_listen(listen) == expected


@pytest.mark.parametrize("listen", ["", "8080", ":80", "a", "a:", "a:b", "a:65536", "unix:", "::1:80", "http://a:80"])
def test_malformed_addresses(listen: str) -> None:
    with pytest.raises(ConfigError):
        parse_listen(listen)


async def test_a_default_authority_that_is_none() -> None:
    with pytest.raises(ConfigError, match="authority"):
        EdgeServer(ScriptedEngine(), ServerSettings(default_authority="http://a/"), print)


async def test_an_address_that_is_taken() -> None:
    async with site() as running:
        settings = ServerSettings(listen=f"127.0.0.1:{running.port}")
        listener = Listener(EdgeServer(running.engine, settings, running.finished.append), settings)
        with pytest.raises(ConfigError, match="cannot listen"):
            await listener.start()


async def test_two_processes_may_share_a_port() -> None:
    async with site(reuse_port=True) as first, site(reuse_port=True, listen=f"127.0.0.1:{first.port}") as second:
        assert first.port == second.port


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    async with site(listen=f"unix:{path}", trusted_peers=("unix",)) as running:
        assert running.listener.addresses == (f"unix:{path}",)
        client = Client(*await asyncio.open_unix_connection(str(path)))
        running.clients.append(client)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        assert (await client.response())[2] == b"GET / "
        head = running.engine.seen[0].head
        assert (head.scheme, head.fields["X-Forwarded-For"]) == ("https", "192.0.2.1")
        assert (await running.until_finished(1))[0].peer == "unix"
    assert not path.exists()


async def test_a_unix_socket_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    async with site(listen=f"unix:{path}") as first, site(listen=f"unix:{path}"):
        await first.listener.force()
        assert path.exists()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}


async def test_tls(authority: trustme.CA, certificate: dict[str, Any]) -> None:
    body = os.urandom(1_000_000)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with site(ScriptedEngine({"/": lambda request: delivery(request, body)}), **certificate) as running:
        client = await running.connect(ssl=context, server_hostname="localhost")
        tls = client.writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert tls.version() in ("TLSv1.2", "TLSv1.3")
        client.send(b"GET / HTTP/1.1\r\nHost: localhost:443\r\n\r\n")
        assert (await client.response())[2] == body
        assert running.engine.seen[0].head.target_uri == "https://localhost/"
        client.send(b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.response())[0] == 421
        await client.close()


async def test_old_tls_is_refused(authority: trustme.CA, certificate: dict[str, Any]) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with site(**certificate) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await running.connect(ssl=context, server_hostname="localhost")


async def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("not a certificate")
    for name in ("bad.pem", "missing.pem"):
        settings = ServerSettings(tls_cert=str(tmp_path / name))
        with pytest.raises(ConfigError, match="certificate"):
            Listener(EdgeServer(ScriptedEngine(), settings, print), settings)


# -------------------------------------------------------------------------------- tunnels

UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n"
)


class Echo:
    """The origin's side of a tunnel."""

    def __init__(self) -> None:
        self.closed = False
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=4)

    async def read(self) -> bytes:
        data = await self._queue.get()
        if data is None:
            raise OriginError("reset")
        return b"" if data == b"bye" else data

    async def write(self, data: bytes) -> None:
        await self._queue.put(None if data == b"crash" else data)

    def close(self) -> None:
        self.closed = True


def tunnelling(echo: Echo) -> ScriptedEngine:
    async def handler(request: Request) -> Delivery:
        assert request.upgrade == "websocket"
        head = ResponseHead(101, fields_of([("Sec-WebSocket-Accept", "a")]))
        return Delivery(head, None, Exchange(request=request, started=0.0), tunnel=echo)

    return ScriptedEngine(handlers={"/ws": handler})


async def test_a_tunnel_carries_bytes_both_ways() -> None:
    echo = Echo()
    async with site(tunnelling(echo), keepalive_timeout=0.05, header_timeout=0.05) as running:
        client = await running.connect()
        client.send(UPGRADE % b"/ws" + b"early")
        status, fields, _ = await client.response()
        assert (status, fields["connection"], fields["upgrade"]) == (101, "Upgrade", "websocket")
        assert fields["sec-websocket-accept"] == "a"
        assert await client.reader.readexactly(5) == b"early"
        data = os.urandom(1_000_000)
        client.send(data)
        assert await client.reader.readexactly(len(data)) == data
        client.send(b"bye")
        assert await client.rest() == b""
        (facts,) = await running.until_finished(1)
        assert (facts.status, facts.aborted, facts.bytes_sent) == (101, "", len(data) + 5)
        assert echo.closed


@pytest.mark.parametrize("crash", [True, False])
async def test_a_tunnel_ends_with_either_side(crash: bool) -> None:
    echo = Echo()
    async with site(tunnelling(echo)) as running:
        client = await running.connect()
        client.send(UPGRADE % b"/ws")
        await client.response()
        if crash:
            client.send(b"crash")
            assert await client.rest() == b""
        else:
            client.writer.close()
        (facts,) = await running.until_finished(1)
        assert facts.aborted == ""
        assert echo.closed


async def test_an_upgrade_that_the_origin_refuses_is_an_ordinary_response() -> None:
    async with site() as running:
        client = await running.connect()
        client.send(UPGRADE % b"/plain" + GET % b"/smuggled")
        status, fields, body = await client.response()
        assert (status, fields["connection"], body) == (200, "close", b"GET /plain ")
        assert await client.rest() == b""
        assert running.engine.targets == ["/plain"]
        assert running.engine.seen[0].upgrade == "websocket"


# ------------------------------------------------------------------------------------ end


async def _download(running: Site, size: int) -> int:
    """Read slowly; return how much came."""
    client = await running.connect(limit=64 * 1024)
    client.send(GET % b"/")
    await client.reader.readuntil(b"\r\n\r\n")
    received = 0
    while received < size:
        data = await client.reader.read(256 * 1024)
        if not data:
            break
        received += len(data)
        await asyncio.sleep(0.001)
    await client.close()
    return received


async def test_draining_truncates_nothing() -> None:
    size = 6_000_000
    engine = ScriptedEngine({"/": lambda request: delivery(request, b"x" * size)})
    async with site(engine) as running:
        idle = await running.connect()
        idle.send(GET % b"/idle")
        assert (await idle.response())[0] == 200
        downloads = [asyncio.create_task(_download(running, size)) for _ in range(20)]
        await running.engine.until_seen(21)
        assert await running.listener.drain()
        assert await asyncio.gather(*downloads) == [size] * 20
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await running.connect()


async def test_whoever_was_let_in_is_served_and_told_to_leave() -> None:
    async with site() as running:
        clients = [await running.connect() for _ in range(50)]
        for client in clients:
            client.send(GET % b"/")
        draining = asyncio.create_task(running.listener.drain(5.0))
        for client in clients:
            status, fields, _ = await client.response()
            assert (status, fields["connection"]) == (200, "close")
            await client.close()
        assert await draining


async def test_whoever_was_shaking_hands_is_served_too(authority: trustme.CA, certificate: dict[str, Any]) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with site(**certificate) as running:
        raw = socket.create_connection(("127.0.0.1", running.port))
        raw.setblocking(False)
        draining = asyncio.create_task(running.listener.drain(5.0))
        client = Client(*await asyncio.open_connection(sock=raw, ssl=context, server_hostname="localhost"))
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (200, "close")
        await client.close()
        assert await draining


async def test_a_handshake_that_comes_to_nothing_does_not_keep_a_server(certificate: dict[str, Any]) -> None:
    async with site(**certificate) as running:
        with socket.create_connection(("127.0.0.1", running.port)):
            assert await running.listener.drain(5.0)


async def test_what_does_not_finish_is_forced() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def streaming(request: Request) -> Delivery:
        return delivery(request, stream=endless())

    async def hanging(request: Request) -> Delivery:
        await asyncio.Event().wait()
        raise AssertionError

    async with site(ScriptedEngine(handlers={"/stream": streaming, "/hang": hanging})) as running:
        stream, hang = await running.connect(), await running.connect()
        stream.send(GET % b"/stream")
        hang.send(GET % b"/hang")
        await stream.reader.readuntil(b"first")
        await running.engine.until_seen(2)
        assert not await running.listener.drain(0.05)
        await running.listener.force()
        await closed.wait()
        facts = await running.until_finished(2)
        assert [fact.aborted for fact in facts] == [Aborted.SHUTDOWN] * 2
        with pytest.raises(ConnectionResetError):
            await stream.rest()
