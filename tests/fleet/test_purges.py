"""Purges among several edges of several processes, while what is between them fails: nothing stale is ever served."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.fleet.rig import LEASE, Fleet, Load, fleet, until

pytestmark = pytest.mark.timeout(120)

PATHS = [f"/{name}" for name in "abcdefgh"]
LONG = bool(os.environ.get("EDGECACHE_LONG"))
PURGES = 100 if LONG else 12


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two edges of two workers each."""
    async with fleet(tmp_path) as running:
        await asyncio.gather(running.start(), running.start())
        await running.settled()
        yield running


def loads(running: Fleet) -> list[Load]:
    return [running.load(edge, PATHS) for edge in running.edges]


async def judged(*all_loads: Load, errors: bool = False) -> None:
    for load in all_loads:
        await load.stop()
        assert load.wrong == []
        assert errors or load.broken == 0
        assert load.answers


async def purges(running: Fleet, count: int = PURGES, pause: float = 0.02) -> list[int]:
    """Purge one path after the other, at one edge after the other; return the statuses."""
    statuses = []
    for number in range(count):
        status, _ = await running.purge(running.edges[number % len(running.edges)], PATHS[number % len(PATHS)])
        statuses.append(status)
        await asyncio.sleep(pause)
    return statuses


async def test_under_load(two: Fleet) -> None:
    running = loads(two)
    assert set(await purges(two, 3 * PURGES)) == {200}
    for load in running:
        await load.more(200)
    await judged(*running)
    assert all(load.hits > load.answers / 2 for load in running)


async def test_a_receipt_names_every_process(two: Fleet) -> None:
    status, receipt = await two.purge(two.edges[0], "/a")
    assert status == 200
    workers = receipt["workers"]
    assert isinstance(workers, list)
    pids = {int(worker["worker"].split(":")[1]) for worker in workers if worker["applied"]}
    assert {pid for edge in two.edges for pid in edge.workers()} <= pids


async def test_when_nobody_is_woken(two: Fleet) -> None:
    """Every notification lost; the regular syncs are enough."""
    for edge in two.edges:
        edge.redis.replies["SUBSCRIBE"] = b"-ERR not today\r\n"
        edge.redis.reset()
    running = loads(two)
    assert set(await purges(two)) == {200}
    await judged(*running)


@pytest.mark.parametrize("way", ["black-hole", "reset", "half-open"])
async def test_an_edge_that_is_cut_off(two: Fleet, way: str) -> None:
    """It asks the origin when its lease is over, one request at a time for each path, and answers everything."""
    near, far = two.edges
    running = loads(two)
    for load in running:
        await load.more(100)
    if way == "half-open":
        far.redis.half_open()
    far.redis.refuse = True
    far.redis.down.hold = far.redis.up.hold = asyncio.Event()
    if way == "reset":
        far.redis.reset()
    for number in range(PURGES):
        status, _ = await two.purge(near, PATHS[number % len(PATHS)])
        assert status == 200
        await running[1].more(10)
    await asyncio.sleep(LEASE)
    two.truth.most_under_way.clear()
    two.truth.delay = 0.05
    await running[1].more(200)
    two.truth.delay = 0.0
    # One that runs and one that waits is the bound for each process, and the waiting one has not been sent.
    assert max(two.truth.most_under_way.values()) <= 2
    far.redis.refuse = False
    far.redis.down.hold = far.redis.up.hold = None
    far.redis.reset()
    await until(lambda: _hits_again(running[1]))
    await judged(*running)


async def _hits_again(load: Load) -> bool:
    before = load.hits
    await load.more(20)
    return load.hits - before > 15


def flush(running: Fleet) -> None:
    running.server.ask("FLUSHALL")


def lose_the_log(running: Fleet) -> None:
    running.server.ask("DEL", "ec:{edgecache}:log")


def lose_the_meta(running: Fleet) -> None:
    running.server.ask("DEL", "ec:{edgecache}:meta")


def restart(running: Fleet) -> None:
    running.server.kill()
    running.server.start()


