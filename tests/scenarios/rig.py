"""What a story needs: an origin that answers as the story says, a client that sees every byte, and a clock.

Nothing here sleeps. What has to happen in an order is ordered by a ``Hold``: the origin stops at it, the story
waits until it is ``reached``, does what it wants to do meanwhile, and lets it go with ``release``. Time passes
only by ``FakeClock.advance``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

from edgecache.http.message import FieldsView, Pair, fields_of, reason_phrase, render_fields

__all__ = [
    "ClientResponse",
    "Download",
    "FakeClock",
    "Hold",
    "Received",
    "Reply",
    "Script",
    "ScriptedOrigin",
    "download",
    "fetch",
]

_NO_CONTENT: Final = frozenset({204, 304})
_LIMIT: Final = 16 * 1024 * 1024

FieldsLike: TypeAlias = Mapping[str, str] | tuple[Pair, ...]


class FakeClock:
    """A clock that a story moves. Called, it gives POSIX seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, for whoever looks at this clock."""
        self.now += seconds


class Hold:
    """A place where an origin waits for the story, or not, if the story was quicker."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    async def reached(self) -> None:
        """Wait until the origin stands here."""
        await self._reached.wait()

    def release(self) -> None:
        """Let the origin go on, now or when it comes here."""
        self._released.set()

    async def wait(self) -> None:
        """The origin's side."""
        self._reached.set()
        await self._released.wait()


# The origin.


@dataclass(frozen=True)
class Received:
    """A request as it arrived at the origin; ``number`` counts them from 1."""

    number: int
    method: str
    target: str
    fields: FieldsView
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What the origin answers.

    Attributes:
        body: content; as a tuple, each piece is written separately (and is one chunk, if ``chunked``).
        chunked: frame the body by chunks instead of Content-Length.
        close_delimited: frame it by the end of the connection.
        hold: wait here before anything is sent.
        hold_at: offset into the body -> where to wait before the byte at that offset is sent.
        abort_at: close the connection when so many bytes of the body were sent, instead of the rest;
            -1 to send nothing at all, not even the head.
        interim: 1xx responses sent before, each a status and its fields.
    """

    status: int = 200
    fields: FieldsLike = ()
    body: bytes | tuple[bytes, ...] = b""
    chunked: bool = False
    close_delimited: bool = False
    hold: Hold | None = None
    hold_at: Mapping[int, Hold] = field(default_factory=dict)
    abort_at: int | None = None
    interim: tuple[tuple[int, FieldsLike], ...] = ()


Script: TypeAlias = Callable[[Received], Reply | Awaitable[Reply]]


class ScriptedOrigin:
    """An HTTP/1.1 server on a port of its own that asks ``script`` what to answer; used with ``async with``."""

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or (lambda request: Reply(404))
        self.requests: list[Received] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        """Its URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> ScriptedOrigin:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close every connection and refuse new ones, as an origin that is down; ``async with`` starts it again."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def received(self, count: int) -> None:
        """Wait until ``count`` requests have arrived altogether."""
        while len(self.requests) < count:
            self._news.clear()
            await self._news.wait()

    def asked(self, target: str | None = None) -> int:
        """How many requests have arrived, for one target or for all."""
        return sum(target is None or request.target == target for request in self.requests)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            # The other side's leaving, and our own stopping, are how a connection ends.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; return whether the connection can be used for another."""
        first, fields = await _read_head(reader)
        method, target, _ = first.split(" ")
        body = await _read_request_body(reader, fields)
        request = Received(len(self.requests) + 1, method, target, fields, body)
        self.requests.append(request)
        self._news.set()
        reply = self.script(request)
        if not isinstance(reply, Reply):
            reply = await reply
        return await _send(writer, reply, method)


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, FieldsView]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    return first, fields_of((name, value.strip(" \t")) for name, _, value in pairs)


