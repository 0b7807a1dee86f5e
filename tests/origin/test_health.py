"""The two ledgers: when a server rests, and what a retry costs."""

from __future__ import annotations

from edgecache.origin.health import Health
from edgecache.origin.retry_budget import RetryBudget


def fail(health: Health, times: int, now: float) -> None:
    for _ in range(times):
        health.failed(now)


def test_a_server_rests_after_three_failures_in_a_row() -> None:
    health = Health()
    fail(health, 2, 0.0)
    health.succeeded()
    fail(health, 2, 0.0)
    assert health.is_up()
    health.failed(5.0)
    assert not health.is_up()
    assert health.failed_at == 5.0


def test_rests_grow_from_one_second_to_thirty() -> None:
    health, now, rests = Health(), 0.0, []
    fail(health, 3, now)
    for _ in range(7):
        start = now
        while not health.is_due(now):
            now += 0.5
        rests.append(now - start)
        health.probe(now)
        assert not health.is_due(now), "one probe per rest"
        health.failed(now)
    assert rests == [1, 2, 4, 8, 16, 30, 30]


def test_an_answer_ends_the_resting_and_forgets_it() -> None:
    health = Health()
    fail(health, 3, 0.0)
    health.probe(1.0)
    health.succeeded()
    assert health.is_up()
    assert not health.is_due(1.0)
    fail(health, 3, 10.0)
    assert not health.is_due(10.9)
    assert health.is_due(11.0)


def test_a_probe_that_comes_to_nothing_costs_one_rest() -> None:
    health = Health()
    fail(health, 3, 0.0)
    health.probe(1.0)
    assert not health.is_due(2.9)
    assert health.is_due(3.0)


def spent(budget: RetryBudget) -> int:
    count = 0
    while budget.spend():
        count += 1
    return count


def test_a_quiet_origin_can_be_retried_three_times() -> None:
    assert spent(RetryBudget(0.0)) == 3


def test_a_busy_origin_is_retried_for_a_tenth_of_its_requests() -> None:
    budget = RetryBudget(0.0)
    assert spent(budget) == 3
    for _ in range(205):
        budget.note_request(0.0)
    assert spent(budget) == 20


def test_the_past_counts_up_to_a_ceiling() -> None:
    budget = RetryBudget(0.0)
    for _ in range(5000):
        budget.note_request(0.0)
    assert spent(budget) == 100


def test_the_reserve_refills_with_time_and_no_further() -> None:
    budget = RetryBudget(0.0)
    spent(budget)
    budget.note_request(4.0)
    assert spent(budget) == 1
    budget.note_request(1000.0)
    assert spent(budget) == 3


def test_a_larger_reserve_refills_as_fast_as_a_small_one() -> None:
    budget = RetryBudget(0.0, reserve=30.0)
    assert spent(budget) == 30
    budget.note_request(5.0)
    assert spent(budget) == 15


def test_a_retry_that_was_worth_it_costs_nothing() -> None:
    budget = RetryBudget(0.0)
    for _ in range(10):
        assert budget.spend()
        budget.give_back()
    assert spent(budget) == 3
