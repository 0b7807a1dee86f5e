"""What the public server knows of the engine, and a connection of its server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecache.edges.connection import Connection
    from edgecache.edges.finished import FinishedSink
    from edgecache.edges.forwarded import TrustedPeers
    from edgecache.edges.lane import HitLane
    from edgecache.edges.settings import ServerSettings
    from edgecache.engine.exchange import Delivery, Request

__all__ = ["Begun", "Engine", "Owner", "Purger"]


class Engine(Protocol):
    """What answers requests."""

    async def handle(self, request: Request) -> Delivery:
        """Answer a request; errors that are foreseen are deliveries with a status of their own."""
        ...

    def answer_now(self, request: Request) -> Delivery | None:
        """Answer from local memory without waiting; None when that is not possible. Only without content."""
        ...

    def begin(self, request: Request, landed: Callable[[], None]) -> Begun | None:
        """Begin to fetch the answer, and call ``landed`` when it is to be had; None when ``handle`` is to be used."""
        ...


class Begun(Protocol):
    """An answer that is being fetched."""

    def delivery(self) -> Delivery:
        """Return the answer; to be called once, as soon as ``landed`` was."""
        ...

    def leave(self) -> None:
        """Do without it."""
        ...


class Purger(Protocol):
    """What answers PURGE, from peers that may."""

    async def handle(self, request: Request, peer: str) -> Delivery:
        """Purge what the request means; ``peer`` is the name of who asked."""
        ...


class Owner(Protocol):
    """The server a connection belongs to."""

    engine: Engine
    purger: Purger | None
    lanes: HitLane | None
    settings: ServerSettings
    peers: TrustedPeers
    sink: FinishedSink
    draining: bool

    def opened(self, connection: Connection) -> None:
        """Count a connection, and sweep it from now on."""
        ...

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        ...
