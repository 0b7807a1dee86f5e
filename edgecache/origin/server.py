"""One configured server of an origin: its address, its connections, and how it has been doing.

The address comes from configuration and from nowhere else. Made and chosen by ``upstreams``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecache.errors import OriginError
from edgecache.origin.connection import Unanswered
from edgecache.origin.health import Health
from edgecache.origin.pool import Pool

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from edgecache.origin.address import Address
    from edgecache.origin.base import InterimHandler
    from edgecache.origin.response import Response
    from edgecache.origin.settings import OriginSettings
    from edgecache.origin.wire import WireRequest

__all__ = ["OriginServer"]


class OriginServer:
    """A server, its pool and its health. ``time`` is a monotonic clock, in seconds."""

    def __init__(
        self, address: Address, settings: OriginSettings, tls: ssl.SSLContext | None, time: Callable[[], float]
    ) -> None:
        self.address = address
        self.health = Health()
        self._time = time
        self._pool = Pool(address, settings, tls, time)

    @property
    def in_flight(self) -> int:
        """Requests that wait for, open or use a connection; until their bodies are here, or given up."""
        return self._pool.in_use

    async def send(
        self, request: WireRequest, on_interim: InterimHandler | None, *, fresh: bool = False, apart: bool = False
    ) -> Response:
        """Send a request; return when the final response's head is here.

        ``fresh`` distrusts idle connections; ``apart`` leaves them alone, and opens another.

        Raises:
            Unreachable: nothing was sent.
            Unanswered: a kept connection was closed under the request.
            OriginError: everything else that an origin can do wrong; ``OriginTimeout`` if by being slow.
        """
        try:
            connection = await self._pool.acquire(fresh=fresh, apart=apart)
            response = await connection.exchange(request, on_interim)
        except Unanswered:
            raise  # says nothing about the server: connections have to be closed some time
        except OriginError:
            self.health.failed(self._time())
            raise
        self.health.succeeded()
        response.server = self.address.url
        return response

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()
