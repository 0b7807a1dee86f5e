"""Runs a case: everybody is started and filled, then measured in turn, round after round.

Theory
    What is compared is CPU time of the servers' processes per request that was answered. All servers of a case stand
    ready at once, on the same core; only one of them is under load at any time, and whoever begins is another one in
    each round. A ratio is taken within a round: what else the machine does at that time concerns both sides of it.

    Load generator and origin have the other core. So a miss costs its server what it costs here, and not
    what its origin takes.

Invariants
    * A round is only a result if everything was answered as the case says: the status, and the share of requests that
      the origin was not asked for. Otherwise the case fails, with the reason.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.cases import Case
from benchmarks.open_loop import Latencies, measure_latencies
from benchmarks.processes import Failed, cores, free_port, running, wait_for_port
from benchmarks.servers import Server, Setup
from benchmarks.workload import Workload

__all__ = ["Pace", "Result", "Round", "run_case"]

_MEMORY: Final = Path("/dev/shm")
_SHARE_OF_PEAK: Final = 0.6
"""Of nginx's rate (or whoever comes first), at which latencies are measured."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured: rounds, seconds of load in each, and before the first."""

    rounds: int = 3
    seconds: float = 4.0
    warm_up: float = 1.0


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


@dataclass(frozen=True, slots=True)
class _Bench:
    """What a case has while it runs."""

    case: Case
    origin: int
    directory: Path
    load_core: str
    pace: Pace


def _server_cores(workers: int) -> str:
    """All cores but the last are for servers; where there is but one other, two workers take both."""
    available = cores()
    usable = available[: max(workers, 1)] if len(available) > workers else available
    return ",".join(map(str, usable))


def _load_core() -> str:
    return str(cores()[-1])


def run_case(case: Case, servers: list[type[Server]], pace: Pace) -> dict[str, Result]:
    """Return each server's result, by its name. Those that cannot do what the case needs are left out."""
    able = [kind for kind in servers if not case.needs & kind.LACKS]
    with _directory() as directory, contextlib.ExitStack() as stack:
        origin = stack.enter_context(_origin(directory))
        bench = _Bench(case, origin, directory, _load_core(), pace)
        results = {kind.NAME: Result() for kind in able}
        ready = {kind.NAME: stack.enter_context(_started(kind, bench)) for kind in able}
        for name, server in ready.items():
            with _failing_alone(results[name]):
                results[name].overhead = _filled(server, bench)
        generator = load.Wrk(case.workload, directory, bench.load_core, case.connections, tls=case.tls)
        for number in range(-1, pace.rounds):
            for name in _turned(list(ready), number):
                if not results[name].failure:
                    with _failing_alone(results[name]):
                        measured = _measured(ready[name], bench, generator, warming=number < 0)
                        results[name].rounds += [] if measured is None else [measured]
        if case.latency:
            _take_latencies(ready, results, bench)
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


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="edgecache-bench-", dir=parent, ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@contextlib.contextmanager
def _origin(directory: Path) -> Iterator[int]:
    port, log = free_port(), directory / "origin.log"
    command = [sys.executable, "-m", "benchmarks.origin", str(port)]
    path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with running(command, log=log, core=_load_core(), environ=path) as pid:
        wait_for_port(port, pid, log)
        yield port


@contextlib.contextmanager
def _started(kind: type[Server], bench: _Bench) -> Iterator[Server]:
    case, directory = bench.case, bench.directory / kind.NAME
    directory.mkdir()
    setup = Setup(
        origin=bench.origin,
        directory=directory,
        core=_server_cores(case.workers),
        workers=case.workers,
        certificate=_certificate(bench.directory) if case.tls else None,
        access_log=case.access_log,
        memory=case.memory,
        largest=case.workload.size,
        second_tier=case.second_tier,
        conditional=case.workload.status == 304,
    )
    with kind(setup).started() as server:
        yield server


def _certificate(directory: Path) -> Path:
    """Return a file with a key and a certificate of its own, made by the library that makes them for the tests."""
    path = directory / "certificate.pem"
    if not path.exists():
        import trustme

        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        authority.issue_cert("bench.example", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def _filled(server: Server, bench: _Bench) -> float | None:
    """Ask for everything once, if the case wants that; return what an object takes beyond its body, bytes."""
    case = bench.case
    plain = replace(case.workload, fields=(), status=200)
    if not (case.filled and plain.objects):
        load.probe(server.port, plain, tls=case.tls)
        return None
    before, warm = server.memory(), replace(plain, objects=min(plain.objects, 100))
    load.fill(server.port, warm, tls=case.tls)
    before = server.memory()
    for _ in range(case.workers + 1 if case.workers > 1 else 1):  # each worker has a memory of its own
        load.fill(server.port, plain, tls=case.tls)
    load.probe(server.port, case.workload, tls=case.tls)
    return (server.memory() - before) / (plain.objects - warm.objects) - plain.size if _is_telling(case) else None


def _is_telling(case: Case) -> bool:
    """Whether growth of a process says what an object takes: many of them, all stored once, in memory."""
    return (
        case.workload.kind == "hit" and case.workload.objects >= 10_000 and case.workers == 1 and not case.second_tier
    )


def _measured(server: Server, bench: _Bench, generator: load.Wrk, *, warming: bool) -> Round | None:
    case, seconds = bench.case, bench.pace.warm_up if warming else bench.pace.seconds
    asked, used = load.origin_requests(bench.origin), server.cpu_seconds()
    with _purging(server, case):
        result = generator.run(server.port, seconds)
    used = server.cpu_seconds() - used
    asked = load.origin_requests(bench.origin) - asked
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


def _take_latencies(ready: dict[str, Server], results: dict[str, Result], bench: _Bench) -> None:
    """Measure latencies of everybody at one rate: a share of what nginx can do, or whoever is first."""
    able = [name for name in ready if not results[name].failure and results[name].rounds]
    if not able:
        return
    reference = results["nginx" if "nginx" in able else able[0]].rounds
    rate = _SHARE_OF_PEAK * min(one.rate for one in reference)
    for number in range(bench.pace.rounds):
        for name in _turned(able, number):
            with _failing_alone(results[name]):
                results[name].latencies.append(_latencies(ready[name].port, bench, rate))


def _latencies(port: int, bench: _Bench, rate: float) -> Latencies:
    """Let a process of its own ask, on the core of the load."""
    workload: Workload = bench.case.workload
    return measure_latencies(port, workload, rate=rate, seconds=bench.pace.seconds, core=bench.load_core)


def machine() -> dict[str, str]:
    """Return what a result depends on."""
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    kernel = subprocess.run(["uname", "-sr"], capture_output=True, text=True, check=True).stdout.strip()
    return {"processor": models[0] if models else "", "cores": str(len(cores())), "kernel": kernel}
