"""Reading a configuration: defaults, then a file, then the environment, then the command line.

Theory
    A later source wins, value by value. Every source is read to its end and every mistake is kept, so that
    one run of ``edgecache check`` shows them all: each with the place where it stands, the line, and what to
    write instead. Only when there is none, a ``Config`` is made.

    Environment: ``EDGECACHE_<TABLE>_<KEY>``, lists separated by commas; an empty variable counts as absent.
    Tokens are not among them (``EDGECACHE_TOKEN`` is read by ``edges.tokens``).
    A name that begins with one of our tables and ends with no key is a mistake, unless Kubernetes made it:
    a service called ``edgecache-admin`` puts ``EDGECACHE_ADMIN_PORT`` and its like into every pod.

Callers: the commands. Raises ``ConfigMistakes``, which is a ``ConfigError``, and nothing else.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from edgecache.edges.config import GROUPS, TABLES, Admin, Config, Server, settings, table_of
from edgecache.edges.config_values import DIGEST, Setting, Unreadable
from edgecache.edges.toml_location import Place, Span, excerpt, line_and_column, locate
from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgecache.edges.toml_location import Path as KeyPath

__all__ = ["ConfigMistakes", "Flags", "Name", "load"]

Name: TypeAlias = tuple[str, str]
"""A table and a key of it; the table is ``cache`` or, in a group, ``tokens.NAME``."""

Flags: TypeAlias = dict[Name, tuple[str, str | tuple[str, ...]]]
"""What the command line says: for each setting the option's name and its value as typed."""

_ENVIRONMENT: Final = re.compile(rf"EDGECACHE_({'|'.join(TABLES)})_(\w+)", re.IGNORECASE)
_KUBERNETES: Final = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?")
_SYNTAX: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_SYNTAX_HINTS: Final = {
    "Invalid value": 'texts stand in double quotes: listen = "127.0.0.1:8080"',
    "Cannot overwrite a value": "each key stands once in its table",
}
_GROUP_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN: Final = 160  # characters of a line that an error still shows


class ConfigMistakes(ConfigError):
    """Everything that is wrong with a configuration; ``mistakes`` has at least one, in the order of reading."""

    def __init__(self, mistakes: Iterable[ConfigError]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(f"{mistake.where}: {mistake.message}" for mistake in self.mistakes))


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a value was given: as ``--dump`` says it, as an error says it, and the line with its carets."""

    source: str
    where: str
    line: str = ""


@dataclass(slots=True)
class _Draft:
    """What has been read so far. A setting that could not be read has a spot, and no value.
    ``groups`` are the tables of groups, by ``tokens.NAME``.
    """

    values: dict[Name, Any] = field(default_factory=dict)
    spots: dict[Name, _Spot] = field(default_factory=dict)
    groups: dict[str, _Spot] = field(default_factory=dict)
    mistakes: list[ConfigError] = field(default_factory=list)

    def blame(self, spot: _Spot, message: str, hint: str) -> None:
        self.mistakes.append(ConfigError(message, where=spot.where, line=spot.line, hint=hint))

    def take(self, name: Name, spot: _Spot, given: Iterable[tuple[Any, _Spot]], read: Callable[[Any], Any]) -> None:
        """Read what was given for a setting: one value with its spot, or each element of a list with its own."""
        setting, values, before = settings(table_of(name[0]))[name[1]], [], len(self.mistakes)
        self.spots[name] = spot
        for raw, place in given:
            try:
                values.append(read(raw))
                setting.check_bounds(values[-1])
            except Unreadable as error:
                if setting.kind is DIGEST:  # somebody may have written the secret itself
                    place = replace(place, line="")
                self.blame(place, *_unreadable(name[1], setting, error))
        if len(self.mistakes) == before:
            self.values[name] = tuple(values) if setting.many else values[0]


def load(path: str | None = None, *, environ: Mapping[str, str] | None = None, flags: Flags | None = None) -> Config:
    """Return the configuration made of these sources; raise ``ConfigMistakes``.

    Args:
        path: the TOML file, or None to do without.
        environ: environment variables.
        flags: options of the command line.
    """
    draft = _Draft()
    readable = path is None or _read_file(draft, path)
    _read_environment(draft, environ or {})
    _read_flags(draft, flags or {})
    if readable:
        _check_together(draft, path)
    if draft.mistakes:
        raise ConfigMistakes(draft.mistakes)
    tree: dict[str, dict[str, Any]] = {name: {} for name in (*TABLES, *draft.groups)}
    for (table, key), value in draft.values.items():
        tree[table][key] = value
    for name in draft.groups:
        group, _, one = name.partition(".")
        tree.setdefault(group, {})[one] = tree.pop(name)
    sources = {f"{table}.{key}": spot.source for (table, key), spot in draft.spots.items()}
    return msgspec.convert({**tree, "sources": sources}, Config)


# The file.


def _read_file(draft: _Draft, path: str) -> bool:
    """Read what a file says; False when it cannot be read at all."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text)
    except OSError as error:
        hint = "edgecache proxy --to URL needs no file" if isinstance(error, FileNotFoundError) else ""
        draft.blame(_Spot(path, path), f"cannot be read: {error.strerror}", hint)
    except UnicodeDecodeError as error:
        draft.blame(_Spot(path, path), f"byte {error.start} is not UTF-8", "save the file as UTF-8")
    except RecursionError:
        draft.mistakes.append(_syntax_error(path, text, "nested too deeply"))
    except ValueError as error:  # TOMLDecodeError, or a number with more digits than int() reads
        draft.mistakes.append(_syntax_error(path, text, str(error)))
    else:
        _File(draft, path, text, locate(text)).tables(document)
        return True
    return False


