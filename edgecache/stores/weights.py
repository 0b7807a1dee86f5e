"""What stored responses cost the process that keeps them, in bytes.

Theory
    ``weigh`` estimates what a response costs the process, from lengths and constants. These were calibrated on
    100 000 responses (in the last line 20 000) as ``semantics.storing`` makes them, with CPython 3.11 on x86-64
    and glibc; bytes per response:

        ======  ======  =====  ====  =====  ===========  =======
        fields  body    tags   Vary  RSS    tracemalloc  weight
        ======  ======  =====  ====  =====  ===========  =======
        2       0       0      no    1 608               1 684
        6       0       0      no    2 234  2 084        2 278
        14      0       0      no    3 849               3 869
        15      0       7      no    5 465  5 094        5 499
        14      0       0      yes   4 007               4 097
        14      1 024   0      no    4 953  4 624        4 893
        15      10 240  2      yes   14 701              14 753
        ======  ======  =====  ====  =====  ===========  =======

    Field names and tags are kept once for all responses (interned on the way in). A name is counted with its length
    only, which bounds what an origin can do with names that never repeat; a tag is counted each time.

Invariants
    * A weight depends on immutable values only: what is subtracted is what was added.

Called by ``stores.memory`` and ``stores.eviction``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from edgecache.semantics.stored import StoredResponse
from edgecache.stores.base import Slot

__all__ = ["weigh", "weight_of"]

_PER_RESPONSE: Final = 1000
"""The objects every stored response is made of, its numbers, and its place in the index, bytes."""

_PER_FIELD: Final = 116
"""A pair, its place in the tuple, and the header of its value's string; the name is shared."""

_PER_STRING: Final = 57
"""Header and rounding of one string."""

_PER_CHUNK: Final = 68
"""Header, rounding and place in the tuple of one chunk of a body."""

_PER_SELECTING: Final = 96
"""The two tuples of selecting fields, when there are any."""


def weigh(response: StoredResponse) -> int:
    """Return what ``response`` costs in memory while it is stored, bytes."""
    weight = _PER_RESPONSE + response.body.size + _PER_CHUNK * len(response.body.local or ())
    weight += len(response.rendered) + len(response.key) + sys.getsizeof(response.tags) + _strings(response.tags)
    if response.uri is not response.key:
        weight += _PER_STRING + len(response.uri)
    for name, value in response.fields:
        weight += _PER_FIELD + len(name) + len(value)
    if response.selecting.names:
        weight += _PER_SELECTING + _strings(response.selecting.names) + _strings(response.selecting.values)
    return weight


def weight_of(slot: Slot) -> int:
    """Return what everything in ``slot`` costs, bytes."""
    return sum(map(weigh, slot.responses)) + slot.charged


def _strings(texts: Iterable[str | None]) -> int:
    return sum(_PER_STRING + len(text or "") for text in texts)
