"""Where in a TOML document each key and each value stands, so that an error can point at it.

Theory
    ``tomllib`` gives values without their places. This scanner gives the places without the values: it
    walks the same text once and notes, for every path, the span of the key and the span of its value.
    It decides nothing about validity; that is ``tomllib``'s work, which is done first.

Invariants
    * For a document that ``tomllib`` accepts, every path of the parsed document has a place, and no other
      path has one (``tests/edges/test_toml_location.py``).
    * For any other text it returns what it saw before it lost the thread, and never raises.

Callers: ``edges.config_load`` and whoever else reads TOML that people write.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["Path", "Place", "Span", "excerpt", "line_and_column", "locate"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and array indexes from the root: ``("origin", "urls", 0)``."""


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets into the text, in characters; ``end`` is exclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key and its value stand. A table header has itself as value; an element has itself as key."""

    key: Span
    value: Span


_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_KEY_PART: Final = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\[^\n])*\"|'[^'\n]*'")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'  # up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\[^\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE: Final = re.compile(r"[^,\]}#\n]+")
_MAX_DEPTH: Final = 100  # tomllib's own recursion limit is of this order; people nest three deep


class _Lost(Exception):
    """The text is not TOML from here on."""


def locate(text: str) -> dict[Path, Place]:
    """Return the place of every key and array element in ``text``, by path."""
    scanner = _Scanner(text)
    try:
        scanner.document()
    except _Lost:
        return scanner.places
    return scanner.places


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return the line and the column of an offset, both counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def excerpt(text: str, span: Span) -> str:
    """Return the line on which a span begins and, under it, carets below the span's part of that line."""
    begin = text.rfind("\n", 0, span.start) + 1
    end = text.find("\n", span.start)
    line = text[begin : end if end >= 0 else len(text)].rstrip("\r")
    before = line[: span.start - begin]
    padding = "".join("\t" if character == "\t" else " " for character in before)
    length = min(span.end - begin, len(line)) - len(before)
    return f"{line}\n{padding}{'^' * max(1, length)}"


class _Scanner:
    """One walk over one text. ``at`` is the offset reached; ``places`` grows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[Path, Place] = {}
        self.array_tables: dict[Path, int] = {}  # [[path]]: index of the last one opened

    def document(self) -> None:
        table: Path = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table, 0)
            self.skip(_BLANK)

    def header(self) -> Path:
        """``[a.b]`` or ``[[a.b]]``: return the path that the following keys belong to."""
        start = self.at
        double = self.text.startswith("[[", start)
        self.at += 2 if double else 1
        *parents, last = [key for key, _ in self.key()]
        self.expect("]]" if double else "]")
        path: Path = ()
        place = Place(Span(start, self.at), Span(start, self.at))
        for name in parents:
            self.places.setdefault((*path, name), place)
            path = self.current((*path, name))
        path = (*path, last)
        if double:
            self.array_tables[path] = self.array_tables.get(path, -1) + 1
            self.places.setdefault(path, place)
        path = self.current(path)
        self.places[path] = place
        return path

    def current(self, path: Path) -> Path:
        """The path itself, or its last element when it is an array of tables."""
        index = self.array_tables.get(path)
        return path if index is None else (*path, index)

    def pair(self, table: Path, depth: int) -> None:
        """``a.b = value``."""
        parts = self.key()
        self.expect("=")
        self.skip(_SPACE)
        path = (*table, *(name for name, _ in parts))
        value = self.value(path, depth)
        for count in range(1, len(parts)):
            self.places.setdefault((*table, *(name for name, _ in parts[:count])), Place(parts[count - 1][1], value))
        self.places[path] = Place(parts[-1][1], value)

    def key(self) -> list[tuple[str, Span]]:
        """A dotted key: its parts, unquoted, each with its span."""
        parts = []
        while True:
            self.skip(_SPACE)
            start = self.at
            raw = self.take(_KEY_PART)
            parts.append((_unquoted(raw), Span(start, self.at)))
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def value(self, path: Path, depth: int) -> Span:
        """Any value; places inside arrays and inline tables are noted on the way."""
        if depth > _MAX_DEPTH:
            raise _Lost
        start = self.at
        match self.text[start : start + 1]:
            case "[":
                self.items(path, "]", depth)
            case "{":
                self.items(path, "}", depth)
            case '"' | "'":
                self.take(_STRING)
            case _:
                self.at = start + len(self.take(_BARE).rstrip())
        return Span(start, self.at)

    def items(self, path: Path, closing: str, depth: int) -> None:
        """The inside of an array or of an inline table, brackets included."""
        self.at += 1
        index = 0
        while True:
            self.skip(_BLANK)
            if self.text.startswith(closing, self.at):
                self.at += 1
                return
            if closing == "]":
                span = self.value((*path, index), depth + 1)
                self.places[(*path, index)] = Place(span, span)
            else:
                self.pair(path, depth + 1)
            index += 1
            self.skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith(closing, self.at):
                raise _Lost

    def skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            raise _Lost
        self.at = found.end()
        return found.group()

    def expect(self, literal: str) -> None:
        self.skip(_SPACE)
        if not self.text.startswith(literal, self.at):
            raise _Lost
        self.at += len(literal)


def _unquoted(raw: str) -> str:
    """The key that a part spells; escapes are left to the TOML parser."""
    if raw[0] == "'":
        return raw[1:-1]
    if raw[0] == '"':
        return _basic_string(raw)
    return raw


def _basic_string(raw: str) -> str:
    try:
        value = tomllib.loads(f"key = {raw}")["key"]
    except tomllib.TOMLDecodeError:
        raise _Lost from None
    return str(value)
