"""Which key loses a response when memory is full: four orders of eviction behind one contract.

Theory
    A hit pays for the order with what it takes to record a use, so that is all a use does: LRU moves a slot to the
    young end of a list, LFU and S3-FIFO add one to a number, FIFO does nothing. What the numbers mean is looked at when
    a victim is wanted. Lists are made of the slots themselves (``older``, ``newer``): a slot leaves the middle of one
    without a search, and no table behind it has to grow, which with a million entries would take 50 ms.

    ``lru``     the key used or stored longest ago.
    ``fifo``    the key stored longest ago.
    ``lfu``     the key used least often lately. A slot is filed one level above that of the last victim, and one more
                for each use since it was filed before. The oldest slot of the lowest level is the victim; if it was
                used it is filed anew instead. So what was used often long ago sinks by itself: LFU with dynamic ageing.
    ``s3fifo``  Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, with sizes in bytes: what is
                new begins in a small queue, a tenth of the room, and is out soon unless it is used twice there; then
                it goes to the main queue, where each use, of at most three, is another round. A key that was out too
                soon is remembered (``Ghosts``), and begins in the main queue when it comes again. A scan, which uses
                nothing twice, goes through a tenth of the memory and leaves the rest alone.

Invariants
    * Every operation takes constant time. A victim is found within ``CHANCES`` steps, used or not: this departs from
      the paper, where everything may have a second chance before something goes, and one eviction from a million
      entries may take seconds.
    * A slot is in one list from ``add`` to ``remove``, and refers to no other slot before and after that.
    * What an order takes beside the slots is ``bytes``, and never grows.

Called by ``stores.memory``, which says what a slot weighs by ``resize``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from edgecache.semantics.stored import CacheKey
from edgecache.stores.base import Eviction, Slot
from edgecache.stores.weights import weight_of

__all__ = ["CHANCES", "LEVELS", "ROUNDS", "SMALL", "Find", "Ghosts", "Order", "Shards", "order_of"]

Shards: TypeAlias = Sequence[dict[CacheKey, Slot]]
"""A table in parts, as many as a power of two; the low bits of a key's hash say in which part it is."""

Find: TypeAlias = Callable[[CacheKey], Slot | None]

CHANCES: Final = 32
"""Slots that may be passed over, because they were used, before one goes all the same."""

LEVELS: Final = 256
"""Levels of LFU: as many uses, less one, are told apart."""

SMALL: Final = 0.1
"""Part of the room for what is new, S3-FIFO."""

PROMOTED_BY: Final = 2
"""Uses in the small queue by which a slot goes to the main queue."""

ROUNDS: Final = 3
"""Uses that give another round in the main queue, at most."""

_BYTES_PER_GHOST: Final = 2048
"""Of room, for each key that can be remembered: less than most entries weigh, so that few are forgotten too soon."""

_SMALL_QUEUE: Final = 0
_MAIN_QUEUE: Final = 1


class Order(Protocol):
    """What a store asks of an order of eviction. ``bytes``: what it takes itself, in bytes."""

    bytes: int

    def finder(self, shards: Shards) -> Find:
        """Return a function that finds a key's slot and counts it as a use, in one call."""
        ...

    def use(self, slot: Slot) -> None:
        """Count a use of a slot that was found another way."""
        ...

    def add(self, slot: Slot, key: CacheKey) -> None:
        """A slot is new."""
        ...

    def renew(self, slot: Slot) -> None:
        """Something was stored in a slot that was there before."""
        ...

    def resize(self, slot: Slot, by: int) -> None:
        """A slot that is there weighs more, or less, by so many bytes."""
        ...

    def remove(self, slot: Slot) -> None:
        """A slot is gone; what it weighed was taken off before."""
        ...

    def evicted(self, slot: Slot, key: CacheKey, size: int) -> None:
        """As ``remove``; it was the victim, and weighed ``size`` bytes."""
        ...

    def victim(self) -> Slot:
        """Return the slot that is to lose a response; there is one."""
        ...

    def newest(self) -> Slot | None:
        """Return a slot, of those that stay longest where the order knows; None when there is none."""
        ...


