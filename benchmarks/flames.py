"""Where the time goes: ``make bench-flames``, or ``python -m benchmarks.flames [--directory DIRECTORY]``.

An edge is put under load as side by side, and ``py-spy`` looks at its worker a few hundred times a second; what it saw
is written as a flame graph, one SVG for each of ``GRAPHS``. Frames of C are not shown: their time is that of the line
of Python that called them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.cases import CASES, Case
from benchmarks.edge import Edge
from benchmarks.processes import Failed
from benchmarks.stage import ready

__all__ = ["GRAPHS", "main"]

_BY_THE_FULL_LANE: Final = replace(CASES["hit-1k"].workload, fields=(("Cache-Control", "max-age=3000"),))
"""A request that says what it wants of the cache is for the full lane, and is a hit all the same."""

GRAPHS: Final[dict[str, Case]] = {
    "hit": CASES["hit-1k"],
    "hit-full-lane": replace(CASES["hit-1k"], workload=_BY_THE_FULL_LANE),
    "miss": CASES["miss"],
    "pass": CASES["pass"],
}
_RATE: Final = 400


def _draw(name: str, case: Case, path: Path, seconds: float) -> None:
    """Put an edge under load, and let py-spy look at its worker, the youngest of its processes."""
    with ready(case, [Edge]) as stage:
        (server,) = stage.servers.values()
        stage.fill(server)
        stage.generator.run(server.port, 1.0)
        command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(server.pids[-1])]
        options = ["--duration", str(round(seconds)), "--rate", str(_RATE), "--output", str(path)]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as spy:
            stage.generator.run(server.port, seconds + 1.0)
            said = spy.communicate()[0]
        if spy.returncode:
            raise Failed(said.decode("utf-8", "replace"))
    print(f"{path}: {path.stat().st_size // 1024} KiB, {name}")


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    options = argparse.ArgumentParser(prog="make bench-flames ARGS=...", description="where the time goes, as SVG")
    options.add_argument("--directory", type=Path, default=Path("docs/flames"))
    options.add_argument("--seconds", type=float, default=8.0)
    chosen = options.parse_args(arguments)
    chosen.directory.mkdir(parents=True, exist_ok=True)
    for name, case in GRAPHS.items():
        _draw(name, case, chosen.directory / f"{name}.svg", chosen.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
