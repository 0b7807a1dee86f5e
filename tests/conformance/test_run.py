"""The judge of the conformance run, without the suite: verdicts, scores, and what counts as worse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.run import RECORDED, SURROGATE, judge, known_exceptions, record, regressions, report, score


def listed(
    test_id: str, kind: str = "required", *needs: str, suite: str = "any", browser: bool = False
) -> dict[str, Any]:
    return {
        "id": test_id,
        "suite": suite,
        "name": f"it does {test_id}",
        "kind": kind,
        "depends_on": list(needs),
        "browser_only": browser,
    }


FAILED = ["Assertion", "Response 2 comes from cache"]


@pytest.mark.parametrize(
    ("kind", "result", "expected"),
    [
        ("required", True, "pass"),
        ("optimal", True, "pass"),
        ("check", True, "yes"),
        ("required", FAILED, "fail"),
        ("optimal", FAILED, "fail"),
        ("check", FAILED, "no"),
        ("required", ["FetchError", "socket hang up"], "fail"),
        ("required", ["Setup", "Response 1 status is 502, not 200"], "setup failed"),
        ("check", ["Setup", "retry"], "retried"),
        ("required", None, "untested"),
    ],
)
def test_a_result_is_judged_by_the_kind_of_its_test(kind: str, result: object, expected: str) -> None:
    results = {} if result is None else {"a": result}
    (judged,) = judge({"tests": [listed("a", kind)], "results": results})
    assert judged.verdict == expected


def test_a_test_says_nothing_when_what_it_builds_on_failed() -> None:
    tests = [listed("base"), listed("middle", "check", "base"), listed("top", "optimal", "middle")]
    results: dict[str, Any] = {"base": FAILED, "middle": True, "top": True}
    assert [t.verdict for t in judge({"tests": tests, "results": results})] == ["fail"] + ["dependency failed"] * 2
    results["base"] = True
    assert [t.verdict for t in judge({"tests": tests, "results": results})] == ["pass", "yes", "pass"]


def some(**results: Any) -> list[Any]:
    tests = [
        listed("a"),
        listed("b", "optimal"),
        listed("c", "check"),
        listed("s", suite=SURROGATE),
        listed("x", browser=True),
    ]
    return judge({"tests": tests, "results": {"a": True, "b": True, "c": True, "s": True, **results}})


def test_the_score_counts_suites_apart_and_leaves_out_browsers() -> None:
    assert score(some()) == {"required": 1, "optimal": 1, f"{SURROGATE} required": 1, f"{SURROGATE} optimal": 0}
    assert score(some(s=FAILED))[f"{SURROGATE} required"] == 0
    assert report("run", some(), {}) == (
        "run: required 1/1, optimal 1/1, check 1/1; surrogate-control: required 1/1, optimal 0/0, check 0/0"
    )


def test_a_failure_is_reported_with_its_kind_its_id_and_its_message() -> None:
    lines = report("run", some(b=FAILED, c=FAILED), {"b": "on purpose", "c": "never shown"}).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["fail", "optimal", "b:", "it", "does", "b"],
        ["Assertion:", "Response", "2", "comes", "from", "cache"],
        ["on", "purpose"],
    ]
    assert "no                check" in report("run", some(c=FAILED), {}, checks=True)


def test_a_recorded_pass_that_fails_is_worse_and_a_recorded_failure_is_not() -> None:
    assert regressions(some(b=FAILED), record(some(b=FAILED))) == []
    assert regressions(some(), record(some(b=FAILED))) == []
    assert regressions(some(a=FAILED), record(some(b=FAILED))) == [
        "required: 0, recorded 1",
        "a: recorded as a pass, now fail",
    ]


def test_a_check_is_never_worse() -> None:
    assert regressions(some(c=FAILED), record(some())) == []


def test_every_recorded_failure_is_argued_and_nothing_else_is() -> None:
    runs = json.loads(RECORDED.read_text())
    assert set(known_exceptions()) == {test_id for run in runs.values() for test_id in run["failures"]}
