"""Forwarding for one request alone: HEAD, unsafe methods, upgrades, and whatever has no key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from edgecache.engine import deliver, serve
from edgecache.engine.collapse import Filled
from edgecache.engine.deliver import Status
from edgecache.engine.exchange import Delivery, Exchange
from edgecache.engine.forward import outcome_of
from edgecache.engine.judging import Filling, Judgement, judge, policy_of_update
from edgecache.engine.parts import FWD, Parts, detail_of, unlike_200
from edgecache.engine.plan import Plan
from edgecache.engine.telling import ends_what_is_stored, is_update_for_one
from edgecache.errors import ClientError, OriginError
from edgecache.http.cache_status import Fwd
from edgecache.http.message import RequestHead, ResponseHead
from edgecache.origin.base import OriginResponse
from edgecache.purging.selector import Kind, Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics import freshness, invalidation, storing, validation
from edgecache.semantics.reason import Reason
from edgecache.stores.body import MemoryBody

__all__ = ["blame_client", "forward_head", "pass_through"]


async def forward_head(parts: Parts, exchange: Exchange, plan: Plan, reason: Reason) -> Delivery:
    """Forward a HEAD as a HEAD, and let its answer update what is stored (RFC 9111 §4.3.5)."""
    exchange.record("head")
    parts.counters.forwarded[FWD[reason]] += 1
    birth, sent_at = parts.ledger.birth(), parts.clock()
    stored = None if plan.is_alone else plan.validate
    head = plan.head if stored is None else validation.condition(plan.head, stored)
    try:
        response = await parts.fetcher.send(head, None, exchange, exchange.request.on_interim, release=plan.release)
    except OriginError as error:
        now = parts.clock()
        instead = serve.serve_instead(parts, exchange, plan, reason, None, now)
        return instead or serve.fail(parts, exchange, FWD[reason], error, now)
    now = parts.clock()
    if stored is not None and (response.head.status == 304 or validation.head_agrees(stored, response.head)):
        response.close()
        policy = policy_of_update(plan.asked, stored, response.head)
        freshened = validation.freshen(
            plan.head, stored, response.head, policy, birth=birth, request_time=sent_at, response_time=now
        )
        if not is_update_for_one(plan, stored, freshened):
            parts.store.replace_now(stored, freshened)
        parts.counters.revalidated += 1
        exchange.result, exchange.reason = "revalidated", Reason.VALIDATED
        status = Status(FWD[reason], response.head.status, is_stored=True)
        return serve.from_store(parts, exchange, freshened, status, now)
    if response.head.status >= 400:
        instead = serve.serve_instead(parts, exchange, plan, reason, response.head.status, now)
        if instead is not None:
            response.close()
            return instead
    status_code = response.head.status
    # That a HEAD is not answered says nothing about a GET.
    is_ended = status_code != 405 and ends_what_is_stored(plan, status_code, Reason.METHOD)
    if stored is not None and is_ended and not plan.is_held:
        parts.store.remove_now(stored)
    exchange.result, exchange.reason = "miss", Reason.METHOD
    status = Status(FWD[reason], unlike_200(status_code), detail=Reason.METHOD)
    judged = judge(plan.head, plan.asked, response, request_time=sent_at, response_time=now)
    return deliver.passed(exchange, response, judged.shown, status, parts.policy, now)


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
    judged = judge(request.head, parts.rules.applied(request.head), response, request_time=sent_at, response_time=now)
    if was_valid and _answers_later(request.head, response.head, judged):
        return await _store_answer(parts, exchange, response, judged, sent_at, now)
    status = Status(FWD[reason], unlike_200(response.head.status), detail=detail_of(reason))
    return deliver.passed(exchange, response, judged.shown, status, parts.policy, now)


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
    uris = [_as_stored(parts, request, uri) for uri in invalidation.invalidated_uris(request, head)]
    groups = invalidation.invalidated_groups(request, head)
    if uris or groups:
        exchange.record("invalidate")
        selectors = [*_urls(uris), *(Selector(Kind.TAG, group) for group in groups)]
        await parts.ledger.invalidate(selectors)
        parts.counters.invalidations += len(uris)
        parts.counters.group_invalidations += len(groups)


def _as_stored(parts: Parts, request: RequestHead, uri: str) -> str:
    """Return the target URI under which a GET for ``uri``, which is of the request's origin, is stored."""
    target = uri.removeprefix(f"{request.scheme}://{request.authority}")
    get = RequestHead("GET", request.scheme, request.authority, target, request.fields)
    return parts.rules.applied(get).head.target_uri


def _urls(uris: Iterable[str]) -> Iterator[Selector]:
    for uri in uris:
        # What an origin wrote into Location need not be a URI; then nothing can be stored under it.
        with contextlib.suppress(ClientError):
            yield Selector.of(Kind.URL, uri)


def _answers_later(request: RequestHead, head: ResponseHead, judged: Judgement) -> bool:
    """Whether a POST's response is the representation that later GETs ask for (RFC 9110 §9.3.3)."""
    if judged.refusal is not None:
        return False
    return storing.answers_a_get(request, head, freshness.govern(head.fields, judged.policy))


async def _store_answer(
    parts: Parts, exchange: Exchange, response: OriginResponse, judged: Judgement, sent_at: float, now: float
) -> Delivery:
    """Deliver and store, born after the invalidation that the same exchange caused."""
    head = exchange.request.head
    get = parts.planned(parts.rules.applied(RequestHead("GET", head.scheme, head.authority, head.target, head.fields)))
    policy = replace(judged.policy, tags=(*judged.policy.tags, *get.asked.tags))
    flight = parts.collapse.solo(head.target_uri, head.target_uri)
    prototype = storing.make(
        head,
        judged.head,
        MemoryBody(()),
        policy,
        key=get.key,
        birth=parts.ledger.birth(),
        request_time=sent_at,
        response_time=now,
    )
    filling = Filling(get, policy, judged.shown, prototype, exchange)
    parts.fetcher.start_pump(flight, filling, response)
    try:
        outcome = await outcome_of(flight, leads=True)
        assert isinstance(outcome, Filled)
        is_stored = outcome.unkept is None
        status = Status(Fwd.METHOD, unlike_200(response.head.status), is_stored=is_stored, detail=outcome.unkept)
        return serve.from_fill(parts, exchange, flight, outcome, status, now)
    finally:
        flight.members -= 1
