"""Reading a configuration: defaults, then a file, then the environment, then the command line.

Theory
    A later source wins, value by value. Every source is read to its end and every mistake is kept, so that
    one run of ``edgecache check`` shows them all: each with the place where it stands, the line, and what to
    write instead. Only when there is none, a ``Config`` is made.

    Environment: ``EDGECACHE_<TABLE>_<KEY>``, lists separated by commas; an empty variable counts as absent.
    Tokens are not among them (``EDGECACHE_TOKEN`` is read by ``edges.tokens``).
    A name that begins with one of our tables and ends with no key is a mistake, unless Kubernetes made it:
    a service called ``edgecache-admin`` puts ``EDGECACHE_ADMIN_PORT`` and its like into every pod.

    No error shows a secret: a line of the file in which one may stand is not repeated.

Callers: the commands. Raises ``ConfigMistakes``, which is a ``ConfigError``, and nothing else.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from edgecache.edges.config import GROUPS, TABLES, Config, attribute_of, settings, table_of
from edgecache.edges.config_checks import check_together
from edgecache.edges.config_draft import Draft, Name
from edgecache.edges.config_rules import in_force, tried
from edgecache.edges.config_text import HIDING, RULE_TABLES, Spot, read_text
from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgecache.edges.config_text import ConfigText
    from edgecache.edges.config_values import Setting

__all__ = ["ConfigMistakes", "Flags", "Name", "load"]

Flags: TypeAlias = dict[Name, tuple[str, str | tuple[str, ...]]]
"""What the command line says: for each setting the option's name and its value as typed."""

_ENVIRONMENT: Final = re.compile(rf"EDGECACHE_({'|'.join(TABLES)})_(\w+)", re.IGNORECASE)
_KUBERNETES: Final = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?")
_GROUP_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ConfigMistakes(ConfigError):
    """Everything that is wrong with a configuration; ``mistakes`` has at least one, in the order of reading."""

    def __init__(self, mistakes: Iterable[ConfigError]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(f"{mistake.where}: {mistake.message}" for mistake in self.mistakes))


def load(path: str | None = None, *, environ: Mapping[str, str] | None = None, flags: Flags | None = None) -> Config:
    """Return the configuration made of these sources; raise ``ConfigMistakes``.

    Args:
        path: the TOML file, or None to do without.
        environ: environment variables.
        flags: options of the command line.
    """
    draft = Draft()
    if path is not None:
        draft.text = read_text(path, draft, "edgecache proxy --to URL needs no file")
    if draft.text is not None:
        _File(draft, draft.text).tables()
    _read_environment(draft, environ or {})
    _read_flags(draft, flags or {})
    if path is None or draft.text is not None:
        check_together(draft, path)
    ruled = in_force(draft)
    if draft.mistakes:
        raise ConfigMistakes(draft.mistakes)
    tree: dict[str, dict[str, Any]] = {name: {} for name in (*TABLES, *draft.groups)}
    for (table, key), value in draft.values.items():
        tree[table][key] = value
    for name in draft.groups:
        group, _, one = name.partition(".")
        tree.setdefault(group, {})[one] = tree.pop(name)
    sources = {f"{table}.{key}": spot.source for (table, key), spot in draft.spots.items()}
    tables = {attribute_of(name): content for name, content in tree.items()}
    config = tried(msgspec.convert({**tables, "sources": sources}, Config), ruled, draft)
    if draft.mistakes:
        raise ConfigMistakes(draft.mistakes)
    return config


# The file.


