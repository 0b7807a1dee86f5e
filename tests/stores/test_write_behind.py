from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from edgecache.errors import StoreError
from edgecache.semantics.stored import Freshness, Selecting, StoredResponse
from edgecache.stores.memory import MemoryStore
from edgecache.stores.weights import weigh
from edgecache.stores.write_behind import WriteBehind
from tests.faults.redis_server import RedisServer
from tests.stores.contract import content, key, response, variant
from tests.stores.redis_stores import redis_store

FOREVER = 60.0
"""Seconds that no test waits: whatever it waits for comes."""


class SlowStore(MemoryStore):
    """A store that is slow until it is told to go on, and can fail; it says in which order it is asked."""

    def __init__(self) -> None:
        super().__init__(2**24)
        self.go = asyncio.Event()
        self.asked: list[StoredResponse] = []
        self.begun = asyncio.Semaphore(0)
        self.at_once = self.most_at_once = 0
        self.fails = False

    async def put(self, response: StoredResponse) -> bool:
        self.asked.append(response)
        self.begun.release()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        if self.fails:
            raise StoreError("no answer")
        return self.put_now(response)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def behind(store: SlowStore) -> AsyncIterator[WriteBehind]:
    behind = WriteBehind(store, max_bytes=8 * weigh(response()), workers=2)
    yield behind
    await behind.close(0)


async def begun(store: SlowStore, puts: int = 1) -> None:
    """Wait until the store has been asked for so many more puts."""
    for _ in range(puts):
        await store.begun.acquire()


def statuses(store: SlowStore, name: str = "a") -> list[int]:
    return [found.status for found in store.lookup_now(key(name))]


async def test_a_put_waits_for_nothing_and_is_written(store: SlowStore, behind: WriteBehind) -> None:
    assert behind.put_soon(response())
    assert behind.bytes == weigh(response())
    store.go.set()
    await behind.close(FOREVER)
    (found,) = store.lookup_now(key("a"))
    assert await content(found) == b"hello"
    assert (behind.counters.written, behind.bytes) == (1, 0)


async def test_what_does_not_fit_is_refused_and_counted(store: SlowStore, behind: WriteBehind) -> None:
    taken = [behind.put_soon(response(name)) for name in "abcdefghij"]
    assert taken == [True] * 8 + [False] * 2
    assert behind.counters.full == 2
    await begun(store, 2)
    assert not behind.put_soon(response("k"))  # what is being written counts as well
    store.go.set()
    await behind.close(FOREVER)
    assert behind.counters.written == 8


async def test_only_so_many_are_written_at_once(store: SlowStore, behind: WriteBehind) -> None:
    for name in "abcde":
        behind.put_soon(response(name))
    await begun(store, 2)
    store.go.set()
    await behind.close(FOREVER)
    assert store.most_at_once == 2
    assert [str(each.key)[-1] for each in store.asked] == list("abcde")


async def test_puts_of_one_key_are_written_one_after_the_other(store: SlowStore, behind: WriteBehind) -> None:
    for language in ("de", "en", "fr"):
        behind.put_soon(variant(language))
    await begun(store)
    store.go.set()
    await behind.close(FOREVER)
    assert store.most_at_once == 1
    assert [each.selecting.values[0] for each in store.asked] == ["de", "en", "fr"]


async def test_a_newer_put_takes_the_place_of_a_waiting_one(store: SlowStore, behind: WriteBehind) -> None:
    for status in (200, 203, 404):
        behind.put_soon(response(status=status))
        await asyncio.sleep(0)
    store.go.set()
    await behind.close(FOREVER)
    assert [each.status for each in store.asked] == [200, 404]
    assert statuses(store) == [404]
    assert behind.counters.superseded == 1


async def test_replacing_what_waits_changes_what_is_written(store: SlowStore, behind: WriteBehind) -> None:
    behind.put_soon(response("x"))
    behind.put_soon(response("y"))
    old = response()
    behind.put_soon(old)
    assert await behind.replace(old, replace(old, status=203))
    assert not await behind.replace(old, replace(old, status=404))
    store.go.set()
    await behind.close(FOREVER)
    assert statuses(store) == [203]


async def test_replacing_what_is_being_written_comes_after_it(store: SlowStore, behind: WriteBehind) -> None:
    old = response()
    behind.put_soon(old)
    await begun(store)
    replaced = asyncio.create_task(behind.replace(old, replace(old, status=203)))
    await asyncio.sleep(0)
    assert not replaced.done()
    store.go.set()
    assert await replaced
    assert statuses(store) == [203]


