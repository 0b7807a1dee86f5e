"""Who is believed, and what an origin is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.forwarded import Peer, TrustedPeers, client_scheme, forwarded
from edgecache.errors import ConfigError
from edgecache.http.message import Pair, fields_of

STRANGER = Peer("192.0.2.7", False, "http")
GATEWAY = Peer("10.0.0.1", True, "http")


class _Transport:
    """Answers as an asyncio transport does."""

    def __init__(self, peername: object, sslcontext: object = None) -> None:
        self._extra = {"peername": peername, "sslcontext": sslcontext}

    def get_extra_info(self, name: str) -> object:
        return self._extra.get(name)


@pytest.mark.parametrize(
    ("peername", "expected"),
    [
        (("10.1.2.3", 5), Peer("10.1.2.3", True, "http")),
        (("11.1.2.3", 5), Peer("11.1.2.3", False, "http")),
        (("::ffff:10.1.2.3", 5, 0, 0), Peer("10.1.2.3", True, "http")),
        (("2001:db8::9", 5, 0, 0), Peer("2001:db8::9", True, "http")),
        (("fe80::1%eth0", 5, 0, 2), Peer("fe80::1", False, "http")),
        ("", Peer("unix", False, "http")),
        (None, Peer("unknown", False, "http")),
    ],
)
def test_peers(peername: object, expected: Peer) -> None:
    peers = TrustedPeers(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"])
    assert peers.identify(_Transport(peername)) == expected  # type: ignore[arg-type]


def test_unix_peers_are_trusted_only_by_name() -> None:
    assert TrustedPeers(["unix"]).identify(_Transport("")).trusted  # type: ignore[arg-type]


def test_tls_connections_are_https() -> None:
    assert TrustedPeers([]).identify(_Transport(("192.0.2.1", 1), object())).scheme == "https"  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["example.com", "10.0.0.1/8", "", "300.1.1.1"])
def test_malformed_networks(network: str) -> None:
    with pytest.raises(ConfigError):
        TrustedPeers([network])


@pytest.mark.parametrize(
    ("pairs", "scheme"),
    [
        ((), "http"),
        ((("X-Forwarded-Proto", "https"),), "https"),
        ((("X-Forwarded-Proto", "http, HTTPS"),), "https"),
        ((("X-Forwarded-Proto", "gopher"),), "http"),
        ((("Forwarded", "for=1.2.3.4;proto=https"),), "https"),
        ((("Forwarded", 'for=x; Proto="https"'),), "https"),
        ((("Forwarded", "proto=http"), ("Forwarded", "for=y;proto=https")), "https"),
        ((("Forwarded", "for=x"), ("X-Forwarded-Proto", "https")), "https"),
        ((("Forwarded", "proto=javascript"),), "http"),
    ],
)
def test_scheme_stated_by_a_gateway(pairs: tuple[Pair, ...], scheme: str) -> None:
    assert client_scheme(fields_of(pairs), GATEWAY) == scheme
    assert client_scheme(fields_of(pairs), STRANGER) == "http"


def test_a_stranger_s_statements_are_replaced() -> None:
    said = [
        ("Host", "a"),
        ("forwarded", "for=6.6.6.6"),
        ("X-FORWARDED-FOR", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("X-Forwarded-Host", "evil"),
        ("X-Forwarded-Port", "1"),
        ("X-Real-IP", "6.6.6.6"),
        ("Accept", "*/*"),
    ]
    assert forwarded(said, STRANGER, "a", "http") == [
        ("Host", "a"),
        ("Accept", "*/*"),
        ("Forwarded", "for=192.0.2.7;host=a;proto=http"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "a"),
    ]


ELSEWHERE_CALLED = [
    *("Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "X-Original-Forwarded-For"),
    *("CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "CF-IPCountry", "CF-Visitor"),
    *("X-Real-IP", "X-Forwarded-Port", "X-Forwarded-Scheme", "X-Scheme", "X-Forwarded-Ssl", "X-Forwarded-Server"),
]


@pytest.mark.parametrize("name", ELSEWHERE_CALLED)
def test_what_proxies_say_of_a_client_is_taken_from_trusted_ones_alone(name: str) -> None:
    said: list[Pair] = [(name, "1")]
    assert name not in dict(forwarded(said, STRANGER, "a", "http"))
    assert dict(forwarded(said, GATEWAY, "a", "http"))[name] == "1"


def test_a_gateway_s_statements_are_continued() -> None:
    said = [("Forwarded", "for=1.1.1.1"), ("x-forwarded-for", "1.1.1.1"), ("X-Forwarded-Proto", "https")]
    assert forwarded(said, GATEWAY, "a:81", "https") == [
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", 'for=1.1.1.1, for=10.0.0.1;host="a:81";proto=https'),
        ("X-Forwarded-For", "1.1.1.1, 10.0.0.1"),
        ("X-Forwarded-Host", "a:81"),
    ]


def test_addresses_of_other_families() -> None:
    six = forwarded([], Peer("2001:db8::1", False, "https"), "a", "https")
    assert six[:2] == [("Forwarded", 'for="[2001:db8::1]";host=a;proto=https'), ("X-Forwarded-For", "2001:db8::1")]
    unix = forwarded([], Peer("unix", False, "http"), "a", "http")
    assert unix[0] == ("Forwarded", "for=unknown;host=a;proto=http")
    assert "X-Forwarded-For" not in dict(unix)


@given(st.lists(st.text('forwadptXx-=;," hs:/\\', max_size=40), max_size=3), st.booleans())
def test_a_scheme_is_always_one_of_two(values: list[str], trusted: bool) -> None:
    pairs = [("Forwarded", value) for value in values] + [("X-Forwarded-Proto", value) for value in values]
    assert client_scheme(fields_of(pairs), Peer("::1", trusted, "http")) in ("http", "https")
