"""Looking for what should not be stored (``semantics.suspicion``) in this process's memory.

Invariants
    * No turn of the event loop is held up for longer than a walk's turn.
    * A scan ends after ``PATIENCE``, and says whether it has seen everything.
    * What was purged already, or is at its end, is no finding.

Called by the admin API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from edgecache.engine.walk import Walkable, walk
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics.rules import RuleSet
from edgecache.semantics.stored import StoredResponse
from edgecache.semantics.suspicion import Suspicion, suspicions

__all__ = ["PATIENCE", "Scanned", "Scanning"]

PATIENCE: Final = 30.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """How many responses were looked at, those that are suspected and why, how many more there were than were wanted,
    and whether the store was looked through to the end.
    """

    looked_at: int
    suspected: list[tuple[StoredResponse, tuple[Suspicion, ...]]]
    more: int
    complete: bool


class Scanning:
    """Looks through one store. ``now`` gives POSIX seconds, ``clock`` seconds, ``sleep`` waits for some."""

    def __init__(
        self,
        store: Walkable,
        ledger: Ledger,
        rules: RuleSet,
        now: Callable[[], float],
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store: Final = store
        self._ledger: Final = ledger
        self._rules: Final = rules
        self._now: Final = now
        self._clock: Final = clock
        self._sleep: Final = sleep

    async def __call__(self, sees: Callable[[str], bool], limit: int) -> Scanned:
        """Return up to ``limit`` suspected responses whose URI the asker ``sees``."""
        looked_at, more, until = 0, 0, self._clock() + PATIENCE
        suspected: list[tuple[StoredResponse, tuple[Suspicion, ...]]] = []
        async with aclosing(walk(self._store, self._clock, lambda _: self._sleep(0))) as walking:
            async for under_a_key in walking:
                for stored in under_a_key:
                    looked_at += 1
                    found = suspicions(stored, self._rules)
                    if not found or not self._is_in_use(stored) or not sees(stored.uri):
                        continue
                    if len(suspected) < limit:
                        suspected.append((stored, found))
                    else:
                        more += 1
                if self._clock() >= until:
                    return Scanned(looked_at, suspected, more, complete=False)
        return Scanned(looked_at, suspected, more, complete=True)

    def _is_in_use(self, stored: StoredResponse) -> bool:
        return self._ledger.verdict(stored) is not Verdict.INVALID and stored.freshness.discard_at > self._now()
