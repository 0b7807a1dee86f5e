from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.http.message import RequestHead
from edgecache.semantics.selection import matches, select, selecting_fields, vary_names
from edgecache.semantics.stored import Selecting
from tests.semantics import messages
from tests.semantics.build import NOW, fields, request, stored


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], ()),
        (["Vary:"], ()),
        (["Vary: Accept"], ("accept",)),
        (["Vary: B, a", "vary: A,, c"], ("a", "b", "c")),
        (["Vary: *"], None),
        (["Vary: Accept, *"], None),
        (["Vary: Accept", "Vary: *"], None),
    ],
)
def test_vary_names(lines: list[str], names: tuple[str, ...] | None) -> None:
    assert vary_names(fields(lines)) == names


def test_selecting_fields_are_normalised_and_absence_is_a_value() -> None:
    presented = fields(["Accept-Encoding: br;q=0.5 , gzip", "X: a ; b", "X: c"])
    selecting = selecting_fields(presented, ("accept-encoding", "x", "y"))
    assert selecting == Selecting(("accept-encoding", "x", "y"), ("br,gzip", "a;b,c", None))


@pytest.mark.parametrize(
    ("vary", "first", "then", "selected"),
    [
        ("X", [], [], True),
        ("X", [], ["Y: 1"], True),
        ("X", ["X: 1"], ["x: 1", "Y: 2"], True),
        ("X", ["X: 1"], ["X: 2"], False),
        ("X", ["X: 1"], [], False),
        ("X", [], ["X: 1"], False),
        ("X", [], ["X:"], False),
        ("X", ["X: a"], ["X: A"], False),
        ("X, Y", ["X: 1", "Y: 1"], ["Y: 1", "X: 1"], True),
        ("X, Y", ["X: 1", "Y: 1"], ["X: 1", "Y: 2"], False),
        # What the grammar makes equal: lines of a list, optional white space.
        ("X", ["X: a, b"], ["X: a", "X: b"], True),
        ("X", ["X: a,b;c"], ["X: a ,\tb ; c"], True),
        ("X", ["X: a, b"], ["X: b, a"], False),
        ('X', ['X: "a, b"'], ['X: "a,b"'], False),
        # What Accept-Encoding makes equal: order, case, weights other than zero.
        ("Accept-Encoding", ["Accept-Encoding: gzip, br"], ["Accept-Encoding: BR;q=0.1,gzip"], True),
        ("Accept-Encoding", ["Accept-Encoding: gzip, br"], ["Accept-Encoding: gzip, br;q=0"], False),
        ("Accept-Encoding", ["Accept-Encoding: gzip"], [], False),
        # For Accept-Language the order counts when it is said by weights.
        ("Accept-Language", ["Accept-Language: en,de;q=0.5"], ["Accept-Language: DE;q=0.5, EN"], True),
        ("Accept-Language", ["Accept-Language: en,de;q=0.5"], ["Accept-Language: en;q=0.5, de"], False),
    ],
)  # fmt: skip
def test_selection_by_vary(vary: str, first: list[str], then: list[str], selected: bool) -> None:
    response = stored(f"Vary: {vary}", of=request(*first))
    assert matches(response, fields(then)) is selected


@pytest.mark.parametrize(
    ("content_language", "accept_language", "selected"),
    [
        ("de", "de", True),
        ("DE ", "de, en;q=0.5", True),
        ("de", "en;q=0.5, de", True),
        ("de", "en", False),
        ("de", "en, de;q=0.9", False),
        ("de", "de, en", False),  # either could be sent
        ("de", "*", False),
        ("de", "de;q=0", False),
        ("de-CH", "de", False),
        ("de, en", "de", False),
        ("", "", False),
        ("de", "not a language, really", False),
    ],
)
def test_a_response_in_the_one_preferred_language_is_selected(
    content_language: str, accept_language: str, selected: bool
) -> None:
    response = stored(
        "Vary: Accept-Language", f"Content-Language: {content_language}", of=request("Accept-Language: fr")
    )
    assert matches(response, fields([f"Accept-Language: {accept_language}"])) is selected


def test_language_excuses_no_other_difference() -> None:
    response = stored("Vary: Accept-Language, X", "Content-Language: de", of=request("Accept-Language: fr", "X: 1"))
    assert matches(response, fields(["Accept-Language: de", "X: 1"]))
    assert not matches(response, fields(["Accept-Language: de", "X: 2"]))
    assert not matches(response, fields(["X: 1"]))


def test_the_most_recent_comes_first() -> None:
    oldest, newest, other = (stored(vary, at=NOW + t) for vary, t in [("X: 1", 0), ("X: 1", 2), ("Vary: X", 1)])
    assert select((oldest, newest, other), request()) == (newest, other, oldest)
    assert select((oldest, newest, other), request("X: 1")) == (newest, oldest)
    assert select((other,), request("X: 1")) == ()
    assert select((), request()) == ()


# -------------------------------------------------------------------------------------------------- properties

names = st.lists(st.sampled_from(["accept-encoding", "accept-language", "x-foo", "range"]), max_size=3, unique=True)


@given(one=messages.any_requests, other=messages.any_requests, names=names)
def test_selection_is_symmetric(one: RequestHead, other: RequestHead, names: list[str]) -> None:
    """Where Content-Language does not speak: if one's response answers the other, the other's answers the one."""
    vary = f"Vary: {', '.join(names)}"
    assert matches(stored(vary, of=one), other.fields) is matches(stored(vary, of=other), one.fields)


@given(of=messages.any_requests, names=names)
def test_a_request_selects_its_own_response(of: RequestHead, names: list[str]) -> None:
    assert matches(stored(f"Vary: {', '.join(names)}", of=of), of.fields)


@given(of=messages.any_requests, names=names)
def test_normalised_values_are_fixed_points(of: RequestHead, names: list[str]) -> None:
    selecting = selecting_fields(of.fields, names)
    again = fields(f"{name}:{value}" for name, value in zip(names, selecting.values, strict=True) if value is not None)
    assert selecting_fields(again, names) == selecting
