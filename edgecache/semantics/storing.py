"""Storing (RFC 9111 §3): may a response be kept, and what of it.

Doubt means not stored. ``CHECKS`` lists what can speak against; ``refusal`` returns the first that does, None when
nothing does. ``make`` builds the value that a store keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from edgecache.http.cache_control import ResponseDirectives, parse_request
from edgecache.http.fields import combined, format_http_date
from edgecache.http.message import (
    FieldsView,
    Pair,
    RequestHead,
    ResponseHead,
    fields_of,
    render_fields,
    render_status_line,
)
from edgecache.http.ranges import ContentRange, parse_content_range
from edgecache.semantics import presenting, selection
from edgecache.semantics.freshness import (
    HEURISTICALLY_CACHEABLE,
    Governing,
    assess,
    govern,
    has_explicit_lifetime,
    own_via,
)
from edgecache.semantics.guards import type_contradicts
from edgecache.semantics.key import cookies, url_of
from edgecache.semantics.normalising import without_other_cookies
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Birth, Body, CacheKey, Freshness, Selecting, StoredResponse, Validators
from edgecache.semantics.tags import tags_of
from edgecache.semantics.unkeyed import doubtful, reflects_origin

__all__ = [
    "CHECKS",
    "OF_THE_REQUEST",
    "Case",
    "answers_a_get",
    "as_others_ask",
    "luck_of",
    "make",
    "of_partial",
    "refusal",
    "refusal_of_body",
    "refusal_of_update",
]

UNDERSTOOD: Final = frozenset(
    {200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 307, 308, *range(400, 418), 421, 422, 426, *range(500, 506)}
)
"""Final status codes of RFC 9110 §15, whose caching requirements this cache conforms to; 304 is never stored."""

_NEVER_STORED: Final = frozenset({304, 408, 412, 416, 417, 421, 425, 428, 429, 431, 511})
"""Status codes that answer this one request: its conditions, range, expectation, connection or size, none of which is
part of a key, so that others would meet an answer to what they did not ask. RFC 6585 forbids its four."""

_NOT_STORED: Final = frozenset({"age", "content-length"})
"""Computed at delivery."""


@dataclass(frozen=True, slots=True)
class Case:
    """A response that may be stored, and everything that is known about it.

    ``request`` is normalised, ``freshness`` is what ``assess`` made of the head.
    """

    request: RequestHead
    head: ResponseHead
    governing: Governing
    freshness: Freshness
    policy: Policy

    @property
    def directives(self) -> ResponseDirectives:
        """The directives that this cache obeys."""
        return self.governing.directives

    @property
    def is_explicit(self) -> bool:
        """Whether the origin itself said how long the response is fresh."""
        return has_explicit_lifetime(self.head.fields, self.governing)


def refusal(
    request: RequestHead, head: ResponseHead, governing: Governing, freshness: Freshness, policy: Policy
) -> Reason | None:
    """Return why the response must not be stored (RFC 9111 §3), or None."""
    case = Case(request, head, governing, freshness, policy)
    return next((reason for reason, speaks_against in CHECKS if speaks_against(case)), None)


def refusal_of_update(request: RequestHead, head: ResponseHead, policy: Policy) -> Reason | None:
    """Return why a stored response must not be kept with the head that a 304 gave it, or None (RFC 9111 §3.2)."""
    case = Case(request, head, govern(head.fields, policy), Freshness(0.0, 0.0), policy)
    return next((reason for reason, speaks_against in _OF_UPDATES if speaks_against(case)), None)


def _is_of_method(case: Case) -> bool:
    return case.request.method not in ("GET", "QUERY") and not answers_a_get(case.request, case.head, case.governing)


def _is_never_stored(case: Case) -> bool:
    return case.head.status < 200 or case.head.status in _NEVER_STORED


def _is_not_cacheable_unasked(case: Case) -> bool:
    return not (case.is_explicit or case.head.status in HEURISTICALLY_CACHEABLE or case.directives.public)


def _is_not_understood(case: Case) -> bool:
    return case.directives.must_understand and case.head.status not in UNDERSTOOD


def _is_no_part(case: Case) -> bool:
    return case.head.status == 206 and _content_range(case.head) is None


def _says_no_store(case: Case) -> bool:
    # must-understand, when it was understood, overrides no-store (§5.2.2.3).
    return case.directives.no_store and not case.directives.must_understand and not case.policy.unsafe_store_no_store


def _is_private(case: Case) -> bool:
    return case.directives.private and not case.policy.unsafe_store_private


def _varies_on_everything(case: Case) -> bool:
    return selection.vary_names(case.head.fields) is None


def _has_too_many_tags(case: Case) -> bool:
    return tags_of(case.request, case.head, case.policy) is None


def _is_asked_not_to(case: Case) -> bool:
    return parse_request(case.request.fields).no_store


def _is_authenticated(case: Case) -> bool:
    directives = case.directives
    shareable = directives.public or directives.must_revalidate or directives.s_maxage is not None
    return "authorization" in case.request.fields and not shareable and not case.policy.unsafe_store_authorized


def _sets_a_cookie(case: Case) -> bool:
    return "set-cookie" in case.head.fields and not case.policy.unsafe_store_set_cookie


def _is_mistyped(case: Case) -> bool:
    return not case.policy.unsafe_ignore_content_type and type_contradicts(case.request, case.head)


def _may_depend_on_fields(case: Case) -> bool:
    if case.policy.unsafe_ignore_request_fields:
        return False
    varied, fields = selection.vary_names(case.head.fields) or (), case.request.fields
    reflects = reflects_origin(fields, case.head.fields, (*varied, *case.policy.key_fields))
    return reflects or bool(doubtful(fields, case.policy, varied))


def _may_depend_on_cookies(case: Case) -> bool:
    if case.is_explicit or case.directives.public or case.policy.unsafe_ignore_request_cookies:
        return False
    return any(name not in case.policy.key_cookies for name, _ in cookies(case.request.fields))


def _is_of_no_use(case: Case) -> bool:
    freshness = case.freshness
    reusable = freshness.lifetime > 0 and not freshness.must_validate
    return not (reusable or freshness.grace > 0 or freshness.if_error > 0 or _validators(case.head.fields))


CHECKS: Final[tuple[tuple[Reason, Callable[[Case], bool]], ...]] = (
    (Reason.METHOD, _is_of_method),
    (Reason.STATUS, _is_never_stored),
    (Reason.NOT_UNDERSTOOD, _is_not_understood),
    (Reason.CONTENT_RANGE, _is_no_part),
    (Reason.STATUS, _is_not_cacheable_unasked),
    (Reason.NO_STORE, _says_no_store),
    (Reason.PRIVATE, _is_private),
    (Reason.VARY_STAR, _varies_on_everything),
    (Reason.TOO_MANY_TAGS, _has_too_many_tags),
    (Reason.REQUEST_NO_STORE, _is_asked_not_to),
    (Reason.AUTHORIZATION, _is_authenticated),
    (Reason.SET_COOKIE, _sets_a_cookie),
    (Reason.TYPE_MISMATCH, _is_mistyped),
    (Reason.UNKEYED_FIELD, _may_depend_on_fields),
    (Reason.REQUEST_COOKIE, _may_depend_on_cookies),
    (Reason.NO_FRESHNESS, _is_of_no_use),
)
"""What can speak against storing, in the order in which an operator would want to hear it."""

_OF_UPDATES: Final = tuple(
    check
    for check in CHECKS
    if check[0] in (Reason.NO_STORE, Reason.PRIVATE, Reason.VARY_STAR, Reason.TOO_MANY_TAGS, Reason.AUTHORIZATION)
)


OF_THE_REQUEST: Final = frozenset({Reason.AUTHORIZATION, Reason.REQUEST_COOKIE, Reason.REQUEST_NO_STORE})
"""Refusals that are about who asked: another request's answer may be stored all the same."""


