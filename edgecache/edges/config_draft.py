"""What has been read of a configuration so far, and everything that is wrong with it.

Callers: ``edges.config_load``, which fills it, and ``edges.config_checks``, which looks at it as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from edgecache.edges.config import settings, table_of
from edgecache.edges.config_values import Unreadable
from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgecache.edges.config_values import Setting

__all__ = ["Draft", "Name", "Spot"]

Name: TypeAlias = tuple[str, str]
"""A table and a key of it; the table is ``cache`` or, in a group, ``tokens.NAME``."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value was given: as ``--dump`` says it, as an error says it, and the line with its carets."""

    source: str
    where: str
    line: str = ""


@dataclass(slots=True)
class Draft:
    """What has been read so far. A setting that could not be read has a spot, and no value.
    ``groups`` are the tables of groups, by ``tokens.NAME``.
    """

    values: dict[Name, Any] = field(default_factory=dict)
    spots: dict[Name, Spot] = field(default_factory=dict)
    groups: dict[str, Spot] = field(default_factory=dict)
    mistakes: list[ConfigError] = field(default_factory=list)

    def blame(self, spot: Spot, message: str, hint: str) -> None:
        """Keep a mistake."""
        self.mistakes.append(ConfigError(message, where=spot.where, line=spot.line, hint=hint))

    def take(self, name: Name, spot: Spot, given: Iterable[tuple[Any, Spot]], read: Callable[[Any], Any]) -> None:
        """Read what was given for a setting: one value with its spot, or each element of a list with its own."""
        setting, values, before = settings(table_of(name[0]))[name[1]], [], len(self.mistakes)
        self.spots[name] = spot
        for raw, place in given:
            try:
                values.append(read(raw))
                setting.check_bounds(values[-1])
            except Unreadable as error:
                self.blame(place, *_unreadable(name[1], setting, error))
        if len(self.mistakes) == before:
            self.values[name] = tuple(values) if setting.many else values[0]


def _unreadable(key: str, setting: Setting, error: Unreadable) -> tuple[str, str]:
    """Message and hint for a value that is not of its kind, or out of bounds."""
    expected = error.hint or f"expected {setting.kind.noun}"
    return f"{key}: {error}", f"{expected}; an example: {key} = {setting.example}"
