"""A proxy that does to a connection what networks and peers do: controlled in the process, byte by byte.

It listens on 127.0.0.1 or on a Unix socket and forwards to one of either. Each direction is a ``Lane``, whose
attributes are read anew for every piece of bytes: they can be changed while a connection is open.

    async with FaultProxy(("127.0.0.1", port)) as proxy:
        proxy.down.latency = 0.1          # towards the client, seconds before each piece
        proxy.up.slice = 1                # towards the server, byte by byte
        proxy.down.hold = asyncio.Event() # nothing passes until it is set
        proxy.replies["SET"] = b"-OOM command not allowed\\r\\n"   # for RESP: answered here, in order
        proxy.reset()                     # every open connection ends with RST

Nothing waits for real time unless ``latency`` or ``bandwidth`` say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Final, TypeAlias

__all__ = ["Address", "FaultProxy", "Lane"]

Address: TypeAlias = tuple[str, int] | Path

_PIECE: Final = 64 * 1024


@dataclass(slots=True)
class Lane:
    """What happens to bytes in one direction.

    Attributes:
        latency: seconds before each piece.
        bandwidth: bytes per second, None for no limit.
        slice: bytes per write, None for as they come.
        hold: nothing passes until this event is set.
        black_hole: bytes are read and vanish.
        corrupt: offsets, counted over each connection, of the bytes that are inverted.
        limit: bytes per connection after which it is closed.
        seen: bytes that arrived so far, over all connections.
        arrived: set whenever bytes arrive.
    """

    latency: float = 0.0
    bandwidth: float | None = None
    slice: int | None = None
    hold: asyncio.Event | None = None
    black_hole: bool = False
    corrupt: frozenset[int] = frozenset()
    limit: int | None = None
    seen: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class _Cut(Exception):
    """The limit of a lane was reached."""


@dataclass(eq=False, slots=True)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passed: dict[int, int] = field(default_factory=dict)
    half_open: bool = False

    def close(self) -> None:
        for writer in (self.client, self.server):
            writer.close()

    def reset(self) -> None:
        """End both sides with RST where there is such a thing, else at once."""
        for writer in (self.client, self.server):
            peer = writer.get_extra_info("socket")
            if peer.family != socket.AF_UNIX:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class FaultProxy:
    """Forwards connections to ``upstream``; an asynchronous context manager.

    Args:
        upstream: host and port, or the path of a Unix socket.
        listen: the path of a Unix socket to listen on; None: 127.0.0.1 and a free port.
        ssl: talk TLS with clients, on a port.
    """

    def __init__(self, upstream: Address, listen: Path | None = None, *, ssl: SSLContext | None = None) -> None:
        self.upstream = upstream
        self.up = Lane()
        self.down = Lane()
        self.refuse = False
        """New connections are reset."""
        self.replies: dict[str, bytes] = {}
        """Command (upper case; ``*`` for any) to the RESP reply it gets without reaching the server."""
        self.accepted = 0
        self._listen = listen
        self._ssl = ssl
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()

    async def __aenter__(self) -> FaultProxy:
        if self._listen is not None:
            self._server = await asyncio.start_unix_server(self._accept, self._listen)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._ssl)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)  # who was let in last gets its task, and is ended with the others
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """A URL for Redis clients."""
        return f"unix://{self._listen}" if self._listen is not None else f"redis://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def reset(self) -> None:
        """Reset every open connection."""
        for connection in tuple(self._connections):
            connection.reset()

    def half_open(self) -> None:
        """Forget every open connection as a router does: the server's side ends, the client is not told."""
        for connection in self._connections:
            connection.half_open = True
            connection.server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            return  # the proxy is closing; the server's own task must not end in an error
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refuse:
                raise ConnectionRefusedError
            if isinstance(self.upstream, Path):
                back, forth = await asyncio.open_unix_connection(self.upstream)
            else:
                back, forth = await asyncio.open_connection(*self.upstream)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, forth)
        self._connections.add(connection)
        pass_on = self._converse if self.replies else self._forward
        try:
            await pass_on(connection, reader, back)
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _forward(self, connection: _Connection, reader: asyncio.StreamReader, back: asyncio.StreamReader) -> None:
        lanes = (
            asyncio.create_task(self._pump(connection, self.up, reader, connection.server)),
            asyncio.create_task(self._pump(connection, self.down, back, connection.client)),
        )
        try:
            await asyncio.wait(lanes, return_when=asyncio.FIRST_COMPLETED)
            if connection.half_open:
                await lanes[0]
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _pump(
        self, connection: _Connection, lane: Lane, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        """Move bytes until one side ends."""
        with contextlib.suppress(OSError, _Cut):
            while piece := await source.read(_PIECE):
                if not connection.half_open:
                    await self._pass(connection, lane, piece, sink)

    async def _pass(self, connection: _Connection, lane: Lane, piece: bytes, sink: asyncio.StreamWriter) -> None:
        """Let one piece through the lane."""
        lane.seen += len(piece)
        lane.arrived.set()
        start = connection.passed.get(id(lane), 0)
        connection.passed[id(lane)] = start + len(piece)
        piece = bytes(
            octet ^ 0xFF if lane.corrupt and start + at in lane.corrupt else octet for at, octet in enumerate(piece)
        )
        cut = lane.limit is not None and start + len(piece) >= lane.limit
        if lane.limit is not None:
            piece = piece[: max(lane.limit - start, 0)]
        step = lane.slice or len(piece) or 1
        for at in range(0, len(piece), step):
            await self._write(lane, piece[at : at + step], sink)
        if cut:
            raise _Cut

    async def _write(self, lane: Lane, piece: bytes, sink: asyncio.StreamWriter) -> None:
        if lane.hold is not None:
            await lane.hold.wait()
        if lane.latency:
            await asyncio.sleep(lane.latency)
        if lane.bandwidth:
            await asyncio.sleep(len(piece) / lane.bandwidth)
        if not lane.black_hole:
            sink.write(piece)
            await sink.drain()

    async def _converse(
        self, connection: _Connection, reader: asyncio.StreamReader, back: asyncio.StreamReader
    ) -> None:
        """Pass RESP command by command, so that a reply of our own comes in its turn."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, _Cut):
            while True:
                command = await _frame(reader)
                word = command.split(b"\r\n", 3)[2].decode().upper()
                reply = self.replies.get(word) or self.replies.get("*")
                if reply is None:
                    await self._pass(connection, self.up, command, connection.server)
                    reply = await _frame(back)
                await self._pass(connection, self.down, reply, connection.client)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Return one whole RESP2 or RESP3 value as it stands on the wire."""
    line = await reader.readuntil(b"\r\n")
    kind, count = line[:1], line[1:-2]
    if kind in b"$=!" and count != b"-1":
        return line + await reader.readexactly(int(count) + 2)
    if kind in b"*~>%" and count != b"-1":
        members = int(count) * (2 if kind == b"%" else 1)
        return line + b"".join([await _frame(reader) for _ in range(members)])
    return line
