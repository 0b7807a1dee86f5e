"""What may be written in a rule: the keys of ``match`` and ``unless``, and those of ``set``.

Theory
    A key of TOML is a field of ``semantics.rules.Match`` or of ``semantics.policy.Policy``, a ``Setting`` (kind, prose,
    example, bounds) and how the one is made of the other. Reading, mistakes and the tables of ``docs/rules.md`` follow
    from these tables.

    What people write are the words of their own headers and files, not those of the program: ``pass``, ``release``,
    ``key_headers``. What weakens a safe default has ``unsafe_`` in its name, here as there.

Callers: ``edges.rule_load``, ``edges.rule_checks`` and whoever shows a rule.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgecache.edges.config_values import COUNT, DURATION, HOSTS, SHARE, SIZE, SWITCH, TEXT, Kind, Setting, choice
from edgecache.edges.rule_kinds import (
    COOKIE,
    COOKIE_PATTERN,
    EXTENSION,
    FIELD,
    FIELD_PATTERN,
    MEDIA_TYPE,
    METHOD,
    PARAMETER,
    PARAMETERS,
    PATH,
    PATH_PATTERN,
    REGEX,
    SHARE_OR_PERCENT,
    STATUSES,
    TAG,
    VERSIONED,
)
from edgecache.http.glob import Glob, Wildcard
from edgecache.http.regex import compiled
from edgecache.semantics.policy import QueryKey, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MARKETING", "MATCH", "QUERY", "RULE", "SET", "Key"]

_STRATEGIES: Final = {one.value: one for one in Strategy}
_DECADE: Final = 10 * 365 * 86_400.0  # no duration here is meant to be longer: it would be a slip of units


def _as_read(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a rule.

    Attributes:
        field: the field of ``Match`` or ``Policy`` that it becomes.
        setting: what may be written. Where it may be a list, one value may stand alone.
        made: what was read -> the field's value.
        names: for a table of names and values: what the names are; ``setting`` is then about the values.
        inner: for a table of settings: these; ``setting`` is then about the whole.
    """

    field: str
    setting: Setting
    made: Callable[[Any], Any] = _as_read
    names: Kind | None = None
    inner: Mapping[str, Setting] = dataclasses.field(default_factory=dict)


def _globs(patterns: tuple[str, ...]) -> tuple[Glob, ...]:
    return tuple(map(Glob, patterns))


def _wildcards(patterns: tuple[str, ...]) -> tuple[Wildcard, ...]:
    return tuple(map(Wildcard, patterns))


def _pairs(table: Mapping[str, str]) -> tuple[tuple[str, Wildcard], ...]:
    return tuple((name, Wildcard(pattern)) for name, pattern in table.items())


def _union(sets: tuple[frozenset[Any], ...]) -> frozenset[Any]:
    return frozenset().union(*sets)


RULE: Final[Mapping[str, Setting]] = {
    "name": Setting(TEXT, "what it is called wherever it is told about; each in a file has its own", '"fonts"'),
    "priority": Setting(COUNT, "rules with a higher one come first", "10", at_least=-1000, at_most=1000),
}
"""What a rule has beside its tables."""

