"""Latencies at a fixed rate: ``python -m benchmarks.open_loop PORT RATE SECONDS CONNECTIONS REQUESTS``.

Theory
    Requests fall due at instants that do not depend on answers (exponential gaps, seeded), as those of many clients
    do. Each goes out on a connection that is free; when none is, it waits here, and the time it waits is part
    of its latency, which is counted from the instant at which it was due. So a server that stalls is charged for
    everybody who would have come meanwhile, and not only for the one that it kept waiting: what is called coordinated
    omission cannot happen.

    One process, a loop over ``epoll`` that never sleeps: sleeping would add the timer's imprecision to what is
    measured. How late the client itself was, with a connection free, is told too: when that is not small beside
    the latencies, the rate is too much for the client, and they say nothing about the server.

    Who cannot keep up is not waited for: what is unanswered a second after the last request was due counts with the
    time it has waited by then, and ``answered`` says how much that is.
"""

from __future__ import annotations

import json
import random
import re
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Final

from benchmarks.processes import Failed
from benchmarks.workload import Workload

__all__ = ["Latencies", "measure_latencies"]

_CONNECTIONS: Final = 64
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATIENCE: Final = 1.0
_SEED: Final = 4711


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds. ``late`` is what the client itself was late, at its 99th percentile; it is part of the others.

    ``answered`` is the share of ``requests`` that were answered.
    """

    rate: float
    requests: int
    p50: float
    p99: float
    p999: float
    late: float
    answered: float


def measure_latencies(port: int, workload: Workload, *, rate: float, seconds: float, core: str) -> Latencies:
    """Ask at ``rate`` requests per second, from a process on ``core``. Raises ``Failed``."""
    heads = {number: workload.head(number) for number in set(workload.draws())}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "requests.json"
        path.write_text(json.dumps([heads[number] for number in workload.draws()]))
        options = map(str, (port, rate, seconds, _CONNECTIONS, path))
        command = ["taskset", "-c", core, sys.executable, "-m", "benchmarks.open_loop", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        raise Failed(done.stderr[-1000:])
    return Latencies(**json.loads(done.stdout))


class _Connection:
    """One connection: a request under way, or none."""

    __slots__ = ("due", "received", "socket", "wanted")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.received = 0
        self.wanted = 0

    def ask(self, request: bytes, due: float) -> None:
        self.due, self.received, self.wanted = due, 0, 0
        self.socket.sendall(request)

    def is_answered(self) -> bool:
        """Take in what has come; return whether the answer is complete."""
        data = self.socket.recv(262_144)
        if not data:
            raise Failed("the server closed a connection")
        if not self.wanted:
            end, found = data.find(b"\r\n\r\n"), _LENGTH.search(data)
            if end < 0 or found is None or not data.startswith(b"HTTP/1.1 200"):
                raise Failed(f"the server answered {data[:200]!r}")
            self.wanted = end + 4 + int(found[1])
        self.received += len(data)
        return self.received >= self.wanted


def _dues(rate: float, seconds: float) -> list[float]:
    chance, due, dues = random.Random(_SEED), 0.0, []
    while (due := due + chance.expovariate(rate)) < seconds:
        dues.append(due)
    return dues


def _run(port: int, rate: float, seconds: float, connections: int, requests: list[bytes]) -> Latencies:
    polled, free = select.epoll(), deque(_Connection(port) for _ in range(connections))
    by_descriptor = {connection.socket.fileno(): connection for connection in free}
    for descriptor in by_descriptor:
        polled.register(descriptor, select.EPOLLIN)
    asked, clock = cycle(requests), time.perf_counter
    waiting = deque(_dues(rate, seconds))
    taken: list[float] = []
    late: list[float] = []
    count, answered = len(waiting), 0
    begun, freed = clock(), 0.0
    while waiting or len(free) < connections:
        now = clock() - begun
        if now > seconds + _PATIENCE:
            taken += [now - due for due in (*waiting, *(one.due for one in by_descriptor.values() if one not in free))]
            break
        if waiting and free and waiting[0] <= now:
            due = waiting.popleft()
            late.append(now - max(due, freed))
            free.popleft().ask(next(asked), due)
        for descriptor, _ in polled.poll(0):
            connection = by_descriptor[descriptor]
            if connection.is_answered():
                done = clock() - begun
                answered += 1
                taken.append(done - connection.due)
                freed = freed if free else done
                free.append(connection)
    return _summed_up(rate, taken, late, answered / count)


def _summed_up(rate: float, taken: list[float], late: list[float], answered: float) -> Latencies:
    quantiles = [one * 1000 for one in statistics.quantiles(taken, n=1000)]
    own = statistics.quantiles(late, n=100)[98] * 1000
    return Latencies(round(rate, 1), len(taken), quantiles[499], quantiles[989], quantiles[998], own, answered)


def main(port: str, rate: str, seconds: str, connections: str, path: str) -> None:
    """Measure, and print what was found as JSON."""
    requests = [request.encode() for request in json.loads(Path(path).read_text())]
    print(json.dumps(asdict(_run(int(port), float(rate), float(seconds), int(connections), requests))))


if __name__ == "__main__":
    main(*sys.argv[1:])
