"""Bounded memory for pure parsers.

Theory
    Clients and origins send the same few values again and again, so remembering what they parsed to is worth
    more than parsing fast. But whoever is on the other side chooses the values: how many are kept, and how
    long each may be, is therefore bounded. A longer one is parsed each time it comes.

Only for functions of one string whose results are immutable.
"""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST_REMEMBERED", "REMEMBERED_VALUES", "memoised"]

REMEMBERED_VALUES: Final = 1024
"""Distinct values kept per parser: far more than a site's clients and origin use in earnest."""

LONGEST_REMEMBERED: Final = 256
"""Characters. Together with the count it bounds what one parser remembers to a few megabytes at worst."""

Parsed = TypeVar("Parsed")


def memoised(parse: Callable[[str], Parsed]) -> Callable[[str], Parsed]:
    """Return ``parse`` with a bounded memory of its results."""
    remembered = lru_cache(maxsize=REMEMBERED_VALUES)(parse)

    @wraps(parse)
    def parse_once(value: str) -> Parsed:
        return remembered(value) if len(value) <= LONGEST_REMEMBERED else parse(value)

    return parse_once