def _syntax_error(path: str, text: str, complaint: str) -> ConfigError:
    """What ``tomllib`` found, with the line it stopped at."""
    found = _SYNTAX.fullmatch(complaint)
    message = found[1] if found else complaint
    offset = len(text.rstrip())
    if found and found[2]:
        starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
        offset = min(starts[int(found[2]) - 1] + int(found[3]) - 1, len(text))
    line, column = line_and_column(text, offset)
    return ConfigError(
        f"not TOML: {message[:1].lower()}{message[1:]}",
        where=f"{path}:{line}:{column}",
        line=_shortened(excerpt(text, Span(offset, offset))),
        hint=_SYNTAX_HINTS.get(message, ""),
    )


@dataclass(frozen=True, slots=True)
class _File:
    """One parsed file and the places of what is in it."""

    draft: _Draft
    path: str
    text: str
    places: dict[KeyPath, Place]

    def tables(self, document: dict[str, Any]) -> None:
        for name, content in document.items():
            if name in GROUPS:
                self.group(name, content)
            elif name not in TABLES:
                self.draft.blame(self.spot((name,), key=True), *_unknown_table(name, content))
            elif not isinstance(content, dict):
                self.draft.blame(self.spot((name,)), f"{name} is a table", f"write [{name}] on a line of its own")
            else:
                self.table(name, content)

    def group(self, group: str, content: object) -> None:
        """Read ``[group.NAME]`` tables."""
        if not isinstance(content, dict) or not content:
            hint = f"write [{group}.NAME] on a line of its own"
            self.draft.blame(self.spot((group,)), f"{group} are tables with names", hint)
            return
        for one, inner in content.items():
            spot = self.spot((group, one))
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
                self.draft.blame(self.spot((*name.split("."), key), key=True), *_unknown_key(name, key))

    def value(self, name: Name, setting: Setting, value: object) -> None:
        path = (*name[0].split("."), name[1])
        spot = self.spot(path)
        if not setting.many:
            self.draft.take(name, spot, [(value, spot)], setting.kind.read)
        elif isinstance(value, list):
            elements = [(element, self.spot((*path, index))) for index, element in enumerate(value)]
            self.draft.take(name, spot, elements, setting.kind.read)
        else:
            self.draft.spots[name] = spot
            hint = f"expected a list, each {setting.kind.noun}; an example: {name[1]} = {setting.example}"
            self.draft.blame(spot, f"{name[1]}: not a list", hint)

    def spot(self, path: KeyPath, *, key: bool = False) -> _Spot:
        place = self.places[path]
        span = place.key if key else place.value
        line, column = line_and_column(self.text, span.start)
        lines = _shortened(excerpt(self.text, span))
        return _Spot(f"{self.path}:{line}", f"{self.path}:{line}:{column}", lines)


# The environment and the command line.


def _read_environment(draft: _Draft, environ: Mapping[str, str]) -> None:
    for variable, text in sorted(environ.items()):
        found = _ENVIRONMENT.fullmatch(variable)
        if not found or not text or _KUBERNETES.fullmatch(found[2]):
            continue
        name, spot = (found[1].lower(), found[2].lower()), _Spot(variable, f"environment variable {variable}")
        if name[1] in settings(TABLES[name[0]]):
            _take_words(draft, name, spot, text)
        else:
            draft.blame(spot, *_unknown_key(*name))


