"""Targets and authorities, as tables and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.errors import ClientError
from edgecache.http.target import parse_authority, parse_target


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/", ("", "", "/")),
        ("GET", "/a?", ("", "", "/a?")),
        ("GET", "//evil.example/x", ("", "", "//evil.example/x")),
        ("GET", "/a/../b//c/%2e%2e/d", ("", "", "/a/../b//c/%2e%2e/d")),
        ("GET", '/{"x":[1]}|^`<>', ("", "", '/{"x":[1]}|^`<>')),
        ("OPTIONS", "*", ("", "", "*")),
        ("GET", "http://example.com/x?y", ("http", "example.com", "/x?y")),
        ("GET", "HTTPS://Example.com", ("https", "Example.com", "/")),
        ("GET", "http://example.com?q", ("http", "example.com", "/?q")),
        ("OPTIONS", "http://example.com", ("http", "example.com", "*")),
        ("OPTIONS", "http://example.com/", ("http", "example.com", "/")),
    ],
)
def test_targets(method: str, target: str, expected: tuple[str, str, str]) -> None:
    assert parse_target(method, target) == expected


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "x",
        "example.com:443",
        "gopher://x/",
        "ftp://x/",
        "http:///x",
        "http://?x",
        "/a#b",
        "/a\\b",
        "/a b",
        "/\x7f",
        "/\x00",
        "/é",
        "/a\tb",
        "http:/x",
        "javascript:alert(1)",
        "/\udce9",
    ],
)
def test_malformed_targets(target: str) -> None:
    with pytest.raises(ClientError) as raised:
        parse_target("GET", target)
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("text", "scheme", "expected"),
    [
        ("Example.COM", "http", "example.com"),
        ("example.com:80", "http", "example.com"),
        ("example.com:443", "https", "example.com"),
        ("example.com:80", "https", "example.com:80"),
        ("example.com:8080", "http", "example.com:8080"),
        ("127.0.0.1:1", "http", "127.0.0.1:1"),
        ("[2001:DB8::1]:8080", "http", "[2001:db8::1]:8080"),
        ("[::ffff:1.2.3.4]", "http", "[::ffff:1.2.3.4]"),
        ("under_score.example.", "http", "under_score.example."),
        ("a:65535", "http", "a:65535"),
    ],
)
def test_authorities(text: str, scheme: str, expected: str) -> None:
    assert parse_authority(text, scheme) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "good@evil",
        "good/evil?x",
        "a?b",
        "a#b",
        "a b",
        "a,b",
        "a:0",
        "a:65536",
        "a:99999",
        "a:",
        "a:080",
        ":80",
        "[::1",
        "::1",
        "[:::]",
        "[fe80::1%eth0]",
        "a%41",
        "a:b",
        "a\\b",
        "é.example",
        "a\x00",
        "x" * 256,
        "a;b",
        "\u212a",
    ],
)
def test_malformed_authorities(text: str) -> None:
    with pytest.raises(ClientError) as raised:
        parse_authority(text, "http")
    assert raised.value.status == 400


@given(st.text(max_size=60))
def test_authorities_are_refused_or_stable(text: str) -> None:
    try:
        authority = parse_authority(text, "http")
    except ClientError:
        return
    assert parse_authority(authority, "http") == authority
    assert not set(authority) & set("@/?#\\ ,;%\r\n")


@given(
    st.sampled_from(["GET", "OPTIONS"]), st.text(max_size=60) | st.from_regex(r"(?i)https?://[^/]*.*", fullmatch=True)
)
def test_targets_are_refused_or_origin_form(method: str, target: str) -> None:
    try:
        scheme, authority, origin_form = parse_target(method, target)
    except ClientError:
        return
    assert origin_form[0] == "/" or (method, origin_form) == ("OPTIONS", "*")
    assert parse_target(method, origin_form)[2] == origin_form
    assert bool(scheme) == bool(authority)
