"""The connections to one server: the idle ones to use again, and the number that may be open.

Theory
    Every exchange holds a slot from before its connection is opened or taken until the connection is
    back or closed. A connection is opened only when none is idle, so the slots bound the idle ones too.
    The most recently used connection is taken first: the others get old and are closed, and an origin
    sees no more connections than it needs.

Invariants
    * A connection is in ``_idle`` or in ``_busy`` or closed.
    * ``len(_busy)`` plus the connections being opened equals the slots taken.
    * No slot is free while somebody waits for one: it is handed on, to who came first.
    * State changes synchronously: there is no ``await`` between taking a connection and writing to it.

One per server, used by ``server``.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs

from edgecache.errors import OriginError, OriginTimeout
from edgecache.origin.connection import OriginConnection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from edgecache.origin.address import Address
    from edgecache.origin.settings import OriginSettings

__all__ = ["Pool", "Unreachable", "UnreachableInTime"]

_MAX_IDLE: Final = 64

_HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds before the next address is tried beside the first (RFC 8305 §8)."""


class Unreachable(OriginError):
    """No connection could be had, so nothing was sent."""


class UnreachableInTime(Unreachable, OriginTimeout):
    """No connection could be had in time, so nothing was sent."""


class Pool:
    """Connections to ``address``. ``time`` is a monotonic clock, in seconds."""

    def __init__(
        self, address: Address, settings: OriginSettings, tls: ssl.SSLContext | None, time: Callable[[], float]
    ) -> None:
        self._address = address
        self._settings = settings
        self._tls = tls
        self._time = time
        self._free = settings.max_connections  # slots
        self._waiting: dict[asyncio.Future[None], None] = {}  # for a slot, in turn
        self._idle: dict[OriginConnection, float] = {}  # since when, oldest first
        self._busy: set[OriginConnection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False
        self.in_use = 0

    async def acquire(self, *, fresh: bool = False, apart: bool = False) -> OriginConnection:
        """Return a connection, none of those idle now if ``fresh`` or ``apart``; it comes back by itself.

        With ``fresh`` those are closed; with ``apart`` only the oldest is, to keep the bound.

        Raises:
            Unreachable: nobody listens, there is no such name, or TLS failed.
            UnreachableInTime: that, or the wait for a slot, took longer than ``connect_timeout``.
        """
        if fresh:
            # A kept connection was dead, so its siblings are suspect; and it keeps the bound above.
            self._drop_idle()
        if apart and self._idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.abort("another takes its place")
        self.in_use += 1
        try:
            connection = self._take_idle() if self._free and not apart else None
            if connection is None:
                connection = await self._open_in_time(apart=apart)
            else:
                self._free -= 1
        except BaseException:
            self.in_use -= 1
            raise
        self._busy.add(connection)
        return connection

    def released(self, connection: OriginConnection) -> None:
        """Keep a connection whose exchange is over (``connection.Home``)."""
        self._leave(connection)
        if self._closed or len(self._idle) >= _MAX_IDLE:
            connection.abort("one too many")
            return
        self._idle[connection] = self._time()
        if self._sweeping is None:
            self._schedule_sweep()

    def lost(self, connection: OriginConnection) -> None:
        """Forget a connection that is closed (``connection.Home``)."""
        self._idle.pop(connection, None)
        if connection in self._busy:
            self._leave(connection)

    async def close(self) -> None:
        """Close every connection, and wait until they are."""
        self._closed = True
        connections = [*self._idle, *self._busy]
        for connection in connections:
            connection.abort("closing down")
        if connections:
            await asyncio.wait([connection.closed for connection in connections])
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _leave(self, connection: OriginConnection) -> None:
        self._busy.remove(connection)
        self.in_use -= 1
        if self._waiting:
            self._give_slot()
        else:
            self._free += 1

    # Slots

    async def _take_slot(self) -> None:
        if self._free:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            await waiter
        except asyncio.CancelledError:
            self._waiting.pop(waiter, None)
            if not waiter.cancelled():  # it got one, and does not want it any more
                self._give_slot()
            raise

    def _give_slot(self) -> None:
        while self._waiting:
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            if not waiter.done():  # else its task is being cancelled
                waiter.set_result(None)
                return
        self._free += 1

    # Taking an idle connection

    def _take_idle(self) -> OriginConnection | None:
        while self._idle:
            connection, since = self._idle.popitem()
            if self._time() - since < self._settings.keepalive and connection.is_reusable():
                return connection
            connection.abort("kept too long, or not silent")
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.popitem()[0].abort("suspect")

    def _schedule_sweep(self) -> None:
        if self._idle and self._sweeping is None and not self._closed:
            oldest = next(iter(self._idle.values()))
            delay = max(0.0, oldest + self._settings.keepalive - self._time())
            self._sweeping = asyncio.get_running_loop().call_later(delay, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        limit = self._time() - self._settings.keepalive
        for connection in [each for each, since in self._idle.items() if since <= limit]:
            del self._idle[connection]
            connection.abort("kept too long")
        self._schedule_sweep()

    # Opening one

    async def _open_in_time(self, *, apart: bool) -> OriginConnection:
        url, timeout = self._address.url, self._settings.connect_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._take_slot()
                try:
                    return (None if apart else self._take_idle()) or await self._open()
                except BaseException:
                    self._give_slot()
                    raise
        except TimeoutError as error:
            raise UnreachableInTime(f"no connection to {url} within {timeout} s") from error
        except OSError as error:
            raise Unreachable(f"no connection to {url}: {error}") from error

    async def _open(self) -> OriginConnection:
        loop = asyncio.get_running_loop()
        make = partial(OriginConnection, loop, self._settings, self)
        address = self._address
        if address.path is not None:
            _, connection = await loop.create_unix_connection(make, address.path)
        else:
            # Not loop.create_connection's own happy eyeballs: uvloop's has none.
            addresses = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            found = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY, loop=loop
            )
            name = address.host if address.tls else None
            _, connection = await loop.create_connection(
                make, sock=found, ssl=self._tls if address.tls else None, server_hostname=name
            )
        if self._closed or not connection.is_open:
            connection.abort("closed already")
            raise Unreachable(f"connection to {address.url} closed at once")
        return connection
