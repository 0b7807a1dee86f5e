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
from tests.purging.model import OF_RELEASES, TIMING, Flaw, NodeLike, ReferenceNode
from tests.purging.releases import ReleaseHistory

HISTORIES = 40_000 if os.environ.get("EDGECACHE_LONG") else 2_000
WITHOUT_FINDING = 6_000
"""Histories after which a flaw counts as not found; most are found within a few dozen."""


def real(worker: str) -> NodeLike:
    return Node(worker, TIMING)


def small(worker: str) -> NodeLike:
    """An index so small that it forgets before the log does."""
    return Node(worker, TIMING, capacity=2)


PROCESSES = pytest.mark.parametrize(
    ("make", "share", "page"),
    [(ReferenceNode, 0.2, 1000), (real, 0.5, 1000), (real, 0.2, 1), (small, 0.1, 2)],
    ids=["reference", "node", "node, page by page", "node, forgetful"],
)


def counted(kind: type[History], make: Callable[[str], NodeLike], histories: int, page: int) -> Counter[str]:
    """Run so many histories, and return what was done in them."""
    counts: Counter[str] = Counter()
    for seed in range(histories):
        history = kind(seed, make, page=page)
        try:
            history.run()
        except Violation as violation:
            pytest.fail(f"history {seed}: {violation}")
        counts += history.counts
    return counts


@pytest.mark.timeout(3600)
@PROCESSES
def test_i1_no_stale_after_ack(make: Callable[[str], NodeLike], share: float, page: int) -> None:
    histories = int(HISTORIES * share)
    counts = counted(History, make, histories, page)
    assert counts["hits"] > 5 * histories
    assert counts["acknowledged"] > histories


@pytest.mark.timeout(3600)
@PROCESSES
def test_r1_one_release_after_ack(make: Callable[[str], NodeLike], share: float, page: int) -> None:
    histories = int(HISTORIES * share)
    counts = counted(ReleaseHistory, make, histories, page)
    assert counts["confirmed"] > 5 * histories
    assert counts["looks"] > 100 * histories
    assert counts["excused"] < counts["looks"] / 100


def find(kind: type[History], flaw: Flaw) -> None:
    """Fail unless some history finds it."""
    flaws = frozenset({flaw})
    for seed in range(WITHOUT_FINDING):
        try:
            kind(seed, lambda worker: ReferenceNode(worker, flaws), flaws).run()
        except Violation:
            return
    pytest.fail(f"{flaw.value}: not found in {WITHOUT_FINDING} histories")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flaw", [flaw for flaw in Flaw if flaw not in OF_RELEASES], ids=lambda flaw: flaw.name.lower())
def test_every_flaw_is_found(flaw: Flaw) -> None:
    find(History, flaw)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "flaw", [*OF_RELEASES, Flaw.ACK_AT_ONCE, Flaw.NO_LEASE, Flaw.NO_ROTATION, Flaw.NO_MARGIN, Flaw.SETTLED_EARLY,
             Flaw.YOUNG_REGISTRY], ids=lambda flaw: flaw.name.lower(),
)  # fmt: skip
def test_every_flaw_shows_in_the_release_too(flaw: Flaw) -> None:
    find(ReleaseHistory, flaw)
