"""The content of a request on its way in: bounded in size, and not slower than it may be.

Theory
    The parser puts content into aiohttp's ``StreamReader``, which holds the socket back while its reader is
    slow. The one reader is the engine; it takes pieces from here. A client is only judged for time in which
    somebody waited for it, so an origin that reads slowly is not blamed on it.

Invariants
    * Whatever goes wrong with the content is one ``ClientError``, raised to the reader and kept in
      ``failure``: the server answers with it if it still can.
    * ``asked`` tells whether anybody began to read; only then is a client that expects it told to continue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import StreamReader

from edgecache.edges.settings import ServerSettings
from edgecache.errors import ClientError

__all__ = ["RequestContent"]

_UNREAD_BYTES: Final = 64 * 1024
_UNREAD_SECONDS: Final = 2.0
"""How much content that nobody wanted is taken in, and for how long, to keep its connection."""


class RequestContent(AsyncIterator[bytes]):
    """Pieces of one request's content. Raises ``ClientError`` when the rest will not come (400, 408, 413)."""

    def __init__(
        self,
        payload: StreamReader,
        settings: ServerSettings,
        clock: Callable[[], float],
        on_first_read: Callable[[], None],
    ) -> None:
        self.payload = payload
        self.failure: ClientError | None = None
        self.asked = False
        self._limit = settings.max_body
        self._window = settings.body_rate_window
        self._enough = settings.body_min_rate * settings.body_rate_window
        self._clock = clock
        self._on_first_read = on_first_read
        self._size = 0
        self._waiting_since: float | None = None
        self._waited = 0.0  # seconds, in the window that is judged
        self._received = 0  # bytes, in that window

    @property
    def being_read(self) -> bool:
        """Whether a reader is waiting for the next piece."""
        return self._waiting_since is not None

    async def __anext__(self) -> bytes:
        if not self.asked:
            self.asked = True
            self._on_first_read()
        self._waiting_since = self._clock()
        try:
            data = await self.payload.readany()
        except ClientError as error:
            self.failure = error
            raise
        finally:
            self._waited += self._clock() - self._waiting_since
            self._waiting_since = None
        if not data:
            raise StopAsyncIteration
        self._count(len(data))
        return data

    def _count(self, size: int) -> None:
        self._size += size
        self._received += size
        if self._size > self._limit:
            self.failure = ClientError(413, "content too large")
            raise self.failure
        if self._waited >= self._window and self._received >= self._enough:
            self._waited, self._received = 0.0, 0

    async def rest(self) -> bool:
        """Take in what nobody wanted, and forget it; return whether that was all. Too much is left where it is."""
        taken = 0
        try:
            async with asyncio.timeout(_UNREAD_SECONDS):
                while not self.being_read and taken <= _UNREAD_BYTES:
                    if not (data := await self.payload.readany()):
                        return True
                    taken += len(data)
        except (TimeoutError, ClientError):
            pass  # it is as good as too much
        return False

    def too_slow(self, now: float) -> bool:
        """Whether the client has been waited for too long; ``now`` in the seconds of the given clock."""
        if self._waiting_since is None:
            return False
        return self._waited + now - self._waiting_since >= self._window and self._received < self._enough