async def _read_request_body(reader: asyncio.StreamReader, fields: FieldsView) -> bytes:
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return b"".join([chunk async for chunk in _chunks(reader)])
    return await reader.readexactly(int(fields.get("content-length", 0)))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the chunks of a body; raise IncompleteReadError when it breaks off."""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


async def _send(writer: asyncio.StreamWriter, reply: Reply, method: str) -> bool:
    if reply.hold is not None:
        await reply.hold.wait()
    if reply.abort_at == -1:
        return False
    for status, fields in reply.interim:
        writer.write(_head(status, _pairs(fields)))
    pieces = reply.body if isinstance(reply.body, tuple) else (reply.body,)
    writer.write(_head(reply.status, _pairs(reply.fields) + _framing(reply, pieces)))
    if method == "HEAD" or reply.status in _NO_CONTENT:
        return True
    sent = 0
    for piece in _cut(pieces, {*reply.hold_at, *([] if reply.abort_at is None else [reply.abort_at])}):
        if sent in reply.hold_at:
            await writer.drain()
            await reply.hold_at[sent].wait()
        if sent == reply.abort_at:
            return False
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
        await writer.drain()
        sent += len(piece)
    if sent in reply.hold_at:
        await reply.hold_at[sent].wait()
    if sent == reply.abort_at:
        return False
    writer.write(b"0\r\n\r\n" if reply.chunked else b"")
    await writer.drain()
    return not reply.close_delimited


def _head(status: int, pairs: tuple[Pair, ...]) -> bytes:
    return f"HTTP/1.1 {status} {reason_phrase(status)}\r\n".encode() + render_fields(pairs) + b"\r\n"


def _pairs(fields: FieldsLike) -> tuple[Pair, ...]:
    return tuple(fields.items()) if isinstance(fields, Mapping) else fields


def _framing(reply: Reply, pieces: tuple[bytes, ...]) -> tuple[Pair, ...]:
    if reply.status in _NO_CONTENT or reply.close_delimited:
        return ()
    if reply.chunked:
        return (("Transfer-Encoding", "chunked"),)
    return (("Content-Length", str(sum(map(len, pieces)))),)


def _cut(pieces: tuple[bytes, ...], offsets: set[int]) -> list[bytes]:
    """Cut pieces further at offsets into the whole, and leave out empty ones."""
    cut, begins = [], 0
    for piece in pieces:
        at = sorted({0, len(piece), *(o - begins for o in offsets if begins < o < begins + len(piece))})
        cut += [piece[a:b] for a, b in pairwise(at)]
        begins += len(piece)
    return [piece for piece in cut if piece]


# The client.


@dataclass(frozen=True)
class ClientResponse:
    """A response as a client saw it. ``complete`` is false when its framing says that bytes are missing."""

    status: int
    fields: FieldsView
    body: bytes
    complete: bool
    interim: tuple[int, ...] = ()

    @property
    def cache_status(self) -> str:
        """The Cache-Status field, empty without one."""
        return self.fields.get("cache-status", "")


class Download:
    """A response on its way: its head first, then as much of its content as is asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str) -> None:
        self._reader = reader
        self._writer = writer
        self._method = method
        self._body: AsyncIterator[bytes] | None = None
        self._ahead = b""
        self._ended = False
        self.interim: tuple[int, ...] = ()
        self.status = 0
        self.fields: FieldsView = fields_of(())
        self.content = b""
        self.complete = False

    async def head(self) -> int:
        """Wait for the final head; return its status. Raises when the connection ends before it."""
        while not self.status:
            line, fields = await _read_head(self._reader)
            status = int(line.split(" ")[1])
            if 100 <= status < 200 and status != 101:
                self.interim += (status,)
                continue
            self.status, self.fields = status, fields
            self._body = self._pieces()
        return self.status

    async def read(self, count: int) -> bytes:
        """Wait for the next ``count`` bytes of content; fewer when it ends, or breaks off, before."""
        await self.head()
        assert self._body is not None
        while len(self._ahead) < count and not self._ended:
            piece = await anext(self._body, None)
            self._ended = piece is None
            self._ahead += piece or b""
        piece, self._ahead = self._ahead[:count], self._ahead[count:]
        self.content += piece
        return piece

    async def rest(self) -> ClientResponse:
        """Wait for the end, and close."""
        try:
            while await self.read(_LIMIT):
                pass
        finally:
            await self.close()
        return ClientResponse(self.status, self.fields, self.content, self.complete, self.interim)

    async def close(self) -> None:
        """Leave, whatever is still on its way."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Yield the content; set ``complete`` when all of it has come."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            if self._method == "HEAD" or self.status in _NO_CONTENT:
                pass
            elif self.fields.get("transfer-encoding", "").lower() == "chunked":
                async for chunk in _chunks(self._reader):
                    yield chunk
            elif "content-length" in self.fields:
                left = int(self.fields["content-length"])
                while left:
                    piece = await self._reader.read(min(left, _LIMIT))
                    if not piece:
                        return
                    left -= len(piece)
                    yield piece
            else:
                while piece := await self._reader.read(_LIMIT):
                    yield piece
            self.complete = True


async def download(
    port: int, target: str = "/", *, method: str = "GET", fields: FieldsLike = (), body: bytes = b""
) -> Download:
    """Send a request to 127.0.0.1 on a connection of its own; Host is ``example.com`` unless among ``fields``."""
    pairs = _pairs(fields)
    names = {name.lower() for name, _ in pairs}
    given: tuple[Pair, ...] = () if "host" in names else (("Host", "example.com"),)
    if body and not names & {"content-length", "transfer-encoding"}:
        given += (("Content-Length", str(len(body))),)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT)
    line = f"{method} {target} HTTP/1.1\r\n".encode("latin-1")
    writer.write(line + render_fields((*given, *pairs)) + b"\r\n" + body)
    return Download(reader, writer, method)


async def fetch(
    port: int, target: str = "/", method: str = "GET", fields: FieldsLike = (), body: bytes = b""
) -> ClientResponse:
    """Send a request to 127.0.0.1 and wait for the whole response, or for as much of it as comes."""
    return await (await download(port, target, method=method, fields=fields, body=body)).rest()
