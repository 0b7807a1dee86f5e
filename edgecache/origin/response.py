"""What a caller holds of an exchange after its head: the body, or the tunnel.

Neither knows the connection's state: both read from the exchange's own inflow, which outlives the
connection's interest in it, so a response that was received whole can be read after its connection has
gone on to serve others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from edgecache.http.message import ResponseHead
    from edgecache.origin.base import Framing
    from edgecache.origin.framing import BodyReader
    from edgecache.origin.inflow import Inflow

__all__ = ["ConnectionTunnel", "Response"]


class Outlet(Protocol):
    """The writing side of a connection."""

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the buffer is full."""
        ...

    def close(self) -> None:
        """Close when everything is sent."""
        ...


class ConnectionTunnel:
    """The connection after a 101: its bytes, both ways (``base.Tunnel``)."""

    def __init__(self, inflow: Inflow, outlet: Outlet) -> None:
        self._inflow = inflow
        self._outlet = outlet

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end; raise ``OriginError`` when the connection broke."""
        return await self._inflow.take()

    async def write(self, data: bytes) -> None:
        """Send bytes; raise ``OriginError`` when the connection is closed."""
        await self._outlet.write(data)

    def close(self) -> None:
        """Close when everything is sent."""
        self._outlet.close()


class Response:
    """A response whose body is on its way (``base.OriginResponse``). Whose it is, ``server`` writes into it."""

    def __init__(
        self,
        head: ResponseHead,
        reader: BodyReader,
        inflow: Inflow,
        patience: float,
        give_up: Callable[[], None],
        tunnel: ConnectionTunnel | None,
    ) -> None:
        self.head = head
        self.tunnel = tunnel
        self.server = ""
        self._reader = reader
        self._inflow = inflow
        self._patience = patience
        self._give_up = give_up

    @property
    def framing(self) -> Framing:
        """How the body's end will be known."""
        return self._reader.framing

    @property
    def content_length(self) -> int | None:
        """Bytes of the body when ``framing`` is LENGTH, 0 when it is NONE, else None."""
        return self._reader.length

    def arrived(self) -> bytes | None:
        """Return the body if the message has been received to its end, which the body of many has with its head."""
        return self._inflow.rest() if self._reader.complete else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body; give the connection up when nobody wants the rest.

        Raises:
            OriginTimeout: no byte came for the time between bytes.
            OriginError: the body broke off.
        """
        try:
            while piece := await self._inflow.take(self._patience):
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection up, unless the message has been received to its end."""
        self._give_up()
