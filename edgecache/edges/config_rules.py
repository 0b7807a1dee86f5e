"""The rules of a configuration: those that stand in it, and those of the sets that it uses.

Which rules are in force is known when everything else has been read; whether examples in the configuration are met,
when there is a ``Config``, since they are tried over what ``[cache]`` says.

Callers: ``edges.config_load``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from edgecache.edges.config_text import RULE_TABLES
from edgecache.edges.rule_files import RuleFile, read_rule_file, read_rules, try_examples
from edgecache.edges.rulesets import is_path

if TYPE_CHECKING:
    from edgecache.edges.config import Config
    from edgecache.edges.config_draft import Draft

__all__ = ["InForce", "in_force", "tried"]

_USE: Final = ("rules", "use")


@dataclass(frozen=True, slots=True)
class InForce:
    """The rules of the configuration's own file, and the sets that are used, in order."""

    own: RuleFile | None
    sets: tuple[RuleFile, ...]


def in_force(draft: Draft) -> InForce:
    """Read every rule that is wanted; mistakes go into the draft."""
    own = None if draft.text is None else read_rules(draft.text, draft)
    words: tuple[str, ...] = draft.values.get(_USE, ())
    spots = draft.elements.get(_USE, [])
    sets = []
    for index, (word, spot) in enumerate(zip(words, spots, strict=False)):
        if word in words[:index]:
            draft.blame(spot, f"use: {word} is there twice", "write it once")
        elif (file := read_rule_file(word, draft, directory=spot.directory)) is not None:
            sets.append(file)
    return InForce(own, tuple(sets))


def tried(config: Config, ruled: InForce, draft: Draft) -> Config:
    """Return the configuration with its rules; examples that are not met go into the draft."""
    files = (*((ruled.own,) if ruled.own else ()), *ruled.sets)
    used = zip(config.rulebook.use, ruled.sets, strict=True)
    use = tuple(file.text.path if is_path(word) else word for word, file in used)
    config = msgspec.structs.replace(
        config,
        rulebook=msgspec.structs.replace(config.rulebook, use=use),
        rules=tuple(rule for file in files for rule in file.rules),
        inline={} if ruled.own is None else _tables(ruled.own),
        warnings=tuple(draft.warnings),
    )
    if ruled.own is not None:
        try_examples(ruled.own, config.rule_set(), draft)
    return config


def _tables(file: RuleFile) -> dict[str, list[dict[str, object]]]:
    return {name: file.text.document[name] for name in RULE_TABLES if name in file.text.document}
