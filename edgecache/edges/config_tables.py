"""The tables of the configuration: which settings there are, with which default, and what they become.

Theory
    One frozen ``Struct`` per table of the file; each field carries a ``Setting``: its kind, its bounds, a line
    of prose and an example. Reading, errors, ``edgecache check --dump`` and the names of environment variables
    are all made from these tables, so a setting is added in one place. Defaults that belong to somebody else
    are taken from there (``semantics.policy``, ``edges.settings``, ``origin.settings``).

    A table that people print, in a log or by accident, hides its secrets.

Callers: ``edges.config``, which has them all; others get them from there.
"""

from __future__ import annotations

import typing
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from edgecache.edges.config_redis import EMBEDDED, NAMESPACE, REDIS, SECRET
from edgecache.edges.config_values import (
    ADDRESS,
    AUTHORITY,
    COUNT,
    DIGEST,
    DURATION,
    HOSTS,
    PEER,
    SHARE,
    SIZE,
    SWITCH,
    TEXT,
    TOKEN,
    URL,
    Setting,
    choice,
)
from edgecache.edges.rulesets import MANIFEST, RULES
from edgecache.edges.settings import ServerSettings
from edgecache.edges.tokens import Scope, Token
from edgecache.origin.address import directory_of
from edgecache.origin.settings import OriginSettings
from edgecache.purging.selector import Kind as SelectorKind
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.stores.base import Eviction

__all__ = ["Admin", "AdminToken", "Cache", "Log", "Origin", "Redis", "Rules", "Server", "Table", "settings"]

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_SERVER: Final = ServerSettings()
_ORIGIN: Final = OriginSettings(urls=())
_A_DIGEST: Final = '"' + "e3b0c44298fc1c14" * 4 + '"'
_LEAST_SERVER: Final = 16 * _MIB  # an empty server takes a few of them
_MOST_WORKERS: Final = 256  # one per core is enough; more than this is a slip of the finger
_DECADE: Final = 10 * 365 * 86_400.0  # no duration here is meant to be longer: it would be a slip of units


def _size(prose: str, example: str, *, at_least: int = 0) -> Setting:
    return Setting(SIZE, prose, example, at_least=at_least)


def _duration(prose: str, example: str, *, at_least: float = 0, at_most: float = _DECADE) -> Setting:
    return Setting(DURATION, prose, example, at_least=at_least, at_most=at_most)


