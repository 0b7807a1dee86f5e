"""What the engine knows of an origin: send a request head and a body, get a response head and a stream.

Contract
    * ``send`` returns when the final response's head has arrived and passed the strict checks, or raises
      ``OriginError`` / ``OriginTimeout``; no other exception of the network reaches the caller.
    * ``chunks`` yields the body exactly once, undecoded, and raises ``OriginError`` when it ends before
      its framing says so; ``arrived`` gives it away at once when all of it is here. A body that ends without
      an error is complete, unless ``framing`` is ``CLOSE``: then nobody can tell (RFC 9112 §8), and it must not
      be stored.
    * ``close`` may be called at any time, more than once; a body not read to its end costs the connection.
    * Fields given to ``send`` are written byte for byte; the origin floor adds only what frames the
      message (Host when rewritten, Content-Length or Transfer-Encoding, Connection).
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgecache.http.message import RequestHead, ResponseHead

__all__ = ["Framing", "InterimHandler", "Origin", "OriginResponse", "RequestBody", "Tunnel"]


class Framing(enum.Enum):
    """How the end of a response's body is known (RFC 9112 §6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request's content: its pieces, and its length in bytes when the client declared one."""

    chunks: AsyncIterator[bytes]
    length: int | None = None


InterimHandler = Callable[[ResponseHead], None]
"""Called synchronously with each 1xx head other than 101, in order, before ``send`` returns."""


class Tunnel(Protocol):
    """Raw bytes both ways, after a 101 (RFC 9110 §7.8)."""

    async def read(self) -> bytes:
        """Return the next bytes from the origin; empty at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes to the origin, waiting while its buffer is full."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class OriginResponse(Protocol):
    """A response whose head is here and whose body is on its way."""

    @property
    def head(self) -> ResponseHead:
        """Status and end-to-end fields. ``Content-Length`` is among them when the origin sent one."""
        ...

    @property
    def server(self) -> str:
        """URL of the server that answered, as it is configured."""
        ...

    @property
    def framing(self) -> Framing:
        """How the body's end will be known."""
        ...

    @property
    def content_length(self) -> int | None:
        """Length of the body in bytes when ``framing`` is ``LENGTH`` (0 when it is ``NONE``)."""
        ...

    @property
    def tunnel(self) -> Tunnel | None:
        """The upgraded connection when ``head.status`` is 101, else None."""
        ...

    def arrived(self) -> bytes | None:
        """Return the body if all of it is here, in the place of ``chunks``; None when it is still on its way."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body; raise ``OriginError`` when it breaks off."""
        ...

    def close(self) -> None:
        """Give the connection up, or back to the pool when the body was read to its end."""
        ...


class Origin(Protocol):
    """A place that answers requests: one server, or a choice among several."""

    async def send(
        self,
        head: RequestHead,
        body: RequestBody | None = None,
        *,
        upgrade: str | None = None,
        on_interim: InterimHandler | None = None,
        apart_from: Sequence[str] = (),
    ) -> OriginResponse:
        """Send a request. ``upgrade`` is the protocol asked for (``websocket``), or None.

        ``apart_from`` are servers that have answered it already, each as often as it has: now it goes to another, or,
        when there is none, over a new connection, which a balancer may lead to another.
        """
        ...

    @property
    def is_one_name(self) -> bool:
        """Whether one configured address stands for however many servers there are."""
        ...

    def has_other(self, tried: Sequence[str]) -> bool:
        """Whether it may be another server that answers, after those that were tried."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
