"""One process at a time fetches what is missing, or refreshes what is old: the others find it in the shared tier.

Theory
    Within a process collapsing sees to it; between processes a lock in the shared store does. At a miss, clients wait:
    there it costs them a round trip, and is used when the operator wants it. Nobody waits for a refresh, so there it is
    always used, and holds for as long as most origins take.

    Whoever gets the lock looks once more, since the one before may just have finished; whoever does not get it waits
    until it is free, or for a while, and then looks.

Invariants
    * A lock is a hint: nothing is wrong when two fetch, and nobody waits longer than its time.
    * It is given back only when what was fetched is where others find it.

Called by ``engine.fetch`` and ``engine.refresh``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgecache.engine.lookup import Found, Lookup
from edgecache.engine.plan import Plan
from edgecache.semantics.policy import Policy
from edgecache.semantics.reuse import Serve
from edgecache.semantics.stored import CacheKey
from edgecache.stores.base import FillLock, Tiers

__all__ = ["Turn", "Turns"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to fetch.

    Attributes:
        owner: proof of holding the lock; None for leave without it.
        is_needless: another process has fetched it, and it is in memory now; or that other one is at it.
    """

    key: CacheKey
    owner: object | None
    is_needless: bool


REFRESH_SECONDS: Final = 10.0
"""How long a process is believed to be refreshing: longer than most origins take, and short enough to try again when
it has died. What is served meanwhile is fresh, or within its grace."""


class Turns:
    """Takes and gives back turns.

    ``seconds`` is how long a process has the lock at a miss, and how long others wait; at 0 they fetch side by side.
    """

    def __init__(
        self,
        lock: FillLock,
        seconds: float,
        store: Tiers,
        lookup: Lookup,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self._lock: Final = lock
        self._seconds: Final = seconds
        self._store: Final = store
        self._lookup: Final = lookup
        self._policy: Final = policy
        self._clock: Final = clock

    async def take(self, plan: Plan) -> Turn | None:
        """Return when it is this process's turn, or no turn is needed, or waiting for it took too long."""
        if not self._seconds or plan.keep_range or plan.complete is not None:
            return None
        owner = await self._lock.acquire(plan.key, self._seconds)
        if owner is None:
            await self._lock.released(plan.key, self._seconds)
        found = await self._lookup.behind(plan.head, plan.key)
        decision = found.decide(plan.head, self._policy, self._clock(), held=plan.is_held)
        return Turn(plan.key, owner, isinstance(decision, Serve))

    async def take_refresh(self, plan: Plan) -> Turn:
        """Return whether it is this process that refreshes what ``plan`` validates. No client may wait for this."""
        owner = await self._lock.acquire(plan.key, REFRESH_SECONDS)
        if owner is None:
            await self._lock.released(plan.key, REFRESH_SECONDS)
        found = await self._lookup.behind(plan.head, plan.key)
        turn = Turn(plan.key, owner, owner is None or _is_refreshed(plan, found, self._clock()))
        if turn.is_needless:
            await self.give_back(turn)
        return turn

    async def give_back(self, turn: Turn) -> None:
        """Let the next one look."""
        if turn.owner is not None:
            await self._store.written(turn.key)
            await self._lock.release(turn.owner)


def _is_refreshed(plan: Plan, found: Found, now: float) -> bool:
    """Whether what is to be validated has a fresh successor."""
    old = plan.validate
    return old is not None and any(
        each.selecting == old.selecting
        and each.response_time > old.response_time
        and each.freshness.is_fresh(now)
        and not each.freshness.must_validate
        for each in found.candidates
    )
