from __future__ import annotations

import calendar
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgecache.http.fields import (
    DELTA_SECONDS_MAX,
    EntityTag,
    combined,
    connection_options,
    entity_tag_list,
    format_http_date,
    is_field_value,
    is_token,
    members,
    parse_age,
    parse_delta_seconds,
    parse_entity_tag,
    parse_http_date,
    split_list,
    without_connection_fields,
)
from edgecache.http.message import fields_of

NOW = float(calendar.timegm((2026, 2, 3, 4, 5, 6)))
IN_1994 = float(calendar.timegm((1994, 11, 6, 8, 49, 37)))

latin1 = st.binary(max_size=60).map(lambda octets: octets.decode("latin-1"))
anything = latin1 | st.text(max_size=60)
tokens = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)


# ---------------------------------------------------------------------------------------- tokens and values


@pytest.mark.parametrize("s", ["GET", "x-y", "!#$%&'*+-.^_`|~09azAZ"])
def test_tokens(s: str) -> None:
    assert is_token(s)


@pytest.mark.parametrize("s", ["", " ", "a b", "a:", '"a"', "a\n", "é", "a/b", "(a)", "a@b"])
def test_what_is_not_a_token(s: str) -> None:
    assert not is_token(s)


@pytest.mark.parametrize("s", ["", "a", "a b\tc", "caf\xe9", "\x80\xff", " a "])
def test_field_values(s: str) -> None:
    assert is_field_value(s)


@pytest.mark.parametrize("s", ["a\r", "a\nb", "a\r\nb: c", "\0", "\x7f", "\x1f", "\u0100", "a\n"])
def test_what_is_not_a_field_value(s: str) -> None:
    assert not is_field_value(s)


@given(anything)
def test_a_field_value_can_be_written_as_one_line(s: str) -> None:
    if is_field_value(s):
        assert len(f"a: {s}".encode("latin-1").splitlines()) == 1


# ----------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (" , ,, ", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a ,\tb\t", ["a", "b"]),
        (",a,,b,", ["a", "b"]),
        ('a="b,c", d', ['a="b,c"', "d"]),
        (r'a="b\",c", d', [r'a="b\",c"', "d"]),
        (r'a="b\\", d', [r'a="b\\"', "d"]),
        ('"a,b"c,d', ['"a,b"c', "d"]),
        ("a='b,c'", ["a='b", "c'"]),
        ('a="b, no-store', ['a="b', "no-store"]),
        ('x="y", a="b, no-store', ['x="y"', 'a="b', "no-store"]),
        ('a="b, c\\', ['a="b', "c\\"]),
        ('"', ['"']),
    ],
)
def test_split_list(value: str, expected: list[str]) -> None:
    assert split_list(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"a", W/"b"', ['"a"', 'W/"b"']),
        ('"a,b", "c"', ['"a,b"', '"c"']),
        (r'"a\", "b"', [r'"a\"', '"b"']),
        (r'W\"a"', [r'W\"a"']),
        ("a, b", ["a", "b"]),
        ('"a, "b", "c"', ['"a', '"b"', '"c"']),
        ('"a", "b', ['"a"', '"b']),
    ],
)
def test_entity_tag_list_knows_no_escapes(value: str, expected: list[str]) -> None:
    assert entity_tag_list(value) == expected


@given(anything)
@example('"\\' * 30)
def test_members_of_anything_are_trimmed_and_hold_no_bare_comma(value: str) -> None:
    for split in (split_list, entity_tag_list):
        for member in split(value):
            assert member
            assert member == member.strip(" \t")
            assert '"' in member or "," not in member


@given(st.lists(tokens | tokens.map(lambda token: f'{token}="a, \\"{token}\\","')))
def test_a_joined_list_splits_into_its_members(parts: list[str]) -> None:
    assert split_list(", ".join(parts)) == parts


@pytest.mark.parametrize(
    "hostile", ['"\\' * 50_000, '"' * 100_001, "a" * 100_000 + '"', '"a' + "\\" * 99_999, "," * 100_000]
)
def test_long_hostile_lists_are_split_in_linear_time(hostile: str) -> None:
    split_list(hostile)
    entity_tag_list(hostile)


def test_combined_and_members() -> None:
    fields = fields_of([("A", "1"), ("b", "x"), ("a", '2, "3,4"')])
    assert combined(fields, "a") == '1, 2, "3,4"'
    assert members(fields, "A") == ["1", "2", '"3,4"']
    assert combined(fields, "c") is None
    assert members(fields, "c") == []


# ------------------------------------------------------------------------------------------ numbers of seconds


