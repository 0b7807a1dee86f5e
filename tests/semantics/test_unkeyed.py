from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.forwarded import Peer, forwarded
from edgecache.http.message import RequestHead, fields_of
from edgecache.http.negotiation import selecting_value
from edgecache.semantics.key import cookies, primary
from edgecache.semantics.normalising import normalised
from edgecache.semantics.policy import DEFAULT, Policy, QueryKey
from edgecache.semantics.reason import Reason
from edgecache.semantics.selection import selecting_names
from edgecache.semantics.unkeyed import FREE, KNOWN, doubtful, has_credentials
from tests.semantics.build import fields, refusal, request, response

FRESH = "Cache-Control: public, max-age=60"

POISONOUS = [
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Scheme: nothttp",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Port: 1337",
    "X-Forwarded-Ssl: on",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Path: /evil",
    "X-Forwarded-Uri: /evil",
    "X-Forwarded: for=evil",
    "X-Forwarded-For: <script>",
    'Forwarded: for=1.1.1.1;host="evil.example"',
    "Forwarded: proto=https",
    "Forwarded: for=1.1.1.1, for=2.2.2.2; host=evil.example",
    'Forwarded: for="x;host=evil.example"',
    "Forwarded: host = evil.example",
    "X-Host: evil.example",
    "X-HTTP-Host-Override: evil.example",
    "X-Original-Host: evil.example",
    "X-Forwarded-Server: evil<",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "X-Override-URL: /admin",
    "X-HTTP-Method-Override: POST",
    "X-HTTP-Method: POST",
    "X-Method-Override: POST",
    "X-Wap-Profile: http://evil.example/",
    "X-Requested-With: XMLHttpRequest",
    "X-Middleware-Prefetch: 1",
    "X-Nextjs-Data: 1",
    "Rsc: 1",
    "Next-Router-State-Tree: x",
    "X-Inertia: true",
    "HX-Request: true",
    "X-PJAX: true",
    "Turbo-Frame: x",
    "X-Debug: 1",
    "X-Anything: 1",
    "Surrogate-Capability: abc=ESI/1.0",
    'Surrogate-Capability: abc="ESI/1.0"',
    "Akamai-Origin-Hop: 1",
    "Pragma: akamai-x-cache-on",
    "Cache-Control: <script>",
    "Purpose: evil",
    "Prefer: return=minimal",
    "Accept-Datetime: x",
    "Last-Event-ID: evil",
    "Max-Forwards: 0",
    "Access-Control-Request-Method: PUT",
    "Cf-Access-Authenticated-User-Email: alice@example.com",
    "X-Auth-Token: alice",
    "X-Api-Key: alice",
    "X_Forwarded_Host: evil.example",
    "User_Agent: evil",
    "Accept: text/<script>",
    "Accept-Language: <script>",
    "Origin: https://evil.example/<script>",
    'Referer: "><script>',
    "X-Request-Id: <script>",
    "Traceparent: <script>",
    "Sec-Ch-Ua-Platform: <script>",
    "Content-Type: application/json",
    "Content-Encoding: evil",
    "Content-Language: evil",
    "Content-Location: /evil",
    "Content-Digest: evil",
    "Repr-Digest: evil",
    "True-Client-Ip: <script>",
    "Priority: <script>",
    "Upgrade-Insecure-Requests: 2",
    "Save-Data: evil",
    "Dpr: evil",
    "Transfer-Encoding-Override: chunked",
    "Trailer-Name: x",
    "Date: Wed, 01 Jan 2020 00:00:00 GMT",
]
"""Field lines by which caches have been poisoned, or could have been."""

