"""Requests of the edge's own, which fill the store before anybody asks: the assets and the pages of a release.

Theory
    Such a request goes the way of every other, so what it stores is what a client's would have stored: the same rules,
    guards and keys, one fetch with whoever asks at the same time. Two things are different (``Request.warms``). What is
    bound to a release is looked up and stored under the one that is warmed, which need not be active yet; and what is
    stored has that release's tag. The content is read to its end, for only then is it known to be in the store.

    What is not there yet may be there soon: the origin is being switched, a server behind it has not got the new
    assets, or answers with a page in their place. ``may_change`` says that to ask again is worth while.

Called by ``edges.deploys``.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.errors import OriginError
from edgecache.http.message import RequestHead
from edgecache.semantics.reason import Reason

__all__ = ["Handle", "Outcome", "Warmed", "warm"]

Handle: TypeAlias = Callable[[Request], Awaitable[Delivery]]
"""``engine.cache.Cache.handle``."""

_PASSING_STATUSES: Final = frozenset({404, 408, 410, 421, 425, 429, *range(500, 600)})
_PASSING: Final = frozenset(
    {
        *(Reason.TYPE_MISMATCH, Reason.OTHER_RELEASE, Reason.TRUNCATED, Reason.PURGED),
        *(Reason.RETAINED, Reason.IF_ERROR, Reason.UNREACHABLE, Reason.ORIGIN_ERROR, Reason.ORIGIN_TIMEOUT),
    }
)
_IN_PLACE_OF_A_FAILURE: Final = frozenset({Reason.RETAINED, Reason.IF_ERROR, Reason.UNREACHABLE})


class Outcome(enum.StrEnum):
    """What became of it."""

    STORED = "stored"
    PRESENT = "present"
    """It was stored before, or somebody else's request has brought it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Warmed:
    """What one request did.

    Attributes:
        status: of the origin's answer, where it was asked; else of what is stored.
        reason: why it failed, empty if it did not.
        may_change: whether it may do better before long.
    """

    outcome: Outcome
    status: int
    reason: str = ""
    may_change: bool = False


async def warm(handle: Handle, head: RequestHead, release: str) -> Warmed:
    """Have a GET answered for a release, and read it to its end."""
    delivery = await handle(Request(head, warms=release))
    try:
        is_whole = await _read(delivery)
    finally:
        aclose = getattr(delivery.stream, "aclose", None)
        if aclose is not None:
            await aclose()
    exchange = delivery.exchange
    status = exchange.origin_status or delivery.head.status
    reason = _failure(exchange, delivery.head.status) if is_whole else Reason.TRUNCATED
    if reason is None:
        return Warmed(Outcome.STORED if exchange.result == "miss" else Outcome.PRESENT, delivery.head.status)
    return Warmed(Outcome.FAILED, status, reason, status in _PASSING_STATUSES or reason in _PASSING)


async def _read(delivery: Delivery) -> bool:
    """Read a stream, and throw it away; return whether it came to its end."""
    if delivery.stream is None:
        return True
    try:
        async for _ in delivery.stream:
            pass
    except OriginError:
        return False
    return True


def _failure(exchange: Exchange, status: int) -> str | None:
    """Return why an answer is not what was wanted, None when it is, and stored."""
    if exchange.reason in _IN_PLACE_OF_A_FAILURE:
        return exchange.reason
    if exchange.result == "miss" and "store" not in exchange.trace:
        return exchange.reason
    if exchange.unstored:
        return exchange.unstored
    if exchange.result in ("pass", "error", "synth"):
        return exchange.reason
    return Reason.STATUS if status >= 400 else None
