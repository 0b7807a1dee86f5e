"""Freshness (RFC 9111 §4.2): how long a response may be reused, judged once, when it is stored.

Theory
    ``govern`` finds the one set of directives that speaks to this cache: a targeted field (RFC 9213) if there is a
    valid one, else Surrogate-Control, else Cache-Control. Everything after asks that set and nobody else.
    ``assess`` then turns a head and two instants into a ``Freshness``.

    The current age starts from ``corrected_age_value`` (Age + response delay), not from our clock minus the
    origin's Date: RFC 9111 §4.2.3 wants ``apparent_age`` only where caches too old to send Age may be in between,
    so it is used just for responses that came through another intermediary (``Via``) without Age.
    An origin whose clock is wrong therefore loses nothing.

Invariants
    * Invalid freshness information means stale (§4.2.1): an Age that is not one number, a max-age
      that is none, an Expires that is no date.
    * A rule's lifetime takes the place of the origin's, counts from receipt, and is the only one that jitter shortens.
      It never makes storable what the origin forbids to store or to reuse without validation.
    * No lifetime is longer than ``max_ttl``, also after uses have prolonged it.
    * A window for serving stale is only ever opened by the origin's word or the operator's policy, and
      never against must-revalidate, proxy-revalidate or no-cache (§4.2.4). s-maxage closes
      the operator's windows too (§5.2.2.10), but not a stale-while-revalidate or stale-if-error that
      stands beside it: whoever writes both means both.
"""

from __future__ import annotations

from typing import Final

import msgspec

from edgecache.http.cache_control import ResponseDirectives, parse_response, parse_surrogate_control, parse_targeted
from edgecache.http.fields import combined, parse_age, parse_http_date
from edgecache.http.message import FieldsView, ResponseHead
from edgecache.semantics import presenting
from edgecache.semantics.policy import Policy
from edgecache.semantics.stored import Basis, Freshness

__all__ = [
    "HEURISTICALLY_CACHEABLE",
    "Governing",
    "assess",
    "date_of",
    "explicit_lifetime",
    "govern",
    "has_explicit_lifetime",
    "is_of_a_rule",
    "own_via",
    "said_lifetime",
]

HEURISTICALLY_CACHEABLE: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Status codes defined as heuristically cacheable (RFC 9110 §15.1)."""


class Governing(msgspec.Struct, frozen=True):
    """The directives that apply to this cache; ``targeted`` names the kind of field when it was not Cache-Control."""

    directives: ResponseDirectives
    targeted: Basis | None = None


def govern(fields: FieldsView, policy: Policy) -> Governing:
    """Return the directives that this cache obeys (RFC 9213 §2.2: the first valid target wins, whole)."""
    for name in policy.targeted_fields:
        directives = parse_targeted(fields, name) if name in fields else None
        if directives is not None:
            return Governing(directives, Basis.TARGETED)
    if policy.surrogate_control and "surrogate-control" in fields:
        directives = parse_surrogate_control(fields, policy.name)
        if directives is not None:
            return Governing(directives, Basis.SURROGATE)
    return Governing(parse_response(fields))


def has_explicit_lifetime(fields: FieldsView, governing: Governing) -> bool:
    """Whether the origin itself said how long the response is fresh (RFC 9111 §4.2.1)."""
    directives = governing.directives
    if directives.s_maxage is not None or directives.max_age is not None:
        return True
    return governing.targeted is None and "expires" in fields


def explicit_lifetime(head: ResponseHead, governing: Governing, response_time: float) -> float | None:
    """Return how long the origin itself said that the response is fresh, seconds; None when it did not (§4.2.1)."""
    directives = governing.directives
    if directives.s_maxage is not None:
        return float(directives.s_maxage)
    if directives.max_age is not None:
        return float(directives.max_age)
    if governing.targeted is None and "expires" in head.fields:
        return _expires_lifetime(head.fields, response_time)
    return None


def is_of_a_rule(freshness: Freshness) -> bool:
    """Whether a rule said how long the response is fresh."""
    return freshness.basis in (Basis.RULE, Basis.RULE_DEFAULT, Basis.RULE_NEGATIVE)


def date_of(fields: FieldsView, response_time: float) -> float:
    """Return the instant of Date, or of receipt when there is no valid one (RFC 9110 §6.6.1)."""
    value = combined(fields, "date")
    instant = parse_http_date(value, response_time) if value is not None else None
    return response_time if instant is None else instant


def own_via(policy: Policy) -> str:
    """Return this cache's member of Via (RFC 9110 §7.6.3), as stored responses carry it."""
    return f"1.1 {policy.name}"


