"""Forwarding once for everybody who asks: lead a flight or follow one, and deliver what it brings.

A follower is answered from another request's fetch exactly when ``reuse.decide`` would have let it be, had the
response been stored when the follower came. Otherwise it sees for itself: by joining the flight of the
variant it selects, or alone. So no rule about sharing exists beside the rules about reuse.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from edgecache.engine import deliver, serve
from edgecache.engine.collapse import KEPT_OUT, Died, Elsewhere, Failed, Filled, Flight, Freshened, Outcome, Unshared
from edgecache.engine.deliver import Status
from edgecache.engine.exchange import Delivery, Exchange
from edgecache.engine.parts import FWD, Parts, detail_of, unlike_200
from edgecache.engine.plan import Plan
from edgecache.errors import OriginError
from edgecache.http import ranges
from edgecache.http.message import RequestHead
from edgecache.purging.verdict import Verdict
from edgecache.semantics import reuse, selection
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Serve, ServeStale
from edgecache.semantics.stored import StoredResponse

__all__ = ["Begun", "begin", "fetch", "outcome_of"]

_MAX_WAITS: Final = 4
"""How many other requests' fetches one request waits for, each having turned out to be no answer to it."""


async def fetch(parts: Parts, exchange: Exchange, plan: Plan, reason: Reason) -> Delivery | None:
    """Forward once for everybody who asks now, and deliver what comes.

    None when another process has forwarded it meanwhile, and what came is in memory here.
    """
    parts.counters.forwarded[FWD[reason]] += 1
    flight_key = _flight_key(parts, plan)
    may_wait = True
    for attempt in itertools.count():
        now = parts.clock()
        is_open = may_wait and attempt < _MAX_WAITS and not plan.is_alone
        if is_open and not parts.collapse.is_marked(flight_key, now, personal=plan.is_personal):
            flight, leads = parts.collapse.join(flight_key, plan.head.target_uri)
        else:
            flight, leads = parts.collapse.solo(flight_key, plan.head.target_uri), True
            plan = replace(plan, is_patient=False)
        if leads:
            _start(parts, exchange, plan, flight)
        else:
            exchange.record("wait")
        is_early = flight.birth is None  # came before the request was sent
        try:
            outcome = await outcome_of(flight, leads)
            if isinstance(outcome, Elsewhere) and plan.is_patient:
                return None
            if leads:
                return _lead(parts, exchange, plan, reason, flight, outcome)
            delivery = _follow(parts, exchange, plan, reason, flight, outcome, is_early=is_early)
            if delivery is not None:
                return delivery
        finally:
            flight.members -= 1
        if isinstance(outcome, Filled) and (variant := _other_variant(outcome, plan)) is not None:
            flight_key = f"{_flight_key(parts, plan)} {variant}"
        else:
            may_wait = isinstance(outcome, Died | Elsewhere) or _is_overtaken(parts, outcome)
            may_wait = may_wait or _is_about_another(outcome, flight, plan)
    raise AssertionError("the last attempt leads, and a leader always answers")


class Begun:
    """A fetch whose leader is called when its outcome is known, and does not wait: for that it would take a task."""

    __slots__ = ("_exchange", "_flight", "_parts", "_plan", "_reason")

    def __init__(self, parts: Parts, exchange: Exchange, plan: Plan, reason: Reason, flight: Flight) -> None:
        self._parts: Final = parts
        self._exchange: Final = exchange
        self._plan: Final = plan
        self._reason: Final = reason
        self._flight: Final = flight

    def delivery(self) -> Delivery:
        """Deliver what came; to be called once, as soon as it has, unless ``leave`` was."""
        flight = self._flight
        flight.landing = None
        assert flight.outcome is not None
        try:
            return _lead(self._parts, self._exchange, self._plan, self._reason, flight, flight.outcome)
        finally:
            flight.members -= 1

    def leave(self) -> None:
        """Whoever asked does not need what comes for it alone."""
        self._flight.landing = None
        self._flight.members -= 1
        _desert(self._flight)


def begin(parts: Parts, exchange: Exchange, plan: Plan, reason: Reason, landed: Callable[[], None]) -> Begun | None:
    """As ``fetch``, where nobody else is fetching the same; None where somebody is. No other process is waited for."""
    if plan.keep_range or parts.collapse.has(plan.key):
        return None
    parts.counters.forwarded[FWD[reason]] += 1
    plan, uri = replace(plan, is_patient=False), plan.head.target_uri
    if plan.is_alone or parts.collapse.is_marked(plan.key, parts.clock(), personal=plan.is_personal):
        flight = parts.collapse.solo(plan.key, uri)
    else:
        flight, _ = parts.collapse.join(plan.key, uri)
    flight.landing = landed
    _start(parts, exchange, plan, flight)
    return Begun(parts, exchange, plan, reason, flight)


def _start(parts: Parts, exchange: Exchange, plan: Plan, flight: Flight) -> None:
    exchange.record("validate" if plan.validate is not None else "fetch")
    parts.fetcher.start(flight, plan, exchange, exchange.request.on_interim)


def _lead(parts: Parts, exchange: Exchange, plan: Plan, reason: Reason, flight: Flight, outcome: Outcome) -> Delivery:
    """Deliver the outcome to the request that brought it about."""
    now = parts.clock()
    fwd = FWD[reason]
    match outcome:
        case Freshened(response):
            exchange.record("freshen")
            exchange.result, exchange.reason = "revalidated", Reason.VALIDATED
            status = Status(fwd, 304, is_stored=True, detail=Reason.VALIDATED)
            return serve.from_store(parts, exchange, response, status, now)
        case Filled():
            exchange.record("store")
            exchange.result, exchange.reason = "miss", outcome.unkept or reason
            _count_miss(parts, plan)
            detail, is_stored = outcome.unkept or detail_of(reason), outcome.unkept is None
            status = Status(fwd, unlike_200(outcome.head.status), is_stored=is_stored, detail=detail)
            return serve.from_fill(parts, exchange, flight, outcome, status, now)
        case Unshared():
            return _alone(parts, exchange, plan, reason, outcome, now)
        case Failed(error):
            return serve.serve_instead(parts, exchange, plan, reason, None, now) or serve.fail(
                parts, exchange, fwd, error, now
            )
        case Died() | Elsewhere():
            return serve.fail(parts, exchange, fwd, OriginError("the fetch was cancelled"), now)


