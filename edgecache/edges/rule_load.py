"""Reading rules: from the ``[[rule]]`` tables of a TOML file to ``semantics.rules.Rule``.

Theory
    Reading is driven by ``rule_tables``. Nothing stops at the first mistake. ``rule_checks`` looks at the rules that
    could be read, one by one and together.

    ``Written`` is a rule with the place where it stands, so that whoever finds fault with it later can point at it.

Callers: ``edges.rule_files``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgecache.edges.rule_reader import TableReader, quoted
from edgecache.edges.rule_tables import MATCH, RULE, SET, Key
from edgecache.semantics.rules import Match, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgecache.edges.toml_location import Path as KeyPath

__all__ = ["RuleReader", "Written"]

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


class RuleReader(TableReader):
    """Reads the rules of one file."""

    def rules(self) -> list[Written]:
        """Return the rules that could be read, in the order of the file."""
        written: list[Written] = []
        names: set[str] = set()
        for path, table in self.tables("rule"):
            before = len(self.found.mistakes)
            rule = self._rule(path, table)
            if rule.name in names:
                self.blame((*path, "name"), f"another rule is called {quoted(rule.name)}", "give each its own name")
            names |= {rule.name} - {""}
            if len(self.found.mistakes) == before:
                written.append(Written(rule, path, table))
        return written

    def _rule(self, path: KeyPath, table: dict[str, Any]) -> Rule:
        self.unknown(path, table, [*RULE, *_TABLES], "[[rule]]")
        own = self.settings(path, table, RULE)
        if "name" not in table:
            self.blame(path, "a rule without a name", f"write name = {RULE['name'].example} in it")
        if table.get("set", {}) == {}:
            self.blame(path, "a rule that sets nothing", f"write {_EXAMPLES['set']} in it")
        parts = {part: self._part(path, table, part) for part in _TABLES}
        return Rule(
            name=own.get("name") or "",
            settings=parts["set"],
            match=Match(**parts["match"]),
            unless=Match(**parts["unless"]),
            source=self.text.spot(path).source,
            priority=own.get("priority") or 0,
        )

    def _part(self, path: KeyPath, table: dict[str, Any], part: str) -> dict[str, Any]:
        """Return fields and values of ``match``, ``unless`` or ``set``."""
        content, keys, path = table.get(part, {}), _TABLES[part], (*path, part)
        if not isinstance(content, dict):
            self.blame(path, f"{part} is a table", f"write {_EXAMPLES[part]}")
            return {}
        self.unknown(path, content, keys, part)
        made = {}
        for name in [one for one in content if one in keys]:
            key, before = keys[name], len(self.found.mistakes)
            value = self._value((*path, name), content[name], name, key)
            if len(self.found.mistakes) == before:
                made[key.field] = key.made(value)
        return made

    def _value(self, path: KeyPath, value: Any, name: str, key: Key) -> Any:
        if key.names is not None:
            return self.pairs(path, value, name, key.names, key.setting)
        if not key.inner:
            return self.value(path, value, name, key.setting)
        if not isinstance(value, dict) or not value:
            self.blame(path, f"{name} is a table", f"write {name} = {key.setting.example}")
            return None
        self.unknown(path, value, key.inner, name)
        return self.settings(path, value, key.inner)

    def hint(self, key: str, known: list[str], title: str) -> str:
        """As of every table; and where a key belongs that is another table's, or another program's."""
        homes = [name for name, keys in _TABLES.items() if key in keys]
        if homes and title != "query":
            return f"{key} belongs into {' or '.join(homes)}"
        return _MEANT.get(key) or TableReader.hint(self, key, known, title)
