"""The operator's wishes as data: what the RFCs leave to the cache, and what the origin did not say.

Every duration is in seconds, every size in bytes. A policy is immutable; a changed configuration is a new one, and so
is what rules make of it for one request or one response (``semantics.rules``): nothing else knows of rules.
Switches that weaken a safe default carry ``unsafe_`` in their names.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT", "Policy", "QueryKey", "Strategy"]

_MIB: Final = 1024 * 1024


class Strategy(enum.StrEnum):
    """What a response is to say to caches, by name: the Cache-Control it gets if it carries none."""

    cache_control: str

    def __new__(cls, word: str, cache_control: str) -> Strategy:
        """Make a member whose value is its word."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.cache_control = cache_control
        return member

    @property
    def is_shareable(self) -> bool:
        """Whether it lets caches that serve several users store."""
        return self.cache_control.startswith("public")

    IMMUTABLE = "immutable", "public, max-age=31536000, immutable"
    VERSIONED = "versioned", "public, max-age=31536000"
    REVALIDATE = "revalidate", "public, max-age=0, must-revalidate"
    PRIVATE = "private", "private, no-cache"
    NO_CACHE = "no-cache", "no-cache"
    NO_STORE = "no-store", "no-store"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryKey:
    """What of a query is looked up and sent to the origin.

    Attributes:
        keep: only parameters of these names, or None for all. A name may end with ``*``.
        drop: no parameters of these names.
        sort: order parameters by name; those of one name stay in their order.
    """

    keep: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    sort: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether every query counts as it is."""
        return self.keep is None and not self.drop and not self.sort

    def counts(self, name: str) -> bool:
        """Whether parameters of this name, as spelled, count."""
        return (self.keep is None or _is_among(name, self.keep)) and not _is_among(name, self.drop)


def _is_among(name: str, names: tuple[str, ...]) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in names)


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
        max_variants: stored responses per cache key; the one stored longest ago is replaced (RFC 9111 §4.1).
        max_object: largest body that is stored, bytes.
        max_query_body: largest content of a QUERY request that is digested into a key, bytes.
        hit_for_miss: seconds during which a key whose answer could not be stored is not collapsed.
        x_cache: add ``X-Cache``: HIT, STALE, REVALIDATED, COLLAPSED, MISS, PASS, SYNTH or ERROR.
        known_fields: request fields, beside the usual ones, that are no part of a key and yet change no response
            (``semantics.unkeyed``).

    What rules set for some requests:

    Attributes:
        passes: neither look up nor store.
        path: path to ask for in the place of the request's own, with no query; None for its own.
        query: what of the query counts.
        key_fields: request fields that are part of the key, lower case.
        key_cookies: cookies that are part of the key.
        drop_unknown_fields: leave out request fields that are not known to change nothing, instead of not storing.
        by_release: part of the key is which release is active (``semantics.releases``).
        compress: encode what is worth it, once per stored response.

    What rules set for some responses:

    Attributes:
        edge_ttl: lifetime here in the place of the origin's, for responses that are no errors.
        default_ttl: lifetime of those to which the origin gave none.
        negative_ttl: lifetime of client errors, 404 and 410 among them.
        max_ttl: no lifetime here is longer.
        jitter: share of ``edge_ttl``, ``default_ttl`` and ``negative_ttl`` by which a lifetime may be shorter.
        sliding: each use prolongs the lifetime to at least this; 0 does not.
        sliding_max: no use prolongs it beyond this, from receipt.
        early: factor of the time a fetch took, ahead of the end of a lifetime, at which one request in e refreshes
            (XFetch); 0 turns it off.
        retain: after its lifetime a response may stand in for a 404 or 410 this long; one that is ``by_release`` may
            not, and is kept so long for the case that somebody goes back to its release.
        strategy: Cache-Control of responses that carry none.
        browser_ttl: ``max-age`` that clients see, whatever it is here; their time runs from delivery.
        tags: tags beside those of the origin; ``{host}`` and ``{1}`` … (path segments) are filled in.
        etag: make an entity tag of the content where the origin sends none.
        verified: Cache-Control of responses that carry none and whose name is proven to be a digest of their content.
        may_be_stale: whether the operator's windows for stale responses, and ``max-stale``, apply at all.

    Unsafe:

    Attributes:
        unsafe_store_set_cookie: store responses that carry ``Set-Cookie`` and replay the cookie to everybody.
        unsafe_strip_cookies: let the origin see no cookies but those in the key, and clients get none from it.
        unsafe_store_private: store what says ``private``.
        unsafe_store_no_store: store what says ``no-store``.
        unsafe_store_authorized: store answers to authenticated requests, for everybody.
        unsafe_ignore_no_cache: do not validate what says ``no-cache``.
        unsafe_ignore_content_type: store content whose type contradicts the name it was asked for under.
        unsafe_ignore_request_fields: store answers to requests with fields that may have changed them.
        unsafe_ignore_request_cookies: as if requests had no cookies, which the origin yet sees. Built in for names
            that a build manifest lists, and for a directory as the origin: what they contain depends on nothing else.
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
    known_fields: tuple[str, ...] = ()

    passes: bool = False
    path: str | None = None
    query: QueryKey = QueryKey()
    key_fields: tuple[str, ...] = ()
    key_cookies: tuple[str, ...] = ()
    drop_unknown_fields: bool = False
    by_release: bool = False
    compress: bool = False

    edge_ttl: float | None = None
    default_ttl: float | None = None
    negative_ttl: float | None = None
    max_ttl: float | None = None
    jitter: float = 0.0
    sliding: float = 0.0
    sliding_max: float = 86_400.0
    early: float = 0.0
    retain: float = 0.0
    strategy: Strategy | None = None
    browser_ttl: float | None = None
    tags: tuple[str, ...] = ()
    etag: bool = False
    verified: Strategy | None = None
    may_be_stale: bool = True

    unsafe_store_set_cookie: bool = False
    unsafe_strip_cookies: bool = False
    unsafe_store_private: bool = False
    unsafe_store_no_store: bool = False
    unsafe_store_authorized: bool = False
    unsafe_ignore_no_cache: bool = False
    unsafe_ignore_content_type: bool = False
    unsafe_ignore_request_fields: bool = False
    unsafe_ignore_request_cookies: bool = False


DEFAULT: Final = Policy()
