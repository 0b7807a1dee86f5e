from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.replay import Entry, Replay, read, replay
from edgecache.http.glob import Glob
from edgecache.semantics.policy import DEFAULT, QueryKey
from edgecache.semantics.rules import Match, Rule, RuleSet

NOTHING = RuleSet(DEFAULT)


def rules(**settings: Any) -> RuleSet:
    return RuleSet(DEFAULT, [Rule(name="all", settings=settings)])


def line(target: str = "/a", at: float = 0.0, **said: Any) -> str:
    """A JSON line; ``at`` is seconds after midnight."""
    minutes, seconds = divmod(at, 60)
    given: dict[str, Any] = {
        "time": f"2026-11-25T00:{int(minutes):02}:{seconds:06.3f}Z",
        "method": "GET",
        "authority": "h.example",
        "target": target,
        "status": 200,
        "result": "miss",
        "reason": "uri-miss",
        "lifetime": 60.0,
        "content_type": "text/html",
    }
    return json.dumps(given | said)


def replayed(*lines: str, old: RuleSet = NOTHING, new: RuleSet = NOTHING) -> Replay:
    return replay(read(lines), old, new)


def test_the_same_rules_make_no_difference() -> None:
    found = replayed(line(at=0), line(at=30), line(at=90), line("/b", reason="no-store", lifetime=None))
    assert (found.requests, found.keyed, found.hits, found.distinct) == (4, 4, (1, 1), (2, 2))
    assert not any((found.keys, found.lifetimes, found.storable, found.risky, found.unstorable))


def test_keys_that_become_one() -> None:
    new = rules(query=QueryKey(drop=("utm_*",)))
    found = replayed(line("/a?utm_x=1"), line("/a?utm_x=2", at=1), line("/a", at=2), new=new)
    assert found.keys == {
        ("http://h.example/a?utm_x=1", "http://h.example/a"): 1,
        ("http://h.example/a?utm_x=2", "http://h.example/a"): 1,
    }
    assert (found.hits, found.distinct) == ((0, 2), (3, 1))


def test_lifetimes_that_change() -> None:
    found = replayed(line(at=0), line(at=61), new=rules(edge_ttl=3600.0))
    assert found.lifetimes == {("http://h.example/a", 60.0, 3600.0): 2}
    assert found.hits == (0, 1)


def test_a_lifetime_that_was_a_rules_is_not_taken_for_the_origins() -> None:
    found = replayed(line(lifetime=3600.0), old=rules(edge_ttl=3600.0))
    assert found.lifetimes == {("http://h.example/a", 3600.0, None): 1}


def test_what_had_no_lifetime_becomes_storable() -> None:
    found = replayed(line(reason="no-freshness", lifetime=None), new=rules(default_ttl=60.0))
    assert found.storable == {"http://h.example/a": 1}
    assert not found.risky


@pytest.mark.parametrize(
    ("reason", "setting"),
    [
        ("private", "unsafe_store_private"),
        ("no-store", "unsafe_store_no_store"),
        ("set-cookie", "unsafe_store_set_cookie"),
        ("set-cookie", "unsafe_strip_cookies"),
        ("request-cookie", "unsafe_strip_cookies"),
        ("request-cookie", "unsafe_ignore_request_cookies"),
        ("authorization", "unsafe_store_authorized"),
        ("type-mismatch", "unsafe_ignore_content_type"),
        ("unkeyed-field", "unsafe_ignore_request_fields"),
    ],
)
def test_what_takes_an_unsafe_setting_is_a_risk(reason: str, setting: str) -> None:
    refused = line(reason=reason, lifetime=None)
    assert not replayed(refused, new=rules(edge_ttl=60.0)).storable
    assert replayed(refused, new=rules(edge_ttl=60.0, **{setting: True})).risky == {("http://h.example/a", setting): 1}


def test_what_is_passed_is_not_stored() -> None:
    found = replayed(line(), new=rules(passes=True))
    assert found.keys == {("http://h.example/a", "(passed)"): 1}
    assert found.unstorable == {"http://h.example/a": 1}
    assert found.distinct == (1, 0)


def test_errors_have_a_lifetime_of_their_own() -> None:
    missing = line(status=404, lifetime=60.0)
    assert not replayed(missing, new=rules(edge_ttl=3600.0)).lifetimes
    assert replayed(missing, new=rules(negative_ttl=5.0)).lifetimes == {("http://h.example/a", 60.0, 5.0): 1}


def test_rules_see_host_and_type() -> None:
    of_host = RuleSet(DEFAULT, [Rule(name="h", match=Match(hosts=(Glob("*.example"),)), settings={"edge_ttl": 5.0})])
    assert replayed(line(), line(authority="other"), new=of_host).lifetimes == {("http://h.example/a", 60.0, 5.0): 1}


COMMON = '192.0.2.7 - - [25/Nov/2026:00:00:00 +0000] "GET /a?b HTTP/1.1" 200 1024'
COMBINED = f'{COMMON} "https://h.example/" "Agent/1"'


@pytest.mark.parametrize("text", [COMMON, COMBINED, f"{COMBINED} miss uri-miss 0.012"])
def test_every_format_is_read(text: str) -> None:
    (entry,) = read([text, "", "  "], host="h.example", scheme="https")
    assert entry is not None
    assert (entry.request.target_uri, entry.response.status) == ("https://h.example/a?b", 200)
    assert entry.time == 1_795_564_800.0
    assert entry.request.fields.get("user-agent") == ("Agent/1" if "Agent" in text else None)


def test_an_extended_line_says_what_was_stored() -> None:
    found = replayed(f"{COMBINED} miss uri-miss 0.012", new=rules(edge_ttl=60.0))
    assert found.lifetimes == {("http://localhost/a?b", None, 60.0): 1}


@pytest.mark.parametrize(
    "text", ["{", "{}", "[1]", "nonsense", '{"time": 1}', '{"time": "x"}', COMMON.replace("Nov", "Foo")]
)
def test_what_is_not_understood_is_counted(text: str) -> None:
    assert (replayed(text).requests, replayed(text).unread) == (0, 1)


@given(text=st.text(max_size=200))
def test_any_text_is_a_log(text: str) -> None:
    assert all(entry is None or isinstance(entry, Entry) for entry in read(text.splitlines()))
