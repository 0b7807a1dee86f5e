"""From a request to its cache key, step by step, and which rule wanted each step.

Theory
    ``semantics.normalising`` and ``semantics.key`` do it at once, because every request has to go this way. Here the
    same is told to people. Nothing is derived anew: what a step shows is read off the request before and after.

Pure; called by ``engine.explaining``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from edgecache.http.message import FieldsView
from edgecache.http.negotiation import selecting_value
from edgecache.semantics.explanation import Ruled, Step
from edgecache.semantics.guards import path_of
from edgecache.semantics.key import KEYED_METHODS, cookies
from edgecache.semantics.policy import QueryKey
from edgecache.semantics.rules import Applied, Rule
from edgecache.semantics.stored import CacheKey
from edgecache.semantics.versioned import recognise

__all__ = ["Cite", "cited", "derivation", "ruled", "shown"]

Cite: TypeAlias = Callable[[str], str]
"""Setting -> what decides it, for people: a rule with its place, or where the configuration has it."""

_DURATIONS: Final = frozenset(
    name
    for line in (
        "grace if_error if_unreachable keep edge_ttl default_ttl negative_ttl max_ttl sliding sliding_max retain",
        "browser_ttl hit_for_miss heuristic_max",
    )
    for name in line.split()
)


def shown(setting: str, value: object) -> str:
    """Return the value of a setting of ``Policy`` for people."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() | int():
            return f"{value:.12g} s" if setting in _DURATIONS else f"{value:.12g}"
        case QueryKey():
            return _shown_query(value)
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value)


def _shown_query(query: QueryKey) -> str:
    kept = "all" if query.keep is None else ", ".join(query.keep) or "none"
    dropped = f" but {', '.join(query.drop)}" if query.drop else ""
    return f"{kept}{dropped}{', sorted' if query.sort else ''}"


def cited(rule: Rule) -> str:
    """Return a rule as people look it up: its name and its place."""
    return f"{rule.name} ({rule.source})" if rule.source else rule.name


def ruled(rules: Sequence[Rule]) -> tuple[Ruled, ...]:
    """Return which settings each of the rules that apply decides: of a setting the first one that has it."""
    told, decided = [], set[str]()
    for rule in rules:
        decides = {name: shown(name, value) for name, value in rule.settings.items() if name not in decided}
        overruled = tuple(name for name in rule.settings if name in decided)
        told.append(Ruled(name=rule.name, source=rule.source, decides=decides, overruled=overruled))
        decided.update(decides)
    return tuple(told)


def derivation(asked: Applied, key: CacheKey, release: str, cite: Cite) -> Iterator[Step]:
    """Yield the steps; ``key`` is where they lead, empty when the request has none."""
    request, head, policy = asked.asked, asked.head, asked.policy
    yield Step(what="target", value=request.target_uri)
    versioned = recognise(path_of(request.target), asked.rules.names)
    if versioned is not None:
        yield Step(what="asset", value=versioned.token, detail=f"a versioned name, by {versioned.by}")
    if policy.passes:
        yield Step(what="pass", value="", detail="neither looked up nor stored", source=cite("passes"))
        return
    if request.method not in KEYED_METHODS:
        yield Step(what="method", value=request.method, detail="its responses are not reused: no key")
        return
    if head.target != request.target:
        yield _target(asked, cite)
    yield from _fields(request.fields, head.fields, cite)
    for name in policy.key_fields:
        value = selecting_value(head.fields, name)
        detail = "absent, which is not the same as empty" if value is None else ""
        yield Step(what="field", value=f"{name}: {value or ''}".rstrip(), detail=detail, source=cite("key_fields"))
    for name in policy.key_cookies:
        given = [value for key_name, value in cookies(head.fields) if key_name == name]
        told = [Step(what="cookie", value=f"{name}={value}", source=cite("key_cookies")) for value in given]
        yield from told or [Step(what="cookie", value=name, detail="absent", source=cite("key_cookies"))]
    if policy.by_release:
        detail = "" if release else "none is active"
        yield Step(what="release", value=release, detail=detail, source=cite("by_release"))
    yield Step(what="key", value=key, detail="shared with GET" if request.method == "HEAD" else "")


def _target(asked: Applied, cite: Cite) -> Step:
    policy = asked.policy
    if policy.path is not None:
        return Step(what="path", value=policy.path, detail="in the place of path and query", source=cite("path"))
    before = [part.partition("=")[0] for part in asked.asked.target.partition("?")[2].split("&")]
    dropped = list(dict.fromkeys(name for name in before if not policy.query.counts(name)))
    details = [f"without {', '.join(dropped)}"] if dropped else []
    details += ["sorted"] if policy.query.sort else []
    return Step(what="query", value=asked.head.target, detail="; ".join(details), source=cite("query"))


def _fields(before: FieldsView, after: FieldsView, cite: Cite) -> Iterator[Step]:
    left = {name.lower() for name in after}
    was, now = [name for name, _ in cookies(before)], [name for name, _ in cookies(after)]
    gone = [name for name in was if name not in now]
    if gone:
        detail = f"without {', '.join(gone)}"
        yield Step(what="cookies", value=", ".join(now), detail=detail, source=cite("unsafe_strip_cookies"))
    dropped = list(dict.fromkeys(name for name in before if name.lower() not in left and name.lower() != "cookie"))
    if dropped:
        detail = f"without {', '.join(dropped)}"
        yield Step(what="fields", value="", detail=detail, source=cite("drop_unknown_fields"))
