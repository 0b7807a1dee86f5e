"""What stored responses cost the process that keeps them, in bytes.

Theory
    ``weigh`` estimates what a response costs the process, from lengths and constants. These were calibrated on
    100 000 responses (in the last line, and by tracemalloc, 20 000) as ``semantics.storing`` makes them, with CPython
    3.11 on x86-64 and glibc; bytes per response:

        ======  ======  =====  ====  ======  ===========  ======
        fields  body    tags   Vary  RSS     tracemalloc  weight
        ======  ======  =====  ====  ======  ===========  ======
        2       0       0      no    1 036   971          1 121
        6       0       0      no    1 183   1 117        1 267
        14      0       0      no    1 464   1 396        1 547
        15      0       7      no    3 906   3 639        4 786
        14      0       0      yes   1 464   1 385        1 858
        14      1 024   0      no    2 616   2 534        2 635
        15      10 240  2      yes   12 790  12 616       13 251
        ======  ======  =====  ====  ======  ===========  ======

    A text that is kept once for many responses (a tag, a selecting field) is counted each time, because the many may
    turn out to be one. With tags, what the census takes is in the figures too. ``tests/stores/test_weights.py`` holds
    weights of these shapes to tracemalloc.

Invariants
    * A weight depends on immutable values only: what is subtracted is what was added.

Called by ``stores.memory`` and ``stores.eviction``.
"""

from __future__ import annotations

import sys
from typing import Final

from edgecache.http.field_lines import FieldLines
from edgecache.semantics.stored import StoredResponse
from edgecache.stores.base import Slot
from edgecache.stores.compact import ReadValidators

__all__ = ["weigh", "weight_of"]

_PER_RESPONSE: Final = 920
"""The objects every stored response is made of, its numbers, and its place in the table and in the order, bytes."""

_PER_FIELD: Final = 72
"""A pair and its place in the tuple, where fields are kept as pairs."""

_PER_STRING: Final = 57
"""Header and rounding of one string."""

_PER_CHUNK: Final = 64
"""Header, rounding and place in the tuple of one chunk of a body; as much for the tuple."""

_PER_SELECTING: Final = 192
"""Selecting fields and their two tuples, when there are any."""


def weigh(response: StoredResponse) -> int:
    """Return what ``response`` costs in memory while it is stored, bytes."""
    weight = _PER_RESPONSE + response.body.size + _PER_CHUNK * (1 + len(response.body.local or ()))
    weight += len(response.rendered) + len(response.key) + _fields(response)
    validators, selecting = response.validators, response.selecting
    if not isinstance(validators, ReadValidators):
        weight += _string(validators.etag) + _string(validators.last_modified)
    if response.uri is not response.key:
        weight += _string(response.uri)
    if response.tags:
        weight += sys.getsizeof(response.tags) + sum(map(_string, response.tags))
    if selecting.names:
        weight += _PER_SELECTING + sum(map(_string, selecting.names)) + sum(map(_string, selecting.values))
    return weight


def weight_of(slot: Slot) -> int:
    """Return what everything in ``slot`` costs, bytes."""
    return sum(map(weigh, slot.responses)) + slot.charged


def _fields(response: StoredResponse) -> int:
    fields = response.fields
    if isinstance(fields, FieldLines):
        return 0 if fields.lines is response.rendered else _PER_STRING + len(fields.lines)
    return sum(_PER_FIELD + _string(name) + _string(value) for name, value in fields)


def _string(text: str | None) -> int:
    return 0 if text is None else _PER_STRING + len(text)
