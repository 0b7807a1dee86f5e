"""Origins that say exactly what a test wants, over real sockets; and the words to talk to them.

A script is a coroutine that plays one connection. What it does not read, nobody reads; when it returns,
the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgecache.http.message import RequestHead, fields_of
from edgecache.origin.base import RequestBody
from edgecache.origin.settings import OriginSettings
from edgecache.origin.upstreams import Upstreams

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from edgecache.http.message import Pair
    from edgecache.origin.response import Response

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@dataclass
class Peer:
    """The origin's end of one connection."""

    origin: ScriptedOrigin
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Read and record a request head; the connection's end raises IncompleteReadError."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.origin.requests.append(head)
        return head

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Close with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the other side has closed, whatever it still sends."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


@dataclass
class ScriptedOrigin:
    url: str = ""
    peers: list[Peer] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)


if TYPE_CHECKING:
    Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(
    script: Script, *, tls: ssl.SSLContext | None = None, path: str | None = None
) -> AsyncIterator[ScriptedOrigin]:
    origin = ScriptedOrigin()
    tasks: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(origin, reader, writer)
        origin.peers.append(peer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(peer)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()
        tasks.discard(task)

    if path is not None:
        server = await asyncio.start_unix_server(play, path)
        origin.url = f"unix:{path}"
    else:
        server = await asyncio.start_server(play, "127.0.0.1", 0, ssl=tls)
        origin.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield origin
    finally:
        server.close()
        for peer in origin.peers:
            peer.writer.transport.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def answering(*answers: bytes) -> Script:
    """A script that gives these answers on each connection, in order, then the last one again and again."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            peer.write(answer)
        while True:
            await peer.request()
            peer.write(answers[-1])

    return script


def once(answer: bytes) -> Script:
    """A script that gives one answer and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(answer)

    return script


@contextlib.asynccontextmanager
async def upstreams(*origins: ScriptedOrigin | str, **settings: object) -> AsyncIterator[Upstreams]:
    time = settings.pop("time", None)
    urls = tuple(origin if isinstance(origin, str) else origin.url for origin in origins)
    given = OriginSettings(urls=urls, **settings)  # type: ignore[arg-type]
    client = Upstreams(given) if time is None else Upstreams(given, time=time)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()
        assert [server.in_flight for server in client.servers] == [0] * len(urls), "a slot leaked"


def request(method: str = "GET", target: str = "/", *fields: Pair) -> RequestHead:
    return RequestHead(method, "http", "site.example", target, fields_of(fields))


def content(*pieces: bytes, length: int | None = None) -> RequestBody:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return RequestBody(chunks(), length)


async def body_of(response: Response) -> bytes:
    return b"".join([piece async for piece in response.chunks()])


async def fetch(client: Upstreams, target: str = "/") -> bytes:
    return await body_of(await client.send(request("GET", target)))


async def ticks(number: int = 20) -> None:
    """Let the loop go round, so that what is in the kernel gets where it is going."""
    for _ in range(number):
        await asyncio.sleep(0)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
