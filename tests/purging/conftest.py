from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgecache.purging.redis_log import RedisLog
from tests.purging.redis_server import LedgerServer


@pytest.fixture(scope="session")
def server_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerServer]:
    server = LedgerServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def server(server_of_the_session: LedgerServer) -> LedgerServer:
    server_of_the_session.clear()
    return server_of_the_session


@pytest.fixture
async def log(server: LedgerServer) -> AsyncIterator[RedisLog]:
    log = RedisLog(server.client(), "test")
    yield log
    await log.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[LedgerServer]:
    """A server of the test's own, to be mistreated."""
    server = LedgerServer(tmp_path)
    yield server
    server.stop()
