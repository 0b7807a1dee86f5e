"""Kinds of values that people write in rules, beside those of the configuration (``edges.config_values``).

Each reads to a text, a number or a set; what the program matches with is made of those in ``edges.rule_tables``.

Callers: ``edges.rule_tables`` and ``edges.example_tables``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from edgecache.edges.config_values import SHARE, Kind, Unreadable, kind_of_text
from edgecache.http.fields import is_field_value, is_token
from edgecache.http.regex import RegexError, compiled
from edgecache.semantics.tags import MAX_TAG_LENGTH, PLACE
from edgecache.semantics.versioned import By

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "COOKIE",
    "COOKIE_PATTERN",
    "EXTENSION",
    "FIELD",
    "FIELD_PATTERN",
    "MEDIA_TYPE",
    "METHOD",
    "PARAMETER",
    "PARAMETERS",
    "PATH",
    "PATH_PATTERN",
    "REGEX",
    "SHARE_OR_PERCENT",
    "STATUSES",
    "TAG",
    "VERSIONED",
]

_LONGEST: Final = 1024  # characters of a pattern; an automaton has as many states
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_STATUSES: Final = re.compile(r"([1-5])xx|([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?")
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%")
_METHOD: Final = re.compile(r"[A-Z][A-Z_-]*")
_EXTENSION: Final = re.compile(r"[a-z0-9]{0,12}")
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:/[!#$%&'*+.^_`|~0-9a-z-]+)?")
_PARAMETER: Final = re.compile(r"[^&=#*\s]+")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def _path_pattern(text: str) -> str:
    _path_begins(text)
    if "=" in text.partition("?")[2]:
        raise Unreadable(f"{_shown(text)} has a query", 'paths have none: write query = { NAME = "VALUE" } beside it')
    return text


def _path(text: str) -> str:
    _path_begins(text)
    if "?" in text or "#" in text or "*" in text:
        raise Unreadable(f"{_shown(text)} is not one path", "a path has neither query nor wildcards")
    return text


def _path_begins(text: str) -> None:
    if not text.startswith("/"):
        raise Unreadable(f"{_shown(text)} does not begin with /", f"write {json.dumps('/' + text, ensure_ascii=False)}")
    _check_plain(text)


def _check_plain(text: str) -> None:
    if len(text) > _LONGEST:
        raise Unreadable(f"longer than {_LONGEST} characters", "several rules may say it shorter")
    if bad := _UNPRINTABLE.search(text):
        raise Unreadable(f"{bad[0]!r} does not occur in a URL", "percent-encode it as the request does")


def _regex(text: str) -> str:
    try:
        compiled(text)
    except RegexError as error:
        raise Unreadable(str(error), error.hint) from None
    return text


def _extension(text: str) -> str:
    bare = text.removeprefix("*").removeprefix(".").lower()
    if not _EXTENSION.fullmatch(text):
        hint = f'write "{bare}"' if _EXTENSION.fullmatch(bare) else 'letters and digits; none at all is written ""'
        raise Unreadable(f"{_shown(text)} is not an extension", hint)
    return text


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text):
        hint = f'write "{text.upper()}"' if _METHOD.fullmatch(text.upper()) else ""
        raise Unreadable(f"{_shown(text)} is not a method", hint)
    return text


def _media_type(text: str) -> str:
    if ";" in text:
        hint = f'parameters do not count: write "{text.partition(";")[0].strip().lower()}"'
        raise Unreadable(f"{_shown(text)} has parameters", hint)
    if not _MEDIA_TYPE.fullmatch(text.lower()) or ("/" not in text and "*" not in text):
        raise Unreadable(f"{_shown(text)} is not a media type", 'write "text/html", or "image/*" for all of a kind')
    return text.lower()


def _field(text: str) -> str:
    if not is_token(text):
        raise Unreadable(f"{_shown(text)} is not the name of a header", "letters, digits and -, without a colon")
    return text.lower()


def _field_pattern(text: str) -> str:
    if text and not is_field_value(text):
        raise Unreadable(f"{_shown(text)} does not occur in a header", '* stands for any part: "*" is any value')
    return text


def _cookie(text: str) -> str:
    if not is_token(text) or "*" in text:
        raise Unreadable(f"{_shown(text)} is not the name of a cookie", "write the whole name, without a value")
    return text


def _cookie_pattern(text: str) -> str:
    if not is_token(text):
        hint = "write the name, in which * stands for any part, without a value"
        raise Unreadable(f"{_shown(text)} is not the name of a cookie", hint)
    return text


def _parameter(text: str) -> str:
    _check_plain(text)
    if not _PARAMETER.fullmatch(text):
        raise Unreadable(f"{_shown(text)} is not the name of a parameter", "write the name alone, as it is spelled")
    return text


def _parameters(text: str) -> str:
    if text != "*":
        _parameter(text.removesuffix("*"))
    return text


def _tag(text: str) -> str:
    rest = PLACE.sub("", text)
    if not text or re.search(r"[\s,]", text) or not text.isprintable() or len(text) > MAX_TAG_LENGTH:
        raise Unreadable(f"{_shown(text)} is not a tag", "a tag has neither spaces nor commas")
    if "{" in rest or "}" in rest:
        hint = "{host} and {1} to {9}, segments of the path, are filled in"
        raise Unreadable(f"{_shown(text)} has braces around something else", hint)
    return text


def _read_statuses(value: object) -> frozenset[int]:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = _STATUSES.fullmatch(text.lower()) if isinstance(text, str) else None
    if found is None:
        raise Unreadable(f"{_shown(value)} is not a status", 'write 404, "4xx" or "200-299"')
    if found[1]:
        return frozenset(range(int(found[1]) * 100, int(found[1]) * 100 + 100))
    first, last = int(found[2]), int(found[3] or found[2])
    if first > last:
        raise Unreadable(f"{_shown(value)} ends before it begins", f'write "{last}-{first}"')
    return frozenset(range(first, last + 1))


def _read_versioned(value: object) -> frozenset[By]:
    if value is True:
        return frozenset(By)
    if value is False:
        raise Unreadable("false says nothing", "what is not versioned is told by unless = { versioned = true }")
    if not isinstance(value, str) or value not in list(By):
        raise Unreadable(f"{_shown(value)} is none of true, {', '.join(By)}")
    return frozenset({By(value)})


def _read_share(value: object) -> float:
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found:
        return float(found[1]) / 100
    if isinstance(value, str):
        raise Unreadable(f"{_shown(value)} is not a share", 'write "10%" or 0.1')
    share: float = SHARE.read(value)
    return share


def _kind(noun: str, read: Callable[[object], Any], write: Callable[[Any], str]) -> Kind:
    return Kind(noun, read, read, write)


PATH_PATTERN: Final = kind_of_text(_path_pattern, "a path, in which * stands for a part of a segment and ** for more")
PATH: Final = kind_of_text(_path, "a path")
REGEX: Final = kind_of_text(_regex, "a regular expression of RE2")
EXTENSION: Final = kind_of_text(_extension, "an extension, without its dot")
METHOD: Final = kind_of_text(_method, "a method")
MEDIA_TYPE: Final = kind_of_text(_media_type, "a media type")
FIELD: Final = kind_of_text(_field, "the name of a header")
FIELD_PATTERN: Final = kind_of_text(_field_pattern, "a value, in which * stands for any part")
COOKIE: Final = kind_of_text(_cookie, "the name of a cookie")
COOKIE_PATTERN: Final = kind_of_text(_cookie_pattern, "the name of a cookie")
PARAMETER: Final = kind_of_text(_parameter, "the name of a parameter")
PARAMETERS: Final = kind_of_text(_parameters, "the name of a parameter, or its beginning and *")
TAG: Final = kind_of_text(_tag, "a tag")
STATUSES: Final = _kind("a status, a class or a range", _read_statuses, lambda value: str(sorted(value)))
VERSIONED: Final = _kind(f"true or one of {', '.join(By)}", _read_versioned, lambda value: str(sorted(value)))
SHARE_OR_PERCENT: Final = _kind("a share", _read_share, lambda value: f'"{value * 100:g}%"')
