"""Told to stop, every worker lets its responses finish; told again, all stop at once."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.processes.conftest import Start
from tests.processes.rig import LOCALHOST, Program, configure, is_running, until
from tests.scenarios.rig import Download, Hold, Reply, ScriptedOrigin, download, fetch

DOWNLOADS = 50


@pytest.fixture
def hold(origin: ScriptedOrigin) -> Hold:
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"x" * 4096, hold_at={1024: hold})
    return hold


async def slow_downloads(program: Program) -> list[Download]:
    running = [await download(program.port, f"/{number}") for number in range(DOWNLOADS)]
    await asyncio.gather(*(one.read(512) for one in running))
    return running


async def not_ready(program: Program) -> None:
    while (await fetch(program.admin, "/readyz", fields=LOCALHOST)).status != 503:
        pass


async def test_slow_downloads_are_finished(start: Start, hold: Hold, tmp_path: Path) -> None:
    program = await start(workers=2)
    running = await slow_downloads(program)
    workers = program.children
    program.process.send_signal(signal.SIGTERM)
    await not_ready(program)
    hold.release()
    responses = await asyncio.gather(*(one.rest() for one in running))
    assert all(response.complete and len(response.body) == 4096 for response in responses)
    assert await program.process.wait() == 0
    assert not any(map(is_running, workers))
    assert not list((tmp_path / "edgecache").iterdir())
    with pytest.raises(ConnectionRefusedError):
        await fetch(program.port)


async def test_a_second_signal_forces(start: Start, hold: Hold) -> None:
    program = await start(workers=2)
    running = await slow_downloads(program)
    program.process.send_signal(signal.SIGTERM)
    await not_ready(program)
    program.process.send_signal(signal.SIGINT)
    assert await program.process.wait() == 1
    responses = await asyncio.gather(*(one.rest() for one in running))
    assert not any(response.complete for response in responses)


async def test_earlier_generations_finish_too(start: Start, hold: Hold) -> None:
    program = await start(workers=2)
    running = await slow_downloads(program)
    await program.reload()
    running += await slow_downloads(program)
    program.process.send_signal(signal.SIGTERM)
    await not_ready(program)
    hold.release()
    responses = await asyncio.gather(*(one.rest() for one in running))
    assert all(response.complete for response in responses)
    assert await program.process.wait() == 0


async def test_what_does_not_finish_in_time_is_cut_off(start: Start, hold: Hold) -> None:
    program = await start(workers=2)
    program.config.write_text(program.config.read_text().replace("[admin]", 'drain_timeout = "50ms"\n[admin]'))
    assert (await program.reload())["last_reload_ok"]
    await slow_downloads(program)
    program.process.send_signal(signal.SIGTERM)
    assert await program.process.wait() == 1


def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    """A terminal that is closed sends what otherwise means to reload."""
    configure(tmp_path / "edgecache.toml", "http://127.0.0.1:1", port=0, admin=0)
    terminal, other = pty.openpty()
    with subprocess.Popen(
        (sys.executable, "-m", "tests.processes.program", str(tmp_path / "edgecache.toml"), "2"),
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(other)
        shown = b""
        while b"stop" not in shown:
            shown += os.read(terminal, 4096)
        os.close(terminal)
        assert process.wait() == 0


async def test_stopping_at_once_leaves_nothing(start: Start, tmp_path: Path) -> None:
    program = await start(workers=2)
    workers = program.children
    for _ in range(5):
        program.process.send_signal(signal.SIGINT)
    assert await program.process.wait() == 0
    await until(lambda: not any(map(is_running, workers)))
    assert not list((tmp_path / "edgecache").iterdir())