def assess(
    head: ResponseHead,
    governing: Governing,
    policy: Policy,
    *,
    request_time: float,
    response_time: float,
    luck: float = 0.0,
) -> Freshness:
    """Return the numbers that decide about reuse. Instants are POSIX seconds by this cache's clock.

    ``luck``, from 0 to 1, says how much of the jitter a lifetime is shortened by.
    """
    directives = governing.directives
    initial_age, age_is_valid = _corrected_initial_age(head.fields, policy, request_time, response_time)
    if (ruled := _ruled_lifetime(head, governing, policy)) is not None:
        basis, lifetime = ruled[0], _since_receipt(initial_age, ruled[1] * (1.0 - policy.jitter * luck))
    else:
        basis, lifetime = _lifetime(head, governing, policy, response_time)
        lifetime = lifetime if age_is_valid else 0.0
    if policy.max_ttl is not None:
        lifetime = min(lifetime, _since_receipt(initial_age, policy.max_ttl))
    windows = _stale_windows(directives, policy, basis, lifetime)
    has_validator = "etag" in head.fields or "last-modified" in head.fields
    must_validate = directives.no_cache and not policy.unsafe_ignore_no_cache
    is_success = 200 <= head.status < 300
    is_of_release = policy.by_release and head.status < 400
    sliding = policy.sliding if is_success and lifetime > 0 and not must_validate else 0.0
    slides_for = policy.sliding_max if policy.max_ttl is None else min(policy.sliding_max, policy.max_ttl)
    return Freshness(
        generated_at=response_time - initial_age,
        lifetime=lifetime,
        grace=windows.grace,
        if_error=windows.if_error,
        if_unreachable=windows.if_unreachable,
        keep=max(policy.keep if has_validator else 0.0, policy.retain if is_of_release else 0.0),
        basis=basis,
        must_validate=must_validate,
        never_stale=_forbids_stale(directives) or directives.s_maxage is not None or not policy.may_be_stale,
        immutable=directives.immutable and is_success,
        if_gone=windows.if_gone if is_success and not policy.by_release else 0.0,
        # A part is not refreshed ahead of time: what is fetched then is the whole.
        eager=policy.early * max(_LEAST_FETCH, response_time - request_time) * (head.status != 206),
        sliding=sliding,
        slides_until=initial_age + slides_for if sliding else 0.0,
        restarts_age=presenting.restarts(head.status, head.fields, policy),
    )


_LEAST_FETCH: Final = 0.001
"""Seconds that a fetch took at least: a clock that stood still, or was set back, must not put an end to refreshing."""


def _since_receipt(initial_age: float, seconds: float) -> float:
    """Return the lifetime that ends ``seconds`` after receipt. What is not to last at all has none."""
    return initial_age + seconds if seconds > 0 else 0.0


def _ruled_lifetime(head: ResponseHead, governing: Governing, policy: Policy) -> tuple[Basis, float] | None:
    """What a rule says, if it has a say in this: where a response may be remembered unasked, or the origin asks to."""
    is_explicit = has_explicit_lifetime(head.fields, governing)
    may_last = is_explicit or governing.directives.public or head.status in HEURISTICALLY_CACHEABLE
    if head.status >= 500 or not may_last:
        return None
    if head.status >= 400:
        return None if policy.negative_ttl is None else (Basis.RULE_NEGATIVE, policy.negative_ttl)
    if policy.edge_ttl is not None:
        return Basis.RULE, policy.edge_ttl
    if policy.default_ttl is None or is_explicit or _has_pragma_no_cache(head.fields):
        return None
    return Basis.RULE_DEFAULT, policy.default_ttl


def _has_pragma_no_cache(fields: FieldsView) -> bool:
    """Whether an origin wrote what means nothing in a response (RFC 9111 §5.4), and yet is no sign of a lifetime."""
    return "pragma" in fields and "no-cache" in (combined(fields, "pragma") or "").lower()


