"""Forwarding for one request alone: HEAD, unsafe methods, upgrades, and whatever has no key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from edgecache.engine import deliver, serve
from edgecache.engine.collapse import Filled
from edgecache.engine.deliver import Status
from edgecache.engine.exchange import Delivery, Exchange
from edgecache.engine.forward import outcome_of
from edgecache.engine.parts import FWD, Parts, detail_of, unlike_200
from edgecache.engine.plan import Plan
from edgecache.errors import ClientError, OriginError
from edgecache.http.cache_status import Fwd
from edgecache.http.message import RequestHead, ResponseHead
from edgecache.origin.base import Framing, OriginResponse
from edgecache.purging.selector import Kind, Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics import freshness, invalidation, key, storing, validation
from edgecache.semantics.reason import Reason
from edgecache.stores.body import MemoryBody

__all__ = ["blame_client", "forward_head", "pass_through"]


async def forward_head(parts: Parts, exchange: Exchange, plan: Plan, reason: Reason) -> Delivery:
    """Forward a HEAD as a HEAD, and let its answer update what is stored (RFC 9111 §4.3.5)."""
    exchange.record("head")
    parts.counters.forwarded[FWD[reason]] += 1
    birth, sent_at = parts.ledger.birth(), parts.clock()
    stored = plan.validate
    head = plan.head if stored is None else validation.condition(plan.head, stored)
    try:
        response = await parts.fetcher.send(head, None, exchange, exchange.request.on_interim)
    except OriginError as error:
        now = parts.clock()
        instead = serve.serve_instead(parts, exchange, plan, reason, None, now)
        return instead or serve.fail(parts, exchange, FWD[reason], error, now)
    now = parts.clock()
    if stored is not None and (response.head.status == 304 or validation.head_agrees(stored, response.head)):
        response.close()
        freshened = validation.freshen(
            plan.head, stored, response.head, parts.policy, birth=birth, request_time=sent_at, response_time=now
        )
        parts.store.replace_now(stored, freshened)
        parts.counters.revalidated += 1
        exchange.result, exchange.reason = "revalidated", Reason.VALIDATED
        status = Status(FWD[reason], response.head.status, is_stored=True)
        return serve.from_store(parts, exchange, freshened, status, now)
    if response.head.status >= 500:
        instead = serve.serve_instead(parts, exchange, plan, reason, response.head.status, now)
        if instead is not None:
            response.close()
            return instead
    elif stored is not None:
        parts.store.remove_now(stored)
    exchange.result, exchange.reason = "miss", Reason.METHOD
    status = Status(FWD[reason], unlike_200(response.head.status), detail=Reason.METHOD)
    return deliver.passed(exchange, response, status, parts.policy, now)


async def pass_through(parts: Parts, exchange: Exchange, reason: Reason) -> Delivery:
    """Forward with neither lookup nor collapse, and invalidate what the answer makes obsolete."""
    exchange.record("pass")
    exchange.result, exchange.reason = "pass", reason
    parts.counters.passes += 1
    parts.counters.forwarded[FWD[reason]] += 1
    request = exchange.request
    birth, sent_at = parts.ledger.birth(), parts.clock()
    try:
        response = await parts.fetcher.send(
            request.head, None, exchange, request.on_interim, request.body, request.upgrade
        )
    except OriginError as error:
        return serve.fail(parts, exchange, FWD[reason], error, parts.clock())
    except ClientError as error:
        return blame_client(parts, exchange, reason, error)
    now = parts.clock()
    was_valid = parts.ledger.verdict_of(birth, request.head.target_uri) is Verdict.VALID
    await _invalidate(parts, exchange, response.head)
    if was_valid and _may_store_answer(parts, request.head, response, sent_at, now):
        return await _store_answer(parts, exchange, response, sent_at, now)
    status = Status(FWD[reason], unlike_200(response.head.status), detail=detail_of(reason))
    return deliver.passed(exchange, response, status, parts.policy, now)


def blame_client(parts: Parts, exchange: Exchange, reason: Reason, error: ClientError) -> Delivery:
    """Answer for content that broke a rule, or broke off, while it was being sent on."""
    exchange.record("fail")
    exchange.result = "error"
    parts.counters.synthesized += 1
    status = Status(FWD[reason], detail=Reason.CONTENT)
    return deliver.synthesized(exchange, error.status, error.reason, status, parts.policy, parts.clock())


async def _invalidate(parts: Parts, exchange: Exchange, head: ResponseHead) -> None:
    """RFC 9111 §4.4 and RFC 9875 §3. In force here at once; in other processes as soon as they hear of it."""
    request = exchange.request.head
    uris = invalidation.invalidated_uris(request, head)
    groups = invalidation.invalidated_groups(request, head)
    if uris or groups:
        exchange.record("invalidate")
        selectors = [*_urls(uris), *(Selector(Kind.TAG, group) for group in groups)]
        await parts.ledger.invalidate(selectors)
        parts.counters.invalidations += len(uris)
        parts.counters.group_invalidations += len(groups)


def _urls(uris: Iterable[str]) -> Iterator[Selector]:
    for uri in uris:
        # What an origin wrote into Location need not be a URI; then nothing can be stored under it.
        with contextlib.suppress(ClientError):
            yield Selector.of(Kind.URL, uri)


def _may_store_answer(parts: Parts, head: RequestHead, response: OriginResponse, sent_at: float, now: float) -> bool:
    """Whether a POST's response is the representation that later GETs ask for (RFC 9110 §9.3.3)."""
    governing = freshness.govern(response.head.fields, parts.policy)
    if response.framing is Framing.CLOSE or not storing.answers_a_get(head, response.head, governing):
        return False
    numbers = freshness.assess(response.head, governing, parts.policy, request_time=sent_at, response_time=now)
    return storing.refusal(head, response.head, governing, numbers, parts.policy) is None


async def _store_answer(
    parts: Parts, exchange: Exchange, response: OriginResponse, sent_at: float, now: float
) -> Delivery:
    """Deliver and store, born after the invalidation that the same exchange caused."""
    head = exchange.request.head
    flight = parts.collapse.solo(head.target_uri, head.target_uri)
    prototype = storing.make(
        head,
        response.head,
        MemoryBody(()),
        parts.policy,
        key=key.primary(head),
        birth=parts.ledger.birth(),
        request_time=sent_at,
        response_time=now,
    )
    parts.fetcher.start_pump(flight, prototype, response)
    try:
        outcome = await outcome_of(flight, leads=True)
        status = Status(Fwd.METHOD, unlike_200(response.head.status), is_stored=True)
        assert isinstance(outcome, Filled)
        return serve.from_fill(parts, exchange, flight, outcome, status, now)
    finally:
        flight.members -= 1
