"""What clients see: strategies, a time of their own, and no promise that a failure cannot keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.cache_control import parse_response
from edgecache.http.message import RequestHead, ResponseHead
from edgecache.semantics.policy import Policy, Strategy
from edgecache.semantics.presenting import amended, shown_head
from edgecache.semantics.reason import Reason
from tests.semantics import messages
from tests.semantics.build import date, freshness, refusal, request, response, stored

MINUTE = Policy(browser_ttl=60)
SHAREABLE = [strategy for strategy in Strategy if strategy.is_shareable]
OTHERS = [strategy for strategy in Strategy if not strategy.is_shareable]


def seen(*lines: str, status: int = 200, policy: Policy, reason: Reason | None = None) -> str | None:
    """Return the Cache-Control that clients see."""
    return shown_head(response(*lines, status=status), policy, () if reason is None else (reason,)).fields.get(
        "cache-control"
    )


# ----------------------------------------------------------------------------------------------------- strategies


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(
    ("status", "lines", "given_to_it"),
    [
        (200, [], True),
        (206, ["Content-Range: bytes 0-1/2"], True),
        (200, ["CDN-Cache-Control: max-age=5"], True),
        (200, ["Cache-Control: max-age=5"], False),
        (200, ["Cache-Control:"], False),
        (200, ["Expires: 0"], False),
        (301, [], False),
        (404, [], False),
        (500, [], False),
    ],
)
def test_a_strategy_is_for_successes_that_say_nothing(
    strategy: Strategy, status: int, lines: list[str], given_to_it: bool
) -> None:
    head = response(*lines, status=status)
    made = amended(request(), head, Policy(strategy=strategy))
    expected = strategy.cache_control if given_to_it else head.fields.get("cache-control")
    assert made.fields.get("cache-control") == expected


@pytest.mark.parametrize(
    ("asked", "status", "lines"),
    [
        (request("Authorization: x"), 200, []),
        (request(), 200, ["Set-Cookie: a=b"]),
        (request(), 201, []),
        (request(), 202, []),
    ],
)
def test_no_strategy_calls_shareable_what_is_not(asked: RequestHead, status: int, lines: list[str]) -> None:
    head = response(*lines, status=status)
    for strategy in SHAREABLE:
        assert "cache-control" not in amended(asked, head, Policy(strategy=strategy)).fields
    for strategy in OTHERS:
        assert amended(asked, head, Policy(strategy=strategy)).fields["cache-control"] == strategy.cache_control


def test_an_unsafe_switch_lets_a_strategy_do_so() -> None:
    immutable = Policy(strategy=Strategy.IMMUTABLE)
    cookie, authorized = response("Set-Cookie: a=b"), request("Authorization: x")
    replayed = replace(immutable, unsafe_store_set_cookie=True)
    assert "cache-control" in amended(request(), cookie, replayed).fields
    for_all = replace(immutable, unsafe_store_authorized=True)
    assert "cache-control" in amended(authorized, response(), for_all).fields
    stripped = amended(request(), cookie, replace(immutable, unsafe_strip_cookies=True))
    assert "set-cookie" not in stripped.fields
    assert stripped.fields["cache-control"] == Strategy.IMMUTABLE.cache_control


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (Strategy.IMMUTABLE, None),
        (Strategy.VERSIONED, None),
        (Strategy.PRIVATE, Reason.PRIVATE),
        (Strategy.NO_STORE, Reason.NO_STORE),
        (Strategy.REVALIDATE, Reason.NO_FRESHNESS),
        (Strategy.NO_CACHE, Reason.NO_FRESHNESS),
    ],
)
def test_a_strategy_is_obeyed_here_too(strategy: Strategy, reason: Reason | None) -> None:
    policy = Policy(strategy=strategy)
    lines = [f"{name}: {value}" for name, value in amended(request(), response(), policy).fields.items()]
    assert refusal(*lines, policy=policy) is reason


# ------------------------------------------------------------------------------------------- a time of the clients'


@pytest.mark.parametrize(
    ("lines", "status", "expected"),
    [
        ([], 200, "max-age=60"),
        (["Cache-Control: max-age=5"], 200, "max-age=60"),
        (["Cache-Control: max-age=5, immutable, stale-while-revalidate=9"], 200, "max-age=60"),
        (["Cache-Control: public, s-maxage=5", "Cache-Control: must-revalidate"], 200,
         "public, must-revalidate, max-age=60"),
        (["Expires: 0"], 200, "max-age=60"),
        (['Cache-Control: private="X-Foo"'], 200, 'private="X-Foo", max-age=60'),
        # What forbids stays,
        (["Cache-Control: private, max-age=5"], 200, "private, max-age=5"),
        (["Cache-Control: no-store"], 200, "no-store"),
        (["Cache-Control: no-cache"], 200, "no-cache"),
        (["Set-Cookie: a=b"], 200, None),
        (["Cache-Control: max-age=5", "Set-Cookie: a=b"], 200, "max-age=5"),
        # and only successes get it.
        (["Cache-Control: max-age=5"], 404, "max-age=5"),
        (["Cache-Control: max-age=5"], 301, "max-age=5"),
        ([], 404, None),
        ([], 302, None),
    ],
)  # fmt: skip
def test_the_lifetime_that_browsers_see(lines: list[str], status: int, expected: str | None) -> None:
    assert seen(*lines, status=status, policy=MINUTE) == expected


def test_an_unsafe_switch_lets_cookies_have_it_too() -> None:
    lines = ["Cache-Control: max-age=5", "Set-Cookie: a=b"]
    assert seen(*lines, policy=replace(MINUTE, unsafe_store_set_cookie=True)) == "max-age=60"


def test_the_lifetime_here_is_not_what_browsers_see() -> None:
    policy = Policy(edge_ttl=3600, jitter=0.5, max_ttl=1800, sliding=60)
    assert seen("Cache-Control: max-age=5", policy=policy) == "max-age=5"
    assert seen(policy=policy) is None
    assert stored("Cache-Control: max-age=5", policy=policy).shown().fields["cache-control"] == "max-age=5"


@pytest.mark.parametrize(
    ("lines", "status", "restarts"),
    [
        (["Cache-Control: max-age=5"], 200, True),
        ([], 200, True),
        (["CDN-Cache-Control: max-age=5", "Cache-Control: private, max-age=9"], 200, False),
        (["CDN-Cache-Control: max-age=5", "Cache-Control: no-cache"], 200, False),
        (["Cache-Control: max-age=5"], 404, False),
        (["Cache-Control: max-age=5", "Set-Cookie: a=b"], 200, False),
    ],
)
def test_time_runs_from_delivery_exactly_where_clients_see_a_time_of_their_own(
    lines: list[str], status: int, restarts: bool
) -> None:
    """With the origin's lifetime its age and its date stay: else it would be kept for longer than it said."""
    assert freshness(*lines, status=status, policy=MINUTE).restarts_age is restarts
    fields = shown_head(response("Age: 40", f"Date: {date(-40)}", *lines, status=status), MINUTE).fields
    assert ("age" in fields, "date" in fields) == (not restarts, not restarts)
    kept = stored(*lines, status=status, policy=MINUTE)
    assert "date" in kept.head().fields
    assert ("date" in kept.shown().fields) is not restarts


