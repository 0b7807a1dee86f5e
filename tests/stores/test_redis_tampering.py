"""What others did to what is stored: damage, mixtures, forgeries, things from the past. All of it is a miss."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from edgecache.errors import StoreError
from edgecache.http.ranges import ContentRange
from edgecache.semantics.stored import StoredResponse
from edgecache.stores.body import MemoryBody
from edgecache.stores.record import CHUNK
from edgecache.stores.redis import RedisStore
from tests.faults.redis_server import RedisServer
from tests.stores.contract import content, key, response, variant
from tests.stores.redis_stores import chunks_of, keys_of, list_of, raw, redis_store, unused_namespace

LARGE = bytes(range(256)) * (2 * CHUNK // 256) + b"the end"
"""A body of three chunks."""


FLIPS = (0xFF, 0x01, 0x80) if os.environ.get("EDGECACHE_LONG") == "1" else (0xFF,)
"""Bits that are inverted; with the long ones there are more than 10 000 mutants."""


@pytest.mark.parametrize(
    "put",
    [response(), response(body=b"hello", status=206, content_range=ContentRange(0, 4, 10)), variant("de")],
    ids=["whole", "part", "variant"],
)
@pytest.mark.parametrize("encryption_keys", [(), (b"k" * 32,)], ids=["plain", "encrypted"])
async def test_a_damaged_list_is_a_miss_or_the_response(
    redis_server: RedisServer, client: Redis, put: StoredResponse, encryption_keys: tuple[bytes, ...]
) -> None:
    store = redis_store(redis_server.url, encryption_keys=encryption_keys)
    await store.put(put)
    name = await list_of(client, store)
    whole = await raw(client, name)
    damaged = [whole[:at] + bytes((whole[at] ^ flip,)) + whole[at + 1 :] for at in range(len(whole)) for flip in FLIPS]
    damaged += [whole[:at] for at in range(len(whole))]
    misses = 0
    for value in damaged:
        await client.set(name, value, px=60_000)
        found = await store.lookup(put.key)
        assert [replace(each, body=put.body) for each in found] in ([], [put])
        assert [await content(each) for each in found] in ([], [b"hello"])
        misses += not found
    assert len(damaged) - misses == 56 * len(FLIPS)  # digests around the record steer replacement only
    assert store.counters.misses == misses
    await store.close()


async def test_a_value_under_another_key_is_a_miss(store: RedisStore, client: Redis) -> None:
    await store.put(response("a"))
    name = await list_of(client, store)
    value = await raw(client, name)
    await store.put(response("b"))
    (other,) = [each for each in await keys_of(client, store) if each != name]
    await client.set(other, value, px=60_000)
    assert await store.lookup(key("b")) == ()
    assert store.counters.broken == 1


async def test_a_value_from_the_past_has_the_birth_it_had(store: RedisStore, client: Redis) -> None:
    put = response()
    await store.put(put)
    name = await list_of(client, store)
    value = await raw(client, name)
    await store.remove(put)
    await client.set(name, value, px=60_000)
    assert [found.birth for found in await store.lookup(key("a"))] == [put.birth]


async def test_another_secret_sees_nothing(redis_server: RedisServer) -> None:
    namespace = unused_namespace()
    ours = redis_store(redis_server.url, namespace=namespace)
    theirs = redis_store(redis_server.url, namespace=namespace, secret=b"another secret, as long")
    await theirs.put(response(body=b"theirs"))
    assert await ours.lookup(key("a")) == ()
    await ours.close()
    await theirs.close()


async def test_no_mixture_of_chunks_is_a_body(store: RedisStore, client: Redis) -> None:
    await store.put(response(body=LARGE))
    (found,) = await store.lookup(key("a"))
    ours = await chunks_of(client, store)
    await store.put(response(body=LARGE[::-1]))
    theirs = [name for name in await chunks_of(client, store) if name not in ours]
    first, second = await raw(client, ours[0]), await raw(client, ours[1])
    foreign = await raw(client, theirs[1])
    for value in (foreign, first, b"", second[:-1], second[1:], second + b"x", b"\0" * len(second)):
        await client.set(ours[1], value, px=60_000)
        assert b"".join([bytes(piece) async for piece in found.body.read(0, CHUNK)]) == LARGE[:CHUNK]
        with pytest.raises(StoreError):
            [piece async for piece in found.body.read(CHUNK, CHUNK + 1)]
    await client.unlink(ours[1])
    with pytest.raises(StoreError):
        await content(found)


async def test_a_body_that_is_not_as_long_as_it_says_is_not_stored(store: RedisStore) -> None:
    class Short(MemoryBody):
        async def read(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
            yield b"x" * (stop - start - 1)

    with pytest.raises(StoreError):
        await store.put(replace(response(), body=Short((LARGE,))))
    assert await store.lookup(key("a")) == ()
