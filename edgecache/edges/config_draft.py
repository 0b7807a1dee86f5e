"""What has been read of a configuration so far, and everything that is wrong with it.

Callers: ``edges.config_load``, which fills it, and ``edges.config_checks``, which looks at it as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from edgecache.edges.config import settings, table_of
from edgecache.edges.config_text import Mistakes, Spot, unreadable
from edgecache.edges.config_values import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgecache.edges.config_text import ConfigText

__all__ = ["Draft", "Name"]

Name: TypeAlias = tuple[str, str]
"""A table and a key of it; the table is ``cache`` or, in a group, ``tokens.NAME``."""


@dataclass(slots=True)
class Draft(Mistakes):
    """What has been read so far. A setting that could not be read has a spot, and no value.

    Attributes:
        values: what was given, by table and key.
        spots: where.
        elements: where each element of a list was given.
        groups: the tables of groups, by ``tokens.NAME``.
        text: the file, if there is one; the rules in it are read later.
    """

    values: dict[Name, Any] = field(default_factory=dict)
    spots: dict[Name, Spot] = field(default_factory=dict)
    elements: dict[Name, list[Spot]] = field(default_factory=dict)
    groups: dict[str, Spot] = field(default_factory=dict)
    text: ConfigText | None = None

    def take(self, name: Name, spot: Spot, given: Iterable[tuple[Any, Spot]], read: Callable[[Any], Any]) -> None:
        """Read what was given for a setting: one value with its spot, or each element of a list with its own."""
        setting, values, before = settings(table_of(name[0]))[name[1]], [], len(self.mistakes)
        self.spots[name], self.elements[name] = spot, []
        for raw, place in given:
            self.elements[name].append(place)
            try:
                values.append(read(raw))
                setting.check_bounds(values[-1])
            except Unreadable as error:
                self.blame(place, *unreadable(name[1], setting, error))
        if len(self.mistakes) == before:
            self.values[name] = tuple(values) if setting.many else values[0]