MATCH: Final[Mapping[str, Key]] = {
    "host": Key(
        "hosts",
        Setting(HOSTS, "the host, `*` for any part", '["www.example.org", "*.shop.example"]', many=True),
        _globs,
    ),
    "path": Key(
        "paths", Setting(PATH_PATTERN, "the path; `*` within a segment, `**` over more", '"/img/**"', many=True), _globs
    ),
    "path_regex": Key(
        "path_patterns",
        Setting(REGEX, "found in the path, by RE2 (`edgecache[regex]`)", '"^/v[0-9]+/"', many=True),
        lambda patterns: tuple(map(compiled, patterns)),
    ),
    "extension": Key(
        "extensions",
        Setting(EXTENSION, 'the last segment\'s; `""` is none', '["css", "js"]', many=True),
        frozenset,
    ),
    "method": Key("methods", Setting(METHOD, "the method", '"QUERY"', many=True), frozenset),
    "query": Key(
        "query", Setting(FIELD_PATTERN, "parameters, each with such a value", '{ preview = "*" }'), _pairs, PARAMETER
    ),
    "request_header": Key(
        "request_fields",
        Setting(FIELD_PATTERN, "headers of the request, each with such a value", '{ X-Requested-With = "*" }'),
        _pairs,
        FIELD,
    ),
    "cookie": Key(
        "cookies",
        Setting(COOKIE_PATTERN, "the request has a cookie of such a name", '["sessionid", "wordpress_*"]', many=True),
        _wildcards,
    ),
    "versioned": Key(
        "versioned",
        Setting(VERSIONED, "the name changes with the content; `true` however that is known", "true", many=True),
        _union,
    ),
    "status": Key("statuses", Setting(STATUSES, "the response's status", '[404, "5xx"]', many=True), _union),
    "content_type": Key(
        "content_types",
        Setting(MEDIA_TYPE, "its media type, without parameters", '["text/html", "image/*"]', many=True),
        _wildcards,
    ),
    "response_header": Key(
        "response_fields",
        Setting(FIELD_PATTERN, "its headers, each with such a value", '{ X-Powered-By = "PHP*" }'),
        _pairs,
        FIELD,
    ),
}
"""Conditions. Of several values one has to hold; of several keys, and of several names in a table, all of them."""

MARKETING: Final = (
    *("utm_*", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "gdftrk", "srsltid", "_ga", "_gl"),
    *("fbclid", "igshid", "msclkid", "ttclid", "twclid", "li_fat_id", "epik", "yclid", "zanpid"),
    *("mc_cid", "mc_eid", "mkt_tok", "_ke", "_kx", "dm_i", "_hsenc", "_hsmi", "_bta_*", "trk_*"),
)
"""Parameters that advertisers and mailers append to links and that only scripts in the page read: the lists that
Magento and its CDN document, less the names that applications use themselves (``cx``, ``ie``, ``origin``, ``sc_*``)."""

QUERY: Final[Mapping[str, Setting]] = {
    "keep": Setting(PARAMETERS, "only these parameters count; `*` at the end of a name", '["page", "v"]', many=True),
    "drop": Setting(PARAMETERS, "these do not; `marketing` is a list of its own", '["marketing", "ref"]', many=True),
    "sort": Setting(SWITCH, "their order does not count, that of equal names does", "true"),
}
"""The table ``query`` of ``set``."""


def _query(table: Mapping[str, Any]) -> QueryKey:
    drop = tuple(name for one in table.get("drop", ()) for name in (MARKETING if one == "marketing" else (one,)))
    return QueryKey(keep=table.get("keep"), drop=drop, sort=table.get("sort", False))


def _duration(name: str, prose: str, example: str) -> tuple[str, Key]:
    return name, Key(name, Setting(DURATION, prose, example, at_least=0, at_most=_DECADE))


def _switch(name: str, prose: str, policy_field: str = "", example: str = "true") -> tuple[str, Key]:
    return name, Key(policy_field or name, Setting(SWITCH, prose, example))


_LIFETIMES: Final = (
    _duration("edge_ttl", "lifetime here in the place of the origin's, for what is no error", '"1h"'),
    _duration("default_ttl", "lifetime of what the origin gave none", '"10m"'),
    _duration("negative_ttl", "lifetime of 404, 410 and the like", '"10s"'),
    _duration("max_ttl", "no lifetime here is longer", '"1d"'),
    (
        "jitter",
        Key(
            "jitter",
            Setting(SHARE_OR_PERCENT, "by which each such lifetime may be shorter", '"10%"', at_least=0, at_most=0.5),
        ),
    ),
    _duration("sliding", "each use prolongs the lifetime to at least this", '"1h"'),
    _duration("sliding_max", "but not beyond this, from receipt", '"1d"'),
    (
        "early",
        Key(
            "early",
            Setting(
                SHARE, "refresh ahead of the end, times what a fetch takes; 0: never", "1.0", at_least=0, at_most=10
            ),
        ),
    ),
    (
        "heuristic_fraction",
        Key(
            "heuristic_fraction",
            Setting(SHARE, "of the age since Last-Modified taken as lifetime; 0: never", "0.1", at_least=0, at_most=1),
        ),
    ),
)

