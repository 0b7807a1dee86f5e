"""The rules of a configuration: those that stand in it, and those of the sets that it uses.

Which rules are in force is known when everything else has been read; whether examples in the configuration are met,
when there is a ``Config``, since they are tried over what ``[cache]`` says.

Callers: ``edges.config_load``.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from edgecache.assets import Manifest, asset_names, read_manifest_file
from edgecache.edges.config_text import RULE_TABLES
from edgecache.edges.rule_files import RuleFile, read_rule_file, read_rules, try_examples
from edgecache.edges.rulesets import is_path, mounted
from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from edgecache.edges.config import Config
    from edgecache.edges.config_draft import Draft

__all__ = ["InForce", "in_force", "tried"]

_USE: Final = ("rules", "use")
_MANIFESTS: Final = ("rules", "manifests")


@dataclass(frozen=True, slots=True)
class InForce:
    """What was read.

    Attributes:
        own: the rules of the configuration's own file.
        sets: the sets that are used, in order.
        manifests: the manifests, each with its base and the path under which it was found.
    """

    own: RuleFile | None
    sets: tuple[RuleFile, ...]
    manifests: tuple[tuple[str, str, Manifest], ...]


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
    return InForce(own, tuple(sets), tuple(_manifests(draft)))


def _manifests(draft: Draft) -> Iterator[tuple[str, str, Manifest]]:
    """Read the manifests; what is wrong with one is a mistake where it is named."""
    words: tuple[str, ...] = draft.values.get(_MANIFESTS, ())
    for word, spot in zip(words, draft.elements.get(_MANIFESTS, []), strict=False):
        base, path = mounted(word)
        path = os.path.normpath(os.path.join(spot.directory, path))
        try:
            yield base, path, read_manifest_file(path)
        except ConfigError as error:
            draft.blame(spot, f"manifests: {path} {error.message}", error.hint)


def tried(config: Config, ruled: InForce, draft: Draft) -> Config:
    """Return the configuration with its rules; examples that are not met go into the draft."""
    files = (*((ruled.own,) if ruled.own else ()), *ruled.sets)
    used = zip(config.rulebook.use, ruled.sets, strict=True)
    use = tuple(file.text.path if is_path(word) else word for word, file in used)
    manifests = tuple(f"{base}={path}" for base, path, _ in ruled.manifests)
    config = msgspec.structs.replace(
        config,
        rulebook=msgspec.structs.replace(config.rulebook, use=use, manifests=manifests),
        rules=tuple(rule for file in files for rule in file.rules),
        assets=asset_names((base, manifest) for base, _, manifest in ruled.manifests) if manifests else None,
        inline={} if ruled.own is None else _tables(ruled.own),
        warnings=tuple(draft.warnings),
    )
    if ruled.own is not None:
        try_examples(ruled.own, config.rule_set(), draft)
    return config


def _tables(file: RuleFile) -> dict[str, list[dict[str, object]]]:
    return {name: file.text.document[name] for name in RULE_TABLES if name in file.text.document}
