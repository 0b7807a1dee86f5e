"""The contract of every store. ``tests/stores/contract.py`` runs it against each of them.

Theory
    A response is stored whole or not at all: a body still on its way lives in the engine's fill, and only
    when its framing says that it is complete is the response put here, in one step. So there is nothing
    half-written to clean up, and no reader ever sees a part.

Contract
    * Under one key there are up to ``max_variants`` responses with different selecting values
      (RFC 9111 §4.1), or different content ranges of one of them. ``put`` replaces the one with equal
      ``selecting`` (and, between partial ones, takes the new one's place: combining is the engine's work).
    * ``lookup`` returns the responses under a key, most recently stored first; whether one may be
      used is for the semantics to decide. Looking one up counts as a use for eviction.
    * ``replace`` swaps a head after validation; it does nothing when ``old`` is no longer there, so
      a late 304 never brings back what a purge, an eviction or a newer response removed.
    * A store keeps within its bounds at every moment, counting bodies, heads, keys and its own index.
    * Nothing but ``StoreError`` is raised, and losing a response is always allowed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from edgecache.semantics.stored import CacheKey, StoredResponse

__all__ = ["Eviction", "FillLock", "Kept", "LocalStore", "Slot", "Store", "StoreStatistics", "Tiers"]


class Eviction(enum.StrEnum):
    """Which response goes first when memory is full (``stores.eviction``)."""

    LRU = "lru"
    LFU = "lfu"
    FIFO = "fifo"
    S3FIFO = "s3fifo"


class Kept(Protocol):
    """What is kept beside stored responses, as it was made of them."""

    def forget(self) -> None:
        """Let go of them, and be of no use any more."""
        ...


class Slot:
    """What is under one key of a store in memory, as it is now; it stays the key's while anything is under it.

    Attributes:
        responses: newest first; empty when nothing is under the key any more.
        replies: what whoever answers from here remembers about exactly these responses, and has ``charge``d. It is
            told to ``forget``, and this is None, whenever they change. So it is set in the same step in which the slot
            was looked up, never later.
        charged: what was charged for ``replies``, bytes.
        older, newer, uses, rank: its place in the order of eviction, whose they are alone.
    """

    __slots__ = ("charged", "newer", "older", "rank", "replies", "responses", "uses")

    older: Slot
    newer: Slot

    def __init__(self) -> None:
        self.responses: tuple[StoredResponse, ...] = ()
        self.replies: list[Kept] | None = None
        self.charged = 0
        self.uses = 0
        self.rank = 0


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """A snapshot. ``bytes`` counts everything the store keeps, against ``max_bytes``."""

    responses: int
    keys: int
    bytes: int
    max_bytes: int
    evictions: int
    refused: int


class Store(Protocol):
    """Where responses rest; any tier."""

    async def lookup(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return the responses under ``key``, newest first."""
        ...

    async def put(self, response: StoredResponse) -> bool:
        """Store a complete response; False when it was refused (too large for this store)."""
        ...

    async def replace(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old``; False when ``old`` is no longer stored."""
        ...

    async def remove(self, response: StoredResponse) -> bool:
        """Remove one response; False when it was no longer stored."""
        ...

    async def remove_key(self, key: CacheKey) -> int:
        """Remove every response under ``key``; return how many there were."""
        ...

    async def clear(self) -> None:
        """Remove everything that is this store's own, and nothing else."""
        ...

    async def close(self) -> None:
        """Release connections and memory; the store is not used afterwards."""
        ...

    def statistics(self) -> StoreStatistics:
        """Return a snapshot of the store's size and history."""
        ...


class LocalStore(Store, Protocol):
    """A store in this process's memory: the same operations, also without waiting."""

    def slot_now(self, key: CacheKey) -> Slot | None:
        """Return what is under ``key``, and count it as a use; None when nothing is."""
        ...

    def charge(self, slot: Slot, size: int) -> bool:
        """Count ``size`` more bytes for the replies of ``slot`` until they are gone; False when they are gone at once.

        That is so where the slot is no longer stored, and where it would take more than its share of the store.
        """
        ...

    def use(self, slot: Slot) -> None:
        """Count a use of a slot that is there, which was found another way."""
        ...

    def forget_replies(self, slot: Slot) -> None:
        """Let the replies of a slot be gone, and what was charged for them."""
        ...

    def lookup_now(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """As ``lookup``."""
        ...

    def put_now(self, response: StoredResponse) -> bool:
        """As ``put``."""
        ...

    def replace_now(self, old: StoredResponse, new: StoredResponse) -> bool:
        """As ``replace``."""
        ...

    def remove_now(self, response: StoredResponse) -> bool:
        """As ``remove``."""
        ...

    def remove_key_now(self, key: CacheKey) -> int:
        """As ``remove_key``."""
        ...


class Tiers(Protocol):
    """Memory, and perhaps a shared store behind it (``stores.tiered``): what the engine works with."""

    @property
    def has_shared(self) -> bool:
        """Whether there is anything behind memory."""
        ...

    def lookup_now(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return the responses in memory under ``key``, newest first."""
        ...

    @property
    def slot_now(self) -> Callable[[CacheKey], Slot | None]:
        """As ``LocalStore.slot_now``: that very method, for those who count microseconds."""
        ...

    @property
    def charge(self) -> Callable[[Slot, int], bool]:
        """As ``LocalStore.charge``."""
        ...

    @property
    def use(self) -> Callable[[Slot], None]:
        """As ``LocalStore.use``."""
        ...

    @property
    def forget_replies(self) -> Callable[[Slot], None]:
        """As ``LocalStore.forget_replies``."""
        ...

    def keep_now(self, response: StoredResponse) -> bool:
        """Put a response in memory alone; False when it is refused there."""
        ...

    def restate_now(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old`` in memory alone; False when ``old`` is no longer there."""
        ...

    def forget_now(self, response: StoredResponse) -> bool:
        """Remove a response from memory alone; False when it was no longer there."""
        ...

    def put_now(self, response: StoredResponse) -> bool:
        """Store a complete response in both; False when neither takes it."""
        ...

    def replace_now(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old`` in both; False when ``old`` is no longer in memory."""
        ...

    def remove_now(self, response: StoredResponse) -> bool:
        """Remove a response from both; False when it was no longer in memory."""
        ...

    async def behind(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return what the shared store has under ``key``, newest first; raise nothing."""
        ...

    async def written(self, key: CacheKey) -> None:
        """Wait until what was put under ``key`` is where other processes find it, or is given up."""
        ...

    async def brought(self, response: StoredResponse) -> StoredResponse | None:
        """Return the response with its body in memory; None when it cannot be had."""
        ...


class FillLock(Protocol):
    """A lock per key that processes share, so that one of them fetches while the others wait. A hint, no promise:

    it ends by itself, and whoever cannot ask for it goes on without.
    """

    async def acquire(self, key: CacheKey, seconds: float) -> object | None:
        """Return the proof of having it, for at most ``seconds``; None when somebody else has it."""
        ...

    async def release(self, owner: Any) -> None:
        """Give it back, if it is still the owner's."""
        ...

    async def released(self, key: CacheKey, seconds: float) -> bool:
        """Wait until nobody has it, at most ``seconds``; return whether nobody has."""
        ...
