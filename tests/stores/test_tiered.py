"""Two tiers as one: memory decides at once, what is behind follows, and its failures are misses that are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from edgecache.errors import StoreError
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.memory import MemoryStore
from edgecache.stores.tiered import TieredStore
from edgecache.stores.write_behind import WriteBehind
from tests.stores.contract import content, key, response, variant


class Shared(MemoryStore):
    """A store in the place of a shared one: it can fail, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__(2**24, max_variants=8)
        self.fails = False
        self.lookups = 0

    async def lookup(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        self.lookups += 1
        await asyncio.sleep(0)
        self._check()
        return self.lookup_now(key)

    async def put(self, response: StoredResponse) -> bool:
        self._check()
        return self.put_now(response)

    async def replace(self, old: StoredResponse, new: StoredResponse) -> bool:
        self._check()
        return self.replace_now(old, new)

    async def remove(self, response: StoredResponse) -> bool:
        self._check()
        return self.remove_now(response)

    def _check(self) -> None:
        if self.fails:
            raise StoreError("no answer")


class Elsewhere:
    """A body that is not in memory, and may be lost."""

    local = None
    size = 5

    def __init__(self, *, lost: bool = False) -> None:
        self._lost = lost

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        yield b"hel"
        if self._lost:
            raise StoreError("gone")
        yield b"lo"


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def failures() -> list[None]:
    return []


@pytest.fixture
async def tiers(shared: Shared, failures: list[None]) -> AsyncIterator[TieredStore]:
    behind = WriteBehind(shared)
    tiers = TieredStore(MemoryStore(2**20, max_variants=8), shared, behind, lambda: failures.append(None))
    yield tiers
    await tiers.close()


async def written(tiers: TieredStore) -> None:
    while not tiers.is_written:  # noqa: ASYNC110 - the program has no event for what its tests want to know
        await asyncio.sleep(0)


async def test_what_is_put_is_in_both(tiers: TieredStore, shared: Shared) -> None:
    assert tiers.put_now(response())
    assert len(tiers.lookup_now(key("a"))) == 1
    await tiers.written(key("a"))
    assert [await content(each) for each in shared.lookup_now(key("a"))] == [b"hello"]


async def test_what_memory_refuses_is_still_behind(tiers: TieredStore, shared: Shared) -> None:
    assert tiers.put_now(response(body=bytes(2**20)))
    assert tiers.lookup_now(key("a")) == ()
    await tiers.written(key("a"))
    assert len(await tiers.behind(key("a"))) == 1


async def test_what_is_kept_restated_or_forgotten_is_so_in_memory_alone(tiers: TieredStore, shared: Shared) -> None:
    old, new = response(), response(status=203)
    assert tiers.keep_now(old)
    assert tiers.restate_now(old, new)
    assert tiers.lookup_now(key("a")) == (new,)
    assert tiers.forget_now(new)
    assert tiers.lookup_now(key("a")) == ()
    await written(tiers)
    assert shared.lookup_now(key("a")) == ()


@pytest.mark.parametrize("freshness", [{"lifetime": 90.0}, {"lifetime": 0.0, "immutable": False}])
async def test_what_was_restated_meanwhile_is_still_what_is_replaced_or_removed(
    tiers: TieredStore, freshness: dict[str, Any]
) -> None:
    """By a use that prolonged it, or by a soft purge."""
    old, new = response(), response(status=203)
    for change in (lambda: tiers.replace_now(old, new), lambda: tiers.remove_now(old)):
        tiers.keep_now(old)
        assert tiers.restate_now(old, replace(old, freshness=replace(old.freshness, **freshness)))
        assert change()
        assert tiers.lookup_now(key("a")) in ((), (new,))
        tiers.forget_now(new)
    tiers.keep_now(response(response_time=2000.0))
    assert not tiers.replace_now(old, new)


async def test_a_replacement_reaches_what_is_behind(tiers: TieredStore, shared: Shared) -> None:
    old, new = response(), response(status=203)
    tiers.put_now(old)
    await tiers.written(key("a"))
    assert tiers.replace_now(old, new)
    await written(tiers)
    assert [each.status for each in shared.lookup_now(key("a"))] == [203]


async def test_a_replacement_of_what_is_not_behind_any_more_is_put_there(tiers: TieredStore, shared: Shared) -> None:
    """What is there is older than what the origin has just confirmed."""
    old, new = response(), response(status=203)
    tiers.keep_now(old)
    shared.put_now(response(status=404))
    assert tiers.replace_now(old, new)
    await written(tiers)
    assert [each.status for each in shared.lookup_now(key("a"))] == [203]


@pytest.mark.parametrize("other", [response(), response(status=404)], ids=["the-same", "another"])
async def test_what_is_removed_does_not_come_back(tiers: TieredStore, shared: Shared, other: StoredResponse) -> None:
    stored = response()
    tiers.keep_now(stored)
    shared.put_now(replace(other, body=stored.body))
    assert tiers.remove_now(stored)
    await written(tiers)
    assert await tiers.behind(key("a")) == ()


async def test_lookups_of_one_key_at_once_are_one(tiers: TieredStore, shared: Shared) -> None:
    shared.put_now(variant("en"))
    found = await asyncio.gather(*(tiers.behind(key("a")) for _ in range(9)))
    assert {len(each) for each in found} == {1}
    assert shared.lookups == 1
    await tiers.behind(key("a"))
    assert shared.lookups == 2


async def test_who_asked_first_and_leaves_takes_nothing_with_it(tiers: TieredStore, shared: Shared) -> None:
    shared.put_now(response())
    first, second = (asyncio.ensure_future(tiers.behind(key("a"))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert len(await second) == 1


async def test_a_body_is_brought(tiers: TieredStore) -> None:
    brought = await tiers.brought(StoredResponse(**_members(Elsewhere())))
    assert brought is not None
    assert brought.body.local == (b"hel", b"lo")
    here = response()
    assert await tiers.brought(here) is here


async def test_a_failure_is_a_miss_and_counted(tiers: TieredStore, shared: Shared, failures: list[None]) -> None:
    shared.fails = True
    assert await tiers.behind(key("a")) == ()
    assert len(failures) == 1
    assert await tiers.brought(StoredResponse(**_members(Elsewhere(lost=True)))) is None
    assert len(failures) == 2
    tiers.keep_now(response())
    tiers.replace_now(response(), response(status=203))
    await written(tiers)
    assert len(failures) == 3
    (kept,) = tiers.lookup_now(key("a"))
    assert tiers.remove_now(kept)
    await written(tiers)
    assert len(failures) == 4


async def test_one_tier_is_enough() -> None:
    tiers = TieredStore(MemoryStore(2**20))
    assert tiers.put_now(response())
    (stored,) = tiers.lookup_now(key("a"))
    assert await tiers.behind(key("a")) == ()
    assert tiers.replace_now(stored, response(status=203))
    assert set(tiers.statistics()) == {"memory"}
    await tiers.written(key("a"))
    assert tiers.remove_now(tiers.lookup_now(key("a"))[0])
    await tiers.close()


async def test_slots_are_those_of_memory(tiers: TieredStore) -> None:
    tiers.keep_now(response())
    slot = tiers.slot_now(key("a"))
    assert slot is not None
    assert slot.responses is tiers.lookup_now(key("a"))
    slot.replies = []
    assert tiers.charge(slot, 100)
    tiers.restate_now(slot.responses[0], response(status=203))
    assert slot.replies is None


async def test_both_tell_what_they_have(tiers: TieredStore) -> None:
    tiers.put_now(response())
    await written(tiers)
    assert {name: each.responses for name, each in tiers.statistics().items()} == {"memory": 1, "redis": 1}


def _members(body: object) -> dict[str, Any]:
    made = response()
    return {name: getattr(made, name) for name in StoredResponse.__slots__} | {"body": body}
