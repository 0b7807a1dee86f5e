"""The public server: makes connections, sweeps them, and ends them.

Theory
    Deadlines of thousands of connections cost one timer: while there are connections, ``sweep`` looks at each of
    them a few times in the shortest deadline, at most twice a second. A deadline is met up to one period late.

    Stopping has two steps. ``drain`` lets every response come to its end and tells clients that it is the last one
    on its connection; ``force`` resets what is left.

Invariants
    * aiohttp's parser is the one in C. The one in Python reads some messages differently, and what two
      parsers read differently can be used to smuggle requests.
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakSet

from aiohttp import http_parser

from edgecache.edges.base import Engine, Purger
from edgecache.edges.connection import Connection
from edgecache.edges.finished import FinishedSink
from edgecache.edges.forwarded import TrustedPeers
from edgecache.edges.lane import HitLane
from edgecache.edges.settings import ServerSettings
from edgecache.errors import ClientError, ConfigError
from edgecache.http.target import parse_authority

__all__ = ["EdgeServer"]

_LONGEST_PERIOD: Final = 0.5
"""Seconds between sweeps, unless a deadline is so short that it would be missed by much."""

_SWEEPS_PER_DEADLINE: Final = 4

_HANDSHAKE_SECONDS: Final = 1.0
"""How long a client accepted just before the server stopped may take to finish its TLS handshake."""


class EdgeServer:
    """Factory of protocols for ``loop.create_server``; to be made within a running loop."""

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        sink: FinishedSink,
        purger: Purger | None = None,
        lanes: HitLane | None = None,
    ) -> None:
        """Raise ``ConfigError`` for peers or an authority that cannot be parsed, or without aiohttp's C parser.

        Without a ``purger`` PURGE is refused, whoever sends it; without ``lanes`` everything takes the full lane.
        """
        _require_c_parser()
        _check_default_authority(settings.default_authority)
        self.engine = engine
        self.purger = purger
        self.lanes = lanes
        self.settings = settings
        self.sink = sink
        self.peers = TrustedPeers(settings.trusted_peers, settings.purge_from if purger else ())
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._greeting: WeakSet[Connection] = WeakSet()
        self._period = _period(settings)
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        connection = Connection(self)
        self._greeting.add(connection)
        return connection

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def buffered(self) -> int:
        """Bytes that wait for clients to read them."""
        return sum(connection.buffered for connection in self._connections)

    def opened(self, connection: Connection) -> None:
        """Called by a connection when it begins."""
        self._greeting.discard(connection)
        self._connections.add(connection)
        self._empty.clear()
        if self._timer is None:
            self._timer = self._loop.call_later(self._period, self._sweep)
        if self.draining:
            connection.drain()

    def closed(self, connection: Connection) -> None:
        """Called by a connection when it has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in tuple(self._connections):
            connection.sweep(now)
        self._timer = self._loop.call_later(self._period, self._sweep) if self._connections else None

    async def until_empty(self) -> None:
        """Wait until no connection is open."""
        await self._empty.wait()

    async def drain(self, timeout: float) -> bool:
        """Let running responses finish, for ``timeout`` seconds at most; return whether all did."""
        self.draining = True
        for connection in tuple(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(timeout):
                await self._until_greeted()
                await self.until_empty()
        except TimeoutError:
            return False
        return True

    async def _until_greeted(self) -> None:
        """Wait until those who are accepted have begun. Only TLS takes time for that, or comes to nothing."""
        deadline = self._loop.time() + _HANDSHAKE_SECONDS
        while self._greeting and self._loop.time() < deadline:  # noqa: ASYNC110  # its failure sets no event
            await asyncio.sleep(_HANDSHAKE_SECONDS / 100)

    async def force(self) -> None:
        """Reset every connection and wait until they are gone."""
        self.draining = True
        for connection in tuple(self._connections):
            connection.abort()
        await self.until_empty()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _period(settings: ServerSettings) -> float:
    deadlines = (
        settings.header_timeout,
        settings.keepalive_timeout,
        settings.body_rate_window,
        settings.send_idle_timeout,
        settings.send_timeout,
    )
    return min(_LONGEST_PERIOD, min(deadlines) / _SWEEPS_PER_DEADLINE)


def _check_default_authority(authority: str | None) -> None:
    if authority is None:
        return
    try:
        parse_authority(authority, "http")
    except ClientError:
        raise ConfigError(f"default authority {authority!r} is not HOST or HOST:PORT") from None


def _require_c_parser() -> None:
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ConfigError(
            "aiohttp runs without its C extensions, whose HTTP parser is needed here",
            hint="install a wheel of aiohttp for this platform, and unset AIOHTTP_NO_EXTENSIONS",
        )