LOSSES: list[Callable[[Fleet], None]] = [flush, lose_the_log, lose_the_meta, restart]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
async def test_a_server_that_loses_everything(two: Fleet, loss: Callable[[Fleet], None]) -> None:
    """Nothing comes back; what is unproven is confirmed by the origin, not fetched again."""
    running = loads(two)
    for load in running:
        await load.more(100)
    for _ in range(4 if LONG else 2):
        statuses = asyncio.create_task(purges(two))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(loss, two)
        assert set(await statuses) <= {200, 202, 503}
    await until(lambda: two.ready(two.edges[0]))
    for load in running:
        await until(lambda load=load: _hits_again(load))  # type: ignore[misc]
    await judged(*running)


async def test_a_server_that_goes_back_in_time(two: Fleet) -> None:
    """What was purged after the snapshot is not forgotten with it."""
    running = loads(two)
    for load in running:
        await load.more(50)
    two.server.ask("SAVE")
    assert set(await purges(two)) == {200}
    two.server.kill()
    await purges(two, 2)
    two.server.start()
    await until(lambda: two.ready(two.edges[0]))
    for load in running:
        await load.more(100)
    await judged(*running)


@pytest.mark.parametrize("whom", ["worker", "server"])
async def test_whoever_was_stopped_goes_on(two: Fleet, whom: str) -> None:
    """A process that wakes up after its lease does not answer from what it knew."""
    running = loads(two)
    for _ in range(5 if LONG else 2):
        for load in running:
            await load.more(50)
        if whom == "worker":
            stopped = two.edges[1].workers()[0]
            os.kill(stopped, signal.SIGSTOP)
        else:
            two.server.pause()
        for path in PATHS:
            status, _ = await two.purge(two.edges[0], path)
            assert status == 200 if whom == "worker" else status in (202, 503)
        await asyncio.sleep(LEASE)
        if whom == "worker":
            os.kill(stopped, signal.SIGCONT)
        else:
            two.server.resume()
        await until(lambda: two.ready(two.edges[0]))
    for load in running:
        await load.more(50)
    await judged(*running)


async def test_a_killed_worker_holds_up_no_purge_for_ever(two: Fleet) -> None:
    running = loads(two)
    await running[0].more(50)
    os.kill(two.edges[1].workers()[0], signal.SIGKILL)
    assert set(await purges(two)) == {200}
    await judged(*running, errors=True)


async def test_without_redis_a_purge_is_not_confirmed(two: Fleet) -> None:
    """Said so at once, with when to try again; and trying again is one purge."""
    running = loads(two)
    assert (await two.purge(two.edges[0], "/a"))[0] == 200
    two.server.pause()
    order = {"selectors": [{"kind": "url", "value": "http://example.com/a"}]}
    headers = {"Idempotency-Key": "deploy-42"}
    for edge in two.edges:
        async with two.session.post(f"{edge.admin}/v1/purge", json=order, headers=headers) as response:
            assert response.status == 503
            assert "Retry-After" in response.headers
    two.server.resume()
    sequences = set()
    for edge in two.edges:
        await until(lambda edge=edge: two.ready(edge))  # type: ignore[misc]
        async with two.session.post(f"{edge.admin}/v1/purge", json=order, headers=headers) as response:
            assert response.status == 200
            sequences.add((await response.json())["sequence"])
    assert len(sequences) == 1
    await judged(*running)


@pytest.mark.parametrize(("fill_lock", "most"), [("0", 4), ("5s", 2)])
async def test_a_thousand_at_once(tmp_path: Path, fill_lock: str, most: int) -> None:
    """One origin request for each process; with the lock one altogether, or two."""
    async with fleet(tmp_path) as running:
        # A busy machine must not cost a lease here: then somebody would rightly ask again.
        settings = {"redis_fill_lock": fill_lock, "redis_lease": "10s"}
        edges = await asyncio.gather(*(running.start(**settings) for _ in range(2)))  # type: ignore[arg-type]
        running.truth.delay = 0.3
        clients = [running.load(edge, ["/cold"], clients=500, pause=3600.0) for edge in edges]
        await until(lambda: all(load.answers == 500 for load in clients))
        await judged(*clients)
        assert running.origin.asked("/cold") <= most