_STALE: Final = (
    _duration("grace", "stale is served while it is validated", '"30s"'),
    _duration("if_error", "stale is served instead of a 5xx", '"1h"'),
    _duration("if_unreachable", "stale is served while the origin cannot be reached", '"1h"'),
    _duration("keep", "kept after that, only to be validated", '"1h"'),
    _duration("retain", "kept for earlier releases: assets in the place of a 404 or 410, pages to go back to", '"30d"'),
    _switch("may_be_stale", "`false`: none of these windows, and no `max-stale`", example="false"),
)

_CLIENTS: Final = (
    (
        "browser",
        Key(
            "strategy",
            Setting(choice(*Strategy), "Cache-Control of responses that carry none", '"revalidate"'),
            _STRATEGIES.__getitem__,
        ),
    ),
    (
        "verified",
        Key(
            "verified",
            Setting(
                choice(Strategy.IMMUTABLE, Strategy.VERSIONED),
                "the same, once the content has proven that its digest is in the name",
                '"immutable"',
            ),
            _STRATEGIES.__getitem__,
        ),
    ),
    _duration("browser_ttl", "`max-age` that clients see, from delivery", '"5m"'),
    _switch("etag", "make an entity tag of the content where there is none"),
    _switch("compress", "encode what is worth it, once per stored response"),
    _switch("honour_reload", "obey `no-cache`, `max-age` and `min-fresh` of requests", example="false"),
)

_KEYS: Final = (
    _switch("pass", "neither look up nor store", "passes"),
    ("path", Key("path", Setting(PATH, "ask for this path instead, without a query", '"/index.html"'))),
    (
        "query",
        Key("query", Setting(SWITCH, "what of the query counts", '{ drop = ["marketing"] }'), _query, inner=QUERY),
    ),
    (
        "key_headers",
        Key("key_fields", Setting(FIELD, "headers that are part of the key", '["X-Country"]', many=True)),
    ),
    ("key_cookies", Key("key_cookies", Setting(COOKIE, "cookies that are part of the key", '["theme"]', many=True))),
    _switch("release", "which release is active is part of the key", "by_release"),
    _switch(
        "drop_unknown_headers",
        "leave out request headers that may change the response, instead of not storing it",
        "drop_unknown_fields",
    ),
)

_OTHERS: Final = (
    (
        "tags",
        Key("tags", Setting(TAG, "tags for purging; `{host}` and `{1}` are filled in", '["shop:{2}"]', many=True)),
    ),
    (
        "max_object",
        Key(
            "max_object",
            Setting(SIZE, "largest body stored; memory has to hold it while it arrives", '"64MiB"', at_least=0),
        ),
    ),
)

_UNSAFE: Final = (
    _switch("unsafe_store_set_cookie", "store `Set-Cookie` and replay it to everybody"),
    _switch("unsafe_strip_cookies", "the origin sees no cookies but those in the key, and clients get none of its own"),
    _switch("unsafe_store_private", "store what says `private`"),
    _switch("unsafe_store_no_store", "store what says `no-store`"),
    _switch("unsafe_store_authorized", "store answers to authenticated requests, for everybody"),
    _switch("unsafe_ignore_no_cache", "do not validate what says `no-cache`"),
    _switch("unsafe_ignore_content_type", "store content whose type contradicts its name"),
    _switch("unsafe_ignore_request_fields", "store answers to requests with headers that may have changed them"),
    _switch("unsafe_ignore_request_cookies", "as if requests had no cookies, which the origin yet sees"),
)

SET: Final[Mapping[str, Key]] = dict((*_LIFETIMES, *_STALE, *_CLIENTS, *_KEYS, *_OTHERS, *_UNSAFE))
"""Settings, each a field of ``Policy``."""
