"""Storing (RFC 9111 §3): may a response be kept, and what of it.

Doubt means not stored. ``CHECKS`` lists what can speak against; ``objections`` returns what does.
``make`` builds the value that a store keeps.

Rules may make a response live longer than its origin said, or give it directives that it did not have. Neither is the
origin's leave to give one user's response to others: that is looked for in what the origin itself sent.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

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
    explicit_lifetime,
    govern,
    has_explicit_lifetime,
    is_of_a_rule,
    own_via,
)
from edgecache.semantics.guards import is_ambiguous, type_contradicts
from edgecache.semantics.key import are_plain_cookies, cookies, url_of
from edgecache.semantics.normalising import without_other_cookies
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Birth, Body, CacheKey, Freshness, Selecting, StoredResponse, Validators
from edgecache.semantics.tags import tags_of
from edgecache.semantics.unkeyed import doubtful

__all__ = [
    "CHECKS",
    "Case",
    "answers_a_get",
    "as_others_ask",
    "is_offered",
    "luck_of",
    "make",
    "objections",
    "of_partial",
    "refusal",
    "refusal_of_body",
    "refusal_of_size",
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


class Case(msgspec.Struct, frozen=True):
    """A response that may be stored, and everything that is known about it.

    ``request`` is normalised, ``freshness`` is what ``assess`` made of the head; ``sent`` is the head as the origin
    sent it, before rules amended it; ``directives`` are those that this cache obeys.
    """

    request: RequestHead
    head: ResponseHead
    governing: Governing
    freshness: Freshness
    policy: Policy
    sent: ResponseHead
    directives: ResponseDirectives

    @property
    def is_explicit(self) -> bool:
        """Whether it says how long the response is fresh."""
        return has_explicit_lifetime(self.head.fields, self.governing)

    @property
    def said(self) -> Governing:
        """What the origin itself said to this cache."""
        return self.governing if self.sent is self.head else govern(self.sent.fields, self.policy)

    @property
    def is_offered(self) -> bool:
        """Whether the origin itself offers the response to everybody."""
        return is_offered(self.sent, self.said, self.freshness.generated_at)


def objections(
    request: RequestHead,
    head: ResponseHead,
    governing: Governing,
    freshness: Freshness,
    policy: Policy,
    sent: ResponseHead | None = None,
) -> tuple[Reason, ...]:
    """Return everything that speaks against storing the response (RFC 9111 §3), what is most telling first.

    ``sent`` is the head as the origin sent it, when rules have amended it.
    """
    case = Case(request, head, governing, freshness, policy, sent or head, governing.directives)
    return tuple(dict.fromkeys([reason for reason, speaks_against in CHECKS if speaks_against(case)]))


def refusal(
    request: RequestHead,
    head: ResponseHead,
    governing: Governing,
    freshness: Freshness,
    policy: Policy,
    sent: ResponseHead | None = None,
) -> Reason | None:
    """Return why the response must not be stored, or None: the first of ``objections``."""
    return next(iter(objections(request, head, governing, freshness, policy, sent)), None)


def refusal_of_update(request: RequestHead, head: ResponseHead, policy: Policy) -> Reason | None:
    """Return why a stored response must not be kept with the head that a 304 gave it, or None (RFC 9111 §3.2)."""
    governing = govern(head.fields, policy)
    case = Case(request, head, governing, Freshness(0.0, 0.0), policy, head, governing.directives)
    return next((reason for reason, speaks_against in _OF_UPDATES if speaks_against(case)), None)


def _is_of_method(case: Case) -> bool:
    return case.request.method not in ("GET", "QUERY") and not answers_a_get(case.request, case.head, case.governing)


def _is_never_stored(case: Case) -> bool:
    return case.head.status < 200 or case.head.status in _NEVER_STORED


def _is_not_cacheable_unasked(case: Case) -> bool:
    return not (case.head.status in HEURISTICALLY_CACHEABLE or case.directives.public or case.is_explicit)


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
    return "vary" in case.head.fields and selection.vary_names(case.head.fields) is None


def _has_too_many_tags(case: Case) -> bool:
    return tags_of(case.request, case.head, case.policy) is None


def _is_asked_not_to(case: Case) -> bool:
    return "cache-control" in case.request.fields and parse_request(case.request.fields).no_store


def _is_authenticated(case: Case) -> bool:
    if "authorization" not in case.request.fields or case.policy.unsafe_store_authorized:
        return False
    said = case.said.directives
    if is_of_a_rule(case.freshness):
        # Leave to share what is validated each time (§3.5) is no leave to share it unvalidated.
        return not (said.public or said.s_maxage)
    # Where nothing is shared unvalidated, must-revalidate is said for other reasons.
    may_be_revalidated = said.must_revalidate and case.is_offered
    return not (said.public or said.s_maxage is not None or may_be_revalidated)


def _sets_a_cookie(case: Case) -> bool:
    return "set-cookie" in case.head.fields and not case.policy.unsafe_store_set_cookie


def _has_no_name(case: Case) -> bool:
    return is_ambiguous(case.request.target.partition("?")[0])


def _is_mistyped(case: Case) -> bool:
    return not case.policy.unsafe_ignore_content_type and type_contradicts(case.request, case.head)


def _may_depend_on_fields(case: Case) -> bool:
    if case.policy.unsafe_ignore_request_fields:
        return False
    varied = selection.vary_names(case.head.fields) or () if "vary" in case.head.fields else ()
    return bool(doubtful(case.request, case.policy, varied))


def _may_depend_on_cookies(case: Case) -> bool:
    fields, policy = case.request.fields, case.policy
    if "cookie" not in fields or "cookie" in policy.key_fields or policy.unsafe_ignore_request_cookies:
        return False
    if policy.key_cookies and not are_plain_cookies(fields):
        return True
    return not case.is_offered and any(name not in policy.key_cookies for name, _ in cookies(fields))


def is_offered(sent: ResponseHead, said: Governing, received: float) -> bool:
    """Whether the origin itself offers a response to everybody who asks, for some time at least.

    Who says ``max-age=0`` or ``Expires: 0`` does not want it reused at all, whatever a rule makes of it; and whether
    somebody else's is still the same, Last-Modified does not tell. ``received`` is in POSIX seconds.
    """
    if said.directives.public:
        return True
    lifetime = explicit_lifetime(sent, said, received)
    return lifetime is not None and lifetime > 0


def _is_of_no_use(case: Case) -> bool:
    freshness = case.freshness
    if freshness.lifetime > 0 and not freshness.must_validate:
        return False
    fields = case.head.fields
    return not (freshness.grace > 0 or freshness.if_error > 0 or "etag" in fields or "last-modified" in fields)


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
    (Reason.AMBIGUOUS_PATH, _has_no_name),
    (Reason.TYPE_MISMATCH, _is_mistyped),
    (Reason.UNKEYED_FIELD, _may_depend_on_fields),
    (Reason.REQUEST_COOKIE, _may_depend_on_cookies),
    (Reason.NO_FRESHNESS, _is_of_no_use),
)
"""What can speak against storing, in the order in which an operator would want to hear it."""

_OF_UPDATES: Final = tuple(
    check
    for check in CHECKS
    if check[0]
    in (
        *(Reason.NO_STORE, Reason.PRIVATE, Reason.VARY_STAR, Reason.TOO_MANY_TAGS, Reason.AUTHORIZATION),
        Reason.TYPE_MISMATCH,
    )
)


def as_others_ask(request: RequestHead, stored: StoredResponse, policy: Policy) -> RequestHead:
    """Return the request without credentials that could not have got ``stored``: the answer would be for one alone."""
    head, fields = stored.head(), request.fields
    governing = govern(head.fields, policy)
    case = Case(request, head, governing, stored.freshness, policy, head, governing.directives)
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
    return refusal_of_size(of_partial(head), size, policy)


def refusal_of_size(held: ContentRange | None, size: int, policy: Policy) -> Reason | None:
    """As ``refusal_of_body``; ``held`` is what part of a representation the head says that it is."""
    if size > policy.max_object:
        return Reason.TOO_LARGE
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
    judged: Freshness | None = None,
) -> StoredResponse:
    """Return the value that a store keeps.

    ``selecting`` is given when an update keeps the first one's; ``judged`` when it was assessed already, without luck.
    """
    governing = govern(head.fields, policy)
    is_update = selecting is not None
    if selecting is None:
        selecting = selection.selecting(request.fields, head, policy.known_fields)
    # What is addressed to this cache stays, for a 304 that does not repeat it (§3.2), and is shown to nobody.
    pairs = _kept_fields(head.fields, governing.directives, policy, response_time, is_update=is_update)
    return StoredResponse(
        key=key,
        status=head.status,
        fields=pairs,
        body=body,
        freshness=judged
        if judged is not None and not policy.jitter
        else assess(
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
        encodable=policy.compress and presenting.is_encodable(head.status, fields_of(pairs), policy),
        rendered=render_status_line(head.status) + render_fields(presenting.shown(head.status, pairs, policy)),
    )


def luck_of(key: CacheKey, response_time: float) -> float:
    """Return a number from 0 to 1 that differs from response to response: who rolls dice here is the key."""
    digest = hashlib.blake2b(f"{response_time!r} {key}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 0xFFFF_FFFF


def _kept_fields(
    fields: FieldsView, directives: ResponseDirectives, policy: Policy, response_time: float, *, is_update: bool
) -> tuple[Pair, ...]:
    """RFC 9111 §3.1, less what qualified no-cache and private name (§5.2.2.4, §5.2.2.7)."""
    left_out = _NOT_STORED | directives.no_cache_fields | directives.private_fields
    # Names are few, and stores keep each of them once.
    kept = [(sys.intern(str(name)), value) for name, value in fields.items() if name.lower() not in left_out]
    if "date" not in fields:
        kept.append(("Date", format_http_date(response_time)))
    if not is_update or own_via(policy) not in fields.getall("via", ()):
        kept.append(("Via", own_via(policy)))
    return tuple(kept)


def _validators(fields: FieldsView) -> Validators:
    return Validators(fields.get("etag"), fields.get("last-modified"))


def _content_range(head: ResponseHead) -> ContentRange | None:
    value = combined(head.fields, "content-range")
    return None if value is None else parse_content_range(value)
