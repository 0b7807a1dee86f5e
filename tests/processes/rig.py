"""A supervised edge in processes of its own, what can be seen of it from outside, and a crowd of clients.

What processes do takes time, so stories here wait for what they can see (``until``); none measures how long it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.scenarios.rig import ClientResponse, Received, Reply, fetch

__all__ = ["LONG", "Crowd", "Program", "configure", "content", "origin_script", "started", "until"]

LONG = bool(os.environ.get("EDGECACHE_LONG"))
"""Whether there is time: many more kills, reloads and clients."""

LOCALHOST = {"Host": "localhost"}


def content(target: str) -> bytes:
    """What the origin answers for a target: 32 KiB that no other target has."""
    return hashlib.sha512(target.encode()).digest() * 512


def origin_script(request: Received) -> Reply:
    """Fresh for a minute, whatever is asked for."""
    return Reply(200, {"Cache-Control": "max-age=60"}, content(request.target))


def configure(path: Path, origin: str, *, port: int, admin: int, name: str = "first", more: str = "") -> None:
    """Write a configuration file; ``more`` stands at its end, ``name`` is what the edge calls itself."""
    path.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
        f'[origin]\nurls = ["{origin}"]\n[log]\naccess = "off"\n[cache]\nname = "{name}"\n{more}'
    )


@dataclass
class Program:
    """A running edge: the process of its supervisor, and its ports."""

    process: asyncio.subprocess.Process
    config: Path
    port: int
    admin: int
    errors: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def children(self) -> list[int]:
        """The processes of its workers, and of its server if it has one."""
        return sorted(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == self.pid)

    async def fetch(self, target: str = "/") -> ClientResponse:
        return await fetch(self.port, target)

    async def stats(self) -> dict[str, Any]:
        """``/v1/stats`` of whichever worker answers."""
        response = await fetch(self.admin, "/v1/stats", fields=LOCALHOST)
        assert response.complete
        return json.loads(response.body)  # type: ignore[no-any-return]

    async def supervision(self) -> dict[str, Any]:
        return (await self.stats())["supervision"]  # type: ignore[no-any-return]

    async def metrics(self) -> dict[str, float]:
        """``/metrics``, sample by sample."""
        text = (await fetch(self.admin, "/metrics", fields=LOCALHOST)).body.decode()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def until(self, **expected: object) -> dict[str, Any]:
        """Wait until the supervisor knows of this (``edges.supervision``)."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, AssertionError):
                known = await self.supervision()
                if expected.items() <= known.items():
                    return known
            await asyncio.sleep(0.01)

    async def reload(self) -> dict[str, Any]:
        """Have it read its configuration again, and wait for the outcome."""
        before = await self.supervision()
        self.process.send_signal(signal.SIGHUP)
        return await self.outcome(before)

    async def outcome(self, before: dict[str, Any]) -> dict[str, Any]:
        """Wait until one more reload has come to its end than there were."""
        count = before["reloads"] + before["reloads_refused"] + 1
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, AssertionError):
                known = await self.supervision()
                if known["reloads"] + known["reloads_refused"] == count and known["workers"] == known["workers_wanted"]:
                    return known
            await asyncio.sleep(0.01)

    async def _take_errors(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.errors.append(line.decode())


@contextlib.asynccontextmanager
async def started(
    config: Path, port: int, admin: int, workers: int | None = 2, **environ: str
) -> AsyncIterator[Program]:
    """Run ``tests.processes.program``; with None for workers as many as the file says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.processes.program", str(config), "" if workers is None else str(workers)),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(config.parent), **environ},
    )
    program = Program(process, config, port, admin)
    listening = asyncio.create_task(program._take_errors())
    try:
        await until(lambda: any("stop" in line for line in program.errors) or process.returncode is not None)
        yield program
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening
        print("".join(program.errors))  # pytest shows it when a test fails


async def until(holds: Callable[[], object]) -> None:
    """Wait until something can be seen."""
    while not holds():  # noqa: ASYNC110  # what other processes do sets no event of ours
        await asyncio.sleep(0.01)


# Clients.


class Crowd:
    """Clients that ask for the same few things over and over, each on a connection that it uses several times.

    ``failures`` are the local ports of connections on which a response was not what it should be, with why.
    A request on a used connection that the edge closes before it answers is sent again, as RFC 9110 §9.2.2 has it,
    and is a failure only if ``strict``.
    """

    def __init__(self, port: int, *, clients: int = 8, targets: int = 20, strict: bool = False) -> None:
        self._port = port
        self._targets = [f"/{number}" for number in range(targets)]
        self._clients = clients
        self._strict = strict
        self._tasks: list[asyncio.Task[None]] = []
        self.failures: list[tuple[int, str]] = []
        self.served: Counter[str] = Counter()
        self._leaving = False

    @property
    def total(self) -> int:
        """Responses so far that were right."""
        return sum(self.served.values())

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._leaving = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Wait for so many more responses."""
        goal = self.total + count
        await until(lambda: self.total >= goal)

    async def _client(self, number: int) -> None:
        while not self._leaving:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                self.failures.append((0, f"not let in: {error}"))
                continue
            await self._use(reader, writer, number)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        local = writer.get_extra_info("sockname")[1]
        for turn in range(50):
            if self._leaving:
                return
            target = self._targets[(number + turn) % len(self._targets)]
            writer.write(f"GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode())
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                partial = isinstance(error, asyncio.IncompleteReadError) and error.partial
                if self._strict or turn == 0 or partial:
                    self.failures.append((local, f"no response: {error!r}"))
                return
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
            try:
                body = await reader.readexactly(int(fields.get("content-length", 0)))
            except (asyncio.IncompleteReadError, ConnectionError):
                self.failures.append((local, "cut off"))
                return
            if head.split(" ")[1] != "200" or body != content(target):
                self.failures.append((local, f"wrong: {head}"))
            self.served[fields.get("cache-status", "").partition(";")[0]] += 1
            if fields.get("connection") == "close":
                return


# Processes.


def connections_of(pid: int) -> set[int]:
    """The clients' ports of the TCP connections over IPv4 that a process has accepted."""
    inodes = {name[8:-1] for name in files_of(pid) if name.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


def stop(pid: int) -> None:
    """Have a process stand still, and return when it does."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        pass


def files_of(pid: int) -> set[str]:
    """What a process has open."""
    found = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than one that waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
