"""The configuration as a whole: its tables, where each value came from, and how it is shown.

Theory
    A ``Config`` knows where each of its values came from. It is made by ``config_load.load``, never changed,
    and turned by the composition root into the parts' own settings. What is in its tables is told by
    ``config_tables``; that they agree with one another by ``config_checks``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edgecache.edges.config_tables import Admin, AdminToken, Cache, Log, Origin, Redis, Rules, Server, Table, settings
from edgecache.edges.toml_writing import toml_of
from edgecache.errors import ConfigError
from edgecache.semantics.rules import Rule, RuleSet
from edgecache.semantics.versioned import AssetNames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgecache.edges.tokens import Token

__all__ = [
    "DEFAULT_SOURCE",
    "EMBEDDED_LEASE",
    "GROUPS",
    "TABLES",
    "Admin",
    "AdminToken",
    "Cache",
    "Config",
    "Log",
    "Origin",
    "Redis",
    "Rules",
    "Server",
    "Table",
    "attribute_of",
    "dump",
    "settings",
    "table_of",
]

EMBEDDED_LEASE: Final = 2.0
"""Seconds, at most, with a server of this machine's own: no network is between, so there is no outage to sit out, and
the first purges after a start wait for one lease."""

DEFAULT_SOURCE: Final = "default"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A complete, checked configuration.

    Attributes:
        rulebook: the table ``[rules]``.
        rules: the rules in force, in order: those of the file, then those of the rule sets.
        assets: the names that the build manifests list, if there are any.
        inline: tables ``[[rule]]`` and ``[[example]]`` of the file, as they were written.
        sources: where values that are no defaults came from, by ``table.key``: ``edgecache.toml:12``,
            ``EDGECACHE_CACHE_MEMORY`` or ``--memory``.
        warnings: what works and is hardly meant.
    """

    origin: Origin
    server: Server = Server()
    admin: Admin = Admin()
    cache: Cache = Cache()
    redis: Redis = Redis()
    log: Log = Log()
    tokens: dict[str, AdminToken] = {}
    rulebook: Rules = Rules()
    rules: tuple[Rule, ...] = ()
    assets: AssetNames | None = None
    inline: dict[str, list[dict[str, Any]]] = {}
    sources: dict[str, str] = {}
    warnings: tuple[ConfigError, ...] = ()

    def granted(self) -> list[Token]:
        """Return the tokens of ``[tokens.NAME]``."""
        return [table.token(name) for name, table in self.tokens.items()]

    def rule_set(self) -> RuleSet:
        """Return the rules that are in force, over what ``[cache]`` says.

        A directory as the origin answers everybody alike: it looks at no cookie.
        """
        base = self.cache.policy()
        if self.origin.directory is not None:
            base = dataclasses.replace(base, unsafe_ignore_request_cookies=True)
        return RuleSet(base, self.rules, self.assets)

    def with_redis(self, url: str, secret: str) -> Config:
        """Return this configuration with another server: the embedded one, now that it runs."""
        lease = min(self.redis.lease, EMBEDDED_LEASE)
        redis = msgspec.structs.replace(self.redis, url=url, secret=secret, lease=lease)
        return msgspec.structs.replace(self, redis=redis)


TABLES: Final[Mapping[str, type[Table]]] = {
    "server": Server,
    "admin": Admin,
    "origin": Origin,
    "cache": Cache,
    "rules": Rules,
    "redis": Redis,
    "log": Log,
}

_ATTRIBUTES: Final = {"rules": "rulebook"}
"""Tables that a ``Config`` has under another name."""


GROUPS: Final[Mapping[str, type[Table]]] = {"tokens": AdminToken}
"""Tables of which there may be any number, each with a name: ``[tokens.NAME]``. The environment has none of them."""


def table_of(name: str) -> type[Table]:
    """Return the table called ``cache`` or ``tokens.NAME``."""
    return GROUPS[name.partition(".")[0]] if "." in name else TABLES[name]


def attribute_of(table: str) -> str:
    """Return the attribute of a ``Config`` that has a table."""
    return _ATTRIBUTES.get(table, table)


def dump(config: Config) -> str:
    """Return the whole configuration as TOML, each value with its source. It reads back to the same, but for secrets:
    they are hidden.
    """
    tables: dict[str, Table] = {name: getattr(config, attribute_of(name)) for name in TABLES}
    tables |= {f"{group}.{name}": one for group in GROUPS for name, one in getattr(config, group).items()}
    parts = ["\n".join(_dumped(config, name, table)) for name, table in tables.items()]
    return "\n\n".join([*parts, *_inline(config)]) + "\n"


def _dumped(config: Config, name: str, table: Table) -> Iterator[str]:
    yield f"[{name}]"
    for key, setting in settings(type(table)).items():
        value = getattr(table, key)
        line = f"# {key} =" if value is None else f"{key} = {setting.write(setting.hidden(value))}"
        yield f"{line:<48} # {config.sources.get(f'{name}.{key}', DEFAULT_SOURCE)}"
    if name == "rules":
        yield from (f"# {rule.name:<46} # {rule.source}" for rule in config.rules)


def _inline(config: Config) -> Iterator[str]:
    """The rules and examples that stand in the configuration itself, as they were written."""
    for name, tables in config.inline.items():
        for table in tables:
            yield "\n".join([f"[[{name}]]", *(f"{key} = {toml_of(value)}" for key, value in table.items())])
