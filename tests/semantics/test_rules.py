"""Rules: when one applies, and which of several decides."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.glob import Glob, Wildcard
from edgecache.http.message import RequestHead
from edgecache.http.regex import compiled
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.rules import BUILT_IN, REQUEST_SETTINGS, Match, Rule, RuleSet
from edgecache.semantics.versioned import AssetNames, By, Versioned
from tests.semantics.build import request, response

LISTED = AssetNames.of({"/assets/app.js": Versioned(By.MANIFEST, "")})


ALL = Match()


def rule(name: str, match: Match = ALL, unless: Match = ALL, priority: int = 0, **settings: object) -> Rule:
    return Rule(name=name, settings=settings, match=match, unless=unless, priority=priority)


# When one applies.

OF_REQUESTS = [
    (Match(), request(), True),
    (Match(hosts=(Glob("*.example.com"),)), request(authority="www.example.com"), True),
    (Match(hosts=(Glob("*.example.com"),)), request(authority="www.example.com:8080"), True),
    (Match(hosts=(Glob("www.example.com:8080"),)), request(authority="www.example.com:8080"), True),
    (Match(hosts=(Glob("www.example.com:8080"),)), request(authority="www.example.com"), False),
    (Match(hosts=(Glob("[::1]"),)), request(authority="[::1]"), True),
    (Match(hosts=(Glob("*.example.com"),)), request(authority="example.com"), False),
    (Match(paths=(Glob("/a/*"), Glob("/b"))), request(target="/b?x=1"), True),
    (Match(paths=(Glob("/a/*"),)), request(target="/a/b/c"), False),
    (Match(path_patterns=(compiled("^/v[0-9]+/"),)), request(target="/v12/x"), True),
    (Match(path_patterns=(compiled("x=1"),)), request(target="/?x=1"), False),
    (Match(extensions=frozenset({"css"})), request(target="/a/B.CSS?v=1.js"), True),
    (Match(extensions=frozenset({""})), request(target="/a.b/c"), True),
    (Match(extensions=frozenset({""})), request(target="/"), True),
    (Match(extensions=frozenset({""})), request(target="/a.css"), False),
    (Match(methods=frozenset({"GET", "HEAD"})), request(method="QUERY"), False),
    (Match(query=(("a", Wildcard("1*")), ("b", Wildcard("")))), request(target="/?b&a=2&a=12"), True),
    (Match(query=(("a", Wildcard("1")), ("b", Wildcard("*")))), request(target="/?a=1"), False),
    (Match(query=(("a", Wildcard("*")),)), request(target="/"), False),
    (Match(request_fields=(("accept", Wildcard("*text/html*")),)), request("Accept: a/b", "Accept: text/html"), True),
    (Match(request_fields=(("accept", Wildcard("*")),)), request(), False),
    (Match(cookies=(Wildcard("wordpress_logged_in_*"),)), request("Cookie: a=1; wordpress_logged_in_7=x"), True),
    (Match(cookies=(Wildcard("a"), Wildcard("b"))), request("Cookie: x=1", "Cookie: b=2"), True),
    (Match(cookies=(Wildcard("a"),)), request("Cookie: b=a"), False),
    (Match(cookies=(Wildcard("*"),)), request(), False),
    (Match(versioned=frozenset({By.PATTERN})), request(target="/x/app.3b1f2a9c.js"), True),
    (Match(versioned=frozenset({By.MANIFEST})), request(target="/x/app.3b1f2a9c.js"), False),
    (Match(versioned=frozenset({By.MANIFEST})), request(target="/assets/app.js?x"), True),
    (Match(hosts=(Glob("example.com"),), paths=(Glob("/b"),)), request(target="/a"), False),
]


@pytest.mark.parametrize(("match", "head", "holds"), OF_REQUESTS)
def test_what_holds_of_a_request(match: Match, head: RequestHead, holds: bool) -> None:
    assert match.holds(head, None, LISTED) is holds
    assert match.holds(head, response(), LISTED) is holds
    assert not match.needs_response


OF_RESPONSES = [
    (Match(statuses=frozenset({404, 410})), response(status=410), True),
    (Match(statuses=frozenset({404, 410})), response(), False),
    (Match(content_types=(Wildcard("image/*"),)), response("Content-Type: image/PNG; a=b"), True),
    (Match(content_types=(Wildcard("image/*"),)), response("Content-Type: text/html"), False),
    (Match(content_types=(Wildcard("*/*"),)), response("Content-Type: nonsense"), False),
    (Match(response_fields=(("x-powered-by", Wildcard("php*")),)), response("X-Powered-By: PHP/8"), True),
    (Match(response_fields=(("x-powered-by", Wildcard("*")),)), response(), False),
]


@pytest.mark.parametrize(("match", "head", "holds"), OF_RESPONSES)
def test_what_holds_of_a_response(match: Match, head: object, holds: bool) -> None:
    assert match.holds(request(), head, None) is holds  # type: ignore[arg-type]
    assert not match.holds(request(), None, None)
    assert match.needs_response


def test_unless_takes_back_what_match_lets_in_and_an_empty_one_nothing() -> None:
    images = Match(paths=(Glob("/img/**"),))
    private = Match(paths=(Glob("/img/private/**"),))
    assert rule("a", images).applies(request(target="/img/private/x"), None, None)
    assert not rule("a", images, private).applies(request(target="/img/private/x"), None, None)
    assert rule("a", images, private).applies(request(target="/img/x"), None, None)
    assert rule("a", unless=Match(statuses=frozenset({200}))).needs_response


# Which decides.


def test_for_each_setting_the_first_rule_that_has_it_decides() -> None:
    rules = RuleSet(
        DEFAULT,
        [
            rule("narrow", Match(paths=(Glob("/a"),)), edge_ttl=1.0),
            rule("wide", edge_ttl=2.0, grace=3.0),
            rule("last", grace=4.0, if_error=5.0),
        ],
    )
    policy = rules.applied(request(target="/a")).on(response())
    assert (policy.edge_ttl, policy.grace, policy.if_error, policy.keep) == (1.0, 3.0, 5.0, DEFAULT.keep)
    assert rules.applied(request(target="/b")).on(response()).edge_ttl == 2.0
    matching = rules.matching(request(target="/a"), response())
    assert [one.name for one in matching] == ["narrow", "wide", "last"]
    deciding = rules.deciding(matching, "grace")
    assert deciding is not None
    assert deciding.name == "wide"
    assert rules.deciding(matching, "retain") is None


def test_a_higher_priority_comes_first_and_equal_ones_stay_in_order() -> None:
    rules = RuleSet(DEFAULT, [rule("a"), rule("b", priority=1), rule("c", priority=1), rule("d", priority=-1)])
    assert [one.name for one in rules.matching(request(), response())] == ["b", "c", "a", "d"]


def test_what_needs_a_response_says_nothing_about_the_request() -> None:
    on_pages = Match(content_types=(Wildcard("text/html"),))
    rules = RuleSet(DEFAULT, [rule("late", on_pages, key_fields=("x",)), rule("early", passes=True)])
    asked = rules.applied(request())
    assert asked.policy.passes
    assert asked.policy.key_fields == ()


def test_rules_look_at_the_request_as_it_came() -> None:
    rules = RuleSet(DEFAULT, [rule("rewrite", path="/index.html"), rule("own", Match(paths=(Glob("/a"),)), grace=1.0)])
    asked = rules.applied(request(target="/a"))
    assert asked.head.target == "/index.html"
    assert asked.on(response()).grace == 1.0


def test_without_rules_the_policy_is_the_base_itself() -> None:
    rules = RuleSet(DEFAULT)
    asked = rules.applied(request())
    assert asked.policy is DEFAULT
    assert asked.on(response()) is DEFAULT


def test_the_same_rules_give_the_same_policy() -> None:
    rules = RuleSet(DEFAULT, [rule("a", grace=1.0, path="/x")])
    one, other = rules.applied(request(target="/1")), rules.applied(request(target="/2"))
    assert one.policy is other.policy
    assert one.on(response()) is other.on(response(status=404))


def test_what_is_set_before_a_response_is_a_setting() -> None:
    assert {field.name for field in dataclasses.fields(Policy)} >= REQUEST_SETTINGS
    assert all(set(one.settings) <= {field.name for field in dataclasses.fields(Policy)} for one in BUILT_IN)


# Built in.


def test_a_missing_asset_is_not_remembered_for_long_whatever_the_rules_say() -> None:
    rules = RuleSet(DEFAULT, [rule("mine", negative_ttl=600.0, max_ttl=600.0)], LISTED)
    missing = rules.applied(request(target="/x/app.3b1f2a9c.js"))
    assert missing.versioned is not None
    assert missing.on(response(status=404)).max_ttl == 2.0
    assert not missing.on(response(status=410)).may_be_stale
    assert missing.on(response()).max_ttl == 600.0
    assert rules.applied(request(target="/x")).on(response(status=404)).max_ttl == 600.0


def test_what_a_manifest_lists_is_the_same_for_every_visitor() -> None:
    rules = RuleSet(DEFAULT, names=LISTED)
    assert rules.applied(request(target="/assets/app.js")).on(response()).unsafe_ignore_request_cookies
    assert not rules.applied(request(target="/x/app.3b1f2a9c.js")).on(response()).unsafe_ignore_request_cookies
    for status in (301, 302, 404):
        other = rules.applied(request(target="/assets/app.js")).on(response(status=status))
        assert not other.unsafe_ignore_request_cookies, "a way to the login may be one user's"


def test_other_names_of_assets_leave_the_rules_as_they_are() -> None:
    rules = RuleSet(DEFAULT, [rule("a"), rule("b", priority=1)]).knowing(LISTED)
    assert rules.names is LISTED
    assert [one.name for one in rules.rules[len(BUILT_IN) :]] == ["b", "a"]


settings = st.dictionaries(st.sampled_from(["grace", "if_error", "keep", "retain"]), st.floats(0, 9), max_size=3)


@given(st.lists(st.tuples(st.booleans(), st.integers(-2, 2), settings), max_size=6))
def test_a_policy_is_what_the_first_rule_of_each_setting_says(
    given_rules: list[tuple[bool, int, dict[str, float]]],
) -> None:
    made = [
        rule(str(index), Match(methods=frozenset({"GET" if applies else "QUERY"})), priority=priority, **one)
        for index, (applies, priority, one) in enumerate(given_rules)
    ]
    policy = RuleSet(DEFAULT, made).applied(request()).on(response())
    for name in ("grace", "if_error", "keep", "retain"):
        deciding = [(-one.priority, int(one.name)) for one in made if one.match.holds(request(), None, None)]
        deciding = [place for place in sorted(deciding) if name in made[place[1]].settings]
        expected = made[deciding[0][1]].settings[name] if deciding else getattr(DEFAULT, name)
        assert getattr(policy, name) == expected
