from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.message import ResponseHead
from edgecache.semantics.freshness import assess, date_of, govern, has_explicit_lifetime
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.stored import Basis, Freshness
from tests.semantics import messages
from tests.semantics.build import NOW, date, fields, freshness, response

# ---------------------------------------------------------------------------------------------------- lifetime


@pytest.mark.parametrize(
    ("lines", "basis", "lifetime"),
    [
        ([], Basis.NONE, 0),
        (["Cache-Control: max-age=60"], Basis.MAX_AGE, 60),
        (["Cache-Control: max-age=60, s-maxage=30"], Basis.S_MAXAGE, 30),
        (["Cache-Control: s-maxage=0, max-age=60"], Basis.S_MAXAGE, 0),
        (["Cache-Control: max-age=60", f"Expires: {date(600)}"], Basis.MAX_AGE, 60),
        ([f"Expires: {date(600)}", f"Date: {date()}"], Basis.EXPIRES, 600),
        ([f"Expires: {date(600)}"], Basis.EXPIRES, 600),
        ([f"Last-Modified: {date(-1000)}", f"Date: {date()}"], Basis.HEURISTIC, 100),
        ([f"Expires: {date(600)}", f"Last-Modified: {date(-1000)}"], Basis.EXPIRES, 600),
        (["CDN-Cache-Control: max-age=20", "Cache-Control: s-maxage=30"], Basis.TARGETED, 20),
        (["CDN-Cache-Control: s-maxage=10, max-age=20", "Cache-Control: max-age=30"], Basis.TARGETED, 10),
        (["Edgecache-Cache-Control: max-age=10", "CDN-Cache-Control: max-age=20"], Basis.TARGETED, 10),
        (["Surrogate-Control: max-age=20", "Cache-Control: max-age=30"], Basis.SURROGATE, 20),
        (["CDN-Cache-Control: max-age=10", "Surrogate-Control: max-age=20"], Basis.TARGETED, 10),
        # A targeted field that is there speaks alone, even when it does not speak of lifetimes (RFC 9213 §2.2).
        (["CDN-Cache-Control: must-revalidate", "Cache-Control: max-age=30"], Basis.NONE, 0),
        (["CDN-Cache-Control: must-revalidate", f"Expires: {date(600)}"], Basis.NONE, 0),
        (["CDN-Cache-Control: public", f"Last-Modified: {date(-1000)}"], Basis.HEURISTIC, 100),
        # One that is not valid is as if absent.
        (["CDN-Cache-Control: max-age=", "Cache-Control: max-age=30"], Basis.MAX_AGE, 30),
        (["CDN-Cache-Control:", "Cache-Control: max-age=30"], Basis.MAX_AGE, 30),
        (["Surrogate-Control: max-age=20;somebody-else", "Cache-Control: max-age=30"], Basis.MAX_AGE, 30),
    ],
)
def test_lifetime_comes_from_the_first_that_applies(lines: list[str], basis: Basis, lifetime: float) -> None:
    judged = freshness(*lines)
    assert (judged.basis, judged.lifetime) == (basis, lifetime)


@pytest.mark.parametrize(
    "lines",
    [
        ["Cache-Control: max-age=ten"],
        ["Cache-Control: max-age=-5"],
        ["Cache-Control: max-age = 60"],
        ["Cache-Control: max-age=60", "Cache-Control: max-age=120"],
        ["Cache-Control: s-maxage=x, max-age=60"],
        ["Expires: 0"],
        ["Expires: tomorrow"],
        ["Expires:"],
        [f"Expires: {date(60)}", f"Expires: {date(60)}"],
        [f"Expires: {date(-60)}"],
        [f"Expires: {date(60)}", f"Date: {date(120)}"],
        ["Expires: 0", f"Last-Modified: {date(-1000)}"],
    ],
)
def test_invalid_or_past_freshness_information_is_no_lifetime(lines: list[str]) -> None:
    assert freshness(*lines).lifetime == 0