USUAL = [
    # Chromium
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: de-CH,de;q=0.9,en-US;q=0.8",
    "Cache-Control: max-age=0",
    "Pragma: no-cache",
    "Priority: u=0, i",
    "Purpose: prefetch",
    'Sec-CH-UA: "Chromium";v="140", "Not=A?Brand";v="24"',
    "Sec-CH-UA-Mobile: ?0",
    'Sec-CH-UA-Platform: "Linux"',
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-User: ?1",
    "Sec-Purpose: prefetch;prerender",
    "Sec-GPC: 1",
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "Referer: https://example.com/a?b={c}|d&e=%22",
    "Origin: https://example.com",
    "Origin: null",
    "Origin: chrome-extension://abcdef",
    'Cookie: a=1; b="2"',
    "DNT: 1",
    "Save-Data: on",
    "DPR: 1.5",
    "Service-Worker: script",
    # others
    "Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    'Accept: application/ld+json; profile="https://www.w3.org/ns/activitystreams"',
    "User-Agent: curl/8.5.0",
    "Authorization: Bearer abc",
    "Range: bytes=0-99",
    'If-Range: "1"',
    'If-None-Match: W/"a", "b"',
    "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT",
    "From: bot@example.com",
    # of proxies and tracers
    "Via: 1.1 varnish (Varnish/7.1), 1.1 edgecache",
    "X-Forwarded-For: 192.0.2.1, 2001:db8::1",
    "X-Forwarded-Host: example.com",
    "X-Forwarded-Host: EXAMPLE.com:80",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Proto: http, http",
    "X-Forwarded-Scheme: http",
    "X-Forwarded-Port: 80",
    "X-Forwarded-Ssl: off",
    "X-Forwarded-Server: traefik-7d9f",
    "X-Real-IP: 192.0.2.1",
    'Forwarded: for="[2001:db8::1]:4711";host=example.com;proto=http, for=_hidden, for=192.0.2.1;proto=HTTP',
    "CF-Ray: 7d9f1c2b3a4d5e6f-FRA",
    "CF-Connecting-IP: 192.0.2.1",
    'CF-Visitor: {"scheme":"https"}',
    "CDN-Loop: cloudflare; loops=1",
    "X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678",
    "X-Request-Id: 7b3c1f6e-3a7e-4f0e-9a1b-2c3d4e5f6a7b",
    "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Tracestate: rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "Baggage: sentry-environment=production,sentry-release=1.0%2B2",
    "X-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124",
    "X-Datadog-Origin: rum",
    'Surrogate-Capability: outer="Surrogate/1.0"',
    "X-Varnish: 32770",
]
"""Field lines that clients and proxies send by themselves."""


@pytest.mark.parametrize("line", POISONOUS)
def test_what_may_have_changed_a_response_keeps_it_from_being_stored(line: str) -> None:
    name = line.partition(":")[0].lower()
    assert doubtful(request(line), DEFAULT) == (name,)
    assert refusal(FRESH, of=request(line)) is Reason.UNKEYED_FIELD
    assert refusal(FRESH, f"Vary: Accept, {name.upper()}", of=request(line)) is None
    assert refusal(FRESH, of=request(line), policy=Policy(key_fields=(name,))) is None
    assert refusal(FRESH, of=request(line), policy=Policy(known_fields=(name,))) is None
    assert refusal(FRESH, of=request(line), policy=Policy(unsafe_ignore_request_fields=True)) is None


@pytest.mark.parametrize("line", USUAL)
def test_what_everybody_sends_does_not(line: str) -> None:
    assert doubtful(request(line), DEFAULT) == ()
    assert line.partition(":")[0].lower() in KNOWN or line.startswith(("Sec-", "X-B3-", "X-Datadog-"))


def test_one_line_that_is_odd_makes_the_field_odd() -> None:
    assert doubtful(request("X-Forwarded-Host: example.com", "X-Forwarded-Host: evil.example"), DEFAULT)
    assert doubtful(request("Pragma: no-cache", "Pragma: x"), DEFAULT) == ("pragma",)
    assert doubtful(request("X-A: 1", "x-a: 2", "X-B: 3"), DEFAULT) == ("x-a", "x-b")


@pytest.mark.parametrize(
    ("asked", "line", "is_known"),
    [
        (request(scheme="https"), "X-Forwarded-Proto: https", True),
        (request(scheme="https"), "X-Forwarded-Proto: https, http", False),
        (request(scheme="https"), "X-Forwarded-Port: 443", True),
        (request(scheme="https"), "X-Forwarded-Ssl: on", True),
        (request(scheme="https"), "X-Forwarded-Host: example.com:443", True),
        (request(scheme="https"), "X-Forwarded-Host: example.com:80", False),
        (request(authority="example.com:8080"), "X-Forwarded-Port: 8080", True),
        (request(authority="example.com:8080"), "X-Forwarded-Host: example.com", False),
        (request(authority="[::1]"), "X-Forwarded-Host: [::1]", True),
        (request(authority="[::1]"), "X-Forwarded-Port: 80", True),
        (request(authority="[::1]:81"), 'Forwarded: host="[::1]:81"', True),
        (request(), "X-Forwarded-Host: example.com, evil.example", False),
        (request(), "X-Forwarded-Host:", False),
        (request(), "Forwarded:", True),
    ],
)
def test_what_says_again_what_is_in_the_key(asked: RequestHead, line: str, is_known: bool) -> None:
    asked = RequestHead(asked.method, asked.scheme, asked.authority, asked.target, fields([line]))
    assert (doubtful(asked, DEFAULT) == ()) is is_known


