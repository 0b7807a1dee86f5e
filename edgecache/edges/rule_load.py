"""Reading rules: from the tables of a TOML file to ``semantics.rules.Rule``, and everything that is wrong with them.

Theory
    A rule file has ``[[rule]]`` and ``[[example]]`` tables. Reading is driven by ``rule_tables``; ``rule_checks`` looks
    at rules that could be read, one by one and together. Nothing stops at the first mistake.

    ``Written`` is a rule with the place where it stands, so that whoever finds fault with it later can point at it.

Callers: ``edges.rule_files``.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgecache.edges.config_text import unreadable
from edgecache.edges.config_values import Unreadable
from edgecache.edges.rule_tables import MATCH, RULE, SET, Key
from edgecache.semantics.rules import Match, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgecache.edges.config_text import ConfigText, Mistakes
    from edgecache.edges.config_values import Setting
    from edgecache.edges.toml_location import Path as KeyPath

__all__ = ["Reader", "Written", "tables_of"]

_TABLES: Final[Mapping[str, Mapping[str, Key]]] = {"match": MATCH, "unless": MATCH, "set": SET}
_EXAMPLES: Final = {
    "match": 'match = { path = "/img/**" }',
    "unless": 'unless = { extension = "html" }',
    "set": 'set = { edge_ttl = "1h" }',
}
_MEANT: Final = {
    "ttl": "edge_ttl is the lifetime here, browser_ttl that of clients",
    "cache_control": "browser gives a Cache-Control to responses that carry none",
    "header": "request_header and response_header look at headers",
    "headers": "request_header and response_header look at headers",
    "url": "host, path and query look at the parts of a URL",
    "query_keep": 'write query = { keep = ["page"] }',
    "query_drop": 'write query = { drop = ["marketing"] }',
    "query_sort": "write query = { sort = true }",
}
"""Words that other programs have for it."""


@dataclass(frozen=True, slots=True)
class Written:
    """A rule as it stands in a file: what it means, where it is, and what was written."""

    rule: Rule
    path: KeyPath
    raw: Mapping[str, Any]


def tables_of(text: ConfigText, name: str, found: Mistakes) -> list[tuple[KeyPath, dict[str, Any]]]:
    """Return the tables ``[[name]]`` of a file with their places; what else has that name is a mistake."""
    content = text.document.get(name, [])
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        found.blame(
            text.spot((name,), key=True), f"{name} is a list of tables", f"write [[{name}]] on a line of its own"
        )
        return []
    return [((name, index), one) for index, one in enumerate(content)]


class Reader:
    """Reads the tables of one file."""

    def __init__(self, text: ConfigText, found: Mistakes) -> None:
        self._text: Final = text
        self._found: Final = found

    def rules(self) -> list[Written]:
        """Return the rules that could be read, in the order of the file."""
        written: list[Written] = []
        names: set[str] = set()
        for path, table in tables_of(self._text, "rule", self._found):
            before = len(self._found.mistakes)
            rule = self._rule(path, table)
            if rule.name in names:
                spot = self._text.spot((*path, "name"))
                self._found.blame(spot, f"another rule is called {_quoted(rule.name)}", "give each a name of its own")
            names |= {rule.name} - {""}
            if len(self._found.mistakes) == before:
                written.append(Written(rule, path, table))
        return written

    def _rule(self, path: KeyPath, table: dict[str, Any]) -> Rule:
        self._unknown(path, table, [*RULE, *_TABLES], "[[rule]]")
        name, priority = (self._setting(path, table, key, setting) for key, setting in RULE.items())
        if "name" not in table:
            self._blame(path, "a rule without a name", f"write name = {RULE['name'].example} in it")
        if not table.get("set"):
            self._blame(path, "a rule that sets nothing", f"write {_EXAMPLES['set']}")
        parts = {part: self._part(path, table, part) for part in _TABLES}
        return Rule(
            name=name or "",
            settings=parts["set"],
            match=Match(**parts["match"]),
            unless=Match(**parts["unless"]),
            source=self._text.spot(path).source,
            priority=priority or 0,
        )

    def _part(self, path: KeyPath, table: dict[str, Any], part: str) -> dict[str, Any]:
        """Return fields and values of ``match``, ``unless`` or ``set``."""
        content = table.get(part, {})
        if not isinstance(content, dict):
            self._blame((*path, part), f"{part} is a table", f"write {_EXAMPLES[part]}")
            return {}
        keys, path = _TABLES[part], (*path, part)
        self._unknown(path, content, keys, part)
        made = {}
        for name, key in keys.items():
            if name in content and (value := self._value((*path, name), content[name], name, key)) is not None:
                made[key.field] = key.made(value)
        return made

    def _value(self, path: KeyPath, value: Any, name: str, key: Key) -> Any:
        """Return what was read for a key; None when it could not be."""
        if key.names is not None:
            return self._named(path, value, name, key)
        if key.inner:
            return self._inner(path, value, name, key)
        return self._read(path, value, name, key.setting)

    def _setting(self, path: KeyPath, table: dict[str, Any], name: str, setting: Setting) -> Any:
        return self._read((*path, name), table[name], name, setting) if name in table else None

    def _read(self, path: KeyPath, value: Any, name: str, setting: Setting) -> Any:
        if not setting.many:
            return self._one(path, value, name, setting)
        if not isinstance(value, list):
            one = self._one(path, value, name, setting)
            return None if one is None else (one,)
        if not value:
            self._blame(path, f"{name}: an empty list", f"leave {name} out, or write {name} = {setting.example}")
            return None
        values = [self._one((*path, index), one, name, setting) for index, one in enumerate(value)]
        return None if None in values else tuple(values)

    def _one(self, path: KeyPath, value: Any, name: str, setting: Setting) -> Any:
        try:
            made = setting.kind.read(value)
            setting.check_bounds(made)
        except Unreadable as error:
            self._blame(path, *unreadable(name, setting, error))
            return None
        return made

    def _named(self, path: KeyPath, table: Any, name: str, key: Key) -> dict[str, str] | None:
        """Read a table of names and values."""
        assert key.names is not None
        if not isinstance(table, dict) or not table:
            self._blame(path, f"{name} is a table of names and values", f"write {name} = {key.setting.example}")
            return None
        made: dict[str, str] = {}
        before = len(self._found.mistakes)
        for one, value in table.items():
            try:
                made[key.names.read(one)] = self._one((*path, one), value, name, key.setting)
            except Unreadable as error:
                self._found.blame(self._text.spot((*path, one), key=True), *unreadable(name, key.setting, error))
        return made if len(self._found.mistakes) == before else None

    def _inner(self, path: KeyPath, table: Any, name: str, key: Key) -> dict[str, Any] | None:
        """Read a table of settings."""
        if not isinstance(table, dict) or not table:
            self._blame(path, f"{name} is a table", f"write {name} = {key.setting.example}")
            return None
        before = len(self._found.mistakes)
        self._unknown(path, table, key.inner, name)
        made = {one: self._setting(path, table, one, setting) for one, setting in key.inner.items() if one in table}
        return made if len(self._found.mistakes) == before else None

    def _unknown(self, path: KeyPath, table: Mapping[str, Any], known: Iterable[str], title: str) -> None:
        for key in table:
            if key not in known:
                spot = self._text.spot((*path, key), key=True)
                self._found.blame(spot, f"unknown key {key} in {title}", _hint(key, list(known), title))

    def _blame(self, path: KeyPath, message: str, hint: str) -> None:
        self._found.blame(self._text.spot(path), message, hint)


def _hint(key: str, known: list[str], title: str) -> str:
    """What to write instead of a key that is not known there."""
    homes = [name for name, keys in _TABLES.items() if key in keys]
    if homes and title != "query":
        return f"{key} belongs into {' or '.join(homes)}"
    close = difflib.get_close_matches(key, known, n=1)
    if close and key not in _MEANT:
        return f"did you mean {close[0]}?"
    return _MEANT.get(key) or f"{title} knows {', '.join(known)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