def _read_flags(draft: _Draft, flags: Flags) -> None:
    for name, (option, given) in flags.items():
        _take_words(draft, name, _Spot(option, option), given)


def _take_words(draft: _Draft, name: Name, spot: _Spot, given: str | tuple[str, ...]) -> None:
    """Read a value given as text. A list is several texts, or one with commas."""
    setting = settings(TABLES[name[0]])[name[1]]
    texts = (given,) if isinstance(given, str) else given
    words = [word.strip() for text in texts for word in text.split(",")] if setting.many else texts
    draft.take(name, spot, [(word, spot) for word in words], setting.kind.read_word)


# What no single value can be blamed for.


_PAIRS: Final = (("server", "tls_key", "tls_cert"), ("origin", "key_file", "cert_file"))


def _check_together(draft: _Draft, path: str | None) -> None:
    for table, key, certificate in _PAIRS:
        if (table, key) in draft.spots and (table, certificate) not in draft.spots:
            spot = draft.spots[table, key]
            draft.blame(spot, f"{key} is given without {certificate}", f"add {certificate} to [{table}]")
    _check_origin(draft, path)
    _check_listeners(draft)
    for name in draft.groups:
        _check_token(draft, name)


def _check_origin(draft: _Draft, path: str | None) -> None:
    urls, host = ("origin", "urls"), ("origin", "host")
    spot = draft.spots.get(urls) or _Spot("", path or "origin")
    if urls not in draft.spots or draft.values.get(urls) == ():
        draft.blame(spot, "no origin is given", 'write urls = ["http://127.0.0.1:8000"] under [origin]')
    elif draft.values.get(host) == "origin" and not _names_one_host(draft.values.get(urls, ())):
        hint = 'write the name that they answer to, as in host = "www.example.org", or host = "keep"'
        draft.blame(draft.spots[host], "the origin's own name is not one name", hint)


def _names_one_host(urls: tuple[str, ...]) -> bool:
    return len({urlsplit(url).netloc for url in urls}) == 1 and urlsplit(urls[0]).scheme.startswith("http")


def _check_listeners(draft: _Draft) -> None:
    public = draft.values.get(("server", "listen"), Server().listen)
    admin = draft.values.get(("admin", "listen"), Admin().listen)
    if public == admin and not public.endswith(":0"):
        spot = draft.spots.get(("admin", "listen")) or draft.spots["server", "listen"]
        draft.blame(spot, f"[server] and [admin] both listen on {public}", "give one of them another port")


def _check_token(draft: _Draft, name: str) -> None:
    spot, digest, everything = draft.groups[name], (name, "sha256"), (name, "all")
    if digest not in draft.spots:
        draft.blame(spot, f"[{name}] has no sha256", 'write what this prints: printf %s "$SECRET" | sha256sum')
    for other in itertools.takewhile(lambda one: one != name, draft.groups):
        if digest in draft.values and draft.values.get((other, "sha256")) == draft.values[digest]:
            draft.blame(draft.spots[digest], f"[{other}] has the same sha256", "give each token a secret of its own")
    limits = [one for one in ((name, "hosts"), (name, "tag_prefixes")) if one in draft.spots]
    limits = [one for one in limits if draft.values.get(one) != ()]
    if draft.values.get(everything):
        for limit in limits:
            draft.blame(draft.spots[limit], f"all = true lifts {limit[1]}", "leave one of the two out")
    elif not limits and (everything in draft.values or everything not in draft.spots):
        draft.blame(spot, f"[{name}] may purge nothing", "give it hosts, tag_prefixes, or all = true")


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
    if not isinstance(content, dict):
        homes = [table for table in TABLES if name in settings(TABLES[table])]
        return f"{name} stands outside of every table", f"move it under {_tables(homes or list(TABLES))}"
    known = [*TABLES, *(f"{group}.NAME" for group in GROUPS)]
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown table [{name}]", f"did you mean [{close[0]}]?" if close else f"the tables are {_tables(known)}"


def _tables(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}]" for name in names)


def _unreadable(key: str, setting: Setting, error: Unreadable) -> tuple[str, str]:
    """Message and hint for a value that is not of its kind, or out of bounds."""
    expected = error.hint or f"expected {setting.kind.noun}"
    return f"{key}: {error}", f"{expected}; an example: {key} = {setting.example}"


def _shortened(lines: str) -> str:
    """Both lines of an excerpt, without what is too long for a terminal; empty when the carets would be lost."""
    line, carets = lines.split("\n")
    if carets.index("^") >= _SHOWN:
        return ""
    return f"{line[:_SHOWN]}\n{carets[:_SHOWN]}"
