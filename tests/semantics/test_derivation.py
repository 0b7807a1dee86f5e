"""How a request's key comes about, as it is told."""

from __future__ import annotations

import pytest

from edgecache.http.message import RequestHead
from edgecache.semantics import key
from edgecache.semantics.derivation import derivation, ruled, shown
from edgecache.semantics.policy import DEFAULT, QueryKey, Strategy
from edgecache.semantics.rules import Match, Rule, RuleSet
from edgecache.semantics.stored import CacheKey
from tests.semantics.build import request, response


def steps(asked: RequestHead, release: str = "", **settings: object) -> list[tuple[str, str, str]]:
    """The steps after the target, by one rule with these settings."""
    applied = RuleSet(DEFAULT, [Rule(name="it", settings=settings, source="a.toml:1")]).applied(asked)
    is_keyed = asked.method in key.KEYED_METHODS and not applied.policy.passes
    made = key.primary(applied.head, "", applied.policy, release) if is_keyed else CacheKey("")
    first, *rest = derivation(applied, made, release, lambda setting: f"why {setting}")
    assert (first.what, first.value) == ("target", asked.target_uri)
    if is_keyed:
        assert (rest[-1].what, rest[-1].value) == ("key", made)
        rest = rest[:-1]
    assert all(step.source in ("", f"why {setting}") for step in rest for setting in settings if len(settings) == 1)
    return [(step.what, step.value, step.detail) for step in rest]


@pytest.mark.parametrize(
    ("asked", "settings", "told"),
    [
        (request(target="/a?b=1"), {}, []),
        (
            request(target="/a?utm_x=1&b=1&utm_y=2&utm_x=3"),
            {"query": QueryKey(drop=("utm_*",))},
            [("query", "/a?b=1", "without utm_x, utm_y")],
        ),
        (
            request(target="/a?b=1&a=2"),
            {"query": QueryKey(keep=("a", "b"), sort=True)},
            [("query", "/a?a=2&b=1", "sorted")],
        ),
        (
            request(target="/a?b=1"),
            {"path": "/index.html"},
            [("path", "/index.html", "in the place of path and query")],
        ),
        (
            request("Cookie: id=1; theme=dark"),
            {"key_cookies": ("theme",), "unsafe_strip_cookies": True},
            [("cookies", "theme", "without id"), ("cookie", "theme=dark", "")],
        ),
        (request("Cookie: id=1"), {"key_cookies": ("theme",)}, [("cookie", "theme", "absent")]),
        (request("X-Debug: 1"), {"drop_unknown_fields": True}, [("fields", "", "without X-Debug")]),
        (request("X-Device: phone"), {"key_fields": ("x-device",)}, [("field", "x-device: phone", "")]),
        (
            request(),
            {"key_fields": ("x-device",)},
            [("field", "x-device:", "absent, which is not the same as empty")],
        ),
        (request(), {"passes": True}, [("pass", "", "neither looked up nor stored")]),
        (request(method="POST"), {}, [("method", "POST", "its responses are not reused: no key")]),
        (request(target="/app.3f2a9c1e.js"), {}, [("asset", "3f2a9c1e", "a versioned name, by pattern")]),
    ],
)
def test_what_is_told(asked: RequestHead, settings: dict[str, object], told: list[tuple[str, str, str]]) -> None:
    assert steps(asked, **settings) == told


@pytest.mark.parametrize(("release", "told"), [("r7", ("release", "r7", "")), ("", ("release", "", "none is active"))])
def test_a_release_is_part_of_the_key(release: str, told: tuple[str, str, str]) -> None:
    assert steps(request(), release, by_release=True) == [told]


def test_head_shares_the_key_of_get() -> None:
    applied = RuleSet(DEFAULT).applied(request(method="HEAD"))
    *_, last = derivation(applied, key.primary(applied.head), "", str)
    assert (last.value, last.detail) == ("http://example.com/", "shared with GET")


def test_of_a_setting_the_first_rule_decides() -> None:
    first = Rule(name="first", settings={"edge_ttl": 60.0, "tags": ("a", "b")}, source="a.toml:1")
    second = Rule(name="second", settings={"edge_ttl": 1.0, "etag": True}, match=Match(methods=frozenset({"GET"})))
    rules = RuleSet(DEFAULT, [first, second])
    one, other = ruled(rules.matching(request(), response()))
    assert (one.name, one.source, one.decides, one.overruled) == (
        *("first", "a.toml:1"),
        {"edge_ttl": "60 s", "tags": "a, b"},
        (),
    )
    assert (other.decides, other.overruled) == ({"etag": "true"}, ("edge_ttl",))


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("edge_ttl", 31_536_000.0, "31536000 s"),
        ("jitter", 0.1, "0.1"),
        ("max_variants", 64, "64"),
        ("etag", False, "false"),
        ("tags", (), "none"),
        ("strategy", Strategy.IMMUTABLE, "immutable"),
        ("query", QueryKey(keep=("v",), drop=("x",), sort=True), "v but x, sorted"),
        ("query", QueryKey(keep=()), "none"),
        ("query", QueryKey(drop=("utm_*", "gclid")), "all but utm_*, gclid"),
    ],
)
def test_how_a_value_is_shown(setting: str, value: object, text: str) -> None:
    assert shown(setting, value) == text
