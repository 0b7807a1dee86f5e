from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.fields import is_field_value
from edgecache.http.message import (
    RequestHead,
    fields_of,
    reason_phrase,
    render_fields,
    render_status_line,
)

octets = st.binary(max_size=40).map(lambda value: value.decode("latin-1"))


def test_field_lines_keep_order_and_repetition() -> None:
    fields = fields_of([("A", "1"), ("b", "2"), ("a", "3")])
    assert list(fields.items()) == [("A", "1"), ("b", "2"), ("a", "3")]
    assert fields.getall("a") == ["1", "3"]
    assert render_fields(fields.items()) == b"A: 1\r\nb: 2\r\na: 3\r\n"


@given(st.lists(octets.filter(is_field_value)))
def test_values_are_written_as_the_bytes_they_were_read_from(values: list[str]) -> None:
    rendered = render_fields(("x", value) for value in values)
    assert [line.removeprefix(b"x: ").decode("latin-1") for line in rendered.split(b"\r\n")[:-1]] == values


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, b"HTTP/1.1 200 OK\r\n"), (304, b"HTTP/1.1 304 Not Modified\r\n"), (299, b"HTTP/1.1 299 \r\n")],
)
def test_status_lines(status: int, line: bytes) -> None:
    assert render_status_line(status) == line
    assert reason_phrase(status).encode() in line


def test_the_target_uri_is_spelled_as_received() -> None:
    head = RequestHead("GET", "https", "a.example:8443", "//b/..%2f?Q#", fields_of([]))
    assert head.target_uri == "https://a.example:8443//b/..%2f?Q#"
