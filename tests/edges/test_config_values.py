"""Kinds of values: how they are spelled, and that writing one and reading it gives it back."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges import config_redis, config_values
from edgecache.edges.config_values import (
    COUNT,
    DURATION,
    SHARE,
    SIZE,
    SWITCH,
    TEXT,
    TOKEN,
    Kind,
    Unreadable,
    format_duration,
    format_size,
    parse_address,
    parse_duration,
    parse_size,
)

KINDS = [
    value for module in (config_values, config_redis) for value in vars(module).values() if isinstance(value, Kind)
]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512 B", 512),
        ("64k", 65_536),
        ("64 KiB", 65_536),
        ("64kb", 64_000),
        ("1.5MiB", 1_572_864),
        ("2G", 2**31),
        ("1tib", 2**40),
        ("10MB", 10_000_000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1e3", "1 iB", "1 apple", "1.MiB", "inf", "\u0663k", "9" * 40])
def test_no_sizes(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("30s", 30.0),
        ("1.5 m", 90.0),
        ("250ms", 0.25),
        ("1h30m", 5400.0),
        ("2D", 172_800.0),
        ("1w", 604_800.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", "1m30", "1 2", "5 minutes", "1h-30m", "1" * 40])
def test_no_durations(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("*:80", ("", 80)),
        ("edge_1.internal:80", ("edge_1.internal", 80)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@given(st.integers(0, 2**50) | st.integers(0, 4096).map(lambda count: count * 2**20))
def test_a_written_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size
    assert read_back(SIZE, size) == size


@given(st.floats(0, 1e9) | st.integers(0, 10**9).map(float))
def test_a_written_duration_reads_back(seconds: float) -> None:
    assert read_back(DURATION, seconds) == seconds
    if seconds == int(seconds):
        assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(), st.floats(0, 1), st.booleans(), st.text(min_size=1).filter(str.isprintable))
def test_other_values_read_back(count: int, share: float, switch: bool, text: str) -> None:
    values = ((COUNT, count), (SHARE, share), (SWITCH, switch), (TEXT, text), (TOKEN, "a-b"))
    assert [read_back(kind, value) for kind, value in values] == [value for _, value in values]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
@given(
    value=st.text()
    | st.text("0123456789.:/[]@unixhttpskmgb ")
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.lists(st.text())
)
def test_any_value_is_read_or_unreadable(kind: Kind, value: Any) -> None:
    for read in (kind.read, kind.read_word) if isinstance(value, str) else (kind.read,):
        if readable(read, value):
            kind.write(read(value))


def readable(read: Any, value: object) -> bool:
    try:
        read(value)
    except Unreadable:
        return False
    return True


def read_back(kind: Kind, value: Any) -> Any:
    return kind.read(tomllib.loads(f"value = {kind.write(value)}")["value"])