async def test_a_waiting_response_with_other_selecting_values_leaves_nothing_behind(
    store: SlowStore, behind: WriteBehind
) -> None:
    old = variant("de")
    store.put_now(replace(old, status=404))
    behind.put_soon(old)
    store.go.set()
    assert await behind.replace(old, replace(old, selecting=Selecting(("accept-language",), ("en",))))
    await behind.close(FOREVER)
    assert [found.selecting.values for found in store.lookup_now(key("a"))] == [("en",)]


async def test_removing_what_waits_does_not_bring_back_what_it_was_to_replace(
    store: SlowStore, behind: WriteBehind
) -> None:
    store.put_now(response(status=203))
    waiting = response()
    behind.put_soon(waiting)
    assert await behind.remove(waiting)
    store.go.set()
    await behind.close(FOREVER)
    assert statuses(store) == []
    assert store.asked == []


async def test_removing_what_is_being_written_comes_after_it(store: SlowStore, behind: WriteBehind) -> None:
    put = response()
    behind.put_soon(put)
    await begun(store)
    removed = asyncio.create_task(behind.remove(put))
    await asyncio.sleep(0)
    store.go.set()
    assert await removed
    assert statuses(store) == []
    assert not await behind.remove(put)


async def test_removing_a_key_counts_what_waits(store: SlowStore, behind: WriteBehind) -> None:
    store.put_now(variant("de"))
    behind.put_soon(variant("en"))
    behind.put_soon(response("b"))
    assert await behind.remove_key(key("a")) == 2
    store.go.set()
    await behind.close(FOREVER)
    assert (statuses(store), statuses(store, "b")) == ([], [200])


async def test_clear_leaves_nothing_to_be_written(store: SlowStore, behind: WriteBehind) -> None:
    for name in "abcd":
        behind.put_soon(response(name))
    await begun(store, 2)
    cleared = asyncio.create_task(behind.clear())
    await asyncio.sleep(0)
    store.go.set()
    await cleared
    await behind.close(FOREVER)
    assert store.statistics().responses == 0
    assert behind.bytes == 0


async def test_failures_are_counted_and_do_not_stop_it(store: SlowStore, behind: WriteBehind) -> None:
    store.go.set()
    store.fails = True
    behind.put_soon(response("a"))
    await begun(store)
    assert not await behind.remove(response("a"))  # not before the put has failed
    store.fails = False
    behind.put_soon(response("b", b"x" * 2**23))  # larger than the queue
    behind.put_soon(response("c"))
    await behind.close(FOREVER)
    counters = behind.counters
    assert (counters.failed, counters.full, counters.written) == (1, 1, 1)


async def test_what_the_store_refuses_is_counted(behind: WriteBehind, store: SlowStore) -> None:
    store.go.set()
    behind.put_soon(response())
    store._max_weight = 0
    await behind.close(FOREVER)
    assert (behind.counters.refused, behind.counters.written) == (1, 0)


async def test_closing_ends_at_its_deadline_and_takes_no_more(store: SlowStore, behind: WriteBehind) -> None:
    for name in "abcd":
        behind.put_soon(response(name))
    await begun(store, 2)
    await behind.close(0)
    assert behind.counters.dropped == 4
    assert behind.bytes == 0
    assert not behind.put_soon(response("e"))
    assert store.at_once == 0


async def test_what_is_in_no_queue_goes_straight_to_the_store(store: SlowStore, behind: WriteBehind) -> None:
    old = response()
    store.put_now(old)
    new = replace(old, freshness=Freshness(2000.0, 1.0))
    assert await behind.replace(old, new)
    assert await behind.remove(new)


async def test_it_writes_to_the_shared_tier(redis_server: RedisServer) -> None:
    shared = redis_store(redis_server.url)
    behind = WriteBehind(shared)
    bodies = {name: name.encode() * 100_000 for name in "abc"}
    for name, body in bodies.items():
        assert behind.put_soon(response(name, body))
    await behind.close(FOREVER)
    for name, body in bodies.items():
        (found,) = await shared.lookup(key(name))
        assert await content(found) == body
    await shared.close()


async def test_what_is_not_wanted_any_more_is_not_begun(store: SlowStore) -> None:
    names: set[str] = set()
    behind = WriteBehind(store, workers=1, wanted=lambda response: response.uri not in names)
    begun_before, waiting, kept = response("a"), response("b"), response("c")
    for each in (begun_before, waiting, kept):
        assert behind.put_soon(each)
    await begun(store)
    names |= {begun_before.uri, waiting.uri}
    store.go.set()
    await behind.written(key("c"))
    assert store.asked == [begun_before, kept]
    assert (behind.counters.written, behind.counters.purged, behind.bytes) == (2, 1, 0)
    assert not await behind.replace(kept, replace(kept, key=waiting.key, uri=waiting.uri))
    assert len(await store.lookup(key("c"))) == 1
    await behind.close(0)
