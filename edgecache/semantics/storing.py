"""Storing (RFC 9111 §3): may a response be kept, and what of it.

Doubt means not stored. ``refusal`` returns the first reason against, in the order in which an operator would want
to hear them; None means that nothing speaks against it. ``make`` builds the value that a store keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgecache.http.cache_control import ResponseDirectives, parse_request
from edgecache.http.fields import combined, format_http_date
from edgecache.http.message import FieldsView, Pair, RequestHead, ResponseHead, render_fields, render_status_line
from edgecache.http.ranges import ContentRange, parse_content_range
from edgecache.semantics import selection
from edgecache.semantics.freshness import (
    HEURISTICALLY_CACHEABLE,
    Governing,
    assess,
    govern,
    has_explicit_lifetime,
    own_via,
)
from edgecache.semantics.key import url_of
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Birth, Body, CacheKey, Freshness, Selecting, StoredResponse, Validators
from edgecache.semantics.tags import tags_of

__all__ = ["answers_a_get", "consumed_fields", "make", "of_partial", "refusal", "refusal_of_body", "refusal_of_update"]

UNDERSTOOD: Final = frozenset(
    {200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 307, 308, *range(400, 418), 421, 422, 426, *range(500, 506)}
)
"""Final status codes of RFC 9110 §15, whose caching requirements this cache conforms to; 304 is never stored."""

_NEVER_STORED: Final = frozenset({304, 408, 412, 416, 417, 421, 425, 428, 429, 431, 511})
"""Status codes that answer this one request: its conditions, range, expectation, connection or size, none of which is
part of a key, so that others would meet an answer to what they did not ask. RFC 6585 forbids its four."""

_NOT_STORED: Final = frozenset({"age", "content-length"})
"""Computed at delivery."""


def refusal(
    request: RequestHead, head: ResponseHead, governing: Governing, freshness: Freshness, policy: Policy
) -> Reason | None:
    """Return why the response must not be stored (RFC 9111 §3), or None."""
    directives = governing.directives
    return (
        _refused_by_kind(request, head, governing)
        or _refused_by_response(request, head, directives, policy)
        or (Reason.REQUEST_NO_STORE if parse_request(request.fields).no_store else None)
        or _refused_for_privacy(request, head, governing, policy)
        or _refused_as_useless(head, freshness)
    )


def _refused_by_kind(request: RequestHead, head: ResponseHead, governing: Governing) -> Reason | None:
    if request.method not in ("GET", "QUERY") and not answers_a_get(request, head, governing):
        return Reason.METHOD
    if head.status < 200 or head.status in _NEVER_STORED:
        return Reason.STATUS
    if governing.directives.must_understand and head.status not in UNDERSTOOD:
        return Reason.NOT_UNDERSTOOD
    if head.status == 206 and _content_range(head) is None:
        return Reason.CONTENT_RANGE
    explicit = has_explicit_lifetime(head.fields, governing)
    if not explicit and head.status not in HEURISTICALLY_CACHEABLE and not governing.directives.public:
        return Reason.STATUS
    return None


def refusal_of_update(request: RequestHead, head: ResponseHead, policy: Policy) -> Reason | None:
    """Return why a stored response must not be kept with the head that a 304 gave it, or None (RFC 9111 §3.2)."""
    directives = govern(head.fields, policy).directives
    return _refused_by_response(request, head, directives, policy) or _refused_for_authorization(request, directives)


def _refused_by_response(
    request: RequestHead, head: ResponseHead, directives: ResponseDirectives, policy: Policy
) -> Reason | None:
    # must-understand, when it was understood, overrides no-store (§5.2.2.3).
    if directives.no_store and not directives.must_understand:
        return Reason.NO_STORE
    if directives.private:
        return Reason.PRIVATE
    if selection.vary_names(head.fields) is None:
        return Reason.VARY_STAR
    if tags_of(request, head, policy.tag_fields) is None:
        return Reason.TOO_MANY_TAGS
    return None


def _refused_for_privacy(
    request: RequestHead, head: ResponseHead, governing: Governing, policy: Policy
) -> Reason | None:
    if _refused_for_authorization(request, governing.directives):
        return Reason.AUTHORIZATION
    if "set-cookie" in head.fields and not policy.unsafe_store_set_cookie:
        return Reason.SET_COOKIE
    explicit = has_explicit_lifetime(head.fields, governing) or governing.directives.public
    if "cookie" in request.fields and not explicit:
        return Reason.REQUEST_COOKIE
    return None


def _refused_for_authorization(request: RequestHead, directives: ResponseDirectives) -> Reason | None:
    shareable = directives.public or directives.must_revalidate or directives.s_maxage is not None
    return Reason.AUTHORIZATION if "authorization" in request.fields and not shareable else None


def _refused_as_useless(head: ResponseHead, freshness: Freshness) -> Reason | None:
    reusable = freshness.lifetime > 0 and not freshness.must_validate
    if reusable or freshness.grace > 0 or freshness.if_error > 0 or _validators(head.fields):
        return None
    return Reason.NO_FRESHNESS


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
    consumed = consumed_fields(policy)
    pairs = tuple(_kept_fields(head.fields, governing.directives, policy, response_time, is_update=is_update))
    return StoredResponse(
        key=key,
        status=head.status,
        fields=pairs,
        body=body,
        freshness=assess(head, governing, policy, request_time=request_time, response_time=response_time),
        birth=birth,
        selecting=selecting,
        validators=_validators(head.fields),
        content_range=of_partial(head),
        tags=tags_of(request, head, policy.tag_fields) or frozenset(),
        response_time=response_time,
        uri=url_of(key),
        rendered=render_status_line(head.status)
        + render_fields(pair for pair in pairs if pair[0].lower() not in consumed),
    )


def consumed_fields(policy: Policy) -> frozenset[str]:
    """Return the names, lower case, of response fields that are addressed to this cache alone and end here.

    CDN-Cache-Control is for every such cache on the way (RFC 9213 §3.1), and goes on.
    """
    names = {name.lower() for name in (*policy.targeted_fields, *policy.tag_fields)} - {"cdn-cache-control"}
    return frozenset(names | {"surrogate-control"} if policy.surrogate_control else names)


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
