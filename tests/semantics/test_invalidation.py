from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.message import RequestHead, ResponseHead
from edgecache.semantics.invalidation import (
    MAX_GROUP_LENGTH,
    MAX_GROUPS,
    SAFE_METHODS,
    group_tags,
    invalidated_groups,
    invalidated_uris,
)
from tests.semantics import messages
from tests.semantics.build import request, response

HERE = "http://example.com/a/b"


@pytest.mark.parametrize("method", sorted(SAFE_METHODS))
def test_safe_methods_invalidate_nothing(method: str) -> None:
    asked = request(method=method, target="/a/b")
    head = response("Location: /x", 'Cache-Group-Invalidation: "g"')
    assert invalidated_uris(asked, head) == ()
    assert invalidated_groups(asked, head) == frozenset()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PURGE", "get", "M-SEARCH"])
def test_unsafe_and_unknown_methods_do(method: str) -> None:
    asked = request(method=method, target="/a/b")
    assert invalidated_uris(asked, response()) == (HERE,)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(199, ()), (200, (HERE,)), (204, (HERE,)), (303, (HERE,)), (399, (HERE,)), (400, ()), (500, ()), (503, ())],
)
def test_only_what_succeeded_invalidates(status: int, expected: tuple[str, ...]) -> None:
    assert invalidated_uris(request(method="POST", target="/a/b"), response(status=status)) == expected


@pytest.mark.parametrize(
    ("reference", "uri"),
    [
        ("http://example.com/x", "http://example.com/x"),
        ("HTTP://Example.COM/x", "http://example.com/x"),
        ("http://example.com:80/x", "http://example.com/x"),
        ("//example.com/x", "http://example.com/x"),
        ("/x", "http://example.com/x"),
        ("/x?q=1&r", "http://example.com/x?q=1&r"),
        ("/x#fragment", "http://example.com/x"),
        ("/x;v=1", "http://example.com/x;v=1"),
        ("/X/%7e", "http://example.com/X/%7e"),
        ("c", "http://example.com/a/c"),
        ("../c", "http://example.com/c"),
        ("?q=2", "http://example.com/a/b?q=2"),
        ("http://example.com", "http://example.com/"),
        # Other origins.
        ("https://example.com/x", None),
        ("http://example.com:443/x", None),
        ("http://example.com:8080/x", None),
        ("http://example.net/x", None),
        ("http://www.example.com/x", None),
        ("//example.net/x", None),
        ("http://example.com.evil.example/x", None),
        ("http://user@example.com/x", None),
        ("ftp://example.com/x", None),
        # What means nothing.
        ("http://[::1/x", None),
        ("mailto:me@example.com", None),
        # Itself.
        ("", None),
        ("b", None),
        (HERE, None),
    ],
)
@pytest.mark.parametrize("name", ["Location", "Content-Location"])
def test_locations_of_the_same_origin(name: str, reference: str, uri: str | None) -> None:
    asked = request(method="POST", target="/a/b")
    expected = (HERE,) if uri is None else (HERE, uri)
    assert invalidated_uris(asked, response(f"{name}: {reference}", status=201)) == expected


def test_both_locations_count_once_each() -> None:
    asked = request(method="POST", target="/a/b")
    assert invalidated_uris(asked, response("Content-Location: /y", "Location: /x")) == (
        HERE,
        "http://example.com/x",
        "http://example.com/y",
    )
    assert invalidated_uris(asked, response("Content-Location: /x", "Location: /x")) == (HERE, "http://example.com/x")


@pytest.mark.parametrize(
    ("scheme", "authority", "reference", "is_same"),
    [
        ("https", "example.com", "https://example.com:443/x", True),
        ("https", "example.com", "https://example.com/x", True),
        ("https", "example.com", "http://example.com/x", False),
        ("https", "example.com", "https://example.com:80/x", False),
        ("http", "example.com:8080", "http://example.com:8080/x", True),
        ("http", "example.com:8080", "http://example.com/x", False),
        ("http", "example.com:8080", "/x", True),
        ("http", "example.com:8080", "http://example.com:80/x", False),
        ("http", "[::1]", "http://[::1]:80/x", True),
        ("http", "[fe80::80]", "http://[FE80::80]/x", True),
    ],
)
def test_ports(scheme: str, authority: str, reference: str, is_same: bool) -> None:
    asked = request(method="POST", scheme=scheme, authority=authority)
    uris = invalidated_uris(asked, response(f"Location: {reference}"))
    assert uris[1:] == ((f"{scheme}://{authority}/x",) if is_same else ())


@given(asked=messages.any_requests, head=messages.any_response_heads)
def test_nothing_of_another_origin_is_ever_named(asked: RequestHead, head: ResponseHead) -> None:
    prefix = f"{asked.scheme}://{asked.authority}/"
    assert all(uri.startswith(prefix) for uri in invalidated_uris(asked, head))


# ---------------------------------------------------------------------------------------------- groups (RFC 9875)


@pytest.mark.parametrize(
    ("lines", "groups"),
    [
        ([], set()),
        (['"a"'], {"a"}),
        (['"a", "b"', '"c"'], {"a", "b", "c"}),
        (['"a";x=1, "a"'], {"a"}),
        (['"A b, c"'], {"A b, c"}),
        ([r'"a\"b"'], {'a"b'}),
        # Members of another type are no groups; a list that is none has no groups.
        (['"a", token, 1, ("b"), ?1'], {"a"}),
        (['""'], set()),
        (['"a", '], set()),
        (['"a'], set()),
        (["\xe9"], set()),
    ],
)
def test_groups(lines: list[str], groups: set[str]) -> None:
    labels = frozenset(f"group http://example.com/{group}" for group in groups)
    assert group_tags(request(), response(*(f"Cache-Groups: {line}" for line in lines))) == labels
    asked = request(method="POST")
    head = response(*(f"Cache-Group-Invalidation: {line}" for line in lines))
    assert invalidated_groups(asked, head) == labels


@pytest.mark.parametrize(
    ("groups", "are_kept"),
    [
        ([str(n) for n in range(MAX_GROUPS)], True),
        ([str(n) for n in range(MAX_GROUPS + 1)], False),
        (["x" * MAX_GROUP_LENGTH], True),
        (["a", "x" * (MAX_GROUP_LENGTH + 1)], False),
    ],
)
def test_too_many_groups_are_not_cut_short(groups: list[str], are_kept: bool) -> None:
    value = ", ".join(f'"{group}"' for group in groups)
    labels = frozenset(f"group http://example.com/{group}" for group in groups)
    assert group_tags(request(), response(f"Cache-Groups: {value}")) == (labels if are_kept else None)
    # To invalidate, any number will do.
    head = response(f"Cache-Group-Invalidation: {value}")
    assert invalidated_groups(request(method="POST"), head) == labels


_origins = st.tuples(st.sampled_from(["http", "https"]), st.sampled_from(["a", "a:1", "a:1:1", "[::1]", "[::1]:1"]))
_group = st.text("a1:/[]", min_size=1, max_size=6)


@given(one=_origins, other=_origins, group=_group, other_group=_group)
def test_a_label_belongs_to_one_origin(
    one: tuple[str, str], other: tuple[str, str], group: str, other_group: str
) -> None:
    tags = group_tags(request(scheme=one[0], authority=one[1]), response(f'Cache-Groups: "{group}"'))
    named = invalidated_groups(
        request(method="POST", scheme=other[0], authority=other[1]),
        response(f'Cache-Group-Invalidation: "{other_group}"'),
    )
    assert (tags == named) is ((one, group) == (other, other_group))
