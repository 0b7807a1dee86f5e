"""Examples in rule files: a request, the origin's response, and what is expected to become of them.

Theory
    An example is read like everything else in a rule file. ``EXPECT`` lists what it can expect: what may be written,
    and how to read the same from a ``Trial``, which is what happened when it was tried (``edges.rule_trials``).

Callers: ``edges.rule_files``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgecache.edges.config_values import (
    COUNT,
    DURATION,
    TEXT,
    TOKEN,
    Kind,
    Setting,
    Unreadable,
    choice,
    format_duration,
    kind_of_text,
)
from edgecache.edges.rule_kinds import FIELD, PATH
from edgecache.edges.rule_reader import TableReader, quoted
from edgecache.edges.rule_trials import Decision, Trial, attempt
from edgecache.errors import ClientError
from edgecache.http.fields import is_field_value
from edgecache.http.message import Pair, RequestHead, ResponseHead, fields_of
from edgecache.http.target import parse_authority, parse_target
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import RuleSet
from edgecache.semantics.versioned import AssetNames, By, Versioned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgecache.edges.toml_location import Path as KeyPath

__all__ = ["EXAMPLE", "EXPECT", "Example", "ExampleReader", "Expectation"]

_REQUEST: Final = re.compile(r"([A-Z][A-Z_-]*) (\S+)")
_REQUEST_HINT: Final = "write a method and a URL"


def _request(text: str) -> str:
    found = _REQUEST.fullmatch(text)
    if found is None:
        raise Unreadable(f"{quoted(text)} is not a request", _REQUEST_HINT)
    try:
        scheme, authority, _ = parse_target(found[1], found[2])
        parse_authority(authority, scheme or "http")
    except ClientError as error:
        raise Unreadable(f"{quoted(text)} is not a request: {error.reason}", _REQUEST_HINT) from None
    return text


def _read_lines(value: object) -> tuple[str, ...]:
    """One value of a header, or a list of them: a line for each."""
    lines = value if isinstance(value, list) else [value]
    for line in lines:
        if not isinstance(line, str) or not is_field_value(line):
            raise Unreadable(f"{quoted(str(line))} does not occur in a header", "a text, or a list of them")
    return tuple(lines)


def _read_span(value: object) -> tuple[float, ...]:
    """A duration, or the least and the most that jitter makes of one."""
    parts = value if isinstance(value, list) else [value]
    if len(parts) not in (1, 2):
        raise Unreadable("neither a duration nor two of them")
    return tuple(DURATION.read(part) for part in parts)


def _write_span(span: tuple[float, ...]) -> str:
    texts = list(dict.fromkeys(f'"{format_duration(round(seconds, 3))}"' for seconds in span))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _any_text(text: str) -> str:
    return text


_WORDS: Final = kind_of_text(_any_text, "a text")
_SPAN: Final = Kind("a duration, or the least and the most", _read_span, _read_span, _write_span)
_LINES: Final = Kind("a value, or a list of them", _read_lines, _read_lines, str)
_REQUESTED: Final = kind_of_text(_request, "a method and a URL")

EXAMPLE: Final[Mapping[str, Setting]] = {
    "name": Setting(TEXT, "what it shows", '"a font is kept for a year"'),
    "request": Setting(_REQUESTED, "method and URL", '"GET https://www.example.org/a?b=c"'),
    "request_headers": Setting(_LINES, "headers of the request", '{ Cookie = "sessionid=1" }'),
    "request_body": Setting(_WORDS, "content of the request, as of a QUERY", '"{}"'),
    "response": Setting(COUNT, "status of the origin's response", "200", at_least=200, at_most=599),
    "response_headers": Setting(_LINES, "headers of the response", '{ Content-Type = "text/css" }'),
    "body": Setting(_WORDS, "content of the response", '"body { margin: 0 }"'),
    "manifest": Setting(PATH, "paths that a build manifest lists", '["/assets/app.js"]', many=True),
    "release": Setting(TOKEN, "the release that is active", '"2024-11-23"'),
}
"""What an example has beside ``expect``. A field ``Date`` of the response is the time at which it happens."""

_HEADERS: Final = ("request_headers", "response_headers")


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something that an example can expect: what may be written, and the same of what happened; None for nothing."""

    setting: Setting
    happened: Callable[[Trial], Any]


def _seconds(prose: str, example: str, of: Callable[[Trial], float | None]) -> Expectation:
    def span(trial: Trial) -> tuple[float, ...] | None:
        value = of(trial)
        return None if value is None else (value,)

    return Expectation(Setting(_SPAN, prose, example), span)


