from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from edgecache.stores.redis import RedisStore
from tests.faults.redis_server import RedisServer
from tests.stores.redis_rig import Rig, rig_of
from tests.stores.redis_stores import redis_store


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that neither stop it nor change its settings; each takes a namespace of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be mistreated."""
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
async def rig(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Rig]:
    async for rig in rig_of(redis_server, tmp_path / "proxy"):
        yield rig


@pytest.fixture
async def own_rig(own_redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Rig]:
    async for rig in rig_of(own_redis_server, tmp_path / "proxy"):
        yield rig


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisStore]:
    store = redis_store(redis_server.url)
    yield store
    await store.close()


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_server.url, protocol=2)
    yield client
    await client.aclose()
