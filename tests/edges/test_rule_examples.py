"""Examples: each expectation is met by what happens, and told when it is not."""

from __future__ import annotations

import pytest

from edgecache.edges.config_text import Mistakes, parse_text
from edgecache.edges.rule_examples import EXPECT
from edgecache.edges.rule_files import read_rules, try_examples
from edgecache.errors import ConfigError
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.rules import RuleSet

RULES = """
[[rule]]
name = "assets"
match = { versioned = true, status = 200 }
set = { edge_ttl = "1d", browser = "versioned", retain = "9d" }
[[rule]]
name = "shop"
match = { path = "/shop/**" }
set = { query = { drop = ["ref"] }, key_cookies = ["theme"], key_headers = "X-Country", tags = ["shop:{2}", "shop"] }
[[rule]]
name = "account"
match = { path = "/account/**" }
set = { pass = true }
[[rule]]
name = "app"
match = { path = "/app/**" }
set = { path = "/index.html", release = true }
[[rule]]
name = "all"
unless = { path = "/plain" }
[rule.set]
default_ttl = "10m"
negative_ttl = "10s"
jitter = "50%"
grace = "1m"
if_error = "2m"
if_unreachable = "3m"
"""


def tried(example: str, rules: str = RULES) -> list[ConfigError]:
    """What is wrong with an example: tables and keys below ``[[example]]`` and a name."""
    found = Mistakes()
    text = parse_text("rules.toml", f'{rules}[[example]]\nname = "x"\n{example}\n', found)
    assert text is not None
    file = read_rules(text, found, is_alone=True)
    if not found.mistakes:
        try_examples(file, RuleSet(DEFAULT, file.rules), found)
    return found.mistakes


GET = 'request = "GET https://h.example{}"\nresponse_headers = {{ {} }}\n'
HTML = 'Content-Type = "text/html"'
JS = 'Content-Type = "text/javascript"'

MET = [
    ("/", HTML, 'decision = "stored"\nedge_ttl = ["5m", "10m"]\nrule = "all"\nrules = ["all"]\nbrowser = ""'),
    ("/", HTML, 'edge_ttl = "10m"\ngrace = "1m"\nif_error = "2m"\nif_unreachable = "3m"\nretain = "0s"\ntags = []'),
    ("/", f'{HTML}, Cache-Control = "max-age=60"', 'edge_ttl = "1m"\nbrowser = "max-age=60"'),
    ("/", f'{HTML}, Cache-Control = "max-age=60", Age = "20"', 'edge_ttl = "40s"'),
    (
        "/",
        f'{HTML}, Date = "Sun, 06 Nov 1994 08:49:37 GMT", Expires = "Sun, 06 Nov 1994 08:50:37 GMT"',
        'edge_ttl = "1m"',
    ),
    ("/", f'{HTML}, Cache-Control = "private"', 'decision = "not-stored"\nreason = "private"\nbrowser = "private"'),
    ("/", f'{HTML}, Cache-Control = ["max-age=60", "no-store"]', 'reason = "no-store"'),
    ("/", f'{HTML}, Set-Cookie = "a=b"', 'reason = "set-cookie"'),
    ("/plain", HTML, 'decision = "not-stored"\nreason = "no-freshness"\nrules = []'),
    ("/a/app.3b1f2a9c.js", JS, 'edge_ttl = "1d"\nretain = "9d"\nbrowser = "public, max-age=31536000"\nrule = "assets"'),
    ("/a/app.3b1f2a9c.js", HTML, 'decision = "not-stored"\nreason = "type-mismatch"\nbrowser = "no-store"'),
    ("/shop/shoes?ref=1&x=2", HTML, 'url = "https://h.example/shop/shoes?x=2"\ntags = ["shop", "shop:shoes"]'),
    ("/account/", HTML, 'decision = "pass"\nreason = "rule-pass"\nrule = "account"\nrules = ["account", "all"]'),
    ("/account/?ref=1", HTML, 'url = "https://h.example/account/?ref=1"'),
    ("/app/x?y", HTML, 'url = "https://h.example/index.html"\nkey = "https://h.example/index.html"'),
    ("/", f'{HTML}, Content-Length = "999999999"', 'reason = "too-large"'),
]


