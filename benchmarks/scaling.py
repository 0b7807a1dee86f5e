"""What a hit costs with more of everything: ``make bench-scaling``, or ``python -m benchmarks.scaling [--quick]``.

Three questions: more objects, more tags on each, more purges in the ledger. Each size is an edge in a process of its
own, all of a question on one core; they take turns, and a ratio is that of one round to the smallest size in the same
round. There are no sockets (``in_process``): the kernel's part would only make the ratios smaller.

The first object comes through the edge, from an origin. The others are copies of it under other names, put straight
into memory: every string and body is one of its own, as if it had been received, and a million are there in a minute.

Objects are counted in two ways: either the same thousand objects are asked for, whatever else is stored; or all of them
by Zipf's law, so that more has to be fetched from where the processor has it less near. That costs something, and would
cost any program something.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import uvloop
from msgspec import structs

from benchmarks.in_process import Client, running_edge
from benchmarks.processes import Failed, cores
from benchmarks.workload import Workload
from edgecache.app import Edge
from edgecache.purging.selector import Selector
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.body import MemoryBody

__all__ = ["QUESTIONS", "Size", "answers", "fill", "main"]

_FIRST: Final = "0first0"
"""The name of the object that comes from the origin; in copies another name stands in its place."""

_BYTES: Final = 256
_ASKED: Final = 1_000
_SEED: Final = 1234


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything one edge has, and how many of its objects are asked for."""

    objects: int = _ASKED
    asked: int = _ASKED
    tags: int = 1
    purges: int = 0


QUESTIONS: Final[dict[str, dict[str, Size]]] = {
    "objects stored": {f"{n:,}": Size(objects=n) for n in (1_000, 10_000, 100_000, 1_000_000)},
    "objects asked for": {f"{n:,}": Size(objects=n, asked=n) for n in (1_000, 10_000, 100_000, 1_000_000)},
    "tags per object": {str(n): Size(tags=n) for n in (0, 1, 5, 20)},
    "purges in the ledger": {f"{n:,}": Size(purges=n) for n in (0, 1_000, 100_000)},
}


def _quick(size: Size) -> Size:
    return Size(min(size.objects, 5_000), min(size.asked, 5_000), size.tags, min(size.purges, 1_000))


# What a process of one size does.


def _copies(first: StoredResponse, count: int) -> Iterator[StoredResponse]:
    """Yield copies with names of their own, that share no string and no body."""
    assert first.body.local is not None
    for number in range(count):
        name = str(number)
        yield structs.replace(
            first,
            key=CacheKey(first.key.replace(_FIRST, name)),
            uri=first.uri.replace(_FIRST, name),
            fields=tuple((field, (value.replace(_FIRST, name) + " ")[:-1]) for field, value in first.fields),
            tags=frozenset(tag.replace(_FIRST, name) for tag in first.tags),
            body=MemoryBody(tuple(bytes(bytearray(chunk)) for chunk in first.body.local)),
            rendered=bytes(bytearray(first.rendered)),
        )


async def fill(edge: Edge, client: Client, size: Size) -> Workload:
    """Fill an edge as ``size`` says, and return how its objects, called by numbers, are asked for."""
    workload = Workload(kind=f"tags{size.tags}", size=_BYTES)
    await client.ask(workload.head(_FIRST).encode())
    _, key = edge.memory.tally_all()
    (first,) = edge.memory.peek(key) if key else ()
    gc.disable()
    for copy in _copies(first, size.objects):
        if not edge.memory.put_now(copy):
            raise Failed(f"refused: {copy.key}")
    for number in range(size.purges):
        await edge.ledger.purge([Selector.of("tag", f"gone-{number}")])
    gc.enable()
    gc.collect()
    return workload


async def _work(size: Size, hits: int) -> None:
    """Fill an edge; then measure once for each line that comes, and answer with microseconds of CPU per hit."""
    chance = random.Random(_SEED)
    step = size.objects // size.asked
    weights = list(accumulate(1 / (rank + 1) for rank in range(size.asked)))
    async with running_edge() as edge:
        with Client(edge) as client:
            workload = await fill(edge, client, size)
            print("ready", flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                draws = chance.choices(range(size.asked), cum_weights=weights, k=hits)
                requests = [workload.head(draw * step).encode() for draw in draws]
                begun = time.process_time()
                client.hits(requests)
                print((time.process_time() - begun) / hits * 1e6, flush=True)


# What the one does that asks them in turn.


class _Worker:
    """A process of one size."""

    def __init__(self, size: Size, hits: int) -> None:
        options = ["--worker", json.dumps(dataclasses.asdict(size)), "--hits", str(hits)]
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cores()[0]), sys.executable, "-m", "benchmarks.scaling", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise Failed("a process of one size has ended")
        return line

    def measure(self) -> float:
        """Return microseconds of CPU per hit."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.line())


@contextlib.contextmanager
def _workers(sizes: dict[str, Size], hits: int) -> Iterator[dict[str, _Worker]]:
    workers: dict[str, _Worker] = {}
    with contextlib.ExitStack() as stack:
        for name, size in sizes.items():
            worker = workers[name] = _Worker(size, hits)
            stack.enter_context(worker.process)
            stack.callback(worker.process.terminate)
            worker.line()  # one after the other: they would only slow one another down
        yield workers


def answers(sizes: dict[str, Size], *, rounds: int, hits: int) -> dict[str, list[float]]:
    """Return microseconds per hit of each round, by size; the first round is only for warming up."""
    found: dict[str, list[float]] = {name: [] for name in sizes}
    with _workers(sizes, hits) as workers:
        for number in range(-1, rounds):
            for name, worker in workers.items():
                taken = worker.measure()
                if number >= 0:
                    found[name].append(taken)
    return found


def _rows(question: str, found: dict[str, list[float]]) -> Iterator[str]:
    smallest = next(iter(found.values()))
    for name, times in found.items():
        ratios = [one / least for one, least in zip(times, smallest, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        yield f"{question:22}{name:>10}{statistics.median(times):10.2f}  {spread}"


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    options = argparse.ArgumentParser(prog="make bench-scaling ARGS=...", description="a hit, with more of everything")
    options.add_argument("--quick", action="store_true", help="only see that it runs")
    options.add_argument("--rounds", type=int, default=21)
    options.add_argument("--hits", type=int, default=4_000, help="in each round")
    options.add_argument("--json", type=Path, help="write everything to this file")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = options.parse_args(arguments)
    if chosen.worker:
        uvloop.run(_work(Size(**json.loads(chosen.worker)), chosen.hits))
        return 0
    rounds, hits = (2, 500) if chosen.quick else (chosen.rounds, chosen.hits)
    written: dict[str, Any] = {}
    print(f"{'':22}{'':>10}{'µs a hit':>10}  ratio (least-most)")
    for question, sizes in QUESTIONS.items():
        tried = {name: _quick(size) for name, size in sizes.items()} if chosen.quick else sizes
        found = written[question] = answers(tried, rounds=rounds, hits=hits)
        print("\n".join(_rows(question, found)), flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(written, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
