"""The local tier: stored responses in this process's memory, bounded in bytes, least recently used out first.

Theory
    One ordered table from cache key to the slot of what is under it: a hit is one table access and one move to the
    young end, and allocates nothing. The order of that table is the whole eviction policy.

    What is evicted is one response: the one stored or validated longest ago under the key used longest ago.
    A use is known per key only, because which of a key's responses is used is decided after the lookup; but evicting
    all of a key's responses for the room of one would throw away up to ``max_variants`` times too much.

Weights
    ``weigh`` estimates what a response costs the process, from lengths and constants. These were calibrated on
    100 000 responses (in the last line 20 000) as ``semantics.storing`` makes them, with CPython 3.11 on x86-64
    and glibc; bytes per response:

        ======  ======  =====  ====  =====  ===========  =======
        fields  body    tags   Vary  RSS    tracemalloc  weight
        ======  ======  =====  ====  =====  ===========  =======
        2       0       0      no    1 608               1 684
        6       0       0      no    2 234  2 084        2 278
        14      0       0      no    3 849               3 869
        15      0       7      no    5 465  5 094        5 499
        14      0       0      yes   4 007               4 097
        14      1 024   0      no    4 953  4 624        4 893
        15      10 240  2      yes   14 701              14 753
        ======  ======  =====  ====  =====  ===========  =======

    Field names and tags are kept once for all responses (interned on the way in). A name is counted with its length
    only, which bounds what an origin can do with names that never repeat; a tag is counted each time.

    What the ``census`` of tags and hosts takes is counted beside the weights.

Invariants
    * ``bytes`` is the sum of the weights of what is stored, of its census, and of what was charged for replies; never
      more than ``max_bytes``.
    * A weight depends on immutable values only: what is subtracted is what was added.
    * Every operation is synchronous, and takes time independent of the number of keys; save ``every_key``, which
      takes 12 ms for each million of them.
    * A tally (``tally_all`` …) counts what is stored, also if a purge has hit it and nobody has removed it yet.
    * A response refused for its size still ends the life of the one it would have replaced: after a
      newer answer was seen, the older one must not come back.

Called by the engine, on one event loop; there are no locks because there is no ``await`` inside.
"""

from __future__ import annotations

import operator
import sys
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.base import Slot, StoreStatistics
from edgecache.stores.census import Census, Tally

__all__ = ["MAX_SHARE", "MemoryStore", "weigh"]

MAX_SHARE: Final = 0.5
"""Largest part of the budget one response may take: a larger one would push out most of what others use."""

_PER_RESPONSE: Final = 1000
"""The objects every stored response is made of, its numbers, and its place in the index, bytes."""

_PER_FIELD: Final = 116
"""A pair, its place in the tuple, and the header of its value's string; the name is shared."""

_PER_STRING: Final = 57
"""Header and rounding of one string."""

_PER_CHUNK: Final = 68
"""Header, rounding and place in the tuple of one chunk of a body."""

_PER_SELECTING: Final = 96
"""The two tuples of selecting fields, when there are any."""


