"""What goes out to one client, and how long it may take to read it.

Theory
    A transport keeps what the socket does not take, and says so when that is too much; writers wait then.
    Whether a client reads is seen from what has left the transport's buffer between two sweeps. Only time during
    which bytes were ready for the client counts against it, so a stream that is silent because its origin is
    silent may go on for ever.

Invariants
    * The buffer holds at most ``_HIGH_WATER`` bytes before writers wait: with one slice, less than 100 KiB.
    * What the socket takes at once is given to it past the transport only while the transport keeps nothing.
    * After ``lost`` writing does nothing and waiting fails.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from edgecache.edges.delivery import BrokenDelivery
from edgecache.edges.finished import Aborted
from edgecache.edges.settings import ServerSettings

__all__ = ["Outflow"]

_HIGH_WATER: Final = 32 * 1024

_RESET: Final = struct.pack("ii", 1, 0)
"""``struct linger``: on, no time."""

_MOST_PIECES: Final = 1024
"""How many a socket takes at once: Linux's IOV_MAX."""


class Outflow:
    """The writing half of a connection."""

    __slots__ = (
        "_blocked",
        "_flushed",
        "_progress_at",
        "_settings",
        "_socket",
        "_swept_at",
        "_transport",
        "_waiter",
        "_written",
        "paused",
    )

    def __init__(self, transport: asyncio.Transport, settings: ServerSettings) -> None:
        self.paused = False
        self._transport: asyncio.Transport | None = transport
        self._settings = settings
        self._waiter: asyncio.Future[None] | None = None
        self._written = 0  # bytes ever given to the transport
        self._flushed = 0  # bytes that had left it when progress was last seen
        self._progress_at: float | None = None  # None while nothing waits for the client
        self._swept_at = 0.0
        self._blocked = 0.0  # seconds the present response has waited for its client
        self._socket = _socket_of(transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes, or keep them until they can be sent."""
        if self._transport is not None and not self._transport.is_closing():
            self._written += len(data)
            self._transport.write(data)

    def write_answer(self, data: bytes) -> None:
        """Send a whole response."""
        self._blocked = 0.0
        self.write(data)

    def write_at_once(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Send the begin of a response, as much as the client has room for; return how many bytes that was.

        It is none when something waits already, or when the transport has to see the bytes first (TLS).
        """
        if self._transport is None or self._transport.is_closing() or self._socket < 0 or self.pending:
            return 0
        try:
            taken = os.writev(self._socket, pieces[:_MOST_PIECES])
        except OSError:  # no room; or the client is gone, and the transport finds out by itself
            return 0
        self._blocked = 0.0
        self._written += taken
        return taken

    async def drained(self) -> None:
        """Wait while the buffer is full; raise ``BrokenDelivery`` when the connection is gone."""
        if self.paused and self._transport is not None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._transport is None or self._transport.is_closing():
            raise BrokenDelivery(Aborted.CLIENT)

    def pause(self) -> None:
        """The buffer is full."""
        self.paused = True

    def resume(self) -> None:
        """The buffer has room again."""
        self.paused = False
        self._wake()

    def end(self, *, linger: bool) -> None:
        """End in order, when all is sent; with ``linger`` the other half stays open (RFC 9112 §9.6)."""
        if self._transport is None:
            return
        if linger and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def reset(self) -> None:
        """End now, so that the client cannot take what it got for complete."""
        if self._transport is None:
            return
        with suppress(OSError):  # of a socket that is closed already, which is all that is wanted
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def lost(self) -> None:
        """The connection is gone."""
        self._transport = None
        self._socket = -1
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def pending(self) -> int:
        """Bytes that wait for the client."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def start_response(self) -> None:
        """Give the client the whole of its time again."""
        self._blocked = 0.0

    def overdue(self, now: float) -> bool:
        """Whether the client reads too slowly; to be called at every sweep, ``now`` in seconds of the loop."""
        pending = self.pending
        if not pending:
            self._progress_at = None
            return False
        flushed = self._written - pending
        if self._progress_at is None:
            self._progress_at, self._flushed = now, flushed
        else:
            self._blocked += now - self._swept_at
            if flushed != self._flushed:
                self._progress_at, self._flushed = now, flushed
        self._swept_at = now
        return (
            now - self._progress_at >= self._settings.send_idle_timeout or self._blocked >= self._settings.send_timeout
        )


def _socket_of(transport: asyncio.Transport) -> int:
    """Return the descriptor of a socket that takes the bytes as they are; else -1."""
    if transport.get_extra_info("sslcontext") is not None:
        return -1
    found = transport.get_extra_info("socket")
    return -1 if found is None else int(found.fileno())
