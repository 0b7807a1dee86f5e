from __future__ import annotations

import enum
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.engine.counters import BOUNDS, COUNTERS, RESULTS, Counters, Histogram, Statistics, merge
from edgecache.purging.receipt import State

DURATIONS = st.floats(min_value=0, max_value=1e6, allow_nan=False)


class Why(enum.StrEnum):
    NO_STORE = "no-store"


def busy() -> Counters:
    """Counters in which every number is another one."""
    counters = Counters()
    for value, row in enumerate(COUNTERS, start=1):
        setattr(counters, row.name, value)
    counters.not_storable[Why.NO_STORE] += 2
    counters.forwarded["uri-miss"] += 3
    for value, word in enumerate(RESULTS):
        for _ in range(value):
            counters.request_seconds[word].observe(0.5)
    counters.origin_seconds.observe(2.0)
    counters.purges[State.CONFIRMED] += 4
    counters.purge_selectors["tag hard confirmed"] += 5
    counters.purge_seconds.observe(0.01)
    return counters


@pytest.mark.parametrize("row", COUNTERS, ids=lambda row: row.name)
def test_every_row_says_what_is_counted_in_which_unit_and_what_to_make_of_it(row):
    assert getattr(Counters(), row.name) == 0
    assert row.unit in {"requests", "responses", "operations", "keys", "groups", "connections", "bytes"}
    assert row.summary.endswith(".")
    assert "\n" not in row.summary
    assert len(row.summary) <= 110
    assert row.advice.endswith(".")


def test_names_are_unique():
    names = [row.name for row in COUNTERS]
    assert len(set(names)) == len(names)


def test_counting_is_adding():
    counters = Counters()
    counters.hits += 1
    counters.hits += 1
    assert counters.statistics().counts["hits"] == 2


def test_a_counter_that_is_not_in_the_table_cannot_be_counted():
    with pytest.raises(AttributeError):
        Counters().hitz = 1


def test_a_snapshot_stays_as_it_was_taken():
    counters = busy()
    before = counters.statistics()
    again = counters.statistics()
    counters.hits += 1
    counters.not_storable[Why.NO_STORE] += 1
    counters.forwarded["stale"] += 1
    counters.request_seconds["hit"].observe(1)
    counters.origin_seconds.observe(1)
    assert before == again
    assert before != counters.statistics()


def test_reasons_are_plain_words_in_a_snapshot():
    (word,) = busy().statistics().not_storable
    assert type(word) is str
    assert word == "no-store"


def test_an_unknown_result_is_an_error_where_it_is_made():
    with pytest.raises(KeyError):
        Counters().request_seconds["bypass"].observe(1)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.0001, 0), (0.00011, 1), (0.5, BOUNDS.index(0.5)), (60.0, len(BOUNDS) - 1), (60.1, len(BOUNDS))],
)
def test_bounds_are_inclusive(seconds, bucket):
    histogram = Histogram()
    histogram.observe(seconds)
    assert [i for i, count in enumerate(histogram.counts) if count] == [bucket]


@given(st.lists(DURATIONS))
def test_a_histogram_loses_nothing(durations):
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    seen = histogram.statistics()
    assert seen.count == len(durations)
    assert seen.total == pytest.approx(sum(durations))
    for i, bound in enumerate(BOUNDS):
        assert sum(seen.counts[: i + 1]) == sum(seconds <= bound for seconds in durations)


def test_merging_adds_everything_up():
    one, other = busy(), Counters()
    other.hits += 100
    other.forwarded["stale"] += 7
    other.request_seconds["hit"].observe(3.0)
    other.purges[State.PARTIAL] += 1
    other.purge_seconds.observe(3.0)
    both = merge([one.statistics(), other.statistics()])
    assert both.counts["hits"] == one.hits + 100
    assert both.counts["misses"] == one.misses
    assert both.forwarded == {"uri-miss": 3, "stale": 7}
    assert both.not_storable == {"no-store": 2}
    assert both.request_seconds["hit"].count == 1
    assert both.request_seconds["hit"].total == 3.0
    assert both.origin_seconds == one.origin_seconds.statistics()
    assert both.purges == {"confirmed": 4, "partial": 1}
    assert both.purge_selectors == {"tag hard confirmed": 5}
    assert both.purge_seconds.total == 3.01


def test_merging_one_changes_nothing_and_merging_none_is_zero():
    assert merge([busy().statistics()]) == busy().statistics()
    assert merge([]) == Counters().statistics()


def test_a_snapshot_can_be_sent_to_another_process():
    snapshot = busy().statistics()
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Statistics) == snapshot
