"""The purge index: what one process knows to have been purged, and the test of a response against it.

Theory
    For each selector only its newest purge matters: whoever was born before it is hit, whoever was born after it is
    not. So the index maps selectors to sequences. URLs, hosts, tags and prefixes are tables, and a response asks them
    for what it is; patterns and expressions must be asked one by one, newest first, until one is older than the
    response. Hard and soft purges are kept apart, in two halves of one shape.

Invariants
    * A half knows every purge it was told of above its ``floor``. Its size is bounded: beyond the capacity the oldest
      purges are forgotten and the floor rises over them. Below the hard floor a response is ``UNPROVEN``, below the
      soft one ``STALE``: a soft purge makes nothing invalid, not even a forgotten one (I11).
    * The state is a function of the set of purges noted: neither order nor repetition matters (I8).
    * What may be served only becomes less as purges are noted: verdicts go down ``purging.verdict``'s list (I4).

Pure. Written by ``purging.node`` (from the shared log) or ``purging.local`` (in one process), read at every lookup.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from edgecache.purging.selector import Kind, Matcher, Selector, Target, target_of
from edgecache.purging.verdict import Verdict

__all__ = ["CAPACITY", "MAX_PATTERNS", "PurgeIndex"]

CAPACITY: Final = 100_000
"""Selectors remembered, hard and soft each; what the shared log holds fits in."""

MAX_PATTERNS: Final = 1000
"""Globs, regexes and expressions among them: a lookup may have to try each one."""

_TABLES: Final = frozenset({Kind.URL, Kind.HOST, Kind.TAG, Kind.PREFIX, Kind.ALL})


class _Pattern(NamedTuple):
    sequence: int
    selector: Selector
    matches: Matcher


class _Half:
    """The purges of one mode."""

    __slots__ = (
        "_ages", "_capacity", "_depth", "_hosts", "_max_patterns", "_newest", "_pattern_ages", "_patterns", "_prefixes",
        "_tables", "_tags", "_urls", "floor",
    )  # fmt: skip

    def __init__(self, capacity: int, max_patterns: int) -> None:
        self._capacity: Final = capacity
        self._max_patterns: Final = max_patterns
        self.floor = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything without raising the floor: what is below another epoch is nothing here."""
        self._urls: dict[str, int] = {}
        self._hosts: dict[str, int] = {}
        self._tags: dict[str, int] = {}
        self._prefixes: dict[str, int] = {}
        self._tables = {
            Kind.URL: self._urls, Kind.HOST: self._hosts, Kind.TAG: self._tags, Kind.PREFIX: self._prefixes,
            Kind.ALL: dict[str, int](),
        }  # fmt: skip
        self._ages: list[tuple[int, Kind, str]] = []
        self._patterns: list[_Pattern] = []
        self._pattern_ages: dict[Selector, int] = {}
        self._newest = 0
        self._depth = 0

    @property
    def remembered(self) -> int:
        """Number of selectors."""
        return sum(map(len, self._tables.values())) + len(self._patterns)

    def note(self, sequence: int, selector: Selector) -> None:
        """Remember a purge, unless it is older than what is remembered of it, or than the floor."""
        if sequence <= self.floor:
            return
        self._newest = max(self._newest, sequence)
        if selector.kind in _TABLES:
            self._note_in_table(sequence, selector)
        else:
            self._note_pattern(sequence, selector)
        if len(self._patterns) > self._max_patterns:
            self.raise_floor(self._patterns[0].sequence)
        while self.remembered > self._capacity:
            self.raise_floor(min(self._oldest_in_tables(), self._patterns[0].sequence if self._patterns else sequence))

    def _note_in_table(self, sequence: int, selector: Selector) -> None:
        table = self._tables[selector.kind]
        if sequence <= table.get(selector.value, 0):
            return
        table[selector.value] = sequence
        heappush(self._ages, (sequence, selector.kind, selector.value))
        if selector.kind is Kind.PREFIX:
            self._depth = max(self._depth, selector.value.count("/"))
        if len(self._ages) > 2 * self._capacity + 16:
            # Purged again and again, the same selectors leave old ages behind.
            self._ages = [(age, kind, value) for kind, rows in self._tables.items() for value, age in rows.items()]
            heapify(self._ages)

    def _note_pattern(self, sequence: int, selector: Selector) -> None:
        known = self._pattern_ages.get(selector)
        if known is not None:
            if sequence <= known:
                return
            self._patterns = [pattern for pattern in self._patterns if pattern.selector != selector]
        self._pattern_ages[selector] = sequence
        insort(self._patterns, _Pattern(sequence, selector, selector.matcher()), key=lambda pattern: pattern.sequence)

    def _oldest_in_tables(self) -> int:
        """Return the lowest sequence in the tables, the newest if they are empty; drop ages that are outdated."""
        while self._ages:
            sequence, kind, value = self._ages[0]
            if self._tables[kind].get(value) == sequence:
                return sequence
            heappop(self._ages)
        return self._newest

    def raise_floor(self, floor: int) -> None:
        """Forget every purge up to ``floor``; what was born before it can no longer be judged."""
        if floor <= self.floor:
            return
        self.floor = floor
        while self._ages and self._ages[0][0] <= floor:
            sequence, kind, value = heappop(self._ages)
            if self._tables[kind].get(value) == sequence:
                del self._tables[kind][value]
        if self._patterns and self._patterns[0].sequence <= floor:
            self._patterns = [pattern for pattern in self._patterns if pattern.sequence > floor]
            self._pattern_ages = {pattern.selector: pattern.sequence for pattern in self._patterns}

    @property
    def newest(self) -> int:
        """Sequence of the newest purge noted above the floor."""
        return self._newest

    def hits(self, born: int, target: Target, tags: AbstractSet[str]) -> bool:
        """Whether a remembered purge newer than ``born`` matches."""
        if born >= self._newest:
            return False
        if self._tables[Kind.ALL].get("", 0) > born or self._hosts.get(target.host, 0) > born:
            return True
        if self._urls.get(target.bare, 0) > born:
            return True
        if self._tags and any(self._tags.get(tag, 0) > born for tag in tags):
            return True
        if self._prefixes and self._hits_prefix(born, target):
            return True
        for pattern in reversed(self._patterns):
            if pattern.sequence <= born:
                return False
            if pattern.matches(target, tags):
                return True
        return False

    def _hits_prefix(self, born: int, target: Target) -> bool:
        """Look up every prefix that the target has, no deeper than the deepest remembered."""
        host, path = target.host, target.path.partition("?")[0]
        cut = 0
        for _ in range(self._depth + 1):
            slash = path.find("/", cut)
            cut = slash + 1
            for prefix in (path[:slash], path[:cut]) if slash >= 0 else (path,):
                if self._prefixes.get(prefix, 0) > born or self._prefixes.get(host + prefix, 0) > born:
                    return True
            if slash < 0:
                return False
        return False


