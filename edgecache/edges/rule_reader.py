"""Reading tables of TOML by tables of keys: whatever is not as these say is kept as a mistake, with its place.

A value that could not be read is None, and never looked at again.

Callers: ``edges.rule_load`` and ``edges.rule_examples``.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, Final

from edgecache.edges.config_text import unreadable
from edgecache.edges.config_values import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgecache.edges.config_text import ConfigText, Mistakes
    from edgecache.edges.config_values import Kind, Setting
    from edgecache.edges.toml_location import Path as KeyPath

__all__ = ["TableReader", "quoted"]


def quoted(text: str) -> str:
    """Return a text as TOML has it."""
    return json.dumps(text, ensure_ascii=False)


class TableReader:
    """Reads tables of one file."""

    def __init__(self, text: ConfigText, found: Mistakes) -> None:
        self.text: Final = text
        self.found: Final = found

    def tables(self, name: str) -> list[tuple[KeyPath, dict[str, Any]]]:
        """Return the tables ``[[name]]`` with their places; what else has that name is a mistake."""
        content = self.text.document.get(name, [])
        if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
            spot = self.text.spot((name,), key=True)
            self.found.blame(spot, f"{name} is a list of tables", f"write [[{name}]] on a line of its own")
            return []
        return [((name, index), one) for index, one in enumerate(content)]

    def settings(self, path: KeyPath, table: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, Any]:
        """Return what was read for those of the settings that a table has."""
        return {
            name: self.value((*path, name), table[name], name, setting)
            for name, setting in settings.items()
            if name in table
        }

    def value(self, path: KeyPath, value: Any, name: str, setting: Setting, *, may_be_empty: bool = False) -> Any:
        """Read one value, or a list of them where that is wanted; of a list, one may stand alone."""
        if not setting.many:
            return self._one(path, value, name, setting)
        if not isinstance(value, list):
            one = self._one(path, value, name, setting)
            return None if one is None else (one,)
        if not value and not may_be_empty:
            self.blame(path, f"{name}: an empty list", f"leave {name} out, or write {name} = {setting.example}")
            return None
        values = [self._one((*path, index), one, name, setting) for index, one in enumerate(value)]
        return None if None in values else tuple(values)

    def _one(self, path: KeyPath, value: Any, name: str, setting: Setting) -> Any:
        try:
            made = setting.kind.read(value)
            setting.check_bounds(made)
        except Unreadable as error:
            self.blame(path, *unreadable(name, setting, error))
            return None
        return made

    def pairs(self, path: KeyPath, table: Any, name: str, names: Kind, setting: Setting) -> dict[str, Any] | None:
        """Read a table whose names are of one kind and whose values are of another."""
        if not isinstance(table, dict) or not table:
            self.blame(path, f"{name} is a table of names and values", f"write {name} = {setting.example}")
            return None
        made: dict[str, Any] = {}
        for one, value in table.items():
            spot = self.text.spot((*path, one), key=True)
            try:
                known = names.read(one)
            except Unreadable as error:
                self.found.blame(spot, f"{name}: {error}", error.hint)
                continue
            if known in made:
                self.found.blame(spot, f"{name}: {known} is there twice", "write it once; case does not count")
            made[known] = self._one((*path, one), value, name, setting)
        return made

    def unknown(self, path: KeyPath, table: Mapping[str, Any], known: Iterable[str], title: str) -> None:
        """Blame the keys of a table that it does not have."""
        known = list(known)
        for key in table:
            if key not in known:
                spot = self.text.spot((*path, key), key=True)
                self.found.blame(spot, f"unknown key {key} in {title}", self.hint(key, known, title))

    def hint(self, key: str, known: list[str], title: str) -> str:
        """Return what to write instead of a key that a table does not have."""
        close = difflib.get_close_matches(key, known, n=1)
        usual = (one for one in known if not one.startswith("unsafe_"))
        return f"did you mean {close[0]}?" if close else f"{title} knows {', '.join(usual)}"

    def blame(self, path: KeyPath, message: str, hint: str) -> None:
        """Keep a mistake about the value at a place."""
        self.found.blame(self.text.spot(path), message, hint)
