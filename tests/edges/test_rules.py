"""Rules as they are written: what they amount to, and what is said about mistakes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.config_text import Mistakes, parse_text
from edgecache.edges.rule_examples import EXAMPLE, EXPECT
from edgecache.edges.rule_files import RuleFile, read_rule_file, read_rules
from edgecache.edges.rule_tables import MARKETING, MATCH, QUERY, SET
from edgecache.edges.rulesets import shipped
from edgecache.edges.toml_writing import toml_of
from edgecache.errors import ConfigError
from edgecache.http.message import RequestHead
from edgecache.semantics.policy import DEFAULT, Policy, QueryKey, Strategy
from edgecache.semantics.rules import Rule, RuleSet
from tests.semantics.build import request, response

SOME = 'name = "a"\nset = { grace = 1 }\n'


def read(text: str) -> tuple[RuleFile, Mistakes]:
    found = Mistakes()
    parsed = parse_text("rules.toml", text, found)
    assert parsed is not None
    return read_rules(parsed, found, is_alone=True), found


def rules(text: str) -> tuple[Rule, ...]:
    file, found = read(text)
    assert not found.mistakes
    return file.rules


def policy(text: str, asked: RequestHead | None = None) -> Policy:
    """What a file makes of a request, before there is a response."""
    return RuleSet(DEFAULT, rules(text)).applied(asked or request()).policy


# What they amount to.


def test_a_rule_is_a_name_a_place_conditions_and_settings() -> None:
    (rule,) = rules(
        '\n[[rule]]\nname = "a"\npriority = 3\nmatch.path = "/a/**"\nunless.method = "HEAD"\nset.grace = 1\n'
    )
    assert (rule.name, rule.source, rule.priority, rule.settings) == ("a", "rules.toml:2", 3, {"grace": 1.0})
    assert rule.applies(request(target="/a/b"), None, None)
    assert not rule.applies(request(target="/a/b", method="HEAD"), None, None)
    assert not rule.applies(request(target="/b"), None, None)


MATCHES = [
    ('host = "WWW.Example.org:80"', request(authority="www.example.org"), True),
    ('host = ["*.example.org", "b"]', request(authority="b"), True),
    ('path = ["/a", "/b/*"]', request(target="/b/c?d"), True),
    ('path_regex = "^/[a-z]$"', request(target="/b?c"), True),
    ('extension = ["css", ""]', request(target="/a"), True),
    ('method = ["GET", "QUERY"]', request(method="POST"), False),
    ('query = { a = "*", b = "1" }', request(target="/?b=1&a="), True),
    ('query = { a = "*", b = "1" }', request(target="/?b=2&a="), False),
    ('request_header = { Accept = "*html*" }', request("Accept: text/html"), True),
    ('cookie = "session*"', request("Cookie: sessionid=1"), True),
    ("versioned = true", request(target="/static/app.3b1f2a9c.js"), True),
    ('versioned = ["manifest", "directory"]', request(target="/static/app.3b1f2a9c.js"), False),
    ('versioned = "pattern"', request(target="/static/app.3b1f2a9c.js"), True),
    ('status = [404, "5xx", "201-203"]', request(), True),
    ("status = 404", request(), False),
    ('content_type = "Text/*"', request(), True),
    ('response_header = { X-A = "1" }', request(), False),
]


@pytest.mark.parametrize(("condition", "asked", "applies"), MATCHES)
def test_a_condition_means_what_it_says(condition: str, asked: RequestHead, applies: bool) -> None:
    (rule,) = rules(f"[[rule]]\n{SOME}[rule.match]\n{condition}\n")
    assert rule.applies(asked, response("Content-Type: text/html", status=202), None) is applies


SETTINGS = [
    ('edge_ttl = "1h30m"', {"edge_ttl": 5400.0}),
    ("default_ttl = 5", {"default_ttl": 5.0}),
    ('jitter = "12.5%"', {"jitter": 0.125}),
    ("jitter = 0.1", {"jitter": 0.1}),
    ('sliding = "2d"\nsliding_max = "9d"', {"sliding": 172_800.0, "sliding_max": 777_600.0}),
    ('browser = "no-cache"', {"strategy": Strategy.NO_CACHE}),
    ('verified = "immutable"', {"verified": Strategy.IMMUTABLE}),
    ("pass = true", {"passes": True}),
    ("release = false", {"by_release": False}),
    ('tags = "a:{2}"', {"tags": ("a:{2}",)}),
    ('key_headers = ["X-A"]\nkey_cookies = "B"', {"key_fields": ("x-a",), "key_cookies": ("B",)}),
    ('query = { keep = "a*", drop = ["ab"], sort = true }', {"query": QueryKey(keep=("a*",), drop=("ab",), sort=True)}),
    ('query.drop = ["x", "marketing"]', {"query": QueryKey(drop=("x", *MARKETING))}),
    ('max_object = "1MiB"', {"max_object": 2**20}),
    ("drop_unknown_headers = true", {"drop_unknown_fields": True}),
    ("unsafe_store_private = true", {"unsafe_store_private": True}),
]


@pytest.mark.parametrize(("line", "settings"), SETTINGS)
def test_a_setting_is_one_of_the_policy(line: str, settings: dict[str, object]) -> None:
    (rule,) = rules(f'[[rule]]\nname = "a"\n[rule.set]\n{line}\n')
    assert rule.settings == settings
    RuleSet(DEFAULT, [rule]).applied(request())


def test_rules_of_a_file_keep_their_order_and_priorities() -> None:
    text = "".join(f'[[rule]]\nname = "{name}"\npriority = {priority}\nset.pass = true\n' for name, priority in ORDER)
    applied = RuleSet(DEFAULT, rules(text)).matching(request(), None)
    assert [rule.name for rule in applied] == ["c", "a", "d", "b"]


ORDER = (("a", 0), ("b", -5), ("c", 7), ("d", 0))


def test_the_first_rule_says_everything_about_a_query() -> None:
    text = (
        '[[rule]]\nname = "a"\nmatch.path = "/a"\nset.query.sort = true\n'
        '[[rule]]\nname = "b"\nset.query.drop = "x"\nset.key_headers = "X-A"\n'
    )
    assert policy(text, request(target="/a?x")).query == QueryKey(sort=True)
    assert policy(text, request(target="/a?x")).key_fields == ("x-a",)
    assert policy(text, request(target="/b?x")).query == QueryKey(drop=("x",))


# Mistakes. Each is (what stands in the file after [[rule]] and a name, line, column, message, hint).

MISTAKES = [
    ("match = 5\nset.grace = 1", 3, 9, "match is a table", 'write match = { path = "/img/**" }'),
    ("set = []", 3, 7, "set is a table", 'write set = { edge_ttl = "1h" }'),
    ("", 1, 1, "a rule that sets nothing", 'write set = { edge_ttl = "1h" }'),
    ("set = {}", 1, 1, "a rule that sets nothing", 'write set = { edge_ttl = "1h" }'),
    ("set.grace = 1\nwhen.path = 1", 4, 1, "unknown key when in [[rule]]", "name, priority, match, unless, set"),
    ("grace = 1\nset.grace = 1", 3, 1, "unknown key grace in [[rule]]", "grace belongs into set"),
    ("path = 1\nset.grace = 1", 3, 1, "unknown key path in [[rule]]", "path belongs into match or unless or set"),
    ("set.grace = 1\nset.status = 404", 4, 5, "unknown key status in set", "belongs into match or unless"),
    ("set.grace = 1\nmatch.grace = 404", 4, 7, "unknown key grace in match", "belongs into set"),
    ("set.grase = 1", 3, 5, "unknown key grase in set", "did you mean grace?"),
    ("set.ttl = 1", 3, 5, "unknown key ttl in set", "edge_ttl is the lifetime here"),
    ("set.grace = 1\nmatch.url = 404", 4, 7, "unknown key url in match", "host, path and query"),
    ("set.query_drop = 1", 3, 5, "unknown key query_drop", 'query = { drop = ["marketing"] }'),
    ("set.store_no_store = true", 3, 5, "unknown key store_no_store", "did you mean unsafe_store_no_store?"),
    ("set.frob = true", 3, 5, "unknown key frob in set", "set knows edge_ttl, default_ttl"),
    ('priority = "high"\nset.grace = 1', 3, 12, 'priority: "high" is not a whole number', "priority = 10"),
    ("priority = 1001\nset.grace = 1", 3, 12, "priority: 1001 is more than 1000", "priority = 10"),
    ('set.grace = "soon"', 3, 13, 'grace: "soon" is not a duration', 'grace = "30s"'),
    ('set.edge_ttl = "11w999999d"', 3, 16, 'is more than "3650d"', 'edge_ttl = "1h"'),
    ("set.pass = 1", 3, 12, "pass: 1 is neither true nor false", "without quotes"),
    ("set.jitter = 0.6", 3, 14, 'jitter: "60%" is more than "50%"', 'jitter = "10%"'),
    ('set.jitter = "a little"', 3, 14, 'jitter: "a little" is not a share', 'write "10%" or 0.1'),
    ("set.early = 11", 3, 13, "early: 11.0 is more than 10", "early = 1.0"),
    ('set.browser = "forever"', 3, 15, 'browser: "forever" is none of immutable, ', 'browser = "revalidate"'),
    ('set.verified = "no-store"', 3, 16, 'verified: "no-store" is none of immutable, versioned', "verified ="),
    ('set.tags = ["a b"]', 3, 13, 'tags: "a b" is not a tag', "neither spaces nor commas"),
    ('set.tags = ["a:{0}"]', 3, 13, "braces around something else", "{host} and {1} to {9}"),
    ("set.tags = []", 3, 12, "tags: an empty list", "leave tags out"),
    ('set.path = "index.html"', 3, 12, "does not begin with /", 'write "/index.html"'),
    ('set.path = "/a?b"', 3, 12, 'path: "/a?b" is not one path', "neither query nor wildcards"),
    ('set.key_headers = "X-A: 1"', 3, 19, "not the name of a header", "without a colon"),
    ('set.key_headers = "Cookie"', 3, 5, "no two clients have the same Cookie", "key_cookies"),
    ('set.key_cookies = "a=1"', 3, 19, "not the name of a cookie", "without a value"),
    ("set.query = true", 3, 13, "query is a table", 'write query = { drop = ["marketing"] }'),
    ('set.query.only = "a"', 3, 11, "unknown key only in query", "query knows keep, drop, sort"),
    ('set.query.drop = "a&b"', 3, 18, 'drop: "a&b" is not the name of a parameter', "the name alone"),
    ('set.query.keep = "*a"', 3, 18, 'keep: "*a" is not the name of a parameter', 'keep = ["page", "v"]'),
    ("set.query.sort = 1", 3, 18, "sort: 1 is neither true nor false", "sort = true"),
    ('set.grace = 1\nmatch.host = "a b"', 4, 14, "is not a host or a pattern of hosts", "*.example.org"),
    ('set.grace = 1\nmatch.path = "a/*"', 4, 14, 'path: "a/*" does not begin with /', 'write "/a/*"'),
    ('set.grace = 1\nmatch.path = ["/a", "b"]', 4, 21, 'path: "b" does not begin with /', 'write "/b"'),
    ('set.grace = 1\nmatch.path = "/a?b=1"', 4, 14, "has a query", "query = { NAME"),
    ('set.grace = 1\nmatch.path = "/caf\u00e9"', 4, 14, "does not occur in a URL", "percent-encode"),
    (f'set.grace = 1\nmatch.path = "/{"a" * 1024}"', 4, 14, "longer than 1024", "several rules"),
    ("set.grace = 1\nmatch.path = []", 4, 14, "path: an empty list", "leave path out"),
    ("set.grace = 1\nmatch.path = 5", 4, 14, "path: 5 is not a text", "double quotes"),
    ('set.grace = 1\nmatch.path_regex = "(?=a)"', 4, 20, "path_regex: invalid perl operator", "look-around"),
    ('set.grace = 1\nmatch.extension = ".js"', 4, 19, 'extension: ".js" is not an extension', 'write "js"'),
    ('set.grace = 1\nmatch.extension = "*.JS"', 4, 19, "is not an extension", 'write "js"'),
    ('set.grace = 1\nmatch.extension = "a/b"', 4, 19, "is not an extension", "letters and digits"),
    ('set.grace = 1\nmatch.method = "get"', 4, 16, 'method: "get" is not a method', 'write "GET"'),
    ('set.grace = 1\nmatch.query = "a=1"', 4, 15, "query is a table of names", 'query = { preview = "*" }'),
    ('set.grace = 1\nmatch.query = { "a&b" = "1" }', 4, 17, "is not the name of a parameter", "the name alone"),
    ("set.grace = 1\nmatch.query = { a = 1 }", 4, 21, "query: 1 is not a text", "double quotes"),
    ('set.grace = 1\nmatch.request_header = { "A:" = "1" }', 4, 26, "not the name of a header", "colon"),
    ('set.grace = 1\nmatch.request_header = { A = "1", a = "2" }', 4, 35, "a is there twice", "case"),
    ('set.grace = 1\nmatch.request_header.A = "\\u0007"', 4, 26, "does not occur in a header", "any value"),
    ('set.grace = 1\nmatch.cookie = "a=1"', 4, 16, "is not the name of a cookie", "without a value"),
    ("set.grace = 1\nmatch.versioned = false", 4, 19, "versioned: false says nothing", "unless"),
    ('set.grace = 1\nmatch.versioned = "maybe"', 4, 19, "is none of true, manifest, pattern, directory", "expected"),
    ("set.grace = 1\nmatch.status = 600", 4, 16, "status: 600 is not a status", 'write 404, "4xx"'),
    ("set.grace = 1\nmatch.status = true", 4, 16, "status: true is not a status", 'write 404, "4xx"'),
    ('set.grace = 1\nmatch.status = "299-200"', 4, 16, "ends before it begins", 'write "200-299"'),
    ('set.grace = 1\nmatch.content_type = "text/html; a=b"', 4, 22, "has parameters", 'write "text/html"'),
    ('set.grace = 1\nmatch.content_type = "html"', 4, 22, "is not a media type", "image/*"),
    # what contradicts itself
    ("match.status = 404\nset.pass = true", 4, 5, "pass takes effect before there is a response", "request alone"),
    ('unless.content_type = "a/b"\nset.query.sort = true', 4, 5, "query takes effect before", "request alone"),
    ("set.pass = true\nset.edge_ttl = 1", 4, 5, "edge_ttl means nothing beside pass", "leave out"),
    ('set.sliding = "2d"', 3, 5, 'sliding is more than sliding_max, which is "1d"', 'sliding_max = "20d"'),
    ("set.sliding = 9\nset.sliding_max = 8", 3, 5, 'is more than sliding_max, which is "8s"', "sliding_max"),
    ("set.edge_ttl = 9\nset.max_ttl = 8", 3, 5, "edge_ttl is more than max_ttl", 'write edge_ttl = "8s"'),
    ("set.negative_ttl = 9\nset.max_ttl = 8", 3, 5, "negative_ttl is more than max_ttl", 'negative_ttl = "8s"'),
    ("set.edge_ttl = 9\nset.default_ttl = 8", 4, 5, "default_ttl means nothing beside edge_ttl", "leave one"),
    ('set.browser = "versioned"\nset.default_ttl = 8', 4, 5, "default_ttl means nothing beside browser", "edge_ttl"),
    ('set.browser = "private"\nset.edge_ttl = 8', 4, 5, 'edge_ttl contradicts browser = "private"', "leave one"),
    ('set.browser = "no-store"\nset.browser_ttl = 8', 4, 5, 'browser_ttl contradicts browser = "no-store"', "one"),
    ('match.status = "4xx"\nset.edge_ttl = 8', 4, 5, "edge_ttl is for what is no error", "write negative_ttl"),
    ("match.status = 200\nset.negative_ttl = 8", 4, 5, "negative_ttl is for errors", "write edge_ttl"),
    ('set.path = "/a"\nset.query.sort = true', 4, 5, "query means nothing beside path", "leave query out"),
    ('match.path = ["/a/*", "/sw.js"]\nset.browser = "immutable"', 4, 5, 'what is at "/sw.js" changes', "revalidate"),
    ('match.extension = ["js", "html"]\nset.browser = "versioned"', 4, 5, 'extension "html" changes', "revalidate"),
]


@pytest.mark.parametrize(("text", "line", "column", "message", "hint"), MISTAKES)
def test_a_mistake_has_a_place_a_reason_and_a_remedy(
    text: str, line: int, column: int, message: str, hint: str
) -> None:
    _, found = read(f'[[rule]]\nname = "a"\n{text}\n')
    (mistake,) = found.mistakes
    assert mistake.where == f"rules.toml:{line}:{column}"
    assert message in mistake.message
    assert hint in mistake.hint
    shown, carets = mistake.line.split("\n")
    assert shown == f'[[rule]]\nname = "a"\n{text}'.split("\n")[line - 1][:160]
    assert carets.index("^") == column - 1


AROUND = [
    ("rule = 5", 1, 1, "rule is a list of tables", "write [[rule]]"),
    (f"[rule]\n{SOME}", 1, 1, "rule is a list of tables", "write [[rule]]"),
    (f"[[rules]]\n{SOME}", 1, 1, "unknown table rules in a rule file", "did you mean [[rule]]?"),
    ("[cache]\ngrace = 1", 1, 1, "unknown table cache in a rule file", "it has [[rule]] and [[example]]"),
    ("[[rule]]\nset.grace = 1", 1, 1, "a rule without a name", 'write name = "fonts"'),
    ('[[rule]]\nname = ""\nset.grace = 1', 2, 8, 'name: "" is empty', 'name = "fonts"'),
    (f"[[rule]]\n{SOME}[[rule]]\n{SOME}", 5, 8, 'another rule is called "a"', "give each its own name"),
    ("[[example]]\nexpect.key = 1", 1, 1, "an example without a name", "write name = "),
]


@pytest.mark.parametrize(("text", "line", "column", "message", "hint"), AROUND)
def test_a_mistake_about_the_file(text: str, line: int, column: int, message: str, hint: str) -> None:
    mistake = read(text)[1].mistakes[0]
    assert mistake.where == f"rules.toml:{line}:{column}"
    assert message in mistake.message
    assert hint in mistake.hint


def test_mistakes_are_told_in_the_order_of_the_file() -> None:
    text = f'[[rule]]\nset.x = 1\nmatch.y = 2\npriority = "z"\n[[example]]\n[[rule]]\n{SOME}foo = 1\n[[exmple]]\n'
    places = [tuple(map(int, one.where.split(":")[1:])) for one in read(text)[1].mistakes]
    assert places == sorted(places)
    assert {line for line, _ in places} == {1, 2, 3, 4, 5, 9, 10}


def test_without_re2_a_rule_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    (mistake,) = read('[[rule]]\nname = "a"\nmatch.path_regex = "a"\nset.grace = 1')[1].mistakes
    assert (mistake.where, mistake.message) == ("rules.toml:3:20", "path_regex: this edge has no RE2")
    assert "install edgecache[regex]" in mistake.hint


# Warnings.

DECIDED = [
    ('match.path = "/a"\nset.grace = 1', 'match.path = "/a"\nset.grace = 2', True),
    ("set = { grace = 1, keep = 2 }", 'match.path = "/a"\nset.grace = 2', True),
    ('match.path = "/a"\nset.grace = 1', 'match.path = "/b"\nset.grace = 2', False),
    ('match.path = "/a"\nset.grace = 1', "set.grace = 2", False),
    ("set.grace = 1", "set = { grace = 2, keep = 3 }", False),
    ('unless.path = "/a"\nset.grace = 1', "set.grace = 2", False),
    ("set.grace = 1", "priority = 1\nset.grace = 2", False),
]


@pytest.mark.parametrize(("first", "second", "is_told"), DECIDED)
def test_a_rule_that_can_decide_nothing_is_told(first: str, second: str, is_told: bool) -> None:
    _, found = read(f'[[rule]]\nname = "a"\n{first}\n[[rule]]\nname = "b"\n{second}\n')
    assert not found.mistakes
    told = [one.message for one in found.warnings if '"b" can decide nothing' in one.message]
    assert bool(told) is is_told


def test_a_file_without_examples_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f"[[rule]]\n{SOME}", "utf-8")
    found = Mistakes()
    assert read_rule_file("a.toml", found, directory=str(tmp_path)) is not None
    assert [one.message for one in found.warnings] == ["no example shows what these rules do"]


def test_a_file_that_is_not_there_is_told_what_there_is() -> None:
    found = Mistakes()
    assert read_rule_file("./absent.toml", found) is None
    assert "No such file" in found.mistakes[0].message
    assert "static-assets" in found.mistakes[0].hint


# The tables.


def test_every_example_of_a_key_is_a_value() -> None:
    lines = [f"unless.{name} = {key.setting.example}" for name, key in MATCH.items()]
    rules("\n".join(["[[rule]]", SOME, *lines]))
    for name, key in SET.items():
        text = f'[[rule]]\nname = "a"\nset.{name} = {key.setting.example}\n'
        assert list(rules(text)[0].settings) == [key.field]
    for name, setting in QUERY.items():
        rules(f'[[rule]]\nname = "a"\nset.query.{name} = {setting.example}\n')


def test_what_is_unsafe_in_the_policy_is_called_so_here_and_nothing_else_is() -> None:
    for name, key in SET.items():
        assert key.field.startswith("unsafe_") == name.startswith("unsafe_")
    assert {key.field for key in SET.values()} >= {name for name in Policy.__slots__ if name.startswith("unsafe_")}


# Anything at all.

values = st.recursive(
    st.booleans()
    | st.integers(-5, 600)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["1m", "/a", "*", "10%", "GET", "4xx", "text/html", "private", "marketing", "css"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab*-", max_size=3), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(
    [*MATCH, *SET, *EXAMPLE, *EXPECT, *QUERY, "name", "set", "match", "unless", "expect", "rule", "x"]
)
tables = st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=3), max_size=5)


@given(st.dictionaries(st.sampled_from(["rule", "example", "x"]), st.lists(tables, max_size=3) | values, max_size=3))
def test_anything_is_rules_or_mistakes(document: dict[str, object]) -> None:
    text = "\n".join(f"{name} = {toml_of(value)}" for name, value in document.items())
    file, found = read(text)
    assert all(one.message and one.where.startswith("rules.toml:") for one in found.mistakes + found.warnings)
    RuleSet(DEFAULT, file.rules).applied(request())
    for example in file.examples:
        example.attempt(RuleSet(DEFAULT, file.rules))


@given(st.text(max_size=60))
def test_any_text_is_rules_or_mistakes(text: str) -> None:
    found = Mistakes()
    parsed = parse_text("rules.toml", text, found)
    assert (parsed is None) == bool(found.mistakes)
    if parsed is not None:
        read_rules(parsed, found, is_alone=True)


def messages(found: list[ConfigError]) -> list[str]:
    return [one.message for one in found]


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_set_does_what_its_examples_say(name: str) -> None:
    found = Mistakes()
    file = read_rule_file(name, found)
    assert messages(found.mistakes + found.warnings) == []
    assert file is not None
    assert file.examples
    assert {rule.source.split(":")[0] for rule in file.rules} == {f"{name}.toml"}
    assert not any(setting.startswith("unsafe_") for rule in file.rules for setting in rule.settings)
