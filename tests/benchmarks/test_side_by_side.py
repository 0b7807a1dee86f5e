"""``make bench ARGS=--quick`` runs, with whoever is installed; and what it writes is what it shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import load, report
from benchmarks.cases import CASES, quick
from benchmarks.peers import PEERS
from benchmarks.servers import Need
from benchmarks.side_by_side import Result, Round

ROOT = Path(__file__).parent.parent.parent
INSTALLED = [kind for kind in PEERS if not kind.missing()]

needs_wrk = pytest.mark.skipif(bool(load.missing()), reason=load.missing())


@needs_wrk
@pytest.mark.timeout(120)
@pytest.mark.parametrize("names", ["hit-1k,miss,pass", "redis,purges", "tls,access-log,gzip"])
def test_cases_run_and_everybody_who_is_there_takes_part(names: str, tmp_path: Path) -> None:
    written = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--cases", names, "--json", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(written.read_text())
    assert report.text(found) == done.stdout.rstrip("\n")
    for name in names.split(","):
        able = [kind.NAME for kind in INSTALLED if not CASES[name].needs & kind.LACKS]
        assert list(found["cases"][name]["servers"]) == ["edgecache", *able]
        for server in found["cases"][name]["servers"].values():
            assert all(one["cpu_us"] > 0 and one["requests"] > 0 for one in server["rounds"])


@pytest.mark.parametrize("words", [["--cases", "hit-2k"], ["--rounds", "many"]])
def test_what_cannot_be_run_is_refused(words: list[str]) -> None:
    command = [sys.executable, "-m", "benchmarks", *words]
    assert subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 2


@pytest.mark.parametrize("name", CASES)
def test_a_quick_case_is_the_same_case(name: str) -> None:
    case = CASES[name]
    few = quick(case)
    assert few.workload.objects <= case.workload.objects
    assert (few.workload.kind, few.workload.size, few.needs) == (case.workload.kind, case.workload.size, case.needs)


def test_every_need_is_one_that_somebody_lacks() -> None:
    assert {need for kind in PEERS for need in kind.LACKS} == set(Need)
    assert {need for case in CASES.values() for need in case.needs} == set(Need)


def test_a_ratio_is_taken_within_a_round() -> None:
    ours = Result(rounds=[Round(10.0, 1.0, 1.0, 1), Round(30.0, 1.0, 1.0, 1), Round(20.0, 1.0, 1.0, 1)])
    theirs = Result(rounds=[Round(20.0, 1.0, 1.0, 1), Round(30.0, 1.0, 1.0, 1), Round(10.0, 1.0, 1.0, 1)])
    recorded = report.record(CASES["hit-1k"], {"edgecache": ours, "nginx": theirs})
    assert recorded["ratios"]["nginx"] == {"median": 1.0, "min": 0.5, "max": 2.0}


def test_who_failed_has_no_ratio_and_says_so() -> None:
    ours = Result(rounds=[Round(10.0, 1.0, 1.0, 1)])
    recorded = report.record(CASES["hit-1k"], {"edgecache": ours, "nginx": Result(failure="Failed: 3 errors")})
    found = {"cases": {"hit-1k": recorded}, "versions": {}}
    row = next(line for line in report.markdown(found).splitlines() if line.startswith("| hit-1k"))
    assert row == "| hit-1k | 10.0 | failed | - |"
