"""Workers that die, and a supervisor that does."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal

import pytest

from tests.processes.conftest import Start
from tests.processes.rig import LONG, Crowd, Program, connections_of, is_running, stop, until
from tests.scenarios.rig import Hold, Reply, ScriptedOrigin, download, fetch

KILLS = 12 if LONG else 4


async def test_a_killed_worker_costs_its_own_connections_and_nothing_else(start: Start) -> None:
    program = await start(workers=2)
    held: set[int] = set()
    async with Crowd(program.port, clients=16 if LONG else 8, strict=True) as crowd:
        await crowd.more(200)
        for number in range(1, KILLS + 1):
            stop(victim := program.children[0])  # so that it accepts nobody whom we have not seen
            held |= connections_of(victim)
            os.kill(victim, signal.SIGKILL)
            await program.until(restarts=number, workers=2)
            await crowd.more(200)
    assert {port for port, _ in crowd.failures} <= held
    assert not [why for _, why in crowd.failures if why.startswith("wrong")]
    assert program.process.returncode is None


async def test_connections_that_wait_are_served_by_the_next_worker(start: Start) -> None:
    program = await start(workers=1)
    (victim,) = program.children
    stop(victim)
    waiting = [await download(program.port, f"/{number}") for number in range(20)]
    os.kill(victim, signal.SIGKILL)
    responses = await asyncio.gather(*(one.rest() for one in waiting))
    assert all(response.complete and response.status == 200 for response in responses)


async def test_numbers_only_grow_whoever_dies(start: Start) -> None:
    program = await start(workers=2)
    seen: list[float] = []

    async def look() -> None:
        seen.append((await program.metrics())["edgecache_requests_received_total"])

    async with Crowd(program.port) as crowd:
        for number in range(1, KILLS + 1):
            for _ in range(10):
                await crowd.more(5)
                await look()
            os.kill(program.children[number % 2], signal.SIGKILL)
            await look_while(program, look, restarts=number, workers=2)
    assert all(before <= after for before, after in itertools.pairwise(seen))
    assert seen[-1] > 50 * KILLS


async def look_while(program: Program, look: object, **expected: object) -> None:
    """Look again and again, whoever answers, until the supervisor knows of this."""
    while True:
        try:
            await look()  # type: ignore[operator]
            if expected.items() <= (await program.supervision()).items():
                return
        except (OSError, asyncio.IncompleteReadError):
            pass  # the one that answered was killed


async def test_what_a_dead_worker_counted_is_still_counted(start: Start) -> None:
    program = await start(workers=1)
    for number in range(10):
        await program.fetch(f"/{number}")
    assert (await program.metrics())["edgecache_requests_received_total"] == 10
    os.kill(*program.children, signal.SIGKILL)
    await program.until(restarts=1, workers=1)
    await program.fetch("/0")
    metrics = await program.metrics()
    assert metrics["edgecache_requests_received_total"] == 11
    assert metrics['edgecache_store_responses{tier="memory"}'] == 1
    assert metrics["edgecache_worker_restarts_total"] == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
async def test_a_worker_is_deaf_to_signals(start: Start, number: signal.Signals) -> None:
    """A terminal or a service manager sends some to every process at once."""
    program = await start(workers=2)
    before = program.children
    for worker in before:
        os.kill(worker, number)
    for target in range(10):
        assert (await program.fetch(f"/{target}")).status == 200
    assert program.children == before
    assert (await program.supervision())["generation"] == 1


async def test_workers_without_a_supervisor_finish_and_go(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=2)
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"x" * 4096, hold_at={1024: hold})
    running = [await download(program.port, f"/{number}") for number in range(8)]
    await asyncio.gather(*(one.read(512) for one in running))
    workers = program.children
    program.process.kill()
    await until(lambda: not is_running(program.pid))
    hold.release()
    responses = await asyncio.gather(*(one.rest() for one in running))
    assert all(response.complete for response in responses)
    await until(lambda: not any(map(is_running, workers)))
    with pytest.raises(ConnectionRefusedError):
        await fetch(program.port)
