"""Told to stop, the program lets running responses finish; told again, it stops at once (real signals)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.scenarios.composed import edge_before, requested, settled
from tests.scenarios.rig import Hold, Reply, ScriptedOrigin, download, fetch


@dataclass
class Program:
    process: asyncio.subprocess.Process
    port: int
    admin: int


@pytest.fixture
async def program(origin: ScriptedOrigin, unused_tcp_port_factory: object) -> AsyncIterator[Program]:
    port, admin = unused_tcp_port_factory(), unused_tcp_port_factory()  # type: ignore[operator]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgecache.cli.main", "proxy", "--to", origin.url, "--access-log", "off"),
        *("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"stop" not in await process.stderr.readline():
        pass
    yield Program(process, port, admin)
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _hang(origin: ScriptedOrigin) -> Hold:
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"x" * 4096, hold_at={1024: hold})
    return hold


async def test_responses_finish_and_nobody_new_is_let_in(origin: ScriptedOrigin, program: Program) -> None:
    hold = await _hang(origin)
    downloads = [await download(program.port, f"/{number}") for number in range(50)]
    await asyncio.gather(*(each.read(512) for each in downloads))
    program.process.send_signal(signal.SIGTERM)
    while (await fetch(program.admin, "/readyz", fields={"Host": "localhost"})).status != 503:
        pass
    assert program.process.returncode is None
    hold.release()
    responses = await asyncio.gather(*(each.rest() for each in downloads))
    assert all(response.complete and len(response.body) == 4096 for response in responses)
    assert await program.process.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        await fetch(program.port)


async def test_a_second_signal_stops_at_once(origin: ScriptedOrigin, program: Program) -> None:
    await _hang(origin)
    running = await download(program.port, "/a")
    await running.read(512)
    program.process.send_signal(signal.SIGTERM)
    while (await fetch(program.admin, "/readyz", fields={"Host": "localhost"})).status != 503:
        pass
    program.process.send_signal(signal.SIGTERM)
    assert await program.process.wait() == 1
    assert not (await running.rest()).complete


@pytest.mark.parametrize("others", [0, 3])
async def test_who_waits_for_the_origin_is_let_go(origin: ScriptedOrigin, others: int) -> None:
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "private"}, b"x", hold=hold)
    async with edge_before(origin.url) as edge:
        waiting = [await edge.download("/") for _ in range(1 + others)]
        await requested(edge, 1 + others)
        await hold.reached()
        await edge.parts.public.force()
        for each in waiting:
            with pytest.raises(ConnectionError):
                await each.head()
        hold.release()
        await settled(edge)
        assert origin.asked() == 1
