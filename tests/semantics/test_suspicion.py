"""What of the things that are stored is suspected, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given

from edgecache.http.message import RequestHead, ResponseHead
from edgecache.semantics.freshness import assess, govern
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.rules import Match, Rule, RuleSet
from edgecache.semantics.storing import refusal
from edgecache.semantics.suspicion import suspicions
from tests.semantics import messages
from tests.semantics.build import NOW, request, store, stored

FRESH = "Cache-Control: max-age=60"
YEAR = "Cache-Control: max-age=31536000, immutable"
ASSET = "/app.3f2a9c1e.js"
SCRIPT = "Content-Type: text/javascript"
PAGE = "Content-Type: text/html"


def why(*lines: str, target: str = "/", status: int = 200, rules: tuple[Rule, ...] = ()) -> list[tuple[str, str]]:
    made = stored(*lines, status=status, of=request(target=target))
    return [(one.reason, one.allowed_by) for one in suspicions(made, RuleSet(DEFAULT, rules))]


@pytest.mark.parametrize(
    ("target", "status", "lines", "reasons"),
    [
        ("/", 200, [FRESH], []),
        (ASSET, 200, [YEAR, SCRIPT], []),
        (ASSET, 200, [YEAR, PAGE], ["type-mismatch"]),
        ("/account;x.css", 200, [FRESH, PAGE], ["type-mismatch"]),
        ("/account%2fx.css", 200, [FRESH, PAGE], ["type-mismatch"]),
        ("/a", 404, [YEAR], ["immutable-failure"]),
        ("/a", 301, [YEAR], ["immutable-failure"]),
        ("/a", 404, [FRESH], []),
        (ASSET, 404, [YEAR, PAGE], ["immutable-failure", "missing-asset"]),
        (ASSET, 410, [FRESH], ["missing-asset"]),
        (ASSET, 404, ["Cache-Control: max-age=2"], []),
        ("/", 200, [FRESH, "Set-Cookie: id=1"], ["set-cookie"]),
        ("/", 200, ["Cache-Control: private, max-age=60"], ["private"]),
        ("/", 200, ["Cache-Control: no-store, max-age=60"], ["no-store"]),
        ("/", 200, [FRESH, "Vary: *"], ["vary-star"]),
        ("/", 429, [FRESH], ["status"]),
        ("/a.js", 200, [FRESH, PAGE, "Set-Cookie: id=1"], ["set-cookie", "type-mismatch"]),
        ("/", 200, [], []),  # of no use, but no harm
    ],
)
def test_what_is_suspected(target: str, status: int, lines: list[str], reasons: list[str]) -> None:
    assert why(*lines, target=target, status=status) == [(reason, "") for reason in reasons]


def test_what_rules_allow_is_no_suspicion_but_for_a_contradicting_type_which_is_told() -> None:
    allowing = Rule(
        name="legacy",
        source="shop.toml:3",
        match=Match(methods=frozenset({"GET"})),
        settings={"unsafe_store_set_cookie": True, "unsafe_ignore_content_type": True},
    )
    assert why(FRESH, "Set-Cookie: id=1", PAGE, target="/a.js", rules=(allowing,)) == [
        ("type-mismatch", "legacy (shop.toml:3)")
    ]


def test_a_switch_in_the_configuration_is_told_as_such() -> None:
    made = stored(FRESH, PAGE, of=request(target="/a.js"))
    (one,) = suspicions(made, RuleSet(Policy(unsafe_ignore_content_type=True)))
    assert one.allowed_by == "the configuration"


@given(asked=messages.requests(methods=["GET"], is_conditional=False), head=messages.response_heads())
def test_what_may_be_stored_is_not_suspected(asked: RequestHead, head: ResponseHead) -> None:
    governing = govern(head.fields, DEFAULT)
    numbers = assess(head, governing, DEFAULT, request_time=NOW, response_time=NOW)
    if refusal(asked, head, governing, numbers, DEFAULT) is None:
        found = {one.reason for one in suspicions(store(head, of=asked), RuleSet(DEFAULT))}
        assert found <= {"immutable-failure"}