def test_surrogate_control_can_be_left_to_others() -> None:
    judged = freshness(
        "Surrogate-Control: max-age=20", "Cache-Control: max-age=30", policy=Policy(surrogate_control=False)
    )
    assert (judged.basis, judged.lifetime) == (Basis.MAX_AGE, 30)


def test_targets_are_the_operators() -> None:
    policy = Policy(targeted_fields=("Shop-Cache-Control",))
    lines = ["CDN-Cache-Control: max-age=1", "Shop-Cache-Control: max-age=2", "Cache-Control: max-age=3"]
    assert freshness(*lines, policy=policy).lifetime == 2


def test_heuristics_are_for_some_status_codes_or_what_is_public() -> None:
    """RFC 9110 §15.1."""
    modified = f"Last-Modified: {date(-1000)}"
    some = {status for status in range(200, 600) if freshness(modified, status=status).lifetime == 100}
    assert some == {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}
    assert all(freshness(modified, "Cache-Control: public", status=status).lifetime == 100 for status in (302, 500))


@pytest.mark.parametrize(
    ("lines", "policy", "lifetime"),
    [
        ([f"Last-Modified: {date(-1000)}"], Policy(heuristic_fraction=0.5), 500),
        ([f"Last-Modified: {date(-1000)}"], Policy(heuristic_fraction=0), 0),
        ([f"Last-Modified: {date(-1000)}"], Policy(heuristic_max=30), 30),
        # It is the origin's own clock that is compared with itself.
        ([f"Last-Modified: {date(-5000)}", f"Date: {date(-4000)}"], DEFAULT, 100),
        ([f"Last-Modified: {date(1000)}"], DEFAULT, 0),
        ([f"Last-Modified: {date(-1000)}, {date(-1000)}"], DEFAULT, 0),
        (["Last-Modified: long ago"], DEFAULT, 0),
        ([f"Last-Modified: {date(-1000)}", "Pragma: No-Cache"], DEFAULT, 0),
        ([f"Last-Modified: {date(-1000)}", "Cache-Control: no-cache"], DEFAULT, 0),
        ([f"Last-Modified: {date(-1000)}", 'Cache-Control: no-cache="Foo"'], DEFAULT, 100),
    ],
)
def test_heuristic_lifetime(lines: list[str], policy: Policy, lifetime: float) -> None:
    assert freshness(*lines, policy=policy).lifetime == lifetime


def test_pragma_does_not_weigh_against_an_explicit_lifetime() -> None:
    assert freshness("Cache-Control: max-age=60", "Pragma: no-cache").lifetime == 60


@pytest.mark.parametrize(
    ("lines", "explicit"),
    [
        ([], False),
        (["Cache-Control: public"], False),
        (["Cache-Control: max-age=0"], True),
        (["Cache-Control: s-maxage=0"], True),
        (["Expires: 0"], True),
        (["Expires: 0", "CDN-Cache-Control: public"], False),
        ([f"Last-Modified: {date(-1000)}"], False),
    ],
)
def test_what_counts_as_explicit(lines: list[str], explicit: bool) -> None:
    head = response(*lines)
    assert has_explicit_lifetime(head.fields, govern(head.fields, DEFAULT)) is explicit


# --------------------------------------------------------------------------------------------------------- age


