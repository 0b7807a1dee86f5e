"""What clients and caches behind this one see of a response's head (RFC 9111 §5.2, RFC 9213 §3).

Theory
    A head passes here twice. ``amended`` is what rules make of it before it is judged: the Cache-Control that a
    strategy gives to a response without any, and no cookies where they are stripped; what follows treats it as the
    origin's word. ``shown`` is what of the result goes on: without what was addressed to this cache alone, with the
    lifetime that is meant for clients, and never with a promise that its status or its type belies.

    A client's clock starts at Date as much as at Age (RFC 9111 §4.2.3). So where ``browser_ttl`` gives clients a time
    of their own, which runs from delivery, both are left out here and made anew for each of them.

Invariants
    * What is stored is what was judged; what is shown is made of it anew each time a response is stored.
    * ``private``, ``no-store`` and ``no-cache`` are never shown as less.
    * No strategy calls shareable what was asked for with credentials, sets a cookie, or has a status whose responses
      may only be kept when the origin says so. Nor is a lifetime given to what sets a cookie.
    * A failure is never shown with a longer lifetime than the origin gave it.

Pure; called by the engine, by ``semantics.storing`` and by ``semantics.freshness``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from edgecache.http.cache_control import ResponseDirectives, parse_response
from edgecache.http.fields import parse_http_date, split_list
from edgecache.http.message import FieldsView, Pair, RequestHead, ResponseHead, fields_of
from edgecache.semantics.policy import Policy, Strategy
from edgecache.semantics.reason import Reason

__all__ = ["amended", "consumed_fields", "restarts", "shown", "shown_head"]

_LIFETIMES: Final = frozenset({"max-age", "s-maxage", "immutable", "stale-while-revalidate", "stale-if-error"})


_ONLY_OF_SUCCESSES: Final = frozenset({"immutable"})

_KEPT_UNASKED: Final = frozenset({404, 405, 410, 414, 501})
"""Failures that a cache behind this one may keep for a time of its own choice (RFC 9110 §15.1)."""

_A_MOMENT: Final = 2.0
"""Seconds that such a failure may be kept when it says nothing and no longer lifetime is wanted here either."""


def amended(request: RequestHead, head: ResponseHead, policy: Policy) -> ResponseHead:
    """Return the head as the rules want it judged."""
    fields = head.fields
    if policy.unsafe_strip_cookies and "set-cookie" in fields:
        fields = fields_of(pair for pair in fields.items() if pair[0].lower() != "set-cookie")
    if policy.strategy is not None and _may_say(policy, policy.strategy, request, ResponseHead(head.status, fields)):
        fields = fields_of([*fields.items(), ("Cache-Control", policy.strategy.cache_control)])
    return head if fields is head.fields else ResponseHead(head.status, fields)


def _may_say(policy: Policy, strategy: Strategy, request: RequestHead, head: ResponseHead) -> bool:
    """Whether a response can be given a strategy: a success that says nothing itself."""
    if not 200 <= head.status < 300 or "cache-control" in head.fields or "expires" in head.fields:
        return False
    is_for_one = ("authorization" in request.fields and not policy.unsafe_store_authorized) or (
        "set-cookie" in head.fields and not policy.unsafe_store_set_cookie
    )
    return not strategy.is_shareable or (head.status in _SHAREABLE and not is_for_one)


_SHAREABLE: Final = frozenset({200, 203, 204, 206})
"""Successes that may be stored without the origin's asking for it (RFC 9110 §15.1)."""


def shown_head(head: ResponseHead, policy: Policy, refusal: Reason | None = None) -> ResponseHead:
    """Return the head as clients get it; ``refusal`` is why it is not stored."""
    return ResponseHead(head.status, fields_of(shown(head.status, head.fields.items(), policy, refusal)))


def shown(status: int, pairs: Iterable[Pair], policy: Policy, refusal: Reason | None = None) -> Iterator[Pair]:
    """Yield the fields that clients get."""
    pairs = tuple(pairs)
    replacing = _cache_control(status, pairs, policy, refusal)
    consumed = consumed_fields(policy)
    left_out = consumed if replacing is None else consumed | {"cache-control", "expires", "pragma"}
    if replacing is not None and restarts(status, fields_of(pairs), policy):
        left_out |= {"age", "date"}
    for name, value in pairs:
        if name.lower() not in left_out:
            yield name, value
    if replacing is not None:
        yield "Cache-Control", replacing


def restarts(status: int, fields: FieldsView, policy: Policy) -> bool:
    """Whether the time of the clients runs from delivery: they see ``browser_ttl``, and not the origin's lifetime."""
    directives = parse_response(fields)
    if directives.private or directives.no_store or directives.no_cache:
        return False
    is_for_one = "set-cookie" in fields and not policy.unsafe_store_set_cookie
    return policy.browser_ttl is not None and 200 <= status < 300 and not is_for_one


def consumed_fields(policy: Policy) -> frozenset[str]:
    """Return the names, lower case, of response fields that are addressed to this cache alone and end here.

    CDN-Cache-Control is for every such cache on the way (RFC 9213 §3.1), and goes on.
    """
    names = {name.lower() for name in (*policy.targeted_fields, *policy.tag_fields)} - {"cdn-cache-control"}
    return frozenset(names | {"surrogate-control"} if policy.surrogate_control else names)


def _cache_control(status: int, pairs: tuple[Pair, ...], policy: Policy, refusal: Reason | None) -> str | None:
    """Return what Cache-Control is replaced by; None when it stays as it is."""
    if refusal is Reason.TYPE_MISMATCH:
        return "no-store"
    fields = fields_of(pairs)
    directives = parse_response(fields)
    if 200 <= status < 300:
        seconds = policy.browser_ttl if restarts(status, fields, policy) else None
        return None if seconds is None else _with_lifetime(pairs, int(seconds))
    if directives.no_store or directives.no_cache:
        return None
    bounded = None if policy.max_ttl is None else _bounded(status, fields, directives, policy.max_ttl)
    if bounded is not None:
        return _with_lifetime(pairs, int(bounded))
    return ", ".join(_all_but(pairs, _ONLY_OF_SUCCESSES)) if directives.immutable else None


def _bounded(status: int, fields: FieldsView, directives: ResponseDirectives, most: float) -> float | None:
    """Return the lifetime that others see of a failure that is not kept for long here; None for its own."""
    said = [float(each) for each in (directives.s_maxage, directives.max_age) if each is not None]
    if said:
        return most if max(said) > most else None
    if "expires" in fields:
        date, expires = (parse_http_date(fields.get(name, ""), 0.0) for name in ("date", "expires"))
        return 0.0 if date is None or expires is None else max(0.0, min(most, expires - date))
    return min(most, _A_MOMENT) if status in _KEPT_UNASKED else None


def _with_lifetime(pairs: tuple[Pair, ...], seconds: int) -> str:
    return ", ".join([*_all_but(pairs, _LIFETIMES), f"max-age={seconds}"])


def _all_but(pairs: tuple[Pair, ...], names: frozenset[str]) -> list[str]:
    lines = [value for name, value in pairs if name.lower() == "cache-control"]
    parts = [part for line in lines for part in split_list(line)]
    return [part for part in parts if part.partition("=")[0].strip().lower() not in names]
