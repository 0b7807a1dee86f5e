from __future__ import annotations

import gzip

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.codings import PREFERENCE, can_gain, encode, encoded_fields, encoders, wanted_coding
from edgecache.http.message import fields_of

DECODERS = {"br": brotli.decompress, "zstd": zstd.decompress, "gzip": gzip.decompress}


def test_everything_there_is_comes_in_the_order_of_preference() -> None:
    assert tuple(encoders()) == PREFERENCE


@given(chunks=st.lists(st.binary(max_size=300), max_size=4).map(tuple), coding=st.sampled_from(PREFERENCE))
def test_what_was_encoded_decodes_and_is_always_the_same(chunks: tuple[bytes, ...], coding: str) -> None:
    encoded = encode(coding, chunks)
    assert DECODERS[coding](encoded) == b"".join(chunks)
    assert encode(coding, (b"".join(chunks),)) == encoded


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, *", "zstd"),
        ("*", "br"),
        ("*;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("deflate", None),
        ("", None),
        ("gzip;q=2", None),
        ("gzip;q=0", None),
    ],
)
def test_which_coding_a_client_prefers(value: str, expected: str | None) -> None:
    assert wanted_coding(fields_of([("Accept-Encoding", value)])) == expected


def test_who_says_nothing_gets_the_bytes_as_they_are() -> None:
    assert wanted_coding(fields_of([])) is None


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("text/html", True),
        ("text/event-stream", False),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("image/png", False),
        ("font/woff2", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("", False),
    ],
)
def test_what_gets_smaller(media_type: str, expected: bool) -> None:
    assert can_gain(media_type) is expected


def test_fields_of_the_encoded_representation() -> None:
    pairs = [("ETag", '"a"'), ("Content-Type", "text/css"), ("Accept-Ranges", "bytes"), ("Repr-Digest", "x")]
    expected = [("ETag", 'W/"a"'), ("Content-Type", "text/css"), ("Content-Encoding", "br")]
    assert encoded_fields(pairs, "br") == expected
    assert encoded_fields([("etag", 'W/"a"')], "gzip") == [("etag", 'W/"a"'), ("Content-Encoding", "gzip")]
