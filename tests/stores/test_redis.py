from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.asyncio import Redis

from edgecache.errors import ConfigError, StoreError
from edgecache.semantics.stored import CacheKey, Freshness, StoredResponse
from edgecache.stores.body import MemoryBody
from edgecache.stores.memory import MemoryStore
from edgecache.stores.record import CHUNK, INLINE
from edgecache.stores.redis import MAX_LIST, RedisStore
from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer
from tests.stores.contract import VARIANTS, StoreContract, content, key, languages, response, variant
from tests.stores.redis_stores import NOW, chunks_of, keys_of, list_of, redis_store

LARGE = bytes(range(256)) * (2 * CHUNK // 256) + b"the end"
"""A body of three chunks."""


class TestRedisStore(StoreContract):
    @pytest.fixture
    async def store(self, redis_server: RedisServer) -> AsyncIterator[RedisStore]:
        store = redis_store(redis_server.url)
        yield store
        await store.close()


class TestEncryptedRedisStore(StoreContract):
    @pytest.fixture
    async def store(self, redis_server: RedisServer) -> AsyncIterator[RedisStore]:
        store = redis_store(redis_server.url, encryption_keys=(b"k" * 32,))
        yield store
        await store.close()


# What is where


async def test_names_say_nothing_and_one_keys_share_a_slot(store: RedisStore, client: Redis) -> None:
    await store.put(response("a", LARGE))
    await store.put(response("b"))
    names = [name.decode() for name in await keys_of(client, store)]
    form = re.compile(r"ec:test\d+:o:(\{[0-9a-f]{32}\})(:[0-9a-f]{32}:[012])?")
    tags = [match[1] for name in names if (match := form.fullmatch(name))]
    assert len(tags) == len(names) == 5
    assert len(set(tags)) == 2


async def test_every_key_ends_chunks_after_their_list(store: RedisStore, client: Redis) -> None:
    await store.put(response(body=LARGE, freshness=Freshness(NOW, 100.0, keep=20.0)))
    (list_name,) = [name for name in await keys_of(client, store) if name.endswith(b"}")]
    assert 110_000 < await client.pttl(list_name) <= 120_000
    for name in await chunks_of(client, store):
        assert 170_000 < await client.pttl(name) <= 180_000


@pytest.mark.parametrize(
    ("discard_at", "low", "high"),
    [(-1e9, 1, 1000), (0.0, 1, 1000), (float("nan"), 1, 1000), (float("inf"), 1e10, 366 * 86_400_000)],
)
async def test_a_lifetime_is_within_bounds(
    store: RedisStore, client: Redis, discard_at: float, low: float, high: float
) -> None:
    await store.put(response(freshness=Freshness(discard_at, 0.0)))
    remaining = await client.pttl(await list_of(client, store))
    assert low <= remaining <= high


async def test_a_list_lives_as_long_as_its_longest(store: RedisStore, client: Redis) -> None:
    await store.put(replace(variant("de"), freshness=Freshness(NOW, 1000.0)))
    await store.put(replace(variant("en"), freshness=Freshness(NOW, 10.0)))
    assert await client.pttl(await list_of(client, store)) > 900_000
    (_, longest) = await store.lookup(key("a"))
    await store.remove(longest)
    assert await client.pttl(await list_of(client, store)) > 900_000


async def test_what_is_of_no_use_any_more_is_not_found(redis_server: RedisServer) -> None:
    now = NOW
    store = redis_store(redis_server.url, now=lambda: now)
    await store.put(replace(variant("de"), freshness=Freshness(NOW, 10.0)))
    await store.put(replace(variant("en"), freshness=Freshness(NOW, 1000.0)))
    now += 20.0
    assert languages(await store.lookup(key("a"))) == ["en"]
    await store.close()


async def test_a_small_body_is_in_this_process_with_its_head_and_a_large_one_is_not(store: RedisStore) -> None:
    await store.put(response("small", b"x" * INLINE))
    await store.put(response("large", b"x" * (INLINE + 1)))
    (small,), (large,) = await store.lookup(key("small")), await store.lookup(key("large"))
    assert small.body.local == (b"x" * INLINE,)
    assert large.body.local is None
    assert await content(large) == b"x" * (INLINE + 1)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, len(LARGE)), (CHUNK - 1, CHUNK + 1), (CHUNK, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK + 3, len(LARGE))],
)
async def test_any_part_of_a_large_body_can_be_read(store: RedisStore, start: int, stop: int) -> None:
    await store.put(response(body=LARGE))
    (found,) = await store.lookup(key("a"))
    assert b"".join([bytes(piece) async for piece in found.body.read(start, stop)]) == LARGE[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (2, 1), (0, len(LARGE) + 1)])