@given(
    host=st.sampled_from(["example.com", "example.com:8080", "[2001:db8::1]", "a_b"]),
    scheme=st.sampled_from(["http", "https"]),
    peer=st.sampled_from(
        [Peer("192.0.2.1", False, "http"), Peer("2001:db8::1", True, "https"), Peer("unix", True, "http")]
    ),
)
def test_what_the_edge_itself_writes_is_known(host: str, scheme: str, peer: Peer) -> None:
    once = forwarded([("Host", host)], peer, host, scheme)
    twice = forwarded(once, Peer("10.0.0.1", True, "http"), host, scheme)
    for pairs in (once, twice):
        assert doubtful(RequestHead("GET", scheme, host, "/", fields_of(pairs)), DEFAULT) == ()


def test_what_describes_content_is_known_where_there_is_some() -> None:
    for name in ("Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Content-Digest"):
        for method in ("GET", "HEAD"):
            assert doubtful(request(f"{name}: x", method=method), DEFAULT) == (name.lower(),)
        for method in ("QUERY", "POST"):
            assert doubtful(request(f"{name}: x", method=method), DEFAULT) == ()


@pytest.mark.parametrize(
    ("lines", "policy", "expected"),
    [
        ([], DEFAULT, False),
        (["Authorization: x"], DEFAULT, True),
        (["Authorization: x"], Policy(key_fields=("authorization",)), False),
        (["Cookie: a=1"], DEFAULT, True),
        (["Cookie: a=1"], Policy(key_cookies=("a",)), False),
        (["Cookie: a=1; b=2"], Policy(key_cookies=("a",)), True),
        (["Cookie: a=1", "Cookie: b=2"], Policy(key_cookies=("a",)), True),
        (["Cookie: a=1; b=2"], Policy(key_fields=("cookie",)), False),
        (["Cookie: "], DEFAULT, False),
    ],
)
def test_credentials(lines: list[str], policy: Policy, expected: bool) -> None:
    assert has_credentials(request(*lines), policy) is expected


@pytest.mark.parametrize(
    "cookie",
    [
        'a="x; lang=de; b="',
        "x=1, lang=fr; lang=de",
        "$Version=1; lang=de",
        'lang="de"',
        "lang=de; x=\\073lang=fr",
        "lang=de;  $Path=/",
    ],
)
def test_cookies_that_are_read_differently_are_no_part_of_a_key(cookie: str) -> None:
    policy = Policy(key_cookies=("lang",))
    assert refusal(FRESH, of=request(f"Cookie: {cookie}"), policy=policy) is Reason.REQUEST_COOKIE
    assert refusal(FRESH, of=request(f"Cookie: {cookie}")) is None
    assert refusal(FRESH, of=request("Cookie: lang=de; x=$1"), policy=policy) is None
    assert refusal('ETag: "1"', of=request("Cookie: lang=de"), policy=policy) is None
    assert refusal('ETag: "1"', of=request("Cookie: lang=de; x=1"), policy=policy) is Reason.REQUEST_COOKIE


# ------------------------------------------------------------------------------- what selects without being told


