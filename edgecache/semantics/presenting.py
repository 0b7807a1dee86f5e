"""What clients and caches behind this one see of a response's head (RFC 9111 §5.2, RFC 9213 §3).

Theory
    A head passes here twice. ``amended`` is what rules make of it before it is judged: the Cache-Control that a
    strategy gives to a response without any, and no cookies where they are stripped; what follows treats it as the
    origin's word, but where the question is whether one user's response may be given to others. ``shown`` is what of
    the result goes on: without what was addressed to this cache alone, with the lifetime that is meant for clients, and
    never with a promise that its status or its type belies.

    A client's clock starts at Date as much as at Age (RFC 9111 §4.2.3). So where ``browser_ttl`` gives clients a time
    of their own, which runs from delivery, both are left out here and made anew for each of them.

Invariants
    * What is stored is what was judged; what is shown is made of it anew each time a response is stored.
    * ``private``, ``no-store`` and ``no-cache`` are never shown as less, and no failure is shown to live longer than
      its origin said.
    * What may be one user's is called ``private`` wherever what is shown is not the origin's own word. No strategy
      calls shareable what was asked for with credentials, sets a cookie, or has a status whose responses may only be
      kept when the origin says so. Nor is a lifetime given to what sets a cookie.

Pure; called by the engine, by ``semantics.storing`` and by ``semantics.freshness``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

from edgecache.http.cache_control import ResponseDirectives, parse_response
from edgecache.http.codings import can_gain
from edgecache.http.fields import parse_http_date, split_list
from edgecache.http.message import FieldsView, Pair, RequestHead, ResponseHead, fields_of
from edgecache.semantics import releases
from edgecache.semantics.guards import media_type
from edgecache.semantics.policy import Policy, Strategy
from edgecache.semantics.reason import Reason
from edgecache.semantics.selection import vary_names

__all__ = ["amended", "consumed_fields", "is_encodable", "restarts", "shown", "shown_head"]

_LIFETIMES: Final = frozenset({"max-age", "s-maxage", "immutable", "stale-while-revalidate", "stale-if-error"})
_NOT_FOR_OTHERS: Final = frozenset(
    {
        Reason.AMBIGUOUS_PATH,
        Reason.AUTHORIZATION,
        Reason.REQUEST_COOKIE,
        Reason.SET_COOKIE,
        Reason.TYPE_MISMATCH,
        Reason.UNKEYED_FIELD,
    }
)
"""What says that a response may be meant for the one who asked."""


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


def shown_head(
    head: ResponseHead, policy: Policy, objections: Collection[Reason] = (), *, is_by_rule: bool = False
) -> ResponseHead:
    """Return the head as clients get it.

    ``objections`` are all that speaks against storing it; ``is_by_rule`` says that Cache-Control is a rule's.
    """
    replacing = _cache_control(head.status, head.fields, policy, objections, is_by_rule=is_by_rule)
    if replacing is None and _is_shown_whole(head.status, head.fields, policy):
        return head
    fields = _shown(head.status, head.fields, policy, replacing, is_limited=_is_limited(head, objections))
    return ResponseHead(head.status, fields_of(fields))


def _is_shown_whole(status: int, fields: FieldsView, policy: Policy) -> bool:
    """Whether nothing is left out of a head whose Cache-Control stays, and nothing added: nearly always."""
    if [name for name in consumed_fields(policy) if name in fields]:
        return False
    return not (policy.compress and is_encodable(status, fields, policy))


def shown(status: int, pairs: Iterable[Pair], policy: Policy) -> list[Pair]:
    """Return the fields of a stored response that clients get."""
    pairs = list(pairs)
    fields = fields_of(pairs)
    replacing = _cache_control(status, fields, policy)
    if replacing is None and _is_shown_whole(status, fields, policy):
        return pairs
    return _shown(status, fields, policy, replacing, is_limited=status >= 300)


def _shown(status: int, fields: FieldsView, policy: Policy, replacing: str | None, *, is_limited: bool) -> list[Pair]:
    left_out = consumed_fields(policy)
    if replacing is not None:
        left_out |= {"cache-control", "expires", "pragma"}
        left_out |= {"age", "date"} if restarts(status, fields, policy) else set()
    pairs = [(name, value) for name, value in fields.items() if name.lower() not in left_out]
    if replacing is not None:
        if is_limited:
            pairs = [pair for pair in pairs if not _is_targeted(pair[0].lower())]
        pairs.append(("Cache-Control", replacing))
    if is_encodable(status, fields, policy) and "accept-encoding" not in (vary_names(fields) or ()):
        pairs.append(("Vary", "Accept-Encoding"))
    return pairs


def is_encodable(status: int, fields: FieldsView, policy: Policy) -> bool:
    """Whether a response may go out in a content coding that its origin did not give it (RFC 9110 §7.7)."""
    if not policy.compress or status != 200:
        return False
    if "content-encoding" in fields or parse_response(fields).no_transform:
        return False
    return can_gain(media_type(fields))


def restarts(status: int, fields: FieldsView, policy: Policy) -> bool:
    """Whether the time of the clients runs from delivery: they see ``browser_ttl``, and not the origin's lifetime."""
    if policy.browser_ttl is None:
        return False
    directives = parse_response(fields)
    if directives.private or directives.no_store or directives.no_cache:
        return False
    is_for_one = "set-cookie" in fields and not policy.unsafe_store_set_cookie
    return 200 <= status < 300 and not is_for_one


