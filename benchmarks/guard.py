"""Whether a hit has become dearer: ``make bench-guard``, or ``python -m benchmarks.guard``.

Theory
    Seconds on a busy machine say little, so two other measures are taken. Where valgrind is installed, instructions are
    counted (callgrind), and they hardly differ between two runs. Where it is not, CPU time is taken, in many short
    turns. Either is then divided by the same measure of a loop of plain Python (``_turn``), in the same process: so
    what is compared with the record is how many turns of that loop a hit costs, and the machine does not matter.

    The record is ``budget.json``: turns per hit, for a release of Python. A change may take a little more. Whoever
    makes hits cheaper records that (``--record``), and whoever makes them dearer has to write so into the same file.

Callgrind begins to count when it is told to, since to start a program takes it half a minute if it counts; and it
writes what it has counted each time the C library's ``getppid`` is called, which nothing else here calls.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.in_process import Client, running_edge
from benchmarks.processes import Failed
from benchmarks.workload import Workload

__all__ = ["BUDGET", "PYTHON", "by_instructions", "by_time", "main", "over_budget", "turns_per_hit"]

BUDGET: Final = Path(__file__).with_name("budget.json")
PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"

_ROOM: Final = {"instructions": 1.05, "time": 1.6}
"""What a measure may be above its record. Instructions vary by less than one in a thousand; time by half, when others
use the same core."""

_OBJECTS: Final = 50
_WORKLOADS: Final = {
    "hit": Workload(objects=_OBJECTS),
    "hit-headers-differ": Workload(objects=_OBJECTS, fresh_fields=True),
}
_COUNTED: Final = 200
"""Hits of each kind under callgrind, which takes fifty times as long."""

_TIMED: Final = 500
_ROUNDS: Final = 15

_LINE: Final = re.compile(rb"([A-Za-z-]+): ([^\r]*)\r\n")
_TEXT: Final = b"Host: bench.example\r\nAccept: */*\r\nUser-Agent: none\r\n"


def _turn() -> None:
    """Do a little of what Python programs do: take text apart, look things up, make objects, write text."""
    found = {name.lower(): value for name, value in _LINE.findall(_TEXT)}
    pairs = tuple((name, value) for name, value in found.items() if value)
    numbers = [len(value) * 2 + index for index, (_, value) in enumerate(pairs)]
    b"%b: %d\r\n" % (found[b"host"], sum(numbers))
    ", ".join(str(number) for number in numbers).encode("latin-1")


def _turns(count: int) -> None:
    for _ in range(count):
        _turn()


async def _prepared(client: Client, count: int) -> dict[str, Callable[[], None]]:
    """Return what is to be measured by its name; each does its work ``count`` times, and has been done before."""
    work: dict[str, Callable[[], None]] = {"turn": partial(_turns, count)}
    for number in range(_OBJECTS):
        await client.ask(_WORKLOADS["hit"].head(number).encode())
    for name, workload in _WORKLOADS.items():
        requests = [workload.head(index % _OBJECTS, mark=f"{index:06d}").encode() for index in range(count)]
        work[name] = partial(client.hits, requests)
    for one in work.values():
        one()
    gc.collect()
    gc.freeze()  # what there is by now is not looked through again in the middle of a count
    return work


async def _drive(count: int, begin: Path) -> None:
    """Do everything once, and let callgrind write before and after each; ``begin`` comes to be when it counts."""
    async with running_edge() as edge:
        with Client(edge) as client:
            work = await _prepared(client, count)
            print("ready", flush=True)
            while not os.path.exists(begin):  # noqa: ASYNC110, ASYNC240  # nobody else is kept waiting
                await asyncio.sleep(0.01)
            for one in work.values():
                os.getppid()
                one()
            os.getppid()


def by_instructions() -> dict[str, float]:
    """Return instructions per turn and per hit, by callgrind. Raises ``Failed``."""
    with tempfile.TemporaryDirectory() as directory:
        counts, begin = Path(directory) / "counts", Path(directory) / "begin"
        tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-before=getppid"]
        options = [f"--callgrind-out-file={counts}", sys.executable, "-m", "benchmarks.guard"]
        driven = ["--drive", str(_COUNTED), "--begin", str(begin)]
        _count([*tool, *options, *driven], begin)
        # The first file is what came before everything, the last what came after.
        totals = [_total(counts.with_name(f"counts.{number}")) for number in range(2, 3 + len(_WORKLOADS))]
    return {name: total / _COUNTED for name, total in zip(("turn", *_WORKLOADS), totals, strict=True)}


def _count(command: list[str], begin: Path) -> None:
    """Run the command, and have callgrind count once it says that it is ready."""
    root = Path(__file__).parent.parent
    environ = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(root)}
    said = begin.with_name("said")
    with (
        said.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environ, cwd=root) as process,
    ):
        assert process.stdout is not None
        if process.stdout.readline() == b"ready\n":
            subprocess.run(["callgrind_control", "--instr=on", str(process.pid)], check=True, capture_output=True)
            begin.touch()
        process.wait()
    if process.returncode:
        raise Failed(said.read_text("utf-8", "replace")[-2000:])


def _total(path: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.MULTILINE)
    if found is None:
        raise Failed(f"callgrind wrote no total into {path.name}")
    return int(found[1])


def by_time() -> dict[str, float]:
    """Return microseconds of CPU per turn and per hit: the least of many short measurements, taken in turn."""
    return uvloop.run(_timed())


async def _timed() -> dict[str, float]:
    async with running_edge() as edge:
        with Client(edge) as client:
            work = await _prepared(client, _TIMED)
            taken: dict[str, list[float]] = {name: [] for name in work}
            for _ in range(_ROUNDS):
                for name, one in work.items():
                    begun = time.process_time()
                    one()
                    taken[name].append((time.process_time() - begun) / _TIMED * 1e6)
    return {name: min(times) for name, times in taken.items()}


def turns_per_hit(measured: dict[str, float]) -> dict[str, float]:
    """Return how many turns each kind of hit costs."""
    return {name: round(measured[name] / measured["turn"], 2) for name in _WORKLOADS}


def over_budget(turns: dict[str, float], budget: dict[str, float], room: float) -> dict[str, str]:
    """Return those that cost more than the record and its room, each with what to say about it."""
    return {
        name: f"{name}: {turns[name]:.2f} turns, on record are {budget[name]:.2f}: {turns[name] / budget[name]:.2f} x"
        for name in budget
        if turns[name] > budget[name] * room
    }


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 when a hit has become dearer, 2 when nothing is on record to compare with."""
    options = argparse.ArgumentParser(prog="make bench-guard ARGS=...", description="has a hit become dearer?")
    options.add_argument("--by", choices=tuple(_ROOM), help="the measure; instructions, if valgrind is there")
    options.add_argument("--record", action="store_true", help="write what is measured into budget.json")
    options.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    options.add_argument("--begin", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args(arguments)
    if chosen.drive:
        uvloop.run(_drive(chosen.drive, chosen.begin))
        return 0
    measure: str = chosen.by or ("instructions" if shutil.which("valgrind") else "time")
    measured = by_instructions() if measure == "instructions" else by_time()
    return _judge(measure, measured, record=chosen.record)


def _judge(measure: str, measured: dict[str, float], *, record: bool) -> int:
    turns = turns_per_hit(measured)
    for name, value in measured.items():
        print(f"{name:20}{value:12.1f} {measure}" + (f"{turns[name]:10.2f} turns" if name in turns else ""))
    budgets: dict[str, Any] = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    of_python = budgets.setdefault(PYTHON, {})
    if record:
        of_python[measure] = turns
        BUDGET.write_text(json.dumps(budgets, indent=2) + "\n")
        return 0
    if measure not in of_python:
        print(f"nothing is on record for Python {PYTHON} by {measure}: --record writes it")
        return 2
    dearer = over_budget(turns, of_python[measure], _ROOM[measure])
    print("\n".join(dearer.values()) or "no hit is dearer than on record")
    return 1 if dearer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
