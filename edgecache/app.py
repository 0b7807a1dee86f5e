"""The composition root: from a configuration to a running edge, and back.

The only module that may import every floor. Nothing is decided here; things are made, connected, started in the order
in which they depend on one another, and stopped in the opposite order.

Stopping, when asked the first time: readiness goes off, the public listener accepts nobody new, running responses
finish (``drain_timeout``), then fetches, origin connections, the admin listener and the log are closed. Asked again,
what is still open is reset.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from edgecache import __version__
from edgecache.edges.access_log import LineWriter, access_log
from edgecache.edges.admin import AdminState, Check, make_admin
from edgecache.edges.config import Config
from edgecache.edges.finished import Aborted, Finished, FinishedSink
from edgecache.edges.listener import Listener, parse_listen
from edgecache.edges.purge_api import Purging
from edgecache.edges.server import EdgeServer
from edgecache.edges.token_file import LocalToken
from edgecache.edges.tokens import Tokens, environment_token
from edgecache.engine.cache import Cache
from edgecache.engine.counters import Counters
from edgecache.errors import ConfigError
from edgecache.origin.upstreams import Upstreams
from edgecache.purging.local import LocalLedger
from edgecache.purging.selector import Selector, target_of
from edgecache.purging.verdict import Verdict
from edgecache.stores.memory import MemoryStore

__all__ = ["Edge", "compose", "run"]


class Edge:
    """One process's edge, made within a running loop. ``start``, then ``drain`` or ``force``, then ``close``."""

    def __init__(
        self, config: Config, *, clock: Callable[[], float] = time.time, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Raise ``ConfigError`` for what only shows when things are put together."""
        self.counters: Final = Counters()
        self.store: Final = MemoryStore(config.cache.memory, max_variants=config.cache.max_variants)
        self.ledger: Final = LocalLedger()
        self.origin: Final = Upstreams(config.origin.settings())
        self.cache: Final = Cache(self.origin, self.store, self.ledger, self.counters, config.cache.policy(), clock)
        self._writer = None if config.log.access == "off" else LineWriter(config.log.file)
        sinks = [_counting(self.counters)]
        if self._writer is not None:
            sinks.append(access_log(self._writer, config.log.access))
        settings = config.server.settings()
        self._server: Final = EdgeServer(self.cache, settings, _all(sinks))
        self.public: Final = Listener(self._server, settings, self._connection)
        self._admin_address: Final = parse_listen(config.admin.listen)
        self.local_token: Final = LocalToken(environ)
        purging = Purging(ledger=self.ledger, matching=self._matching, tokens=self._tokens(config, environ), now=clock)
        admin = make_admin(self._admin_state(clock), names=config.admin.names, purging=purging)
        self._admin: Final = web.AppRunner(admin, access_log=None)
        self._started = False

    @property
    def admin_addresses(self) -> list[object]:
        """Where the admin listener is bound, as ``getsockname`` tells."""
        return list(self._admin.addresses)

    def _tokens(self, config: Config, environ: Mapping[str, str]) -> Tokens:
        """Who may purge: those of the configuration, of the environment, and of this machine's commands."""
        tokens = [*config.granted(), self.local_token.token]
        if (from_environment := environment_token(environ)) is not None:
            tokens.append(from_environment)
        return Tokens(tokens)

    def _matching(self, selectors: Sequence[Selector], limit: int) -> tuple[int, list[str]]:
        """Count what is stored here and matches; return also up to ``limit`` of the URIs."""
        matchers = [selector.matcher() for selector in selectors]
        found: dict[str, None] = {}
        count = 0
        for stored in self.store.responses():
            target = target_of(stored.uri)
            is_meant = any(matches(target, stored.tags) for matches in matchers)
            if is_meant and self.ledger.verdict(stored) is not Verdict.INVALID:
                count += 1
                if len(found) < limit:
                    found[stored.uri] = None
        return count, list(found)

    def _connection(self) -> asyncio.Protocol:
        self.counters.connections += 1
        return self._server()

    async def start(self) -> None:
        """Begin to listen; raise ``ConfigError`` when an address cannot be had."""
        await self._admin.setup()
        site = _site(self._admin, self._admin_address)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"the admin listener cannot start: {error.strerror or error}") from None
        await self.public.start()
        self._started = True

    async def drain(self) -> bool:
        """Stop accepting and let running responses finish; return whether all did."""
        self._started = False
        return await self.public.drain()

    async def force(self) -> None:
        """Reset what is still open."""
        await self.public.force()

    async def close(self) -> None:
        """Release everything; the edge is not used afterwards."""
        await self.public.force()
        await self.cache.close()
        await self.origin.close()
        await self._admin.cleanup()
        await self.store.close()
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)

    def reopen_log(self) -> None:
        """Open the access log anew, after it was rotated."""
        if self._writer is not None:
            self._writer.reopen()

    def _admin_state(self, clock: Callable[[], float]) -> AdminState:
        return AdminState(
            version=__version__,
            counters=self.counters,
            store_statistics=lambda: {"memory": self.store.statistics()},
            in_flight=lambda: self.cache.in_flight,
            access_log=None if self._writer is None else self._writer.statistics,
            ready=self._ready,
            started=clock(),
            now=clock,
        )

    def _ready(self) -> tuple[bool, list[Check]]:
        return self._started, [Check("accepting", self._started, "" if self._started else "starting or draining")]


