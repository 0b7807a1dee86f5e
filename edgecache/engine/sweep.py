"""Freeing memory of what was purged: a hard-purged body is gone soon after its purge, whether it is asked for or not.

Theory
    Nothing has to be deleted for a purge to hold: what it hit is refused at the next lookup, and removed then. But what
    nobody asks for any more would stay until it is evicted, taking up room that others need, and there are bodies
    that have to go because they should never have been there. So when the ledger has gone on, the sweeper walks
    through the store and removes what the ledger calls ``INVALID``; never what is only stale or unproven.

    One walk does for all hard purges before it. All processes of an edge walk at once, and neither a request nor the
    confirmation of the next purge is to be late because of it: so a walk is spread over ``PACE`` seconds, by which a
    purged body is gone within one second. The work is 6 microseconds for each response, as measured, and 12 for one
    that goes; with 100 000 and more a walk takes as long as it takes. Unsafe requests purge URLs all day: after a walk
    that was much work there is a long rest, and what is purged in it may stay for as long: ten seconds of 100 000.

Invariants
    * Nothing runs but a look at the ledger while no hard purge comes.
    * A walk holds up the event loop for no longer than ``engine.walk`` says.
    * Whatever was purged before a walk began is gone when it ends; a purge after that has another walk.

Made, started and closed by the composition root.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from edgecache.engine.walk import TURN, Walkable, walk
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import StoredResponse

__all__ = ["PACE", "PERIOD", "POLL", "SHARE", "Sweepable", "Sweeper"]

POLL: Final = 0.2
"""Seconds between looks at the ledger."""

PACE: Final = 0.7
"""Seconds over which a walk is spread."""

PERIOD: Final = 1.0
"""Seconds between the beginnings of two walks, at least."""

SHARE: Final = 0.1
"""Part of the process's time that is worked for walks, at most, when purges never stop."""


class Sweepable(Walkable, Protocol):
    """A store that can be walked through and swept."""

    def remove_now(self, response: StoredResponse) -> bool:
        """Remove ``response``; False when it is no longer stored."""
        ...


class Sweeper:
    """Sweeps one store. ``clock`` gives seconds, monotonic; ``sleep`` waits for seconds of it."""

    def __init__(
        self,
        store: Sweepable,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store: Final = store
        self._ledger: Final = ledger
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._running: asyncio.Task[None] | None = None
        self.swept = 0
        """Responses removed so far."""

    def start(self) -> None:
        """Begin; what the ledger knows by now has been seen."""
        self._running = asyncio.get_running_loop().create_task(self._keep_swept(self._ledger.last_hard))

    async def close(self) -> None:
        """Stop, wherever it is."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _keep_swept(self, seen: int) -> None:
        while True:
            while self._ledger.last_hard == seen:
                await self._sleep(POLL)
            seen, began = self._ledger.last_hard, self._clock()
            turns = await self._walk(began)
            await self._sleep(max(0.0, began + max(PERIOD, turns * TURN / SHARE) - self._clock()))

    async def _walk(self, began: float) -> int:
        """Walk once; return how many pauses there were."""
        turns = 0

        async def pause(part: float) -> None:
            nonlocal turns
            turns += 1
            await self._sleep(max(0.0, began + part * PACE - self._clock()))

        async for under_a_key in walk(self._store, self._clock, pause):
            for stored in under_a_key:
                if self._ledger.verdict(stored) is Verdict.INVALID:
                    self.swept += self._store.remove_now(stored)
        return turns