@pytest.mark.parametrize(("target", "headers", "expected"), MET)
def test_what_happens_is_what_is_expected(target: str, headers: str, expected: str) -> None:
    assert [str(one) for one in tried(f"{GET.format(target, headers)}[example.expect]\n{expected}")] == []


ASKED = [
    ('request_headers = { Cookie = "theme=dark; x=1", X-Country = "de" }', "GET /shop/",
     'key = "+field.x-country=de&cookie.theme=dark https://h.example/shop/"'),
    ('release = "v7"', "GET /app/", 'key = "+release=v7 https://h.example/index.html"'),
    ('release = "v7"', "GET /", 'key = "https://h.example/"'),
    ('request_headers = { Cookie = "x=1" }', "GET /", 'decision = "not-stored"\nreason = "request-cookie"'),
    ('request_headers = { X-Debug = "1" }', "GET /", 'reason = "unkeyed-field"'),
    ('request_headers = { Authorization = "Basic x" }', "GET /", 'reason = "authorization"'),
    ('request_headers = { If-Match = "x" }', "GET /", 'decision = "pass"\nreason = "precondition"'),
    ('request_headers = { Cache-Control = "only-if-cached" }', "GET /",
     'decision = "not-stored"\nreason = "only-if-cached"'),
    ("", "POST /", 'decision = "pass"\nreason = "method"\nrules = ["all"]'),
    ('response_headers.Content-Location = "/"\nresponse_headers.Cache-Control = "max-age=9"', "POST /",
     'decision = "stored"\nedge_ttl = "9s"'),
    ("", "HEAD /", 'decision = "not-stored"\nreason = "method"'),
    ('request_body = "x"', "GET /", 'decision = "pass"\nreason = "request-content"'),
    ('request_body = "x"', "QUERY /", 'decision = "stored"'),
    ("response = 404", "GET /", 'edge_ttl = ["5s", "10s"]\nrule = "all"'),
    ("response = 404", "GET /a/app.3b1f2a9c.js", 'edge_ttl = "2s"\nif_error = "0s"'),
    ("response = 500", "GET /", 'reason = "status"'),
    ('manifest = ["/assets/index.js"]\nrequest_headers = { Cookie = "x=1" }\n'
     'response_headers = { Content-Type = "text/javascript" }', "GET /assets/index.js",
     'decision = "stored"\nrule = "assets"'),
    ('response = 206\nresponse_headers.Content-Range = "bytes 0-2/9"\nbody = "abc"', "GET /", 'decision = "stored"'),
    ('response = 206\nresponse_headers.Content-Range = "bytes 0-2/9"\nbody = "abcd"', "GET /",
     'reason = "content-range"'),
]  # fmt: skip


@pytest.mark.parametrize(("more", "asked", "expected"), ASKED)
def test_requests_of_every_kind(more: str, asked: str, expected: str) -> None:
    method, _, target = asked.partition(" ")
    example = f'request = "{method} https://h.example{target}"\n{more}\n[example.expect]\n{expected}'
    assert [str(one) for one in tried(example)] == []


UNMET = [
    ('decision = "pass"', 'decision is "stored", expected "pass"'),
    ('reason = "private"', 'reason is nothing, expected "private"'),
    ('edge_ttl = "11m"', 'edge_ttl is ["5m", "10m"], expected "11m"'),
    ('edge_ttl = ["4m", "10m"]', 'edge_ttl is ["5m", "10m"], expected ["4m", "10m"]'),
    ('grace = "1s"', 'grace is "1m", expected "1s"'),
    ('browser = "no-store"', 'browser is "", expected "no-store"'),
    ('url = "https://h.example/a"', 'url is "https://h.example/", expected "https://h.example/a"'),
    ('key = "x"', 'key is "https://h.example/", expected "x"'),
    ('rule = "shop"', 'rule is "all", expected "shop"'),
    ("rules = []", 'rules is ["all"], expected []'),
    ('tags = ["a"]', 'tags is [], expected ["a"]'),
]


