"""The shared tier when another server takes the place of the one that it knew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecache.errors import StoreError
from edgecache.stores.redis import RedisStore
from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer, Sentinel, two_servers
from tests.stores.contract import content, key, response
from tests.stores.redis_rig import Clock, eventually, tried
from tests.stores.redis_stores import redis_store


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica."""
    for primary, replica in two_servers(tmp_path):
        replica.follow(primary.port)
        yield primary, replica


async def stored_again(store: RedisStore, clock: Clock) -> None:
    while isinstance(await tried(store.put(response(body=b"new"))), StoreError):
        clock.now += 1
    assert [await content(found) for found in await eventually(store, clock)] == [b"new"]


async def test_sentinels_let_a_replica_take_over(pair: tuple[RedisServer, RedisServer], tmp_path: Path) -> None:
    primary, _ = pair
    (tmp_path / "sentinel").mkdir()
    sentinel, clock = Sentinel(tmp_path / "sentinel", primary.port).start(), Clock()
    try:
        store = redis_store(sentinel.url, clock=clock)
        assert await store.put(response())
        primary.kill()
        await eventually(store, clock)
        await stored_again(store, clock)
        await store.close()
    finally:
        sentinel.kill()


async def test_a_primary_that_became_a_replica_is_left(pair: tuple[RedisServer, RedisServer]) -> None:
    """It answers on the old connections, and refuses what changes anything."""
    primary, replica = pair
    clock = Clock()
    async with FaultProxy(primary.socket) as front:
        store = redis_store(front.url, clock=clock)
        assert await store.put(response())
        replica.lead()
        primary.follow(replica.port)
        front.upstream = replica.socket
        assert await store.lookup(key("a"))  # also a replica can be asked
        with pytest.raises(StoreError, match="ReadOnly"):
            await store.put(response(body=b"new"))
        await stored_again(store, clock)
        await store.close()