# ------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("status", "lines", "max_ttl", "expected"),
    [
        (404, ["Cache-Control: max-age=3600"], 10, "max-age=10"),
        (404, ["Cache-Control: max-age=5"], 10, "max-age=5"),
        (404, ["Cache-Control: max-age=0"], 10, "max-age=0"),
        (404, ["Cache-Control: s-maxage=3600, max-age=5"], 10, "max-age=5"),
        (404, ["Cache-Control: public, max-age=31536000, immutable"], 10, "public, max-age=10"),
        (404, ["Cache-Control: max-age=5, immutable"], None, "max-age=5"),
        (404, [f"Expires: {date(3600)}", f"Date: {date()}"], 10, "max-age=10"),
        (404, [f"Expires: {date(5)}", f"Date: {date()}"], 10, "max-age=5"),
        (404, ["Expires: 0", f"Date: {date()}"], 10, "max-age=0"),
        (404, [f"Expires: {date(3600)}"], 10, "max-age=0"),
        # What says nothing might be kept for any time by those behind, where its status allows that.
        (404, [], 10, "max-age=2"),
        (404, [], 1, "max-age=1"),
        (404, [], 86_400, "max-age=2"),
        (404, [], None, None),
        (500, [], 86_400, None),
        (302, [], 86_400, None),
        (403, [], 86_400, None),
        (500, ["Cache-Control: max-age=3600"], 10, "max-age=10"),
        (301, ["Cache-Control: max-age=3600"], 10, "max-age=10"),
        (301, [], 10, None),
        (404, ["Cache-Control: private, max-age=3600, immutable"], 10, "private, max-age=10"),
        (404, ["Cache-Control: private, max-age=3600, immutable"], None, "private, max-age=3600"),
        # What forbids stays.
        (404, ["Cache-Control: no-store"], 10, "no-store"),
        (404, ["Cache-Control: no-cache"], 10, "no-cache"),
    ],
)
def test_what_is_not_kept_for_long_here_is_not_kept_for_long_elsewhere(
    status: int, lines: list[str], max_ttl: float | None, expected: str | None
) -> None:
    assert seen(*lines, status=status, policy=Policy(max_ttl=max_ttl)) == expected


def test_the_upper_bound_changes_nothing_of_a_success() -> None:
    assert seen("Cache-Control: max-age=3600", policy=Policy(max_ttl=10)) == "max-age=3600"


def test_what_is_not_of_its_type_is_stored_by_nobody() -> None:
    lines = ["Cache-Control: public, max-age=3600, immutable", f"Expires: {date(3600)}"]
    assert seen(*lines, policy=MINUTE, reason=Reason.TYPE_MISMATCH) == "no-store"


# ----------------------------------------------------------------------------------------------------- properties

policies = st.builds(
    Policy,
    strategy=st.none() | st.sampled_from(Strategy),
    browser_ttl=st.none() | st.sampled_from([0.0, 60.0]),
    max_ttl=st.none() | st.sampled_from([0.0, 10.0]),
)


@given(messages.any_requests, messages.any_response_heads, policies)
def test_what_forbids_is_never_shown_as_less(asked: RequestHead, head: ResponseHead, policy: Policy) -> None:
    said = parse_response(head.fields)
    made = shown_head(amended(asked, head, policy), policy)
    told = parse_response(made.fields)
    assert told.private or not said.private
    assert told.no_store or not said.no_store
    assert told.no_cache or not said.no_cache
    assert told.must_revalidate or not said.must_revalidate
    if not (told.no_store or told.no_cache):
        assert not told.immutable or 200 <= head.status < 300


@given(messages.any_response_heads, policies)
def test_no_failure_is_shown_with_a_longer_lifetime(head: ResponseHead, policy: Policy) -> None:
    made = shown_head(amended(request(), head, policy), policy)
    if 200 <= head.status < 300 or policy.max_ttl is None:
        return
    said, told = parse_response(head.fields), parse_response(made.fields)
    before = [each for each in (said.s_maxage, said.max_age) if each is not None]
    if told.max_age is not None:
        assert told.max_age <= max([2, *before] if "expires" not in head.fields else [policy.max_ttl, *before])
