"""The configuration: which settings there are, in which table, with which default, and what they become.

Theory
    One frozen ``Struct`` per table of the file; each field carries a ``Setting``: its kind, its bounds, a line
    of prose and an example. Reading, errors, ``edgecache check --dump`` and the names of environment variables
    are all made from these tables, so a setting is added in one place. Defaults that belong to somebody else
    are taken from there (``semantics.policy``, ``edges.settings``, ``origin.settings``).

    A ``Config`` knows where each of its values came from. It is made by ``config_load.load``, never changed,
    and turned by the composition root into the parts' own settings.
"""

from __future__ import annotations

import typing
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

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
from edgecache.edges.settings import ServerSettings
from edgecache.edges.tokens import Scope, Token
from edgecache.origin.settings import OriginSettings
from edgecache.purging.selector import Kind as SelectorKind
from edgecache.semantics.policy import DEFAULT, Policy

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "DEFAULT_SOURCE",
    "GROUPS",
    "TABLES",
    "Admin",
    "AdminToken",
    "Cache",
    "Config",
    "Log",
    "Origin",
    "Server",
    "Table",
    "dump",
    "settings",
    "table_of",
]

DEFAULT_SOURCE: Final = "default"

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_SERVER: Final = ServerSettings()
_ORIGIN: Final = OriginSettings(urls=())
_A_DIGEST: Final = '"' + "e3b0c44298fc1c14" * 4 + '"'
_DECADE: Final = 10 * 365 * 86_400.0  # no duration here is meant to be longer: it would be a slip of units


def _size(prose: str, example: str, *, at_least: int = 0) -> Setting:
    return Setting(SIZE, prose, example, at_least=at_least)


def _duration(prose: str, example: str, *, at_least: float = 0) -> Setting:
    return Setting(DURATION, prose, example, at_least=at_least, at_most=_DECADE)


def _count(prose: str, example: str) -> Setting:
    return Setting(COUNT, prose, example, at_least=1)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tables of the configuration."""


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
    default_authority: Annotated[
        str | None, Setting(AUTHORITY, "host of HTTP/1.0 requests that name none", '"www.example.org"')
    ] = _SERVER.default_authority

    def settings(self) -> ServerSettings:
        """Return this table as the server takes it."""
        return ServerSettings(**msgspec.structs.asdict(self))


class Admin(Table, frozen=True, kw_only=True):
    """``[admin]``: where operators and their tools connect."""

    listen: Annotated[str, Setting(ADDRESS, "where operators connect", '"127.0.0.1:8081"')] = "127.0.0.1:8081"
    names: Annotated[
        tuple[str, ...],
        Setting(AUTHORITY, "host names it answers to, beside localhost", '["edge.internal"]', many=True),
    ] = ()


class AdminToken(Table, frozen=True, kw_only=True):
    """``[tokens.NAME]``: a bearer token and what may be purged with it (``edges.tokens``)."""

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

    def token(self, name: str) -> Token:
        """Return this table as the admin listener takes it."""
        kinds = frozenset(map(SelectorKind, self.kinds))
        return Token(
            name, self.sha256, Scope(self.hosts, self.tag_prefixes, kinds, self.soft_only, self.all, self.rate)
        )


class Origin(Table, frozen=True, kw_only=True):
    """``[origin]``: the server behind, and how long to wait for it."""

    urls: Annotated[
        tuple[str, ...], Setting(URL, "the origin, or several alike", '["http://127.0.0.1:8000"]', many=True)
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
    unsafe_store_set_cookie: Annotated[
        bool, Setting(SWITCH, "store Set-Cookie and replay it to everybody", "false")
    ] = DEFAULT.unsafe_store_set_cookie

    def policy(self) -> Policy:
        """Return the semantics' part of this table."""
        wishes = msgspec.structs.asdict(self)
        del wishes["memory"]
        return Policy(**wishes)


class Log(Table, frozen=True, kw_only=True):
    """``[log]``: what is written about each request, and where."""

    access: Annotated[
        str, Setting(choice("common", "combined", "extended", "json", "off"), "format of access lines", '"combined"')
    ] = "combined"
    file: Annotated[str, Setting(TEXT, "where access lines go; - is standard output", '"access.log"')] = "-"
    level: Annotated[
        str, Setting(choice("debug", "info", "warning", "error"), "least severe message shown", '"info"')
    ] = "info"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A complete, checked configuration. ``sources`` tells where values that are no defaults came from,
    by ``table.key``: ``edgecache.toml:12``, ``EDGECACHE_CACHE_MEMORY`` or ``--memory``.
    """

    origin: Origin
    server: Server = Server()
    admin: Admin = Admin()
    cache: Cache = Cache()
    log: Log = Log()
    tokens: dict[str, AdminToken] = {}
    sources: dict[str, str] = {}

    def granted(self) -> list[Token]:
        """Return the tokens of ``[tokens.NAME]``."""
        return [table.token(name) for name, table in self.tokens.items()]


TABLES: Final[Mapping[str, type[Table]]] = {
    "server": Server,
    "admin": Admin,
    "origin": Origin,
    "cache": Cache,
    "log": Log,
}


GROUPS: Final[Mapping[str, type[Table]]] = {"tokens": AdminToken}
"""Tables of which there may be any number, each with a name: ``[tokens.NAME]``. The environment has none of them."""


def table_of(name: str) -> type[Table]:
    """Return the table called ``cache`` or ``tokens.NAME``."""
    return GROUPS[name.partition(".")[0]] if "." in name else TABLES[name]


def settings(table: type[Table]) -> dict[str, Setting]:
    """Return the settings of a table by key, in the order of the file."""
    hints = typing.get_type_hints(table, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in table.__struct_fields__}


def dump(config: Config) -> str:
    """Return the whole configuration as TOML that reads back to the same, each value with its source."""
    tables: dict[str, Table] = {name: getattr(config, name) for name in TABLES}
    tables |= {f"{group}.{name}": one for group in GROUPS for name, one in getattr(config, group).items()}
    return "\n\n".join("\n".join(_dumped(config, name, table)) for name, table in tables.items()) + "\n"


def _dumped(config: Config, name: str, table: Table) -> Iterator[str]:
    yield f"[{name}]"
    for key, setting in settings(type(table)).items():
        value = getattr(table, key)
        line = f"# {key} =" if value is None else f"{key} = {setting.write(value)}"
        yield f"{line:<48} # {config.sources.get(f'{name}.{key}', DEFAULT_SOURCE)}"
