"""Workers that share an embedded server: what they store, what they purge, and its death."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

from tests.processes.conftest import Start
from tests.processes.rig import Crowd, Program, is_running, until
from tests.scenarios.rig import ClientResponse, ScriptedOrigin, fetch

EMBEDDED = '[redis]\nurl = "embedded"\nlease = "1s"\n'


def server_of(program: Program) -> int:
    """The process of the embedded server."""
    (found,) = (pid for pid in program.children if b"valkey" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


async def purge_all(program: Program) -> ClientResponse:
    secret = next((program.config.parent / "edgecache").glob("*.token")).read_text()
    fields = {"Host": "localhost", "Authorization": f"Bearer {secret}"}
    return await fetch(program.admin, "/v1/purge", "POST", fields, b'{"selectors": [{"kind": "all"}]}')


async def test_one_origin_request_and_one_purge_for_all_workers(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=3, more=EMBEDDED)
    await program.fetch("/a")
    await until_written(program, 1)
    for _ in range(20):
        assert "; hit" in (await program.fetch("/a")).cache_status
    assert origin.asked("/a") == 1
    for purges in range(1, 6):
        purged = await purge_all(program)
        assert (purged.status, json.loads(purged.body)["state"]) == (200, "confirmed")
        assert len(json.loads(purged.body)["workers"]) == 3
        assert "; hit" not in (await program.fetch("/a")).cache_status
        assert origin.asked("/a") == 1 + purges


async def until_written(program: Program, responses: int) -> None:
    """Wait until so many responses are in the shared tier."""
    while (await program.stats())["stores"]["redis"]["responses"] < responses:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_what_is_stored_outlives_a_generation(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=2, more=EMBEDDED)
    await program.fetch("/a")
    await until_written(program, 1)
    assert (await program.reload())["last_reload_ok"]
    assert "; hit" in (await program.fetch("/a")).cache_status
    assert origin.asked("/a") == 1


async def test_the_server_is_started_again_and_nobody_notices(start: Start) -> None:
    program = await start(workers=2, more=EMBEDDED)
    server = server_of(program)
    async with Crowd(program.port, clients=4) as crowd:
        await crowd.more(50)
        os.kill(server, signal.SIGKILL)
        await crowd.more(50)
        await until(lambda: len(program.children) == 3 and not is_running(server))
        assert server_of(program) != server
        await crowd.more(50)
    assert crowd.failures == []
    while "; hit" not in (await program.fetch("/new")).cache_status:
        pass
    program.process.send_signal(signal.SIGTERM)
    assert await program.process.wait() == 0


async def test_the_server_goes_with_its_supervisor(start: Start) -> None:
    program = await start(workers=2, more=EMBEDDED)
    processes = program.children
    run_dir = Path(os.readlink(f"/proc/{server_of(program)}/cwd")).parent
    program.process.kill()
    await until(lambda: not any(map(is_running, processes)))
    assert not run_dir.exists()


async def test_a_terminal_s_interrupt_reaches_the_supervisor_first(start: Start) -> None:
    """As the whole group gets it: the server goes last, when the workers have written what they had to write."""
    program = await start(workers=2, more=EMBEDDED)
    server = server_of(program)
    assert os.getpgid(server) != os.getpgid(program.pid)
    for pid in program.children:
        if pid != server:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
    program.process.send_signal(signal.SIGINT)
    assert await program.process.wait() == 0
    assert not is_running(server)
