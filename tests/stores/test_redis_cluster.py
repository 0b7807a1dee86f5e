"""The shared tier on a cluster: one node, which has every slot, answers as many do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgecache.errors import StoreError
from edgecache.stores.breaker import FAILURES, PAUSE
from edgecache.stores.record import CHUNK
from edgecache.stores.redis import RedisStore
from tests.faults.redis_server import RedisServer
from tests.ports import free_port
from tests.stores.contract import StoreContract, content, key, response
from tests.stores.redis_stores import redis_store

LARGE = bytes(range(256)) * (2 * CHUNK // 256) + b"the end"
"""A body of three chunks."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = cluster_in(tmp_path_factory.mktemp("cluster"))
    form(server)
    yield server
    server.kill()


def cluster_in(directory: Path) -> RedisServer:
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    return RedisServer(directory, *options, port=free_port())


def form(cluster: RedisServer) -> None:
    """Start a cluster of one node that has every slot."""
    cluster.start()
    cluster.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    while b"cluster_state:ok" not in cluster.ask("CLUSTER", "INFO"):
        time.sleep(0.02)


class TestRedisClusterStore(StoreContract):
    @pytest.fixture
    async def store(self, cluster: RedisServer) -> AsyncIterator[RedisStore]:
        store = redis_store(f"redis+cluster://127.0.0.1:{cluster.port}")
        yield store
        await store.close()


async def test_a_cluster_is_asked_many_things_at_once(cluster: RedisServer) -> None:
    store = redis_store(f"redis+cluster://127.0.0.1:{cluster.port}")
    names = [str(number) for number in range(40)]
    await asyncio.gather(*(store.put(response(name, name.encode())) for name in names))
    await store.put(response("large", LARGE))
    found = await asyncio.gather(*(store.lookup(key(name)) for name in [*names, "large"]))
    assert [await content(one) for (one,) in found] == [*(name.encode() for name in names), LARGE]
    (large,) = found[-1]
    assert await store.replace(large, replace(large, status=203))
    await store.clear()
    assert await store.lookup(key("large")) == ()
    await store.close()


async def test_a_cluster_that_is_away_is_an_error_until_it_is_there(tmp_path: Path) -> None:
    cluster, now = cluster_in(tmp_path), 0.0
    store = redis_store(f"redis+cluster://127.0.0.1:{cluster.port}", clock=lambda: now)
    for _ in range(FAILURES + 2):
        now += PAUSE
        with pytest.raises(StoreError):
            await store.lookup(key("a"))
    form(cluster)
    now += PAUSE
    assert await store.put(response())
    assert len(await store.lookup(key("a"))) == 1
    cluster.kill()
    with pytest.raises(StoreError):
        await store.lookup(key("a"))
    await store.close()