async def compose(config: Config, *, clock: Callable[[], float] = time.time) -> Edge:
    """Return a started edge; raise ``ConfigError`` when it cannot start, with nothing left open."""
    edge = Edge(config, clock=clock)
    try:
        await edge.start()
    except BaseException:
        await edge.close()
        raise
    return edge


def run(config: Config, announce: Callable[[str], None] = lambda address: None) -> int:
    """Run an edge until it is told to stop; return the exit code: 0, or 1 when responses were cut off.

    ``announce`` is called with the public URL (or ``unix:PATH``) once connections are accepted. Raises
    ``ConfigError`` when the edge cannot start.
    """
    logging.basicConfig(
        level=config.log.level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config, announce))


async def _serve(config: Config, announce: Callable[[str], None]) -> int:
    edge = await compose(config)
    stop, again = asyncio.Event(), asyncio.Event()

    def told_to_stop() -> None:
        (again if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    loop.add_signal_handler(signal.SIGUSR1, edge.reopen_log)
    try:
        edge.local_token.write(edge.admin_addresses)
        announce(_public_url(config, edge.public.addresses[0]))
        await stop.wait()
        return 0 if await _drained(edge, again) else 1
    finally:
        edge.local_token.remove()
        await edge.close()


async def _drained(edge: Edge, again: asyncio.Event) -> bool:
    """Drain, until done or told again; return whether every response came to its end."""
    draining = asyncio.ensure_future(edge.drain())
    waiting = asyncio.ensure_future(again.wait())
    await asyncio.wait((draining, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not draining.done():
        await edge.force()
        await draining
        return False
    return draining.result()


def _counting(counters: Counters) -> FinishedSink:
    def count(finished: Finished) -> None:
        exchange = finished.exchange
        counters.bytes_sent += finished.bytes_sent
        if exchange is None:
            counters.bad_requests += 1
        if finished.aborted in (Aborted.CLIENT, Aborted.SLOW):
            counters.client_aborts += 1
        counters.request_seconds["error" if exchange is None else exchange.result].observe(finished.seconds)
        if exchange is not None and exchange.origin_seconds is not None:
            counters.origin_seconds.observe(exchange.origin_seconds)

    return count


def _all(sinks: list[FinishedSink]) -> FinishedSink:
    def each(finished: Finished) -> None:
        for sink in sinks:
            sink(finished)

    return each


def _site(runner: web.AppRunner, address: tuple[str, int] | Path) -> web.BaseSite:
    if isinstance(address, Path):
        return web.UnixSite(runner, str(address))
    host, port = address
    return web.TCPSite(runner, host or None, port)


def _public_url(config: Config, address: str) -> str:
    if address.startswith("unix:"):
        return address
    return f"{'https' if config.server.tls_cert else 'http'}://{address}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it installs; else the loop of the standard library."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
