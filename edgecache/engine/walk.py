"""Looking at everything that is stored, a little in each turn of the event loop.

Theory
    A purge needs no such walk, but counting what a pattern matches does, and freeing the memory of what was purged.
    Nobody must wait for it: after ``TURN`` seconds of work the loop has its turn, and whatever happens then (a
    response stored, another evicted) is no concern: only the keys are remembered, and each is looked up when its
    turn comes.

Invariants
    * Every response that is stored from the beginning of a walk to its end is seen, under its key, once.
    * A turn lasts ``TURN`` and the work at one key. The first one also takes a list of the keys: 0.7 ms for 100 000.

Called by ``engine.matching`` and ``engine.sweep``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, Protocol

from edgecache.semantics.stored import CacheKey, StoredResponse

__all__ = ["TURN", "Walkable", "walk"]

TURN: Final = 0.0005
"""Seconds of work at a time: what a request may have to wait for."""


class Walkable(Protocol):
    """A store in memory that can be walked through."""

    def every_key(self) -> Sequence[CacheKey]:
        """Return every key there is now."""
        ...

    def peek(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return the responses under ``key``, without counting it as a use."""
        ...


async def walk(
    store: Walkable, clock: Callable[[], float], pause: Callable[[float], Awaitable[None]]
) -> AsyncGenerator[tuple[StoredResponse, ...], None]:
    """Yield what is stored, key by key.

    After each ``TURN`` on ``clock`` (seconds) ``pause`` is awaited; it is told which part of the keys has been seen.
    """
    until, keys = clock() + TURN, store.every_key()
    for number, key in enumerate(keys, start=1):
        yield store.peek(key)
        if clock() >= until:
            await pause(number / len(keys))
            until = clock() + TURN
