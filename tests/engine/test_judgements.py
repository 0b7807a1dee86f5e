"""What is remembered of responses that were judged: enough to tell why, bounded, and no secret."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgecache.engine.judgements import Judgements, Noted
from edgecache.engine.judging import Judgement
from edgecache.engine.plan import Plan
from edgecache.http.message import RequestHead
from edgecache.semantics import key
from edgecache.semantics.freshness import govern
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.presenting import shown_head
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import Match, Rule, RuleSet
from edgecache.semantics.stored import CacheKey
from edgecache.semantics.storing import objections
from tests.semantics.build import BIRTH, NOW, freshness, request, response

RULES = RuleSet(
    DEFAULT,
    [
        Rule(name="of requests", settings={"grace": 1.0}),
        Rule(name="of pages", settings={"grace": 2.0}, match=Match(statuses=frozenset({200}))),
        Rule(name="of others", settings={"grace": 3.0}, match=Match(statuses=frozenset({500}))),
    ],
)


def note(judgements: Judgements, *lines: str, of: RequestHead | None = None) -> Noted:
    """Judge a response as the engine does, and return what is remembered."""
    asked, head = RULES.applied(of or request()), response(*lines)
    plan = Plan(key.primary(asked.head), asked, asked.head)
    against = objections(asked.head, head, govern(head.fields, DEFAULT), freshness(*lines), DEFAULT)
    rules, refusal = asked.matching(head), next(iter(against), None)
    judged = Judgement(DEFAULT, head, shown_head(head, DEFAULT, against), refusal, against, rules=rules)
    judgements.note(plan, judged, BIRTH, NOW)
    noted = judgements.latest(plan.key)
    assert noted is not None
    return noted


def test_everything_that_spoke_against_is_remembered() -> None:
    asked = request("Cookie: id=canary; theme=dark", "X-Debug: canary", "Authorization: Basic canary", target="/a.js")
    noted = note(
        Judgements(), "Content-Type: text/html", "Set-Cookie: session=canary; Path=/", "Vary: Accept", of=asked
    )
    assert noted.refusal is Reason.AUTHORIZATION
    assert noted.objections == (
        *(Reason.AUTHORIZATION, Reason.SET_COOKIE, Reason.TYPE_MISMATCH),
        *(Reason.UNKEYED_FIELD, Reason.REQUEST_COOKIE, Reason.NO_FRESHNESS),
    )
    assert noted.fields == (("Content-Type", "text/html"), ("Set-Cookie", "session=…"), ("Vary", "Accept"))
    assert (noted.cookies, noted.unkeyed, noted.authorized) == (("id", "theme"), ("x-debug",), True)
    assert "canary" not in repr(noted).replace(repr(noted.rules), "")
    assert [rule.name for rule in noted.rules] == ["of requests", "of pages"]


def test_of_what_is_stored_less_is_remembered() -> None:
    noted = note(Judgements(), "Cache-Control: max-age=60", "Cache-Tag: a b", "X-Other: 1")
    assert (noted.refusal, noted.objections, noted.rules) == (None, (), ())
    assert (noted.fields, noted.cookies) == ((), ())
    assert noted.tags == {"a", "b"}


def test_a_refusal_after_the_head_replaces_what_was_thought() -> None:
    judgements = Judgements()
    noted = note(judgements, "Cache-Control: max-age=60")
    judgements.refuse(CacheKey("http://example.com/"), Reason.TRUNCATED)
    judgements.refuse(CacheKey("http://example.com/unknown"), Reason.TRUNCATED)
    assert judgements.latest(CacheKey("http://example.com/")) == replace(noted, refusal=Reason.TRUNCATED)
    assert len(judgements) == 1


def test_the_latest_keys_are_remembered() -> None:
    judgements = Judgements(most=2)
    for target in ("/1", "/2", "/1", "/3"):
        note(judgements, of=request(target=target))
    known = [bool(judgements.latest(CacheKey(f"http://example.com/{number}"))) for number in (1, 2, 3)]
    assert (known, len(judgements)) == ([True, False, True], 2)


@pytest.mark.parametrize(
    "lines",
    [
        [f"ETag: {'x' * 5000}"],
        [f"X{number}-Control: y" for number in range(100)],
        [f"Cache-Tag: {' '.join(f'tag{number}' for number in range(200))}"],
    ],
)
def test_what_is_long_is_cut_or_left_out(lines: list[str]) -> None:
    asked = request(*(f"X-{number}: 1" for number in range(100)), f"Cookie: {'; '.join(f'c{n}' for n in range(100))}")
    noted = note(Judgements(), *lines, of=asked)
    assert all(len(value) <= 200 for _, value in noted.fields)
    assert (len(noted.fields) <= 24, len(noted.unkeyed), len(noted.cookies), noted.tags) == (True, 16, 16, frozenset())