@pytest.mark.parametrize(
    ("s", "expected"),
    [
        ("0", 0),
        ("3600", 3600),
        ("003600", 3600),
        ("0" * 5000 + "7", 7),
        ("2147483647", 2147483647),
        ("2147483648", DELTA_SECONDS_MAX),
        ("2147483649", DELTA_SECONDS_MAX),
        ("99999999999", DELTA_SECONDS_MAX),
        ("9" * 5000, DELTA_SECONDS_MAX),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("1e3", None),
        (" 1", None),
        ("1 ", None),
        ("1\n", None),
        ("1_000", None),
        ("0x10", None),
        ("\u0661", None),
        ("\xb2", None),
        ("a", None),
    ],
)
def test_delta_seconds(s: str, expected: int | None) -> None:
    assert parse_delta_seconds(s) == expected


@given(st.integers(0, 2**40), st.integers(0, 5))
def test_delta_seconds_of_any_number(number: int, zeros: int) -> None:
    assert parse_delta_seconds("0" * zeros + str(number)) == min(number, DELTA_SECONDS_MAX)


@given(anything)
def test_delta_seconds_of_anything(s: str) -> None:
    seconds = parse_delta_seconds(s)
    assert seconds is None or 0 <= seconds <= DELTA_SECONDS_MAX


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], 0),
        (["0"], 0),
        (["7200"], 7200),
        (["99999999999"], DELTA_SECONDS_MAX),
        (["7200,0"], 7200),
        (["0,7200"], 0),
        (["abc"], None),
        ([""], None),
        (["-7200"], None),
        (["7200.0"], None),
        (["0, 0"], None),
        (["3600, 3600"], None),
        (["7200", "0"], None),
        (["0", "7200"], None),
        (["0", "0"], None),
        (["7200;foo=bar"], None),
        (["7200;foo=111"], None),
    ],
)
def test_age(lines: list[str], expected: int | None) -> None:
    assert parse_age(fields_of([("Age", line) for line in lines])) == expected


# ----------------------------------------------------------------------------------------------------- dates


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Mon, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_the_three_forms_of_a_date(value: str) -> None:
    assert parse_http_date(value, NOW) == IN_1994


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Thu, 01 Jan 1970 00:00:00 GMT", (1970, 1, 1, 0, 0, 0)),
        ("Wed, 31 Dec 1969 23:59:59 GMT", (1969, 12, 31, 23, 59, 59)),
        ("Sun, 21 Nov 2286 04:46:39 GMT", (2286, 11, 21, 4, 46, 39)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", (9999, 12, 31, 23, 59, 59)),
        ("Sat, 29 Feb 2020 00:00:00 GMT", (2020, 2, 29, 0, 0, 0)),
        ("Sat, 31 Dec 2016 23:59:60 GMT", (2017, 1, 1, 0, 0, 0)),
        ("Thu Aug 18 02:01:18 2050", (2050, 8, 18, 2, 1, 18)),
        ("Thu Aug  8 02:01:18 2050", (2050, 8, 8, 2, 1, 18)),
        ("Thu Aug 08 02:01:18 2050", (2050, 8, 8, 2, 1, 18)),
    ],
)
def test_dates(value: str, expected: tuple[int, ...]) -> None:
    assert parse_http_date(value, NOW) == calendar.timegm(expected)


@pytest.mark.parametrize(
    ("value", "year"),
    [
        ("Thursday, 18-Aug-50 02:01:18 GMT", 2050),
        ("Monday, 03-Feb-76 04:05:06 GMT", 2076),
        ("Monday, 03-Feb-76 04:05:07 GMT", 1976),
        ("Monday, 02-Feb-77 00:00:00 GMT", 1977),
        ("Saturday, 01-Jan-00 00:00:00 GMT", 2000),
    ],
)
def test_two_digit_years_are_at_most_50_years_ahead(value: str, year: int) -> None:
    instant = parse_http_date(value, NOW)
    assert instant is not None
    assert format_http_date(instant)[12:16] == str(year)


def test_two_digit_years_reach_into_the_next_century() -> None:
    in_1999 = float(calendar.timegm((1999, 6, 1, 0, 0, 0)))
    instant = parse_http_date("Saturday, 01-Jan-05 00:00:00 GMT", in_1999)
    assert instant == calendar.timegm((2005, 1, 1, 0, 0, 0))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "-1",
        "1994-11-06T08:49:37Z",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "THU, 18 Aug 2050 02:01:18 GMT",
        "Thu, 18 AUG 2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02:01:18 gMT",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 2050 02:01:18 +0000",
        "Thu, 18 Aug 2050 02:01:18",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 8 Aug 2050 02:01:18 GMT",
        "Thu Aug 8 02:01:18 2050",
        "Thu, 18 Aug 2050 24:00:00 GMT",
        "Thu, 18 Aug 2050 23:60:00 GMT",
        "Thu, 18 Aug 2050 23:00:61 GMT",
        "Thu, 31 Feb 2050 02:01:18 GMT",
        "Thu, 29 Feb 2050 02:01:18 GMT",
        "Thu, 00 Aug 2050 02:01:18 GMT",
        "Thu, 18 Aug 0000 02:01:18 GMT",
        "Thu, 18 Aug 12050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02:01:18 GMT ",
        "Thu, 18 Aug 2050 02:01:18 GMT\n",
        "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        "Thu, \u0661\u0668 Aug 2050 02:01:18 GMT",
    ],
)
def test_what_is_not_a_date(value: str) -> None:
    assert parse_http_date(value, NOW) is None


