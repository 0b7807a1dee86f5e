"""The composition root: from a configuration to a running edge, and back.

The only module that may import every floor. Nothing is decided here; things are made, connected, started in the order
in which they depend on one another, and stopped in the opposite order.

Stopping: readiness goes off, the public listener accepts nobody new, running responses finish (``drain_timeout``),
then fetches, origin connections, the admin listener and the log are closed. Who runs it, and when, is told by
``processes``: each worker makes one edge.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from edgecache import __version__
from edgecache.edges.access_log import LineWriter, access_log
from edgecache.edges.admin import AdminState, Check, make_admin
from edgecache.edges.admin_listener import AdminListener
from edgecache.edges.config import Config
from edgecache.edges.deploys import Deploying, Deploys
from edgecache.edges.erasures import Erasures
from edgecache.edges.explain_api import ExplainApi
from edgecache.edges.finished import Aborted, Finished, FinishedSink
from edgecache.edges.hit_log import hit_log
from edgecache.edges.lane import HitLane
from edgecache.edges.listener import Listener
from edgecache.edges.purge_method import PurgeMethod
from edgecache.edges.purges import Purges, Purging
from edgecache.edges.scan_api import ScanApi
from edgecache.edges.server import EdgeServer
from edgecache.edges.settings import ServerSettings
from edgecache.edges.siblings import Siblings
from edgecache.edges.token_file import LocalToken
from edgecache.edges.tokens import Tokens, environment_token
from edgecache.engine.cache import Cache, eagerness
from edgecache.engine.counters import Counters
from edgecache.engine.matching import Matching
from edgecache.engine.scanning import Scanning
from edgecache.engine.sweep import Sweeper
from edgecache.origin.choice import origin_of
from edgecache.processes.scoreboard import Numbers, Shown
from edgecache.purging.distributed import boottime
from edgecache.purging.local import LocalLedger
from edgecache.shared import shared_by
from edgecache.stores.base import Eviction
from edgecache.stores.memory import MemoryStore
from edgecache.stores.tiered import TieredStore

if TYPE_CHECKING:
    from aiohttp import web

    from edgecache.processes.inheritance import Inheritance

__all__ = ["Edge", "compose"]

_logger = logging.getLogger(__name__)

_WAIT_FOR_LOG: Final = 1.0
"""Seconds in which the purge log is expected to answer before connections are accepted without it."""


class Edge:
    """One process's edge, made within a running loop. ``start``, ``open``; ``drain`` or ``force``; ``close``."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = boottime,
        environ: Mapping[str, str] = os.environ,
        inheritance: Inheritance | None = None,
        luck: Callable[[], float] = eagerness,
    ) -> None:
        """``clock`` gives POSIX seconds; ``steady``, for leases, seconds that neither jump nor stop.

        ``inheritance`` is what a worker gets from its supervisor; an edge without one makes its own sockets.
        ``luck`` is how eager requests are, see ``engine.parts``.
        Raise ``ConfigError`` for what only shows when things are put together.
        """
        self.counters: Final = Counters()
        self.memory: Final = _memory(config)
        self.shared: Final = shared_by(config, clock, steady)
        self.store: Final = self._tiers()
        self.ledger: Final = LocalLedger() if self.shared is None else self.shared.ledger
        self.origin: Final = origin_of(config.origin.settings(), clock=clock)
        lock = None if self.shared is None else (self.shared.lock, config.redis.fill_lock)
        self.rules: Final = config.rule_set()
        self.cache: Final = Cache(
            self.origin,
            self.store,
            self.ledger,
            self.counters,
            self.rules,
            clock,
            lock,
            luck,
            max_encoded=config.cache.encoded,
        )
        self._writer = None if config.log.access == "off" else LineWriter(config.log.file)
        sinks = [_counting(self.counters)]
        if self._writer is not None:
            sinks.append(access_log(self._writer, config.log.access))
        given = inheritance
        self.local_token: Final = given.token if given else LocalToken(environ)
        erase = None if self.shared is None else self.shared.store.erase
        self.erasures: Final = Erasures(erase, counters=self.counters, now=clock, steady=steady)
        tokens, siblings = self._tokens(config, environ), self._siblings(given)
        purges = Purges(self._purging(tokens, siblings, clock))
        self.deploys: Final = Deploys(self._deploying(tokens, siblings, clock))
        settings = config.server.settings()
        lanes = self._lanes(config, settings) if config.server.lane else None
        self._server: Final = EdgeServer(self.cache, settings, _all(sinks), PurgeMethod(purges), lanes)
        self.sweeper: Final = Sweeper(self.memory, self.ledger)
        self.public: Final = Listener(self._server, settings, self.connection, given.public if given else ())
        self.shown: Final = Shown(self._numbers, given.seat if given else None)
        self._admin: Final = AdminListener(
            self._operated(config, purges, tokens, siblings, clock),
            config.admin.listen,
            given.admin if given else (),
            given.own_socket if given else None,
        )
        self._started = False

    def _operated(
        self, config: Config, purges: Purges, tokens: Tokens, siblings: Siblings, clock: Callable[[], float]
    ) -> web.Application:
        """Make what operators ask and order."""
        return make_admin(
            self._admin_state(clock),
            names=config.admin.names,
            purges=purges,
            deploys=self.deploys,
            explaining=ExplainApi(self.cache.explainer(self.memory, config.sources), tokens, self._workers),
            scanning=ScanApi(Scanning(self.memory, self.ledger, self.rules, clock), purges, siblings),
        )

    @property
    def connections(self) -> int:
        """How many connections of clients are open."""
        return self._server.connections

    @property
    def admin_addresses(self) -> list[object]:
        """Where the admin listener is bound, as ``getsockname`` tells."""
        return self._admin.addresses

    def _lanes(self, config: Config, settings: ServerSettings) -> HitLane:
        log = None if self._writer is None else hit_log(self._writer, config.log.access)
        return HitLane(self.cache.replies(), self.rules.consulted(), settings, self.counters, log)

    def _tiers(self) -> TieredStore:
        if self.shared is None:
            return TieredStore(self.memory)
        return TieredStore(self.memory, self.shared.store, self.shared.behind, self._store_failed)

    def _store_failed(self) -> None:
        self.counters.store_failures += 1

    def _tokens(self, config: Config, environ: Mapping[str, str]) -> Tokens:
        """Who may purge: those of the configuration, of the environment, and of this machine's commands."""
        tokens = [*config.granted(), self.local_token.token]
        if (from_environment := environment_token(environ)) is not None:
            tokens.append(from_environment)
        return Tokens(tokens)

    def _siblings(self, given: Inheritance | None) -> Siblings:
        return Siblings(given.siblings, authorization=self.local_token.authorization) if given else Siblings()

    def _deploying(self, tokens: Tokens, siblings: Siblings, clock: Callable[[], float]) -> Deploying:
        return Deploying(ledger=self.ledger, handle=self.cache.handle, tokens=tokens, siblings=siblings, now=clock)

    def _workers(self) -> int:
        known = self.shown.supervision()
        return 1 if known is None else max(1, known.workers)

    def _purging(self, tokens: Tokens, siblings: Siblings, clock: Callable[[], float]) -> Purging:
        return Purging(
            ledger=self.ledger,
            matching=Matching(self.memory, self.ledger),
            tokens=tokens,
            siblings=siblings,
            counters=self.counters,
            erasures=self.erasures,
            now=clock,
        )

    def connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, as the public listener needs it."""
        self.counters.connections += 1
        return self._server()

    async def start(self) -> None:
        """Get ready, short of accepting connections."""
        await self._hear_of_purges()
        self.sweeper.start()

    async def open(self) -> None:
        """Begin to accept; raise ``ConfigError`` when an address cannot be had."""
        await self._admin.start()
        await self.public.start()
        self._started = True

    async def _hear_of_purges(self) -> None:
        """Begin to keep in step with other processes; a log that does not answer is not waited for long."""
        starting = asyncio.ensure_future(self.ledger.start())
        await asyncio.wait((starting,), timeout=_WAIT_FOR_LOG)
        if not (starting.done() and starting.result()):
            _logger.warning("the purge log cannot be reached yet: the edge serves on, and asks the origin each time")
        elif self.shared is not None:
            await self.shared.advise()

    def stop_serving(self) -> None:
        """Answer nothing from the store any more where a successor's purges would not be heard."""
        self.ledger.retire()

    async def retire(self, *, last: bool) -> None:
        """Accept nobody, and answer nothing from the store that a successor's purges may concern.

        Who waits at the public sockets is left to the successor, unless this was the ``last`` to poll them.
        """
        self._started = False
        self.stop_serving()
        await self._admin.leave()
        await self.public.leave(last=last)

    async def drain(self) -> bool:
        """Stop accepting and let running responses finish; return whether all did."""
        self._started = False
        return await self.public.drain()

    async def force(self) -> None:
        """Reset what is still open."""
        await self.public.force()

    async def close(self) -> None:
        """Release everything; the edge is not used afterwards."""
        await self.sweeper.close()
        await self.erasures.close()
        await self.deploys.close()
        await self.public.force()
        await self.cache.close()
        await self.origin.close()
        await self._admin.close()
        await self.ledger.close()
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
            counters=self.shown,
            store_statistics=self.shown.stores,
            in_flight=self.shown.in_flight,
            access_log=None if self._writer is None else self.shown.access_log,
            supervision=self.shown.supervision,
            tiers=self.shown.tiers,
            ledger=self.shown.ledger,
            ready=self._ready,
            started=clock(),
            now=clock,
        )

    def _numbers(self) -> Numbers:
        log = None if self._writer is None else self._writer.statistics()
        return Numbers(
            self.counters.statistics(),
            self.store.statistics(),
            self.cache.in_flight,
            log,
            tiers={} if self.shared is None else {"redis": self.shared.counts()},
            ledger=self._ledger_state(),
        )

    def _ledger_state(self) -> dict[str, int]:
        leased = self.shared is None or self.shared.ledger.leased()
        failed = self.shared is not None and self.shared.ledger.failure != ""
        return {"leased": int(leased), "sequence": self.ledger.sequence, "failed": int(failed)}

    def _ready(self) -> tuple[bool, list[Check]]:
        accepting = Check("accepting", self._started, "" if self._started else "starting or draining")
        return self._started, [accepting, *(self.shared.checks() if self.shared is not None else ())]


async def compose(
    config: Config,
    *,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = boottime,
    inheritance: Inheritance | None = None,
    luck: Callable[[], float] = eagerness,
) -> Edge:
    """Return a started edge; raise ``ConfigError`` when it cannot start, with nothing left open.

    It accepts connections, but with an ``inheritance`` only when it is opened.
    """
    edge = Edge(config, clock=clock, steady=steady, inheritance=inheritance, luck=luck)
    try:
        await edge.start()
        if inheritance is None:
            await edge.open()
    except BaseException:
        await edge.close()
        raise
    return edge


def _memory(config: Config) -> MemoryStore:
    wanted = config.cache
    return MemoryStore(wanted.memory, max_variants=wanted.max_variants, eviction=Eviction(wanted.eviction))


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
    if len(sinks) == 1:
        return sinks[0]

    def each(finished: Finished) -> None:
        for sink in sinks:
            sink(finished)

    return each
