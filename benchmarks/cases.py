"""The table of what is measured side by side. A new case is a line here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from benchmarks.origin import ETAG
from benchmarks.servers import Need
from benchmarks.workload import Workload

__all__ = ["CASES", "Case", "chosen", "quick"]

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB


_PLAIN: Final = Workload()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table.

    Attributes:
        prose: what it is, for the page.
        workload: what is asked for.
        connections: how many ask at once.
        hits: the least part of the requests that may be answered without the origin, and the most.
        filled: whether every object is asked for once before anything is measured.
        memory: for what is stored, bytes.
        workers: processes or threads that serve, each with a core of its own as far as there are any.
        access_log: whether everybody writes a line for each request.
        tls: whether clients come with TLS.
        second_tier: whether Redis is behind the edge's memory.
        purge_every: seconds between purges by tag while load is on; 0: none.
        needs: what a server must be able to do.
        latency: whether latencies at a fixed rate are measured too.
    """

    prose: str
    workload: Workload = _PLAIN
    connections: int = 64
    hits: tuple[float, float] = (0.999, 1.0)
    filled: bool = True
    memory: int = 1024 * _MIB
    workers: int = 1
    access_log: bool = False
    tls: bool = False
    second_tier: bool = False
    purge_every: float = 0.0
    needs: frozenset[Need] = frozenset()
    latency: bool = False


_RANGE: Final = Workload(fields=(("Range", "bytes=100-599"),), status=206)
_CONDITION: Final = Workload(fields=(("If-None-Match", ETAG),), status=304)

CASES: Final[dict[str, Case]] = {
    "hit-1k": Case(prose="hit, 1 KiB", latency=True),
    "hit-10k": Case(prose="hit, 10 KiB", workload=Workload(size=10 * _KIB)),
    "hit-100k": Case(prose="hit, 100 KiB", workload=Workload(size=100 * _KIB, objects=2_000)),
    "hit-1m": Case(prose="hit, 1 MiB", workload=Workload(size=_MIB, objects=100)),
    "headers-differ": Case(
        prose="hit, 1 KiB, fields that differ on every request", workload=Workload(fresh_fields=True)
    ),
    "304": Case(prose="hit, answered 304 to If-None-Match", workload=_CONDITION),
    "range": Case(prose="hit, 500 of 1 024 bytes", workload=_RANGE, needs=frozenset({Need.RANGE})),
    "gzip": Case(
        prose="hit, in gzip, one of several variants", workload=Workload(kind="gzip", size=10 * _KIB)
    ),
    "access-log": Case(prose="hit, 1 KiB, each a line in a log", access_log=True),
    "redis": Case(
        prose="1 KiB, in Redis and not in memory",
        workload=Workload(skew=-1, objects=3_000),
        memory=_MIB,
        second_tier=True,
        needs=frozenset({Need.SECOND_TIER}),
    ),
    "miss": Case(
        prose="miss, 1 KiB, stored", workload=Workload(objects=0), hits=(0.0, 0.001), filled=False
    ),
    "pass": Case(prose="1 KiB that may not be stored", workload=Workload(kind="pass"), hits=(0.0, 0.001)),
    "connections-1000": Case(prose="hit, 1 KiB, 1 000 connections", connections=1_000),
    "tls": Case(prose="hit, 1 KiB, TLS", tls=True, needs=frozenset({Need.TLS})),
    "workers-2": Case(prose="hit, 1 KiB, two workers", workers=2),
    "purges": Case(
        prose="hit, 1 KiB, while a purge by tag arrives every 10 ms",
        hits=(0.9, 1.0),
        purge_every=0.01,
        needs=frozenset({Need.PURGE}),
    ),
    "objects-100000": Case(prose="hit, 1 KiB, 100 000 objects, all of them stored", workload=Workload(objects=100_000)),
    "eviction": Case(
        prose="100 000 objects of 1 KiB, 128 MiB for them",
        workload=Workload(objects=100_000),
        memory=128 * _MIB,
        hits=(0.2, 1.0),
    ),
}  # fmt: skip


def chosen(names: str) -> dict[str, Case]:
    """Return the cases with these names, with commas between; all of them when there are none. Raises ``KeyError``."""
    return {name: CASES[name] for name in names.split(",")} if names else dict(CASES)


def quick(case: Case) -> Case:
    """Return a case of the same shape that is over in a moment: it shows that it runs, and nothing else."""
    few = min(case.workload.objects, 3_000 if case.memory < 1024 * _MIB else 200)
    workload = replace(case.workload, objects=few)
    memory = min(case.memory, 64 * _MIB)
    lowest, highest = case.hits
    return replace(
        case, workload=workload, memory=memory, connections=min(case.connections, 128), hits=(lowest * 0.5, highest)
    )
