"""The local tier: stored responses in this process's memory, bounded in bytes.

Theory
    A table from cache key to the slot of what is under it, and an order of the slots, which says what is evicted
    (``stores.eviction``): a hit is one access to the table and one use recorded, in one call (``slot_now``), and
    allocates nothing.

    The table is in ``SHARDS`` parts. A dict that has no room left is written anew at once; with a million entries
    that took 45 ms (an ``OrderedDict`` 140), and under eviction it comes again and again. A part of it takes a
    fraction of a millisecond when it is its turn.

    What is evicted is one response: the one stored or validated longest ago under the key that the order gives up.
    A use is known per key only, because which of a key's responses is used is decided after the lookup; but evicting
    all of a key's responses for the room of one would throw away up to ``max_variants`` times too much.

    What the ``census`` of tags and hosts takes is counted beside the weights (``stores.weights``).

Invariants
    * ``bytes`` is the sum of the weights of what is stored, of its census, and of what was charged for replies; with
      what the order takes itself it is never more than ``max_bytes``.
    * Every operation is synchronous, and takes time independent of the number of keys.
    * A tally (``tally_all`` …) counts what is stored, also if a purge has hit it and nobody has removed it yet.
    * A response refused for its size still ends the life of the one it would have replaced: after a
      newer answer was seen, the older one must not come back.

Called by the engine, on one event loop; there are no locks because there is no ``await`` inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.base import Eviction, Slot, StoreStatistics
from edgecache.stores.census import Census, Tally
from edgecache.stores.compact import Compactor
from edgecache.stores.eviction import order_of
from edgecache.stores.weights import weigh

__all__ = ["MAX_SHARE", "SHARDS", "MemoryStore"]

MAX_SHARE: Final = 0.5
"""Largest part of the budget one response may take: a larger one would push out most of what others use."""

SHARDS: Final = 256
"""Parts of the table; a power of two."""


class MemoryStore:
    """A ``LocalStore`` that keeps within ``max_bytes``.

    Args:
        max_bytes: budget for everything stored, bodies, heads, keys and index, in bytes.
        max_variants: responses kept under one key; beyond it the one stored longest ago is evicted.
        max_share: largest part of the budget that one response may take, 0 to 1.
        eviction: which key loses a response when the budget is spent.

    Attributes:
        slot_now: returns what is under a key, and counts it as a use; None when nothing is.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        max_variants: int = DEFAULT.max_variants,
        max_share: float = MAX_SHARE,
        eviction: Eviction = Eviction.LRU,
    ) -> None:
        self._shards: Final[list[dict[CacheKey, Slot]]] = [{} for _ in range(SHARDS)]
        self._order: Final = order_of(eviction, max_bytes)
        self.slot_now: Final = self._order.finder(self._shards)
        self.use: Final = self._order.use
        self._max_bytes = max_bytes
        self._budget: Final = max_bytes - self._order.bytes
        self._max_variants = max_variants
        self._max_weight = int(max_bytes * max_share)
        self._census: Final = Census()
        self._compactor: Final = Compactor()
        self._bytes = 0
        self._responses = 0
        self._evictions = 0
        self._refused = 0

    @property
    def shards(self) -> int:
        """Number of parts of the table."""
        return SHARDS

    def keys_in(self, shard: int) -> Sequence[CacheKey]:
        """Return the keys in one of the ``SHARDS`` parts of the table, where each stays while it is there.

        Whoever walks through them ``peek``s at each when it is its turn.
        """
        return list(self._shards[shard])

    def peek(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """As ``lookup_now``, but not counted as a use."""
        slot = self._slot(key)
        return () if slot is None else slot.responses

    def tally_all(self) -> Tally:
        """Return how many responses are stored, and the key of one of them."""
        slot = self._order.newest()
        return self._responses, None if slot is None else slot.responses[0].key

    def tally_tag(self, tag: str) -> Tally:
        """Return how many stored responses have this tag."""
        return self._census.of_tag(tag)

    def tally_authority(self, authority: str) -> Tally:
        """Return how many stored responses have this host and port in their URI, as they are spelled there."""
        return self._census.of_authority(authority)

    def tally_uri(self, uri: str) -> Tally:
        """Return how many stored responses have this URI, as it is spelled."""
        under = sum(stored.uri == uri for stored in self.peek(CacheKey(uri)))
        elsewhere, key = self._census.of_uri(uri)
        return under + elsewhere, CacheKey(uri) if under else key

    def lookup_now(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return the responses under ``key``, newest first, and count it as a use."""
        slot = self.slot_now(key)
        return () if slot is None else slot.responses

    def charge(self, slot: Slot, size: int) -> bool:
        """Count ``size`` more bytes for the replies of ``slot`` until they are gone; False when they are gone at once.

        That is so where the slot is no longer stored, and where its replies would take more than one response may.
        """
        if not slot.responses or slot.charged + size > self._max_weight:
            self.forget_replies(slot)
            return False
        slot.charged += size
        self._resize(slot, size)
        self._shrink()
        return slot.charged > 0

    def forget_replies(self, slot: Slot) -> None:
        """Let the replies of a slot be gone, and what was charged for them."""
        for reply in slot.replies or ():
            reply.forget()
        if slot.charged:
            self._resize(slot, -slot.charged)
        slot.replies, slot.charged = None, 0

    def put_now(self, response: StoredResponse) -> bool:
        """Store ``response`` in place of the one with equal selecting values; False when it is refused.

        Refused is what is too large, and a body that is not in this process's memory.
        """
        response = self._compactor.compacted(response)
        slot = self._slot(response.key)
        if slot is not None:
            self._take_out_equal(slot, response)
        if self._is_refused(response):
            self._refused += 1
            self._remove_if_empty(slot, response.key)
            return False
        if slot is None:
            slot = self._shards[hash(response.key) % SHARDS][response.key] = Slot()
            self._order.add(slot, response.key)
        else:
            self._order.renew(slot)
        self._put_in(slot, response)
        return True

    def replace_now(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old``; False when ``old`` is no longer stored, or ``new`` is refused."""
        slot = self._slot(old.key)
        if slot is None or old not in slot.responses:
            return False
        self._take_out(slot, slot.responses.index(old))
        return self.put_now(new)

    def remove_now(self, response: StoredResponse) -> bool:
        """Remove ``response``; False when it is no longer stored."""
        slot = self._slot(response.key)
        if slot is None or response not in slot.responses:
            return False
        self._take_out(slot, slot.responses.index(response))
        self._remove_if_empty(slot, response.key)
        return True

    def remove_key_now(self, key: CacheKey) -> int:
        """Remove every response under ``key``; return how many there were."""
        slot = self._slot(key)
        if slot is None:
            return 0
        count = len(slot.responses)
        for _ in range(count):
            self._take_out(slot, 0)
        self._remove_if_empty(slot, key)
        return count

    async def lookup(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """As ``lookup_now``."""
        return self.lookup_now(key)

    async def put(self, response: StoredResponse) -> bool:
        """As ``put_now``."""
        return self.put_now(response)

    async def replace(self, old: StoredResponse, new: StoredResponse) -> bool:
        """As ``replace_now``."""
        return self.replace_now(old, new)

    async def remove(self, response: StoredResponse) -> bool:
        """As ``remove_now``."""
        return self.remove_now(response)

    async def remove_key(self, key: CacheKey) -> int:
        """As ``remove_key_now``."""
        return self.remove_key_now(key)

    async def clear(self) -> None:
        """Remove everything; the history in the statistics stays."""
        for shard in self._shards:
            for key in list(shard):
                self.remove_key_now(key)

    async def close(self) -> None:
        """Release the memory."""
        await self.clear()

    def statistics(self) -> StoreStatistics:
        """Return a snapshot of size and history."""
        return StoreStatistics(
            responses=self._responses,
            keys=sum(map(len, self._shards)),
            bytes=self._bytes + self._census.bytes,
            max_bytes=self._max_bytes,
            evictions=self._evictions,
            refused=self._refused,
        )

    def _slot(self, key: CacheKey) -> Slot | None:
        return self._shards[hash(key) % SHARDS].get(key)

    def _is_refused(self, response: StoredResponse) -> bool:
        return response.body.local is None or weigh(response) + self._census.most(response) > self._max_weight

    def _put_in(self, slot: Slot, response: StoredResponse) -> None:
        self.forget_replies(slot)
        slot.responses = (response, *slot.responses)
        self._census.add(response)
        self._resize(slot, weigh(response))
        self._responses += 1
        while len(slot.responses) > self._max_variants:
            self._take_out(slot, -1)
            self._evictions += 1
        self._shrink()

    def _take_out_equal(self, slot: Slot, response: StoredResponse) -> None:
        """Remove the one that ``response`` takes the place of."""
        for index, other in enumerate(slot.responses):
            if other.selecting == response.selecting:
                self._take_out(slot, index)
                return

    def _take_out(self, slot: Slot, index: int) -> int:
        """Remove one response, and return what it weighed; its slot keeps its place in the order."""
        self.forget_replies(slot)
        responses = list(slot.responses)
        gone = responses.pop(index)
        slot.responses = tuple(responses)
        weight = weigh(gone)
        self._census.remove(gone)
        self._resize(slot, -weight)
        self._responses -= 1
        return weight

    def _remove_if_empty(self, slot: Slot | None, key: CacheKey) -> None:
        if slot is not None and not slot.responses:
            del self._shards[hash(key) % SHARDS][key]
            self._order.remove(slot)

    def _resize(self, slot: Slot, by: int) -> None:
        self._bytes += by
        self._order.resize(slot, by)

    def _shrink(self) -> None:
        """Return within the budget after something was added."""
        while self._bytes + self._census.bytes > self._budget:
            slot = self._order.victim()
            key = slot.responses[-1].key
            size = self._take_out(slot, -1)
            self._evictions += 1
            if not slot.responses:
                del self._shards[hash(key) % SHARDS][key]
                self._order.evicted(slot, key, size)
