"""Reuse (RFC 9111 §4): what to do with a request, given what is stored.

``decide`` is the one place where the sections meet. It reads the numbers that ``freshness.assess`` left in each
candidate, and never a header of a response. What it returns says what to do and why; doing it is the engine's.

Order of the questions, each of which can end the matter:
    1. may this request be answered from a store at all (method, preconditions)?
    2. is there a selected response (§4.1) whose bytes cover what is asked (§3.3)?
    3. must it be validated whatever its age (no-cache)?     4. is it fresh, and fresh enough for the request?
    5. may it be served stale (max-stale, grace)?            6. may the request be forwarded (only-if-cached)?

Of a release that was gone back to (``held``) what is stored is the answer to 3, 4 and 5: the origin may run another
release, so to ask it would be to mix them. Errors, and what may have been purged, are left to the questions. It is a
departure from RFC 9111 §4.2.4 and §5.2.2.4, by the operator's order and for what is ``Policy.by_release`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from edgecache.http.cache_control import RequestDirectives, parse_request
from edgecache.http.conditional import has_origin_conditions
from edgecache.http.fields import combined
from edgecache.http.message import RequestHead
from edgecache.http.ranges import if_range_matches, parse_range, resolve
from edgecache.semantics import selection
from edgecache.semantics.freshness import date_of
from edgecache.semantics.key import KEYED_METHODS
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import StoredResponse

__all__ = [
    "Complete",
    "Decision",
    "Forward",
    "Refuse",
    "Serve",
    "ServeStale",
    "Validate",
    "covers",
    "decide",
    "may_serve_instead",
]


class Serve(msgspec.Struct, frozen=True):
    """Answer with it, now."""

    response: StoredResponse
    reason: Reason = Reason.FRESH


class ServeStale(msgspec.Struct, frozen=True):
    """Answer with it, now, and have one background request validate it: it is stale, or soon will be."""

    response: StoredResponse
    reason: Reason = Reason.GRACE


class Validate(msgspec.Struct, frozen=True):
    """Ask the origin whether it still holds (without a validator: for a new one)."""

    response: StoredResponse
    reason: Reason


class Complete(msgspec.Struct, frozen=True):
    """Fetch the bytes that are missing and combine them (RFC 9111 §3.4). First and last are inclusive."""

    response: StoredResponse
    first: int
    last: int | None
    reason: Reason = Reason.PARTIAL


class Forward(msgspec.Struct, frozen=True):
    """Send the request on; nothing stored helps."""

    reason: Reason


class Refuse(msgspec.Struct, frozen=True):
    """Answer 504: the request forbids what it would take to answer it."""

    reason: Reason = Reason.ONLY_IF_CACHED


Decision: TypeAlias = Serve | ServeStale | Validate | Complete | Forward | Refuse


def decide(
    request: RequestHead,
    candidates: Sequence[StoredResponse],
    policy: Policy,
    now: float,
    luck: float = 0.0,
    *,
    held: bool = False,
) -> Decision:
    """Return what to do with ``request`` at ``now``, ``candidates`` being what is stored under its key.

    ``held``: it is the key of a release that was gone back to.

    ``luck`` is drawn anew for each request, exponentially with mean 1: how eager this one is to refresh ahead of time.
    The expectation is that of XFetch (Vattani, Chierichetti and Lowenstein, VLDB 2015): the busier a response, the
    earlier one request is found to fetch it, and everybody else goes on hitting.
    """
    if request.method not in KEYED_METHODS:
        return Forward(Reason.METHOD)
    directives = parse_request(request.fields)
    decision = _among(request, directives, candidates, policy, now, luck, held=held)
    if directives.only_if_cached and not isinstance(decision, Serve | ServeStale):
        return Refuse()
    return decision


def _among(
    request: RequestHead,
    directives: RequestDirectives,
    candidates: Sequence[StoredResponse],
    policy: Policy,
    now: float,
    luck: float,
    *,
    held: bool,
) -> Decision:
    if has_origin_conditions(request.fields):
        return Forward(Reason.PRECONDITION)
    if not candidates:
        return Forward(Reason.URI_MISS)
    selected = selection.select(candidates, request)
    if not selected:
        return Forward(Reason.VARY_MISS)
    whole = next((stored for stored in selected if covers(stored, request)), None)
    if whole is None:
        return _complete(selected[0], request, now)
    if held and whole.status < 400 and whole.freshness.is_proven:
        return Serve(whole, Reason.HELD)
    return _reuse(whole, directives, policy, now, luck)


def _reuse(stored: StoredResponse, directives: RequestDirectives, policy: Policy, now: float, luck: float) -> Decision:
    freshness = stored.freshness
    if freshness.must_validate:
        return Validate(stored, Reason.NO_CACHE)
    if policy.honour_reload and _asks_for_validation(stored, directives, now):
        return Validate(stored, Reason.RELOAD if freshness.is_fresh(now) else Reason.STALE)
    if freshness.is_fresh(now):
        is_eager = freshness.ttl(now) < freshness.eager * luck
        return ServeStale(stored, Reason.EARLY) if is_eager else Serve(stored)
    staleness = -freshness.ttl(now)
    if directives.max_stale is not None and staleness <= directives.max_stale and not freshness.never_stale:
        return Serve(stored, Reason.MAX_STALE)
    if staleness < freshness.grace:
        return ServeStale(stored)
    return Validate(stored, Reason.STALE)


def _asks_for_validation(stored: StoredResponse, directives: RequestDirectives, now: float) -> bool:
    """RFC 9111 §5.2.1.1, .3 and .4; RFC 8246 §2 spares an immutable response the ``max-age=0`` of a reload."""
    freshness = stored.freshness
    if directives.no_cache:
        return True
    if directives.min_fresh is not None and freshness.ttl(now) < directives.min_fresh:
        return True
    if directives.max_age is None:
        return False
    if freshness.is_fresh(now):
        return freshness.age(now) > directives.max_age and not freshness.immutable
    # "Unless max-stale is also present, the client does not wish to receive a stale response" (§5.2.1.1).
    return directives.max_stale is None or freshness.age(now) > directives.max_age


def covers(stored: StoredResponse, request: RequestHead) -> bool:
    """Whether the stored bytes are all that the request asks for (RFC 9111 §3.3)."""
    held = stored.content_range
    if held is None:
        return True
    if held.complete is None or request.method != "GET" or "range" not in request.fields:
        return False
    if not _if_range_holds(stored, request):
        return False
    specs = parse_range(request.fields["range"])
    wanted = resolve(specs, held.complete) if specs is not None else ()
    return len(wanted) == 1 and held.first <= wanted[0][0] and wanted[0][1] <= held.last


def _if_range_holds(stored: StoredResponse, request: RequestHead) -> bool:
    """Whether Range may be obeyed; if not, the whole is asked for, and a part is no answer (RFC 9110 §13.1.5)."""
    value = combined(request.fields, "if-range")
    if value is None:
        return True
    received = stored.response_time
    return if_range_matches(
        value,
        etag=stored.validators.etag,
        last_modified=stored.validators.last_modified,
        date=date_of(stored.head().fields, received),
        now=received,
    )


def _complete(stored: StoredResponse, request: RequestHead, now: float) -> Decision:
    """What is missing, when it is one run of bytes and a strong validator proves that it belongs (§3.4)."""
    held = stored.content_range
    etag = stored.validators.etag
    asks_for_all = request.method == "GET" and "range" not in request.fields
    if held is None or not asks_for_all or etag is None or etag.startswith("W/"):
        return Forward(Reason.PARTIAL)
    if not stored.freshness.is_fresh(now):
        return Forward(Reason.STALE)
    if held.first == 0:
        return Complete(stored, held.last + 1, None)
    if held.complete is not None and held.last == held.complete - 1:
        return Complete(stored, 0, held.first - 1)
    return Forward(Reason.PARTIAL)


_GONE: Final = (404, 410)


def may_serve_instead(
    stored: StoredResponse, now: float, *, status: int | None, request: RequestHead | None = None
) -> Reason | None:
    """Return why a stale response may take the place of a failure, or None when it may not.

    ``status`` is that of the failure: a 5xx (RFC 5861 §4), a 404 or 410, or None when no response came at all
    (RFC 9111 §4.2.4). A request may allow it too, by its own ``stale-if-error``.
    """
    freshness = stored.freshness
    if freshness.must_validate:
        return None
    # A fresh one, whose validation only the request asked for, has negative staleness and qualifies for any window.
    staleness = -freshness.ttl(now)
    if status is not None and status < 500:
        is_retained = freshness.if_gone > 0 and staleness < freshness.if_gone
        return Reason.RETAINED if status in _GONE and is_retained else None
    # Within grace it may be served stale without any error (RFC 5861 §3): all the more with one.
    if staleness < max(freshness.if_error, freshness.grace):
        return Reason.IF_ERROR
    accepted = None if request is None or freshness.never_stale else parse_request(request.fields).stale_if_error
    if accepted is not None and staleness < accepted:
        return Reason.IF_ERROR
    if status is None and staleness < freshness.if_unreachable:
        return Reason.UNREACHABLE
    return None
