"""Lifetimes that rules set: what they take the place of, what they never overrule, and how uses prolong them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edgecache.http.message import ResponseHead
from edgecache.semantics.freshness import assess, govern
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Serve, ServeStale, decide, may_serve_instead
from edgecache.semantics.stored import Basis, CacheKey, Freshness
from edgecache.semantics.storing import luck_of
from tests.semantics import messages
from tests.semantics.build import NOW, date, freshness, refusal, request, response, stored

ALL_OF_THEM = Policy(edge_ttl=100, default_ttl=200, negative_ttl=5)
HEURISTIC = f"Last-Modified: {date(-1000)}"
NOTHING = (Basis.NONE, 0)


# -------------------------------------------------------------------------------------------- whose lifetime it is


@pytest.mark.parametrize(
    ("status", "lines", "policy", "expected"),
    [
        # The operator's word for successes, in the place of whatever the origin said.
        (200, [], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (200, ["Cache-Control: max-age=60"], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (200, ["Cache-Control: max-age=600"], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (200, ["CDN-Cache-Control: max-age=600"], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (200, ["Expires: 0"], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (200, [HEURISTIC], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (301, [], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (200, ["Cache-Control: max-age=60"], Policy(edge_ttl=0), (Basis.RULE, 0)),
        # What may not be kept unasked needs the origin's asking.
        (302, [], Policy(edge_ttl=100), NOTHING),
        (302, ["Cache-Control: public"], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (302, ["Cache-Control: max-age=600"], Policy(edge_ttl=100), (Basis.RULE, 100)),
        (201, [], Policy(edge_ttl=100), NOTHING),
        # It is none for errors, and server errors have the origin's alone.
        (404, [], Policy(edge_ttl=100), NOTHING),
        (404, ["Cache-Control: max-age=60"], Policy(edge_ttl=100), (Basis.MAX_AGE, 60)),
        (503, ["Cache-Control: max-age=60"], ALL_OF_THEM, (Basis.MAX_AGE, 60)),
        (501, [], ALL_OF_THEM, NOTHING),
        # Where the origin said nothing.
        (200, [], Policy(default_ttl=200), (Basis.RULE_DEFAULT, 200)),
        (200, [HEURISTIC], Policy(default_ttl=200), (Basis.RULE_DEFAULT, 200)),
        (200, ["Cache-Control: public"], Policy(default_ttl=200), (Basis.RULE_DEFAULT, 200)),
        (200, ["Cache-Control: max-age=60"], Policy(default_ttl=200), (Basis.MAX_AGE, 60)),
        (200, ["Cache-Control: max-age=0"], Policy(default_ttl=200), (Basis.MAX_AGE, 0)),
        (200, ["Expires: 0"], Policy(default_ttl=200), (Basis.EXPIRES, 0)),
        (200, ["Pragma: no-cache"], Policy(default_ttl=200), NOTHING),
        (200, ["Pragma: no-cache"], ALL_OF_THEM, (Basis.RULE, 100)),
        (302, [], Policy(default_ttl=200), NOTHING),
        (404, [], Policy(default_ttl=200), NOTHING),
        (200, [], ALL_OF_THEM, (Basis.RULE, 100)),
        # Client errors.
        (404, [], Policy(negative_ttl=5), (Basis.RULE_NEGATIVE, 5)),
        (410, ["Cache-Control: max-age=3600"], Policy(negative_ttl=5), (Basis.RULE_NEGATIVE, 5)),
        (404, ["Cache-Control: max-age=3600"], Policy(negative_ttl=0), (Basis.RULE_NEGATIVE, 0)),
        (403, [], Policy(negative_ttl=5), NOTHING),
        (403, ["Cache-Control: max-age=3600"], Policy(negative_ttl=5), (Basis.RULE_NEGATIVE, 5)),
        (200, ["Cache-Control: max-age=60"], Policy(negative_ttl=5), (Basis.MAX_AGE, 60)),
        # The upper bound of all of them.
        (200, ["Cache-Control: max-age=60"], Policy(max_ttl=10), (Basis.MAX_AGE, 10)),
        (200, ["Cache-Control: max-age=5"], Policy(max_ttl=10), (Basis.MAX_AGE, 5)),
        (200, [], Policy(edge_ttl=100, max_ttl=10), (Basis.RULE, 10)),
        (404, [], Policy(negative_ttl=100, max_ttl=10), (Basis.RULE_NEGATIVE, 10)),
        (503, ["Cache-Control: max-age=60"], Policy(max_ttl=10), (Basis.MAX_AGE, 10)),
        (200, [HEURISTIC], Policy(max_ttl=10), (Basis.HEURISTIC, 10)),
    ],
)
def test_who_decides_about_a_lifetime(
    status: int, lines: list[str], policy: Policy, expected: tuple[Basis, float]
) -> None:
    judged = freshness(*lines, status=status, policy=policy)
    assert (judged.basis, judged.lifetime) == expected


@pytest.mark.parametrize("policy", [ALL_OF_THEM, replace(ALL_OF_THEM, max_ttl=1000, grace=60, retain=60, sliding=60)])
@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Cache-Control: no-store"], Reason.NO_STORE),
        (["Cache-Control: private"], Reason.PRIVATE),
        (["Set-Cookie: a=b"], Reason.SET_COOKIE),
        (["Vary: *"], Reason.VARY_STAR),
    ],
)
@pytest.mark.parametrize("status", [200, 301, 404, 410])
def test_no_lifetime_makes_storable_what_the_origin_forbids(
    policy: Policy, lines: list[str], reason: Reason, status: int
) -> None:
    assert refusal(status=status, policy=policy) is None
    assert refusal(*lines, status=status, policy=policy) is reason


def test_no_lifetime_makes_storable_what_was_asked_for_with_credentials() -> None:
    assert refusal(of=request("Authorization: x"), policy=ALL_OF_THEM) is Reason.AUTHORIZATION
    assert refusal(of=request("Cookie: a=b"), policy=ALL_OF_THEM) is Reason.REQUEST_COOKIE


@pytest.mark.parametrize("status", [200, 404])
def test_no_lifetime_spares_the_validation_that_the_origin_wants(status: int) -> None:
    policy = replace(ALL_OF_THEM, grace=60, if_error=60, if_unreachable=60, retain=60, sliding=60)
    judged = freshness("Cache-Control: no-cache", status=status, policy=policy)
    assert judged.must_validate
    assert judged.discard_at == judged.generated_at + judged.lifetime
    assert (judged.sliding, judged.if_gone) == (0, 0)
    ignoring = freshness("Cache-Control: no-cache", status=status, policy=replace(policy, unsafe_ignore_no_cache=True))
    assert not ignoring.must_validate
    assert ignoring.is_fresh(NOW)


@pytest.mark.parametrize("delay", [0.0, 2.0])
@pytest.mark.parametrize("policy", [Policy(edge_ttl=0), Policy(max_ttl=0), Policy(edge_ttl=10, max_ttl=0)])
def test_what_is_not_to_last_has_no_window_either(policy: Policy, delay: float) -> None:
    """However long it took to come."""
    judged = freshness("Cache-Control: max-age=60", policy=replace(policy, grace=9, if_error=9, sliding=9), delay=delay)
    assert (judged.lifetime, judged.grace, judged.if_error, judged.sliding) == (0, 0, 0, 0)
    assert refusal("Cache-Control: max-age=60", policy=policy) is Reason.NO_FRESHNESS


@pytest.mark.parametrize("policy", [Policy(edge_ttl=100), Policy(default_ttl=100), Policy(max_ttl=100)])
@pytest.mark.parametrize("age", ["40", "1000", "not a number"])
def test_what_a_rule_says_counts_from_receipt(policy: Policy, age: str) -> None:
    lines = [] if policy.default_ttl else ["Cache-Control: max-age=100000"]
    judged = freshness(f"Age: {age}", *lines, policy=policy, delay=3)
    if policy.max_ttl is None or age.isdigit():
        assert judged.ttl(NOW) == 100
        assert judged.age(NOW) == 3 + (int(age) if age.isdigit() else 0)
    else:
        assert not judged.is_fresh(NOW)


# -------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("directives", "if_gone"),
    [
        ("max-age=60", 30),
        ("max-age=0", 30),
        ("max-age=60, stale-if-error=5", 30),
        ("public", 0),  # there is no lifetime to follow
        ("max-age=60, must-revalidate", 0),
        ("max-age=60, proxy-revalidate", 0),
        ("s-maxage=60", 0),
        ("no-cache, max-age=60", 0),
    ],
)
def test_what_is_gone_is_retained_unless_the_origin_forbids_staleness(directives: str, if_gone: float) -> None:
    assert freshness(f"Cache-Control: {directives}", policy=Policy(retain=30)).if_gone == if_gone


def test_only_successes_are_retained_and_slide() -> None:
    policy = Policy(retain=30, sliding=30)
    assert [freshness("Cache-Control: max-age=60", status=s, policy=policy).if_gone for s in (200, 301, 404)] == [
        30,
        0,
        0,
    ]
    assert [freshness("Cache-Control: max-age=60", status=s, policy=policy).sliding for s in (200, 301, 404)] == [
        30,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("status", "age", "policy", "reason"),
    [
        (404, 70, Policy(retain=30), Reason.RETAINED),
        (410, 70, Policy(retain=30), Reason.RETAINED),
        (404, 90, Policy(retain=30), None),
        (403, 70, Policy(retain=30), None),
        (500, 70, Policy(retain=30), None),
        # Also a fresh one, whose validation a request asked for, or which is refreshed early.
        (404, 10, Policy(retain=30), Reason.RETAINED),
        # Without a rule, what is gone is gone.
        (404, 10, Policy(), None),
        (410, 70, Policy(if_error=30, grace=30), None),
        (404, 70, Policy(retain=30, may_be_stale=False), None),
    ],
)
def test_what_stands_in_for_what_is_gone(status: int, age: float, policy: Policy, reason: Reason | None) -> None:
    response = stored("Cache-Control: max-age=60", policy=policy)
    assert may_serve_instead(response, NOW + age, status=status) is reason


def test_a_rule_can_close_the_operators_windows() -> None:
    policy = Policy(grace=10, if_error=10, if_unreachable=10, retain=10, may_be_stale=False)
    judged = freshness("Cache-Control: max-age=60", policy=policy)
    assert (judged.grace, judged.if_error, judged.if_unreachable, judged.if_gone) == (0, 0, 0, 0)
    assert judged.never_stale


# --------------------------------------------------------------------------------------------------------- jitter


def lifetime(*lines: str, luck: float, policy: Policy, status: int = 200) -> float:
    head = response(*lines, status=status)
    return assess(head, govern(head.fields, policy), policy, request_time=NOW, response_time=NOW, luck=luck).lifetime


@pytest.mark.parametrize(
    ("status", "lines", "policy", "shortest"),
    [
        (200, [], Policy(edge_ttl=100), 75),
        (200, [], Policy(default_ttl=100), 75),
        (404, [], Policy(negative_ttl=100), 75),
        (200, ["Cache-Control: max-age=100"], Policy(default_ttl=100), 100),
        (200, [f"Last-Modified: {date(-1000)}"], Policy(), 100),
        (503, ["Cache-Control: max-age=100"], ALL_OF_THEM, 100),
        (200, [], Policy(edge_ttl=1000, max_ttl=100), 100),
    ],
)
def test_jitter_shortens_what_a_rule_says_and_nothing_else(
    status: int, lines: list[str], policy: Policy, shortest: float
) -> None:
    policy = replace(policy, jitter=0.25)
    assert lifetime(*lines, luck=0.0, policy=policy, status=status) == 100
    assert lifetime(*lines, luck=1.0, policy=policy, status=status) == shortest


def test_luck_is_spread_evenly_over_keys_and_anew_each_time() -> None:
    lucks = [luck_of(CacheKey(f"http://example.com/{number}"), NOW) for number in range(10_000)]
    tenths = [sum(tenth <= luck * 10 < tenth + 1 for luck in lucks) for tenth in range(10)]
    assert all(900 < count < 1100 for count in tenths)
    assert all(0 <= luck <= 1 for luck in lucks)
    key = CacheKey("http://example.com/")
    assert len({luck_of(key, NOW + seconds) for seconds in range(1000)}) > 990
    assert luck_of(key, NOW) == luck_of(key, NOW)


# -------------------------------------------------------------------------------------------------------- sliding


def numbers(**changes: float) -> Freshness:
    return structs.replace(Freshness(generated_at=NOW, lifetime=60, sliding=100, slides_until=1000), **changes)


@pytest.mark.parametrize(
    ("judged", "at", "until"),
    [
        (numbers(), 0, 100),
        (numbers(), 50, 150),
        (numbers(lifetime=100), 50, 150),
        (numbers(lifetime=100), 5, 100),  # less than a tenth of it is not worth a change
        (numbers(lifetime=100), 10.5, 110.5),
        (numbers(lifetime=500), 100, 500),
        (numbers(lifetime=950), 949, 1000),
        (numbers(lifetime=995), 990, 995),  # so near the end it changes no more
        (numbers(), 60, 60),  # what is stale was not used
        (numbers(slides_until=30), 10, 60),  # never shorter
        (numbers(sliding=0), 50, 60),
    ],
)
def test_a_use_prolongs(judged: Freshness, at: float, until: float) -> None:
    used = judged.used(NOW + at)
    assert used.lifetime == until
    assert (used is judged) == (used.lifetime == judged.lifetime)


def test_what_is_used_all_the_time_ends_when_sliding_ends() -> None:
    judged = freshness("Cache-Control: max-age=60", policy=Policy(sliding=100, sliding_max=1000), delay=2)
    for second in range(2000):
        judged = judged.used(NOW + second)
    assert 990 <= judged.ttl(NOW) <= 1000


@pytest.mark.parametrize("max_ttl", [10, 500])
def test_uses_prolong_nothing_beyond_the_upper_bound(max_ttl: float) -> None:
    judged = freshness(policy=Policy(edge_ttl=60, sliding=100, max_ttl=max_ttl), delay=2)
    for second in range(1000):
        judged = judged.used(NOW + second)
    assert judged.ttl(NOW) == pytest.approx(max_ttl, rel=0.02)
    assert judged.ttl(NOW) <= max_ttl


def test_what_was_purged_softly_or_cannot_be_proven_does_not_slide() -> None:
    ended = numbers().ended(NOW + 10)
    assert ended.used(NOW + 10) is ended
    assert not ended.is_fresh(NOW + 10)
    assert numbers().unproven().must_validate


# ---------------------------------------------------------------------------------------------------------- early


@pytest.mark.parametrize(("delay", "early", "eager"), [(2.0, 1.0, 2.0), (0.5, 3.0, 1.5), (2.0, 0.0, 0.0)])
def test_eagerness_is_the_time_of_the_fetch_as_far_as_the_operator_wants(
    delay: float, early: float, eager: float
) -> None:
    assert freshness("Cache-Control: max-age=60", policy=Policy(early=early), delay=delay).eager == eager


def test_a_part_is_not_refreshed_early() -> None:
    assert freshness("Cache-Control: max-age=60", status=206, policy=Policy(early=1.0), delay=2.0).eager == 0


@pytest.mark.parametrize("delay", [0.0, -5.0, 0.0001])
def test_a_clock_that_did_not_move_puts_no_end_to_refreshing(delay: float) -> None:
    assert freshness("Cache-Control: max-age=60", policy=Policy(early=2.0), delay=delay).eager == 0.002


@pytest.mark.parametrize(
    ("at", "luck", "early"),
    [(57.9, 1.0, False), (58.1, 1.0, True), (50, 4.5, False), (50, 5.1, True), (0, 29, False), (59.9, 0.0, False)],
)
def test_the_luckier_a_request_the_earlier_it_refreshes(at: float, luck: float, early: bool) -> None:
    response = stored("Cache-Control: max-age=62", policy=Policy(early=1.0), delay=2.0)
    expected = ServeStale(response, Reason.EARLY) if early else Serve(response)
    assert decide(request(), [response], Policy(), NOW + at, luck) == expected


@pytest.mark.parametrize("lines", [["Cache-Control: no-cache"], ["Cache-Control: max-age=60", "Age: 100"]])
def test_what_is_not_fresh_is_not_refreshed_early(lines: list[str]) -> None:
    response = stored(*lines, policy=Policy(early=1.0), delay=2.0)
    assert decide(request(), [response], Policy(), NOW, 1e9).reason in (Reason.NO_CACHE, Reason.STALE)


# ----------------------------------------------------------------------------------------------------- properties

seconds = st.sampled_from([0.0, 1.0, 5.0, 10.0, 30.0])
rules = st.builds(
    Policy,
    edge_ttl=st.none() | seconds,
    default_ttl=st.none() | seconds,
    negative_ttl=st.none() | seconds,
    max_ttl=st.none() | seconds,
    jitter=st.sampled_from([0.0, 0.5, 1.0]),
    sliding=seconds,
    sliding_max=seconds,
    grace=seconds,
    if_error=seconds,
    retain=seconds,
    early=st.sampled_from([0.0, 1.0]),
    browser_ttl=st.none() | seconds,
)


@given(messages.any_response_heads, rules, st.floats(0, 1), st.floats(0, 100), st.floats(0, 10))
def test_no_rule_makes_more_of_a_response_than_it_says(
    head: ResponseHead, policy: Policy, luck: float, later: float, delay: float
) -> None:
    governing = govern(head.fields, policy)
    judged = assess(head, governing, policy, request_time=NOW - delay, response_time=NOW, luck=luck)
    used = judged.used(NOW + later)
    assert used.lifetime >= judged.lifetime >= 0
    if policy.max_ttl is not None:
        assert used.ttl(NOW) <= policy.max_ttl + 1e-6
    directives = governing.directives
    if directives.no_cache:
        assert judged.must_validate
        assert used is judged
    if directives.must_revalidate or directives.proxy_revalidate or directives.no_cache:
        assert judged.discard_at == judged.generated_at + judged.lifetime + judged.keep