class _Stored:
    """FIFO, and what the others have in common with it: one list, oldest first."""

    def __init__(self) -> None:
        self.bytes = 0
        self._end: Final = _ring()

    def finder(self, shards: Shards) -> Find:
        """A use is nothing."""
        mask = len(shards) - 1

        def find(key: CacheKey) -> Slot | None:
            return shards[hash(key) & mask].get(key)

        return find

    def use(self, slot: Slot) -> None:
        """A use is nothing."""

    def add(self, slot: Slot, key: CacheKey) -> None:
        """It is the youngest."""
        _append(self._end, slot)

    def renew(self, slot: Slot) -> None:
        """It is the youngest again."""
        _unlink(slot)
        _append(self._end, slot)

    def resize(self, slot: Slot, by: int) -> None:
        """Weights do not matter."""

    def remove(self, slot: Slot) -> None:
        """Forget it."""
        _unlink(slot)
        del slot.older, slot.newer

    def evicted(self, slot: Slot, key: CacheKey, size: int) -> None:
        """Forget it."""
        self.remove(slot)

    def victim(self) -> Slot:
        """Return the oldest."""
        return self._end.newer

    def newest(self) -> Slot | None:
        """Return the youngest."""
        return None if self._end.older is self._end else self._end.older


class _Used(_Stored):
    """LRU."""

    def finder(self, shards: Shards) -> Find:
        """A use makes a slot the youngest. Written out, since each hit pays for it."""
        mask, end = len(shards) - 1, self._end

        def find(key: CacheKey) -> Slot | None:
            slot = shards[hash(key) & mask].get(key)
            if slot is not None:
                older, newer = slot.older, slot.newer
                older.newer, newer.older = newer, older
                last = end.older
                last.newer = end.older = slot
                slot.older, slot.newer = last, end
            return slot

        return find

    def use(self, slot: Slot) -> None:
        """A use makes a slot the youngest."""
        self.renew(slot)


class _Counted(_Stored):
    """What LFU and S3-FIFO have in common: uses are counted."""

    def finder(self, shards: Shards) -> Find:
        """A use is a number."""
        mask = len(shards) - 1

        def find(key: CacheKey) -> Slot | None:
            slot = shards[hash(key) & mask].get(key)
            if slot is not None:
                slot.uses += 1
            return slot

        return find

    def use(self, slot: Slot) -> None:
        """A use is a number."""
        slot.uses += 1

    def renew(self, slot: Slot) -> None:
        """It stays where it is: whoever asked for it has been counted."""


class _Frequent(_Counted):
    """LFU. ``_age`` is the level of the last victim; nothing is filed below it, nor ``LEVELS`` above."""

    def __init__(self) -> None:
        super().__init__()
        self._age = 0
        self._levels: Final = [_ring() for _ in range(LEVELS)]

    def add(self, slot: Slot, key: CacheKey) -> None:
        """It has not been used yet."""
        _append(self._level(1), slot)

    def victim(self) -> Slot:
        """Return the oldest slot of the lowest level that was not used since it was filed."""
        for _ in range(CHANCES):
            slot = self._oldest()
            if not slot.uses:
                return slot
            _unlink(slot)
            _append(self._level(min(1 + slot.uses, LEVELS - 1)), slot)
            slot.uses = 0
        return self._oldest()

    def newest(self) -> Slot | None:
        """Return one of the highest level."""
        levels = (self._level(above) for above in reversed(range(LEVELS)))
        return next((end.older for end in levels if end.older is not end), None)

    def _level(self, above: int) -> Slot:
        return self._levels[(self._age + above) % LEVELS]

    def _oldest(self) -> Slot:
        while (slot := self._level(0).newer) is self._level(0):
            self._age += 1
        return slot


