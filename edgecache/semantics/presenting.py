"""What clients and caches behind this one see of a response's head (RFC 9111 §5.2, RFC 9213 §3).

Theory
    A head passes here twice. ``amended`` is what rules make of it before it is judged: the Cache-Control that a
    strategy gives to a response without any, and no cookies where they are stripped; what follows treats it as the
    origin's word, but where the question is whether one user's response may be given to others. ``shown`` is what of
    the result goes on: without what was addressed to this cache alone, with the lifetime that is meant for clients, and
    never with a promise that its status or its type belies.

Invariants
    * What is stored is what was judged; what is shown is made of it anew each time a response is stored.
    * ``private``, ``no-store`` and ``no-cache`` are never shown as less, and no failure is shown to live longer than
      its origin said.
    * What may be one user's is called ``private`` wherever what is shown is not the origin's own word.

Pure; called by the engine and by ``semantics.storing``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from edgecache.http.cache_control import parse_response
from edgecache.http.fields import split_list
from edgecache.http.message import Pair, ResponseHead, fields_of
from edgecache.semantics.freshness import Governing, date_of, explicit_lifetime
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason

__all__ = ["amended", "consumed_fields", "shown", "shown_head"]

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


def amended(head: ResponseHead, policy: Policy) -> ResponseHead:
    """Return the head as the rules want it judged."""
    fields = head.fields
    if policy.unsafe_strip_cookies and "set-cookie" in fields:
        fields = fields_of(pair for pair in fields.items() if pair[0].lower() != "set-cookie")
    if (
        policy.strategy is not None
        and 200 <= head.status < 300
        and not ("cache-control" in fields or "expires" in fields)
    ):
        fields = fields_of([*fields.items(), ("Cache-Control", policy.strategy.cache_control)])
    return head if fields is head.fields else ResponseHead(head.status, fields)


def shown_head(
    head: ResponseHead, policy: Policy, objections: Collection[Reason] = (), *, is_by_rule: bool = False
) -> ResponseHead:
    """Return the head as clients get it.

    ``objections`` are all that speaks against storing it; ``is_by_rule`` says that Cache-Control is a rule's.
    """
    pairs = tuple(head.fields.items())
    replacing = _cache_control(head.status, pairs, policy, objections, is_by_rule=is_by_rule)
    return ResponseHead(
        head.status, fields_of(_shown(pairs, policy, replacing, is_limited=_is_limited(head, objections)))
    )


def shown(status: int, pairs: Iterable[Pair], policy: Policy) -> Iterator[Pair]:
    """Yield the fields of a stored response that clients get."""
    pairs = tuple(pairs)
    return _shown(pairs, policy, _cache_control(status, pairs, policy), is_limited=status >= 300)


def _shown(pairs: tuple[Pair, ...], policy: Policy, replacing: str | None, *, is_limited: bool) -> Iterator[Pair]:
    left_out = consumed_fields(policy)
    if replacing is not None:
        left_out |= {"cache-control", "expires", "pragma"}
    for name, value in pairs:
        is_for_others = is_limited and replacing is not None and _is_targeted(name.lower())
        if name.lower() not in left_out and not is_for_others:
            yield name, value
    if replacing is not None:
        yield "Cache-Control", replacing


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
    names = {name.lower() for name in (*policy.targeted_fields, *policy.tag_fields)} - {"cdn-cache-control"}
    return frozenset(names | {"surrogate-control"} if policy.surrogate_control else names)


def _cache_control(
    status: int,
    pairs: tuple[Pair, ...],
    policy: Policy,
    objections: Collection[Reason] = (),
    *,
    is_by_rule: bool = False,
) -> str | None:
    """Return what Cache-Control is replaced by; None when it stays as it is."""
    if Reason.TYPE_MISMATCH in objections:
        return "no-store"
    fields = fields_of(pairs)
    said = Governing(parse_response(fields))
    if said.directives.private or said.directives.no_store or said.directives.no_cache:
        return None
    replacing = ", ".join(_directives(pairs)) if is_by_rule else None
    if not 200 <= status < 300:
        replacing = _of_failure(ResponseHead(status, fields), said, pairs, policy)
    elif policy.browser_ttl is not None:
        replacing = _with_lifetime(pairs, int(policy.browser_ttl))
    is_personal = not _NOT_FOR_OTHERS.isdisjoint(objections)
    return _privately(replacing) if is_personal and replacing is not None else replacing


def _of_failure(head: ResponseHead, said: Governing, pairs: tuple[Pair, ...], policy: Policy) -> str | None:
    """Only a success can be immutable; and what is not kept for long here is not kept for long elsewhere."""
    if policy.max_ttl is not None:
        return _with_lifetime(pairs, int(min(_lifetime(head, said, policy.max_ttl), policy.max_ttl)))
    if said.directives.immutable:
        return ", ".join(part for part in _directives(pairs) if part.lower() != "immutable")
    return None


def _lifetime(head: ResponseHead, said: Governing, unsaid: float) -> float:
    """Return how long the origin wants it kept; an Expires without a valid Date is measured from nothing, and over."""
    lifetime = explicit_lifetime(head, said, 0.0)
    if lifetime is None:
        return unsaid
    is_by_expires = said.directives.s_maxage is None and said.directives.max_age is None
    return 0.0 if is_by_expires and date_of(head.fields, -1.0) < 0 else lifetime


def _with_lifetime(pairs: tuple[Pair, ...], seconds: int) -> str:
    kept = [part for part in _directives(pairs) if _name(part) not in _LIFETIMES]
    return ", ".join([*kept, f"max-age={seconds}"])


def _privately(directives: str) -> str:
    kept = [part for part in split_list(directives) if _name(part) not in ("public", "s-maxage")]
    return ", ".join(["private", *kept])


def _name(directive: str) -> str:
    return directive.partition("=")[0].strip().lower()


def _directives(pairs: tuple[Pair, ...]) -> list[str]:
    lines = [value for name, value in pairs if name.lower() == "cache-control"]
    return [part for line in lines for part in split_list(line)]
