"""Orders of eviction (``edgecache/stores/eviction.py``) told once more, without regard for time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgecache.semantics.stored import CacheKey
from edgecache.stores.base import Eviction
from edgecache.stores.eviction import CHANCES, LEVELS, ROUNDS, SMALL, order_of

__all__ = ["MODELS", "Model"]

Weight = Callable[[CacheKey], int]


class Model(Protocol):
    def add(self, key: CacheKey) -> None: ...
    def renew(self, key: CacheKey) -> None: ...
    def use(self, key: CacheKey) -> None: ...
    def remove(self, key: CacheKey) -> None: ...
    def evicted(self, key: CacheKey, size: int) -> None: ...
    def victim(self, weight: Weight) -> CacheKey: ...


class Fifo:
    def __init__(self, budget: int) -> None:
        self.oldest_first: list[CacheKey] = []

    def add(self, key: CacheKey) -> None:
        self.oldest_first.append(key)

    def renew(self, key: CacheKey) -> None:
        self.oldest_first.remove(key)
        self.oldest_first.append(key)

    def use(self, key: CacheKey) -> None:
        pass

    def remove(self, key: CacheKey) -> None:
        self.oldest_first.remove(key)

    def evicted(self, key: CacheKey, size: int) -> None:
        self.remove(key)

    def victim(self, weight: Weight) -> CacheKey:
        return self.oldest_first[0]


class Lru(Fifo):
    def use(self, key: CacheKey) -> None:
        self.renew(key)


class Lfu:
    def __init__(self, budget: int) -> None:
        self.age = self.filed = 0
        self.places: dict[CacheKey, tuple[int, int]] = {}
        """Level, and when it was filed."""
        self.uses: dict[CacheKey, int] = {}

    def file(self, key: CacheKey, level: int) -> None:
        self.filed += 1
        self.places[key], self.uses[key] = (level, self.filed), 0

    def lowest(self) -> CacheKey:
        key = min(self.places, key=self.places.__getitem__)
        self.age = self.places[key][0]
        return key

    def add(self, key: CacheKey) -> None:
        self.file(key, self.age + 1)

    def renew(self, key: CacheKey) -> None:
        pass

    def use(self, key: CacheKey) -> None:
        self.uses[key] += 1

    def remove(self, key: CacheKey) -> None:
        del self.places[key], self.uses[key]

    def evicted(self, key: CacheKey, size: int) -> None:
        self.remove(key)

    def victim(self, weight: Weight) -> CacheKey:
        for _ in range(CHANCES):
            key = self.lowest()
            if self.uses[key] == 0:
                return key
            self.file(key, self.age + min(1 + self.uses[key], LEVELS - 1))
        return self.lowest()


class S3Fifo:
    def __init__(self, budget: int) -> None:
        self.small: list[CacheKey] = []
        self.main: list[CacheKey] = []
        self.uses: dict[CacheKey, int] = {}
        self.ghosts: dict[int, tuple[CacheKey, int]] = {}
        """By place in a table that has room for so many: the key evicted last, and when."""
        self.places = order_of(Eviction.S3FIFO, budget).bytes // 8
        self.evicted_bytes = 0
        self.small_room = int(budget * SMALL)
        self.span = budget - self.small_room

    def add(self, key: CacheKey) -> None:
        ghost, when = self.ghosts.get(hash(key) % self.places, (None, 0))
        is_known = ghost == key and self.evicted_bytes - when < self.span
        (self.main if is_known else self.small).append(key)
        self.uses[key] = 0

    def renew(self, key: CacheKey) -> None:
        pass

    def use(self, key: CacheKey) -> None:
        self.uses[key] = self.uses[key] + 1

    def remove(self, key: CacheKey) -> None:
        (self.small if key in self.small else self.main).remove(key)
        del self.uses[key]

    def evicted(self, key: CacheKey, size: int) -> None:
        if key in self.small:
            self.evicted_bytes += size
            self.ghosts[hash(key) % self.places] = key, self.evicted_bytes
        self.remove(key)

    def victim(self, weight: Weight) -> CacheKey:
        for _ in range(CHANCES):
            queue = self.queue(weight)
            key = queue[0]
            if queue is self.small and self.uses[key] >= 2:
                self.small.remove(key)
                self.main.append(key)
                self.uses[key] = 0
            elif queue is self.main and self.uses[key]:
                self.main.append(self.main.pop(0))
                self.uses[key] = min(self.uses[key], ROUNDS) - 1
            else:
                return key
        return self.queue(weight)[0]

    def queue(self, weight: Weight) -> list[CacheKey]:
        is_too_large = len(self.small) > 1 and sum(map(weight, self.small)) > self.small_room
        return self.small if is_too_large or not self.main else self.main


MODELS: dict[Eviction, Callable[[int], Model]] = {
    Eviction.FIFO: Fifo,
    Eviction.LRU: Lru,
    Eviction.LFU: Lfu,
    Eviction.S3FIFO: S3Fifo,
}
