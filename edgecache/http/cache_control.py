"""Cache directives (RFC 9111 §5.2), and the fields that carry them to some caches only.

Theory
    All of them become one of two values, ``ResponseDirectives`` and ``RequestDirectives``, so that nobody else
    asks which field a directive came from. Cache-Control is not a structured field: its parser is tolerant, and
    where a value can be read in two ways it takes the one that reuses less. Targeted fields (RFC 9213) are
    structured, and all or nothing: one error, and the field is as if absent.

How what is not valid is read
    * max-age, s-maxage: 0. Invalid freshness information means stale (RFC 9111 §4.2.1). That includes white
      space around ``=``, which the grammar does not have, and repetitions with different values.
    * no-cache, private with an argument that is not a list of field names: as if there were no argument.
    * stale-while-revalidate, stale-if-error, max-stale: as if absent; of different values the smallest.
    * min-fresh: as if absent; of different values the largest.
    * Arguments of directives that have none are not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import http_sf

from edgecache.http.fields import (
    DELTA_SECONDS_MAX,
    OWS,
    combined,
    is_token,
    members,
    parse_delta_seconds,
    split_list,
)
from edgecache.http.memo import memoised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgecache.http.message import FieldsView

__all__ = [
    "RequestDirectives",
    "ResponseDirectives",
    "parse_request",
    "parse_response",
    "parse_surrogate_control",
    "parse_targeted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDirectives:
    """Cache directives of a response (RFC 9111 §5.2.2, RFC 5861, RFC 8246). Durations are seconds.

    ``no_cache`` and ``private`` are the unqualified forms; the fields that qualified ones name, lower case, are in
    ``no_cache_fields`` and ``private_fields``.
    """

    no_store: bool = False
    no_cache: bool = False
    no_cache_fields: frozenset[str] = frozenset()
    private: bool = False
    private_fields: frozenset[str] = frozenset()
    public: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    no_transform: bool = False
    immutable: bool = False
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDirectives:
    """Cache directives of a request (RFC 9111 §5.2.1, RFC 5861 §4). Durations are seconds.

    ``max_stale`` without an argument, "however stale", is ``DELTA_SECONDS_MAX``.
    """

    no_store: bool = False
    no_cache: bool = False
    no_transform: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    max_stale: int | None = None
    min_fresh: int | None = None
    stale_if_error: int | None = None


_NO_RESPONSE_DIRECTIVES: Final = ResponseDirectives()
_NO_REQUEST_DIRECTIVES: Final = RequestDirectives()
_PRAGMA_NO_CACHE: Final = RequestDirectives(no_cache=True)

_Arguments: TypeAlias = list[str | None]
"""Of one directive's occurrences: None where there is no argument, "" where there is no valid one."""


def parse_response(fields: FieldsView) -> ResponseDirectives:
    """Return the directives of a response's Cache-Control."""
    value = combined(fields, "cache-control")
    return _NO_RESPONSE_DIRECTIVES if value is None else _parse_response_value(value)


def parse_request(fields: FieldsView) -> RequestDirectives:
    """Return the directives of a request's Cache-Control; without one, of its Pragma (RFC 9111 §5.4)."""
    value = combined(fields, "cache-control")
    if value is not None:
        return _parse_request_value(value)
    if "pragma" in fields and any(member.lower() == "no-cache" for member in members(fields, "pragma")):
        return _PRAGMA_NO_CACHE
    return _NO_REQUEST_DIRECTIVES


@memoised
def _parse_response_value(value: str) -> ResponseDirectives:
    return _response(_directives(split_list(value)))


@memoised
def _parse_request_value(value: str) -> RequestDirectives:
    found = _directives(split_list(value))
    return RequestDirectives(
        no_store="no-store" in found,
        no_cache="no-cache" in found,
        no_transform="no-transform" in found,
        only_if_cached="only-if-cached" in found,
        max_age=_lifetime(found.get("max-age")),
        max_stale=_tolerance(found.get("max-stale")),
        min_fresh=_window(found.get("min-fresh"), among_several=max),
        stale_if_error=_window(found.get("stale-if-error"), among_several=min),
    )


def _response(found: Mapping[str, _Arguments]) -> ResponseDirectives:
    no_cache, no_cache_fields = _qualified(found.get("no-cache"))
    private, private_fields = _qualified(found.get("private"))
    return ResponseDirectives(
        no_store="no-store" in found,
        no_cache=no_cache,
        no_cache_fields=no_cache_fields,
        private=private,
        private_fields=private_fields,
        public="public" in found,
        max_age=_lifetime(found.get("max-age")),
        s_maxage=_lifetime(found.get("s-maxage")),
        must_revalidate="must-revalidate" in found,
        proxy_revalidate="proxy-revalidate" in found,
        must_understand="must-understand" in found,
        no_transform="no-transform" in found,
        immutable="immutable" in found,
        stale_while_revalidate=_window(found.get("stale-while-revalidate"), among_several=min),
        stale_if_error=_window(found.get("stale-if-error"), among_several=min),
    )


# -------------------------------------------------------------------------------- from members to directives

# quoted-string and quoted-pair (RFC 9110 §5.6.4)
_QUOTED_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)


