"""Erasing: what matches rests nowhere on the server any more, and the rest is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from edgecache.errors import StoreError
from edgecache.semantics.stored import Freshness, StoredResponse
from edgecache.stores.record import CHUNK
from edgecache.stores.redis import MAX_LIST, RedisStore
from tests.faults.redis_server import RedisServer
from tests.stores.contract import content, key, response, variant
from tests.stores.redis_rig import Rig, eventually
from tests.stores.redis_stores import NOW, chunks_of, keys_of, list_of, raw, redis_store, unused_namespace

LARGE = bytes(range(256)) * (2 * CHUNK // 256) + b"the end"
"""A body of three chunks."""

GONE = frozenset({"gone"})
CANARY = b"a canary of which nothing may be left"
LONG = Freshness(NOW, 1000.0)


def is_gone(stored: StoredResponse) -> bool:
    return "gone" in stored.tags


async def erased(store: RedisStore, matches: Callable[[StoredResponse], bool] = is_gone) -> tuple[int, int]:
    """How many responses matched, and how much could not be read."""
    steps = [step async for step in store.erase(matches)]
    assert steps == sorted(steps, key=lambda step: (step.scanned, step.erased, step.dropped))
    return steps[-1].erased, steps[-1].dropped


async def test_what_matches_goes_and_the_rest_stays(store: RedisStore, client: Redis) -> None:
    await store.put(response("a", tags=GONE))
    await store.put(response("b", LARGE, tags=GONE))
    await store.put(response("c", LARGE))
    assert len(await keys_of(client, store)) == 9
    assert await erased(store) == (2, 0)
    assert await store.lookup(key("a")) == await store.lookup(key("b")) == ()
    (kept,) = await store.lookup(key("c"))
    assert await content(kept) == LARGE
    assert len(await keys_of(client, store)) == 4
    assert (store.statistics().responses, store.statistics().keys) == (1, 1)
    assert await erased(store) == (0, 0)


async def test_a_list_is_rewritten_without_what_matches(store: RedisStore, client: Redis) -> None:
    for language in ("de", "en", "fr"):
        tags = GONE if language == "en" else frozenset[str]()
        await store.put(replace(variant(language, body=LARGE), tags=tags, freshness=LONG))
    assert await erased(store) == (1, 0)
    found = await store.lookup(key("a"))
    assert [each.selecting.values[0] for each in found] == ["fr", "de"]
    assert [await content(each) for each in found] == [LARGE, LARGE]
    assert len(await chunks_of(client, store)) == 6
    assert await client.pttl(await list_of(client, store)) > 900_000


async def test_everything_said_about_a_response_can_be_asked(store: RedisStore) -> None:
    put = response("a", LARGE)
    await store.put(put)
    asked: list[StoredResponse] = []
    await erased(store, lambda stored: bool(asked.append(stored)))
    (seen,) = asked
    assert replace(seen, body=put.body) == put
    assert seen.birth == put.birth


async def test_an_encrypted_store_is_erased_too(redis_server: RedisServer) -> None:
    store = redis_store(redis_server.url, encryption_keys=(b"k" * 32,))
    await store.put(response("a", tags=GONE))
    await store.put(response("b"))
    assert await erased(store) == (1, 0)
    assert len(await store.lookup(key("b"))) == 1
    await store.close()


async def test_what_cannot_be_read_goes_too(redis_server: RedisServer, client: Redis) -> None:
    """Nobody can say that it does not match."""
    namespace = unused_namespace()
    store = redis_store(redis_server.url, namespace=namespace)
    theirs = redis_store(redis_server.url, namespace=namespace, secret=b"another secret, as long")
    await theirs.put(response("a", LARGE))
    await theirs.close()
    names = {}
    for name in ("junk", "hash", "huge", "kept"):
        before = set(await keys_of(client, store))
        await store.put(response(name))
        (names[name],) = set(await keys_of(client, store)) - before
    await client.set(names["junk"], await raw(client, names["junk"]) + b"junk", px=60_000)
    await client.delete(names["hash"])
    await client.hset(names["hash"], "field", "value")
    await client.setrange(names["huge"], MAX_LIST, b"x")
    await client.set(f"ec:{namespace}:o:stray", "x")
    assert await erased(store, lambda _: False) == (0, 5)
    assert await keys_of(client, store) == [names["kept"]]
    assert len(await store.lookup(key("kept"))) == 1
    await store.close()


async def test_chunks_that_no_list_names_go_unless_they_end_soon(store: RedisStore, client: Redis) -> None:
    await store.put(response("a", LARGE, freshness=LONG))
    await store.put(response("b", LARGE, freshness=LONG))
    lost = next(name for name in await keys_of(client, store) if name.endswith(b"}"))
    await client.delete(lost)  # as when it was evicted
    ending, lasting, forgotten = [name for name in await chunks_of(client, store) if name.startswith(lost)]
    await client.pexpire(ending, 30_000)  # as one that is written just now, or was replaced
    await client.persist(forgotten)
    assert await erased(store, lambda _: False) == (0, 2)
    left = await keys_of(client, store)
    assert ending in left
    assert lasting not in left
    assert forgotten not in left
    assert len(left) == 5


async def test_it_goes_on_in_steps_and_touches_nothing_of_others(redis_server: RedisServer, client: Redis) -> None:
    first, second = redis_store(redis_server.url), redis_store(redis_server.url)
    for number in range(1100):
        await first.put(response(str(number), tags=GONE if number % 2 else frozenset()))
    await second.put(response(tags=GONE))
    steps = [step async for step in first.erase(is_gone)]
    assert len(steps) >= 3
    assert steps[-1].scanned >= 1100
    assert (steps[-1].erased, steps[-1].dropped) == (550, 0)
    assert len(await keys_of(client, first)) == 550
    assert len(await keys_of(client, second)) == 1
    for store in (first, second):
        await store.clear()
        await store.close()


async def test_nothing_is_left_in_a_dump(own_redis_server: RedisServer, tmp_path: Path) -> None:
    own_redis_server.ask("CONFIG", "SET", "rdbcompression", "no")
    store, dump = redis_store(own_redis_server.url), tmp_path / "dump.rdb"
    await store.put(response("small", CANARY, tags=GONE))
    await store.put(response("large", LARGE + CANARY, tags=GONE))
    await store.put(replace(variant("de", "mixed", CANARY), tags=GONE))
    await store.put(variant("en", "mixed", b"kept"))
    own_redis_server.ask("SAVE")
    assert dump.read_bytes().count(CANARY) == 3
    assert await erased(store) == (3, 0)
    own_redis_server.ask("SAVE")
    assert CANARY not in dump.read_bytes()
    assert b"kept" in dump.read_bytes()
    await store.close()


async def test_it_can_be_begun_again(own_rig: Rig) -> None:
    for number in range(600):
        await own_rig.straight.put(response(str(number), tags=GONE))
    await own_rig.straight.put(response(tags=frozenset()))
    store = own_rig.through()
    erasing = store.erase(is_gone)
    assert (await anext(erasing)).erased > 500
    own_rig.proxy.refuse = True
    own_rig.proxy.reset()
    with pytest.raises(StoreError):
        async for _ in erasing:
            pass
    own_rig.proxy.refuse = False
    await eventually(store, own_rig.clock)
    await erased(store)
    assert sum([len(await store.lookup(key(str(number)))) for number in range(600)]) == 0
    assert len(await store.lookup(key("a"))) == 1