@pytest.mark.parametrize(
    ("lines", "delay", "age"),
    [
        ([], 0, 0),
        (["Age: 40"], 0, 40),
        (["Age: 40"], 2, 42),
        ([], 2, 2),
        (["Age: 99999999999999999999"], 0, 2**31),
        (["Age: 40, 50"], 0, 40),
        # A skewed clock at the origin makes nothing older or younger,
        ([f"Date: {date(-1000)}"], 0, 0),
        ([f"Date: {date(1000)}"], 0, 0),
        ([f"Date: {date(-1000)}", "Age: 40"], 0, 40),
        ([f"Date: {date(-1000)}", "Age: 40", "Via: 1.0 old"], 0, 40),
        # unless something that does not send Age may have kept the response on its way.
        ([f"Date: {date(-1000)}", "Via: 1.0 old"], 0, 1000),
        ([f"Date: {date(1000)}", "Via: 1.0 old"], 3, 3),
        (["Date: yesterday", "Via: 1.0 old"], 0, 0),
        (["Via: 1.0 old"], 3, 3),
        ([f"Date: {date(-1000)}", "Via: 1.1 edgecache"], 0, 0),
        ([f"Date: {date(-1000)}", "Via: 1.0 old", "Via: 1.1 edgecache"], 0, 1000),
    ],
)
def test_initial_age(lines: list[str], delay: float, age: float) -> None:
    judged = freshness("Cache-Control: max-age=60", *lines, delay=delay)
    assert judged.age(NOW) == age
    assert judged.generated_at == NOW - age
    assert judged.lifetime == 60


@pytest.mark.parametrize("age", ["", "old", "-1", "1.5", "7200;foo=bar", "40, 40", "40\r\nAge: 40"])
def test_an_age_that_cannot_be_believed_makes_it_stale(age: str) -> None:
    lines = [f"Age:{line}" for line in age.split("\r\nAge:")]
    assert not freshness("Cache-Control: max-age=60", *lines).is_fresh(NOW)


def test_a_clock_that_went_back_makes_nothing_younger_than_new() -> None:
    judged = freshness("Cache-Control: max-age=60", delay=-5)
    assert judged.generated_at == NOW
    assert judged.age(NOW - 10) == 0


@pytest.mark.parametrize(
    ("line", "instant"),
    [
        (f"Date: {date(-30)}", NOW - 30),
        ("Date: Tuesday, 14-Nov-23 22:13:10 GMT", NOW - 10),
        ("Date: Tue Nov 14 22:13:10 2023", NOW - 10),
        ("Date: never", NOW),
        ("X: y", NOW),
    ],
)
def test_date_is_the_origins_or_the_time_of_receipt(line: str, instant: float) -> None:
    assert date_of(fields([line]), NOW) == instant


# ----------------------------------------------------------------------------------------------- stale windows

GENEROUS = Policy(grace=10, if_error=20, if_unreachable=30)


@pytest.mark.parametrize(
    ("directives", "windows"),
    [
        # What the operator allows, where the origin did not speak.
        ("max-age=60", (10, 20, 30)),
        ("max-age=60, stale-while-revalidate=5", (5, 20, 30)),
        ("max-age=60, stale-while-revalidate=0", (0, 20, 30)),
        ("max-age=60, stale-if-error=5", (10, 5, 5)),  # the origin's word holds against a disconnection too
        ("max-age=60, stale-if-error=50", (10, 50, 50)),
        ("max-age=60, stale-while-revalidate=x", (10, 20, 30)),
        # The operator prolongs lifetimes: where there is none, there is nothing to prolong.
        ("max-age=0", (0, 0, 30)),
        ("max-age=0, stale-while-revalidate=5", (5, 0, 30)),
        ("public", (0, 0, 0)),
        # s-maxage closes the operator's windows (§5.2.2.10), and only those.
        ("s-maxage=60", (0, 0, 0)),
        ("s-maxage=60, stale-while-revalidate=5", (5, 0, 0)),
        ("s-maxage=60, stale-if-error=5", (0, 5, 5)),
        # What forbids staleness closes all of them (§4.2.4).
        ("max-age=60, must-revalidate, stale-while-revalidate=5, stale-if-error=5", (0, 0, 0)),
        ("max-age=60, proxy-revalidate, stale-while-revalidate=5, stale-if-error=5", (0, 0, 0)),
        ("max-age=60, no-cache, stale-while-revalidate=5, stale-if-error=5", (0, 0, 0)),
        ('max-age=60, no-cache="Set-Cookie"', (10, 20, 30)),
    ],
)
def test_windows_for_serving_stale(directives: str, windows: tuple[float, float, float]) -> None:
    judged = freshness(f"Cache-Control: {directives}", policy=GENEROUS)
    assert (judged.grace, judged.if_error, judged.if_unreachable) == windows


