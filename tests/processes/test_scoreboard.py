"""Numbers of several workers, added up: by whom, after whose death, and when a writer is killed while it writes."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.access_log import LogStatistics
from edgecache.edges.supervision import Supervision
from edgecache.engine.counters import Counters
from edgecache.errors import EdgecacheError
from edgecache.processes.scoreboard import Board, Numbers, Shown, total
from edgecache.stores.base import StoreStatistics


def numbers(count: int = 1, *, stored: int = 0, log: bool = True) -> Numbers:
    """What a worker has to say that has answered ``count`` requests."""
    counters = Counters()
    counters.requests = count
    counters.not_storable["no-store"] = count
    counters.request_seconds["hit"].observe(0.01)
    stores = {"memory": StoreStatistics(stored, stored, stored * 100, 1 << 20, count, count)}
    return Numbers(counters.statistics(), stores, 1, LogStatistics(count, 1, 0, 0) if log else None)


def requests(shown: Numbers) -> int:
    return shown.counters.counts["requests"]


def test_a_sum() -> None:
    added = total([numbers(2, stored=3), numbers(5, stored=7, log=False)])
    assert requests(added) == 7
    assert added.counters.not_storable == {"no-store": 7}
    assert added.counters.request_seconds["hit"].count == 2
    assert added.stores == {"memory": StoreStatistics(10, 10, 1000, 2 << 20, 7, 7)}
    assert (added.in_flight, added.access_log) == (2, LogStatistics(2, 1, 0, 0))


def test_of_nobody() -> None:
    assert total([]) == Numbers(Counters().statistics(), {}, 0, None)


def test_what_is_left_of_an_ended_worker() -> None:
    left = numbers(3, stored=9).ended()
    assert requests(left) == 3
    assert left.stores == {"memory": StoreStatistics(0, 0, 0, 0, 3, 3)}
    assert (left.in_flight, left.access_log) == (0, LogStatistics(3, 0, 0, 0))


def test_everybody_sees_the_same_sum() -> None:
    board = Board(4)
    shown = [Shown(lambda count=count: numbers(count), board.take()) for count in (1, 10, 100)]  # type: ignore[misc]
    for one in shown:
        one.publish()
    assert [requests(one.numbers()) for one in shown] == [111] * 3


def test_without_a_supervisor_a_process_shows_its_own() -> None:
    shown = Shown(lambda: numbers(7))
    shown.publish()
    assert requests(shown.numbers()) == 7
    assert shown.supervision() is None


def test_who_leaves_is_counted_for_ever_and_its_seat_is_free() -> None:
    board = Board(1)
    for number in range(1, 10):
        seat = board.take()
        assert requests(total(seat.others())) == number - 1
        seat.publish(numbers(1, stored=5))
        board.vacate(seat)
    left = total(board.take().others())
    assert (requests(left), left.stores["memory"].responses, left.stores["memory"].evictions) == (9, 0, 9)


def test_a_worker_that_said_nothing_leaves_nothing() -> None:
    board = Board(2)
    board.vacate(board.take())
    assert requests(total(board.take().others())) == 0


def test_seats_are_bounded() -> None:
    board = Board(2)
    board.take()
    board.take()
    with pytest.raises(EdgecacheError, match="too many workers"):
        board.take()


def test_what_does_not_fit_is_refused_and_hurts_no_neighbour() -> None:
    board = Board(2)
    first, second = board.take(), board.take()
    second.publish(numbers(5))
    with pytest.raises(ValueError, match="do not fit"):
        board.write(first.index, bytes(1 << 20))
    assert requests(total(first.others())) == 5


def test_what_the_supervisor_says_reaches_every_worker() -> None:
    board = Board(2)
    seat = board.take()
    assert seat.supervision() == Supervision()
    said = Supervision(generation=3, restarts=2, last_reload_error="x" * 100_000)
    board.tell(said)
    assert (seat.supervision().generation, seat.supervision().restarts) == (3, 2)
    assert len(seat.supervision().last_reload_error) < 5000


@given(st.integers(0, 200), st.binary(min_size=1, max_size=64))
def test_half_of_what_was_being_written_is_never_taken_for_a_whole(offset: int, junk: bytes) -> None:
    """Wherever a writer is stopped, a reader sees what was written before."""
    board = Board(1)
    seat = board.take()
    seat.publish(numbers(1))
    seat.publish(numbers(2))
    older = min(board._halves(seat.index), key=board._header)
    start = older + 16 + offset  # the next one goes over the older one: its content first, then its header
    board._memory[start : start + len(junk)] = junk
    _, found = board.read()
    assert [requests(one) for one in found] == [2]


def test_it_is_shared_by_processes() -> None:
    board = Board(3)
    seats = [board.take() for _ in range(3)]
    children = []
    for count, seat in enumerate(seats, 1):
        if (child := os.fork()) == 0:
            seat.publish(numbers(count))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    _, found = board.read()
    assert sorted(map(requests, found)) == [1, 2, 3]
