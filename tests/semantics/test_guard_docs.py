"""docs/guards.md has every extension, every known field and every guard, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from edgecache.edges.rule_tables import SET
from edgecache.semantics.guards import TYPED_EXTENSIONS
from edgecache.semantics.reason import Reason
from edgecache.semantics.storing import CHECKS
from edgecache.semantics.unkeyed import FAMILIES, KNOWN

TEXT: Final = (Path(__file__).parents[2] / "docs" / "guards.md").read_text("utf-8")
GUARDS: Final = {
    *(Reason.SET_COOKIE, Reason.AUTHORIZATION, Reason.REQUEST_COOKIE, Reason.AMBIGUOUS_PATH),
    *(Reason.TYPE_MISMATCH, Reason.UNKEYED_FIELD),
}


def rows(headings: str) -> list[list[str]]:
    """The cells of the table that begins with these headings."""
    (table,) = re.findall(rf"^{re.escape(headings)}.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


def words(cells: list[str]) -> list[str]:
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def test_guards() -> None:
    told = words([row[0] for row in rows("| detail |")])
    assert set(told) == {reason.value for reason in GUARDS}
    assert {reason for reason, _ in CHECKS} >= GUARDS
    switches = {word for word in words([row[2] for row in rows("| detail |")]) if word.startswith("unsafe_")}
    assert switches <= SET.keys()


def test_extensions() -> None:
    told = words([row[0] for row in rows("| extension |")])
    assert len(told) == len(set(told))
    assert set(told) == TYPED_EXTENSIONS


def test_known_fields() -> None:
    told = words([row[0] for row in rows("| field | known with |")])
    assert len(told) == len(set(told))
    assert set(told) == KNOWN | {f"{family}…" for family in FAMILIES}
