"""An explanation as people read it, in at most 100 columns.

Theory
    What is done comes first, then how it comes about, in the order of a request's life: key, rules, what is stored and
    how long, whether it may be stored at all, what purges it. What says nothing is left out; JSON has everything.

Called by ``cli.explain``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from edgecache.cli.edge_client import plain
from edgecache.semantics.explanation import Copy, Explanation, Judged, Lifetime, Outlook, Ruled, Step, Test

__all__ = ["lines"]

WIDTH: Final = 100
_MARGIN: Final = 10
_SHOWN: Final = frozenset(
    name
    for line in (
        "access-control-allow-origin cache-control cdn-cache-control content-type date edgecache-cache-control etag",
        "expires last-modified pragma set-cookie surrogate-control vary age content-range",
    )
    for name in line.split()
)
"""Fields that reuse depends on."""

_ACTIONS: Final = {
    "serve": "served from {tier}",
    "serve-stale": "served from {tier}, and refreshed in the background",
    "validate": "the origin is asked whether what is stored ({tier}) still holds",
    "complete": "the origin is asked for the bytes that are missing",
    "forward": "forwarded to the origin",
    "refuse": "refused with 504",
    "pass": "passed to the origin, neither looked up nor stored",
}
_SINCE: Final = {
    "valid": "it may have been evicted, or have come to its end",
    "stale": "a soft purge has hit it since",
    "unproven": "whether it was purged since is not known here",
    "invalid": "it was purged since",
}
_SECTION: Final = re.compile(r"(?:RFC \d+ )?§[\d.]*\d")
_UNDER: Final = " " * 16
_UNBROKEN: Final = "\N{NO-BREAK SPACE}"


def lines(told: Explanation, *, verbose: bool = False) -> Iterator[str]:
    """Yield the lines; a terminal obeys nothing of them. ``verbose`` leaves out less."""
    return map(plain, _lines(told, verbose=verbose))


def _lines(told: Explanation, *, verbose: bool) -> Iterator[str]:
    yield f"{told.method} {told.url}"
    yield from _wrapped(_who(told), "")
    yield ""
    yield from _outlook("now", told.present)
    yield from _outlook("in 1 h", told.later)
    yield from _titled("key", _steps(told.steps))
    yield from _titled("rules", _rules(told))
    for copy in told.stored:
        yield from _titled("stored", _copy(copy, told.sequence, verbose=verbose))
    if told.latest is not None and (not told.latest.stored or not told.stored):
        yield from _titled("latest", _latest(told.latest, verbose=verbose))
    yield from _titled("may be stored", _tests(told, verbose=verbose))
    if told.stored:
        yield from _titled("purged by", _reach(told))
    yield from _titled("elsewhere", (f"{one.url}  {one.what}: {one.matched}" for one in told.elsewhere))
    if told.advice:
        yield ""
        yield from _entry("to do", told.advice)


def _who(told: Explanation) -> str:
    others = f", 1 of {told.workers} workers: the others may hold something else" if told.workers > 1 else ""
    shared = "; Redis is one for all" if others and told.shared else ""
    return f"at {_instant(told.now)}, in process {told.process}{others}{shared}"


def _outlook(when: str, told: Outlook) -> Iterator[str]:
    yield from _entry(when, f"{_ACTIONS[told.action].format(tier=told.tier)}: {told.reason}")
    yield from _entry("", told.explanation)


# From the request to the rules.


def _steps(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        detail = f" ({step.detail})" if step.value and step.detail else step.detail
        yield from _wrapped(f"{step.what:<8} {step.value}{detail}{_from(step.source)}", " " * 9)


def _rules(told: Explanation) -> Iterator[str]:
    for rule in told.rules:
        yield from _wrapped(_rule(rule), "  ")
    if told.unkeyed:
        yield from _wrapped(f"no part of the key, and not known to change nothing: {', '.join(told.unkeyed)}", "  ")


def _rule(rule: Ruled) -> str:
    place = f" ({rule.source})" if rule.source else ""
    decides = ", ".join(f"{name} = {value}" for name, value in rule.decides.items())
    overruled = f"overruled: {', '.join(rule.overruled)}" if rule.overruled else ""
    return f"{rule.name}{place}: {'; '.join(filter(None, (decides, overruled)))}"


# What is stored.


def _copy(copy: Copy, sequence: int, *, verbose: bool) -> Iterator[str]:
    part = f", bytes {copy.content_range}" if copy.content_range else ""
    yield f"{copy.status}, {copy.size} bytes{part}, in {copy.tier}, received {_duration(copy.received_ago)} ago"
    for one in copy.selecting:
        if one.matches:
            text = f"  selected by {one.name}: {_value(one.presented)}"
        else:
            text = f"  not selected: {one.name} is {_value(one.presented)}, it was {_value(one.stored)}"
        yield from _wrapped(text, "    ")
    if not copy.selected:
        return
    yield from _fields(copy.fields, verbose=verbose)
    if copy.tags:
        yield from _wrapped(f"  tags: {', '.join(copy.tags)}", "    ")
    purges = f"  purges: {copy.verdict_explanation}; known to have survived {copy.birth} of {sequence}"
    yield from _wrapped(purges if sequence else f"  purges: {copy.verdict_explanation}", "    ")
    if not copy.usable:
        yield "  of no use any more"
        return
    yield from _lifetime(copy.lifetime)
    for window in copy.windows:
        if window.seconds or verbose:
            until = f", until {_instant(window.ends)}" if window.seconds else ""
            what = f"{window.name}{until}: {window.use}{_from(window.source)}"
            yield from _wrapped(f"{_number(window.seconds):>12} s  {what}", _UNDER)


def _fields(fields: Iterable[tuple[str, str]], *, verbose: bool) -> Iterator[str]:
    for name, value in fields:
        if verbose or name.lower() in _SHOWN:
            yield from _wrapped(f"  {name}: {value}", "    ")


def _lifetime(told: Lifetime) -> Iterator[str]:
    signs = ["", *("+" if term.seconds >= 0 else "-" for term in told.terms[1:])]
    for sign, term in zip(signs, told.terms, strict=True):
        seconds = abs(term.seconds) if sign else term.seconds
        yield from _wrapped(f"  {sign:>1}{_number(seconds):>9} s  {term.what}{_from(term.source)}", _UNDER)
    yield f"  -{_number(told.age):>9} s  current age"
    over = "fresh until" if told.ttl > 0 else "stale since"
    yield f"  ={_number(told.ttl):>9} s  {over} {_instant(told.ends)}"
    for remark in told.remarks:
        yield from _wrapped(f"  {remark}", "    ")


def _value(value: str | None) -> str:
    return "absent" if value is None else f'"{value}"'


# What came last.


def _latest(told: Judged, *, verbose: bool) -> Iterator[str]:
    yield f"{told.status}, received {_duration(told.ago)} ago, {'stored' if told.stored else 'not stored'}"
    if told.stored:
        yield f"  {_SINCE[told.since]}"
        return
    yield from _wrapped(f"  {told.reason}: {told.explanation}", "    ")
    yield from _fields(told.fields, verbose=verbose)
    if told.cookies:
        yield from _wrapped(f"  the request had cookies: {', '.join(told.cookies)}", "    ")
    if told.unkeyed:
        yield from _wrapped(f"  the request had fields that are no part of the key: {', '.join(told.unkeyed)}", "    ")
    if told.authorized:
        yield "  the request was authenticated"


def _tests(told: Explanation, *, verbose: bool) -> Iterator[str]:
    if not told.tested:
        return
    about = "judged anew, for this request" if told.tested == "stored" else "as the latest response was judged"
    failed = [one for one in told.tests if not one.passed]
    yield f"{'no' if failed else 'yes'}, {about}"
    for one in failed:
        yield from _wrapped(f"  failed  {one.reason}: {one.explanation}", " " * 10)
    passed = [one for one in told.tests if one.passed]
    count = f"{len(passed)} {'others' if failed else 'tests'}"
    yield from _wrapped(f"  passed  {', '.join(map(_named, passed)) if verbose else count}", " " * 10)


def _named(test: Test) -> str:
    section = _SECTION.search(test.explanation)
    return f"{test.reason} ({section[0]})" if section else test.reason


def _reach(told: Explanation) -> Iterator[str]:
    for one in told.reach:
        count = "" if one.matched is None else f"  {one.matched} here"
        yield f"{one.selector}{count}{'  <- the narrowest' if one.narrowest else ''}"


# Lines.


def _titled(title: str, content: Iterable[str]) -> Iterator[str]:
    content = list(content)
    if content:
        yield ""
        yield title
        yield from (f"  {line}" for line in content)


def _entry(name: str, text: str) -> Iterator[str]:
    return _wrapped(f"{name:<{_MARGIN}}{text}", " " * _MARGIN)


def _from(source: str) -> str:
    """Return where something comes from, in one piece."""
    said = f"<- {source}".replace(" ", _UNBROKEN)
    return f"  {said}" if source else ""


def _wrapped(text: str, indent: str) -> Iterator[str]:
    """Yield a text in lines with two columns to spare; what has no space in it is not broken."""
    wrapped = textwrap.wrap(
        _UNBROKEN.join(map(plain, text.split(_UNBROKEN))),  # which may be longer
        WIDTH - 2,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )
    yield from (line.replace(_UNBROKEN, " ") for line in wrapped or [""])


def _instant(text: str) -> str:
    return f"{text[:19]}Z"  # to the second


def _number(seconds: float) -> str:
    return f"{seconds:.3f}".removesuffix(".000")


def _duration(seconds: float) -> str:
    """Return seconds, rounded for people."""
    for size, unit, limit in ((86_400, "d", 172_800), (3600, "h", 7200), (60, "min", 120)):
        if seconds >= limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{_number(seconds)} s"
