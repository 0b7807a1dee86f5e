from __future__ import annotations

from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.cache_status import Fwd, append, member

anything = st.binary(max_size=40).map(lambda octets: octets.decode("latin-1")) | st.text(max_size=40)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("edgecache", {"hit": True, "ttl": 376}, "edgecache; hit; ttl=376"),
        ("edgecache", {"hit": True, "ttl": -412}, "edgecache; hit; ttl=-412"),
        ("edgecache", {"fwd": Fwd.URI_MISS, "stored": True}, "edgecache; fwd=uri-miss; stored"),
        ("edgecache", {"fwd": Fwd.STALE, "fwd_status": 304}, "edgecache; fwd=stale; fwd-status=304"),
        ("edgecache", {"fwd": Fwd.URI_MISS, "collapsed": True}, "edgecache; fwd=uri-miss; collapsed"),
        ("edgecache", {"hit": True, "fwd": Fwd.STALE}, "edgecache; hit"),
        ("edgecache", {"fwd": Fwd.BYPASS, "detail": "no-store"}, "edgecache; fwd=bypass; detail=no-store"),
        ("edgecache", {"detail": "it is private"}, 'edgecache; detail="it is private"'),
        ("edge cache", {}, '"edge cache"'),
        ("1st", {}, '"1st"'),
        ("", {}, '""'),
        ("cdn.example:443/a", {}, "cdn.example:443/a"),
        ("e", {"key": 'a "b" \\c'}, r'e; key="a \"b\" \\c"'),
        ("e", {"key": "/caf\xc3\xa9\r\n"}, 'e; key="/caf%C3%A9%0D%0A"'),
        ("e", {"key": "\u20ac"}, 'e; key="%E2%82%AC"'),
        (
            "e",
            {
                "detail": "d",
                "key": "k",
                "collapsed": True,
                "stored": True,
                "ttl": 1,
                "fwd_status": 200,
                "fwd": Fwd.MISS,
            },
            'e; fwd=miss; fwd-status=200; ttl=1; stored; collapsed; key="k"; detail=d',
        ),
    ],
)
def test_members(name: str, parameters: dict[str, Any], expected: str) -> None:
    assert member(name, **parameters) == expected


@given(
    name=anything,
    hit=st.booleans(),
    fwd=st.none() | st.sampled_from(Fwd),
    fwd_status=st.none() | st.integers(100, 599),
    ttl=st.none() | st.integers(-(2**31), 2**31),
    stored=st.booleans(),
    collapsed=st.booleans(),
    key=st.none() | anything,
    detail=st.none() | anything,
)
def test_a_member_reads_back_as_what_was_meant(
    name: str,
    hit: bool,
    fwd: Fwd | None,
    fwd_status: int | None,
    ttl: int | None,
    stored: bool,
    collapsed: bool,
    key: str | None,
    detail: str | None,
) -> None:
    rendered = member(
        name,
        hit=hit,
        fwd=fwd,
        fwd_status=fwd_status,
        ttl=ttl,
        stored=stored,
        collapsed=collapsed,
        key=key,
        detail=detail,
    )
    parsed: Any = http_sf.parse(rendered.encode("ascii"), tltype="list")
    ((read_name, read),) = parsed
    meant: dict[str, Any] = {
        "hit": hit or None,
        "fwd": None if hit or fwd is None else fwd.value,
        "fwd-status": fwd_status,
        "ttl": ttl,
        "stored": stored or None,
        "collapsed": collapsed or None,
        "key": key,
        "detail": detail,
    }
    expected = {parameter: value for parameter, value in meant.items() if value is not None}
    assert list(read) == list(expected)
    for parameter, value in expected.items():
        assert as_written(read[parameter]) == as_written(value)
    assert as_written(read_name) == as_written(name)
    assert key is None or isinstance(read["key"], str)


def as_written(value: object) -> object:
    """Text as an sf-string can hold it; anything else as it is."""
    if not isinstance(value, str | http_sf.Token):
        return value
    return "".join(c if " " <= c <= "~" else as_octets(c) for c in str(value))


def as_octets(c: str) -> str:
    octets = c.encode("latin-1") if ord(c) < 256 else c.encode("utf-8", "surrogatepass")
    return "".join(f"%{octet:02X}" for octet in octets)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ([], "edgecache; hit"),
        (["Origin; hit"], "Origin; hit, edgecache; hit"),
        (["a; hit, b; fwd=miss", "c"], "a; hit, b; fwd=miss, c, edgecache; hit"),
        (["", " "], "edgecache; hit"),
    ],
)
def test_ours_is_the_last_member(existing: list[str], expected: str) -> None:
    assert append(existing, member("edgecache", hit=True)) == expected
