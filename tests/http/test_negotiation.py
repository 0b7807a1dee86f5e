from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.message import fields_of
from edgecache.http.negotiation import (
    accept_encoding,
    accept_language,
    most_preferred_language,
    normalise,
    ranked_codings,
    selecting_value,
)

latin1 = st.binary(max_size=40).map(lambda octets: octets.decode("latin-1"))
value_like = st.lists(
    st.sampled_from(
        ["gzip", "br", "en", "de-CH", "*", "identity", ";", "q=", "0", "1", ".5", ",", " ", "\t", '"', "\\"]
    )
).map("".join)
anything = latin1 | st.text(max_size=40) | value_like
weights = st.sampled_from(["", ";q=1", "; q=0.5", ";Q=0.001", " ;q=0", ";q=0.000", ";q=1.0"])
codings = st.sampled_from(["gzip", "GZIP", "x-gzip", "br", "zstd", "deflate", "identity", "*", "dcb"])


# --------------------------------------------------------------------------------------------- Accept-Encoding


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br,deflate,gzip,zstd"),
        ("br,gzip", "br,gzip"),
        ("GZip ,  BR", "br,gzip"),
        ("gzip;q=0.5, br;q=1.0", "br,gzip"),
        ("gzip;q=0, br", "br"),
        ("gzip;q=0.000, br ; q=0.001", "br"),
        ("x-gzip", "gzip"),
        ("gzip, x-gzip", "gzip"),
        ("gzip, gzip;q=0", "identity"),
        ("*", "br,deflate,gzip,zstd"),
        ("gzip;q=0, *", "br,deflate,zstd"),
        ("gzip, *;q=0", "gzip,identity;q=0"),
        ("gzip, *;q=0, identity", "gzip"),
        ("identity;q=1, *;q=0", "identity"),
        ("*;q=0", "identity;q=0"),
        ("gzip, identity;q=0", "gzip,identity;q=0"),
        ("identity;q=0, *", "br,deflate,gzip,zstd,identity;q=0"),
        ("", "identity"),
        (" , ", "identity"),
        ("identity", "identity"),
        ("gzip;q=0", "identity"),
        ("dcb, gzip", "dcb,gzip"),
    ],
)
def test_accept_encoding(value: str, expected: str) -> None:
    assert accept_encoding(value) == expected


@pytest.mark.parametrize(
    "value", ["gzip;q=banana", "gzip;q=2", "gzip;q=0.0000", "gzip;level=9", "gzip br", '"gzip"', "gzip;", "gz(ip"]
)
def test_a_malformed_accept_encoding_is_compared_as_it_is(value: str) -> None:
    assert accept_encoding(value) == value


def accepts(value: str, coding: str) -> bool:
    """Whether a well-formed value accepts a coding, by RFC 9110 §12.5.3 read slowly."""
    entries = [(part.partition(";")[0].strip().lower(), part.lower()) for part in value.split(",")]
    entries = [(name.replace("x-gzip", "gzip"), part) for name, part in entries]
    named = [part for name, part in entries if name == coding] or [part for name, part in entries if name == "*"]
    refused = [float(part.partition("q=")[2] or "1") == 0 for part in named]
    return not any(refused) if refused else coding == "identity"


@given(st.lists(st.tuples(codings, weights).map("".join), min_size=1, max_size=5).map(", ".join))
def test_the_canonical_accept_encoding_accepts_the_same_codings(value: str) -> None:
    canonical = accept_encoding(value)
    for coding in ("gzip", "br", "zstd", "deflate", "identity"):
        assert accepts(canonical, coding) == accepts(value, coding), coding


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("", ""),
        ("gzip", "gzip"),
        ("gzip, br", "br gzip"),
        ("gzip, br;q=0.9", "gzip br"),
        ("gzip;q=0.001", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP;Q=0.5", "gzip"),
        ("*", "br gzip"),
        ("*;q=0.5, gzip", "gzip br"),
        ("gzip, gzip;q=0", ""),
        ("gzip;q=0.2, gzip, br;q=0.5", "br gzip"),
        ("br, identity;q=0.5, gzip;q=0.4", "br"),
        ("identity", ""),
        ("identity, *;q=0.5", ""),
        ("identity;q=0, gzip", "gzip"),
        ("*;q=0", ""),
        ("zstd, deflate", ""),
        ("gzip;q=2", ""),
        ("gzip;level=9, br", ""),
    ],
)
def test_codings_best_liked_first(value: str | None, expected: str) -> None:
    assert ranked_codings(value, ("br", "gzip")) == (*expected.split(), "identity")