def as_others_ask(request: RequestHead, stored: StoredResponse, policy: Policy) -> RequestHead:
    """Return the request without credentials that could not have got ``stored``: the answer would be for one alone."""
    head, fields = stored.head(), request.fields
    case = Case(request, head, govern(head.fields, policy), stored.freshness, policy)
    if _may_depend_on_cookies(case):
        fields = without_other_cookies(fields, policy.key_cookies)
    if _is_authenticated(case):
        fields = fields_of(pair for pair in fields.items() if pair[0].lower() != "authorization")
    return request if fields is request.fields else replace(request, fields=fields)


def answers_a_get(request: RequestHead, head: ResponseHead, governing: Governing) -> bool:
    """Whether a POST's response may answer later GETs (RFC 9110 §9.3.3): it says so, and for how long."""
    if request.method != "POST" or not 200 <= head.status < 300:
        return False
    location = combined(head.fields, "content-location")
    return (
        location is not None
        and location in (request.target, request.target_uri)
        and has_explicit_lifetime(head.fields, governing)
    )


def refusal_of_body(head: ResponseHead, size: int, policy: Policy) -> Reason | None:
    """Return why a body of this many bytes is not stored under this head, or None."""
    if size > policy.max_object:
        return Reason.TOO_LARGE
    held = _content_range(head) if head.status == 206 else None
    if held is not None and held.size != size:
        return Reason.CONTENT_RANGE
    return None


