"""Two tiers as one: this process's memory in front, a store shared with other processes behind it, or none.

Theory
    What may be answered now is answered from memory; the shared tier is asked only when memory has no answer, and
    what it has is brought into memory first, body and all. So a response is always delivered from memory, and a
    shared store that dies in the middle of a body costs a miss and never a broken response.

    What changes is changed in memory at once, and behind later, by tasks that nobody waits for: a shared store that
    lags or fails delays no request. Copies that are left behind that way do no harm: whether one may be used is
    for its freshness and the purge ledger to say.

Invariants
    * Nothing here raises: a failure of the shared tier is a miss, and is counted.
    * Lookups behind of one key at the same time are one lookup.
    * ``keep_now`` and ``forget_now`` concern memory alone: what is dropped here because of its age or a purge
      is left to its time to live there.
    * A response whose freshness was restated since somebody looked it up is still that response: a validation that
      a use or a soft purge overtook replaces it all the same.

Made by the composition root; called by the engine, on one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from msgspec.structs import replace

from edgecache.errors import StoreError
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.base import LocalStore, Store, StoreStatistics
from edgecache.stores.body import MemoryBody
from edgecache.stores.write_behind import WriteBehind

__all__ = ["TieredStore"]

_MAX_CHANGES: Final = 1000
"""Changes on their way to the shared tier at once; beyond it they are left out: a copy stays behind."""

_LAST_WORDS: Final = 5.0
"""Seconds for what is still to be written when the edge closes."""


class TieredStore:
    """The two tiers of one process.

    Args:
        memory: in front.
        shared: behind; None for none. ``behind`` writes to it.
        failed: called for each operation that the shared store could not do.
    """

    def __init__(
        self,
        memory: LocalStore,
        shared: Store | None = None,
        behind: WriteBehind | None = None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        assert (shared is None) == (behind is None)
        self.memory: Final = memory
        self.shared: Final = shared
        self.slot_now: Final = memory.slot_now
        self.charge: Final = memory.charge
        self.use: Final = memory.use
        self.forget_replies: Final = memory.forget_replies
        self._behind: Final = behind
        self._failed: Final = failed
        self._lookups: dict[CacheKey, asyncio.Task[tuple[StoredResponse, ...]]] = {}
        self._changes: set[asyncio.Task[None]] = set()

    @property
    def has_shared(self) -> bool:
        """Whether there is anything behind memory."""
        return self.shared is not None

    @property
    def is_written(self) -> bool:
        """Whether nothing waits to be written behind memory."""
        return self._behind is None or not (self._changes or self._behind.bytes)

    # In memory, now.

    def lookup_now(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return the responses in memory under ``key``, newest first."""
        return self.memory.lookup_now(key)

    def keep_now(self, response: StoredResponse) -> bool:
        """Put a response in memory alone; False when it is refused there."""
        return self.memory.put_now(response)

    def restate_now(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old`` in memory alone; False when ``old`` is no longer there."""
        return self.memory.replace_now(old, new)

    def forget_now(self, response: StoredResponse) -> bool:
        """Remove a response from memory alone; False when it was no longer there."""
        return self.memory.remove_now(response)

    # In both tiers: at once in memory, soon behind.

    def put_now(self, response: StoredResponse) -> bool:
        """Store a complete response; False when neither tier takes it."""
        kept = self.memory.put_now(response)
        return (self._behind is not None and self._behind.put_soon(response)) or kept

    def replace_now(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old``; False when ``old`` is no longer in memory."""
        replaced = self.memory.replace_now(self._as_restated(old), new)
        if self._behind is not None:
            self._change(self._replaced(self._behind, old, new))
        return replaced

    def remove_now(self, response: StoredResponse) -> bool:
        """Remove a response; False when it was no longer in memory."""
        removed = self.memory.remove_now(self._as_restated(response))
        if self._behind is not None:
            self._change(self._removed(self._behind, response))
        return removed

    def _as_restated(self, response: StoredResponse) -> StoredResponse:
        """Return a response as it is in memory now."""
        for stored in self.memory.lookup_now(response.key):
            if stored is response or replace(stored, freshness=response.freshness) == response:
                return stored
        return response

    # Behind.

    async def behind(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return what the shared tier has under ``key``, newest first; bodies may still be there."""
        if self.shared is None:
            return ()
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = asyncio.get_running_loop().create_task(self._looked_up(self.shared, key))
            self._lookups[key] = lookup
        # Shielded: who asked first and leaves takes nothing with it.
        return await asyncio.shield(lookup)

    async def written(self, key: CacheKey) -> None:
        """Wait until what was put under ``key`` is where other processes find it, or is given up."""
        if self._behind is not None:
            await self._behind.written(key)

    async def brought(self, response: StoredResponse) -> StoredResponse | None:
        """Return the response with its body in this process's memory; None when it cannot be had."""
        if response.body.local is not None:
            return response
        try:
            pieces = [bytes(piece) async for piece in response.body.read(0, response.body.size)]
        except StoreError:
            self._failed()
            return None
        return replace(response, body=MemoryBody(tuple(pieces)))

    async def close(self) -> None:
        """Write what is waiting, for a few seconds, and close both."""
        if self._behind is not None:
            await self._behind.close(_LAST_WORDS)
        tasks = [*self._changes, *self._lookups.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.shared is not None:
            await self.shared.close()
        await self.memory.close()

    def statistics(self) -> dict[str, StoreStatistics]:
        """Return a snapshot of each tier."""
        tiers = {"memory": self.memory.statistics()}
        return tiers if self.shared is None else tiers | {"redis": self.shared.statistics()}

    async def _looked_up(self, shared: Store, key: CacheKey) -> tuple[StoredResponse, ...]:
        try:
            return await shared.lookup(key)
        except StoreError:
            self._failed()
            return ()
        finally:
            del self._lookups[key]

    def _change(self, change: Coroutine[None, None, None]) -> None:
        if len(self._changes) >= _MAX_CHANGES:
            change.close()
            return
        task = asyncio.get_running_loop().create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _replaced(self, behind: WriteBehind, old: StoredResponse, new: StoredResponse) -> None:
        """Where ``old`` is not what the shared tier has, that is older than ``new`` too: it was validated just now."""
        try:
            replaced = await behind.replace(old, new)
        except StoreError:
            self._failed()
            return
        if not replaced:
            behind.put_soon(new)

    async def _removed(self, behind: WriteBehind, response: StoredResponse) -> None:
        """Where ``response`` is not what the shared tier has, that has lost its place too: the whole key goes."""
        try:
            if not await behind.remove(response):
                await behind.remove_key(response.key)
        except StoreError:
            self._failed()
            return
