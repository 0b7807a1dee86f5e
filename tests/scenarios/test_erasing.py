"""Erasing: a canary that was purged rests in no byte of Redis, and what was not purged is still served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecache.edges.erasures import LATE
from tests.faults.redis_server import RedisServer
from tests.scenarios.composed import ordered, until
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import Received, Reply, ScriptedOrigin
from tests.scenarios.shared import StartShared, SteadyClock, written

CANARY = b"canary-0b7e5c91"
LARGE = CANARY + bytes(600_000) + CANARY
ORDER = {"selectors": [{"kind": "tag", "value": "leaked"}], "erase": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "--rdbcompression", "no").start()
    yield server
    server.kill()


def leaky(request: Received) -> Reply:
    """Bodies with a canary under /leaked, small ones and large ones, and something else everywhere else."""
    body, tag = {
        "/leaked": (CANARY, "leaked"),
        "/leaked/large": (LARGE, "leaked"),
    }.get(request.target, (b"harmless neighbour", "kept"))
    return Reply(200, {"Cache-Control": "max-age=600", "Surrogate-Key": tag}, body)


def dumped(server: RedisServer, directory: Path) -> bytes:
    assert server.ask("SAVE").startswith(b"+OK")
    return (directory / "dump.rdb").read_bytes()


async def erased(edge: RunningEdge, id: str, steady: SteadyClock) -> dict[str, Any]:
    """Wait until an erasure has ended; what it has to wait for is over as soon as it begins to wait."""
    waited = False
    while not (said := await ordered(edge, f"/v1/erasures/{id}"))["ended"]:
        if said["detail"] and not waited:
            steady.advance(LATE)
            waited = True
        await asyncio.sleep(0.01)
    return said


async def test_a_canary_that_was_purged_rests_nowhere(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock, tmp_path: Path
) -> None:
    origin.script = leaky
    edges = [await start(), await start()]
    for edge in edges:
        for target in ("/leaked", "/leaked/large", "/neighbour"):
            assert (await edge.fetch(target)).status == 200
            await written(edge)
    assert len(origin.requests) == 3
    assert dumped(server, tmp_path).count(CANARY) == 3

    reply = await ordered(edges[0], "/v1/purge", ORDER)
    assert (reply["state"], reply["erasure"]["state"]) == ("confirmed", "running")
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=600", "Surrogate-Key": "leaked"}, b"born after")
    assert (await edges[1].fetch("/leaked")).body == b"born after"
    await written(edges[1])

    said = await erased(edges[0], reply["id"], steady)
    assert (said["state"], said["detail"]) == ("done", "")
    assert edges[0].parts.counters.purge_erased == said["erased"] >= 1
    left = dumped(server, tmp_path)
    assert CANARY not in left
    assert b"harmless neighbour" in left
    assert b"born after" in left
    assert server.ask("DBSIZE").strip() <= b":5"  # two lists, and the purge log's

    await until(lambda: all(edge.parts.memory.statistics().responses <= 2 for edge in edges))
    asked = len(origin.requests)
    for edge in edges:
        await edge.parts.ledger.catch_up(10**9)  # their leases ran out with the time that was skipped
        assert (await edge.fetch("/neighbour")).body == b"harmless neighbour"
        assert (await edge.fetch("/leaked")).body == b"born after"
    assert len(origin.requests) == asked


async def test_what_was_stored_before_the_log_was_lost_goes_too(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock, tmp_path: Path
) -> None:
    """Nobody can say of it that it was born after the purge."""
    origin.script = leaky
    edge = await start(redis={"lease": 1.0})
    for target in ("/leaked", "/leaked/large", "/neighbour"):
        await edge.fetch(target)
    await written(edge)
    server.ask("DEL", "ec:{edgecache}:meta", "ec:{edgecache}:log")
    await edge.parts.ledger.catch_up(10**9)
    reply = await ordered(edge, "/v1/purge", ORDER)
    assert (await erased(edge, reply["id"], steady))["erased"] == 2
    left = dumped(server, tmp_path)
    assert CANARY not in left
    assert b"harmless neighbour" in left


async def test_a_redis_that_is_away_fails_an_erasure(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock, tmp_path: Path
) -> None:
    origin.script = leaky
    edge = await start(redis={"lease": 1.0})
    await edge.fetch("/leaked")
    await written(edge)
    reply = await ordered(edge, "/v1/purge", ORDER)
    await until(lambda: edge.parts.counters.purge_erased == 1)
    server.kill()
    said = await erased(edge, reply["id"], steady)
    assert said["state"] == "failed"
    assert said["detail"].endswith("; purge again with erase")
