"""The life of a request: key, lookup, decide, then serve, validate, fetch, pass or refuse.

Each verb is a method; each records itself in the exchange. What to do is the semantics' to say (``reuse.decide``);
this file does it. Nothing here reads a header to form an opinion of its own.

``answer_now`` is the part of that life which needs no waiting: the answer is in local memory and may be given. It is
a function of its own because the hit lane calls it straight from the socket; ``handle`` does everything.

Invariants
    * Between a lookup and what follows from it there is no ``await``: what was decided is still true.
    * ``handle`` returns a delivery for whatever the origin does. What it raises is a defect.
    * A store's failure is a miss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from edgecache.engine import forward, serve, through
from edgecache.engine.collapse import Collapse
from edgecache.engine.content import buffered
from edgecache.engine.counters import Counters
from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.engine.fetch import Fetcher, Plan
from edgecache.engine.parts import Parts
from edgecache.errors import ClientError
from edgecache.http.message import RequestHead
from edgecache.http.ranges import parse_range
from edgecache.origin.base import Origin
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics import key, reuse
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Complete, Decision, Forward, Refuse, Serve, ServeStale, Validate
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.base import LocalStore

__all__ = ["Cache"]


class Cache:
    """The engine of one process: everything that happens between a request's head and a delivery."""

    def __init__(
        self,
        origin: Origin,
        store: LocalStore,
        ledger: Ledger,
        counters: Counters,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        collapse = Collapse(ledger)
        fetcher = Fetcher(origin, store, ledger, collapse, counters, policy, clock)
        self._parts: Final = Parts(store, ledger, collapse, fetcher, counters, policy, clock)

    @property
    def in_flight(self) -> int:
        """How many fetches are on their way."""
        return self._parts.fetcher.running

    async def close(self) -> None:
        """Give up every fetch that is still running."""
        await self._parts.fetcher.close()

    # From the request to a decision.

    def answer_now(self, request: Request) -> Delivery | None:
        """Return the answer if local memory has one that may be given without waiting, else None."""
        head = request.head
        if head.method not in ("GET", "HEAD") or request.body is not None or request.upgrade is not None:
            return None
        now = self._parts.clock()
        cache_key = key.primary(head)
        decision = reuse.decide(head, self._lookup(cache_key, now), self._parts.policy, now)
        if not isinstance(decision, Serve | ServeStale):
            return None
        self._parts.counters.requests += 1
        return serve.serve(self._parts, Exchange(request, now, cache_key), decision, Plan(cache_key, head), now)

    async def handle(self, request: Request) -> Delivery:
        """Answer a request, whatever it takes."""
        exchange = Exchange(request, self._parts.clock())
        self._parts.counters.requests += 1
        head = request.head
        if request.upgrade is not None:
            return await through.pass_through(self._parts, exchange, Reason.UPGRADE)
        if head.method not in key.KEYED_METHODS:
            return await through.pass_through(self._parts, exchange, Reason.METHOD)
        if request.body is None:
            return await self._answer(exchange, key.primary(head), None)
        if head.method != "QUERY":
            return await through.pass_through(self._parts, exchange, Reason.CONTENT)
        try:
            content = await buffered(request, self._parts.policy.max_query_body)
        except ClientError as error:
            return through.blame_client(self._parts, exchange, Reason.CONTENT, error)
        if content is None:
            return await through.pass_through(self._parts, exchange, Reason.CONTENT)
        digest = key.content_digest(content, head.fields)
        return await self._answer(exchange, key.primary(head, digest), content)

    def _lookup(self, cache_key: CacheKey, now: float) -> tuple[StoredResponse, ...]:
        """Return what is stored under the key and survives time and purges; set right what does not."""
        ledger = self._parts.ledger
        candidates = self._parts.store.lookup_now(cache_key)
        for stored in candidates:
            if stored.freshness.discard_at <= now:
                self._parts.store.remove_now(stored)
            elif stored.birth.sequence == ledger.sequence and ledger.verdict(stored) is Verdict.VALID:
                continue
            else:
                self._judge(stored, now)
            return self._lookup(cache_key, now)
        return candidates

    def _judge(self, stored: StoredResponse, now: float) -> None:
        """Compare a stored response with the purges since it was last judged.

        One that survives is from now on as good as one born now, and one that was purged softly is too, but stale.
        """
        verdict = self._parts.ledger.verdict(stored)
        if verdict not in (Verdict.VALID, Verdict.STALE):
            self._parts.store.remove_now(stored)
            return
        freshness = stored.freshness if verdict is Verdict.VALID else stored.freshness.ended(now)
        judged = replace(stored, freshness=freshness, birth=self._parts.ledger.birth())
        if not self._parts.store.replace_now(stored, judged):
            self._parts.store.remove_now(stored)

    async def _answer(self, exchange: Exchange, cache_key: CacheKey, content: bytes | None) -> Delivery:
        exchange.key = cache_key
        now = self._parts.clock()
        head = exchange.request.head
        decision: Decision = reuse.decide(head, self._lookup(cache_key, now), self._parts.policy, now)
        plan = Plan(cache_key, head, content)
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
                plan = replace(plan, keep_range=_asks_for_range(head))
        if head.method == "HEAD":
            return await through.forward_head(self._parts, exchange, plan, reason)
        return await forward.fetch(self._parts, exchange, plan, reason)


def _asks_for_range(head: RequestHead) -> bool:
    return head.method == "GET" and parse_range(head.fields.get("range", "")) is not None
