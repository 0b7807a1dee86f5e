from __future__ import annotations

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.conditional import (
    Precondition,
    evaluate,
    fails_if_match,
    has_cache_conditions,
    has_origin_conditions,
    not_modified_fields,
    without_conditions,
)
from edgecache.http.fields import format_http_date
from edgecache.http.message import fields_of

NOW = float(calendar.timegm((2026, 2, 3, 4, 5, 6)))
MODIFIED = NOW - 3000

latin1 = st.binary(max_size=40).map(lambda octets: octets.decode("latin-1"))
anything = latin1 | st.text(max_size=40)


def is_304(
    *pairs: tuple[str, str],
    method: str = "GET",
    etag: str | None = None,
    last_modified: str | None = None,
    date: float | None = None,
) -> bool:
    outcome = evaluate(method, fields_of(pairs), etag=etag, last_modified=last_modified, date=date, now=NOW)
    return outcome is Precondition.NOT_MODIFIED


@pytest.mark.parametrize(
    ("none_match", "etag", "expected"),
    [
        ('"abcdef"', '"abcdef"', True),
        ('"abcdef"', '"other"', False),
        ('"abcdef"', None, False),
        ('"abcdef"', 'W/"abcdef"', True),
        ('W/"abcdef"', '"abcdef"', True),
        ('W/"abcdef"', 'W/"abcdef"', True),
        ('"abcdef\xfc"', '"abcdef\xfc"', True),
        ('"abcdef", "1234", "5678"', '"abcdef"', True),
        ('"1234", "abcdef", "5678"', '"abcdef"', True),
        ('"1234", W/"5678", "abcdef"', 'W/"abcdef"', True),
        ('"1234,abcdef"', '"abcdef"', False),
        (r'"a\", "abcdef"', '"abcdef"', True),
        ("*", '"abcdef"', True),
        ("*", None, True),
        (" * ", None, True),
        ('"*"', '"abcdef"', False),
        ("", '"abcdef"', False),
        ("abcdef", "abcdef", True),
        ("1234, abcdef", "abcdef", True),
        ("abcdef", '"abcdef"', False),
        ('"abcdef"', "abcdef", False),
        ('w/"abcdef"', 'w/"abcdef"', True),
        ('W\\"abcdef"', 'W\\"abcdef"', True),
        ('W"abcdef"', 'W"abcdef"', True),
        ('w/"abcdef"', '"abcdef"', False),
    ],
)
def test_if_none_match(none_match: str, etag: str | None, expected: bool) -> None:
    assert is_304(("If-None-Match", none_match), etag=etag) is expected


def test_if_none_match_over_lines() -> None:
    assert is_304(("If-None-Match", '"a"'), ("If-None-Match", '"b"'), etag='"b"')


def test_if_none_match_takes_precedence() -> None:
    since = ("If-Modified-Since", format_http_date(NOW))
    modified = format_http_date(MODIFIED)
    assert is_304(since, etag='"a"', last_modified=modified)
    assert not is_304(since, ("If-None-Match", '"b"'), etag='"a"', last_modified=modified)
    earlier = ("If-Modified-Since", format_http_date(MODIFIED - 1))
    assert is_304(earlier, ("If-None-Match", '"a"'), etag='"a"', last_modified=modified)


@pytest.mark.parametrize(
    ("since", "last_modified", "date", "expected"),
    [
        (MODIFIED, MODIFIED, None, True),
        (MODIFIED + 1000, MODIFIED, NOW, True),
        (MODIFIED - 1, MODIFIED, NOW, False),
        (NOW, None, NOW, True),
        (NOW + 60, None, NOW, True),
        (MODIFIED, None, NOW, False),
        (NOW, None, None, False),
    ],
)
def test_if_modified_since(since: float, last_modified: float | None, date: float | None, expected: bool) -> None:
    modified = None if last_modified is None else format_http_date(last_modified)
    assert is_304(("If-Modified-Since", format_http_date(since)), last_modified=modified, date=date) is expected


def test_an_invalid_last_modified_leaves_the_date() -> None:
    condition = ("If-Modified-Since", format_http_date(NOW))
    assert is_304(condition, last_modified="yesterday", date=NOW)
    assert not is_304(condition, last_modified="yesterday")


def test_if_modified_since_in_another_form_of_date() -> None:
    assert is_304(("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT"), last_modified="Sun Nov  6 08:49:37 1994")