@pytest.mark.parametrize(("expected", "message"), UNMET)
def test_what_does_not_happen_is_told_where_it_is_expected(expected: str, message: str) -> None:
    (mistake,) = tried(f"{GET.format('/', HTML)}expect.{expected}")
    assert mistake.message == f'"x": {message}'
    assert mistake.line.startswith(f"expect.{expected}\n")
    assert mistake.why == "its lifetime comes from rule-default; rules that apply: all (rules.toml:18)"
    assert not mistake.hint


def test_each_expectation_that_is_not_met_is_told() -> None:
    found = tried(f"{GET.format('/account/', HTML)}expect = {{ edge_ttl = 1, tags = [], rule = '' }}")
    assert [one.message for one in found] == [
        '"x": edge_ttl is nothing, expected "1s"',
        '"x": rule is "account", expected ""',
        '"x": tags is nothing, expected []',
    ]
    assert all(one.why.startswith("rule-pass: a rule says that such requests") for one in found)


READ = [
    ("", "an example without a request", 'request = "GET https://www.example.org/a?b=c"'),
    ('request = "GET"', 'request: "GET" is not a request', "a method and a URL"),
    ('request = "get https://a/"', 'request: "get https://a/" is not a request', "a method and a URL"),
    ('request = "GET /a"', 'request: "GET /a" is not a request: malformed host', "a method and a URL"),
    ('request = "GET ftp://a/"', "malformed request target", "a method and a URL"),
    ('request = "GET https://a b/"', "is not a request", "a method and a URL"),
    ('request = "GET https://a/"\nresponse = 99', "response: 99 is less than 200", "response = 200"),
    ('request = "GET https://a/"\nresponse = "404"', 'response: "404" is not a whole number', "response = 200"),
    ('request = "GET https://a/"\nresponse_headers = "x"', "response_headers is a table of names", "Content-Type"),
    ('request = "GET https://a/"\nrequest_headers = { A = 1 }', "does not occur in a header", "a text, or a list"),
    ('request = "GET https://a/"\nrequest_headers = { "A:" = "" }', "is not the name of a header", "colon"),
    ('request = "GET https://a/"\nmanifest = ["a"]', 'manifest: "a" does not begin with /', 'write "/a"'),
    ('request = "GET https://a/"\nrespons = 200', "unknown key respons in [[example]]", "did you mean response?"),
]


@pytest.mark.parametrize(("example", "message", "hint"), READ)
def test_a_mistake_in_an_example(example: str, message: str, hint: str) -> None:
    (mistake,) = tried(f'{example}\nexpect = {{ decision = "stored" }}')
    assert message in mistake.message
    assert hint in mistake.hint


EXPECTED = [
    ("", "an example expects something", 'expect = { decision = "stored" }'),
    ("expect = {}", "an example expects something", 'expect = { decision = "stored" }'),
    ('expect = "stored"', "an example expects something", 'expect = { decision = "stored" }'),
    ('expect.decison = "stored"', "unknown key decison in expect", "did you mean decision?"),
    ('expect.decision = "kept"', 'decision: "kept" is none of stored, not-stored, pass', "expected one of"),
    ('expect.reason = "because"', 'reason: "because" is none of fresh, ', "expected one of"),
    ("expect.edge_ttl = [1, 2, 3]", "edge_ttl: neither a duration nor two of them", 'edge_ttl = ["9m", "10m"]'),
    ('expect.edge_ttl = ["1m", "soon"]', 'edge_ttl: "soon" is not a duration', "units are"),
    ("expect.rules = [1]", "rules: 1 is not a text", "double quotes"),
]


@pytest.mark.parametrize(("expect", "message", "hint"), EXPECTED)
def test_a_mistake_in_what_is_expected(expect: str, message: str, hint: str) -> None:
    (mistake,) = tried(f'request = "GET https://a/"\n{expect}')
    assert message in mistake.message
    assert hint in mistake.hint


def test_every_example_of_an_expectation_is_a_value() -> None:
    for name, one in EXPECT.items():
        (mistake, *_) = tried(f'request = "PUT https://a/"\nexpect.{name} = {one.setting.example}') or [None]
        assert mistake is None or f": {name} is " in mistake.message
