"""Bytes received and not yet taken: a queue whose bound is the transport's back-pressure.

One taker, one feeder. The bytes fed before an error are taken before it is raised.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from edgecache.errors import OriginError, OriginTimeout

if TYPE_CHECKING:
    import asyncio

__all__ = ["Inflow"]

_HIGH: Final = 256 * 1024
_LOW: Final = 64 * 1024
"""Reading pauses above ``_HIGH`` bytes and resumes below ``_LOW``; one more read may be on top of it."""


class Inflow:
    """What has come out of a transport for one response, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = transport
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._error: OriginError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, piece: bytes) -> None:
        """Add bytes; pause the transport when enough of them wait."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if self._waiter is not None:
            self._wake()

    def end(self, error: OriginError | None = None) -> None:
        """Nothing more will come; the transport is let go, reading."""
        if self._paused:
            self._resume()
        self._transport = None
        self._error = error
        if self._waiter is not None:
            self._wake()

    def rest(self) -> bytes:
        """Return all that waits, after the end."""
        rest = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return rest

    async def take(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end.

        Raises:
            OriginTimeout: nothing came for ``timeout`` seconds of waiting.
            OriginError: the bytes broke off.
        """
        if not self._pieces and self._transport is not None:
            await self._wait(timeout)
        if self._pieces:
            piece = self._pieces.popleft()
            self._size -= len(piece)
            if self._size < _LOW:
                self._resume()
            return piece
        if self._error is not None:
            raise self._error
        return b""

    async def _wait(self, timeout: float | None) -> None:
        waiter = self._waiter = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, self._lose_patience, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _lose_patience(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(OriginTimeout("the origin stopped sending"))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