def _directives(parts: Iterable[str]) -> dict[str, _Arguments]:
    """Group the arguments of ``name[=argument]`` by lower-case name."""
    found: dict[str, _Arguments] = {}
    for part in parts:
        name, equals, argument = part.partition("=")
        trimmed = name.rstrip(OWS)
        valid = _unquoted(argument) if trimmed == name else ""
        found.setdefault(trimmed.lower(), []).append(valid if equals else None)
    return found


def _unquoted(argument: str) -> str:
    """Return a token, or a quoted string's content; "" for anything else."""
    if is_token(argument):
        return argument
    match = _QUOTED_STRING.fullmatch(argument)
    return "" if match is None else _QUOTED_PAIR.sub(r"\1", match[1])


def _lifetime(arguments: _Arguments | None) -> int | None:
    if arguments is None:
        return None
    values = {parse_delta_seconds(argument or "") for argument in arguments}
    return (values.pop() or 0) if len(values) == 1 else 0


def _window(arguments: _Arguments | None, *, among_several: Callable[[Iterable[int]], int]) -> int | None:
    values = [parse_delta_seconds(argument or "") for argument in arguments or ()]
    valid = [value for value in values if value is not None]
    return among_several(valid) if valid else None


def _tolerance(arguments: _Arguments | None) -> int | None:
    """Of max-stale: no argument accepts any staleness (RFC 9111 §5.2.1.2)."""
    limits = [str(DELTA_SECONDS_MAX) if argument is None else argument for argument in arguments or ()]
    return _window([*limits], among_several=min)


def _qualified(arguments: _Arguments | None) -> tuple[bool, frozenset[str]]:
    """Whether one occurrence has no list of field names, and the names in all of them."""
    lists = [split_list(argument or "") for argument in arguments or ()]
    unqualified = any(not names or not all(map(is_token, names)) for names in lists)
    return unqualified, frozenset(name.lower() for names in lists for name in names if is_token(name))


# ------------------------------------------------------------------------- targeted Cache-Control (RFC 9213)

_INTEGERS: Final = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
_FIELD_LISTS: Final = frozenset({"no-cache", "private"})


def parse_targeted(fields: FieldsView, name: str) -> ResponseDirectives | None:
    """Return the directives of a targeted field; None when it is absent, empty or not valid (RFC 9213 §2.1)."""
    value = combined(fields, name)
    return None if value is None else _parse_targeted_value(value)


@memoised
def _parse_targeted_value(value: str) -> ResponseDirectives | None:
    try:
        dictionary = http_sf.parse(value.strip(OWS).encode("latin-1"), tltype="dictionary")
    except (http_sf.StructuredFieldError, UnicodeEncodeError):
        return None
    if not isinstance(dictionary, dict) or not dictionary:
        return None
    found: dict[str, _Arguments] = {}
    for name, member in dictionary.items():
        bare = member[0] if isinstance(member, tuple) else member
        if _has_its_type(name, bare):
            found[name] = [None if bare is True else str(bare)]
    return _response(found)


def _has_its_type(name: str, bare: object) -> bool:
    """A value of another type than the directive's is not consumed (RFC 9213 §2.1), nor are parameters."""
    if name in _INTEGERS:
        return isinstance(bare, int) and not isinstance(bare, bool)
    return bare is True or (name in _FIELD_LISTS and isinstance(bare, str | http_sf.Token))


# --------------------------------------------------------------------- Surrogate-Control (W3C edge-arch, §2.2)

# control-directive [ ";" target ]; the directives that matter to a cache take no quoted string.
_MAX_AGE: Final = re.compile(r"([0-9]+)(?:\+([0-9]+))?")
_SURROGATE_DIRECTIVES: Final = frozenset({"max-age", "no-store", "no-store-remote"})


def parse_surrogate_control(fields: FieldsView, target: str) -> ResponseDirectives | None:
    """Return what Surrogate-Control says to the surrogate called ``target``; None when it says nothing to it.

    Directives targeted at this surrogate replace those for everyone: the most specific apply.
    ``max-age=3600+60`` is 3600 seconds, and 60 more in which it may be served stale. ``no-store-remote`` is taken
    for ``no-store``: how remote an edge is, only its operator knows.
    """
    for_all: list[str] = []
    for_us: list[str] = []
    for member in members(fields, "surrogate-control"):
        directive, *targets = (part.strip(OWS) for part in member.split(";"))
        if directive.partition("=")[0].rstrip(OWS).lower() not in _SURROGATE_DIRECTIVES:
            continue
        if not targets:
            for_all.append(directive)
        elif target.lower() in map(str.lower, targets):
            for_us.append(directive)
    return _surrogate(_directives(for_us or for_all)) if for_us or for_all else None


def _surrogate(found: Mapping[str, _Arguments]) -> ResponseDirectives:
    lifetimes: _Arguments = []
    extensions: _Arguments = []
    for argument in found.get("max-age", ()):
        match = _MAX_AGE.fullmatch(argument or "")
        lifetimes.append(match[1] if match is not None else None)
        extensions.append(match[2] if match is not None else None)
    return ResponseDirectives(
        no_store="no-store" in found or "no-store-remote" in found,
        max_age=_lifetime(lifetimes) if lifetimes else None,
        stale_while_revalidate=_window(extensions, among_several=min),
    )
