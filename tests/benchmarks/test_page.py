"""docs/performance.md tells of every case, and of every server's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.peers import PEERS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "performance.md").read_text("utf-8")


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_explained(name: str) -> None:
    assert any(line.startswith("| `") and f"`{name}`" in line.split("|")[1] for line in PAGE.splitlines())


@pytest.mark.parametrize("name", [kind.NAME for kind in PEERS])
def test_every_peer_s_settings_are_told(name: str) -> None:
    assert any(line.lower().startswith(f"| {name} |") for line in PAGE.splitlines())