@dataclass(frozen=True, slots=True)
class _File:
    """One parsed file; what is in its tables goes into the draft."""

    draft: Draft
    text: ConfigText

    def tables(self) -> None:
        for name, content in self.text.document.items():
            if name in RULE_TABLES:
                continue  # read when it is known which rules there are (``config_rules``)
            if name in GROUPS:
                self.group(name, content)
            elif name not in TABLES:
                self.draft.blame(self.text.spot((name,), key=True), *_unknown_table(name, content))
            elif not isinstance(content, dict):
                spot = self.text.spot((name,), hides=name in HIDING)
                self.draft.blame(spot, f"{name} is a table", f"write [{name}] on a line of its own")
            else:
                self.table(name, content)

    def group(self, group: str, content: object) -> None:
        """Read ``[group.NAME]`` tables."""
        if not isinstance(content, dict) or not content:
            hint = f"write [{group}.NAME] on a line of its own"
            spot = self.text.spot((group,), hides=isinstance(content, str))
            self.draft.blame(spot, f"{group} are tables with names", hint)
            return
        for one, inner in content.items():
            spot = self.text.spot((group, one), hides=isinstance(inner, str))
            if not isinstance(inner, dict):
                self.draft.blame(spot, f"{group}.{one} is a table", f"write [{group}.NAME] on a line of its own")
            elif not _GROUP_NAME.fullmatch(one):
                self.draft.blame(spot, f"{json.dumps(one)} is not a name", "letters, digits, - and _, at most 64")
            else:
                self.draft.groups[f"{group}.{one}"] = spot
                self.table(f"{group}.{one}", inner)

    def table(self, name: str, content: dict[str, Any]) -> None:
        known = settings(table_of(name))
        for key, value in content.items():
            if key in known:
                self.value((name, key), known[key], value)
            else:
                hides = name.partition(".")[0] in HIDING  # it may be a secret's key, misspelt
                spot = self.text.spot((*name.split("."), key), key=True, hides=hides)
                self.draft.blame(spot, *_unknown_key(name, key))

    def value(self, name: Name, setting: Setting, value: object) -> None:
        path = (*name[0].split("."), name[1])
        spot = self.text.spot(path, hides=bool(setting.kind.hide))
        if not setting.many:
            self.draft.take(name, spot, [(value, spot)], setting.kind.read)
        elif isinstance(value, list):
            places = [self.text.spot((*path, index), hides=bool(setting.kind.hide)) for index in range(len(value))]
            elements = list(zip(value, places, strict=True))
            self.draft.take(name, spot, elements, setting.kind.read)
        else:
            self.draft.spots[name] = spot
            hint = f"expected a list, each {setting.kind.noun}; an example: {name[1]} = {setting.example}"
            self.draft.blame(spot, f"{name[1]}: not a list", hint)


# The environment and the command line.


def _read_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    for variable, text in sorted(environ.items()):
        found = _ENVIRONMENT.fullmatch(variable)
        if not found or not text or _KUBERNETES.fullmatch(found[2]):
            continue
        name, spot = (found[1].lower(), found[2].lower()), Spot(variable, f"environment variable {variable}")
        if name[1] in settings(TABLES[name[0]]):
            _take_words(draft, name, spot, text)
        else:
            draft.blame(spot, *_unknown_key(*name))


def _read_flags(draft: Draft, flags: Flags) -> None:
    for name, (option, given) in flags.items():
        _take_words(draft, name, Spot(option, option), given)


def _take_words(draft: Draft, name: Name, spot: Spot, given: str | tuple[str, ...]) -> None:
    """Read a value given as text. A list is several texts, or one with commas."""
    setting = settings(TABLES[name[0]])[name[1]]
    texts = (given,) if isinstance(given, str) else given
    words = [word.strip() for text in texts for word in text.split(",")] if setting.many else texts
    draft.take(name, spot, [(word, spot) for word in words], setting.kind.read_word)


# Words.


def _unknown_key(table: str, key: str) -> tuple[str, str]:
    """Message and hint for a key that the table does not have."""
    known = list(settings(table_of(table)))
    homes = [name for name in TABLES if key in settings(TABLES[name])]
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        hint = f"did you mean {close[0]}?"
    elif homes:
        hint = f"{key} belongs to {_tables(homes)}"
    else:
        hint = f"[{table}] knows {', '.join(known)}"
    return f"unknown key {key} in [{table}]", hint


def _unknown_table(name: str, content: object) -> tuple[str, str]:
    """Message and hint for a name at the top of the file that is no table of ours."""
    is_list = isinstance(content, list) and all(isinstance(one, dict) for one in content)
    if not isinstance(content, dict) and not is_list:
        homes = [table for table in TABLES if name in settings(TABLES[table])]
        return f"{name} stands outside of every table", f"move it under {_tables(homes or list(TABLES))}"
    known = {table: f"[{table}]" for table in (*TABLES, *(f"{group}.NAME" for group in GROUPS))}
    known |= {table: f"[[{table}]]" for table in RULE_TABLES}
    close = difflib.get_close_matches(name, known, n=1)
    message = f"unknown table {f'[[{name}]]' if is_list else f'[{name}]'}"
    return message, f"did you mean {known[close[0]]}?" if close else f"the tables are {', '.join(known.values())}"


def _tables(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}]" for name in names)
