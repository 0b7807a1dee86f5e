"""docs/eviction.md tells of every order, and has the whole of what the benchmark prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hit_ratio import PARTS, SIZES, TRACES
from edgecache.stores.base import Eviction

PAGE = (Path(__file__).parent.parent.parent / "docs" / "eviction.md").read_text("utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("eviction", Eviction)
def test_every_order_is_explained(eviction: Eviction) -> None:
    assert [row for row in ROWS if row[0] == f"`{eviction}`" and len(row) == 4]


@pytest.mark.parametrize("kind", SIZES)
def test_every_trace_has_a_row_for_every_size_of_memory(kind: str) -> None:
    head = ROWS.index([f"{kind} sizes", "memory", *Eviction, "best"])
    table = ROWS[head + 1 : head + 1 + len(TRACES) * len(PARTS)]
    assert [row[:2] for row in table] == [[name, f"{part:.0%}"] for name in TRACES for part in PARTS]
    for row in table:
        assert all(float(each.rstrip("%")) <= float(row[-1].rstrip("%")) for each in row[2:])
