"""A hit is not dearer than on record; and the guard that says so can tell."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks import guard

RECORDED = json.loads(guard.BUDGET.read_text()).get(guard.PYTHON, {})


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="apt install valgrind")
@pytest.mark.skipif("instructions" not in RECORDED, reason=f"nothing is on record for Python {guard.PYTHON}")
@pytest.mark.timeout(240)
def test_a_hit_is_not_dearer_than_on_record() -> None:
    assert guard.main(["--by", "instructions"]) == 0


@pytest.mark.parametrize(
    ("turns", "dearer"),
    [
        ({"hit": 10.0, "other": 20.0}, set()),
        ({"hit": 10.5, "other": 21.0}, set()),
        ({"hit": 10.6, "other": 20.0}, {"hit"}),
        ({"hit": 1.0, "other": 1.0}, set()),
        ({"hit": 100.0, "other": 100.0}, {"hit", "other"}),
    ],
)
def test_what_costs_more_than_its_record_and_the_room_above_it_is_named(
    turns: dict[str, float], dearer: set[str]
) -> None:
    assert guard.over_budget(turns, {"hit": 10.0, "other": 20.0}, 1.05).keys() == dearer


@pytest.mark.timeout(120)
def test_a_measure_is_taken_of_everything_that_is_on_record() -> None:
    measured = guard.by_time()
    assert guard.turns_per_hit(measured).keys() == RECORDED.get("time", measured).keys() - {"turn"}
