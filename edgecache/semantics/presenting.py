"""What clients and caches behind this one see of a response's head (RFC 9111 §5.2, RFC 9213 §3).

Theory
    A head passes here twice. ``amended`` is what rules make of it before it is judged: the Cache-Control that a
    strategy gives to a response without any, and no cookies where they are stripped; what follows treats it as the
    origin's word. ``shown`` is what of the result goes on: without what was addressed to this cache alone, with the
    lifetime that is meant for clients, and never with a promise that its status or its type belies.

Invariants
    * What is stored is what was judged; what is shown is made of it anew each time a response is stored.
    * ``private``, ``no-store`` and ``no-cache`` are never shown as less.

Pure; called by the engine and by ``semantics.storing``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from edgecache.http.cache_control import parse_response
from edgecache.http.fields import split_list
from edgecache.http.message import Pair, ResponseHead, fields_of
from edgecache.semantics import releases
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason

__all__ = ["amended", "consumed_fields", "shown", "shown_head"]

_LIFETIMES: Final = frozenset({"max-age", "s-maxage", "immutable", "stale-while-revalidate", "stale-if-error"})


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


def shown_head(head: ResponseHead, policy: Policy, refusal: Reason | None = None) -> ResponseHead:
    """Return the head as clients get it; ``refusal`` is why it is not stored."""
    return ResponseHead(head.status, fields_of(shown(head.status, head.fields.items(), policy, refusal)))


def shown(status: int, pairs: Iterable[Pair], policy: Policy, refusal: Reason | None = None) -> Iterator[Pair]:
    """Yield the fields that clients get."""
    pairs = tuple(pairs)
    replacing = _cache_control(status, pairs, policy, refusal)
    consumed = consumed_fields(policy)
    left_out = consumed if replacing is None else consumed | {"cache-control", "expires", "pragma"}
    for name, value in pairs:
        if name.lower() not in left_out:
            yield name, value
    if replacing is not None:
        yield "Cache-Control", replacing


def consumed_fields(policy: Policy) -> frozenset[str]:
    """Return the names, lower case, of response fields that are addressed to this cache alone and end here.

    CDN-Cache-Control is for every such cache on the way (RFC 9213 §3.1), and goes on.
    """
    names = {name.lower() for name in (*policy.targeted_fields, *policy.tag_fields, releases.FIELD)}
    names.discard("cdn-cache-control")
    return frozenset(names | {"surrogate-control"} if policy.surrogate_control else names)


def _cache_control(status: int, pairs: tuple[Pair, ...], policy: Policy, refusal: Reason | None) -> str | None:
    """Return what Cache-Control is replaced by; None when it stays as it is."""
    if refusal is Reason.TYPE_MISMATCH:
        return "no-store"
    directives = parse_response(fields_of(pair for pair in pairs if pair[0].lower() == "cache-control"))
    if directives.private or directives.no_store or directives.no_cache:
        return None
    if not 200 <= status < 300:
        return _of_failure(pairs, policy, directives.immutable)
    if policy.browser_ttl is not None:
        return _with_lifetime(pairs, int(policy.browser_ttl))
    return None


def _of_failure(pairs: tuple[Pair, ...], policy: Policy, is_immutable: bool) -> str | None:
    """Only a success can be immutable; and what is not kept for long here is not kept for long elsewhere."""
    if policy.max_ttl is not None:
        return _with_lifetime(pairs, int(policy.max_ttl))
    if is_immutable:
        return ", ".join(part for part in _directives(pairs) if part.lower() != "immutable")
    return None


def _with_lifetime(pairs: tuple[Pair, ...], seconds: int) -> str:
    kept = [part for part in _directives(pairs) if part.partition("=")[0].strip().lower() not in _LIFETIMES]
    return ", ".join([*kept, f"max-age={seconds}"])


def _directives(pairs: tuple[Pair, ...]) -> list[str]:
    lines = [value for name, value in pairs if name.lower() == "cache-control"]
    return [part for line in lines for part in split_list(line)]
