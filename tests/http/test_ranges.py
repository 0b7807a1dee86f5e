from __future__ import annotations

import calendar
import email.parser
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.fields import format_http_date
from edgecache.http.ranges import (
    MAX_RANGES,
    ContentRange,
    RangeSpec,
    if_range_matches,
    is_abusive,
    layout_multipart,
    parse_content_range,
    parse_range,
    render_content_range,
    render_unsatisfied,
    resolve,
)

NOW = float(calendar.timegm((2026, 2, 3, 4, 5, 6)))
FAR = 2**63 - 1

latin1 = st.binary(max_size=40).map(lambda octets: octets.decode("latin-1"))
range_like = st.lists(st.sampled_from(["bytes", "=", "-", ",", " ", "0", "5", "/", "*", "99"])).map("".join)
anything = latin1 | st.text(max_size=40) | range_like
bounds = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: (min(pair), max(pair)))


# ----------------------------------------------------------------------------------------------- Content-Range


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 0-4/10", ContentRange(0, 4, 10)),
        ("bytes 0-0/1", ContentRange(0, 0, 1)),
        ("BYTES 5-9/*", ContentRange(5, 9, None)),
        ("bytes 4-9/10", ContentRange(4, 9, 10)),
        ("bytes */10", None),
        ("bytes 5-4/10", None),
        ("bytes 5-10/10", None),
        ("bytes 0-4", None),
        ("bytes=0-4/10", None),
        ("bytes  0-4/10", None),
        ("bytes 0-4/10 ", None),
        ("bytes -4/10", None),
        ("bytes 0-/10", None),
        ("bytes +0-4/10", None),
        ("items 0-4/10", None),
        ("bytes 0-4/10, bytes 0-4/10", None),
        ("bytes 0-" + "9" * 5000 + "/*", ContentRange(0, FAR, None)),
        ("", None),
    ],
)
def test_content_range(value: str, expected: ContentRange | None) -> None:
    assert parse_content_range(value) == expected


@given(bounds, st.none() | st.integers(100, 2**40))
def test_content_range_round_trips(pair: tuple[int, int], complete: int | None) -> None:
    held = ContentRange(*pair, complete)
    assert parse_content_range(render_content_range(held)) == held
    assert held.size == len(range(held.first, held.last + 1))


def test_unsatisfied() -> None:
    assert render_unsatisfied(10) == "bytes */10"
    assert parse_content_range(render_unsatisfied(10)) is None


# ------------------------------------------------------------------------------------------------------- Range


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-1", (RangeSpec(0, 1),)),
        ("Bytes=1-", (RangeSpec(1, None),)),
        ("bytes=-5", (RangeSpec(None, 5),)),
        ("bytes=-0", (RangeSpec(None, 0),)),
        ("bytes=0-0,-1", (RangeSpec(0, 0), RangeSpec(None, 1))),
        ("bytes= 0-1 , ,5-6,", (RangeSpec(0, 1), RangeSpec(5, 6))),
        ("bytes=000-001", (RangeSpec(0, 1),)),
        ("bytes=0-" + "9" * 5000, (RangeSpec(0, FAR),)),
        ("bytes=-99999999999999999999", (RangeSpec(None, FAR),)),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=2-1", None),
        ("bytes=0-1,2-1", None),
        ("bytes=0-1,x", None),
        ("bytes=0-1;q=1", None),
        ("bytes =0-1", None),
        ("bytes 0-1", None),
        ("bytes=0 -1", None),
        ("bytes=0-1-2", None),
        ("bytes=--1", None),
        ("bytes=+0-1", None),
        ("bytes=\u0661-", None),
        ("items=0-1", None),
        ("0-1", None),
        ("", None),
    ],
)
def test_range(value: str, expected: tuple[RangeSpec, ...] | None) -> None:
    assert parse_range(value) == expected


@pytest.mark.parametrize(
    ("value", "complete", "expected"),
    [
        ("bytes=0-1", 10, ((0, 1),)),
        ("bytes=1-", 10, ((1, 9),)),
        ("bytes=-1", 10, ((9, 9),)),
        ("bytes=-20", 10, ((0, 9),)),
        ("bytes=5-99999999999999999999", 10, ((5, 9),)),
        ("bytes=9-9", 10, ((9, 9),)),
        ("bytes=10-", 10, ()),
        ("bytes=99999999999999999999-", 10, ()),
        ("bytes=-0", 10, ()),
        ("bytes=5-6,0-1,20-30", 10, ((5, 6), (0, 1))),
        ("bytes=0-", 0, ()),
        ("bytes=-5", 0, ()),
    ],
)
def test_resolve(value: str, complete: int, expected: tuple[tuple[int, int], ...]) -> None:
    specs = parse_range(value)
    assert specs is not None
    assert resolve(specs, complete) == expected


@given(anything, st.integers(0, 200))
def test_what_resolves_lies_within(value: str, complete: int) -> None:
    parse_content_range(value)
    for text in (value, f"bytes={value}"):
        for first, last in resolve(parse_range(text) or (), complete):
            assert 0 <= first <= last < complete


