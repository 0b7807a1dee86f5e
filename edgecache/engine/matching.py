"""What selectors match in this process's memory: how much, and some of it by name.

Theory
    ``matched`` is for people: it tells whether a selector is spelled right, and how much a purge has hit. It is the
    sum of what each selector matches: what two of them match counts twice, a selector given twice counts once.

    A URL, a host, a tag and everything are tallied by the store, and cost the same whatever is stored. A tally counts
    what is stored: also what a purge hit a moment ago and the sweep (``engine.sweep``) has not reached yet. For
    prefixes, patterns and expressions each stored response has to be looked at, a few in a turn of the event loop;
    there, what was purged is left out.

Invariants
    * No turn of the event loop is held up for longer than a walk's turn.
    * A walk ends after ``PATIENCE``: a purge has to wait for its count. Then the count is what was found until then,
      and says so.

Called by the purge API, before it purges.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from edgecache.engine.walk import Walkable, walk
from edgecache.purging.base import Ledger
from edgecache.purging.selector import Kind, Matcher, Selector, target_of
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import CacheKey, StoredResponse

__all__ = ["PATIENCE", "Countable", "Matched", "Matching", "tally"]

PATIENCE: Final = 2.0
"""Seconds: enough for some 300 000 responses and a pattern."""

_SCHEMES: Final = ("http", "https")
_DEFAULT_PORTS: Final = ("", ":80", ":443")
"""Ports that selectors leave out, whatever the scheme, and URIs spell unless they are their scheme's own."""

_Tally: TypeAlias = tuple[int, CacheKey | None]


class Countable(Walkable, Protocol):
    """A store that counts while it stores. A tally is a count, and the key of one that was counted, if it is known."""

    def tally_all(self) -> _Tally:
        """Return how many responses are stored."""
        ...

    def tally_tag(self, tag: str) -> _Tally:
        """Return how many have this tag."""
        ...

    def tally_authority(self, authority: str) -> _Tally:
        """Return how many have this host and port in their URI, as they are spelled there."""
        ...

    def tally_uri(self, uri: str) -> _Tally:
        """Return how many have this URI, as it is spelled."""
        ...


@dataclass(frozen=True, slots=True)
class Matched:
    """How many stored responses match, some of their URIs, and whether the store was looked through to the end."""

    count: int
    sample: list[str]
    complete: bool = True


class Matching:
    """Counts in one store. ``clock`` gives seconds, ``sleep`` waits for some."""

    def __init__(
        self,
        store: Countable,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store: Final = store
        self._ledger: Final = ledger
        self._clock: Final = clock
        self._sleep: Final = sleep

    async def __call__(self, selectors: Sequence[Selector], limit: int, *, thorough: bool = False) -> Matched:
        """Count what matches, and name up to ``limit`` URIs of it.

        Unless ``thorough``, a selector that is tallied contributes one URI at most: finding more takes a walk.
        """
        distinct = {(one.kind, one.value): one for one in selectors}.values()
        tallies = [(one, tally(self._store, one)) for one in distinct]
        count = sum(found[0] for _, found in tallies if found is not None)
        sample: dict[str, None] = {}
        for selector, found in tallies:
            if found is not None and found[1] is not None and len(sample) < limit:
                self._add_example(sample, selector.matcher(), found[1])
        unknown = [one.matcher() for one, found in tallies if found is None]
        known = [one.matcher() for one, found in tallies if found is not None and found[0]] if thorough else []
        if not unknown and (not known or len(sample) >= limit):
            return Matched(count, list(sample))
        more, complete = await self._looked(unknown, known, sample, limit)
        return Matched(count + more, list(sample), complete)

    def _add_example(self, sample: dict[str, None], matches: Matcher, key: CacheKey) -> None:
        for stored in self._store.peek(key):
            if self._hits(stored, (matches,)):
                sample[stored.uri] = None
                return

    async def _looked(
        self, unknown: Sequence[Matcher], known: Sequence[Matcher], sample: dict[str, None], limit: int
    ) -> tuple[int, bool]:
        """Count what ``unknown`` match, and add to ``sample`` what any match; say whether that was all."""
        count, until = 0, self._clock() + PATIENCE
        async with aclosing(walk(self._store, self._clock, lambda _: self._sleep(0))) as walking:
            async for under_a_key in walking:
                for stored in under_a_key:
                    hits = self._hits(stored, unknown)
                    count += hits
                    if len(sample) < limit and (hits or self._hits(stored, known)):
                        sample[stored.uri] = None
                if self._clock() >= until or (not unknown and len(sample) >= limit):
                    return count, not unknown
        return count, True

    def _hits(self, stored: StoredResponse, matchers: Sequence[Matcher]) -> int:
        """Return how many of ``matchers`` mean a response that was not purged yet."""
        if not matchers:
            return 0
        target = target_of(stored.uri)
        hits = sum(matches(target, stored.tags) for matches in matchers)
        return hits if hits and self._ledger.verdict(stored) is not Verdict.INVALID else 0


def tally(store: Countable, selector: Selector) -> _Tally | None:
    """Return what the store has counted for a selector, None when only a walk can tell."""
    match selector.kind:
        case Kind.ALL:
            return store.tally_all()
        case Kind.TAG:
            return store.tally_tag(selector.value)
        case Kind.HOST:
            return _sum(store.tally_authority(f"{selector.value}{port}") for port in _DEFAULT_PORTS)
        case Kind.URL:
            host, _, path = selector.value.partition("/")
            uris = (f"{scheme}://{host}{port}/{path}" for scheme in _SCHEMES for port in _DEFAULT_PORTS)
            return _sum(map(store.tally_uri, uris))
        case _:
            return None


def _sum(tallies: Iterable[_Tally]) -> _Tally:
    counts, keys = zip(*tallies, strict=True)
    return sum(counts), next((key for key in keys if key is not None), None)