@given(anything, st.floats(0, 2**33))
def test_a_date_of_anything_is_none_or_a_number(value: str, now: float) -> None:
    assert parse_http_date(value, now) is None


@given(
    st.from_regex(
        r"(Sun, [0-3][0-9] (Jan|Feb) [0-9]{4}|Sunday, [0-3][0-9]-Feb-[0-9]{2}) [0-2][0-9]:[0-6][0-9]:[0-6][0-9] GMT"
        r"|Sun Feb [ 0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9] [0-9]{4}",
        fullmatch=True,
    )
)
def test_what_looks_like_a_date_never_raises(value: str) -> None:
    instant = parse_http_date(value, NOW)
    assert instant is None or isinstance(instant, float)


@given(st.integers(-62_135_596_800, 253_402_300_799), st.floats(0, 0.999))
def test_dates_round_trip(t: int, fraction: float) -> None:
    assert parse_http_date(format_http_date(t), NOW) == t
    # A double has not enough digits for fractions of far-away seconds.
    if abs(t) < 2**32:
        assert parse_http_date(format_http_date(t + fraction), NOW) == t


def test_format_http_date() -> None:
    assert format_http_date(IN_1994) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_http_date(IN_1994 + 0.9) == "Sun, 06 Nov 1994 08:49:37 GMT"
    with pytest.raises(OverflowError):
        format_http_date(1e15)


# ------------------------------------------------------------------------------------------------ entity tags


@pytest.mark.parametrize(
    ("s", "expected"),
    [
        ('"a"', EntityTag(False, "a")),
        ('W/"a"', EntityTag(True, "a")),
        ('""', EntityTag(False, "")),
        ('"a,b\\"', EntityTag(False, "a,b\\")),
        ('"\xfc"', EntityTag(False, "\xfc")),
        ("a", None),
        ('w/"a"', None),
        ('W"a"', None),
        ('W\\"a"', None),
        ('"a', None),
        ('"a b"', None),
        ('"a"b"', None),
        ('"a"\n', None),
        ('"\u0100"', None),
        ("*", None),
        ("", None),
    ],
)
def test_entity_tags(s: str, expected: EntityTag | None) -> None:
    assert parse_entity_tag(s) == expected


@pytest.mark.parametrize(
    ("one", "other", "strong", "weak"),
    [  # RFC 9110 §8.8.3.2, table 3
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_comparison_of_entity_tags(one: str, other: str, strong: bool, weak: bool) -> None:
    left, right = parse_entity_tag(one), parse_entity_tag(other)
    assert left is not None
    assert right is not None
    assert left.strong_equals(right) is right.strong_equals(left) is strong
    assert left.weak_equals(right) is right.weak_equals(left) is weak


@given(anything)
def test_an_entity_tag_is_what_it_was_written_as(s: str) -> None:
    tag = parse_entity_tag(s)
    if tag is not None:
        assert s == ("W/" if tag.weak else "") + f'"{tag.opaque}"'
        assert entity_tag_list(s) == [s]


# ------------------------------------------------------------------------------------------ connection fields


def test_connection_fields_and_what_connection_names_are_dropped() -> None:
    fields = fields_of(
        [
            ("Host", "a"),
            ("Connection", "close, X-One"),
            ("TE", "trailers"),
            ("connection", "x-TWO"),
            ("X-One", "1"),
            ("x-two", "2"),
            ("Set-Cookie", "b"),
            ("Transfer-Encoding", "chunked"),
            ("Set-Cookie", "c"),
            ("Proxy-Authorization", "d"),
        ]
    )
    assert connection_options(fields) == {"close", "x-one", "x-two"}
    assert without_connection_fields(fields) == [("Host", "a"), ("Set-Cookie", "b"), ("Set-Cookie", "c")]


def test_connection_fields_need_no_connection_to_be_dropped() -> None:
    fields = fields_of([("Keep-Alive", "timeout=5"), ("A", "b"), ("Upgrade", "x"), ("Proxy-Connection", "y")])
    assert connection_options(fields) == frozenset()
    assert without_connection_fields(fields) == [("A", "b")]


@given(st.lists(st.tuples(tokens, latin1)))
def test_end_to_end_fields_keep_their_order(pairs: list[tuple[str, str]]) -> None:
    kept = without_connection_fields(fields_of(pairs))
    remaining = iter(pairs)
    assert all(pair in remaining for pair in kept)
