from __future__ import annotations

import pytest

from edgecache.errors import StoreError
from edgecache.stores.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, failures=3, pause=1.0)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.admit().failed()


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.admit().succeeded()
    fail(breaker, 2)
    breaker.admit()
    fail(breaker, 1)
    assert breaker.is_open
    assert breaker.opened == 1
    with pytest.raises(StoreError):
        breaker.admit()


def test_while_open_one_attempt_per_pause_is_let_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    for _ in range(3):
        clock.now += 1.0
        attempt = breaker.admit()
        with pytest.raises(StoreError):
            breaker.admit()
        attempt.failed()
    assert breaker.opened == 1


def test_an_answer_closes_it_also_one_to_an_earlier_attempt(breaker: Breaker, clock: Clock) -> None:
    early = breaker.admit()
    fail(breaker, 3)
    clock.now += 1.0
    breaker.admit().succeeded()
    assert not breaker.is_open
    fail(breaker, 3)
    early.succeeded()
    breaker.admit()


def test_an_attempt_counts_once(breaker: Breaker) -> None:
    late = breaker.admit()
    late.failed()
    late.failed()
    late.succeeded()
    fail(breaker, 2)
    assert breaker.is_open


def test_a_probe_nobody_reports_on_does_not_hold_up_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1.0
    breaker.admit()
    clock.now += 1.0
    breaker.admit()


def test_opening_is_told_once_per_opening(clock: Clock) -> None:
    told: list[float] = []
    breaker = Breaker(clock, failures=2, on_open=lambda: told.append(clock.now))
    fail(breaker, 2)
    clock.now += 1.0
    fail(breaker, 1)
    assert told == [100.0]
