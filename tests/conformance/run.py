"""Run the HTTP caching conformance suite (npm package http-cache-tests) through the edge, and score it.

The suite's origin server is started, an edge with default settings in front of it, and the suite's own client sends
its requests through the edge. The one setting is ``known_fields``, because the suite marks its requests with fields of
its own, and responses to requests with unknown fields are not stored. Then the same again with
``unsafe_store_set_cookie``, because one of the tests wants what a shared cache should not do unasked. Both are compared
with ``recorded.json``: a score below the recorded one, or a recorded pass that became a failure, is exit code 1.

Verdicts are the suite's own (its ``lib/display.mjs``): a test whose dependency did not pass says nothing, and a test
of kind ``check`` has no right answer. The 157 required and 86 optimal tests are those of ``tests/index.mjs`` that are
not for browsers only; Surrogate-Control, which is in no RFC, is reported separately.

Run by hand or by ``make conformance``; never by pytest. Needs node and npm; uses only the standard library of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
INSTALLED: Final = ROOT / ".conformance"
PACKAGE: Final = INSTALLED / "node_modules" / "http-cache-tests"
RECORDED: Final = HERE / "recorded.json"
EXCEPTIONS: Final = HERE / "exceptions.toml"
SURROGATE: Final = "surrogate-control"

START_TIMEOUT: Final = 20.0
"""Seconds for a server to say where it listens."""

RUN_TIMEOUT: Final = 300.0
"""Seconds for all tests; they take about 30, most of it spent waiting for responses to go stale."""

KNOWN_FIELDS: Final = ("Test-Name", "Test-ID", "Req-Num", "Pragma", "Other")
"""Request fields of the suite's own, which change no response. The first three are on all its requests, and tell its
origin where in which test it is. ``Pragma: foo`` keeps fetch() from asking for a reload. ``Other`` is what one test has
beside the field that Vary names."""

RUNS: Final[Mapping[str, str]] = {"default": "", "set-cookie": "unsafe_store_set_cookie = true"}
"""Name of a run -> what its configuration adds to the ``cache`` table."""

CONFIG: Final = """\
[origin]
urls = ["{to}"]
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[cache]
known_fields = {known_fields}
{cache}
"""

GOOD: Final = ("pass", "yes")


# Judging.


@dataclass(frozen=True, slots=True)
class Judged:
    """One test of the suite, and what became of it: ``verdict`` is one word or two, ``message`` the suite's."""

    id: str
    suite: str
    name: str
    kind: str
    verdict: str
    message: str


def judge(found: Mapping[str, Any]) -> list[Judged]:
    """Return every test for proxies with its verdict; ``found`` is what ``client.mjs`` wrote."""
    catalogue = {test["id"]: test for test in found["tests"]}
    results = found["results"]
    return [
        Judged(
            t["id"], t["suite"], t["name"], t["kind"], verdict(t["id"], catalogue, results), message(results, t["id"])
        )
        for t in found["tests"]
        if not t["browser_only"]
    ]