class PurgeIndex:
    """Hard and soft purges.

    Args:
        capacity: selectors remembered, of each half.
        max_patterns: globs, regexes and expressions among them.
    """

    __slots__ = ("_hard", "_newest", "_soft")

    def __init__(self, capacity: int = CAPACITY, max_patterns: int = MAX_PATTERNS) -> None:
        self._newest = 0
        self._hard: Final = _Half(capacity, max_patterns)
        self._soft: Final = _Half(capacity, max_patterns)

    @property
    def remembered(self) -> int:
        """Number of selectors in both halves."""
        return self._hard.remembered + self._soft.remembered

    @property
    def floor(self) -> int:
        """What was born before this sequence can no longer be judged."""
        return self._hard.floor

    @property
    def last_hard(self) -> int:
        """Sequence of the newest hard purge noted; 0 when there was none."""
        return self._hard.newest

    def note(self, sequence: int, selectors: Iterable[Selector]) -> None:
        """Remember a purge; noting it again, or late, changes nothing."""
        self._newest = max(self._newest, sequence)
        for selector in selectors:
            (self._soft if selector.soft else self._hard).note(sequence, selector)

    def raise_floor(self, floor: int) -> None:
        """Forget everything up to ``floor``, because the shared log did."""
        self._newest = max(self._newest, floor)
        self._hard.raise_floor(floor)
        self._soft.raise_floor(floor)

    def clear(self, floor: int) -> None:
        """Begin a new epoch at ``floor``."""
        self._newest = floor
        for half in (self._hard, self._soft):
            half.clear()
            half.floor = floor

    def verdict(self, born: int, uri: str, tags: AbstractSet[str]) -> Verdict:
        """Return whether a response born at this sequence survives.

        A response that was ``VALID`` when the index stood at ``checked`` has the verdict of one born then: what was
        purged in between did not match it. So a lookup may pass ``max(born, checked)`` and test the newer purges only
        (I6), and a response looked up often enough outlives a rising floor.
        """
        if born >= self._newest:
            return Verdict.VALID
        target = target_of(uri)
        if self._hard.hits(born, target, tags):
            return Verdict.INVALID
        if born < self._hard.floor:
            return Verdict.UNPROVEN
        if born < self._soft.floor or self._soft.hits(born, target, tags):
            return Verdict.STALE
        return Verdict.VALID

    def verdict_since(self, checked: int, born: int, uri: str, tags: AbstractSet[str]) -> Verdict:
        """As ``verdict``, for a response that was ``VALID`` when the newest purge noted was ``checked`` (I6)."""
        return self.verdict(max(born, checked), uri, tags)
