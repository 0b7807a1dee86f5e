"""Answering without the origin: from the store, in the place of a failure, or with a word of one's own."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from edgecache.engine import deliver
from edgecache.engine.collapse import Filled, Flight
from edgecache.engine.deliver import Status
from edgecache.engine.exchange import Delivery, Exchange
from edgecache.engine.parts import FWD, Parts
from edgecache.engine.plan import Plan
from edgecache.errors import OriginError, OriginTimeout
from edgecache.http.cache_status import Fwd
from edgecache.purging.verdict import Verdict
from edgecache.semantics import reuse
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Refuse, Serve, ServeStale
from edgecache.semantics.stored import StoredResponse

__all__ = ["fail", "from_fill", "from_store", "refuse", "serve", "serve_instead"]


def serve(parts: Parts, exchange: Exchange, decision: Serve | ServeStale, plan: Plan, now: float) -> Delivery:
    """Deliver what was decided to be served."""
    exchange.record("serve")
    exchange.reason = decision.reason
    if decision.reason is Reason.GRACE:
        exchange.result = "stale"
        parts.counters.hits_stale_grace += 1
    else:
        exchange.result = "hit" if decision.response.freshness.is_fresh(now) else "stale"
        parts.counters.hits += 1
    if isinstance(decision, ServeStale) and parts.refresher.begin(
        msgspec.structs.replace(plan, validate=decision.response), decision.reason
    ):
        exchange.record("refresh")
    detail = None if decision.reason is Reason.FRESH else decision.reason
    return from_store(parts, exchange, _used(parts, decision.response, now), Status(detail=detail), now)


def _used(parts: Parts, stored: StoredResponse, now: float) -> StoredResponse:
    """Let a use prolong the lifetime of a response, where a rule wants that."""
    used = stored.freshness.used(now)
    if used is stored.freshness:
        return stored
    prolonged = replace(stored, freshness=used)
    parts.counters.prolonged += 1
    parts.store.restate_now(stored, prolonged)
    return prolonged


def serve_instead(
    parts: Parts, exchange: Exchange, plan: Plan, reason: Reason, status: int | None, now: float
) -> Delivery | None:
    """Serve a stale response in the place of a failure, if that is allowed; ``status`` is the origin's, if any.

    A success that fails is one of the wrong type, and is as good as a 404.
    """
    stored = plan.validate
    if stored is None:
        return None
    failure = 404 if status is not None and status < 400 else status
    excuse = reuse.may_serve_instead(stored, now, status=failure, request=plan.head)
    if excuse is None or parts.ledger.verdict(stored) is not Verdict.VALID:
        return None
    exchange.record("serve-stale")
    exchange.result, exchange.reason = "stale", excuse
    if excuse is Reason.RETAINED:
        parts.counters.hits_retained += 1
    else:
        parts.counters.hits_stale_error += 1
    return from_store(parts, exchange, stored, Status(FWD[reason], status, detail=excuse), now)


def refuse(parts: Parts, exchange: Exchange, decision: Refuse, now: float) -> Delivery:
    """Answer 504 to a request that forbids what it would take to answer it."""
    exchange.record("refuse")
    exchange.result, exchange.reason = "synth", decision.reason
    parts.counters.synthesized += 1
    status = Status(Fwd.REQUEST, detail=decision.reason)
    text = "nothing that may be served is stored, and the request forbids fetching it"
    return deliver.synthesized(exchange, 504, text, status, parts.policy, now)


def from_store(parts: Parts, exchange: Exchange, stored: StoredResponse, status: Status, now: float) -> Delivery:
    """Deliver a stored response and count its bytes."""
    exchange.stored = stored
    encoded = parts.encodings.of(stored, exchange.request.head) if stored.encodable else None
    exchange.provisional = stored.encodable and encoded is None
    if encoded is None:
        delivery = deliver.stored(exchange, stored, status, parts.policy, now)
    else:
        delivery = deliver.encoded(exchange, stored, encoded, status, parts.policy, now)
    parts.counters.bytes_from_store += delivery.length or 0
    return delivery


def fail(parts: Parts, exchange: Exchange, fwd: Fwd, error: OriginError, now: float) -> Delivery:
    """Answer 502 or 504: the origin failed, and nothing stored may be served instead."""
    exchange.record("fail")
    is_timeout = isinstance(error, OriginTimeout)
    exchange.result = "error"
    exchange.reason = Reason.ORIGIN_TIMEOUT if is_timeout else Reason.ORIGIN_ERROR
    parts.counters.synthesized += 1
    text = "the origin took too long to answer" if is_timeout else "the origin cannot be reached or failed to answer"
    return deliver.synthesized(exchange, error.status, text, Status(fwd, detail=exchange.reason), parts.policy, now)


def from_fill(parts: Parts, exchange: Exchange, flight: Flight, filled: Filled, status: Status, now: float) -> Delivery:
    """Deliver a response that is on its way into the store."""
    exchange.stored = filled.prototype
    delivery = deliver.filling(exchange, filled, status, parts.policy, now)
    if delivery.stream is None:
        # A 304 or 416 for this client, but the body is on its way and worth having.
        flight.wanted = True
    return delivery
