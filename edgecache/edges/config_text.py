"""The text of a configuration: where things stand in it, what is wrong there, and what of it may be shown.

Theory
    A file is read once, by ``tomllib``, and its places once, by ``toml_location``. Whoever finds a mistake says where
    it is, what it is and what to write instead; nothing stops at the first one.

    No error shows a secret: a line of the file in which one may stand is not repeated.

Callers: ``edges.config_load`` and ``edges.rule_load``.
"""

from __future__ import annotations

import itertools
import os.path
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecache.edges.config import GROUPS, TABLES, settings
from edgecache.edges.toml_location import Place, Span, excerpt, line_and_column, locate
from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgecache.edges.config import Table
    from edgecache.edges.config_values import Setting, Unreadable
    from edgecache.edges.toml_location import Path as KeyPath

__all__ = ["HIDING", "RULE_TABLES", "ConfigText", "Mistakes", "Spot", "parse_text", "read_text", "unreadable"]

_SYNTAX: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_SYNTAX_HINTS: Final = {
    "Invalid value": 'texts stand in double quotes: listen = "127.0.0.1:8080"',
    "Cannot overwrite a value": "each key stands once in its table",
}
_SHOWN: Final = 160  # characters of a line that an error still shows


def _hiding(table: type[Table]) -> list[str]:
    """Keys of a table whose values are secret."""
    return [key for key, setting in settings(table).items() if setting.kind.hide]


HIDING: Final = {name: keys for name, table in {**TABLES, **GROUPS}.items() if (keys := _hiding(table))}
"""Tables with secrets, and the keys of these."""

_SECRETIVE: Final = sorted({*itertools.chain(*HIDING.values())})


def _hiding_key(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(names)})\b[\"']?[ \t]*=|://[^/?#\s]*@")


_HIDING_KEY: Final = _hiding_key(_SECRETIVE)
"""A key whose value is secret, or a URL with a password, wherever it stands."""

_HIDING_IN_RULES: Final = _hiding_key(name for name in _SECRETIVE if name != "url")
"""The same where a URL is what somebody asks for: rules and their examples."""

RULE_TABLES: Final = ("rule", "example")
"""What a rule file consists of, and a configuration may have too."""

_HIDING_TABLE: Final = re.compile(rf"[ \t]*\[[ \t\"']*(?:{'|'.join(HIDING)})\b")
_HEADER: Final = re.compile(r"^[ \t]*\[[\w. \t\"'-]+\][ \t]*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value was given: as ``--dump`` says it, as an error says it, and the line with its carets.

    ``directory`` is what a relative path there is relative to.
    """

    source: str
    where: str
    line: str = ""
    directory: str = ""


@dataclass(slots=True)
class Mistakes:
    """Everything that is found wrong, in the order of reading; ``warnings`` is what works and is hardly meant."""

    mistakes: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)

    def blame(self, spot: Spot, message: str, hint: str = "", why: str = "") -> None:
        """Keep a mistake: what it is, what to write instead, what led to it."""
        self.mistakes.append(ConfigError(message, where=spot.where, line=spot.line, hint=hint, why=why))

    def warn(self, spot: Spot, message: str, hint: str) -> None:
        """Keep a warning."""
        self.warnings.append(ConfigError(message, where=spot.where, line=spot.line, hint=hint))


@dataclass(frozen=True, slots=True)
class ConfigText:
    """A file that is TOML, and the places of what is in it."""

    path: str
    text: str
    document: dict[str, Any]
    places: dict[KeyPath, Place]

    def spot(self, path: KeyPath, *, key: bool = False, hides: bool = False) -> Spot:
        """Where something stands; without the line when that hides a secret."""
        place = self.places[path]
        span = place.key if key else place.value
        line, column = line_and_column(self.text, span.start)
        return Spot(
            f"{self.path}:{line}",
            f"{self.path}:{line}:{column}",
            "" if hides else _shown(self.text, span, _HIDING_IN_RULES if path[0] in RULE_TABLES else _HIDING_KEY),
            os.path.dirname(self.path),
        )


def unreadable(key: str, setting: Setting, error: Unreadable) -> tuple[str, str]:
    """Return message and hint for a value that is not of its kind, or out of bounds."""
    expected = error.hint or f"expected {setting.kind.noun}"
    return f"{key}: {error}", f"{expected}; an example: {key} = {setting.example}"


def read_text(path: str, found: Mistakes, hint: str = "") -> ConfigText | None:
    """Return a file's text; None, with the mistake kept, when it cannot be read. ``hint`` is for one that is absent."""
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        found.blame(
            Spot(path, path),
            f"cannot be read: {error.strerror}",
            hint if isinstance(error, FileNotFoundError) else "",
        )
    except UnicodeDecodeError as error:
        found.blame(Spot(path, path), f"byte {error.start} is not UTF-8", "save the file as UTF-8")
    else:
        return parse_text(path, content, found)
    return None


def parse_text(path: str, content: str, found: Mistakes) -> ConfigText | None:
    """Return the text of what is called ``path``; None, with the mistake kept, when it is no TOML."""
    try:
        document = tomllib.loads(content)
    except RecursionError:
        found.mistakes.append(_syntax_error(path, content, "nested too deeply"))
    except ValueError as error:  # TOMLDecodeError, or a number with more digits than int() reads
        found.mistakes.append(_syntax_error(path, content, str(error)))
    else:
        return ConfigText(path, content, document, locate(content))
    return None


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
        line="" if _is_secret_around(text, offset) else _shown(text, Span(offset, offset)),
        hint=_SYNTAX_HINTS.get(message, ""),
    )


def _is_secret_around(text: str, offset: int) -> bool:
    """Whether reading stopped in a table of secrets, or after a secret in whichever; where exactly, nobody knows."""
    end = text.find("\n", offset)
    until = text if end < 0 else text[:end]
    table = until[max((header.start() for header in _HEADER.finditer(until)), default=0) :]
    return bool(_HIDING_TABLE.match(table) or _HIDING_KEY.search(table))


def _shown(text: str, span: Span, hiding: re.Pattern[str] = _HIDING_KEY) -> str:
    """A line of the file and carets under a part of it, without what is too long for a terminal; empty when the carets
    would be lost, or a secret stands in the line.
    """
    line, carets = excerpt(text, span).split("\n")
    if carets.index("^") >= _SHOWN or hiding.search(line):
        return ""
    return f"{line[:_SHOWN]}\n{carets[:_SHOWN]}"