async def test_a_large_body_has_no_other_bytes(store: RedisStore, start: int, stop: int) -> None:
    await store.put(response(body=LARGE))
    (found,) = await store.lookup(key("a"))
    with pytest.raises(StoreError):
        [piece async for piece in found.body.read(start, stop)]


async def test_lookups_of_one_turn_share_round_trips(redis_server: RedisServer) -> None:
    async with FaultProxy(redis_server.socket) as proxy:
        store = redis_store(proxy.url)
        for number in range(100):
            await store.put(response(str(number), str(number).encode()))
        found = await asyncio.gather(*(store.lookup(key(str(number))) for number in range(100)))
        assert [await content(one) for (one,) in found] == [str(number).encode() for number in range(100)]
        assert proxy.accepted == 2  # a hundred lookups in two batches
        await store.close()


# Replacing


async def test_a_late_304_of_a_response_from_elsewhere_finds_it_by_its_value(store: RedisStore) -> None:
    for body in (b"small", LARGE):
        put = response(body=body)
        await store.put(put)
        new = replace(put, freshness=Freshness(2000.0, 60.0))
        assert await store.replace(put, new)
        assert not await store.replace(put, new)
        (found,) = await store.lookup(key("a"))
        assert found.freshness == new.freshness
        assert await content(found) == body
        assert await store.remove(new)


async def test_a_freshened_body_stays_where_it_is_and_lives_longer(store: RedisStore, client: Redis) -> None:
    await store.put(response(body=LARGE))
    before = await chunks_of(client, store)
    (old,) = await store.lookup(key("a"))
    assert await store.replace(old, replace(old, freshness=Freshness(NOW, 10_000.0)))
    assert await chunks_of(client, store) == before
    assert all([await client.pttl(name) > 9_000_000 for name in before])


async def test_a_replacement_with_another_body_has_it(store: RedisStore) -> None:
    old = response(body=LARGE)
    await store.put(old)
    for body in (b"small", LARGE[::-1], b"elsewhere"):
        new = replace(old, body=MemoryBody((body,)))
        assert await store.replace(old, new)
        (found,) = await store.lookup(key("a"))
        assert await content(found) == body
        old = new


async def test_chunks_of_what_was_replaced_end_soon_but_can_be_read_to_their_end(
    store: RedisStore, client: Redis
) -> None:
    await store.put(response(body=LARGE, freshness=Freshness(NOW, 10_000.0)))
    (old,) = await store.lookup(key("a"))
    before = await chunks_of(client, store)
    await store.put(response(body=b"new"))
    assert await content(old) == LARGE
    assert all([0 < await client.pttl(name) <= 30_000 for name in before])


async def test_what_cannot_be_freshened_is_gone(store: RedisStore, client: Redis) -> None:
    await store.put(response(body=LARGE))
    (old,) = await store.lookup(key("a"))
    await client.unlink((await chunks_of(client, store))[1])
    assert not await store.replace(old, replace(old, freshness=Freshness(NOW, 10_000.0)))
    assert await store.lookup(key("a")) == ()


async def test_of_two_replacements_of_one_response_one_happens(store: RedisStore) -> None:
    old = response()
    await store.put(old)
    new = [replace(old, status=status) for status in (203, 404)]
    assert sorted(await asyncio.gather(*(store.replace(old, each) for each in new))) == [False, True]
    assert len(await store.lookup(key("a"))) == 1


async def test_puts_at_once_keep_the_bound(store: RedisStore) -> None:
    await asyncio.gather(*(store.put(variant(str(number))) for number in range(20)))
    assert len(await store.lookup(key("a"))) == VARIANTS
    assert store.statistics().responses == VARIANTS
    assert store.statistics().evictions == 20 - VARIANTS


# Bounds


async def test_what_is_too_large_is_refused_and_ends_what_it_would_have_replaced(redis_server: RedisServer) -> None:
    store = redis_store(redis_server.url, max_object=CHUNK)
    many = tuple((f"field-{number}", "x" * 1000) for number in range(600))
    for too_large in (response(body=b"x" * (CHUNK + 1)), response(fields=many)):
        assert await store.put(response(body=b"old"))
        assert not await store.put(too_large)
        assert await store.lookup(key("a")) == ()
        await store.put(response())
        assert not await store.replace(response(), too_large)
        assert await store.lookup(key("a")) == ()
    assert store.statistics().refused == 4
    await store.close()


async def test_a_list_keeps_its_bound_in_bytes(redis_server: RedisServer, client: Redis) -> None:
    store = redis_store(redis_server.url, max_variants=64)
    for number in range(40):
        await store.put(variant(str(number), body=b"x" * INLINE))
    name = await list_of(client, store)
    assert await client.strlen(name) <= MAX_LIST
    found = await store.lookup(key("a"))
    assert languages(found) == [str(number) for number in range(39, 39 - len(found), -1)]
    assert len(found) == MAX_LIST // (INLINE + 400)
    await store.close()


