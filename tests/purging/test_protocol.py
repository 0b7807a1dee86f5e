"""The protocol keeps its promises in thousands of histories, and the histories find what breaks them.

``EDGECACHE_LONG=1`` runs twenty times as many.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest

from edgecache.purging.node import Node
from tests.purging.histories import History, Violation
from tests.purging.model import TIMING, Flaw, NodeLike, ReferenceNode

HISTORIES = 40_000 if os.environ.get("EDGECACHE_LONG") else 2_000
WITHOUT_FINDING = 6_000
"""Histories after which a flaw counts as not found; most are found within a few dozen."""


def real(worker: str) -> NodeLike:
    return Node(worker, TIMING)


def small(worker: str) -> NodeLike:
    """An index so small that it forgets before the log does."""
    return Node(worker, TIMING, capacity=2)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("make", "share", "page"),
    [(ReferenceNode, 0.2, 1000), (real, 0.5, 1000), (real, 0.2, 1), (small, 0.1, 2)],
    ids=["reference", "node", "node, page by page", "node, forgetful"],
)
def test_i1_no_stale_after_ack(make: Callable[[str], NodeLike], share: float, page: int) -> None:
    counts: Counter[str] = Counter()
    histories = int(HISTORIES * share)
    for seed in range(histories):
        history = History(seed, make, page=page)
        try:
            history.run()
        except Violation as violation:
            pytest.fail(f"history {seed}: {violation}")
        counts += history.counts
    assert counts["hits"] > 5 * histories
    assert counts["acknowledged"] > histories


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flaw", Flaw, ids=lambda flaw: flaw.name.lower())
def test_every_flaw_is_found(flaw: Flaw) -> None:
    flaws = frozenset({flaw})
    for seed in range(WITHOUT_FINDING):
        try:
            History(seed, lambda worker: ReferenceNode(worker, flaws), flaws).run()
        except Violation:
            return
    pytest.fail(f"{flaw.value}: not found in {WITHOUT_FINDING} histories")
