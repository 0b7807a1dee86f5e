"""Answering without the origin: from the store, in the place of a failure, or with a word of one's own."""

from __future__ import annotations

from dataclasses import replace

from edgecache.engine import deliver
from edgecache.engine.collapse import Filled, Flight
from edgecache.engine.deliver import Status
from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.engine.parts import FWD, Parts
from edgecache.engine.plan import Plan
from edgecache.errors import OriginError, OriginTimeout
from edgecache.http.cache_status import Fwd
from edgecache.http.message import RequestHead, fields_of
from edgecache.purging.verdict import Verdict
from edgecache.semantics import reuse
from edgecache.semantics.normalising import without_other_cookies
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Refuse, Serve, ServeStale
from edgecache.semantics.stored import StoredResponse
from edgecache.semantics.unkeyed import doubtful

__all__ = ["fail", "from_fill", "from_store", "refuse", "serve", "serve_instead"]


def serve(parts: Parts, exchange: Exchange, decision: Serve | ServeStale, plan: Plan, now: float) -> Delivery:
    """Deliver what was decided to be served."""
    exchange.record("serve")
    exchange.reason = decision.reason
    if decision.reason is Reason.GRACE:
        exchange.result = "stale"
        parts.counters.hits_stale_grace += 1
    else:
        exchange.result = "stale" if decision.reason is Reason.MAX_STALE else "hit"
        parts.counters.hits += 1
    if isinstance(decision, ServeStale):
        _refresh(parts, exchange, replace(plan, validate=decision.response))
    detail = None if decision.reason is Reason.FRESH else decision.reason
    return from_store(parts, exchange, _used(parts, decision.response, now), Status(detail=detail), now)


def _used(parts: Parts, stored: StoredResponse, now: float) -> StoredResponse:
    """Let a use prolong the lifetime of a response, where a rule wants that."""
    freshness = stored.freshness
    if not freshness.sliding or not freshness.is_fresh(now) or (used := freshness.used(now)) is freshness:
        return stored
    prolonged = replace(stored, freshness=used)
    parts.store.restate_now(stored, prolonged)
    return prolonged


def _refresh(parts: Parts, exchange: Exchange, plan: Plan) -> None:
    """Validate in the background, once for everybody."""
    if parts.collapse.is_flying(plan.key):
        return
    exchange.record("refresh")
    parts.counters.refreshes += 1
    head = _of_everybody(plan)
    flight, leads = parts.collapse.join(plan.key, head.target_uri)
    flight.members -= 1
    flight.wanted = True
    if not leads:
        return
    flight.deserted = True
    background = Exchange(Request(head), parts.clock(), plan.key)
    parts.fetcher.start(flight, replace(plan, head=head), background)


def _of_everybody(plan: Plan) -> RequestHead:
    """Return the request as it refreshes what is stored: a GET, without fields that are this client's alone.

    Cookies are such, but for those that select the response; else it could often not be stored again.
    """
    head, stored, policy = plan.head, plan.validate, plan.asked.policy
    selecting = (*policy.key_fields, *(() if stored is None else stored.selecting.names))
    own = doubtful(head, policy, selecting)
    fields = fields_of(pair for pair in head.fields.items() if pair[0].lower() not in own) if own else head.fields
    if "cookie" in fields and "cookie" not in selecting:
        fields = without_other_cookies(fields, policy.key_cookies)
    method = "GET" if head.method == "HEAD" else head.method
    return RequestHead(method, head.scheme, head.authority, head.target, fields)


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
    delivery = deliver.stored(exchange, stored, status, parts.policy, now)
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
    delivery = deliver.filling(exchange, filled, status, parts.policy, now)
    if delivery.stream is None:
        # A 304 or 416 for this client, but the body is on its way and worth having.
        flight.wanted = True
    return delivery