def _alone(parts: Parts, exchange: Exchange, plan: Plan, reason: Reason, outcome: Unshared, now: float) -> Delivery:
    """Deliver a response that is not stored to the one request it answers."""
    response, why = outcome.response, outcome.reason
    if why in KEPT_OUT:
        instead = serve.serve_instead(parts, exchange, plan, reason, response.head.status, now)
        if instead is not None:
            response.close()
            return instead
    exchange.result, exchange.reason = "miss", why
    _count_miss(parts, plan)
    status = Status(FWD[reason], unlike_200(response.head.status), detail=why)
    return deliver.passed(exchange, response, outcome.shown, status, parts.policy, now)


def _follow(
    parts: Parts, exchange: Exchange, plan: Plan, reason: Reason, flight: Flight, outcome: Outcome, *, is_early: bool
) -> Delivery | None:
    """Deliver the outcome to a request that waited for it; None when it has to see for itself.

    To one that came before the fetch was sent, no purge is newer than its answer.
    """
    now = parts.clock()
    fwd = FWD[reason]
    match outcome:
        case Freshened(response):
            if not (is_early or _is_valid(parts, response)) or not _may_share(parts, response, plan.head, now):
                return None
            _share(parts, exchange)
            return serve.from_store(parts, exchange, response, Status(fwd, 304, collapsed=True), now)
        case Filled(_, fill, prototype):
            if fill.spilled or fill.failed or not (is_early or _is_valid(parts, prototype)):
                return None
            if not _may_share(parts, prototype, plan.head, now):
                return None
            _share(parts, exchange)
            return serve.from_fill(parts, exchange, flight, outcome, Status(fwd, collapsed=True), now)
        case Unshared(response):
            code = response.head.status
            is_failure = code >= 400 or outcome.reason in KEPT_OUT
            return serve.serve_instead(parts, exchange, plan, reason, code, now) if is_failure else None
        case Failed(error):
            return serve.serve_instead(parts, exchange, plan, reason, None, now) or serve.fail(
                parts, exchange, fwd, error, now
            )
        case Died() | Elsewhere():
            return None


def _may_share(parts: Parts, response: StoredResponse, head: RequestHead, now: float) -> bool:
    """Whether what answered one request may answer this one: as if it had been stored when this one came."""
    return isinstance(reuse.decide(head, (response,), parts.policy, now), Serve | ServeStale)


def _is_valid(parts: Parts, response: StoredResponse) -> bool:
    return parts.ledger.verdict(response) is Verdict.VALID


def _is_overtaken(parts: Parts, outcome: Outcome) -> bool:
    """Whether a purge has come between: then all who waited share one new fetch."""
    match outcome:
        case Filled(prototype=response) | Freshened(response):
            return not _is_valid(parts, response)
        case _:
            return False


def _is_about_another(outcome: Outcome, flight: Flight, plan: Plan) -> bool:
    """Whether what was answered is no hint at what this request will be: the first of the others leads then."""
    if not isinstance(outcome, Unshared):
        return False
    is_ones_own = flight.is_personal and not plan.is_personal and outcome.response.head.status < 500
    return is_ones_own or not outcome.tells


def _share(parts: Parts, exchange: Exchange) -> None:
    exchange.record("share")
    exchange.result, exchange.reason = "collapsed", Reason.COLLAPSED
    parts.counters.collapsed += 1


def _other_variant(outcome: Filled, plan: Plan) -> str | None:
    """Return what distinguishes the variant this request selects, when it is not the one that came."""
    names = outcome.prototype.selecting.names
    if not names or selection.matches(outcome.prototype, plan.head.fields):
        return None
    return repr(selection.selecting_fields(plan.head.fields, names).values)


def _count_miss(parts: Parts, plan: Plan) -> None:
    if plan.validate is not None:
        parts.counters.revalidated_full += 1
    else:
        parts.counters.misses += 1


async def outcome_of(flight: Flight, leads: bool) -> Outcome:
    """Wait for a flight. A leader that is cancelled meanwhile does not need what comes for it alone."""
    try:
        return await flight.landed()
    except asyncio.CancelledError:
        if leads:
            _desert(flight)
        raise


def _desert(flight: Flight) -> None:
    """Leave what came, or comes, for the leader alone."""
    flight.deserted = True
    if isinstance(flight.outcome, Unshared):
        flight.outcome.response.close()


def _flight_key(parts: Parts, plan: Plan) -> str:
    """Requests with equal flight keys want the same bytes."""
    if not plan.keep_range or _is_coming(parts, plan):
        return plan.key
    fields = plan.head.fields
    return f"{plan.key} {fields['range']} {fields.get('if-range', '')}"


def _is_coming(parts: Parts, plan: Plan) -> bool:
    """Whether the ranges asked for begin within what a fetch of the whole has already brought."""
    filled = parts.collapse.growing(plan.key)
    if filled is None or filled.length is None or filled.head.status != 200:
        return False
    specs = ranges.parse_range(plan.head.fields["range"])
    wanted = ranges.resolve(specs, filled.length) if specs is not None else ()
    return all(first <= filled.fill.size for first, _ in wanted)
