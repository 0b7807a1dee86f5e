"""Rule files, and the rules in a configuration: reading them whole, and trying their examples.

Theory
    The examples of a file, shipped or of the operator's own, are tried with the rules of that file alone and nothing
    configured: they say what the file means wherever it is used. Examples in a configuration are tried with all rules
    that are in force there, over what ``[cache]`` says.

    A file is a mistake as a whole: its examples are tried only when everything in it could be read.

Callers: ``edges.config_load``, ``edgecache check`` and ``edgecache rules``.
"""

from __future__ import annotations

import difflib
import os.path
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecache.edges.config_text import RULE_TABLES, ConfigText, Mistakes, Spot, parse_text, read_text
from edgecache.edges.config_values import Unreadable
from edgecache.edges.rule_checks import check_rules
from edgecache.edges.rule_examples import Example, ExampleReader
from edgecache.edges.rule_load import RuleReader
from edgecache.edges.rulesets import RULES, is_path, shipped, text_of
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.rules import Rule, RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edgecache.errors import ConfigError

__all__ = ["RuleFile", "read_named", "read_rule_file", "read_rules", "try_examples"]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What a file says: its rules, and its examples."""

    text: ConfigText
    rules: tuple[Rule, ...]
    examples: tuple[Example, ...]


def read_rule_file(word: str, found: Mistakes, *, directory: str = "") -> RuleFile | None:
    """Return the rules of a shipped set or of a file, its examples having been tried; None when there are mistakes.

    ``word`` is a name or a path, which is relative to ``directory``.
    """
    before = len(found.mistakes)
    text = _text(word, found, directory)
    if text is None:
        return None
    file = read_rules(text, found, is_alone=True)
    if len(found.mistakes) == before:
        if not file.examples:
            found.warn(Spot(text.path, text.path), "no example shows what these rules do", "write [[example]] tables")
        try_examples(file, RuleSet(DEFAULT, file.rules), found)
    return file if len(found.mistakes) == before else None


def read_named(words: Iterable[str], found: Mistakes) -> Iterator[tuple[str, RuleFile]]:
    """Yield what people name, shipped sets and files, each with its rules; without those that are mistakes."""
    for word in words:
        try:
            RULES.read_word(word)
        except Unreadable as error:
            found.blame(Spot(word, word), str(error), error.hint)
            continue
        file = read_rule_file(word, found)
        if file is not None:
            yield word, file


def read_rules(text: ConfigText, found: Mistakes, *, is_alone: bool = False) -> RuleFile:
    """Return the rules and examples of a text; what could not be read is left out, and a mistake.

    ``is_alone`` says that nothing else may stand in it.
    """
    before = len(found.mistakes)
    if is_alone:
        _check_tables(text, found)
    rules = RuleReader(text, found).rules()
    check_rules(text, rules, found)
    examples = ExampleReader(text, found).examples()
    found.mistakes[before:] = _in_order(found.mistakes[before:])
    return RuleFile(text, tuple(written.rule for written in rules), tuple(examples))


def try_examples(file: RuleFile, rules: RuleSet, found: Mistakes) -> None:
    """Blame every expectation of a file's examples that is not met under these rules."""
    ExampleReader(file.text, found).attempt(file.examples, rules)


def _text(word: str, found: Mistakes, directory: str) -> ConfigText | None:
    if is_path(word):
        return read_text(
            os.path.normpath(os.path.join(directory, word)), found, f"the shipped sets are {', '.join(shipped())}"
        )
    return parse_text(f"{word}.toml", text_of(word), found)


def _check_tables(text: ConfigText, found: Mistakes) -> None:
    for name in text.document:
        if name not in RULE_TABLES:
            close = difflib.get_close_matches(name, RULE_TABLES, n=1)
            hint = f"did you mean [[{close[0]}]]?" if close else "it has [[rule]] and [[example]]"
            found.blame(text.spot((name,), key=True), f"unknown table {name} in a rule file", hint)


def _in_order(mistakes: Sequence[ConfigError]) -> list[ConfigError]:
    """Return the mistakes of one file in the order of their places."""
    return sorted(mistakes, key=lambda one: [int(part) for part in one.where.split(":")[-2:] if part.isdecimal()])
