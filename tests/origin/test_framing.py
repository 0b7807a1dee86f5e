"""Where a body ends: the decision, and the chunked coding at every split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.errors import OriginError
from edgecache.http.message import fields_of
from edgecache.origin.base import Framing
from edgecache.origin.framing import BodyReader, body_reader
from edgecache.origin.wire import WireResponse, parse_response


def reader_of(fields: bytes, method: str = "GET", status: int = 200, minor: int = 1) -> BodyReader:
    return body_reader(method, parse_response(b"HTTP/1.%d %d x\r\n%b\r\n" % (minor, status, fields)))


CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 5\r\n"


@pytest.mark.parametrize(
    ("fields", "method", "status", "framing", "length"),
    [
        (LENGTH, "GET", 200, Framing.LENGTH, 5),
        (b"Content-Length: 0\r\n", "GET", 200, Framing.LENGTH, 0),
        (CHUNKED, "GET", 200, Framing.CHUNKED, None),
        (b"transfer-encoding: CHUNKED\r\n", "GET", 200, Framing.CHUNKED, None),
        (b"", "GET", 200, Framing.CLOSE, None),
        (LENGTH, "HEAD", 200, Framing.NONE, 0),
        (CHUNKED, "HEAD", 200, Framing.NONE, 0),
        (b"", "HEAD", 200, Framing.NONE, 0),
        (LENGTH, "GET", 304, Framing.NONE, 0),
        (LENGTH, "GET", 204, Framing.NONE, 0),
        (b"", "GET", 204, Framing.NONE, 0),
        (LENGTH, "GET", 205, Framing.LENGTH, 5),
    ],
)
def test_framing(fields: bytes, method: str, status: int, framing: Framing, length: int | None) -> None:
    reader = reader_of(fields, method, status)
    assert (reader.framing, reader.length) == (framing, length)


AMBIGUOUS = {
    "both": LENGTH + CHUNKED,
    "both, the other way round": CHUNKED + LENGTH,
    "both, with the length 0": CHUNKED + b"Content-Length: 0\r\n",
    "two lengths": LENGTH + b"Content-Length: 6\r\n",
    "the same length twice": LENGTH + LENGTH,
    "list of lengths": b"Content-Length: 5, 5\r\n",
    "signed": b"Content-Length: +5\r\n",
    "negative": b"Content-Length: -5\r\n",
    "hexadecimal": b"Content-Length: 0x5\r\n",
    "leading zero": b"Content-Length: 05\r\n",
    "empty length": b"Content-Length:\r\n",
    "length with a space in it": b"Content-Length: 5 5\r\n",
    "length of no known size": b"Content-Length: 9999999999999999999\r\n",
    "digits that are not ASCII": "Content-Length: \u00b2\r\n".encode("latin-1"),
    "xchunked": b"Transfer-Encoding: xchunked\r\n",
    "comma chunked": b"Transfer-Encoding: ,chunked\r\n",
    "chunked comma": b"Transfer-Encoding: chunked,\r\n",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked, gzip": b"Transfer-Encoding: chunked, gzip\r\n",
    "gzip": b"Transfer-Encoding: gzip\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
    "chunked twice": CHUNKED + CHUNKED,
    "chunked with a parameter": b"Transfer-Encoding: chunked;a=b\r\n",
    "quoted": b'Transfer-Encoding: "chunked"\r\n',
    "empty coding": b"Transfer-Encoding:\r\n",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("fields", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_end_in_doubt_is_refused(fields: bytes, method: str) -> None:
    with pytest.raises(OriginError):
        reader_of(fields, method)


def test_two_ends_are_refused_whoever_read_the_head() -> None:
    fields = fields_of([("Transfer-Encoding", "chunked"), ("Content-Length", "5")])
    with pytest.raises(OriginError):
        body_reader("GET", WireResponse(1, 200, fields))


def test_chunked_is_not_for_http_1_0() -> None:
    with pytest.raises(OriginError):
        reader_of(CHUNKED, minor=0)


@pytest.mark.parametrize(
    ("fields", "data", "body", "complete", "overrun"),
    [
        (LENGTH, b"hell", b"hell", False, False),
        (LENGTH, b"hello", b"hello", True, False),
        (LENGTH, b"hello!", b"hello", True, True),
        (CHUNKED, b"5\r\nhello\r\n0\r\n", b"hello", False, False),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", b"hello", True, False),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", b"hello", True, True),
        (CHUNKED, b"5;a=b;c\r\nhello\r\n000\r\nT: x\r\n\r\n", b"hello", True, False),
        (b"", b"hello", b"hello", False, False),
    ],
)
def test_reading(fields: bytes, data: bytes, body: bytes, complete: bool, overrun: bool) -> None:
    reader = reader_of(fields)
    assert reader.read(data) == body
    assert (reader.complete, reader.overrun) == (complete, overrun)


MALFORMED_CHUNKS = {
    "no size": b"\r\na",
    "space after the size": b"1 \r\na\r\n0\r\n\r\n",
    "space before the size": b" 1\r\na\r\n0\r\n\r\n",
    "prefix": b"0x1\r\na\r\n0\r\n\r\n",
    "underscore": b"1_0\r\na",
    "plus": b"+1\r\na\r\n0\r\n\r\n",
    "minus": b"-1\r\na\r\n0\r\n\r\n",
    "17 digits": b"FFFFFFFFFFFFFFFFF\r\na",
    "bare LF after the size": b"1\na\r\n0\r\n\r\n",
    "bare CR after the size": b"1\ra\r\n0\r\n\r\n",
    "bare LF after the data": b"1\r\na\n0\r\n\r\n",
    "data longer than its size": b"1\r\nab\r\n0\r\n\r\n",
    "LF in an extension": b"1;a\nb\r\na\r\n0\r\n\r\n",
    "CR in an extension": b"1;a=b\rX\r\na\r\n0\r\n\r\n",
    "NUL in an extension": b"1;a\0\r\na\r\n0\r\n\r\n",
    "quoted CRLF in an extension": b'1;a="\r\n"\r\na\r\n0\r\n\r\n',
    "bare LF at the end": b"0\n\n",
    "bare LF after the last chunk": b"0\r\n\n",
    "bare LF after a trailer field": b"0\r\nX: y\n\n",
    "malformed trailer field": b"0\r\nX : y\r\n\r\n",
    "length in the trailer section": b"0\r\nContent-Length: 5\r\n\r\n",
    "endless extension": b"1;a=" + b"b" * 70_000,
    "endless trailers": b"0\r\n" + b"X: y\r\n" * 12_000,
}


@pytest.mark.parametrize("data", MALFORMED_CHUNKS.values(), ids=MALFORMED_CHUNKS)
def test_malformed_chunks_are_refused(data: bytes) -> None:
    with pytest.raises(OriginError):
        reader_of(CHUNKED).read(data)


def encode(pieces: list[bytes]) -> bytes:
    return b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.integers(1, 7))
def test_chunked_bodies_round_trip_however_they_arrive(pieces: list[bytes], step: int) -> None:
    reader, data, body = reader_of(CHUNKED), encode(pieces), b""
    for start in range(0, len(data), step):
        assert not reader.complete
        body += reader.read(data[start : start + step])
    assert body == b"".join(pieces)
    assert reader.complete
    assert not reader.overrun


def test_no_prefix_of_a_chunked_body_is_complete() -> None:
    data = encode([b"hello", b"world"])
    for end in range(len(data)):
        reader = reader_of(CHUNKED)
        reader.read(data[:end])
        assert not reader.complete


@given(st.binary(max_size=60) | st.text("0123456789aAfF;= \r\n:xX", max_size=60).map(str.encode))
def test_reading_chunks_raises_nothing_else(data: bytes) -> None:
    reader = reader_of(CHUNKED)
    try:
        reader.read(data)
    except OriginError:
        assert not reader.complete