def _count(prose: str, example: str, *, at_most: int | None = None) -> Setting:
    return Setting(COUNT, prose, example, at_least=1, at_most=at_most)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tables of the configuration."""

    def __repr__(self) -> str:
        shown = (f"{key}={one.hidden(getattr(self, key))!r}" for key, one in settings(type(self)).items())
        return f"{type(self).__name__}({', '.join(shown)})"


def settings(table: type[Table]) -> dict[str, Setting]:
    """Return the settings of a table by key, in the order of the file."""
    hints = typing.get_type_hints(table, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in table.__struct_fields__}


class Server(Table, frozen=True, kw_only=True):
    """``[server]``: where clients connect, and how much they may ask for (``edges.settings``)."""

    listen: Annotated[str, Setting(ADDRESS, "where clients connect", '"127.0.0.1:8080"')] = _SERVER.listen
    tls_cert: Annotated[str | None, Setting(TEXT, "certificate chain, PEM file", '"cert.pem"')] = None
    tls_key: Annotated[str | None, Setting(TEXT, "its private key, unless in tls_cert", '"key.pem"')] = None
    backlog: Annotated[int, _count("connections waiting to be accepted", "1024")] = _SERVER.backlog
    max_target: Annotated[int, _size("longest request target", "8190", at_least=64)] = _SERVER.max_target
    max_header_bytes: Annotated[int, _size("all field lines of a request", '"32KiB"', at_least=_KIB)] = (
        _SERVER.max_header_bytes
    )
    max_header_fields: Annotated[int, _count("field lines of a request", "64")] = _SERVER.max_header_fields
    max_field: Annotated[int, _size("one field line", '"8KiB"', at_least=64)] = _SERVER.max_field
    max_body: Annotated[int, _size("largest request body", '"100MiB"')] = _SERVER.max_body
    header_timeout: Annotated[float, _duration("for a request head to arrive", '"10s"', at_least=0.1)] = (
        _SERVER.header_timeout
    )
    keepalive_timeout: Annotated[float, _duration("an idle connection is kept", '"1m"')] = _SERVER.keepalive_timeout
    body_min_rate: Annotated[int, _size("per second of a request body, at least", '"1KiB"')] = _SERVER.body_min_rate
    body_rate_window: Annotated[float, _duration("over which that is measured", '"10s"', at_least=0.1)] = (
        _SERVER.body_rate_window
    )
    send_idle_timeout: Annotated[float, _duration("a client may read nothing at all", '"1m"', at_least=0.1)] = (
        _SERVER.send_idle_timeout
    )
    send_timeout: Annotated[
        float, _duration("a response may wait for its client altogether", '"10m"', at_least=0.1)
    ] = _SERVER.send_timeout
    drain_timeout: Annotated[float, _duration("running responses may take at shutdown", '"30s"')] = (
        _SERVER.drain_timeout
    )
    trusted_peers: Annotated[
        tuple[str, ...],
        Setting(PEER, "proxies whose forwarding fields are believed", '["10.0.0.0/8"]', many=True),
    ] = _SERVER.trusted_peers
    purge_from: Annotated[
        tuple[str, ...],
        Setting(PEER, "peers from which PURGE is taken; of a proxy, from all its clients", '["10.0.0.7"]', many=True),
    ] = _SERVER.purge_from
    default_authority: Annotated[
        str | None, Setting(AUTHORITY, "host of HTTP/1.0 requests that name none", '"www.example.org"')
    ] = _SERVER.default_authority
    workers: Annotated[int, _count("processes that serve; more than one need [redis]", "4", at_most=_MOST_WORKERS)] = 1
    lane: Annotated[bool, Setting(SWITCH, "answer again from the socket what was answered before", "false")] = True

    def settings(self) -> ServerSettings:
        """Return this table as the server of one process takes it."""
        wishes = msgspec.structs.asdict(self)
        del wishes["workers"], wishes["lane"]
        return ServerSettings(**wishes)


class Admin(Table, frozen=True, kw_only=True):
    """``[admin]``: where operators and their tools connect."""

    listen: Annotated[str, Setting(ADDRESS, "where operators connect", '"127.0.0.1:8081"')] = "127.0.0.1:8081"
    names: Annotated[
        tuple[str, ...],
        Setting(AUTHORITY, "host names it answers to, beside localhost", '["edge.internal"]', many=True),
    ] = ()


class AdminToken(Table, frozen=True, kw_only=True):
    """``[tokens.NAME]``: a bearer token and what may be done with it (``edges.tokens``)."""

    sha256: Annotated[str, Setting(DIGEST, "digest of the secret", _A_DIGEST)]
    hosts: Annotated[
        tuple[str, ...], Setting(HOSTS, "hosts whose URLs may be purged", '["www.example.org"]', many=True)
    ] = ()
    tag_prefixes: Annotated[
        tuple[str, ...], Setting(TEXT, "beginnings of tags that may be purged", '["product:"]', many=True)
    ] = ()
    kinds: Annotated[
        tuple[str, ...], Setting(choice(*SelectorKind), "kinds of selectors; none: each", '["tag", "url"]', many=True)
    ] = ()
    soft_only: Annotated[bool, Setting(SWITCH, "may make stale, not invalid", "false")] = False
    all: Annotated[bool, Setting(SWITCH, "may purge whatever the host and the tags", "true")] = False
    rate: Annotated[int, Setting(COUNT, "purges per minute; 0: without limit", "60", at_least=0)] = 0
    deploy: Annotated[bool, Setting(SWITCH, "may warm, activate and roll back releases", "true")] = False

    def token(self, name: str) -> Token:
        """Return this table as the admin listener takes it."""
        kinds = frozenset(map(SelectorKind, self.kinds))
        scope = Scope(self.hosts, self.tag_prefixes, kinds, self.soft_only, self.all, self.rate, self.deploy)
        return Token(name, self.sha256, scope)


class Origin(Table, frozen=True, kw_only=True):
    """``[origin]``: the server behind, and how long to wait for it; or the directory whose files are served."""

    urls: Annotated[
        tuple[str, ...],
        Setting(URL, "the origin, several alike, or one directory", '["http://127.0.0.1:8000"]', many=True),
    ]
    host: Annotated[
        str, Setting(AUTHORITY, "Host sent: keep the client's, the origin's own, or this name", '"keep"')
    ] = "keep"
    connect_timeout: Annotated[float, _duration("to connect", '"5s"', at_least=0.01)] = _ORIGIN.connect_timeout
    first_byte_timeout: Annotated[float, _duration("for a response to begin", '"30s"', at_least=0.01)] = (
        _ORIGIN.first_byte_timeout
    )
    between_bytes_timeout: Annotated[float, _duration("between two pieces of it", '"30s"', at_least=0.01)] = (
        _ORIGIN.between_bytes_timeout
    )
    max_connections: Annotated[int, _count("connections to each origin", "256")] = _ORIGIN.max_connections
    keepalive: Annotated[float, _duration("an idle connection is kept", '"4s"')] = _ORIGIN.keepalive
    ca_file: Annotated[str | None, Setting(TEXT, "authorities believed instead of the system's", '"ca.pem"')] = None
    cert_file: Annotated[str | None, Setting(TEXT, "certificate shown to the origin, PEM", '"client.pem"')] = None
    key_file: Annotated[str | None, Setting(TEXT, "its private key, unless in cert_file", '"client.key"')] = None
    unsafe_tls_no_verify: Annotated[bool, Setting(SWITCH, "believe any certificate", "false")] = False

    @property
    def directory(self) -> str | None:
        """The directory that is the origin, None when servers are."""
        return directory_of(self.urls)

    def settings(self) -> OriginSettings:
        """Return this table as the origin's client takes it."""
        wishes = msgspec.structs.asdict(self)
        if self.host == "keep":
            wishes["host"] = None
        elif self.host == "origin":
            wishes["host"] = urlsplit(self.urls[0]).netloc
        return OriginSettings(**wishes)


