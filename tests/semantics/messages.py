"""Strategies for messages: plausible ones, with numbers close to each other, and arbitrary ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from edgecache.http.message import FieldsView, RequestHead, ResponseHead, fields_of
from edgecache.semantics.policy import Policy
from tests.semantics.build import date

__all__ = ["any_requests", "any_response_heads", "policies", "requests", "response_heads"]

Lines = tuple[tuple[str, str], ...]

# ------------------------------------------------------------------------------------------------------ pieces

# Few and close, so that ages, lifetimes and windows meet at their ends.
_SECONDS: Final = (0, 1, 5, 10, 15, 20, 30)


def _timed(*directives: str) -> list[str]:
    return [f"{directive}={seconds}" for directive in directives for seconds in _SECONDS]


def _directives(members: Sequence[str], max_size: int) -> st.SearchStrategy[str]:
    """Some of the members, each directive at most once."""
    some = st.lists(st.sampled_from(members), max_size=max_size, unique_by=lambda member: member.partition("=")[0])
    return some.map(", ".join)


def _maybe(name: str, *values: str) -> st.SearchStrategy[Lines]:
    """No such field as often as one of the values."""
    return st.sampled_from([*[()] * len(values), *[((name, value),) for value in values]])


def _line(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[Lines]:
    return values.map(lambda value: ((name, value),) if value else ())


def _lines(*fields: st.SearchStrategy[Lines]) -> st.SearchStrategy[FieldsView]:
    return st.tuples(*fields).map(lambda groups: fields_of(pair for group in groups for pair in group))


_RESPONSE_DIRECTIVES: Final = [
    *_timed("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"),
    *["max-age=many", "must-revalidate", "proxy-revalidate", "no-cache", 'no-cache="x-foo"', "public", "immutable"],
    *["private", "no-store", "must-understand", 'private="x-foo"', "unknown=1"],
]
_TARGETED_DIRECTIVES: Final = [*_timed("max-age", "stale-while-revalidate"), "no-cache", "immutable", "must-revalidate"]
_REQUEST_DIRECTIVES: Final = [
    *_timed("max-age", "max-stale", "min-fresh"),
    *["max-stale", "no-cache", "no-store", "only-if-cached", "no-transform"],
]
_DATES: Final = [date(offset) for offset in (-100, -10, -5, 0, 5, 10, 20, 1000)]

# -------------------------------------------------------------------------------------------- plausible messages

_selecting_lines: Final = (
    _line("Cache-Control", _directives(_REQUEST_DIRECTIVES, max_size=3)),
    _maybe("Pragma", "no-cache"),
    _maybe("Accept-Encoding", "gzip", "gzip, br", "br,gzip", "br;q=0.5, gzip", "gzip;q=0, br", "zstd"),
    _maybe("Accept-Language", "en", "de", "de, en;q=0.5", "en;q=0.5, de", "de, en", "fr"),
    _maybe("X-Foo", "a", "a, b", "a,b", "b"),
)
_conditional_lines: Final = (
    _maybe("Range", "bytes=0-4", "bytes=3-", "bytes=-2", "bytes=0-1, 8-9", "lines=1-2"),
    _maybe("If-Match", '"1"'),
)


def requests(
    methods: Sequence[str] = ("GET", "GET", "GET", "HEAD", "POST"), *, is_conditional: bool = True
) -> st.SearchStrategy[RequestHead]:
    """Requests for one target."""
    lines = _selecting_lines + _conditional_lines if is_conditional else _selecting_lines
    return st.builds(
        RequestHead, st.sampled_from(methods), st.just("http"), st.just("example.com"), st.just("/"), _lines(*lines)
    )


_response_lines: Final = (
    _line("Cache-Control", _directives(_RESPONSE_DIRECTIVES, max_size=4)),
    _maybe("CDN-Cache-Control", *(f"{one}, x={two}" for one in _TARGETED_DIRECTIVES for two in (1, 2))),
    _maybe("Expires", *_DATES, "0"),
    _maybe("Date", *_DATES, "now"),
    _maybe("Age", "0", "5", "10", "old"),
    _maybe("Via", "1.0 somebody"),
    _maybe("Last-Modified", *_DATES),
    _maybe("ETag", '"1"', 'W/"1"'),
    _maybe("Vary", "Accept-Encoding", "accept-language", "X-Foo", "x-foo, Accept-Language"),
    _maybe("Content-Language", "en", "de"),
    _maybe("Content-Range", "bytes 0-4/10", "bytes 3-9/10", "bytes 0-4/*"),
    _maybe("Pragma", "no-cache"),
    _maybe("Set-Cookie", "id=1"),
)


def response_heads(statuses: Sequence[int] = (200, 200, 404, 302, 206)) -> st.SearchStrategy[ResponseHead]:
    """Responses whose fields speak about caching, validly for the most part."""
    return st.builds(ResponseHead, st.sampled_from(statuses), _lines(*_response_lines))


policies: Final = st.builds(
    Policy,
    heuristic_fraction=st.sampled_from([0.0, 0.1]),
    heuristic_max=st.sampled_from([5.0, 86_400.0]),
    grace=st.sampled_from([0.0, 0.0, 10.0]),
    if_error=st.sampled_from([0.0, 10.0]),
    if_unreachable=st.sampled_from([0.0, 3600.0]),
    honour_reload=st.sampled_from([True, True, False]),
)

# -------------------------------------------------------------------------------------------- arbitrary messages

_octets: Final = st.binary(max_size=40).map(lambda octets: octets.decode("latin-1"))
_shreds: Final = st.lists(
    st.sampled_from(
        [
            *'="\\,;* \t-0W/',
            *("99999999999999999999", "max-age", "s-maxage", "no-store", "private", "no-cache", "public"),
            *("bytes 0-4/5", "bytes=", date(), "Sunday, 06-Nov-94 08:49:37 GMT", "1.1 x", "Accept-Language"),
        ]
    ),
    max_size=6,
).map("".join)
_names: Final = st.sampled_from(
    [
        *("Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Expires", "Date", "Age", "Via", "Pragma"),
        *("Last-Modified", "ETag", "Vary", "Content-Range", "Content-Location", "Cache-Groups", "Location"),
        *("Authorization", "Cookie", "Range", "If-Range", "Accept-Encoding", "Accept-Language", "Set-Cookie"),
        *("X-Foo", "Content-Length"),
    ]
)
_any_fields: Final = st.lists(st.tuples(_names, _shreds | _octets), max_size=8).map(fields_of)

any_response_heads: Final = st.builds(ResponseHead, st.integers(200, 599), _any_fields) | response_heads()
any_requests: Final = (
    st.builds(
        RequestHead,
        st.sampled_from(["GET", "HEAD", "POST", "PUT", "QUERY", "get", "PURGE"]),
        st.sampled_from(["http", "https"]),
        st.sampled_from(["example.com", "example.com:8080", "[::1]"]),
        st.sampled_from(["/", "/a", "/a?b", "//c", "/;d"]),
        _any_fields,
    )
    | requests()
)
