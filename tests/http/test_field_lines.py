"""Field lines kept as bytes are the pairs that they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.field_lines import FieldLines
from edgecache.http.message import Pair, render_fields, render_status_line

NAMES = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True)
VALUES = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(tuple)


@given(PAIRS, st.booleans())
def test_what_is_kept_is_what_was_given(pairs: tuple[Pair, ...], in_head: bool) -> None:
    head = render_status_line(200) + render_fields(pairs) if in_head else b""
    kept = FieldLines.of(pairs, head)
    assert kept is not None
    assert (kept.lines is head) == (in_head or not pairs)
    assert tuple(kept) == pairs
    assert kept == pairs
    assert pairs == kept
    assert hash(kept) == hash(pairs)
    assert len(kept) == len(pairs)
    assert kept == FieldLines.of(pairs, b"")
    assert [kept[index] for index in range(len(pairs))] == list(pairs)
    assert kept[1:] == pairs[1:]
    assert repr(kept) == repr(pairs)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple))
def test_any_pairs_are_kept_as_they_are_or_not_at_all(pairs: tuple[Pair, ...]) -> None:
    kept = FieldLines.of(pairs, b"")
    assert kept is None or tuple(kept) == pairs


@pytest.mark.parametrize(
    "pairs", [(("A", "1\r\nB: 2"),), (("A: 1", "2"),), (("A", "\u0100"),), (("", ""), ("A", "\n\r\n"))]
)
def test_what_is_no_field_line_is_not_kept(pairs: tuple[Pair, ...]) -> None:
    assert FieldLines.of(pairs, b"") is None


@pytest.mark.parametrize("other", [(("a", "1"),), (("A", "2"),), (("A", "1"), ("A", "1")), (), [("A", "1")], "A: 1"])
def test_what_differs_is_not_equal(other: object) -> None:
    assert FieldLines.of([("A", "1")], b"") != other


def test_a_head_with_more_is_not_taken_for_the_fields() -> None:
    head = render_status_line(200) + b'A: 1\r\nETag: "made"\r\n'
    kept = FieldLines.of([("A", "1")], head)
    assert kept is not None
    assert tuple(kept) == (("A", "1"),)