@pytest.mark.parametrize("since", ["", "0", "yesterday", "Tue, 03 Feb 2026 04:05:06 UTC"])
def test_an_invalid_if_modified_since_is_ignored(since: str) -> None:
    assert not is_304(("If-Modified-Since", since), last_modified=since, date=0.0)


def test_several_dates_are_ignored() -> None:
    line = ("If-Modified-Since", format_http_date(NOW))
    assert not is_304(line, line, last_modified=format_http_date(MODIFIED))


@pytest.mark.parametrize(("method", "expected"), [("GET", True), ("HEAD", True), ("POST", False), ("get", False)])
def test_only_get_and_head_have_a_304(method: str, expected: bool) -> None:
    assert is_304(("If-None-Match", "*"), method=method) is expected
    since = ("If-Modified-Since", format_http_date(NOW))
    assert is_304(since, method=method, date=NOW) is expected


def test_a_request_without_conditions_proceeds() -> None:
    assert not is_304(etag='"a"', last_modified=format_http_date(MODIFIED), date=NOW)


@pytest.mark.parametrize(
    ("name", "for_cache", "for_origin"),
    [
        ("If-None-Match", True, False),
        ("If-Modified-Since", True, False),
        ("if-match", False, True),
        ("If-Unmodified-Since", False, True),
        ("If-Range", False, False),
        ("Range", False, False),
    ],
)
def test_who_evaluates_which(name: str, for_cache: bool, for_origin: bool) -> None:
    fields = fields_of([(name, "x")])
    assert has_cache_conditions(fields) is for_cache
    assert has_origin_conditions(fields) is for_origin


def test_without_conditions() -> None:
    pairs = [
        ("Host", "a"),
        ("IF-None-Match", "b"),
        ("If-Modified-Since", "c"),
        ("If-Match", "d"),
        ("Range", "e"),
        ("If-Range", "f"),
        ("If-Unmodified-Since", "g"),
    ]
    assert without_conditions(pairs) == [("Host", "a"), ("If-Match", "d"), ("If-Unmodified-Since", "g")]


def test_what_a_304_carries() -> None:
    kept = [
        ("Date", "1"),
        ("ETag", "2"),
        ("Last-Modified", "3"),
        ("Cache-Control", "4"),
        ("Content-Location", "5"),
        ("Expires", "6"),
        ("Vary", "7"),
        ("Set-Cookie", "8"),
        ("Content-Security-Policy", "9"),
    ]
    left_out = ["Content-Length", "content-type", "Content-Encoding", "Content-Language", "Content-Range"]
    left_out += ["Content-MD5", "Content-Digest", "Repr-Digest", "Transfer-Encoding"]
    assert not_modified_fields([*kept, *((name, "x") for name in left_out)]) == kept


@given(anything, anything, anything, st.none() | st.floats(0, 2**33))
def test_nothing_raises(condition: str, etag: str, last_modified: str, date: float | None) -> None:
    for name in ("If-None-Match", "If-Modified-Since"):
        is_304((name, condition), etag=etag, last_modified=last_modified, date=date)


@given(st.lists(st.text(st.characters(min_codepoint=0x23, max_codepoint=0x7E), max_size=8), min_size=1), st.data())
def test_every_listed_tag_matches(opaque: list[str], data: st.DataObject) -> None:
    weak = st.sampled_from(["", "W/"])
    listed = ", ".join(f'{data.draw(weak)}"{tag}"' for tag in opaque)
    stored = f'{data.draw(weak)}"{data.draw(st.sampled_from(opaque))}"'
    assert is_304(("If-None-Match", listed), etag=stored)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], False),
        (["*"], False),
        ([" * "], False),
        (['"a"'], False),
        (['"b", "a"'], False),
        (['"b"', '"a"'], False),
        (['"b,a"'], True),
        (['"b"'], True),
        (['W/"a"'], True),
        (["a"], True),
        ([""], True),
        (['"*"'], True),
    ],
)
def test_if_match(lines: list[str], expected: bool) -> None:
    assert fails_if_match(fields_of(("If-Match", line) for line in lines), '"a"') is expected


def test_if_match_compares_strongly() -> None:
    assert fails_if_match(fields_of([("If-Match", 'W/"a"')]), 'W/"a"')


@given(anything)
def test_any_if_match_can_be_evaluated(value: str) -> None:
    assert isinstance(fails_if_match(fields_of([("If-Match", value)]), '"a"'), bool)