class _Queued(_Counted):
    """S3-FIFO. ``rank`` of a slot says in which queue it is. The list of ``_Stored`` is the main queue."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._small: Final = _ring()
        self._small_bytes = 0
        self._small_room: Final = int(max_bytes * SMALL)
        self._ghosts: Final = Ghosts(max_bytes - self._small_room, max_bytes // _BYTES_PER_GHOST)
        self.bytes = self._ghosts.bytes

    def add(self, slot: Slot, key: CacheKey) -> None:
        """It begins in the small queue, unless it was evicted from there not long ago."""
        slot.rank = _MAIN_QUEUE if key in self._ghosts else _SMALL_QUEUE
        _append(self._end if slot.rank else self._small, slot)

    def resize(self, slot: Slot, by: int) -> None:
        """The small queue has a size."""
        if slot.rank == _SMALL_QUEUE:
            self._small_bytes += by

    def evicted(self, slot: Slot, key: CacheKey, size: int) -> None:
        """What was in the small queue is remembered."""
        self.remove(slot)
        if slot.rank == _SMALL_QUEUE:
            self._ghosts.add(key, size)

    def victim(self) -> Slot:
        """Return the oldest of the small queue if that is too large, else of the main queue, which was not used."""
        for _ in range(CHANCES):
            slot = self._oldest()
            if slot.rank == _SMALL_QUEUE:
                if slot.uses < PROMOTED_BY:
                    return slot
                self._promote(slot)
            elif slot.uses:
                slot.uses = min(slot.uses, ROUNDS) - 1
                _unlink(slot)
                _append(self._end, slot)
            else:
                return slot
        return self._oldest()

    def newest(self) -> Slot | None:
        """Return the youngest of the main queue, else of the small one."""
        if (slot := super().newest()) is not None:
            return slot
        return None if self._small.older is self._small else self._small.older

    def _oldest(self) -> Slot:
        """The last one in the small queue may be larger than that: it has its time all the same."""
        small, main = self._small.newer, self._end.newer
        several = small is not self._small.older
        return small if main is self._end or (several and self._small_bytes > self._small_room) else main

    def _promote(self, slot: Slot) -> None:
        self._small_bytes -= weight_of(slot)
        _unlink(slot)
        _append(self._end, slot)
        slot.rank, slot.uses = _MAIN_QUEUE, 0


class Ghosts:
    """Keys evicted while the last ``span`` bytes were: each a fingerprint, and when, in a table that never grows.

    Two keys in one place of the table, one in ``places``, are one too few remembered; two with one fingerprint as well
    begin in the wrong queue.
    """

    __slots__ = ("_clock", "_mask", "_span", "_table")

    def __init__(self, span: int, places: int) -> None:
        self._mask: Final = (1 << max(4, (places - 1).bit_length())) - 1
        self._table: Final = array("Q", bytes(8 * (self._mask + 1)))
        self._span: Final = span
        self._clock = span + 1  # an empty place is as of long ago

    @property
    def bytes(self) -> int:
        """What the table takes."""
        return 8 * len(self._table)

    def add(self, key: CacheKey, size: int) -> None:
        """Remember a key that was evicted, and weighed ``size`` bytes."""
        self._clock += size
        place, fingerprint = self._of(key)
        self._table[place] = fingerprint << 48 | (self._clock & 0xFFFF_FFFF_FFFF)

    def __contains__(self, key: CacheKey) -> bool:
        place, fingerprint = self._of(key)
        mark = self._table[place]
        since = (self._clock - mark) & 0xFFFF_FFFF_FFFF
        return mark >> 48 == fingerprint and since < self._span

    def _of(self, key: CacheKey) -> tuple[int, int]:
        digest = hash(key)
        return digest & self._mask, digest >> 40 & 0xFFFF


def order_of(eviction: Eviction, max_bytes: int) -> Order:
    """Return an order for a store of ``max_bytes``."""
    match eviction:
        case Eviction.LRU:
            return _Used()
        case Eviction.FIFO:
            return _Stored()
        case Eviction.LFU:
            return _Frequent()
        case Eviction.S3FIFO:
            return _Queued(max_bytes)


def _ring() -> Slot:
    """Return the end of a list that is empty: what follows it is the oldest, what precedes it the youngest."""
    end = Slot()
    end.older = end.newer = end
    return end


def _append(end: Slot, slot: Slot) -> None:
    last = end.older
    last.newer = end.older = slot
    slot.older, slot.newer = last, end


def _unlink(slot: Slot) -> None:
    older, newer = slot.older, slot.newer
    older.newer, newer.older = newer, older
