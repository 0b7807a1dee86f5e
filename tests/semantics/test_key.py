from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.message import RequestHead, fields_of
from edgecache.semantics.key import KEYED_METHODS, content_digest, primary, url_of
from edgecache.semantics.policy import Policy
from tests.semantics.build import fields, request


@pytest.mark.parametrize(
    ("head", "key"),
    [
        (request(), "http://example.com/"),
        (request(method="HEAD"), "http://example.com/"),
        (request("Accept: x", "Range: bytes=0-1"), "http://example.com/"),
        (request(target="/a?b=2&a=1"), "http://example.com/a?b=2&a=1"),
        (request(target="/%7Ea/../b//"), "http://example.com/%7Ea/../b//"),
        (request(scheme="https", authority="[::1]:8443"), "https://[::1]:8443/"),
        (request(method="QUERY"), "QUERY  http://example.com/"),
    ],
)
def test_a_key_is_the_target_uri_as_it_was_spelled(head: RequestHead, key: str) -> None:
    assert primary(head) == key
    assert url_of(primary(head)) == head.target_uri


def test_a_query_is_keyed_by_its_content_too() -> None:
    asked = request(method="QUERY", target="/search")
    digest = content_digest(b"{}", fields(["Content-Type: application/json"]))
    assert primary(asked, digest) == f"QUERY {digest} http://example.com/search"
    assert url_of(primary(asked, digest)) == "http://example.com/search"


def test_a_query_without_content_is_no_get() -> None:
    assert primary(request(method="QUERY")) != primary(request(method="GET"))
    described = request("Content-Type: application/json", method="QUERY")
    assert primary(described) == primary(described, content_digest(b"", described.fields))
    assert primary(described) != primary(request(method="QUERY"))


_DIGESTED = [
    *("Content-Type: a", "Content-Encoding: a", "Content-Language: a", "Content-Location: a"),
    *("Content-Digest: a", "Repr-Digest: a"),
]


def test_every_field_that_describes_content_counts_and_so_does_its_absence() -> None:
    cases = [[], *([line] for line in _DIGESTED), ["Content-Type:"], ["Content-Type: a", "Content-Type: a"], _DIGESTED]
    digests = {content_digest(b"x", fields(lines)) for lines in cases}
    assert len(digests) == len(cases)
    assert content_digest(b"x", fields(["X-Other: a"])) == content_digest(b"x", fields([]))


# -------------------------------------------------------------------------------------------------- properties

# What can stand there (RFC 3986): no white space; an authority has no slash and a target begins with one.
_authorities = st.text("ab.:1[]@", min_size=1, max_size=4)
_targets = st.text("/ab?:%2", max_size=4).map(lambda rest: f"/{rest}")
_contents = st.none() | st.tuples(
    st.text("ab:0=", max_size=3), st.none() | st.text("ab:0=", max_size=3), st.binary(max_size=3)
)
_facts = st.tuples(
    st.sampled_from(sorted(KEYED_METHODS)), st.sampled_from(["http", "https"]), _authorities, _targets, _contents
)
Facts = tuple[str, str, str, str, tuple[str, str | None, bytes] | None]


def _key(facts: Facts) -> str:
    method, scheme, authority, target, content = facts
    digest = ""
    if method == "QUERY" and content is not None:
        kind, coding, octets = content
        lines = [("Content-Type", kind), *([] if coding is None else [("Content-Encoding", coding)])]
        digest = content_digest(octets, fields_of(lines))
    return primary(RequestHead(method, scheme, authority, target, fields_of([])), digest)


def _selecting(facts: Facts) -> object:
    """What a key is to tell apart: a GET from a HEAD it is not."""
    method, *where, content = facts
    return ("QUERY", where, content) if method == "QUERY" else ("GET", where)


@given(one=_facts, other=_facts)
def test_keys_are_equal_exactly_when_what_selects_is(one: Facts, other: Facts) -> None:
    assert (_key(one) == _key(other)) is (_selecting(one) == _selecting(other))


@given(facts=_facts, change=st.data())
def test_one_changed_fact_is_another_key(facts: Facts, change: st.DataObject) -> None:
    at = change.draw(st.integers(0, 4))
    other = list(facts)
    other[at] = change.draw(_facts)[at]
    changed: Facts = (other[0], other[1], other[2], other[3], other[4])  # type: ignore[assignment]
    assert (_key(facts) == _key(changed)) is (_selecting(facts) == _selecting(changed))


@given(facts=_facts)
def test_the_target_uri_can_be_read_from_a_key(facts: Facts) -> None:
    _, scheme, authority, target, _ = facts
    assert url_of(primary(RequestHead(facts[0], scheme, authority, target, fields_of([])))) == (
        f"{scheme}://{authority}{target}"
    )


# What rules add.


@pytest.mark.parametrize(
    ("policy", "lines", "release", "facts"),
    [
        (Policy(key_fields=("x-a",)), ["X-A: 1 2"], "", "+field.x-a=1%202 "),
        (Policy(key_fields=("x-a",)), ["X-A:"], "", "+field.x-a= "),
        (Policy(key_fields=("x-a",)), [], "", ""),
        (Policy(key_cookies=("b", "a")), ["Cookie: a=1; c=2; b=3&4"], "", "+cookie.a=1&cookie.b=3%264 "),
        (Policy(by_release=True), [], "v 1", "+release=v%201 "),
        (Policy(by_release=True), [], "", ""),
        (Policy(), [], "v1", ""),
        (
            Policy(by_release=True, key_fields=("x-a",), key_cookies=("a",)),
            ["X-A: 1", "Cookie: a=2"],
            "v1",
            "+release=v1&field.x-a=1&cookie.a=2 ",
        ),
    ],
)
def test_what_else_is_part_of_a_key_stands_before_the_target_uri(
    policy: Policy, lines: list[str], release: str, facts: str
) -> None:
    key = primary(request(*lines), "", policy, release)
    assert key == f"{facts}http://example.com/"
    assert url_of(key) == "http://example.com/"
    asked = primary(request(*lines, method="QUERY"), "0", policy, release)
    assert asked == f"QUERY 0 {facts}http://example.com/"


parts = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text("ab&=+ %", max_size=3)), max_size=3)


@given(parts, parts)
def test_different_facts_are_different_keys(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    policy = Policy(key_cookies=("a", "b"))
    keys = []
    for cookies in (one, other):
        line = "; ".join(f"{name}={value}" for name, value in cookies)
        keys.append((primary(request(f"Cookie: {line}"), "", policy), [(n, v.rstrip(" \t")) for n, v in cookies]))
    assert (keys[0][0] == keys[1][0]) == (keys[0][1] == keys[1][1])
