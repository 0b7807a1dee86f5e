"""Puts to a slow store, later: a fill never waits for the shared tier.

Theory
    What is stored locally is also to be stored where other processes find it, but no request has to wait for that,
    and it may fail. So puts are queued, bounded in bytes, and written by a few workers that exist only while there
    is something to write. When the shared store is slower than the origins, the queue is full and puts are
    refused and counted: nothing grows, nothing waits.

Invariants
    * Queued and being written together weigh at most ``max_bytes``.
    * Of two operations on one cache key the earlier never undoes the later, except by losing a response: what
      is asked directly (``replace``, ``remove``, …) first settles what is queued for its key.
    * Of queued puts with equal selecting values only the last is written.
    * What is not ``wanted`` any more is not begun to be written; what is half written is written to its end.
    * A lost put leaves what it would have replaced; whether that may still be used is for freshness
      and the purge ledger to say, as for any copy that is elsewhere.

Called by the tiers that combine stores, on one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgecache.errors import StoreError
from edgecache.semantics.stored import CacheKey, Selecting, StoredResponse
from edgecache.stores.base import Store
from edgecache.stores.weights import weigh

__all__ = ["MAX_QUEUE", "WORKERS", "WriteBehind", "WriteBehindCounters"]

MAX_QUEUE: Final = 32 * 1024 * 1024
"""Bytes that may wait to be written: some seconds of misses, or one of the largest bodies."""

WORKERS: Final = 2
"""Puts written at once: one large body does not hold up all small ones."""


@dataclass(slots=True)
class WriteBehindCounters:
    """What became of puts.

    Attributes:
        written: stored.
        refused: refused by the store.
        failed: the store could not be asked.
        full: refused here, because too much was waiting.
        superseded: replaced or removed before they were written.
        purged: not wanted any more before they were written.
        dropped: waiting or being written when time to close ran out.
    """

    written: int = 0
    refused: int = 0
    failed: int = 0
    full: int = 0
    superseded: int = 0
    purged: int = 0
    dropped: int = 0


class WriteBehind:
    """A bounded queue in front of a store's ``put``.

    Args:
        store: where to write.
        max_bytes: what may be waiting or being written, bytes.
        workers: puts written at once; those of one key are written one after the other.
        wanted: asked of a response just before it is written.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_bytes: int = MAX_QUEUE,
        workers: int = WORKERS,
        wanted: Callable[[StoredResponse], bool] = lambda _: True,
    ) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._most_workers = workers
        self._wanted = wanted
        self._queued: dict[CacheKey, dict[Selecting, StoredResponse]] = {}
        self._writing: dict[CacheKey, asyncio.Future[None]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False
        self.bytes = 0
        self.counters: Final = WriteBehindCounters()

    def put_soon(self, response: StoredResponse) -> bool:
        """Queue a put; False when too much is waiting. Whether it succeeds, only the counters say."""
        self._unqueue(response.key, response.selecting)
        weight = weigh(response)
        if self._closed or self.bytes + weight > self._max_bytes:
            self.counters.full += 1
            return False
        self.bytes += weight
        self._queued.setdefault(response.key, {})[response.selecting] = response
        if len(self._workers) < self._most_workers:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return True

    async def replace(self, old: StoredResponse, new: StoredResponse) -> bool:
        """As the store's, also when ``old`` is still waiting."""
        queued = self._queued.get(old.key, {}).get(old.selecting)
        if queued is None:
            await self._written(old.key)
            return self._wanted(new) and await self._store.replace(old, new)
        if queued != old:
            return False  # a newer one waits
        if new.selecting != old.selecting:
            await self._forget(old)
        return self.put_soon(new)

    async def remove(self, response: StoredResponse) -> bool:
        """As the store's, also when ``response`` is still waiting."""
        if self._queued.get(response.key, {}).get(response.selecting) == response:
            await self._forget(response)
            return True
        await self._written(response.key)
        return await self._store.remove(response)

    async def remove_key(self, key: CacheKey) -> int:
        """As the store's; what is waiting counts."""
        waiting = tuple(self._queued.get(key, ()))
        for selecting in waiting:
            self._unqueue(key, selecting)
        await self._written(key)
        return await self._store.remove_key(key) + len(waiting)

    async def clear(self) -> None:
        """As the store's; nothing waits afterwards but what is put meanwhile."""
        for key, waiting in tuple(self._queued.items()):
            for selecting in tuple(waiting):
                self._unqueue(key, selecting)
        for key in tuple(self._writing):
            await self._written(key)
        await self._store.clear()

    async def written(self, key: CacheKey) -> None:
        """Wait until no put waits under ``key`` and none is being written."""
        while key in self._queued or key in self._writing:
            if key in self._writing:
                await self._written(key)
            else:  # another key's put is before it
                await asyncio.wait([*self._workers, *self._writing.values()], return_when=asyncio.FIRST_COMPLETED)

    async def close(self, seconds: float) -> None:
        """Take no more puts, and write what is waiting, for at most ``seconds``. The store stays open."""
        self._closed = True
        if self._workers:
            await asyncio.wait(self._workers, timeout=seconds)
        unfinished = tuple(self._workers)
        self.counters.dropped += len(self._writing)
        for worker in unfinished:
            worker.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        self.counters.dropped += sum(map(len, self._queued.values()))
        self._queued.clear()
        self.bytes = 0

    async def _forget(self, response: StoredResponse) -> None:
        """Take ``response`` out of the queue, and from the store what it was to replace.

        That is all under its key, because what it was to replace is known to nobody. Losing is always
        allowed, bringing back is not.
        """
        self._unqueue(response.key, response.selecting)
        await self._written(response.key)
        await self._store.remove_key(response.key)

    async def _written(self, key: CacheKey) -> None:
        """Wait until nothing is being written under ``key``."""
        while (writing := self._writing.get(key)) is not None:
            await asyncio.shield(writing)

    def _unqueue(self, key: CacheKey, selecting: Selecting) -> None:
        """Drop the put that waits for these selecting values, if there is one."""
        waiting = self._queued.get(key, {})
        response = waiting.pop(selecting, None)
        if response is not None:
            self.bytes -= weigh(response)
            self.counters.superseded += 1
            if not waiting:
                del self._queued[key]

    def _next(self) -> StoredResponse | None:
        """Take the put that waits longest out of the queue, of those whose key is not being written."""
        key = next((key for key in self._queued if key not in self._writing), None)
        if key is None:
            return None
        waiting = self._queued.pop(key)
        response = waiting.pop(next(iter(waiting)))
        if waiting:
            self._queued[key] = waiting  # at the end: no key holds up the others
        return response

    async def _work(self) -> None:
        """Write until nothing waits that another worker is not already at."""
        while (response := self._next()) is not None:
            await self._write(response)

    async def _write(self, response: StoredResponse) -> None:
        if not self._wanted(response):
            self.counters.purged += 1
            self.bytes -= weigh(response)
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writing[response.key] = written
        stored: bool | None = None
        try:
            stored = await self._store.put(response)
        except StoreError:
            self.counters.failed += 1
        finally:
            self.counters.written += stored is True
            self.counters.refused += stored is False
            self.bytes -= weigh(response)
            del self._writing[response.key]
            written.set_result(None)
