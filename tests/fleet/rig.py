"""Several edges of several processes each, with load on them and an oracle that judges every answer.

The origin, the clients and the proxies before the Redis server live in the test's event loop; the edges and the server
are real processes. The origin answers ``/<name>`` with the version of that path, many times over, and confirms by 304
exactly the version it has now. A purge of a path raises its version first. So an answer is *stale* when its version is
below the one that was current when the last purge that was confirmed before the request was ordered.

Nothing here asserts how long something takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer
from tests.ports import free_port
from tests.scenarios.rig import Received, Reply, ScriptedOrigin

__all__ = ["EdgeProcess", "Fleet", "Load", "Truth", "fleet", "until"]

TOKEN: Final = "the-token-of-all-tests-here-0123456789"
SECRET: Final = "the secret of all tests here"
LEASE: Final = 1.0
"""Seconds: the shortest lease, so that what happens when it runs out happens soon."""

_COMMAND: Final = (sys.executable, "-m", "edgecache.cli.main", "proxy")
_STARTS_WITHIN: Final = 30.0
_ENDS_WITHIN: Final = 45.0


class Truth:
    """What the origin has now, and which purges are known to have been confirmed."""

    def __init__(self) -> None:
        self.versions: Counter[str] = Counter()
        self.confirmed: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.most_under_way: Counter[str] = Counter()
        self.size = 20
        """How often the version is repeated."""
        self.cache_control = "max-age=3600"
        self.delay = 0.0

    def body(self, path: str, version: int) -> bytes:
        return f"{path}|{version}|".encode() * self.size

    async def answer(self, request: Received) -> Reply:
        path = request.target
        self.under_way[path] += 1
        self.most_under_way[path] = max(self.most_under_way[path], self.under_way[path])
        try:
            version = self.versions[path]
            if self.delay:
                await asyncio.sleep(self.delay)
        finally:
            self.under_way[path] -= 1
        fields = {"Cache-Control": self.cache_control, "ETag": f'"{version}"', "Surrogate-Key": f"all {path}"}
        if request.fields.get("if-none-match") == f'"{version}"':
            return Reply(304, fields)
        return Reply(200, fields, self.body(path, version))

    def judge(self, path: str, confirmed: int, status: int, content: bytes) -> str:
        """Return what is wrong with an answer, empty for nothing. ``confirmed`` is from when it was asked for."""
        if status != 200:
            return f"{path}: status {status}: {content[:100]!r}"
        version = int(content.split(b"|", 2)[1])
        if content != self.body(path, version):
            return f"{path}: a wrong body: {content[:60]!r}"
        if version < confirmed:
            return f"{path}: version {version} after a purge of {confirmed} was confirmed"
        return ""


@dataclass
class Load:
    """Clients that ask one edge again and again, each on a connection of its own, until they are told to stop."""

    truth: Truth
    port: int
    paths: list[str]
    clients: int = 4
    pause: float = 0.002
    answers: int = 0
    hits: int = 0
    wrong: list[str] = field(default_factory=list)
    broken: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self.clients)]
        return self

    async def stop(self) -> Load:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return self

    async def more(self, answers: int) -> None:
        """Wait for so many more answers."""
        goal = self.answers + answers
        await until(lambda: self.answers >= goal or bool(self.wrong))

    async def _ask(self, number: int) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.broken += 1
                await asyncio.sleep(0.01)
                continue
            try:
                await self._converse(number, reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.broken += 1
            finally:
                writer.close()

    async def _converse(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            number = (number + 1) % len(self.paths)
            path = self.paths[number]
            confirmed = self.truth.confirmed[path]
            writer.write(f"GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
            content = await reader.readexactly(int(length[1])) if length else b""
            wrong = self.truth.judge(path, confirmed, int(head.split(b" ", 2)[1]), content)
            if wrong:
                self.wrong.append(wrong)
            self.answers += 1
            self.hits += b"edgecache; hit" in head
            if b"connection: close" in head.lower():
                return
            await asyncio.sleep(self.pause)


@dataclass
class EdgeProcess:
    """One edge: its supervisor, where it listens, and the proxy between it and Redis."""

    process: subprocess.Popen[bytes]
    port: int
    admin: str
    redis: FaultProxy
    log: Path

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        return sorted(_children(self.process.pid))

    def told(self) -> str:
        return self.log.read_text()


class Fleet:
    """Edges that share a Redis server, in front of one origin."""

    def __init__(self, directory: Path, origin: ScriptedOrigin, server: RedisServer, truth: Truth) -> None:
        self.origin = origin
        self.server = server
        self.truth = truth
        self.edges: list[EdgeProcess] = []
        self._directory = directory
        self._numbers = itertools.count()
        self._running = contextlib.AsyncExitStack()
        self.session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"})

    async def start(self, *, workers: int = 2, **settings: str) -> EdgeProcess:
        """Start an edge; settings are those of the environment, without ``EDGECACHE_`` and in lower case."""
        number = next(self._numbers)
        proxy = FaultProxy(self.server.socket, self._directory / f"proxy{number}.sock")
        await self._running.enter_async_context(proxy)
        log = self._directory / f"edge{number}.log"
        admin = f"127.0.0.1:{free_port()}"
        options = ("--to", self.origin.url, "--listen", "127.0.0.1:0", "--admin", admin, "--access-log", "off")
        command = (*_COMMAND, *options, "--redis", proxy.url, "--workers", str(workers))
        environment = {"TOKEN": TOKEN, "REDIS_SECRET": SECRET, "REDIS_LEASE": f"{LEASE}s"}
        environment |= {name.upper(): value for name, value in settings.items()}
        environ = os.environ | {f"EDGECACHE_{name}": value for name, value in environment.items()}
        process = _run(command, environ, log)
        self._running.push_async_callback(_end, process)
        edge = EdgeProcess(process, await _port(process, log), f"http://{admin}", proxy, log)
        self.edges.append(edge)
        return edge

    async def settled(self) -> None:
        """Wait until purges are confirmed by everybody's word, and not only by the end of every lease."""
        for edge in self.edges:
            await until(lambda edge=edge: self.ready(edge))  # type: ignore[misc]

    async def ready(self, edge: EdgeProcess) -> bool:
        return (await self.purge(edge, "/nobody"))[0] == 200

    async def purge(self, edge: EdgeProcess, path: str, *, key: str = "") -> tuple[int, dict[str, object]]:
        """Give a path a new version and purge the old one; return the status and the receipt."""
        self.truth.versions[path] += 1
        version = self.truth.versions[path]
        order = {"selectors": [{"kind": "url", "value": f"http://example.com{path}"}]}
        headers = {"Idempotency-Key": key} if key else {}
        async with self.session.post(f"{edge.admin}/v1/purge", json=order, headers=headers) as response:
            receipt = json.loads(await response.read())
            if response.status == 200:
                self.truth.confirmed[path] = max(self.truth.confirmed[path], version)
            return response.status, receipt

    def load(self, edge: EdgeProcess, paths: list[str], **settings: object) -> Load:
        return Load(self.truth, edge.port, paths, **settings).start()  # type: ignore[arg-type]

    async def close(self) -> None:
        await self.session.close()
        await self._running.aclose()


@contextlib.asynccontextmanager
async def fleet(directory: Path, *options: str) -> AsyncIterator[Fleet]:
    """``options`` are the server's."""
    truth = Truth()
    server = RedisServer(directory, *options).start()
    try:
        async with ScriptedOrigin(truth.answer) as origin:
            running = Fleet(directory, origin, server, truth)
            try:
                yield running
            finally:
                await running.close()
    finally:
        server.kill()


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds; the time limit of the tests is the limit."""
    while True:
        result = holds()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        await asyncio.sleep(0.01)


async def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the public port, as the banner tells it."""
    async with asyncio.timeout(_STARTS_WITHIN):
        while True:
            told = await asyncio.to_thread(log.read_text)
            if public := re.search(r"edgecache \S+: http://127\.0\.0\.1:(\d+) in front of", told):
                return int(public[1])
            assert process.poll() is None, told
            await asyncio.sleep(0.01)


def _run(command: tuple[str, ...], environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stderr=output, stdout=output, env=environ)


async def _end(process: subprocess.Popen[bytes]) -> None:
    for child in [*_children(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)
    process.terminate()
    try:  # what it still says to Redis goes through this loop
        await asyncio.to_thread(process.wait, _ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


def _children(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    yield int(entry.name)
