"""Selectors: what a purge says about the responses it means.

Theory
    A selector is a kind, a value in canonical form and a mode, hard or soft. It is a pure predicate over two things
    that every response has wherever it rests: its target URI (without the scheme, which says how it was asked for,
    not what it is) and its tags. What was asked for by different fields (Vary) has one URI and is purged together.

    ========  ========================  =======================================================================
    kind      value                     matches
    ========  ========================  =======================================================================
    url       ``h.example/a?x=1``       this URL, whatever the scheme; path and query exactly as spelled
    prefix    ``h.example/a``, ``/a``   whole path segments: ``/a``, ``/a/b`` and ``/a?x``, not ``/ab``
    host      ``h.example``             everything of the host
    tag       ``product:42``            exactly this tag, case-sensitive
    glob      ``/img/**/*.png``         see ``http.glob``
    regex     ``\\.(css|js)$``           RE2 syntax, searched for in ``h.example/path?query`` (extra ``regex``)
    expr      ``a & !(b | c)``          see ``purging.expression``
    all                                 everything
    ========  ========================  =======================================================================

    A prefix or glob that begins with a slash is meant on any host.

Invariants
    * The canonical form is a fixed point of ``Selector.of``, and ``Selector.parse`` reads what ``str`` wrote.
    * Matching takes time linear in the target, whoever wrote the selector and the target.
    * Ports 80 and 443 are left out whatever the scheme: at worst a purge hits one port too many, never one too few.
    * What this process cannot evaluate, another of newer make or with RE2 having sent it, matches everything.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn, TypeAlias

from edgecache.errors import ClientError
from edgecache.http.glob import Glob
from edgecache.http.memo import memoised
from edgecache.http.regex import Pattern, RegexError, compiled
from edgecache.purging.expression import parse

__all__ = ["MAX_TAG", "MAX_URI", "Kind", "Matcher", "Selector", "Target", "target_of"]

MAX_URI: Final = 8192
"""Characters of a URL, prefix or host; the public server takes no longer targets."""

MAX_TAG: Final = 1024
"""Characters, as Fastly and Cloudflare allow."""

MAX_PATTERN: Final = 1024
"""Characters of a glob: the automaton has as many states."""

_URI: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z*][A-Za-z0-9+.-]*)?://)?(?P<host>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?"
)
_HOST: Final = re.compile(r"(?:[a-z0-9._~!$&'()+,;=%-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Kind(enum.StrEnum):
    """What a selector compares."""

    URL = "url"
    PREFIX = "prefix"
    HOST = "host"
    TAG = "tag"
    GLOB = "glob"
    REGEX = "regex"
    EXPR = "expr"
    ALL = "all"


class Target(NamedTuple):
    """A target URI as selectors see it. ``bare`` is host and path, ``path`` has the query and begins with a slash."""

    host: str
    path: str
    bare: str


Matcher: TypeAlias = Callable[[Target, AbstractSet[str]], bool]
"""A compiled selector: target and tags of a response -> whether it is meant."""


@memoised
def target_of(uri: str) -> Target:
    """Return the canonical parts of an absolute URI; anything is taken, nothing raised."""
    host, _, path = uri.partition("://")[2].partition("/")
    host = _without_port(host.lower())
    return Target(host, f"/{path}", f"{host}/{path}")


def _without_port(host: str) -> str:
    return host.removesuffix(":80").removesuffix(":443") if host.endswith((":80", ":443")) else host


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector in canonical form. Made by ``of`` or ``parse``; the constructor believes what it is given."""

    kind: Kind
    value: str = ""
    soft: bool = False

    @classmethod
    def of(cls, kind: str, value: str = "", *, soft: bool = False) -> Selector:
        """Return the selector for a value as people write it; raise ``ClientError`` (400): where, what, and a hint."""
        if kind not in _CANONICAL:
            raise ClientError(400, f"no kind of selector is called {kind!r}; there are {', '.join(Kind)}")
        known = Kind(kind)
        if control := _CONTROL.search(value):
            _fail(known, control.start(), "a control character", "selectors are plain text")
        return cls(known, _CANONICAL[known](value), soft)

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Return what ``str`` wrote: ``kind:value``, ``~`` before it if soft; raise ``ClientError`` (400)."""
        kind, _, value = text.removeprefix("~").partition(":")
        return cls.of(kind, value, soft=text.startswith("~"))

    def __str__(self) -> str:
        text = self.kind.value if self.kind is Kind.ALL else f"{self.kind.value}:{self.value}"
        return f"~{text}" if self.soft else text

    def matcher(self) -> Matcher:
        """Return the predicate, compiled. What cannot be compiled here matches everything."""
        try:
            return _MATCHERS[self.kind](self.value)
        except ClientError:
            return _everything


# Canonical forms. Each takes what a person writes, and what it returned before.


def _url(value: str) -> str:
    host, path, query = _read_uri(Kind.URL, value)
    if not host:
        _fail(Kind.URL, 0, "no host", "write http://example.com/path, or a prefix for every host")
    return f"{host}{path or '/'}{query}"


def _prefix(value: str) -> str:
    host, path, query = _read_uri(Kind.PREFIX, value)
    if query:
        _fail(Kind.PREFIX, value.index("?"), "a query", "a prefix ends with the path; every query of it is meant")
    return f"{host}{path or '/'}"


def _host(value: str) -> str:
    host, path, query = _read_uri(Kind.HOST, value)
    if not host or path or query:
        _fail(Kind.HOST, max(value.find("/"), 0), "not a host alone", "write example.com or example.com:8080")
    return host


def _read_uri(kind: Kind, value: str) -> tuple[str, str, str]:
    """Return host, path and query of a URL with or without a scheme; the path as it is, maybe empty."""
    if len(value) > MAX_URI:
        _fail(kind, MAX_URI, f"longer than {MAX_URI} characters", "nothing so long is ever stored")
    if bad := _UNPRINTABLE.search(value):
        _fail(kind, bad.start(), f"{bad[0]!r} does not occur in a URL", "percent-encode it as the request does")
    match = _URI.match(value)
    if match is None or match.end() < len(value):
        _fail(kind, value.find("#"), "a fragment", "leave it out: clients never send it")
    if (match["scheme"] or "http").lower() not in ("http", "https"):
        _fail(kind, 0, f"the scheme {match['scheme']}", "write http:// or https://, or no scheme")
    host = match["host"].lower()
    if host and not _HOST.fullmatch(host):
        _fail(kind, match.start("host"), f"{host!r} is not a host", "write example.com or example.com:8080")
    return _without_port(host), match["path"], match["query"] or ""


def _tag(value: str) -> str:
    if not value:
        _fail(Kind.TAG, 0, "empty", "a tag has at least one character")
    if len(value) > MAX_TAG:
        _fail(Kind.TAG, MAX_TAG, f"longer than {MAX_TAG} characters", "no response has such a tag")
    return value


def _glob(value: str) -> str:
    if len(value) > MAX_PATTERN:
        _fail(Kind.GLOB, MAX_PATTERN, f"longer than {MAX_PATTERN} characters", "a prefix or a tag may say it shorter")
    if bad := _UNPRINTABLE.search(value):
        _fail(Kind.GLOB, bad.start(), f"{bad[0]!r} does not occur in a URL", "percent-encode it as the request does")
    bare = re.sub(r"\A(?:https?|\*)://", "", value, flags=re.IGNORECASE)
    host, slash, path = bare.partition("/")
    if not slash and "**" not in host:
        hint = "begin with / for any host, or with a host: example.com/img/*.png"
        _fail(Kind.GLOB, 0, "matches no URL, because none is without a path", hint)
    # Two stars may reach into the path, where case matters.
    return f"{_without_port(host.lower())}/{path}" if slash and "**" not in host else bare


def _regex(value: str) -> str:
    if not value:
        _fail(Kind.REGEX, 0, "empty", "that would be everything, which is called all")
    _re2(value)
    return value


def _expr(value: str) -> str:
    return str(parse(value))


def _all(value: str) -> str:
    if value:
        _fail(Kind.ALL, 0, "a value", "all means all; for the pages of a host or a path use host or prefix")
    return ""


_CANONICAL: Final[dict[str, Callable[[str], str]]] = {
    Kind.URL: _url,
    Kind.PREFIX: _prefix,
    Kind.HOST: _host,
    Kind.TAG: _tag,
    Kind.GLOB: _glob,
    Kind.REGEX: _regex,
    Kind.EXPR: _expr,
    Kind.ALL: _all,
}

# Predicates.


def _everything(_: Target, __: AbstractSet[str]) -> bool:
    return True


def _match_prefix(value: str) -> Matcher:
    whole = value.endswith("/")

    def matches(target: Target, _: AbstractSet[str]) -> bool:
        subject = target.path if value.startswith("/") else target.bare
        return subject.startswith(value) and (whole or subject[len(value) : len(value) + 1] in ("", "/", "?"))

    return matches


def _match_glob(value: str) -> Matcher:
    glob, on_any_host = Glob(value), value.startswith("/")
    return lambda target, _: glob.matches(target.path if on_any_host else target.bare)


def _match_regex(value: str) -> Matcher:
    pattern = _re2(value)
    return lambda target, _: pattern.search(target.bare) is not None


def _match_expr(value: str) -> Matcher:
    expression = parse(value)
    return lambda _, tags: expression.holds(tags)


_MATCHERS: Final[dict[Kind, Callable[[str], Matcher]]] = {
    Kind.URL: lambda value: lambda target, _: target.bare == value,
    Kind.PREFIX: _match_prefix,
    Kind.HOST: lambda value: lambda target, _: target.host == value,
    Kind.TAG: lambda value: lambda _, tags: value in tags,
    Kind.GLOB: _match_glob,
    Kind.REGEX: _match_regex,
    Kind.EXPR: _match_expr,
    Kind.ALL: lambda _: _everything,
}


def _re2(value: str) -> Pattern:
    try:
        return compiled(value)
    except RegexError as error:
        _fail(Kind.REGEX, error.position, str(error), error.hint)


def _fail(kind: Kind, position: int, what: str, hint: str) -> NoReturn:
    raise ClientError(400, f"{kind.value}, character {position + 1}: {what}; {hint}")
