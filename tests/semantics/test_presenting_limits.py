from __future__ import annotations

import pytest
from hypothesis import given

from edgecache.http.cache_control import parse_response
from edgecache.http.message import ResponseHead
from edgecache.semantics.freshness import Governing, explicit_lifetime
from edgecache.semantics.policy import DEFAULT, Policy, Strategy
from edgecache.semantics.presenting import amended, shown, shown_head
from edgecache.semantics.reason import Reason
from tests.semantics import messages
from tests.semantics.build import NOW, date, request, response, stored

YEAR = "public, max-age=31536000, immutable"
PERSONAL = [
    Reason.AMBIGUOUS_PATH,
    Reason.AUTHORIZATION,
    Reason.REQUEST_COOKIE,
    Reason.SET_COOKIE,
    Reason.UNKEYED_FIELD,
]


def lines(head: ResponseHead) -> list[str]:
    return [f"{name}: {value}" for name, value in head.fields.items()]


def seen(*sent: str, status: int = 200, policy: Policy = DEFAULT, objections: tuple[Reason, ...] = ()) -> list[str]:
    """What clients see of a response with these field lines, as the engine makes it of a head that comes."""
    head = response(*sent, status=status)
    judged = amended(request(), head, policy)
    is_by_rule = "cache-control" in judged.fields and "cache-control" not in head.fields
    return lines(shown_head(judged, policy, objections, is_by_rule=is_by_rule))


# ------------------------------------------------------------------------------------------------- amended


@pytest.mark.parametrize("strategy", Strategy)
def test_a_strategy_speaks_where_the_origin_is_silent(strategy: Strategy) -> None:
    policy = Policy(strategy=strategy)
    assert lines(amended(request(), response("X: 1"), policy)) == ["X: 1", f"Cache-Control: {strategy.cache_control}"]
    for silent in (response("Cache-Control: max-age=1"), response("Expires: 0"), response("X: 1", status=404)):
        assert amended(request(), silent, policy) is silent


def test_cookies_that_are_stripped() -> None:
    head = response("Set-Cookie: a=1", "X: 1", "set-cookie: b=2")
    assert lines(amended(request(), head, Policy(unsafe_strip_cookies=True))) == ["X: 1"]
    assert amended(request(), head, DEFAULT) is head


# --------------------------------------------------------------------------------------------------- shown


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["Cache-Control: max-age=60"], ["Cache-Control: max-age=5"]),
        (["Cache-Control: public, max-age=60, s-maxage=9, immutable, stale-if-error=7, stale-while-revalidate=3"],
         ["Cache-Control: public, max-age=5"]),
        (["Cache-Control: must-revalidate", "Expires: 0", "Pragma: x"], ["Cache-Control: must-revalidate, max-age=5"]),
        ([], ["Cache-Control: max-age=5"]),
        (["CDN-Cache-Control: max-age=60"], ["CDN-Cache-Control: max-age=60", "Cache-Control: max-age=5"]),
        (["Cache-Control: private, max-age=60"], ["Cache-Control: private, max-age=60"]),
        (["Cache-Control: no-store"], ["Cache-Control: no-store"]),
        (["Cache-Control: no-cache, max-age=60"], ["Cache-Control: no-cache, max-age=60"]),
    ],
)  # fmt: skip
def test_a_lifetime_for_browsers(sent: list[str], expected: list[str]) -> None:
    policy = Policy(browser_ttl=5.0)
    assert seen(*sent, policy=policy) == expected
    assert [f"{name}: {value}" for name, value in shown(200, response(*sent).fields.items(), policy)] == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([f"Cache-Control: {YEAR}"], ["Cache-Control: public, max-age=2"]),
        ([f"Cache-Control: {YEAR}", f"CDN-Cache-Control: {YEAR}"], ["Cache-Control: public, max-age=2"]),
        (["X-CDN-Cache-Control: max-age=60"], ["Cache-Control: max-age=2"]),
        (["Cache-Control: max-age=1"], ["Cache-Control: max-age=1"]),
        (["Cache-Control: max-age=0, must-revalidate"], ["Cache-Control: max-age=0, must-revalidate"]),
        (["Expires: 0"], ["Cache-Control: max-age=0"]),
        ([f"Date: {date()}", f"Expires: {date(1)}"], [f"Date: {date()}", "Cache-Control: max-age=1"]),
        ([f"Expires: {date(9)}"], ["Cache-Control: max-age=0"]),
        (["Cache-Control: no-store"], ["Cache-Control: no-store"]),
        ([], ["Cache-Control: max-age=2"]),
    ],
)
def test_a_failure_is_kept_nowhere_for_longer_than_here(sent: list[str], expected: list[str]) -> None:
    assert seen(*sent, status=404, policy=Policy(max_ttl=2.0)) == expected