def verdict(test_id: str, catalogue: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Return the verdict on one test, as ``determineTestResult`` of the suite."""
    test = catalogue[test_id]
    result = results.get(test_id)
    if result is None:
        return "untested"
    if any(verdict(needed, catalogue, results) not in GOOD for needed in test["depends_on"]):
        return "dependency failed"
    if result is not True and result[0] == "Setup":
        return "retried" if result[1] == "retry" else "setup failed"
    if test["kind"] == "check":
        return "yes" if result is True else "no"
    return "pass" if result is True else "fail"


def message(results: Mapping[str, Any], test_id: str) -> str:
    """Return what the suite said about a failure, empty when it passed."""
    result = results.get(test_id)
    return ": ".join(map(str, result)) if isinstance(result, list) else ""


def tally(tests: Iterable[Judged], kind: str, *, surrogate: bool = False) -> tuple[int, int]:
    """Return how many tests of a kind turned out well, and how many there are."""
    these = [t for t in tests if t.kind == kind and (t.suite == SURROGATE) == surrogate]
    return sum(t.verdict in GOOD for t in these), len(these)


def score(tests: list[Judged]) -> dict[str, int]:
    """Return the numbers that may only rise."""
    return {
        "required": tally(tests, "required")[0],
        "optimal": tally(tests, "optimal")[0],
        f"{SURROGATE} required": tally(tests, "required", surrogate=True)[0],
        f"{SURROGATE} optimal": tally(tests, "optimal", surrogate=True)[0],
    }


def failures(tests: Iterable[Judged]) -> list[Judged]:
    """Return the tests with a right answer that was not given."""
    return [t for t in tests if t.kind != "check" and t.verdict not in GOOD]


def record(tests: list[Judged]) -> dict[str, Any]:
    """Return what ``recorded.json`` keeps of a run: whatever is not among its failures is a pass."""
    return {"score": score(tests), "failures": {t.id: t.verdict for t in failures(tests)}}


def regressions(tests: list[Judged], recorded: Mapping[str, Any]) -> list[str]:
    """Return one line for each way in which a run is worse than the recorded one."""
    now = score(tests)
    lines = [f"{name}: {now[name]}, recorded {best}" for name, best in recorded["score"].items() if now[name] < best]
    known = recorded["failures"]
    return lines + [f"{t.id}: recorded as a pass, now {t.verdict}" for t in failures(tests) if t.id not in known]


def report(name: str, tests: list[Judged], exceptions: Mapping[str, str], *, checks: bool = False) -> str:
    """Return one line with the score and a few for each failure; with ``checks``, for each check as well."""

    def counts(*, surrogate: bool) -> str:
        kinds = ("required", "optimal", "check")
        return ", ".join("{} {}/{}".format(kind, *tally(tests, kind, surrogate=surrogate)) for kind in kinds)

    lines = [f"{name}: {counts(surrogate=False)}; {SURROGATE}: {counts(surrogate=True)}"]
    for t in [*failures(tests), *(t for t in tests if checks and t.kind == "check")]:
        lines.append(f"  {t.verdict:17} {t.kind:8} {t.id}: {t.name}")
        lines += [f"{'':29}{line}" for line in (t.message, exceptions.get(t.id)) if line]
    return "\n".join(lines)


def known_exceptions() -> dict[str, str]:
    """Return why some tests are failed on purpose, by id."""
    return tomllib.loads(EXCEPTIONS.read_text())


# Running.


def install() -> None:
    """Install the suite beside the tree, exactly as the lock says; do nothing when that was done."""
    wanted = (HERE / "package-lock.json").read_bytes()
    lock = INSTALLED / "package-lock.json"
    if PACKAGE.is_dir() and lock.is_file() and lock.read_bytes() == wanted:
        return
    INSTALLED.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, INSTALLED / name)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=INSTALLED, check=True)


@contextmanager
def server(command: list[str], where: Path, says: str, **environment: str) -> Iterator[str]:
    """Run a server in a directory of its own; give the first group of ``says``, a regular expression for its output."""
    where.mkdir()
    log = where / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=where, env=os.environ | environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        yield _listening(process, log, says)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening(process: subprocess.Popen[bytes], log: Path, says: str) -> str:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        said = re.search(says, log.read_text(errors="replace"))
        if said is not None:
            return said[1]
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


@contextmanager
def origin(work: Path, port: int) -> Iterator[str]:
    """Run the suite's origin server; give its URL."""
    command = ["node", str(HERE / "origin.mjs"), str(PACKAGE)]
    settings = {"npm_config_protocol": "http", "npm_config_port": str(port), "npm_config_pidfile": "pid"}
    with server(command, work / "origin", r"Listening on (http://\S+[^/\s])", **settings) as url:
        yield url


@contextmanager
def edge(work: Path, to: str, cache: str) -> Iterator[str]:
    """Run an edge in front of ``to``; ``cache`` is what its configuration adds. Give its URL."""
    config = work / "edgecache.toml"
    config.write_text(CONFIG.format(to=to, known_fields=json.dumps(KNOWN_FIELDS), cache=cache))
    command = [sys.executable, "-m", "edgecache.cli.main", "run", "-c", str(config)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with server(command, work / "edge", r"(http://127\.0\.0\.1:[1-9]\d*) in front of", PYTHONPATH=path) as url:
        yield url


def client(work: Path, base: str = "", test_id: str = "") -> dict[str, Any]:
    """Send the suite's requests to ``base``; return the tests and their results."""
    output = work / "found.json"
    command = ["node", "--no-warnings", str(HERE / "client.mjs"), str(PACKAGE), str(output), base, test_id]
    subprocess.run(command, check=True, timeout=RUN_TIMEOUT, stdin=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def run(cache: str, base: str, port: int, test_id: str) -> list[Judged]:
    """Run the suite once, against ``base`` or an edge of our own, and judge it."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        work = Path(directory)
        if base and not port:
            return judge(client(work, base, test_id))
        with origin(work, port) as to:
            if base:
                return judge(client(work, base, test_id))
            with edge(work, to, cache) as url:
                found = client(work, url, test_id)
        if test_id:
            print((work / "origin" / "log").read_text(errors="replace"))
        return judge(found)


# Commands.


def compare(options: argparse.Namespace) -> int:
    """Run everything, print the scores, and compare them with the recorded ones or record them."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    worse = []
    for name, cache in RUNS.items():
        tests = run(cache, "", options.origin_port, "")
        print(report(name, tests, known_exceptions(), checks=options.checks), flush=True)
        if options.update:
            recorded[name] = record(tests)
        elif name in recorded:
            worse += [f"{name}: {line}" for line in regressions(tests, recorded[name])]
    if options.update:
        RECORDED.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n")
    for line in worse:
        print(f"WORSE {line}")
    return 1 if worse else 0


def look(options: argparse.Namespace) -> int:
    """Run against another proxy, or one test only; exit code 1 when something with a right answer failed."""
    tests = run("", options.base, options.origin_port, options.id)
    if options.id:
        tests = [t for t in tests if t.id == options.id]
        if not tests:
            raise SystemExit(f"no test for proxies is called {options.id}")
    print(report(options.base or "default", tests, known_exceptions(), checks=options.checks or bool(options.id)))
    return 1 if failures(tests) else 0


def published(options: argparse.Namespace) -> int:
    """Print the scores of the results that came with the suite."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        found = client(Path(directory))
    for path in sorted((PACKAGE / "results").glob("*.json")):
        tests = judge({**found, "results": json.loads(path.read_text())})
        print(report(path.stem, tests, {}).splitlines()[0])
    return 0


def main() -> int:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--id", default="", help="run one test only, and show its requests and responses")
    parser.add_argument("--base", default="", metavar="URL", help="test what listens there instead of an edge")
    parser.add_argument(
        "--origin-port",
        default=0,
        type=int,
        metavar="PORT",
        help="of the origin server; needed with --base to start one",
    )
    parser.add_argument("--checks", action="store_true", help="also list the tests that have no right answer")
    parser.add_argument("--published", action="store_true", help="only print the scores that came with the suite")
    parser.add_argument("--update", action="store_true", help="record what is found")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    install()
    if options.published:
        return published(options)
    return look(options) if options.base or options.id else compare(options)


if __name__ == "__main__":
    sys.exit(main())