class MemoryStore:
    """A ``LocalStore`` that keeps within ``max_bytes``.

    Args:
        max_bytes: budget for everything stored, bodies, heads, keys and index, in bytes.
        max_variants: responses kept under one key; beyond it the one stored longest ago is evicted.
        max_share: largest part of the budget that one response may take, 0 to 1.
    """

    def __init__(
        self, max_bytes: int, *, max_variants: int = DEFAULT.max_variants, max_share: float = MAX_SHARE
    ) -> None:
        self._slots: OrderedDict[CacheKey, Slot] = OrderedDict()
        self._max_bytes = max_bytes
        self._max_variants = max_variants
        self._max_weight = int(max_bytes * max_share)
        self._census: Final = Census()
        self._bytes = 0
        self._responses = 0
        self._evictions = 0
        self._refused = 0

    def every_key(self) -> list[CacheKey]:
        """Return every key there is now. Whoever walks through them ``peek``s at each when it is its turn."""
        return list(dict.keys(self._slots))  # in no order of use: that would take 30 times as long

    def peek(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """As ``lookup_now``, but not counted as a use."""
        slot = self._slots.get(key)
        return () if slot is None else slot.responses

    def tally_all(self) -> Tally:
        """Return how many responses are stored, and the key used last."""
        return self._responses, next(reversed(self._slots), None)

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

    def slot_now(self, key: CacheKey) -> Slot | None:
        """Return what is under ``key``, and count it as a use; None when nothing is."""
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
        return slot

    def lookup_now(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return the responses under ``key``, newest first, and count it as a use."""
        slot = self.slot_now(key)
        return () if slot is None else slot.responses

    def charge(self, slot: Slot, size: int) -> bool:
        """Count ``size`` more bytes for the replies of ``slot`` until they are gone; False when they are gone at once.

        That is so where the slot is no longer stored, and where its replies would take more than one response may.
        """
        if not slot.responses or slot.charged + size > self._max_weight:
            self._forget_replies(slot)
            return False
        slot.charged += size
        self._bytes += size
        self._shrink()
        return slot.charged > 0

    def put_now(self, response: StoredResponse) -> bool:
        """Store ``response`` in place of the one with equal selecting values; False when it is refused.

        Refused is what is too large, and a body that is not in this process's memory.
        """
        response = _with_shared_words(response)
        weight = weigh(response)
        slot = self._slots.get(response.key) or Slot()
        for index, other in enumerate(slot.responses):
            if other.selecting == response.selecting:
                self._take_out(slot, index)
                break
        if response.body.local is None or weight + self._census.most(response) > self._max_weight:
            self._refused += 1
            self._drop_if_empty(slot, response.key)
            return False
        self._put_in(slot, response, weight)
        return True

    def replace_now(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old``; False when ``old`` is no longer stored, or ``new`` is refused."""
        return self.remove_now(old) and self.put_now(new)

    def remove_now(self, response: StoredResponse) -> bool:
        """Remove ``response``; False when it is no longer stored."""
        slot = self._slots.get(response.key)
        if slot is None or response not in slot.responses:
            return False
        self._take_out(slot, slot.responses.index(response))
        self._drop_if_empty(slot, response.key)
        return True

    def remove_key_now(self, key: CacheKey) -> int:
        """Remove every response under ``key``; return how many there were."""
        slot = self._slots.get(key)
        if slot is None:
            return 0
        count = len(slot.responses)
        for index in reversed(range(count)):
            self._take_out(slot, index)
        self._drop_if_empty(slot, key)
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
        for slot in self._slots.values():
            slot.responses, slot.replies, slot.charged = (), None, 0
        self._slots.clear()
        self._census.clear()
        self._bytes = self._responses = 0

    async def close(self) -> None:
        """Release the memory."""
        await self.clear()

    def statistics(self) -> StoreStatistics:
        """Return a snapshot of size and history."""
        return StoreStatistics(
            responses=self._responses,
            keys=len(self._slots),
            bytes=self._bytes + self._census.bytes,
            max_bytes=self._max_bytes,
            evictions=self._evictions,
            refused=self._refused,
        )

    def _put_in(self, slot: Slot, response: StoredResponse, weight: int) -> None:
        """Add a response that fits; it is never evicted for it: it is the newest under the newest key."""
        self._forget_replies(slot)
        slot.responses = (response, *slot.responses)
        self._slots[response.key] = slot
        self._slots.move_to_end(response.key)
        self._census.add(response)
        self._bytes += weight
        self._responses += 1
        while len(slot.responses) > self._max_variants:
            self._evict_from(slot, response.key)
        self._shrink()

    def _take_out(self, slot: Slot, index: int) -> None:
        """Remove one response; its key keeps its place in the order of use."""
        self._forget_replies(slot)
        gone = slot.responses[index]
        slot.responses = slot.responses[:index] + slot.responses[index + 1 :]
        self._census.remove(gone)
        self._bytes -= weigh(gone)
        self._responses -= 1

    def _drop_if_empty(self, slot: Slot, key: CacheKey) -> None:
        if not slot.responses:
            self._slots.pop(key, None)

    def _forget_replies(self, slot: Slot) -> None:
        self._bytes -= slot.charged
        slot.replies, slot.charged = None, 0

    def _evict_from(self, slot: Slot, key: CacheKey) -> None:
        """Evict the response that was stored longest ago under ``key``."""
        self._take_out(slot, len(slot.responses) - 1)
        self._drop_if_empty(slot, key)
        self._evictions += 1

    def _shrink(self) -> None:
        """Return within the budget after something was added."""
        while self._bytes + self._census.bytes > self._max_bytes:
            key, slot = next(iter(self._slots.items()))  # O(1): an OrderedDict is a linked list, a dict is not
            self._evict_from(slot, key)


def weigh(response: StoredResponse) -> int:
    """Return what ``response`` costs in memory while it is stored, bytes."""
    weight = _PER_RESPONSE + response.body.size + _PER_CHUNK * len(response.body.local or ())
    weight += len(response.rendered) + len(response.key) + sys.getsizeof(response.tags) + _strings(response.tags)
    if response.uri is not response.key:
        weight += _PER_STRING + len(response.uri)
    for name, value in response.fields:
        weight += _PER_FIELD + len(name) + len(value)
    if response.selecting.names:
        weight += _PER_SELECTING + _strings(response.selecting.names) + _strings(response.selecting.values)
    return weight


def _strings(texts: Iterable[str | None]) -> int:
    return sum(_PER_STRING + len(text or "") for text in texts)


def _with_shared_words(response: StoredResponse) -> StoredResponse:
    """Return an equal response whose field names and tags are interned; the same one when they are already."""
    fields = tuple((sys.intern(str(name)), value) for name, value in response.fields)
    tags = [sys.intern(str(tag)) for tag in response.tags]
    if all(map(operator.is_, tags, response.tags)) and all(
        new is old for (new, _), (old, _) in zip(fields, response.fields, strict=True)
    ):
        return response
    return replace(response, fields=fields, tags=frozenset(tags))