@given(st.integers(1, 300), st.integers(0, 400), st.none() | st.integers(0, 400))
def test_a_range_is_a_slice(complete: int, first: int, length: int | None) -> None:
    content = bytes(index % 251 for index in range(complete))
    stop = None if length is None else first + length
    value = f"bytes={first}-" + ("" if stop is None else str(stop))
    (spec,) = parse_range(value) or ()
    found = [content[start : last + 1] for start, last in resolve([spec], complete)]
    assert found == ([content[first : None if stop is None else stop + 1]] if first < complete else [])
    suffix = resolve(parse_range(f"bytes=-{first}") or (), complete)
    assert [content[start : last + 1] for start, last in suffix] == ([content[-first:]] if first else [])


@pytest.mark.parametrize(
    ("ranges", "complete", "expected"),
    [
        ([(0, 1)], 10, False),
        ([(0, 9)], 10, False),
        ([(0, 1), (5, 6)], 10, False),
        ([(5, 6), (0, 1)], 10, False),
        ([(0, 3), (2, 5)], 10, False),
        ([(0, 3), (2, 5), (4, 6)], 100, True),
        ([(0, 50), (1, 2), (10, 11)], 100, True),
        ([(0, 9), (0, 0)], 10, True),
        ([(n, n) for n in range(0, 2 * MAX_RANGES, 2)], 100, False),
        ([(n, n) for n in range(0, 2 * MAX_RANGES + 2, 2)], 100, True),
        ([], 10, False),
    ],
)
def test_abuse(ranges: list[tuple[int, int]], complete: int, expected: bool) -> None:
    assert is_abusive(ranges, complete) is expected


@given(st.lists(bounds, max_size=20))
def test_what_is_not_abuse_costs_no_more_than_the_whole(ranges: list[tuple[int, int]]) -> None:
    if not is_abusive(ranges, 100):
        assert sum(last - first + 1 for first, last in ranges) <= 100


# ---------------------------------------------------------------------------------------------------- If-Range


@pytest.mark.parametrize(
    ("value", "etag", "expected"),
    [
        ('"a"', '"a"', True),
        ('"a"', '"b"', False),
        ('W/"a"', 'W/"a"', False),
        ('"a"', 'W/"a"', False),
        ('W/"a"', '"a"', False),
        ("a", "a", False),
        ('"a"', None, False),
        ('"a", "b"', '"a"', False),
        ("*", '"a"', False),
        ("", '"a"', False),
    ],
)
def test_if_range_with_an_entity_tag(value: str, etag: str | None, expected: bool) -> None:
    assert if_range_matches(value, etag=etag, last_modified=None, date=NOW, now=NOW) is expected


@pytest.mark.parametrize(
    ("since", "modified", "date", "expected"),
    [
        (NOW - 60, NOW - 60, NOW, True),
        (NOW - 1, NOW - 1, NOW, True),
        (NOW, NOW, NOW, False),
        (NOW - 61, NOW - 60, NOW, False),
        (NOW - 59, NOW - 60, NOW, False),
        (NOW - 60, NOW - 60, None, False),
        (NOW - 60, None, NOW, False),
    ],
)
def test_if_range_with_a_date(since: float, modified: float | None, date: float | None, expected: bool) -> None:
    last_modified = None if modified is None else format_http_date(modified)
    value = format_http_date(since)
    assert if_range_matches(value, etag='"a"', last_modified=last_modified, date=date, now=NOW) is expected


@given(anything, anything, anything)
def test_if_range_never_raises(value: str, etag: str, last_modified: str) -> None:
    if_range_matches(value, etag=etag, last_modified=last_modified, date=NOW, now=NOW)


# ----------------------------------------------------------------------------------------- multipart/byteranges


@given(st.lists(bounds, min_size=1, max_size=5), st.sampled_from([None, "text/plain", "image/png"]))
def test_a_multipart_body_reads_back_as_its_parts(ranges: list[tuple[int, int]], content_type: str | None) -> None:
    content = bytes(65 + index % 26 for index in range(100))
    layout = layout_multipart(ranges, content_type=content_type, complete=100, boundary="THIS_SEPARATES")
    body = b"".join(preamble + content[first : last + 1] for preamble, first, last in layout.parts) + layout.closing
    assert len(body) == layout.length

    head = f"Content-Type: {layout.content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    assert message.get_content_type() == "multipart/byteranges"
    read = []
    for part in message.iter_parts():
        held = parse_content_range(part["Content-Range"])
        assert held is not None
        assert part["Content-Type"] == content_type
        assert part.get_payload(decode=True) == content[held.first : held.last + 1]
        read.append((held.first, held.last))
    assert read == ranges


def test_a_multipart_body_to_the_byte() -> None:
    layout = layout_multipart([(0, 1), (8, 9)], content_type="text/plain", complete=10, boundary="b")
    assert layout.content_type == "multipart/byteranges; boundary=b"
    assert layout.parts == (
        (b"--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n", 0, 1),
        (b"\r\n--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n", 8, 9),
    )
    assert layout.closing == b"\r\n--b--\r\n"
