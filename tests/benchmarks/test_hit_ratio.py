"""Who knows the future is what the orders of eviction are measured by, so that has to be right."""

from __future__ import annotations

import random

import pytest

from benchmarks.hit_ratio import SIZES, TRACES, Trace, best, found, table
from edgecache.semantics.stored import CacheKey
from edgecache.stores.base import Eviction


def trace_of(names: str) -> Trace:
    return [CacheKey(name) for name in names]


@pytest.mark.parametrize(
    ("names", "room", "hits"),
    [
        ("aaaa", 1, 3),
        ("abab", 1, 1),  # what has just come is not kept if it is wanted later than what is there
        ("abbb", 1, 2),
        ("abcabc", 2, 2),  # a and b stay: what comes and is wanted last is given up at once
        ("abcdabeabcde", 3, 5),  # Belady's own: 7 misses of 12
    ],
)
def test_who_knows_the_future_finds_the_most(names: str, room: int, hits: int) -> None:
    trace = trace_of(names)
    assert best(trace, dict.fromkeys(trace, 1), room) * len(trace) == hits


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("eviction", Eviction)
def test_no_order_finds_more_than_who_knows_the_future(name: str, eviction: Eviction) -> None:
    trace = TRACES[name](random.Random(2), 3_000)
    sizes = dict.fromkeys(trace, 16)
    for room in (16 * 20, 16 * 200):
        assert found(trace, sizes, room, eviction) <= best(trace, sizes, room)


def test_everything_is_found_where_there_is_room_for_everything() -> None:
    trace = trace_of("abcabcabc")
    sizes = dict.fromkeys(trace, 10)
    assert [found(trace, sizes, 30, eviction) for eviction in Eviction] == [6 / 9] * len(Eviction)


@pytest.mark.parametrize("kind", SIZES)
def test_a_table_has_a_row_for_each_trace_and_size_of_memory(kind: str) -> None:
    head, rule, *rows = table(kind, 500, seed=1)
    assert head.split(" | ")[2:] == [*Eviction, "best |"]
    assert {row.count("|") for row in (head, rule, *rows)} == {len(Eviction) + 4}
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in TRACES for _ in range(4)]
