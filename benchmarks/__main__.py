"""Side by side: ``make bench``, or ``python -m benchmarks``.

Starts nginx, Varnish, HAProxy and edgecache in front of the same origin, asks them the same, and prints what a request
costs each of them in CPU time. A server that is not installed is left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import load, report
from benchmarks.cases import CASES, chosen, quick
from benchmarks.edge import Compiled, Edge
from benchmarks.peers import PEERS
from benchmarks.processes import Failed
from benchmarks.servers import Server
from benchmarks.side_by_side import Pace, machine, run_case

__all__ = ["main"]

_QUICK = Pace(rounds=1, seconds=0.4, warm_up=0.1)


def _options(arguments: list[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="make bench ARGS=...", description="CPU time per request, side by side")
    options.add_argument("--cases", default="", help=f"with commas between: {', '.join(CASES)}")
    options.add_argument("--servers", default="", help="with commas between; edgecache always takes part")
    options.add_argument("--rounds", type=int, default=Pace().rounds)
    options.add_argument("--seconds", type=float, default=Pace().seconds, help="of load in each round")
    options.add_argument("--rate", type=float, help="of latencies, per second; else 0.6 of what nginx can do")
    options.add_argument("--quick", action="store_true", help="only see that it runs")
    options.add_argument("--json", type=Path, help="write everything to this file")
    options.add_argument(
        "--markdown", type=Path, metavar="JSON", help="measure nothing: the tables of such a file, for a page"
    )
    return options.parse_args(arguments)


def _servers(names: str) -> list[type[Server]]:
    known: tuple[type[Server], ...] = (Edge, *PEERS, Compiled)
    wanted = [kind for kind in known if not names or kind is Edge or kind.NAME in names.split(",")]
    for kind in wanted:
        if missing := kind.missing():
            print(f"{kind.NAME} is left out: {missing}", file=sys.stderr)
    return [kind for kind in wanted if not kind.missing()]


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 when something went wrong in a case, 2 when nothing could be measured."""
    options = _options(arguments)
    if options.markdown is not None:
        print(report.markdown(json.loads(options.markdown.read_text())), end="")
        return 0
    if missing := load.missing():
        print(f"the load generator is not there: {missing}", file=sys.stderr)
        return 2
    try:
        cases = chosen(options.cases)
    except KeyError as error:
        print(f"there is no case {error}", file=sys.stderr)
        return 2
    servers, pace = (
        _servers(options.servers),
        _QUICK if options.quick else Pace(options.rounds, options.seconds, rate=options.rate),
    )
    found: dict[str, Any] = {
        "machine": machine(),
        "versions": {kind.NAME: kind.version() for kind in servers},
        "pace": {"rounds": pace.rounds, "seconds": pace.seconds},
        "cases": {},
    }
    for name, case in cases.items():
        print(f"{name}: {case.prose}", file=sys.stderr, flush=True)
        try:
            results = run_case(quick(case) if options.quick else case, servers, pace)
        except Failed as error:
            print(error, file=sys.stderr)
            return 1
        found["cases"][name] = report.record(case, results)
        if options.json is not None:
            options.json.write_text(json.dumps(found, indent=1))
    print(report.text(found))
    failures = [
        one["failure"] for case in found["cases"].values() for one in case["servers"].values() if one["failure"]
    ]
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