@given(st.lists(st.tuples(codings, weights).map("".join), max_size=5).map(", ".join))
def test_what_is_ranked_is_what_the_canonical_value_accepts(value: str) -> None:
    """So a cache, for which two requests with one canonical value are alike, gives nobody what it refused."""
    *ranked, last = ranked_codings(value, ("br", "zstd", "gzip"))
    assert last == "identity"
    assert set(ranked) <= set(accept_encoding(value).split(","))
    if "identity" not in value.lower():
        assert set(ranked) == {"br", "zstd", "gzip"} & set(accept_encoding(value).split(","))


@given(anything)
def test_any_accept_encoding_can_be_answered(value: str) -> None:
    assert ranked_codings(value, ("br", "gzip"))[-1] == "identity"


# --------------------------------------------------------------------------------------------- Accept-Language


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("en, de", "de,en"),
        ("de, en", "de,en"),
        ("eN, De", "de,en"),
        (" en ,   de", "de,en"),
        ("en;q=1.0, de;q=1", "de,en"),
        ("en;q=0.5, de;q=0.500", "de,en"),
        ("en-US,en;q=0.9,de;q=0.8", "en-us,en;q=0.9,de;q=0.8"),
        ("de;q=0.8, en;q=0.9, en-US", "en-us,en;q=0.9,de;q=0.8"),
        ("fr;q=0.5, de;q=1.0", "de,fr;q=0.5"),
        ("en, *;q=0.1", "en,*;q=0.1"),
        ("en, de;q=0", "en,de;q=0"),
        ("de;q=0", "de;q=0"),
        ("en, en", "en"),
        ("", ""),
        ("en;q=x", "en;q=x"),
        ("en_US , de", "en_US,de"),
    ],
)
def test_accept_language(value: str, expected: str) -> None:
    assert accept_language(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("de", "de"),
        ("fr;q=0.5, de;q=1.0", "de"),
        ("de-CH, de;q=0.9", "de-ch"),
        ("en;q=0.2, FR;q=0.3", "fr"),
        ("en, en;q=0.5", "en"),
        ("en, de", None),
        ("*", None),
        ("*, de;q=0.5", None),
        ("de;q=0", None),
        ("", None),
        ("de;q=x", None),
    ],
)
def test_most_preferred_language(value: str, expected: str | None) -> None:
    assert most_preferred_language(value) == expected


# ------------------------------------------------------------------------------------------------- other fields


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["1"], "1"),
        (["1, 2"], "1,2"),
        (["1", "2"], "1,2"),
        ([" 1,\t2 "], "1,2"),
        (["a ; b;c"], "a;b;c"),
        (["a  b \t c"], "a b c"),
        (["A b"], "A b"),
        (['"a  , b" ,  c'], '"a  , b",c'),
        (['"a \\"  , b" ,  c'], '"a \\"  , b",c'),
        (['a  "b  , c'], 'a "b  , c'),
        ([""], ""),
        ([" \t "], ""),
    ],
)
def test_other_fields_only_lose_optional_white_space(lines: list[str], expected: str) -> None:
    assert normalise("Foo", lines) == expected


def test_names_are_case_insensitive() -> None:
    assert normalise("ACCEPT-encoding", ["br", "gzip"]) == "br,gzip"
    assert normalise("Accept-LANGUAGE", ["en", "de"]) == "de,en"


def test_selecting_value() -> None:
    fields = fields_of([("Foo", "1"), ("foo", "2"), ("accept-encoding", "gzip, br"), ("Bar", "")])
    assert selecting_value(fields, "FOO") == "1,2"
    assert selecting_value(fields, "Accept-Encoding") == "br,gzip"
    assert selecting_value(fields, "bar") == ""
    assert selecting_value(fields, "baz") is None


@given(anything)
def test_canonical_values_are_fixed_points(value: str) -> None:
    for name in ("accept-encoding", "accept-language", "foo"):
        canonical = normalise(name, [value])
        assert normalise(name, [canonical]) == canonical
    most_preferred_language(value)


@pytest.mark.parametrize("hostile", ['"\\' * 50_000 + " ", " " * 100_000 + "a", '" ' * 50_001, "a;" * 50_000 + " "])
def test_long_hostile_values_are_normalised_in_linear_time(hostile: str) -> None:
    for name in ("accept-encoding", "accept-language", "foo"):
        normalise(name, [hostile])