def _is_limited(head: ResponseHead, objections: Collection[Reason]) -> bool:
    """Whether what replaces Cache-Control is a limit, for every cache on the way, and not a wish for browsers."""
    return head.status >= 300 or not _NOT_FOR_OTHERS.isdisjoint(objections)


def _is_targeted(name: str) -> bool:
    """Whether a field speaks to some caches alone (RFC 9213), and overrules Cache-Control there."""
    return name.endswith("-cache-control") or name == "surrogate-control"


def consumed_fields(policy: Policy) -> frozenset[str]:
    """Return the names, lower case, of response fields that are addressed to this cache alone and end here.

    CDN-Cache-Control is for every such cache on the way (RFC 9213 §3.1), and goes on.
    """
    return _consumed(policy.targeted_fields, policy.tag_fields, with_surrogate=policy.surrogate_control)


@lru_cache
def _consumed(targeted: tuple[str, ...], tagging: tuple[str, ...], *, with_surrogate: bool) -> frozenset[str]:
    names = {name.lower() for name in (*targeted, *tagging, releases.FIELD)}
    names.discard("cdn-cache-control")
    return frozenset(names | {"surrogate-control"} if with_surrogate else names)


def _cache_control(
    status: int,
    fields: FieldsView,
    policy: Policy,
    objections: Collection[Reason] = (),
    *,
    is_by_rule: bool = False,
) -> str | None:
    """Return what Cache-Control is replaced by; None when it stays as it is."""
    if Reason.TYPE_MISMATCH in objections:
        return "no-store"
    if policy.browser_ttl is None and not is_by_rule and 200 <= status < 300:
        return None
    directives = parse_response(fields)
    replacing = ", ".join(_all_but(fields, frozenset())) if is_by_rule else None
    if not 200 <= status < 300:
        replacing = _of_failure(status, fields, directives, policy)
    elif policy.browser_ttl is not None and restarts(status, fields, policy):
        replacing = _with_lifetime(fields, int(policy.browser_ttl))
    elif directives.private or directives.no_store or directives.no_cache:
        return None
    is_personal = not _NOT_FOR_OTHERS.isdisjoint(objections)
    return _privately(replacing) if is_personal and replacing is not None else replacing


def _of_failure(status: int, fields: FieldsView, directives: ResponseDirectives, policy: Policy) -> str | None:
    """Only a success can be immutable; and what is not kept for long here is not kept for long elsewhere."""
    if directives.no_store or directives.no_cache:
        return None
    bounded = None if policy.max_ttl is None else _bounded(status, fields, directives, policy.max_ttl)
    if bounded is not None:
        return _with_lifetime(fields, int(bounded))
    return ", ".join(_all_but(fields, _ONLY_OF_SUCCESSES)) if directives.immutable else None


def _bounded(status: int, fields: FieldsView, directives: ResponseDirectives, most: float) -> float | None:
    """Return the lifetime that others see of a failure that is not kept for long here; None for its own."""
    said = [float(each) for each in (directives.s_maxage, directives.max_age) if each is not None]
    if said:
        return min(most, *said) if max(said) > most else None
    if "expires" in fields:
        date, expires = (parse_http_date(fields.get(name, ""), 0.0) for name in ("date", "expires"))
        return 0.0 if date is None or expires is None else max(0.0, min(most, expires - date))
    return min(most, _A_MOMENT) if status in _KEPT_UNASKED else None


def _with_lifetime(fields: FieldsView, seconds: int) -> str:
    return ", ".join([*_all_but(fields, _LIFETIMES), f"max-age={seconds}"])


def _privately(directives: str) -> str:
    kept = [part for part in split_list(directives) if _name(part) not in ("public", "s-maxage")]
    return ", ".join(["private", *kept])


def _name(directive: str) -> str:
    return directive.partition("=")[0].strip().lower()


def _all_but(fields: FieldsView, names: frozenset[str]) -> list[str]:
    parts = [part for line in fields.getall("cache-control", ()) for part in split_list(line)]
    return [part for part in parts if _name(part) not in names]
