"""Judging what passes by: whether a request is answered from what is stored at all, and what becomes of a response.

A response's head is judged once, when it comes: what the rules make of it, and whether it is stored. Pure, so that
whoever explains or tries a rule asks the same functions as the engine does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgecache.engine.exchange import Exchange
from edgecache.engine.plan import Plan
from edgecache.http.message import RequestHead, ResponseHead, fields_of
from edgecache.origin.base import Framing, OriginResponse
from edgecache.semantics import freshness, presenting, storing, validation
from edgecache.semantics.key import KEYED_METHODS
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import may_serve_instead
from edgecache.semantics.rules import Applied, Rule
from edgecache.semantics.selection import is_of_the_request
from edgecache.semantics.stored import Freshness, StoredResponse

__all__ = ["Filling", "Judgement", "is_refused", "judge", "passing", "policy_of_update"]


class Judgement(msgspec.Struct, frozen=True):
    """What was decided about a response.

    Attributes:
        policy: what holds for it.
        head: as the rules want it judged and stored.
        shown: as clients get it.
        refusal: why it is not stored, or None.
        objections: everything that its head has against that (``storing.objections``).
        freshness: its numbers, without jitter.
        rules: those that apply to it.
    """

    policy: Policy
    head: ResponseHead
    shown: ResponseHead
    refusal: Reason | None
    objections: tuple[Reason, ...] = ()
    freshness: Freshness | None = None
    rules: tuple[Rule, ...] = ()


def passing(asked: Applied, *, has_content: bool) -> Reason | None:
    """Return why a request is neither looked up nor its response stored for others, or None."""
    if asked.asked.method not in KEYED_METHODS:
        return Reason.METHOD
    if asked.policy.passes:
        return Reason.RULE_PASS
    return Reason.CONTENT if has_content and asked.asked.method != "QUERY" else None


class Filling(msgspec.Struct, frozen=True):
    """A response whose body is to be stored: why it came and what holds for it, what clients see, what is stored.

    ``exchange`` is that of the request that brought it.
    """

    plan: Plan
    policy: Policy
    shown: ResponseHead
    prototype: StoredResponse
    exchange: Exchange


def judge(
    request: RequestHead,
    asked: Applied,
    response: OriginResponse,
    *,
    request_time: float,
    response_time: float,
    instead: StoredResponse | None = None,
    beside: Sequence[StoredResponse] = (),
) -> Judgement:
    """Return what becomes of a response to ``request``, which was made of what was ``asked``.

    ``instead`` is what is stored and may take the place of a failure; ``beside`` is what is stored under the same key.
    """
    rules = asked.matching(response.head)
    policy = asked.under(rules)
    head = presenting.amended(request, response.head, policy)
    governing = freshness.govern(head.fields, policy)
    numbers = freshness.assess(head, governing, policy, request_time=request_time, response_time=response_time)
    objections = storing.objections(request, head, governing, numbers, policy, response.head)
    is_gone = Reason.TYPE_MISMATCH in objections
    reason = _kept_out(request, 404 if is_gone else head.status, instead, response_time)
    if reason is None and response.framing is Framing.CLOSE:
        reason = Reason.CLOSE_DELIMITED
    if reason is None and objections:
        reason = objections[0]
    if reason is None and response.content_length is not None:
        reason = storing.refusal_of_body(head, response.content_length, policy)
    if reason is None and _is_one_requests_error(head, beside):
        reason = Reason.ERROR_KEPT_OUT
    is_by_rule = "cache-control" in head.fields and "cache-control" not in response.head.fields
    shown = presenting.shown_head(head, policy, objections, is_by_rule=is_by_rule)
    return Judgement(policy, head, shown, reason, objections, numbers, rules)


def _kept_out(request: RequestHead, status: int, stored: StoredResponse | None, now: float) -> Reason | None:
    """Return why a failure does not replace what is stored.

    What is not of the type that its name says is as good as a 404, of an application that has none.
    """
    if stored is None or status < 400:
        return None
    excuse = may_serve_instead(stored, now, status=status, request=request)
    if excuse is None:
        return None
    return Reason.RETAINED if excuse is Reason.RETAINED else Reason.ERROR_KEPT_OUT


def _is_one_requests_error(head: ResponseHead, beside: Sequence[StoredResponse]) -> bool:
    """Whether an error would take up room beside what others use: there may be one for each way to ask oddly."""
    return is_of_the_request(head.status) and any(other.status < 400 for other in beside)


def is_refused(request: RequestHead, asked: Applied, merged: ResponseHead, answer: ResponseHead, now: float) -> bool:
    """Whether what a 206 makes of a stored part may not be stored."""
    policy = asked.on(merged)
    governing = freshness.govern(merged.fields, policy)
    numbers = freshness.assess(merged, governing, policy, request_time=now, response_time=now)
    return storing.refusal(request, merged, governing, numbers, policy, answer) is not None


def policy_of_update(asked: Applied, stored: StoredResponse, answer: ResponseHead) -> Policy:
    """Return what holds for a stored response with what a 304, or the answer to a HEAD, says of it."""
    return asked.on(ResponseHead(stored.status, fields_of(validation.merge(stored.fields, answer))))
