"""The told arithmetic is that of ``assess``: the terms add up to the lifetime, and nothing is left unexplained."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import structs

from edgecache.http.fields import parse_age
from edgecache.http.message import ResponseHead
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.reckoning import lifetime, windows
from tests.semantics import messages
from tests.semantics.build import NOW, date, request, store, stored

RULED = st.sampled_from(
    [
        {},
        {"edge_ttl": 100.0},
        {"edge_ttl": 100.0, "jitter": 0.5},
        {"default_ttl": 100.0, "max_ttl": 7.0},
        {"negative_ttl": 3.0},
        {"max_ttl": 7.0},
    ]
)


def cite(setting: str) -> str:
    return f"rule of {setting}"


def told(*lines: str, policy: Policy = DEFAULT, status: int = 200, later: float = 0.0) -> list[tuple[float, str, str]]:
    made = lifetime(stored(*lines, policy=policy, status=status), policy, cite, NOW + later)
    return [(round(term.seconds, 3), term.what, term.source) for term in made.terms]


@given(head=messages.response_heads(), policy=messages.policies, ruled=RULED, delay=st.sampled_from([0.0, 2.5]))
def test_the_terms_add_up(head: ResponseHead, policy: Policy, ruled: dict[str, float], delay: float) -> None:
    assume("age" not in head.fields or parse_age(head.fields) is not None)  # an invalid Age is not stored
    policy = replace(policy, **ruled)  # type: ignore[arg-type]
    made = store(head, of=request(), policy=policy, delay=delay)
    reckoned = lifetime(made, policy, cite, NOW + 5)
    assert math.isclose(sum(term.seconds for term in reckoned.terms), made.freshness.lifetime, abs_tol=0.001)
    assert math.isclose(reckoned.seconds - reckoned.age, reckoned.ttl, abs_tol=0.001)
    assert not any("otherwise" in term.what for term in reckoned.terms)


@given(head=messages.response_heads(), policy=messages.policies)
def test_the_windows_are_those_in_force(head: ResponseHead, policy: Policy) -> None:
    made = store(head, of=request(), policy=policy)
    told = {window.name: window.seconds for window in windows(made, policy, cite)}
    numbers = made.freshness
    assert told == {name: getattr(numbers, name) for name in ("grace", "if_error", "if_unreachable", "if_gone", "keep")}


@pytest.mark.parametrize(
    ("lines", "policy", "terms"),
    [
        (["Cache-Control: max-age=60"], DEFAULT, [(60, "max-age", "Cache-Control")]),
        (["Cache-Control: max-age=60, s-maxage=9"], DEFAULT, [(9, "s-maxage", "Cache-Control")]),
        (["CDN-Cache-Control: max-age=7", "Cache-Control: max-age=60"], DEFAULT, [(7, "max-age", "CDN-Cache-Control")]),
        (["Surrogate-Control: max-age=7"], DEFAULT, [(7, "max-age", "Surrogate-Control")]),
        ([f"Expires: {date(30)}", f"Date: {date()}"], DEFAULT, [(30, "Expires less Date", "")]),
        (
            [f"Last-Modified: {date(-100)}"],
            DEFAULT,
            [(10, "heuristic: 10% of the time since Last-Modified (RFC 9111 §4.2.2)", "rule of heuristic_fraction")],
        ),
        ([], DEFAULT, [(0, "nothing says how long", "")]),
        (
            ["Cache-Control: max-age=60", "Age: 5"],
            Policy(edge_ttl=100.0, max_ttl=40.0),
            [
                (100, "edge_ttl", "rule of edge_ttl"),
                (5, "its age on receipt, from which a rule counts", ""),
                (-60, "no more than 40 s from receipt: max_ttl", "rule of max_ttl"),
            ],
        ),
        ([], Policy(default_ttl=8.0), [(8, "default_ttl", "rule of default_ttl")]),
    ],
)
def test_where_a_lifetime_comes_from(lines: list[str], policy: Policy, terms: list[tuple[float, str, str]]) -> None:
    assert told(*lines, policy=policy) == terms


def test_a_client_error_has_a_lifetime_of_its_own() -> None:
    assert told(status=404, policy=Policy(negative_ttl=4.0)) == [(4, "negative_ttl", "rule of negative_ttl")]


def test_jitter_is_the_difference_that_it_made() -> None:
    policy = Policy(edge_ttl=100.0, jitter=0.5)
    (_, (shorter, what, source)) = told(policy=policy)
    assert -50 <= shorter < 0
    assert (what, source) == ("jitter, up to 50%", "rule of jitter")


def test_what_has_changed_since_is_told() -> None:
    made = stored("Cache-Control: max-age=60", policy=Policy(sliding=100.0))
    ended = structs.replace(made, freshness=made.freshness.ended(NOW + 10))
    used = structs.replace(made, freshness=made.freshness.used(NOW + 30))
    assert lifetime(ended, DEFAULT, cite, NOW, softly_purged=True).terms[-1].what == "ended by a soft purge"
    assert lifetime(used, DEFAULT, cite, NOW).terms[-1].what == "prolonged by use"
    other = stored("Cache-Control: max-age=60")
    assert lifetime(other, Policy(edge_ttl=5.0), cite, NOW).terms[-1].what == "judged otherwise when it was stored"


def test_a_window_says_what_opened_or_closed_it() -> None:
    policy = Policy(grace=30.0)

    def sources(*lines: str) -> dict[str, str]:
        return {one.name: one.source for one in windows(stored(*lines, policy=policy), policy, cite)}

    assert sources("Cache-Control: max-age=60")["grace"] == "rule of grace"
    assert sources("Cache-Control: max-age=60, stale-while-revalidate=9")["grace"] == (
        "stale-while-revalidate in Cache-Control"
    )
    assert sources("Cache-Control: max-age=60, must-revalidate")["grace"] == "closed: must-revalidate in Cache-Control"
    assert sources("CDN-Cache-Control: max-age=60, no-cache")["if_error"] == "closed: no-cache in CDN-Cache-Control"


@pytest.mark.parametrize(
    ("lines", "policy", "remark"),
    [
        (
            "Cache-Control: no-cache",
            DEFAULT,
            "validated before each use: no-cache in Cache-Control (RFC 9111 §5.2.2.4)",
        ),
        ("Cache-Control: s-maxage=9", DEFAULT, "no request may accept it stale: s-maxage in Cache-Control"),
        (
            "Cache-Control: max-age=9, immutable",
            DEFAULT,
            "no reload validates it while it is fresh: immutable (RFC 8246)",
        ),
        (
            "Cache-Control: max-age=9",
            Policy(sliding=60.0),
            "each use prolongs it to 60 s at least: sliding, rule of sliding",
        ),
        (
            "Cache-Control: max-age=9",
            Policy(browser_ttl=60.0),
            "clients count from delivery: browser_ttl, rule of browser_ttl",
        ),
        (
            "Cache-Control: max-age=9",
            Policy(may_be_stale=False),
            "no request may accept it stale: rule of may_be_stale",
        ),
    ],
)
def test_what_else_decides_is_remarked(lines: str, policy: Policy, remark: str) -> None:
    assert remark in lifetime(stored(lines, policy=policy), policy, cite, NOW).remarks