def _corrected_initial_age(
    fields: FieldsView, policy: Policy, request_time: float, response_time: float
) -> tuple[float, bool]:
    """RFC 9111 §4.2.3; the second value is False when Age is present but invalid."""
    age_value = parse_age(fields) if "age" in fields else 0
    corrected_age_value = (age_value or 0) + max(0.0, response_time - request_time)
    # A stored response that is freshened already carries our own Via, which tells nothing about its age.
    if "via" in fields and "age" not in fields and any(line != own_via(policy) for line in fields.getall("via", ())):
        apparent_age = response_time - date_of(fields, response_time)
        corrected_age_value = max(corrected_age_value, apparent_age)
    return corrected_age_value, age_value is not None


def _lifetime(head: ResponseHead, governing: Governing, policy: Policy, response_time: float) -> tuple[Basis, float]:
    """RFC 9111 §4.2.1: s-maxage, max-age, Expires, then a heuristic."""
    directives = governing.directives
    if directives.s_maxage is not None:
        return governing.targeted or Basis.S_MAXAGE, float(directives.s_maxage)
    if directives.max_age is not None:
        return governing.targeted or Basis.MAX_AGE, float(directives.max_age)
    if governing.targeted is None and "expires" in head.fields:
        return Basis.EXPIRES, _expires_lifetime(head.fields, response_time)
    heuristic = _heuristic_lifetime(head, directives, policy, response_time)
    return (Basis.HEURISTIC, heuristic) if heuristic > 0 else (Basis.NONE, 0.0)


def _expires_lifetime(fields: FieldsView, response_time: float) -> float:
    """Expires - Date; anything that is not one date is in the past (RFC 9111 §5.3)."""
    value = combined(fields, "expires")
    expires = None if value is None else parse_http_date(value, response_time)
    if expires is None:
        return 0.0
    return max(0.0, expires - date_of(fields, response_time))


def _heuristic_lifetime(
    head: ResponseHead, directives: ResponseDirectives, policy: Policy, response_time: float
) -> float:
    """RFC 9111 §4.2.2: a share of the time since Last-Modified, where the status or ``public`` allows it."""
    if head.status not in HEURISTICALLY_CACHEABLE and not directives.public:
        return 0.0
    if directives.no_cache or _has_pragma_no_cache(head.fields):
        return 0.0
    value = combined(head.fields, "last-modified")
    modified = None if value is None else parse_http_date(value, response_time)
    if modified is None:
        return 0.0
    unchanged_for = date_of(head.fields, response_time) - modified
    return max(0.0, min(policy.heuristic_max, policy.heuristic_fraction * unchanged_for))


def _forbids_stale(directives: ResponseDirectives) -> bool:
    return directives.must_revalidate or directives.proxy_revalidate or directives.no_cache


class _Windows(msgspec.Struct, frozen=True):
    """Seconds after the lifetime: see ``Freshness``."""

    grace: float = 0.0
    if_error: float = 0.0
    if_unreachable: float = 0.0
    if_gone: float = 0.0


def _stale_windows(directives: ResponseDirectives, policy: Policy, basis: Basis, lifetime: float) -> _Windows:
    """Return the windows for serving stale.

    What the origin says counts as it stands, also against a disconnection. The operator's windows prolong a lifetime:
    where there is none, nothing says that the response may ever be reused.
    """
    if _forbids_stale(directives) or not policy.may_be_stale:
        return _Windows()
    operator_may = directives.s_maxage is None and basis is not Basis.NONE
    grace, if_error = directives.stale_while_revalidate, directives.stale_if_error
    return _Windows(
        grace=float(grace) if grace is not None else policy.grace * (operator_may and lifetime > 0),
        if_error=float(if_error) if if_error is not None else policy.if_error * (operator_may and lifetime > 0),
        if_unreachable=float(if_error) if if_error is not None else policy.if_unreachable * operator_may,
        if_gone=policy.retain * operator_may,
    )


def said_lifetime(
    head: ResponseHead, governing: Governing, policy: Policy, response_time: float
) -> tuple[Basis, float]:
    """Return who says how long a response is fresh, and how long: without jitter, age and bounds."""
    return _ruled_lifetime(head, governing, policy) or _lifetime(head, governing, policy, response_time)
