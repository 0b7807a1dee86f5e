"""What contradicts itself in a rule, and what can never come to anything among several.

Theory
    Each contradiction is a function of one rule's settings, by the names that people write; it yields the key to point
    at, what is wrong and what to do. A rule that can decide nothing, since one before it decides the same for all that
    it matches, works as written and is hardly meant: a warning.

Callers: ``edges.rule_files``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from edgecache.edges.config_values import format_duration
from edgecache.edges.rule_reader import quoted
from edgecache.edges.rule_tables import SET
from edgecache.semantics.policy import DEFAULT, Strategy
from edgecache.semantics.rules import REQUEST_SETTINGS, Rule
from edgecache.semantics.versioned import is_never_immutable

if TYPE_CHECKING:
    from edgecache.edges.config_text import ConfigText, Mistakes
    from edgecache.edges.rule_load import Written

__all__ = ["check_rules"]

_Fault: TypeAlias = tuple[str, str, str]
"""The key of ``set`` to point at, what is wrong, and what to write instead."""

_ERRORS: Final = frozenset(range(400, 600))
_NOT_SHARED: Final = (Strategy.PRIVATE, Strategy.NO_STORE)
_WITH_LIFETIME: Final = (Strategy.IMMUTABLE, Strategy.VERSIONED, Strategy.REVALIDATE)
_FOR_A_YEAR: Final = (Strategy.IMMUTABLE, Strategy.VERSIONED)
_NOT_STORED: Final = frozenset({"passes", "strategy", "browser_ttl"})
"""What can be set beside ``pass``: it concerns what clients see."""


def check_rules(text: ConfigText, rules: Sequence[Written], found: Mistakes) -> None:
    """Blame contradictions in each rule of a file; warn about rules that can decide nothing."""
    for written in rules:
        for check in _CHECKS:
            for key, message, hint in check(written):
                spot = text.spot((*written.path, "set", key), key=True)
                found.blame(spot, message, hint)
    for index, written in enumerate(sorted(rules, key=lambda one: -one.rule.priority)):
        earlier = sorted(rules, key=lambda one: -one.rule.priority)[:index]
        if by := next((one for one in earlier if _leaves_nothing(one, written)), None):
            message = f"the rule {quoted(written.rule.name)} can decide nothing: {quoted(by.rule.name)} comes first"
            found.warn(text.spot(written.path), message, "put it before the other one, or leave it out")


def _leaves_nothing(earlier: Written, later: Written) -> bool:
    """Whether an earlier rule has decided whatever a later one sets, for all that this matches."""
    if not set(later.rule.settings) <= set(earlier.rule.settings):
        return False
    unless = earlier.raw.get("unless", {})
    is_wider = not earlier.raw.get("match") and not unless
    return is_wider or (earlier.raw.get("match"), unless) == (later.raw.get("match"), later.raw.get("unless", {}))


def _sets_too_late(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    if rule.needs_response:
        for key in _written(rule, REQUEST_SETTINGS):
            message = f"{key} takes effect before there is a response, and the rule looks at one"
            yield key, message, "match by the request alone, or set it in a rule of its own"


def _passes_and_stores(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    if rule.settings.get("passes"):
        for key in _written(rule, set(rule.settings) - _NOT_STORED):
            yield key, f"{key} means nothing beside pass: nothing is looked up or stored", f"leave out {key} or pass"


def _slides_too_far(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    sliding, most = _seconds(rule, "sliding"), _seconds(rule, "sliding_max")
    limit = DEFAULT.sliding_max if most is None else most
    if sliding is not None and sliding > limit:
        text = f'sliding_max = "{format_duration(sliding * 10)}"'
        yield "sliding", f'sliding is more than sliding_max, which is "{format_duration(limit)}"', f"write {text} too"


def _is_cut_short(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    most = _seconds(rule, "max_ttl")
    for key in ("edge_ttl", "default_ttl", "negative_ttl"):
        seconds = _seconds(rule, key)
        if most is not None and seconds is not None and seconds > most:
            yield key, f"{key} is more than max_ttl", f'write {key} = "{format_duration(most)}", or leave max_ttl out'


def _defaults_to_nothing(written: Written) -> Iterator[_Fault]:
    settings = written.rule.settings
    if {"edge_ttl", "default_ttl"} <= set(settings):
        yield "default_ttl", "default_ttl means nothing beside edge_ttl, which is for all", "leave one of them out"
    elif "default_ttl" in settings and (strategy := settings.get("strategy")) in _WITH_LIFETIME:
        message = f'default_ttl means nothing beside browser = "{strategy}", which gives a lifetime'
        yield "default_ttl", message, "write edge_ttl"


def _promises_what_changes(written: Written) -> Iterator[_Fault]:
    if written.rule.settings.get("strategy") not in _FOR_A_YEAR:
        return
    match = written.raw.get("match", {})
    paths = [path for path in _listed(match.get("path")) if "*" not in path and "?" not in path]
    names = [quoted(path) for path in paths if is_never_immutable(path)]
    names += [f"extension {quoted(one)}" for one in _listed(match.get("extension")) if is_never_immutable(f"/a.{one}")]
    if names:
        hint = 'write browser = "revalidate", or leave these out'
        yield "browser", f"what is at {', '.join(names)} changes, and browsers would keep it for a year", hint


def _is_for_other_statuses(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    statuses = rule.match.statuses
    if statuses and statuses <= _ERRORS:
        for key in _written(rule, {"edge_ttl", "default_ttl"}):
            yield key, f"{key} is for what is no error, and the rule is for errors", "write negative_ttl"
    if statuses and statuses.isdisjoint(_ERRORS):
        for key in _written(rule, {"negative_ttl"}):
            yield key, f"{key} is for errors, and the rule is for what is none", "write edge_ttl or default_ttl"


def _keeps_from_all(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    strategy = rule.settings.get("strategy")
    if strategy in _NOT_SHARED:
        for key in _written(rule, {"edge_ttl", "default_ttl"}):
            yield key, f'{key} contradicts browser = "{strategy}", which is not stored here', "leave one of them out"
    if strategy in (*_NOT_SHARED, Strategy.NO_CACHE):
        for key in _written(rule, {"browser_ttl"}):
            yield key, f'{key} contradicts browser = "{strategy}", which gives clients none', "leave one of them out"


def _asks_for_no_query(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    if {"path", "query"} <= set(rule.settings):
        yield "query", "query means nothing beside path, which is asked for without any", "leave query out"


def _keys_cookies_whole(written: Written) -> Iterator[_Fault]:
    rule = written.rule
    names = rule.settings.get("key_fields", ())
    if isinstance(names, tuple) and "cookie" in names:
        yield "key_headers", "no two clients have the same Cookie", 'name those that count: key_cookies = ["theme"]'


_CHECKS: Final[tuple[Callable[[Written], Iterator[_Fault]], ...]] = (
    _sets_too_late,
    _passes_and_stores,
    _slides_too_far,
    _is_cut_short,
    _defaults_to_nothing,
    _promises_what_changes,
    _is_for_other_statuses,
    _keeps_from_all,
    _asks_for_no_query,
    _keys_cookies_whole,
)


def _written(rule: Rule, fields: Any) -> list[str]:
    """Return the keys, as people write them, of those settings of a rule that are among ``fields``."""
    return [key for key, one in SET.items() if one.field in rule.settings and one.field in fields]


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _seconds(rule: Rule, name: str) -> float | None:
    value = rule.settings.get(name)
    return value if isinstance(value, float) else None
