"""The operator's wishes as data: what the RFCs leave to the cache, and what the origin did not say.

Every duration is in seconds, every size in bytes. A policy is immutable; a changed configuration is a new one.
Switches that weaken a safe default carry ``unsafe_`` in their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT", "Policy"]

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How this cache decides where HTTP lets it choose.

    Attributes:
        name: pseudonym in ``Via`` and ``Cache-Status``, and target name of ``<name>-Cache-Control``.
        targeted_fields: target list of RFC 9213 §2.1, most specific first.
        surrogate_control: obey and consume ``Surrogate-Control``, and advertise ``Surrogate-Capability``.
        tag_fields: response fields that carry tags for purging; they end here.
        heuristic_fraction: share of (Date - Last-Modified) taken as lifetime (RFC 9111 §4.2.2); 0 turns it off.
        heuristic_max: upper bound of a heuristic lifetime, seconds.
        grace: seconds a stale response may be served while one request validates it, when the origin
            gave no ``stale-while-revalidate``.
        if_error: seconds a stale response may replace a 5xx, when the origin gave no ``stale-if-error``.
        if_unreachable: seconds a stale response may be served when the origin cannot be reached at all
            (RFC 9111 §4.2.4 "disconnected").
        keep: seconds a response with a validator stays stored after all that, as candidate for a 304.
        honour_reload: obey ``no-cache``, ``max-age`` and ``min-fresh`` of requests (RFC 9111 §5.2.1).
        max_variants: stored responses per cache key; the least recently used is replaced (RFC 9111 §4.1).
        max_object: largest body that is stored, bytes.
        max_query_body: largest content of a QUERY request that is digested into a key, bytes.
        hit_for_miss: seconds during which a key whose answer could not be stored is not collapsed.
        x_cache: add ``X-Cache``: HIT, STALE, REVALIDATED, COLLAPSED, MISS, PASS, SYNTH or ERROR.
        unsafe_store_set_cookie: store responses that carry ``Set-Cookie`` and replay the cookie to everybody.
    """

    name: str = "edgecache"
    targeted_fields: tuple[str, ...] = ("Edgecache-Cache-Control", "CDN-Cache-Control")
    surrogate_control: bool = True
    tag_fields: tuple[str, ...] = (
        "Surrogate-Key",
        "Cache-Tag",
        "Edge-Cache-Tag",
        "xkey",
        "X-Cache-Tags",
        "Cache-Tags",
    )
    heuristic_fraction: float = 0.1
    heuristic_max: float = 86_400.0
    grace: float = 0.0
    if_error: float = 0.0
    if_unreachable: float = 3_600.0
    keep: float = 3_600.0
    honour_reload: bool = True
    max_variants: int = 64
    max_object: int = 64 * _MIB
    max_query_body: int = 64 * 1024
    hit_for_miss: float = 120.0
    x_cache: bool = False
    unsafe_store_set_cookie: bool = False


DEFAULT: Final = Policy()
