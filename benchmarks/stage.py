"""The stage of a case: an origin, and every server in front of it, started, filled and ready to be asked.

Servers have the first core (or as many as they have workers), load generator and origin have the last: so a miss costs
its server what it costs here, and not what its origin takes. Everything is in memory, files too, and gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.cases import Case
from benchmarks.open_loop import Latencies, measure_latencies
from benchmarks.processes import cores, free_port, running, wait_for_port
from benchmarks.servers import Server, Setup
from benchmarks.workload import Workload

__all__ = ["Stage", "ready"]

_MOST_FILLS: Final = 10
_MEMORY: Final = Path("/dev/shm")


@dataclass(slots=True)
class Stage:
    """What a case has while it runs; ``servers`` by name."""

    case: Case
    origin: int
    directory: Path
    generator: load.Wrk
    servers: dict[str, Server] = field(default_factory=dict)

    def fill(self, server: Server) -> float | None:
        """Ask for everything once, if the case wants that; return what an object takes beyond its body, bytes.

        None where that cannot be told. Raises ``Failed`` when the answers are not what the case expects.
        """
        case, tls = self.case, self.case.tls
        plain = replace(case.workload, fields=(), status=200)
        if not (case.filled and plain.objects):
            load.probe(server.port, plain, tls=tls)
            return None
        few = replace(plain, objects=min(plain.objects, 100))
        load.fill(server.port, few, tls=tls)
        before = server.memory()
        self._fill_all(server, plain)
        load.probe(server.port, case.workload, tls=tls)
        grown = (server.memory() - before) / max(1, plain.objects - few.objects)
        return grown - plain.size if server.GROWS and _is_telling(case) else None

    def _fill_all(self, server: Server, workload: Workload) -> None:
        """Ask for everything, and again until the origin is not asked any more.

        Each worker has a memory of its own, and a second tier is written to when nobody waits for it.
        """
        for _ in range(_MOST_FILLS if self.case.workers > 1 or self.case.second_tier else 1):
            asked = load.origin_requests(self.origin)
            load.fill(server.port, workload, tls=self.case.tls)
            if load.origin_requests(self.origin) == asked:
                return

    def latencies(self, server: Server, rate: float, seconds: float) -> Latencies:
        """Return what a server's clients wait at a fixed rate."""
        return measure_latencies(server.port, self.case.workload, rate=rate, seconds=seconds, core=_load_core())


def _is_telling(case: Case) -> bool:
    """Whether growth of a process says what an object takes: many of them, all stored once, in memory."""
    workload = case.workload
    alone = case.workers == 1 and not case.second_tier
    return workload.kind == "hit" and workload.objects >= 10_000 and alone


@contextlib.contextmanager
def ready(case: Case, kinds: list[type[Server]]) -> Iterator[Stage]:
    """Start everybody who can do what the case needs."""
    with _directory() as directory, contextlib.ExitStack() as stack:
        origin = stack.enter_context(_origin(directory))
        generator = load.Wrk(case.workload, directory, _load_core(), case.connections, tls=case.tls)
        stage = Stage(case, origin, directory, generator)
        for kind in kinds:
            if not case.needs & kind.LACKS:
                stage.servers[kind.NAME] = stack.enter_context(kind(_setup(stage, kind.NAME)).started())
        yield stage


def _server_cores(workers: int) -> str:
    """All cores but the last are for servers; where there is but one other, two workers take both."""
    available = cores()
    usable = available[:workers] if len(available) > workers else available
    return ",".join(map(str, usable))


def _load_core() -> str:
    return str(cores()[-1])


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


def _setup(stage: Stage, name: str) -> Setup:
    case, directory = stage.case, stage.directory / name
    directory.mkdir()
    return Setup(
        origin=stage.origin,
        directory=directory,
        core=_server_cores(case.workers),
        workers=case.workers,
        certificate=_certificate(stage.directory) if case.tls else None,
        access_log=case.access_log,
        memory=case.memory,
        largest=case.workload.size,
        second_tier=case.second_tier,
        conditional=case.workload.status == 304,
    )


def _certificate(directory: Path) -> Path:
    """Return a file with a key and a certificate of its own, made by the library that makes them for the tests."""
    path = directory / "certificate.pem"
    if not path.exists():
        import trustme

        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        authority.issue_cert("bench.example", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path
