"""A Redis server in trouble, under edges with load: clients see neither an error nor a wrong body, only other hits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.faults.proxy import FaultProxy
from tests.faults.refusals import REFUSALS
from tests.fleet.rig import Fleet, Load, fleet, until

pytestmark = pytest.mark.timeout(120)

LONG = bool(os.environ.get("EDGECACHE_LONG"))
PATHS = [f"/{number}" for number in range(300)]
MEMORY = "1MiB"
"""Less than all of it: most answers come from Redis while it is well."""


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Fleet]:
    """One edge of two workers."""
    async with fleet(tmp_path) as running:
        running.truth.size = 1500
        await running.start(cache_memory=MEMORY)
        await running.settled()
        yield running


def load(running: Fleet) -> Load:
    return running.load(running.edges[0], PATHS, clients=8, pause=0.0)


async def from_redis(running: Fleet, load: Load) -> bool:
    """Whether what memory does not hold is found without the origin."""
    before, asked = load.answers, running.origin.asked()
    await load.more(len(PATHS))
    return running.origin.asked() - asked < (load.answers - before) // 10


async def well_again(running: Fleet, load: Load) -> None:
    await until(lambda: from_redis(running, load))
    await load.stop()
    assert (load.wrong, load.broken) == ([], 0)


async def test_all_is_well(edge: Fleet) -> None:
    await well_again(edge, load(edge))
    async with edge.session.get(f"{edge.edges[0].admin}/metrics") as response:
        metrics = await response.text()
    assert "edgecache_store_failures_total 0" in metrics.replace(".0\n", "\n")


async def test_killed_and_back(edge: Fleet) -> None:
    running = load(edge)
    await until(lambda: from_redis(edge, running))
    for _ in range(2):
        edge.server.kill()
        await running.more(500)
        edge.server.start()
        await until(lambda: from_redis(edge, running))
    await well_again(edge, running)


async def test_stopped_and_back(edge: Fleet) -> None:
    running = load(edge)
    await until(lambda: from_redis(edge, running))
    edge.server.pause()
    await running.more(1000)
    edge.server.resume()
    await well_again(edge, running)


def slow(proxy: FaultProxy) -> None:
    proxy.down.latency = 0.1


def in_slices(proxy: FaultProxy) -> None:
    proxy.down.slice = proxy.up.slice = 7


def narrow(proxy: FaultProxy) -> None:
    proxy.down.bandwidth = 64_000


def silent(proxy: FaultProxy) -> None:
    proxy.down.hold = asyncio.Event()


def resetting(proxy: FaultProxy) -> None:
    proxy.down.limit = 5000
    proxy.reset()


def garbled(proxy: FaultProxy) -> None:
    proxy.down.corrupt = frozenset(range(100, 100_000, 977))  # type: ignore[assignment]


TROUBLES: list[Callable[[FaultProxy], None]] = [slow, in_slices, narrow, silent, resetting, garbled]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
async def test_a_bad_connection(edge: Fleet, trouble: Callable[[FaultProxy], None]) -> None:
    running, proxy = load(edge), edge.edges[0].redis
    await until(lambda: from_redis(edge, running))
    trouble(proxy)
    await running.more(500)
    proxy.down = type(proxy.down)()
    proxy.up = type(proxy.up)()
    proxy.reset()
    await well_again(edge, running)


@pytest.mark.parametrize("error", REFUSALS if LONG else REFUSALS[1:10:3], ids=lambda error: error.split(" ")[0])
async def test_nothing_but_errors(edge: Fleet, error: str) -> None:
    running, proxy = load(edge), edge.edges[0].redis
    await running.more(100)
    proxy.replies["*"] = f"-{error}\r\n".encode()
    proxy.reset()
    await running.more(300)
    proxy.replies.clear()
    proxy.reset()
    await well_again(edge, running)


async def test_a_full_server(tmp_path: Path) -> None:
    """It takes no more responses, and purges all the same."""
    async with fleet(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as running:
        running.truth.size = 5000
        edge = await running.start(cache_memory=MEMORY)
        await running.settled()
        clients = load(running)
        await clients.more(1000)
        assert b"-OOM" in running.server.ask("SET", "x", "y")
        for path in PATHS[:10]:
            assert (await running.purge(edge, path))[0] == 200
        await clients.more(500)
        await clients.stop()
        assert (clients.wrong, clients.broken) == ([], 0)


async def test_a_server_that_evicts_the_log(tmp_path: Path) -> None:
    """With a policy that may evict anything, the epoch ends with the log, and nothing purged comes back."""
    async with fleet(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random") as running:
        running.truth.size = 5000
        edge = await running.start(cache_memory=MEMORY)
        clients = load(running)
        for number in range(20):
            assert (await running.purge(edge, PATHS[number]))[0] in (200, 202, 503)
            await clients.more(100)
        await clients.stop()
        assert (clients.wrong, clients.broken) == ([], 0)
