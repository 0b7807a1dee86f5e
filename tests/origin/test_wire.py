"""Heads on the wire: what is refused, what survives, and that a rendered request is one request."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.errors import ClientError, EdgecacheError, OriginError
from edgecache.http.message import RequestHead, fields_of, render_fields
from edgecache.origin.wire import is_hopeless, parse_response, render_request

from .scripted import content, request

STATUS = b"HTTP/1.1 200 OK\r\n"
END = b"\r\n\r\n"

MALFORMED_HEADS = {
    "white space before the colon": STATUS + b"Content-Length : 2" + END,
    "bare LF everywhere": b"HTTP/1.1 200 OK\nX: a\n\n",
    "bare LF after the status line": b"HTTP/1.1 200 OK\nX: a" + END,
    "bare LF between fields": STATUS + b"X: a\nY: b" + END,
    "bare CR in a value": STATUS + b"X: a\rb" + END,
    "bare CR between fields": STATUS + b"X: a\rY: b" + END,
    "obsolete folding with SP": STATUS + b"X: a\r\n b" + END,
    "obsolete folding with HTAB": STATUS + b"X: a\r\n\tb" + END,
    "folding of the first field": STATUS + b" X: a" + END,
    "NUL in a value": STATUS + b"X: a\0b" + END,
    "SOH in a value": STATUS + b"X: a\x01b" + END,
    "VT in a value": STATUS + b"X: a\x0bb" + END,
    "ESC in a value": STATUS + b"X: a\x1bb" + END,
    "DEL in a value": STATUS + b"X: a\x7fb" + END,
    "control in the reason": b"HTTP/1.1 200 O\x01K" + END,
    "NUL in the reason": b"HTTP/1.1 200 O\0K" + END,
    "CR in the reason": b"HTTP/1.1 200 O\rK" + END,
    "empty name": STATUS + b": a" + END,
    "no colon": STATUS + b"field" + END,
    "separator in a name": STATUS + b"a@b: c" + END,
    "white space in a name": STATUS + b"a b: c" + END,
    "8-bit name": STATUS + b"\xe9: c" + END,
    "NUL in a name": STATUS + b"a\0: c" + END,
    "two digits": b"HTTP/1.1 20 OK" + END,
    "four digits": b"HTTP/1.1 2000 OK" + END,
    "status below 100": b"HTTP/1.1 099 OK" + END,
    "no digits": b"HTTP/1.1 abc OK" + END,
    "negative status": b"HTTP/1.1 -20 OK" + END,
    "no status": b"HTTP/1.1" + END,
    "HTTP/1.2": b"HTTP/1.2 200 OK" + END,
    "HTTP/2.0": b"HTTP/2.0 200 OK" + END,
    "HTTP/0.9": b"HTTP/0.9 200 OK" + END,
    "HTTP/1.10": b"HTTP/1.10 200 OK" + END,
    "lower case protocol": b"http/1.1 200 OK" + END,
    "another protocol": b"ICY 200 OK" + END,
    "two spaces before the status": b"HTTP/1.1  200 OK" + END,
    "tab before the status": b"HTTP/1.1\t200 OK" + END,
    "empty line first": b"\r\n" + STATUS + b"X: a" + END,
    "space first": b" " + STATUS + b"X: a" + END,
    "byte order mark": b"\xef\xbb\xbf" + STATUS + b"X: a" + END,
    "a request": b"GET / HTTP/1.1\r\nHost: a" + END,
    "too many fields": STATUS + b"X: a\r\n" * 201 + b"\r\n",
    "too large": STATUS + b"X: " + b"a" * 65536 + END,
}


@pytest.mark.parametrize("block", MALFORMED_HEADS.values(), ids=MALFORMED_HEADS)
def test_malformed_heads_are_refused(block: bytes) -> None:
    with pytest.raises(OriginError):
        parse_response(block)


@pytest.mark.parametrize(
    ("block", "minor", "status", "fields"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 1, 200, []),
        (b"HTTP/1.0 404 Not Found\r\nA:b\r\n\r\n", 0, 404, [("A", "b")]),
        (b"HTTP/1.1 200 \r\nA: \t b c \t\r\n\r\n", 1, 200, [("A", "b c")]),
        (b"HTTP/1.1 200\r\nA:\r\n\r\n", 1, 200, [("A", "")]),
        (b"HTTP/1.1 200 \xe9t\xe9\r\nA: \xe9\xff\x80\r\n\r\n", 1, 200, [("A", "\xe9\xff\x80")]),
        (b"HTTP/1.1 999 x\r\n\r\n", 1, 999, []),
        (b"HTTP/1.1 599 x\r\nA: b:c\r\na: d\r\nA: b:c\r\n\r\n", 1, 599, [("A", "b:c"), ("a", "d"), ("A", "b:c")]),
    ],
)
def test_good_heads_are_read_exactly(block: bytes, minor: int, status: int, fields: list[tuple[str, str]]) -> None:
    head = parse_response(block)
    assert (head.minor, head.status, list(head.fields.items())) == (minor, status, fields)


def test_end_to_end_leaves_out_what_concerns_the_connection() -> None:
    head = parse_response(
        STATUS + b"Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: T\r\nSet-Cookie: a\r\nETag: x\r\nSet-Cookie: b\r\n\r\n"
    )
    assert list(head.end_to_end().fields.items()) == [("Set-Cookie", "a"), ("ETag", "x"), ("Set-Cookie", "b")]


@pytest.mark.parametrize(("status", "kept"), [(200, True), (304, True), (204, False), (103, False)])
def test_content_length_only_where_there_can_be_content(status: int, kept: bool) -> None:
    head = parse_response(b"HTTP/1.1 %d x\r\nContent-Length: 5\r\n\r\n" % status)
    assert ("Content-Length" in head.end_to_end().fields) is kept


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda data: STATUS + data + END))
def test_parse_response_raises_nothing_else(data: bytes) -> None:
    try:
        parse_response(data)
    except OriginError:
        return
    assert data.startswith(b"HTTP/1.")


TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


@given(st.integers(200, 999), st.lists(st.tuples(TOKENS, VALUES.map(lambda value: value.strip(" "))), max_size=8))
def test_heads_round_trip(status: int, pairs: list[tuple[str, str]]) -> None:
    head = parse_response(b"HTTP/1.1 %d \r\n%b\r\n" % (status, render_fields(pairs)))
    assert head.status == status
    assert list(head.fields.items()) == pairs


@pytest.mark.parametrize(
    ("beginning", "hopeless"),
    [
        (b"H", False),
        (b"HTTP/1.", False),
        (b"HTTP/1.1 200 OK\r\nX: y\r", False),
        (b"SSH-2.0", True),
        (b"\r\n", True),
        (b"HTTP/2", True),
        (b"HTTP/1.1 200 OK\n", True),
        (b"HTTP/1.1 " + b"x" * 65536, True),
    ],
)
def test_is_hopeless(beginning: bytes, hopeless: bool) -> None:
    assert is_hopeless(beginning, 0) is hopeless


def test_a_line_end_split_between_two_reads_is_not_a_bare_one() -> None:
    beginning = b"HTTP/1.1 200 OK\r"
    assert not is_hopeless(beginning + b"\nX", len(beginning))


# ------------------------------------------------------------------------------------------------ requests


def test_a_request_is_written_byte_for_byte() -> None:
    head = request("GET", "/a/../b//%2e?x=\xe9&y", ("accept", "\xe9\xff"), ("X-A", "1"), ("x-a", "2"))
    assert render_request(head, None, None, None).head == (
        b"GET /a/../b//%2e?x=\xe9&y HTTP/1.1\r\nHost: site.example\r\naccept: \xe9\xff\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "upgrade", "lines"),
    [
        ("GET", None, None, b""),
        ("POST", None, None, b"Content-Length: 0\r\n"),
        ("POST", content(length=3), None, b"Content-Length: 3\r\n"),
        ("POST", content(), None, b"Transfer-Encoding: chunked\r\n"),
        ("GET", None, "websocket", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ],
)
def test_framing_is_written_here(method: str, body: object, upgrade: str | None, lines: bytes) -> None:
    given_fields = [
        ("Host", "evil"),
        ("Content-Length", "99"),
        ("Transfer-Encoding", "gzip"),
        ("Connection", "x"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("X", "y"),
    ]
    rendered = render_request(request(method, "/", *given_fields), body, upgrade, "other:81")  # type: ignore[arg-type]
    assert rendered.head == method.encode() + b" / HTTP/1.1\r\nHost: other:81\r\nX: y\r\n" + lines + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [
        request("GE T"),
        request(""),
        request("GET\r\nX: y"),
        request("CONNECT"),
        request("GET", ""),
        request("GET", "/a b"),
        request("GET", "/a\r\nX: y"),
        request("GET", "/a#b"),
        request("GET", "/\0"),
        request("GET", "/\u20ac"),
        request("GET", "http://other/"),
        request("GET", "/", ("X", "a\r\nEvil: b")),
        request("GET", "/", ("X", "a\nEvil: b")),
        request("GET", "/", ("X", "a\rb")),
        request("GET", "/", ("X", "a\0")),
        request("GET", "/", ("X", "\u20ac")),
        request("GET", "/", ("X: a\r\nEvil", "b")),
        request("GET", "/", ("X ", "b")),
        request("GET", "/", ("Evil: a", "b")),
        request("GET", "/", ("", "b")),
        request("GET", "/", ("", "b"), ("X", "c")),
        request("GET", "/", ("\xe9", "b")),
        RequestHead("GET", "http", "", "/", fields_of([])),
        RequestHead("GET", "http", "good@evil", "/", fields_of([])),
        RequestHead("GET", "http", "good/evil?", "/", fields_of([])),
        RequestHead("GET", "http", "a\r\nX: y", "/", fields_of([])),
        RequestHead("GET", "http", "a b", "/", fields_of([])),
    ],
    ids=repr,
)
def test_what_would_not_stay_in_its_place_is_refused(head: RequestHead) -> None:
    with pytest.raises(ClientError) as caught:
        render_request(head, None, None, None)
    assert caught.value.status == 400


def test_an_upgrade_has_no_content_and_one_name() -> None:
    with pytest.raises(ClientError):
        render_request(request(), content(b"x", length=1), "websocket", None)
    with pytest.raises(ClientError):
        render_request(request(), None, "web socket", None)


class _Recorder:
    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.messages = 0

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_message_complete(self) -> None:
        self.messages += 1


ANYTHING = st.text(max_size=15)


@given(ANYTHING | st.just("GET"), ANYTHING | st.just("/"), st.lists(st.tuples(ANYTHING, ANYTHING), max_size=4))
def test_whatever_is_given_one_request_or_none_is_written(
    method: str, target: str, pairs: list[tuple[str, str]]
) -> None:
    try:
        rendered = render_request(request(method, target, *pairs), None, None, None)
    except EdgecacheError:
        return
    lines = rendered.head.split(b"\r\n")
    assert lines[0] == f"{method} {target} HTTP/1.1".encode("latin-1")
    assert lines[-2:] == [b"", b""]
    assert len(lines) <= 5 + len(pairs)
    assert rendered.head.count(b"\n") == rendered.head.count(b"\r") == len(lines) - 1


@given(st.lists(st.tuples(TOKENS.map(lambda token: "X-" + token), VALUES), max_size=5))
def test_another_parser_reads_the_fields_that_were_given(pairs: list[tuple[str, str]]) -> None:
    recorder = _Recorder()
    httptools.HttpRequestParser(recorder).feed_data(render_request(request("GET", "/t", *pairs), None, None, None).head)
    assert recorder.messages == 1
    assert recorder.target == b"/t"
    expected = [(name, value.strip(" ")) for name, value in [("Host", "site.example"), *pairs]]
    assert [(name.decode("latin-1"), value.decode("latin-1").strip(" ")) for name, value in recorder.fields] == expected