class Cache(Table, frozen=True, kw_only=True):
    """``[cache]``: how much is stored, and what HTTP leaves to the cache (``semantics.policy``)."""

    memory: Annotated[int, _size("for stored responses, all counted", '"256MiB"', at_least=_MIB)] = 256 * _MIB
    eviction: Annotated[str, Setting(choice(*Eviction), "what goes first when memory is full", '"lru"')] = Eviction.LRU
    encoded: Annotated[int, _size("for what rules compress, beside that", '"32MiB"')] = 32 * _MIB
    name: Annotated[str, Setting(TOKEN, "pseudonym in Via and Cache-Status", '"edgecache"')] = DEFAULT.name
    targeted_fields: Annotated[
        tuple[str, ...],
        Setting(TOKEN, "cache control meant for this cache, first wins (RFC 9213)", '["CDN-Cache-Control"]', many=True),
    ] = DEFAULT.targeted_fields
    surrogate_control: Annotated[bool, Setting(SWITCH, "obey Surrogate-Control", "true")] = DEFAULT.surrogate_control
    tag_fields: Annotated[
        tuple[str, ...],
        Setting(TOKEN, "response fields that carry tags for purging", '["Surrogate-Key", "Cache-Tag"]', many=True),
    ] = DEFAULT.tag_fields
    heuristic_fraction: Annotated[
        float,
        Setting(SHARE, "of the age since Last-Modified taken as lifetime; 0: never", "0.1", at_least=0, at_most=1),
    ] = DEFAULT.heuristic_fraction
    heuristic_max: Annotated[float, _duration("longest such lifetime", '"1d"')] = DEFAULT.heuristic_max
    grace: Annotated[float, _duration("stale is served while it is validated", '"30s"')] = DEFAULT.grace
    if_error: Annotated[float, _duration("stale is served instead of a 5xx", '"1h"')] = DEFAULT.if_error
    if_unreachable: Annotated[float, _duration("stale is served while the origin cannot be reached", '"1h"')] = (
        DEFAULT.if_unreachable
    )
    keep: Annotated[float, _duration("kept after that, only to be validated", '"1h"')] = DEFAULT.keep
    honour_reload: Annotated[bool, Setting(SWITCH, "obey no-cache, max-age, min-fresh of requests", "true")] = (
        DEFAULT.honour_reload
    )
    max_variants: Annotated[int, _count("responses under one key", "64")] = DEFAULT.max_variants
    max_object: Annotated[int, _size("largest body stored", '"64MiB"')] = DEFAULT.max_object
    max_query_body: Annotated[int, _size("largest QUERY content in a key", '"64KiB"')] = DEFAULT.max_query_body
    hit_for_miss: Annotated[float, _duration("requests for what could not be stored are not collapsed", '"2m"')] = (
        DEFAULT.hit_for_miss
    )
    x_cache: Annotated[bool, Setting(SWITCH, "add X-Cache: HIT, MISS ...", "false")] = DEFAULT.x_cache
    known_fields: Annotated[
        tuple[str, ...],
        Setting(TOKEN, "request fields of your own that change no response", '["X-Client-Version"]', many=True),
    ] = DEFAULT.known_fields
    unsafe_store_set_cookie: Annotated[
        bool, Setting(SWITCH, "store Set-Cookie and replay it to everybody", "false")
    ] = DEFAULT.unsafe_store_set_cookie

    def policy(self) -> Policy:
        """Return the semantics' part of this table."""
        wishes = msgspec.structs.asdict(self)
        del wishes["memory"], wishes["eviction"], wishes["encoded"]
        wishes["known_fields"] = tuple(map(str.lower, self.known_fields))
        return Policy(**wishes)