def of_partial(head: ResponseHead) -> ContentRange | None:
    """Return what part of the representation the response holds; None when it is all of it."""
    return _content_range(head) if head.status == 206 else None


def make(
    request: RequestHead,
    head: ResponseHead,
    body: Body,
    policy: Policy,
    *,
    key: CacheKey,
    birth: Birth,
    request_time: float,
    response_time: float,
    selecting: Selecting | None = None,
) -> StoredResponse:
    """Return the value that a store keeps. ``selecting`` is given when an update keeps the first one's."""
    governing = govern(head.fields, policy)
    is_update = selecting is not None
    if selecting is None:
        names = selection.vary_names(head.fields) or ()
        selecting = selection.selecting_fields(request.fields, names)
    # What is addressed to this cache stays, for a 304 that does not repeat it (§3.2), and is shown to nobody.
    pairs = tuple(_kept_fields(head.fields, governing.directives, policy, response_time, is_update=is_update))
    return StoredResponse(
        key=key,
        status=head.status,
        fields=pairs,
        body=body,
        freshness=assess(
            head,
            governing,
            policy,
            request_time=request_time,
            response_time=response_time,
            luck=luck_of(key, response_time),
        ),
        birth=birth,
        selecting=selecting,
        validators=_validators(head.fields),
        content_range=of_partial(head),
        tags=tags_of(request, head, policy) or frozenset(),
        response_time=response_time,
        uri=url_of(key),
        rendered=render_status_line(head.status) + render_fields(presenting.shown(head.status, pairs, policy)),
    )


def luck_of(key: CacheKey, response_time: float) -> float:
    """Return a number from 0 to 1 that differs from response to response: who rolls dice here is the key."""
    digest = hashlib.blake2b(f"{response_time!r} {key}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 0xFFFF_FFFF


def _kept_fields(
    fields: FieldsView, directives: ResponseDirectives, policy: Policy, response_time: float, *, is_update: bool
) -> Iterable[Pair]:
    """RFC 9111 §3.1, less what qualified no-cache and private name (§5.2.2.4, §5.2.2.7)."""
    left_out = _NOT_STORED | directives.no_cache_fields | directives.private_fields
    for name, value in fields.items():
        if name.lower() not in left_out:
            yield name, value
    if "date" not in fields:
        yield "Date", format_http_date(response_time)
    if not is_update or own_via(policy) not in fields.getall("via", ()):
        yield "Via", own_via(policy)


def _validators(fields: FieldsView) -> Validators:
    return Validators(fields.get("etag"), fields.get("last-modified"))


def _content_range(head: ResponseHead) -> ContentRange | None:
    value = combined(head.fields, "content-range")
    return None if value is None else parse_content_range(value)
