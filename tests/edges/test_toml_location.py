"""Places of keys and values: a table of spellings, and documents made by hypothesis."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.toml_location import Path, Span, excerpt, line_and_column, locate

SPELLINGS = [
    ("a = 1", ("a",), "a", "1"),
    ("a=1# note", ("a",), "a", "1"),
    ("  a  =  [ 1 , 2 ] ", ("a", 1), "2", "2"),
    ('[server]\nlisten = "x"  # note\n', ("server", "listen"), "listen", '"x"'),
    ('[a]\n"b.c" = true\n', ("a", "b.c"), '"b.c"', "true"),
    ("[a]\n'b' = '#'\n", ("a", "b"), "'b'", "'#'"),
    ('a.b.c = "1"\n', ("a", "b", "c"), "c", '"1"'),
    ('a.b.c = "1"\n', ("a", "b"), "b", '"1"'),
    ("a = { b = 1, c = [ { d = 2 } ] }\n", ("a", "c", 0, "d"), "d", "2"),
    ('a = """x\n[b]\n""""\nc = 3\n', ("c",), "c", "3"),
    ('a = """\\"""" \nc = 3\n', ("c",), "c", "3"),
    ("a = '''x'''''\nc = 3\n", ("c",), "c", "3"),
    ('a = [\n  "one", # comma, ]\n  "two",\n]\n', ("a", 1), '"two"', '"two"'),
    ("when = 1979-05-27 07:32:00 # born\n", ("when",), "when", "1979-05-27 07:32:00"),
    ("[[r]]\na = 1\n[[r]]\na = 2\n[r.s]\nt = 3\n", ("r", 1, "s", "t"), "t", "3"),
    ("[[r]]\na = 1\n[[r]]\na = 2\n", ("r", 1), "[[r]]", "[[r]]"),
    ("[ a . b ]\r\nc = 1\r\n", ("a", "b", "c"), "c", "1"),
    ('"\\u0061" = 1\n', ("a",), '"\\u0061"', "1"),
]


@pytest.mark.parametrize(("text", "path", "key", "value"), SPELLINGS)
def test_each_spelling_has_its_place(text: str, path: Path, key: str, value: str) -> None:
    place = locate(text)[path]
    assert text[place.key.start : place.key.end] == key
    assert text[place.value.start : place.value.end] == value
    assert set(locate(text)) == set(paths(tomllib.loads(text)))


def test_line_and_column_count_from_one() -> None:
    assert [line_and_column("ab\n\ncd", offset) for offset in (0, 1, 3, 4, 5)] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (3, 1),
        (3, 2),
    ]


def test_an_excerpt_points_below_the_span_also_after_tabs_and_over_several_lines() -> None:
    assert excerpt("a\n\tbc = 1\r\n", Span(3, 5)) == "\tbc = 1\n\t^^"
    assert excerpt("a = [\n1,\n]\n", Span(4, 10)) == "a = [\n    ^"
    assert excerpt("", Span(0, 0)) == "\n^"


def paths(value: Any, at: Path = ()) -> list[Path]:
    """Every path of a parsed document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, child in children for path in ((*at, key), *paths(child, (*at, key)))]


keys = st.text("ab_-1", min_size=1, max_size=3) | st.text("ab .\"'\\é", max_size=3)
scalars = st.integers(-9, 9) | st.booleans() | st.text("ab\"'#[]{}=,\\é", max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
documents = st.dictionaries(keys, values | st.lists(st.dictionaries(keys, scalars, min_size=1), min_size=1), max_size=4)
spacing = st.sampled_from(["", " ", "\t"])
ends = st.sampled_from(["\n", "\r\n", "  # [x] = {\n", "\n\n"])


def written_key(key: str, draw: st.DrawFn) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    if bare and draw(st.booleans()):
        return key
    return f"'{key}'" if "'" not in key and draw(st.booleans()) else json.dumps(key)


def written(value: Any, draw: st.DrawFn) -> str:
    """One of the ways to write a value inline."""
    space = draw(spacing)
    if isinstance(value, dict):
        pairs = (f"{written_key(key, draw)}{space}={written(child, draw)}" for key, child in value.items())
        return "{" + space + f"{space},".join(pairs) + space + "}"
    if isinstance(value, list):
        gap = draw(st.sampled_from(["", "\n", " # ]\n"]))
        return "[" + "".join(f"{gap}{written(child, draw)}{gap}," for child in value) + gap + "]"
    if isinstance(value, str):
        return written_text(value, draw)
    return json.dumps(value)


def written_text(value: str, draw: st.DrawFn) -> str:
    style = draw(st.sampled_from(["basic", "literal", "multi-line", "multi-line literal"]))
    if style == "literal" and "'" not in value:
        return f"'{value}'"
    if style == "multi-line":
        return '"""\n' + value.replace("\\", "\\\\").replace('"', '\\"') + '"""'
    if style == "multi-line literal" and "'" not in value:
        return f"'''\n{value}'''"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@st.composite
def toml(draw: st.DrawFn) -> str:
    """A TOML document: pairs first, then tables and arrays of tables."""
    pairs, tables = [], []
    for key, value in draw(documents).items():
        name, space, end = written_key(key, draw), draw(spacing), draw(ends)
        rows: list[Any] = value if isinstance(value, list) else [value]
        if not (rows and all(isinstance(row, dict) for row in rows)) or draw(st.booleans()):
            pairs.append(f"{space}{name}{space}={space}{written(value, draw)}{end}")
            continue
        header = f"[[{space}{name}]]" if isinstance(value, list) else f"[{name}{space}]"
        for row in rows:
            body = (f"{written_key(k, draw)} = {written(v, draw)}{end}" for k, v in row.items())
            tables.append(f"{header}{end}{''.join(body)}")
    return "".join(pairs + tables)


@given(toml())
def test_every_path_of_a_document_has_a_place_and_no_other(text: str) -> None:
    places = locate(text)
    assert set(places) == set(paths(tomllib.loads(text)))


@given(toml())
def test_what_stands_at_a_value_s_place_is_that_value(text: str) -> None:
    document = tomllib.loads(text)
    for path, place in locate(text).items():
        raw = text[place.value.start : place.value.end]
        value: Any = document
        for step in path:
            value = value[step]
        if not isinstance(value, dict | list):
            assert tomllib.loads(f"value = {raw}")["value"] == value


@given(st.text() | st.text("[]{}\"'=.,#\n a1\\"))
def test_any_text_is_survived(text: str) -> None:
    locate(text)
