"""One request's state: what was asked, what was decided and why, and what it cost.

The trace of verbs, the ``Cache-Status`` member (RFC 9211), the access-log line and ``explain`` are all read
from this one object, so they cannot disagree. Nothing here outlives the request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from edgecache.engine.plan import Plan
from edgecache.http.message import RequestHead, ResponseHead
from edgecache.origin.base import InterimHandler, RequestBody, Tunnel
from edgecache.semantics.rules import Applied
from edgecache.semantics.stored import StoredResponse

__all__ = ["Delivery", "Exchange", "Request"]


class Request(msgspec.Struct):
    """A request as the edges hand it to the engine.

    Attributes:
        head: checked, end-to-end fields only, forwarding fields (``Forwarded`` …) already set.
        body: content, or None when the framing says there is none.
        upgrade: protocol of an ``Upgrade`` the edges are willing to tunnel, else None.
        on_interim: called with interim responses of the origin while this request waits.
        debug: whether the client may see cache keys.
        warms: the release that this request of the edge's own is for, active or not yet (``engine.warming``); empty
            for every request of a client.
        asked: what the rules make of it, as soon as the engine has asked them.
        plan: what ``answer_now`` made of that, for ``begin`` that follows at once.
    """

    head: RequestHead
    body: RequestBody | None = None
    upgrade: str | None = None
    on_interim: InterimHandler | None = None
    debug: bool = False
    warms: str = ""
    asked: Applied | None = None
    plan: Plan | None = None


class Exchange(msgspec.Struct):
    """What happened to one request. Instants are POSIX seconds.

    ``result`` is the one word of access logs and metrics: hit, stale, revalidated, collapsed, miss, pass,
    synth or error. ``stored`` is what it was answered from, or what its answer is stored as, if either; ``unstored`` is
    why what came for the store was not kept after all. ``provisional`` says that a better answer is being made.
    """

    request: Request
    started: float
    key: str = ""
    result: str = "miss"
    reason: str = ""
    unstored: str = ""
    cache_status: str = ""
    origin_status: int | None = None
    origin_seconds: float | None = None
    stored: StoredResponse | None = None
    provisional: bool = False
    trace: list[str] = msgspec.field(default_factory=list)

    def record(self, verb: str) -> None:
        """Append one verb of the life of a request to the trace."""
        self.trace.append(verb)


class Delivery(msgspec.Struct):
    """What the edges write to the client.

    Attributes:
        head: final status and all fields but those that frame the message on this connection
            (``Connection``, ``Transfer-Encoding``); ``Content-Length`` is present when it is known.
        length: bytes of content that follow, None when not known beforehand; 0 for HEAD, 204 and 304.
        pieces: content already in memory, in order, or None.
        stream: content on its way, or None. It raises ``OriginError`` when the rest will never come: the
            connection to the client is then aborted, so that a short body never looks complete.
            ``aclose()`` tells the engine that the client left.
        tunnel: the origin's side after a 101.
        rendered: status line and all fields as bytes, Date and Content-Length among them, when the engine has
            them ready; ``head`` has no fields then. None: the edges render ``head``.
        exchange: for the log line and the metrics.
    """

    head: ResponseHead
    length: int | None
    exchange: Exchange
    pieces: tuple[bytes | memoryview, ...] | None = None
    stream: AsyncIterator[bytes | memoryview] | None = None
    tunnel: Tunnel | None = None
    rendered: bytes | None = None
