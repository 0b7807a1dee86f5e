"""An origin of several equal servers: which one is asked, and when another attempt is made.

Theory
    A retry repairs the accident of one connection; when it is the origin that fails, retries make it fail
    harder. So there is at most one, it is for requests that may be repeated (RFC 9110 §9.2.2) and have no
    content, it happens only when no byte of an answer was seen, and all of them together stay within a
    share of the traffic. Stricter than the RFC: PUT and DELETE are idempotent, but are not repeated here.

    An answer is no failure, and is not asked for again here. But whoever reads it may know that another server would
    answer otherwise (``engine.other_servers``), and send the request once more, apart from those that were tried.

    Redirects are answers; they are never followed, so a request reaches no address but the configured ones.

Called by the engine, through ``base.Origin``.
"""

from __future__ import annotations

import asyncio
import time as clock
from typing import TYPE_CHECKING, Final

from edgecache.errors import ConfigError, OriginError
from edgecache.origin.address import parse_address, tls_context
from edgecache.origin.connection import Unanswered
from edgecache.origin.pool import Unreachable
from edgecache.origin.retry_budget import RetryBudget
from edgecache.origin.server import OriginServer
from edgecache.origin.wire import WireRequest, is_authority, render_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgecache.http.message import RequestHead
    from edgecache.origin.base import InterimHandler, RequestBody
    from edgecache.origin.response import Response
    from edgecache.origin.settings import OriginSettings

__all__ = ["TRIES_BEHIND_ONE_NAME", "Upstreams"]

TRIES_BEHIND_ONE_NAME: Final = 6
"""Connections that one request is sent over, to meet another server behind a balancer."""

_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})


class Upstreams:
    """The servers of one origin (``base.Origin``).

    ``time`` is a monotonic clock, in seconds. Raises ``ConfigError`` when the settings cannot work.
    """

    def __init__(self, settings: OriginSettings, *, time: Callable[[], float] = clock.monotonic) -> None:
        if settings.host is not None and not is_authority(settings.host):
            raise ConfigError(f"{settings.host!r} is not a host", hint="write host or host:port")
        addresses = [parse_address(url) for url in settings.urls]
        if not addresses:
            raise ConfigError("an origin without a server", hint="give it at least one URL")
        tls = tls_context(settings) if any(address.tls for address in addresses) else None
        self.servers = tuple(OriginServer(address, settings, tls, time) for address in addresses)
        self._host = settings.host
        self._time = time
        self._budget = RetryBudget(time())
        self._turn = 0

    async def send(
        self,
        head: RequestHead,
        body: RequestBody | None = None,
        *,
        upgrade: str | None = None,
        on_interim: InterimHandler | None = None,
        apart_from: Sequence[str] = (),
    ) -> Response:
        """Send a request to the least busy server that is up (``base.Origin.send``).

        Raises:
            ClientError: the request cannot be written as one HTTP request.
            OriginError: no server gave an answer that can be used.
            OriginTimeout: it took too long.
        """
        request = render_request(head, body, upgrade, self._host)
        self._budget.note_request(self._time())
        others: Sequence[OriginServer] = self.servers
        if apart_from:
            others = [server for server in self.servers if server.address.url not in apart_from]
        server = self._choose(others or self.servers)
        try:
            return await server.send(request, on_interim, apart=not others)
        except (Unanswered, Unreachable) as failure:
            second = self._second_choice(request, server, failure)
            if second is None:
                raise
        return await second.send(request, on_interim, fresh=second is server)

    @property
    def is_one_name(self) -> bool:
        """Whether only one server is configured; a balancer may stand there (``base.Origin``)."""
        return len(self.servers) == 1

    def has_other(self, tried: Sequence[str]) -> bool:
        """Whether a server is up that was not tried; behind a single name there may be several (``base.Origin``)."""
        if self.is_one_name:
            return len(tried) < TRIES_BEHIND_ONE_NAME
        return any(server.health.is_up() and server.address.url not in tried for server in self.servers)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(server.close() for server in self.servers))

    def _second_choice(self, request: WireRequest, first: OriginServer, failure: OriginError) -> OriginServer | None:
        if request.method not in _REPEATABLE or request.body is not None or request.upgrade is not None:
            return None
        if isinstance(failure, Unanswered):
            return first if self._budget.spend() else None
        others = [server for server in self.servers if server is not first]
        return self._choose(others) if others and self._budget.spend() else None

    def _choose(self, servers: Sequence[OriginServer]) -> OriginServer:
        """Return the server to ask: one due for a probe, else the least busy one that is up.

        With none up, the one that failed longest ago: it had the most time to recover.
        """
        now = self._time()
        for server in servers:
            if server.health.is_due(now):
                server.health.probe(now)
                return server
        self._turn += 1
        if len(servers) == 1:
            return servers[0]
        up = [server for server in servers if server.health.is_up()]
        if not up:
            return min(servers, key=lambda server: server.health.failed_at)
        if len(up) == 1:
            return up[0]
        # Among equals, take turns.
        start = self._turn % len(up)
        return min(up[start:] + up[:start], key=lambda server: server.in_flight)