class Rules(Table, frozen=True, kw_only=True):
    """``[rules]``: which rule sets are in force (``edges.rule_files``). Rules in the configuration come before them."""

    use: Annotated[
        tuple[str, ...],
        Setting(RULES, "shipped sets and files of rules; the first that decides wins", '["static-assets"]', many=True),
    ] = ()
    manifests: Annotated[
        tuple[str, ...],
        Setting(
            MANIFEST, "what builds wrote, and below which path it is", '["/static/=dist/manifest.json"]', many=True
        ),
    ] = ()


class Redis(Table, frozen=True, kw_only=True):
    """``[redis]``: what the processes of an edge share, on one machine or on many: a second tier of stored responses,
    and the log of purges. Without ``url`` there is neither, and the edge is one process with its memory.
    """

    url: Annotated[str | None, Setting(REDIS, "the server, or embedded for one of the edge's own", '"embedded"')] = None
    namespace: Annotated[str, Setting(NAMESPACE, "beginning of all keys there", '"edgecache"')] = "edgecache"
    secret: Annotated[
        str | None, Setting(SECRET, "proves that records were written by this edge", '"at least 16 bytes"')
    ] = None
    encryption_keys: Annotated[
        tuple[str, ...],
        Setting(SECRET, "encrypt records: the current key, then the previous one", '["at least 16 bytes"]', many=True),
    ] = ()
    lease: Annotated[
        float, _duration("a process serves from memory without hearing of purges", '"10s"', at_least=1, at_most=60)
    ] = 10.0
    budget: Annotated[
        float, _duration("a request waits for one answer of the server", '"50ms"', at_least=0.005, at_most=1)
    ] = 0.05
    connections: Annotated[int, _count("connections of each process", "32")] = 32
    write_behind: Annotated[
        int, _size("responses of each process that wait to be written", '"32MiB"', at_least=_MIB)
    ] = 32 * _MIB
    replicas: Annotated[int, Setting(COUNT, "replicas that must have a purge before it is confirmed", "1")] = 0
    fill_lock: Annotated[
        float,
        _duration("one process at a time fetches what is missing, at most this long; 0: each", '"2s"', at_most=60),
    ] = 0.0
    memory: Annotated[int, _size("what the embedded server may hold", '"256MiB"', at_least=_LEAST_SERVER)] = 256 * _MIB

    @property
    def is_embedded(self) -> bool:
        """Whether the server is to be started and stopped with the edge."""
        return self.url == EMBEDDED


class Log(Table, frozen=True, kw_only=True):
    """``[log]``: what is written about each request, and where."""

    access: Annotated[
        str, Setting(choice("common", "combined", "extended", "json", "off"), "format of access lines", '"combined"')
    ] = "combined"
    file: Annotated[str, Setting(TEXT, "where access lines go; - is standard output", '"access.log"')] = "-"
    level: Annotated[
        str, Setting(choice("debug", "info", "warning", "error"), "least severe message shown", '"info"')
    ] = "info"