@pytest.mark.parametrize(
    ("asked", "lines", "status", "expected"),
    [
        ([], ["Vary: X"], 200, ["x"]),
        ([], ["Content-Encoding: gzip"], 200, ["accept-encoding"]),
        ([], ["Content-Encoding: br", "Vary: accept-encoding, X"], 200, ["accept-encoding", "x"]),
        ([], ["Content-Encoding: identity"], 200, []),
        ([], ["Content-Encoding: dcb"], 200, ["accept-encoding", "available-dictionary"]),
        (["Origin: https://a"], ["Access-Control-Allow-Origin: https://a"], 200, ["origin"]),
        (["Origin: null"], ["Access-Control-Allow-Origin: null"], 200, ["origin"]),
        (["Origin: https://a"], ["Access-Control-Allow-Origin: https://b"], 200, []),
        (["Origin: https://a"], ["Access-Control-Allow-Origin: *"], 200, []),
        (["Origin: *"], ["Access-Control-Allow-Origin: *"], 200, ["origin"]),
        ([], ["Access-Control-Allow-Origin: https://a"], 200, []),
        *((["Accept: x"], [], status, []) for status in (200, 301, 404, 405, 410, 414)),
        (["Cookie: a=1", "Authorization: x"], [], 404, ["authorization", "cookie"]),
        (["Cookie: a=1"], [], 200, []),
    ],
)
def test_what_selects(asked: list[str], lines: list[str], status: int, expected: list[str]) -> None:
    assert selecting_names(fields(asked), response(*lines, status=status)) == tuple(expected)


@pytest.mark.parametrize("status", [400, 401, 403, 406, 413, 415, 422, 451, 500, 501, 503])
def test_an_error_is_for_those_who_ask_alike(status: int) -> None:
    names = selecting_names(fields(["Sec-Odd: 1", "Accept: x", "Priority: u=1"]), response(status=status))
    assert set(names) >= FREE
    assert {"sec-odd", "sec-fetch-site", "x-forwarded-for"} <= set(names)
    assert "priority" in names
    assert "priority" not in selecting_names(fields(["Priority: u=1"]), response(status=status), ("priority",))


# -------------------------------------------------------------------------------------------------- properties

_POLICIES = st.builds(
    Policy,
    query=st.builds(
        QueryKey,
        keep=st.sampled_from([None, (), ("a", "b*")]),
        drop=st.sampled_from([(), ("utm_*", "a")]),
        sort=st.booleans(),
    ),
    path=st.sampled_from([None, None, "/page"]),
    key_fields=st.sampled_from([(), ("x-debug", "accept-language"), ("cookie",)]),
    key_cookies=st.sampled_from([(), ("lang",)]),
    drop_unknown_fields=st.booleans(),
    unsafe_strip_cookies=st.booleans(),
)
_LINES = st.sampled_from([*POISONOUS, *USUAL, "Cookie: lang=de", "Cookie: lang=de; id=1", "X-Debug: 2", "x-debug: 1"])
_REQUESTS = st.builds(
    lambda lines, target, method: request(*lines, target=target, method=method),
    st.lists(_LINES, max_size=3),
    st.sampled_from(
        ["/", "/?a=1&utm_source=x&b=2", "/?b=2&a=1", "/?b=2", "/?A=1&b=2", "/?a=1;b=2", "/page", "/page?b=2"]
    ),
    st.sampled_from(["GET", "GET", "HEAD"]),
)


@given(one=_REQUESTS, other=_REQUESTS, policy=_POLICIES)
def test_equal_keys_ask_the_origin_for_the_same_but_for_what_is_known(
    one: RequestHead, other: RequestHead, policy: Policy
) -> None:
    """Of requests whose responses may be stored at all."""
    one, other = normalised(one, policy), normalised(other, policy)
    assert normalised(one, policy) == one
    if primary(one, policy=policy) != primary(other, policy=policy) or doubtful(one, policy) or doubtful(other, policy):
        return
    assert one.target_uri == other.target_uri
    for name in {name.lower() for name in (*one.fields, *other.fields)}:
        if selecting_value(one.fields, name) != selecting_value(other.fields, name):
            assert name in KNOWN or name.startswith(("sec-", "x-b3-", "x-datadog-"))
            assert name not in policy.key_fields
    for name in policy.key_cookies:
        assert [value for key, value in cookies(one.fields) if key == name] == [
            value for key, value in cookies(other.fields) if key == name
        ]


@given(lines=st.lists(st.tuples(st.sampled_from(sorted(KNOWN | {"x", "sec-x"})), st.text(max_size=30)), max_size=4))
def test_any_request_has_an_answer(lines: list[tuple[str, str]]) -> None:
    asked = RequestHead("GET", "http", "example.com", "/", fields_of(lines))
    found = doubtful(asked, DEFAULT)
    assert set(found) <= {name for name, _ in lines}
    assert len(set(found)) == len(found)