EXPECT: Final[Mapping[str, Expectation]] = {
    "decision": Expectation(
        Setting(choice(*Decision), "what becomes of the response", '"stored"'), lambda trial: trial.decision.value
    ),
    "reason": Expectation(
        Setting(choice(*Reason), "why it is not stored, or passed", '"private"'), lambda trial: trial.reason
    ),
    "edge_ttl": Expectation(
        Setting(_SPAN, "lifetime left on receipt; or the least and the most, with jitter", '["9m", "10m"]'),
        lambda trial: trial.lifetimes,
    ),
    "grace": _seconds("stale is served while it is validated", '"30s"', lambda trial: trial.window("grace")),
    "if_error": _seconds("stale is served instead of a 5xx", '"1h"', lambda trial: trial.window("if_error")),
    "if_unreachable": _seconds(
        "stale is served without an origin", '"1h"', lambda trial: trial.window("if_unreachable")
    ),
    "retain": _seconds("stale is served instead of a 404 or 410", '"30d"', lambda trial: trial.window("if_gone")),
    "browser": Expectation(
        Setting(_WORDS, "Cache-Control that clients see; empty for none", '"no-cache"'), lambda trial: trial.browser
    ),
    "url": Expectation(
        Setting(_WORDS, "what is looked up, and asked of the origin", '"https://www.example.org/a"'),
        lambda trial: trial.url,
    ),
    "key": Expectation(
        Setting(_WORDS, "the whole key", '"+cookie.theme=dark https://www.example.org/a"'), lambda trial: trial.key
    ),
    "rule": Expectation(
        Setting(_WORDS, "the rule that decides the lifetime, or lets it pass", '"fonts"'), lambda trial: trial.rule
    ),
    "rules": Expectation(
        Setting(_WORDS, "all rules that apply, in order", '["fonts", "everything"]', many=True),
        lambda trial: trial.rules,
    ),
    "tags": Expectation(Setting(_WORDS, "all tags, in any order", '["shop:42"]', many=True), lambda trial: trial.tags),
}
"""What ``expect`` can have."""

_UNORDERED: Final = ("tags",)


@dataclass(frozen=True, slots=True)
class Example:
    """An example as it stands in a file: ``expected`` is by keys of ``EXPECT``."""

    name: str
    path: KeyPath
    request: RequestHead
    response: ResponseHead
    expected: Mapping[str, Any]
    content: bytes | None = None
    body: bytes | None = None
    release: str = ""
    names: AssetNames | None = None

    def attempt(self, rules: RuleSet) -> Trial:
        """Return what the engine would do under these rules."""
        if self.names is not None:
            rules = rules.knowing(self.names)
        return attempt(rules, self.request, self.response, content=self.content, body=self.body, release=self.release)


class ExampleReader(TableReader):
    """Reads the examples of one file, and says which of them are not met."""

    def examples(self) -> list[Example]:
        """Return the examples that could be read, in the order of the file."""
        read = (self._example(path, table) for path, table in self.tables("example"))
        return [one for one in read if one is not None]

    def _example(self, path: KeyPath, table: dict[str, Any]) -> Example | None:
        before = len(self.found.mistakes)
        self.unknown(path, table, [*EXAMPLE, "expect"], "[[example]]")
        plain = {name: setting for name, setting in EXAMPLE.items() if name not in _HEADERS}
        given = self.settings(path, table, plain)
        for name in ("name", "request"):
            if name not in table:
                self.blame(path, f"an example without a {name}", f"write {name} = {EXAMPLE[name].example} in it")
        request_fields, response_fields = (self._fields(path, table, name) for name in _HEADERS)
        expected = self._expected(path, table.get("expect"))
        if len(self.found.mistakes) > before:
            return None
        listed = given.get("manifest")
        return Example(
            name=given["name"],
            path=path,
            request=_head(given["request"], request_fields),
            response=ResponseHead(given.get("response", 200), fields_of(response_fields)),
            expected=expected,
            content=given["request_body"].encode() if "request_body" in given else None,
            body=given["body"].encode() if "body" in given else None,
            release=given.get("release", ""),
            names=None if listed is None else AssetNames.of({one: Versioned(By.MANIFEST, "") for one in listed}),
        )

    def _fields(self, path: KeyPath, table: dict[str, Any], name: str) -> list[Pair]:
        if name not in table:
            return []
        lines = self.pairs((*path, name), table[name], name, FIELD, EXAMPLE[name]) or {}
        return [(one, value) for one, values in lines.items() for value in values or ()]

    def _expected(self, path: KeyPath, table: Any) -> dict[str, Any]:
        if not isinstance(table, dict) or not table:
            where = path if table is None else (*path, "expect")
            self.blame(where, "an example expects something", 'write expect = { decision = "stored" } in it')
            return {}
        path = (*path, "expect")
        self.unknown(path, table, EXPECT, "expect")
        return {
            name: self.value((*path, name), table[name], name, one.setting, may_be_empty=True)
            for name, one in EXPECT.items()
            if name in table
        }

    def attempt(self, examples: Iterable[Example], rules: RuleSet) -> None:
        """Blame whatever an example expects that does not happen."""
        for example in examples:
            trial = example.attempt(rules)
            for name in [one for one in EXPECT if one in example.expected]:
                expectation, expected = EXPECT[name], example.expected[name]
                happened = expectation.happened(trial)
                if not _is_met(name, expected, happened):
                    got = "nothing" if happened is None else expectation.setting.write(happened)
                    message = f"{quoted(example.name)}: {name} is {got}, expected {expectation.setting.write(expected)}"
                    self.found.blame(self.text.spot((*example.path, "expect", name)), message, why=trial.explained)


def _head(request: str, fields: list[Pair]) -> RequestHead:
    method, _, url = request.partition(" ")
    scheme, authority, target = parse_target(method, url)
    return RequestHead(method, scheme, parse_authority(authority, scheme), target, fields_of(fields))


def _is_met(name: str, expected: Any, happened: Any) -> bool:
    if happened is None:
        return False
    if EXPECT[name].setting.kind is _SPAN:
        pairs = zip(reversed(expected), reversed(happened), strict=False)
        return all(round(one, 3) == round(other, 3) for one, other in pairs)
    if name in _UNORDERED:
        return sorted(expected) == sorted(happened)
    return bool(expected == happened)
