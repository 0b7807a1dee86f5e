"""Wildcards over whole values; globs are tested where purges use them (``tests/purging/test_selector.py``)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.glob import Wildcard


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("a*", "A/b", True),
        ("text/*", "text/html", True),
        ("*text/html*", "a, text/html;q=1", True),
        ("ab*ba", "aba", False),
        ("a*b*c", "a1b2c", True),
        ("a*b*c", "acb", False),
        ("a.c", "abc", False),
    ],
)
def test_a_star_stands_for_any_run(pattern: str, value: str, matches: bool) -> None:
    assert Wildcard(pattern).matches(value) is matches


@given(st.text("ab*", max_size=6), st.text("abAB", max_size=8))
def test_a_wildcard_is_what_a_regular_expression_would_be(pattern: str, value: str) -> None:
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    expected = re.fullmatch(expression, value, re.IGNORECASE | re.DOTALL) is not None
    assert Wildcard(pattern).matches(value) is expected
