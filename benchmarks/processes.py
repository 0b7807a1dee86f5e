"""Processes as the kernel sees them: how to start them, what they have used, and where they may run.

CPU time is what ``/proc/<pid>/stat`` says of a process, all its threads, its living descendants, and those that have
ended and were waited for. User and system time apart are estimates of the kernel; their sum, used here, is not: the
scheduler's own clock, told in ticks of 10 ms.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

__all__ = ["Failed", "cores", "cpu_seconds", "descendants", "free_port", "resident_bytes", "running", "wait_for_port"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PATIENCE: Final = 30.0
"""Seconds that a server may take to start, or to end before it is killed."""


class Failed(Exception):
    """A benchmark cannot go on: the message says why, for the terminal."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens, below those that the system gives to connections."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def cores() -> list[int]:
    """Return the numbers of the cores this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextlib.contextmanager
def running(
    command: Iterable[str], *, log: Path, core: str = "", environ: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a command, on some cores only if they are given ("0", "0,1"); yield its process id, and end it afterwards."""
    pinned = ["taskset", "-c", core, *command] if core else list(command)
    with log.open("ab") as output:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, **(environ or {})},
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(port: int, pid: int, log: Path) -> None:
    """Return when somebody listens on ``port``; raise ``Failed`` with the end of its log when ``pid`` ends before."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if _state(pid) in ("", "Z"):
            break
        time.sleep(0.02)
    raise Failed(f"process {pid} does not listen on port {port}\n{log.read_text('utf-8', 'replace')[-2000:]}")


def _fields(pid: int) -> list[str]:
    """Return the fields of ``stat`` from the third on, the state; nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _state(pid: int) -> str:
    return next(iter(_fields(pid)), "")


def descendants(pid: int) -> list[int]:
    """Return ``pid`` and every process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:  # grows while it is walked
        found += children.get(one, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the user and system time of processes, with those of their children that have ended."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _fields(pid))) / _TICKS


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory of processes, bytes; what several of them share is counted once (PSS)."""
    return sum(map(_pss, pids))


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