def test_no_failure_is_immutable() -> None:
    for status in (301, 403, 404, 503):
        assert seen(f"Cache-Control: {YEAR}", status=status) == ["Cache-Control: public, max-age=31536000"]
    assert seen(f"Cache-Control: {YEAR}") == [f"Cache-Control: {YEAR}"]


@pytest.mark.parametrize("other", [None, *PERSONAL])
@pytest.mark.parametrize("policy", [DEFAULT, Policy(browser_ttl=60.0), Policy(strategy=Strategy.IMMUTABLE)])
def test_what_is_not_what_its_name_says_is_kept_by_nobody(policy: Policy, other: Reason | None) -> None:
    """Whatever else there is to say: a cookie set by the page does not make it a script."""
    objections = (Reason.TYPE_MISMATCH,) if other is None else (other, Reason.TYPE_MISMATCH)
    sent = [f"Cache-Control: {YEAR}", f"CDN-Cache-Control: {YEAR}", f"Expires: {date(9)}", "Pragma: x", "X: 1"]
    assert seen(*sent, policy=policy, objections=objections) == ["X: 1", "Cache-Control: no-store"]
    assert seen("X: 1", policy=policy, objections=objections) == ["X: 1", "Cache-Control: no-store"]


@pytest.mark.parametrize("objection", PERSONAL)
def test_a_rule_calls_nothing_public_that_may_be_one_users(objection: Reason) -> None:
    def seen_of(*sent: str, **settings: object) -> list[str]:
        return seen(*sent, policy=Policy(**settings), objections=(objection,))  # type: ignore[arg-type]

    assert seen_of(strategy=Strategy.IMMUTABLE) == ["Cache-Control: private, max-age=31536000, immutable"]
    assert seen_of(browser_ttl=60.0) == ["Cache-Control: private, max-age=60"]
    assert seen_of(strategy=Strategy.IMMUTABLE, browser_ttl=60.0) == ["Cache-Control: private, max-age=60"]
    assert seen_of("Cache-Control: public, max-age=9", browser_ttl=60.0) == ["Cache-Control: private, max-age=60"]
    assert seen_of("Cache-Control: public, max-age=9") == ["Cache-Control: public, max-age=9"]
    assert seen_of() == []


def test_what_is_addressed_to_this_cache_ends_here() -> None:
    mine = ["Surrogate-Control: max-age=9", "Edgecache-Cache-Control: max-age=9", "Cache-Tag: a"]
    assert seen(*mine, "CDN-Cache-Control: max-age=9") == ["CDN-Cache-Control: max-age=9"]


# -------------------------------------------------------------------------------------------------- properties


@given(head=messages.response_heads(statuses=(200, 404, 410, 503, 301)))
def test_nothing_is_shown_as_less_or_longer_than_it_is(head: ResponseHead) -> None:
    policy = Policy(max_ttl=2.0, targeted_fields=(), surrogate_control=False)
    said, told = parse_response(head.fields), parse_response(shown_head(head, policy).fields)
    for name in ("private", "no_store", "no_cache"):
        assert getattr(told, name) >= getattr(said, name)
    lifetime = explicit_lifetime(head, Governing(said), NOW)
    if head.status >= 300 and not (said.private or said.no_store or said.no_cache):
        shown_lifetimes = [each for each in (told.s_maxage, told.max_age) if each is not None]
        assert shown_lifetimes or head.status not in (404, 410)
        assert all(each <= 2 and (lifetime is None or each <= lifetime) for each in shown_lifetimes[:1])


@given(head=messages.response_heads(), policy=messages.policies)
def test_without_rules_a_success_is_shown_as_it_came(head: ResponseHead, policy: Policy) -> None:
    if 200 <= head.status < 300:
        assert seen(*lines(head), status=head.status, policy=policy) == lines(head)


def test_what_is_stored_is_shown_by_the_same_rules() -> None:
    rendered = stored("Cache-Control: max-age=60", policy=Policy(browser_ttl=5.0)).rendered
    assert b"Cache-Control: max-age=5\r\n" in rendered
    assert b"max-age=60" not in rendered
