"""What was measured, for people: a table of ratios with their spread, on the terminal or for a page; and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from benchmarks.cases import Case
from benchmarks.side_by_side import Result

__all__ = ["latency_table", "markdown", "record", "text", "version_table"]

_SUBJECT: Final = "edgecache"

_TELLING: Final = ("hit-1k", "hit-10k", "objects-100000")
"""Cases whose line in the table of memory says something that the others do not."""


def record(case: Case, results: dict[str, Result]) -> dict[str, Any]:
    """Return a case as it is written to a file: what was measured, and what follows from that."""
    return {
        "prose": case.prose,
        "servers": {name: _of_server(result) for name, result in results.items()},
        "ratios": {name: _ratio(results[_SUBJECT], result) for name, result in results.items() if name != _SUBJECT},
    }


def _of_server(result: Result) -> dict[str, Any]:
    return asdict(result) | {"cpu_us": spread([one.cpu_us for one in result.rounds])}


def _ratio(subject: Result, peer: Result) -> dict[str, float] | None:
    """Return edgecache to a peer, round by round."""
    pairs = zip(subject.rounds, peer.rounds, strict=False)
    return spread([ours.cpu_us / theirs.cpu_us for ours, theirs in pairs])


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return the median of some values, the least and the most; None of none."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _headings(cases: dict[str, Any]) -> list[str]:
    names = dict.fromkeys(name for case in cases.values() for name in case["servers"])
    return [name for name in names if name != _SUBJECT]


def _rows(cases: dict[str, Any]) -> Iterable[list[str]]:
    peers = _headings(cases)
    for name, case in cases.items():
        servers, ratios = case["servers"], case["ratios"]
        costs = [_cost(servers.get(one)) for one in (_SUBJECT, *peers)]
        yield [name, *costs, *(_shown(ratios.get(peer)) for peer in peers)]


def _cost(server: dict[str, Any] | None) -> str:
    if server is None:
        return "-"
    if server["failure"]:
        return "failed"
    return f"{server['cpu_us']['median']:.1f}"


def _shown(ratio: dict[str, float] | None) -> str:
    return "-" if ratio is None else f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})"


def _table(cases: dict[str, Any]) -> list[list[str]]:
    peers = _headings(cases)
    return [["case", f"{_SUBJECT} µs", *(f"{one} µs" for one in peers), *(f": {one}" for one in peers)], *_rows(cases)]


def latency_table(cases: dict[str, Any]) -> list[list[str]]:
    """Return latencies at a fixed rate, the median of the rounds; nothing when there are none."""
    rows = []
    for name, case in cases.items():
        for server, found in case["servers"].items():
            if rounds := found["latencies"]:
                middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
                numbers = [f"{middle[key]:.2f}" for key in ("p50", "p99", "p999", "late")] + [
                    f"{middle['answered']:.1%}"
                ]
                rows.append([name, server, f"{middle['rate']:.0f}", *numbers])
    return (
        [["case", "server", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "client late ms", "answered"], *rows]
        if rows
        else []
    )


def _memory_table(cases: dict[str, Any]) -> list[list[str]]:
    rows = [
        [name, server, f"{found['overhead']:.0f}"]
        for name, case in cases.items()
        for server, found in case["servers"].items()
        if found["overhead"] is not None and name in _TELLING
    ]
    return [["case", "server", "bytes per object beyond its body"], *rows] if rows else []


def version_table(versions: dict[str, str]) -> list[list[str]]:
    """Return who took part."""
    return [["server", "version"], *([name, version] for name, version in versions.items())]


def _tables(found: dict[str, Any]) -> list[list[list[str]]]:
    cases = found["cases"]
    tables = [_table(cases), latency_table(cases), _memory_table(cases), version_table(found["versions"])]
    return [table for table in tables if table]


def text(found: dict[str, Any]) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(_aligned(table) for table in _tables(found))


def _aligned(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def markdown(found: dict[str, Any]) -> str:
    """Return the tables for a page."""
    return "\n\n".join(_in_markdown(table) for table in _tables(found)) + "\n"


def _in_markdown(table: list[list[str]]) -> str:
    heading, *rows = table
    rule = ["---"] * len(heading)
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, rule, *rows))