async def test_a_huge_value_is_not_read_and_gives_way(redis_server: RedisServer, client: Redis) -> None:
    async with FaultProxy(redis_server.socket) as proxy:
        store = redis_store(proxy.url)
        await store.put(response())
        await client.setrange(await list_of(client, store), 100 * 1024 * 1024, b"x")
        before = proxy.down.seen
        assert await store.lookup(key("a")) == ()
        assert proxy.down.seen - before < MAX_LIST + 1000
        assert store.counters.oversized == 1
        assert await store.put(response(body=b"new"))
        assert [await content(found) for found in await store.lookup(key("a"))] == [b"new"]
        await store.put(response(body=LARGE))
        (found,) = await store.lookup(key("a"))
        await client.setrange((await chunks_of(client, store))[0], 100 * 1024 * 1024, b"x")
        before = proxy.down.seen
        with pytest.raises(StoreError):
            await content(found)
        assert proxy.down.seen - before < 2 * CHUNK
        await store.close()


async def test_a_value_of_another_type_is_an_error_and_gives_way(store: RedisStore, client: Redis) -> None:
    await store.put(response())
    name = await list_of(client, store)
    await client.delete(name)
    await client.hset(name, "field", "value")
    with pytest.raises(StoreError):
        await store.lookup(key("a"))
    assert await store.put(response())
    assert len(await store.lookup(key("a"))) == 1


async def test_clear_removes_what_is_its_own_and_nothing_else(redis_server: RedisServer, client: Redis) -> None:
    first = redis_store(redis_server.url, namespace="clear.1")
    second = redis_store(redis_server.url, namespace="clear-1")
    await client.set("ec:clear.1:meta", "the ledger's")
    for store in (first, second):
        for number in range(700):
            await store.put(response(str(number)))
    await first.clear()
    assert await keys_of(client, first) == []
    assert len(await keys_of(client, second)) == 700
    assert await client.exists("ec:clear.1:meta")
    await second.clear()
    await first.close()
    await second.close()


@pytest.mark.parametrize("namespace", ["", "a:b", "a*", "{a}", "a b", "é", "a\n", "x" * 65])
def test_a_namespace_is_a_name(namespace: str) -> None:
    with pytest.raises(ConfigError):
        redis_store("redis://127.0.0.1:1", namespace=namespace)


# As another store that keeps the same contract

LANGUAGES = st.sampled_from(["de", "en", None])
BODIES = st.sampled_from([b"", b"small", b"x" * (INLINE + 1), b"y" * (INLINE + 1)])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "replace", "remove", "remove_key"]),
        st.sampled_from("ab"),
        LANGUAGES,
        BODIES,
        st.integers(200, 202),
    ),
    max_size=12,
)


async def outcome(store: RedisStore | MemoryStore, step: tuple[str, str, str | None, bytes, int]) -> object:
    what, name, language, body, status = step
    made = replace(variant(language, name, body), status=status)
    if what == "put":
        return await store.put(made)
    if what == "remove_key":
        return await store.remove_key(key(name))
    found = await store.lookup(key(name))
    if not found:
        return None
    if what == "remove":
        return await store.remove(found[-1])
    return await store.replace(found[-1], replace(found[-1], status=status, selecting=made.selecting))


async def seen(found: tuple[StoredResponse, ...]) -> list[tuple[CacheKey, str | None, int, bytes]]:
    return [(each.key, each.selecting.values[0], each.status, await content(each)) for each in found]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
async def test_it_does_what_the_memory_store_does(
    redis_server: RedisServer, steps: list[tuple[str, str, str | None, bytes, int]]
) -> None:
    shared, local = redis_store(redis_server.url, max_variants=2), MemoryStore(2**24, max_variants=2)
    for step in steps:
        assert await outcome(shared, step) == await outcome(local, step)
        for name in "ab":
            assert await seen(await shared.lookup(key(name))) == await seen(await local.lookup(key(name)))
        for number in ("responses", "keys", "evictions"):
            assert getattr(shared.statistics(), number) == getattr(local.statistics(), number)
    await shared.clear()
    await shared.close()


async def test_statistics_are_of_what_this_process_did(store: RedisStore) -> None:
    await store.put(response("a", LARGE))
    await store.put(response("b"))
    statistics = store.statistics()
    assert (statistics.responses, statistics.keys, statistics.max_bytes) == (2, 2, 0)
    assert statistics.bytes > len(LARGE)
    await store.remove_key(key("a"))
    assert store.statistics().bytes < 1000
    await store.clear()
    assert (store.statistics().responses, store.statistics().bytes) == (0, 0)
