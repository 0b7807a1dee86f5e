"""What counts of a request: target and fields, and that nothing else happens to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.message import RequestHead
from edgecache.semantics.key import cookies, primary
from edgecache.semantics.normalising import normalised, without_other_cookies
from edgecache.semantics.policy import DEFAULT, Policy, QueryKey
from tests.semantics.build import fields, request

TARGETS = [
    (QueryKey(), "/a?b=1&a=2", "/a?b=1&a=2"),
    (QueryKey(drop=("utm_*", "ref")), "/a?utm_source=x&b=1&ref=&reference=2", "/a?b=1&reference=2"),
    (QueryKey(drop=("ref",)), "/a?ref=1", "/a"),
    (QueryKey(drop=("ref",)), "/a", "/a"),
    (QueryKey(drop=("ref",)), "/a?", "/a"),
    (QueryKey(drop=("ref",)), "/a?REF=1&r%65f=1", "/a?REF=1&r%65f=1"),
    (QueryKey(keep=("v", "page")), "/a?x=1&page=2&v=3", "/a?page=2&v=3"),
    (QueryKey(keep=()), "/a?x=1", "/a"),
    (QueryKey(keep=("a*",), drop=("ab",)), "/a?ab=1&ac=2&b=3", "/a?ac=2"),
    (QueryKey(sort=True), "/a?b=2&a=2&b=1&a=1", "/a?a=2&a=1&b=2&b=1"),
    (QueryKey(sort=True), "/a?b&a", "/a?a&b"),
    (QueryKey(drop=("x",)), "/a?b=1&&x=1&c=?", "/a?b=1&&c=?"),
]


@pytest.mark.parametrize(("query", "given_target", "target"), TARGETS)
def test_what_counts_of_a_query(query: QueryKey, given_target: str, target: str) -> None:
    assert normalised(request(target=given_target), Policy(query=query)).target == target


def test_a_path_takes_the_place_of_the_target_with_its_query() -> None:
    policy = Policy(path="/index.html", query=QueryKey(sort=True))
    assert normalised(request(target="/a/b?c=1"), policy).target_uri == "http://example.com/index.html"


FIELDS = [
    (Policy(), ["Cookie: a=1; b=2", "X-Debug: 1"], ["Cookie: a=1; b=2", "X-Debug: 1"]),
    (Policy(unsafe_strip_cookies=True), ["Accept: x", "Cookie: a=1"], ["Accept: x"]),
    (Policy(unsafe_strip_cookies=True, key_cookies=("b",)), ["Cookie: a=1; b=2", "Cookie: b=3"], ["Cookie: b=2; b=3"]),
    (Policy(drop_unknown_fields=True), ["X-Debug: 1", "Accept: x", "x-debug: 2"], ["Accept: x"]),
    (Policy(drop_unknown_fields=True, key_fields=("x-debug",)), ["X-Debug: 1"], ["X-Debug: 1"]),
    (Policy(drop_unknown_fields=True, known_fields=("x-debug",)), ["X-Debug: 1"], ["X-Debug: 1"]),
]


@pytest.mark.parametrize(("policy", "given_lines", "lines"), FIELDS)
def test_what_counts_of_the_fields(policy: Policy, given_lines: list[str], lines: list[str]) -> None:
    assert normalised(request(*given_lines), policy).fields == fields(lines)


EVERYTHING = Policy(
    path="/index.html", query=QueryKey(keep=(), sort=True), drop_unknown_fields=True, unsafe_strip_cookies=True
)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_what_cannot_be_reused_goes_on_as_it_came(method: str) -> None:
    asked = request("X-Debug: 1", "Cookie: a=1", method=method, target="/a?b=1")
    assert normalised(asked, EVERYTHING) is asked


def test_neither_is_what_passes_touched() -> None:
    asked = request("X-Debug: 1", "Cookie: a=1", target="/a?b=1")
    assert normalised(asked, Policy(passes=True, path="/x", unsafe_strip_cookies=True)) is asked


def test_by_default_the_request_itself_is_returned() -> None:
    asked = request("X-Debug: 1", "Cookie: a=1", target="/a?b=1&a=2")
    assert normalised(asked, DEFAULT) is asked


def test_cookies_of_other_names_are_left_out() -> None:
    left = without_other_cookies(fields(["Cookie: a=1; b=2;c", "Cookie: a=3"]), ("a",))
    assert list(cookies(left)) == [("a", "1"), ("a", "3")]
    assert "cookie" not in without_other_cookies(fields(["Cookie: b=2"]), ("a",))


parameters = st.text("ab=?&%*_", max_size=12)
names = st.lists(st.sampled_from(["a", "b", "a*", "*", "ab"]), max_size=2).map(tuple)
queries = st.builds(QueryKey, keep=st.none() | names, drop=names, sort=st.booleans())


@given(parameters, queries, st.booleans(), st.booleans())
def test_a_normalised_request_is_a_fixed_point(query: str, key: QueryKey, drop: bool, strip: bool) -> None:
    policy = Policy(query=key, drop_unknown_fields=drop, unsafe_strip_cookies=strip, key_cookies=("b",))
    once = normalised(request("X-A: 1", "Cookie: a=1; b=2", target=f"/?{query}"), policy)
    again = normalised(once, policy)
    assert (again.target, again.fields) == (once.target, once.fields)


@given(parameters, queries)
def test_what_is_kept_was_there_and_counts(query: str, key: QueryKey) -> None:
    kept = normalised(request(target=f"/?{query}"), Policy(query=key)).target.partition("?")[2]
    if kept != query:
        assert all(part in query.split("&") and key.counts(part.partition("=")[0]) for part in kept.split("&") if part)


def test_equal_keys_ask_the_origin_for_the_same() -> None:
    policy = Policy(query=QueryKey(drop=("utm_*",)), drop_unknown_fields=True)
    one = normalised(request("X-A: 1", target="/?utm_x=1&b=2"), policy)
    other = normalised(request(target="/?b=2"), policy)
    assert primary(one, policy=policy) == primary(other, policy=policy)
    assert isinstance(one, RequestHead)
    assert (one.target, one.fields) == (other.target, other.fields)
