"""The life of a request: key, lookup, decide, then serve, validate, fetch, pass or refuse.

Each verb is a method; each records itself in the exchange. What to do is the semantics' to say (``reuse.decide``);
this file does it. Nothing here reads a header to form an opinion of its own.

``answer_now`` is the part of that life which needs no waiting: the answer is in local memory and may be given. Where
nothing is stored and nobody fetches it, ``begin`` does so for a caller that has other things to do meanwhile. Both are
there for the sake of speed alone; ``handle`` does everything.

Invariants
    * Between a lookup and what follows from it there is no ``await``: what was decided is still true.
    * ``handle`` returns a delivery for whatever the origin does. What it raises is a defect.
    * A store's failure is a miss.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from edgecache.engine import forward, serve, through
from edgecache.engine.collapse import Collapse
from edgecache.engine.content import buffered
from edgecache.engine.counters import Counters
from edgecache.engine.encodings import Encodings
from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.engine.explaining import Explainer
from edgecache.engine.fetch import Fetcher
from edgecache.engine.judgements import Judgements
from edgecache.engine.judging import passing
from edgecache.engine.lookup import Lookup, may_look_behind
from edgecache.engine.matching import Countable
from edgecache.engine.parts import Parts
from edgecache.engine.plan import MIN_SEQUENCE, Plan
from edgecache.engine.refresh import Refresher
from edgecache.engine.replies import Replies
from edgecache.engine.turns import Turns
from edgecache.errors import ClientError
from edgecache.http.message import RequestHead
from edgecache.http.ranges import parse_range
from edgecache.origin.base import Origin
from edgecache.purging.base import Ledger
from edgecache.semantics import key, reuse
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Complete, Decision, Forward, Refuse, Serve, ServeStale, Validate
from edgecache.semantics.rules import Applied, RuleSet
from edgecache.semantics.unkeyed import doubtful
from edgecache.stores.base import FillLock, Tiers

__all__ = ["Cache", "eagerness"]

_MAX_DIGITS: Final = 15


def eagerness() -> float:
    """Return how eager a request is to refresh ahead of time: exponentially distributed with mean 1."""
    return random.expovariate(1.0)


class Cache:
    """The engine of one process: everything that happens between a request's head and a delivery."""

    def __init__(
        self,
        origin: Origin,
        store: Tiers,
        ledger: Ledger,
        counters: Counters,
        rules: RuleSet,
        clock: Callable[[], float],
        lock: tuple[FillLock, float] | None = None,
        luck: Callable[[], float] = eagerness,
        max_encoded: int = 0,
    ) -> None:
        """``lock`` is what processes take turns with, and for how many seconds at a miss; ``luck``: see ``Parts``.

        ``max_encoded`` is for stored bodies in content codings, bytes.
        """
        policy = rules.base
        collapse = Collapse(ledger)
        lookup = Lookup(store, ledger, policy, clock)
        turns = None if lock is None else Turns(*lock, store, lookup, policy, clock)
        judgements = Judgements()
        fetcher = Fetcher(origin, store, ledger, collapse, counters, policy, clock, judgements, turns)
        refresher = Refresher(collapse, fetcher, counters, clock, turns)
        encodings = Encodings(max_encoded, counters)
        self._parts: Final = Parts(
            store,
            ledger,
            lookup,
            collapse,
            fetcher,
            refresher,
            encodings,
            judgements,
            counters,
            policy,
            rules,
            clock,
            luck,
        )

    @property
    def in_flight(self) -> int:
        """How many fetches are on their way, or wait for another process."""
        return self._parts.fetcher.running + self._parts.refresher.waiting

    @property
    def encodings(self) -> Encodings:
        """What has been encoded for clients."""
        return self._parts.encodings

    def replies(self) -> Replies:
        """Return what can be said again of what this engine answers (``engine.replies``)."""
        return Replies(self._parts.store, self._parts.ledger, self._parts.clock)

    def explainer(self, memory: Countable, sources: Mapping[str, str]) -> Explainer:
        """Return what explains requests to this engine (``engine.explaining``)."""
        return Explainer(self._parts, memory, sources)

    async def close(self) -> None:
        """Give up every fetch that is still running."""
        await self._parts.refresher.close()
        await self._parts.fetcher.close()
        await self._parts.encodings.close()

    # From the request to a decision.

    def answer_now(self, request: Request) -> Delivery | None:
        """Return the answer if local memory has one that may be given without waiting, else None."""
        head = request.head
        if head.method not in ("GET", "HEAD") or request.body is not None or request.upgrade is not None:
            return None
        if MIN_SEQUENCE in head.fields:
            return None
        parts, now = self._parts, self._parts.clock()
        asked = self._asked(request)
        if asked.policy.passes:
            return None
        plan = request.plan = parts.planned(asked)
        candidates = parts.lookup.now(plan.key, now)
        if not candidates:
            return None
        decision = reuse.decide(plan.head, candidates, asked.policy, now, parts.luck(), held=plan.is_held)
        if not isinstance(decision, Serve | ServeStale):
            return None
        parts.counters.requests += 1
        return serve.serve(parts, Exchange(request, now, plan.key), decision, plan, now)

    def begin(self, request: Request, landed: Callable[[], None]) -> forward.Begun | None:
        """Begin to fetch what a GET asks for, to which there is no ``answer_now``; call ``landed`` when it has come.

        None, and nothing has been done, where more is to be asked or waited for first: then ``handle`` is to be used.
        """
        parts, plan = self._parts, request.plan
        if plan is None or request.head.method != "GET" or parts.lookup.can_look_behind:
            return None
        now, policy = parts.clock(), plan.asked.policy
        decision = parts.lookup.found(plan.key, now).decide(plan.head, policy, now, held=plan.is_held)
        if not isinstance(decision, Forward) or decision.reason is Reason.PRECONDITION or _asks_for_range(plan.head):
            return None
        exchange = Exchange(request, now, plan.key)
        begun = forward.begin(parts, exchange, self._apart(plan), decision.reason, landed)
        if begun is not None:
            parts.counters.requests += 1
        return begun

    async def handle(self, request: Request) -> Delivery:
        """Answer a request, whatever it takes."""
        exchange = Exchange(request, self._parts.clock())
        self._parts.counters.requests += 1
        head = request.head
        if request.upgrade is not None:
            return await through.pass_through(self._parts, exchange, Reason.UPGRADE)
        asked = self._asked(request)
        if (reason := passing(asked, has_content=request.body is not None)) is not None:
            return await through.pass_through(self._parts, exchange, reason)
        if MIN_SEQUENCE in head.fields:
            await self._catch_up(head.fields[MIN_SEQUENCE])
        if request.body is None:
            return await self._answer(exchange, self._parts.planned(asked, warms=request.warms))
        try:
            content = await buffered(request, self._parts.policy.max_query_body)
        except ClientError as error:
            return through.blame_client(self._parts, exchange, Reason.CONTENT, error)
        if content is None:
            return await through.pass_through(self._parts, exchange, Reason.CONTENT)
        digest = key.content_digest(content, head.fields)
        return await self._answer(exchange, self._parts.planned(asked, digest, content))

    def _asked(self, request: Request) -> Applied:
        """Return what the rules make of a request: the same, however often it is asked."""
        if request.asked is None:
            request.asked = self._parts.rules.applied(request.head)
        return request.asked

    async def _catch_up(self, wanted: str) -> None:
        """Learn of a purge or an activation that the request names, before it is looked up."""
        if wanted.isascii() and wanted.isdecimal() and len(wanted) <= _MAX_DIGITS:
            await self._parts.ledger.catch_up(int(wanted))

    async def _decide(self, exchange: Exchange, plan: Plan) -> tuple[Decision, float]:
        """Return what to do by what is in memory, or else by what is behind it; and the instant of that decision."""
        parts, head, policy = self._parts, plan.head, plan.asked.policy
        now = parts.clock()
        found = parts.lookup.found(plan.key, now)
        luck = parts.luck() if found.candidates else 0.0
        decision = found.decide(head, policy, now, luck, held=plan.is_held)
        if parts.lookup.can_look_behind and may_look_behind(decision) and not _is_busy(parts, plan, now):
            exchange.record("look-behind")
            found = await parts.lookup.behind(head, plan.key)
            now = parts.clock()
            decision = found.decide(head, policy, now, held=plan.is_held)
        return decision, now

    async def _answer(self, exchange: Exchange, plan: Plan) -> Delivery:
        exchange.key = plan.key
        delivery = await self._attempt(exchange, plan)
        if delivery is None:  # another process was quicker; but it may have got another variant
            delivery = await self._attempt(exchange, replace(plan, is_patient=False))
        assert delivery is not None
        return delivery

    async def _attempt(self, exchange: Exchange, plan: Plan) -> Delivery | None:
        """Do what is to be done now; None when that has changed meanwhile, which only a patient plan can say."""
        head = plan.head
        decision, now = await self._decide(exchange, plan)
        match decision:
            case Serve() | ServeStale():
                return serve.serve(self._parts, exchange, decision, plan, now)
            case Refuse():
                return serve.refuse(self._parts, exchange, decision, now)
            case Forward(Reason.PRECONDITION):
                return await through.pass_through(self._parts, exchange, Reason.PRECONDITION)
            case Validate(response, reason):
                plan = replace(plan, validate=response)
            case Complete(response, first, last, reason):
                plan = replace(plan, complete=(response, first, last))
            case Forward(reason):
                if _asks_for_range(head):
                    plan = replace(plan, keep_range=True)
        plan = self._apart(plan)
        if head.method == "HEAD":
            return await through.forward_head(self._parts, exchange, plan, reason)
        return await forward.fetch(self._parts, exchange, plan, reason)

    def _apart(self, plan: Plan) -> Plan:
        """Keep a request whose fields may change the response away from what is stored for others.

        What selects other responses under its key, the next one is expected to name in Vary too.
        """
        policy = plan.asked.policy
        if policy.unsafe_ignore_request_fields or not (names := doubtful(plan.head, policy)):
            return plan
        known = {name for stored in self._parts.store.lookup_now(plan.key) for name in stored.selecting.names}
        if known.issuperset(names):
            return plan
        return replace(plan, is_alone=True, is_patient=False, complete=None)


def _asks_for_range(head: RequestHead) -> bool:
    return head.method == "GET" and "range" in head.fields and parse_range(head.fields["range"]) is not None


def _is_busy(parts: Parts, plan: Plan, now: float) -> bool:
    return parts.collapse.is_busy(plan.key, now, personal=plan.is_personal)
