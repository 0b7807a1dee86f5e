"""Runs a case: everybody is started and filled, then measured in turn, round after round.

Theory
    What is compared is CPU time of the servers' processes per request that was answered. All servers of a case stand
    ready at once, on the same core; only one of them is under load at any time, and whoever begins is another one in
    each round. A ratio is taken within a round: what else the machine does at that time concerns both sides of it.

Invariants
    * A round is only a result if everything was answered as the case says: the status, and the share of requests that
      the origin was not asked for. Otherwise the case fails, with the reason.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.cases import Case
from benchmarks.open_loop import Latencies
from benchmarks.processes import Failed, cores
from benchmarks.servers import Server
from benchmarks.stage import Stage, ready

__all__ = ["Pace", "Result", "Round", "machine", "run_case"]

_SHARE_OF_PEAK: Final = 0.6
"""Of nginx's rate (or whoever comes first), at which latencies are measured."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured: rounds, seconds of load in each, and before the first.

    ``rate`` is that of latencies, requests per second; None is a share of what nginx can do.
    """

    rounds: int = 3
    seconds: float = 4.0
    warm_up: float = 1.0
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One server under load once: microseconds of CPU per request, requests per second, share of hits."""

    cpu_us: float
    rate: float
    hits: float
    requests: int


@dataclass(slots=True)
class Result:
    """What one server did in one case. Memory is bytes beyond the body for each object stored, None where not known."""

    rounds: list[Round] = field(default_factory=list)
    overhead: float | None = None
    latencies: list[Latencies] = field(default_factory=list)
    failure: str = ""


def run_case(case: Case, servers: list[type[Server]], pace: Pace) -> dict[str, Result]:
    """Return each server's result, by its name. Those that cannot do what the case needs are left out."""
    with ready(case, servers) as stage:
        results = {name: Result() for name in stage.servers}
        for name, server in stage.servers.items():
            with _failing_alone(results[name]):
                results[name].overhead = stage.fill(server)
        for number in range(-1, pace.rounds):
            for name in _turned(list(results), number):
                if not results[name].failure:
                    with _failing_alone(results[name]):
                        measured = _measured(stage, stage.servers[name], pace, warming=number < 0)
                        results[name].rounds += [] if measured is None else [measured]
        if case.latency:
            _take_latencies(stage, results, pace)
    return results


@contextlib.contextmanager
def _failing_alone(result: Result) -> Iterator[None]:
    """What one server does wrong ends its part of the case; the others go on."""
    try:
        yield
    except (Failed, OSError, EOFError) as error:
        result.failure = f"{type(error).__name__}: {error}"
        print(result.failure, file=sys.stderr)


def _turned(names: list[str], number: int) -> list[str]:
    start = number % max(len(names), 1)
    return names[start:] + names[:start]


def _measured(stage: Stage, server: Server, pace: Pace, *, warming: bool) -> Round | None:
    case, seconds = stage.case, pace.warm_up if warming else pace.seconds
    asked, used = load.origin_requests(stage.origin), server.cpu_seconds()
    with _purging(server, case):
        result = stage.generator.run(server.port, seconds)
    used = server.cpu_seconds() - used
    asked = load.origin_requests(stage.origin) - asked
    if warming:
        return None
    if result.errors or not result.requests:
        raise Failed(f"{server.NAME}: {result.errors} errors in {result.requests} requests")
    hits = max(0.0, 1 - asked / result.requests)
    if not case.hits[0] <= hits <= case.hits[1]:
        raise Failed(f"{server.NAME}: {hits:.2%} of {result.requests} requests were hits")
    return Round(used / result.requests * 1e6, result.requests / result.seconds, hits, result.requests)


@contextlib.contextmanager
def _purging(server: Server, case: Case) -> Iterator[None]:
    """Purge one object after the other, the rarest first, while the block runs."""
    if not case.purge_every:
        yield
        return
    stop = threading.Event()
    failures: list[Exception] = []

    def purge() -> None:
        due = time.monotonic()
        for number in count():
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            try:
                server.purge(f"t-{case.workload.objects - 1 - number % case.workload.objects}")
            except (Failed, OSError) as error:
                failures.append(error)
                return
            due += case.purge_every

    thread = threading.Thread(target=purge)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise Failed(f"{server.NAME}: {failures[0]}")


def _take_latencies(stage: Stage, results: dict[str, Result], pace: Pace) -> None:
    """Measure latencies of everybody at one rate: a share of what nginx can do, or whoever is first."""
    able = [name for name in results if not results[name].failure and results[name].rounds]
    if not able:
        return
    reference = results["nginx" if "nginx" in able else able[0]].rounds
    rate = pace.rate or _SHARE_OF_PEAK * min(one.rate for one in reference)
    for number in range(pace.rounds):
        for name in _turned(able, number):
            with _failing_alone(results[name]):
                results[name].latencies.append(stage.latencies(stage.servers[name], rate, pace.seconds))


def machine() -> dict[str, str]:
    """Return what a result depends on."""
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    kernel = subprocess.run(["uname", "-sr"], capture_output=True, text=True, check=True).stdout.strip()
    return {"processor": models[0] if models else "", "cores": str(len(cores())), "kernel": kernel}
