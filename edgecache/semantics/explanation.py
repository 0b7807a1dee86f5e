"""An explanation: what a request would meet here, and why, as data.

Theory
    Everything that decides about a request is a value with a reason. An explanation puts them next to one another, in
    words and numbers that need no further look at the program: which key, which rules, what is stored, how long, what
    happens now and in an hour, what purges it, and why the latest response was not stored.

    It is data only. ``engine.explaining`` makes it, the admin API sends it as JSON, and the command tells it.

Conventions
    Durations are seconds, instants RFC 3339 in UTC. ``source`` is what a person can look up: a rule with its place, a
    setting with its place, a field; empty when there is nothing to look up. Values that are secrets are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

__all__ = [
    "HIDDEN",
    "Copy",
    "Elsewhere",
    "Explanation",
    "Judged",
    "Lifetime",
    "Outlook",
    "Reach",
    "Ruled",
    "Selected",
    "Step",
    "Term",
    "Test",
    "Window",
    "instant",
]

HIDDEN: Final = "…"
"""Stands for a value that is not shown."""


def instant(seconds: float) -> str:
    """Return POSIX seconds as RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step from a request to its key: what was looked at, what came of it, and what wanted that."""

    what: str
    value: str
    detail: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """A rule that matches: which settings it decides, and which an earlier rule has decided already."""

    name: str
    source: str
    decides: Mapping[str, str]
    overruled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A field that Vary names: its value in the request that was stored, and in this one; null where it is absent."""

    name: str
    stored: str | None
    presented: str | None
    matches: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One of the numbers that add up to a lifetime."""

    seconds: float
    what: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a response is fresh: ``terms`` add up to ``seconds``, and ``seconds`` less ``age`` is ``ttl``.

    ``remarks`` is what else decides about its reuse.
    """

    basis: str
    terms: tuple[Term, ...]
    seconds: float
    age: float
    ttl: float
    ends: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a response may still be used for after its lifetime, and until when."""

    name: str
    use: str
    seconds: float
    ends: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One thing that can speak against storing a response, and whether it does."""

    reason: str
    passed: bool
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A stored response.

    ``verdict`` is what the purges say: valid, stale, unproven or invalid. ``usable`` is false when it is of no use any
    more, and only waits to be removed. ``birth`` is the purge that it was sent after.
    """

    tier: str
    status: int
    size: int
    content_range: str
    received: str
    received_ago: float
    fields: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    selecting: tuple[Selected, ...]
    selected: bool
    verdict: str
    verdict_explanation: str
    birth: int
    usable: bool
    lifetime: Lifetime
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of the response that came last for this key, in the process that answers.

    ``fields`` are those of the response that were looked at, ``cookies`` and ``unkeyed`` names in the request.
    ``since`` is what the purges after it say: valid, stale, unproven or invalid.
    """

    when: str
    ago: float
    status: int
    stored: bool
    reason: str = ""
    explanation: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    cookies: tuple[str, ...] = ()
    unkeyed: tuple[str, ...] = ()
    authorized: bool = False
    rules: tuple[Ruled, ...] = ()
    since: str = "valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is done with the request at an instant.

    ``action`` is one of serve, serve-stale, validate, complete, forward, refuse and pass; ``tier`` is where the
    response is that is served or validated.
    """

    when: str
    action: str
    reason: str
    explanation: str
    tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """A selector that purges what is stored for the request. ``matched`` is how many responses in the memory of the
    process that answers it matches, null where finding out takes a look at all of them.
    """

    selector: str
    matched: int | None
    narrowest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A URL that resembles the one that is explained, and how many responses are stored under it with other keys."""

    url: str
    what: str
    matched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a request would meet.

    ``process`` answers for its own memory; of ``workers`` the others may hold something else. ``key`` is empty when
    there is none. ``elsewhere`` is where a response may be that somebody looks for here. ``rules`` and ``tests`` are
    about ``tested``: the ``latest`` response, the ``stored`` one, judged anew for this request, or none.
    ``sequence`` is the last purge that is known here, ``shared`` whether there is a tier behind memory. ``advice`` is
    one suggestion, if something is off.
    """

    method: str
    url: str
    now: str
    process: int
    workers: int
    key: str
    steps: tuple[Step, ...]
    rules: tuple[Ruled, ...]
    unkeyed: tuple[str, ...]
    stored: tuple[Copy, ...]
    sequence: int
    shared: bool
    latest: Judged | None
    present: Outlook
    later: Outlook
    tested: str
    tests: tuple[Test, ...]
    reach: tuple[Reach, ...]
    elsewhere: tuple[Elsewhere, ...] = ()
    advice: str = ""