@pytest.mark.parametrize(
    ("directives", "must_validate", "never_stale", "immutable"),
    [
        ("max-age=60", False, False, False),
        ("max-age=60, no-cache", True, True, False),
        ('max-age=60, no-cache="Foo"', False, False, False),
        ("max-age=60, must-revalidate", False, True, False),
        ("max-age=60, proxy-revalidate", False, True, False),
        ("s-maxage=60", False, True, False),
        ("s-maxage=60, stale-while-revalidate=5", False, True, False),
        ("max-age=60, immutable", False, False, True),
    ],
)
def test_flags(directives: str, must_validate: bool, never_stale: bool, immutable: bool) -> None:
    judged = freshness(f"Cache-Control: {directives}")
    assert (judged.must_validate, judged.never_stale, judged.immutable) == (must_validate, never_stale, immutable)


def test_flags_come_from_the_field_that_governs() -> None:
    judged = freshness("CDN-Cache-Control: max-age=60", "Cache-Control: no-cache, must-revalidate, immutable")
    assert (judged.must_validate, judged.never_stale, judged.immutable) == (False, False, False)


@pytest.mark.parametrize(("line", "keep"), [('ETag: "1"', 300), (f"Last-Modified: {date()}", 300), ("X: y", 0)])
def test_only_what_has_a_validator_is_kept_for_validation(line: str, keep: float) -> None:
    assert freshness("Cache-Control: max-age=60", line, policy=Policy(keep=300)).keep == keep


# ----------------------------------------------------------------------------------------- the numbers, in time


def test_freshness_in_time() -> None:
    judged = Freshness(generated_at=NOW, lifetime=60, grace=5, if_error=20, if_unreachable=10, keep=100)
    assert [judged.age(NOW + t) for t in (-1, 0, 59.5)] == [0, 0, 59.5]
    assert [judged.ttl(NOW + t) for t in (0, 60, 70)] == [60, 0, -10]
    # "fresh: its age has not yet exceeded its lifetime", and the calculation is lifetime > age (§4.2).
    assert [judged.is_fresh(NOW + t) for t in (0, 59.9, 60)] == [True, True, False]
    assert judged.discard_at == NOW + 60 + 20 + 100


# -------------------------------------------------------------------------------------------------- properties


@given(
    head=messages.any_response_heads,
    policy=messages.policies,
    request_time=st.floats(NOW - 1e6, NOW + 1e6),
    response_time=st.floats(NOW - 1e6, NOW + 1e6),
)
def test_whatever_comes_the_numbers_are_numbers(
    head: ResponseHead, policy: Policy, request_time: float, response_time: float
) -> None:
    judged = assess(head, govern(head.fields, policy), policy, request_time=request_time, response_time=response_time)
    for duration in (judged.lifetime, judged.grace, judged.if_error, judged.if_unreachable, judged.keep):
        assert 0 <= duration <= 400 * 366 * 86_400 * 30
    assert judged.generated_at <= response_time
    assert judged.discard_at >= judged.generated_at
    assert judged.discard_at < 1e12


@given(head=messages.response_heads(), policy=messages.policies)
def test_nothing_is_stale_serving_against_the_origins_word(head: ResponseHead, policy: Policy) -> None:
    judged = assess(head, govern(head.fields, policy), policy, request_time=NOW, response_time=NOW)
    directives = govern(head.fields, policy).directives
    if directives.must_revalidate or directives.proxy_revalidate or directives.no_cache:
        assert (judged.grace, judged.if_error, judged.if_unreachable) == (0, 0, 0)
        assert judged.never_stale
