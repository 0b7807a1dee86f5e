from __future__ import annotations

import re
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.errors import ClientError
from edgecache.http.glob import Glob
from edgecache.http.regex import MAX_REGEX
from edgecache.purging import expression
from edgecache.purging.expression import Both, Either, Expression, Not, Tag
from edgecache.purging.selector import Kind, Selector, target_of

needs_re2 = pytest.mark.skipif(find_spec("re2") is None, reason="google-re2 is an extra")


def hits(kind: str, value: str, uri: str, *tags: str) -> bool:
    return Selector.of(kind, value).matcher()(target_of(uri), frozenset(tags))


# ---------------------------------------------------------------------------------------------------- what matches


@pytest.mark.parametrize(
    ("value", "uri", "expected"),
    [
        ("http://h/a", "http://h/a", True),
        ("http://h/a", "https://h/a", True),
        ("h/a", "https://h/a", True),
        ("HTTPS://H:443/a", "http://h/a", True),
        ("http://h:80/a", "https://h/a", True),
        ("http://h", "http://h/", True),
        ("http://h?x", "http://h/?x", True),
        ("http://[::1]:80/a", "http://[::1]/a", True),
        ("http://h/a", "http://h:8080/a", False),
        ("http://h/a", "http://h/a?", False),
        ("http://h/a?x=1", "http://h/a?x=1", True),
        ("http://h/a?x=1", "http://h/a?x=2", False),
        ("http://h/a?x=http://e/", "http://h/a?x=http://e/", True),
        ("http://h/a", "http://h/A", False),
        ("http://h/a", "http://h/a/", False),
        ("http://h/o", "http://h/%6f", False),
    ],
)
def test_url(value: str, uri: str, expected: bool) -> None:
    assert hits("url", value, uri) is expected


@pytest.mark.parametrize(
    ("value", "uri", "expected"),
    [
        ("/foo/bar", "http://h/foo/bar", True),
        ("/foo/bar", "http://other/foo/bar/baz", True),
        ("/foo/bar", "http://h/foo/bar?q", True),
        ("/foo/bar", "http://h/foo/bar/", True),
        ("/foo/bar", "http://h/foo/barbaz", False),
        ("/foo/bar", "http://h/foo", False),
        ("/foo/bar", "http://h/x/foo/bar", False),
        ("/foo/", "http://h/foo/x", True),
        ("/foo/", "http://h/foo/", True),
        ("/foo/", "http://h/foo", False),
        ("/", "http://h/anything?x", True),
        ("https://H/foo", "http://h/foo/x", True),
        ("h/foo", "http://other/foo/x", False),
        ("h", "http://h/x", True),
        ("h", "http://hh/x", False),
        ("/a", "http://h/b?x=/a/", False),
    ],
)
def test_prefix(value: str, uri: str, expected: bool) -> None:
    assert hits("prefix", value, uri) is expected


@pytest.mark.parametrize(
    ("value", "uri", "expected"),
    [
        ("H.example", "https://h.example/x", True),
        ("http://h.example:80", "https://h.example/x", True),
        ("h.example:8080", "http://h.example:8080/x", True),
        ("h.example", "http://h.example:8080/x", False),
        ("h.example", "http://www.h.example/", False),
    ],
)
def test_host(value: str, uri: str, expected: bool) -> None:
    assert hits("host", value, uri) is expected


@pytest.mark.parametrize(("tag", "expected"), [("a", True), ("a:b", False), ("ab", False), ("A", False), ("b", True)])
def test_a_tag_is_matched_exactly(tag: str, expected: bool) -> None:
    assert hits("tag", tag, "http://h/", "a", "b") is expected
    assert not hits("tag", "a", "http://h/", "ab", "a:b", "A")


@pytest.mark.parametrize(
    ("value", "uri", "expected"),
    [
        ("/img/*.png", "http://h/img/a.png", True),
        ("/img/*.png", "http://h/img/a.png?v=2", True),
        ("/img/*.png", "http://h/img/a/b.png", False),
        ("/img/**.png", "http://h/img/a/b.png", True),
        ("/img/**/*.png", "http://h/img/a/b/c.png", True),
        ("/img/**/*.png", "http://h/img/c.png", False),
        ("**/x", "http://h/x", True),
        ("**", "http://h/", True),
        ("/a?", "http://h/ab", True),
        ("/a?", "http://h/a/", False),
        ("/a?x=*", "http://h/a?x=1", True),
        (r"/a\?x=*", "http://h/a?x=1", True),
        (r"/a\?x=*", "http://h/abx=1", False),
        (r"/\*", "http://h/*", True),
        (r"/\*", "http://h/a", False),
        ("/[ab]", "http://h/[ab]", True),
        ("/[ab]", "http://h/a", False),
        ("*.example.com/**", "https://www.Example.com/a/b", True),
        ("*.example.com/**", "https://example.com/a/b", False),
        ("http://H/a*", "http://h/abc", True),
        ("h/a*", "http://g/abc", False),
        ("/a**b**c", "http://h/axbxbxc", True),
        ("/a**b**c", "http://h/axcxb", False),
        ("/***", "http://h/a/b", True),
        ("/a\\", "http://h/a\\", True),
    ],
)
def test_glob(value: str, uri: str, expected: bool) -> None:
    assert hits("glob", value, uri) is expected


@pytest.mark.parametrize(
    ("value", "tags", "expected"),
    [
        ("a", {"a"}, True),
        ("a & b", {"a"}, False),
        ("a & b", {"a", "b"}, True),
        ("a | b & c", {"a"}, True),
        ("(a | b) & c", {"a"}, False),
        ("!a & b", {"b"}, True),
        ("!(a & b)", {"a"}, True),
        ("!a", set(), True),
        ("!!a", {"a"}, True),
        ("(product:42|product:43)&!region:eu", {"product:43", "region:us"}, True),
        ("(product:42|product:43)&!region:eu", {"product:43", "region:eu"}, False),
        ('"x y" & a', {"x y", "a"}, True),
        (r'"\"|\\"', {'"|\\'}, True),
        ("a*", {"ab"}, False),
    ],
)
def test_expression(value: str, tags: set[str], expected: bool) -> None:
    assert hits("expr", value, "http://h/", *tags) is expected


@needs_re2
@pytest.mark.parametrize(
    ("value", "expected"),
    [(r"\.css", True), (r"^h/a/", True), (r"^/a", False), (r"x=[0-9]$", True), (r"(?i)A/B", True)],
)
def test_regex(value: str, expected: bool) -> None:
    assert hits("regex", value, "http://h/a/b.css?x=1") is expected


def test_all() -> None:
    assert hits("all", "", "http://h/")


# ------------------------------------------------------------------------------------------------ what is a mistake


@pytest.mark.parametrize(
    ("kind", "value", "where", "what"),
    [
        ("url", "/a", 1, "no host"),
        ("url", "http:///a", 1, "no host"),
        ("url", "ftp://h/a", 1, "the scheme ftp"),
        ("url", "http://h/a#b", 11, "a fragment"),
        ("url", "http://h/a b", 11, "percent-encode"),
        ("url", "http://h/é", 10, "percent-encode"),
        ("url", "http://u@h/", 8, "not a host"),
        ("url", "http://h:x/", 8, "not a host"),
        ("url", "h/" + "a" * 8191, 8193, "longer"),
        ("url", "http://h/\n", 10, "control"),
        ("prefix", "/a?b", 3, "a query"),
        ("host", "h/a", 2, "not a host alone"),
        ("host", "", 1, "not a host alone"),
        ("tag", "", 1, "empty"),
        ("tag", "a\x00", 2, "control"),
        ("tag", "\ud800", 1, "control"),
        ("tag", "a" * 1025, 1025, "longer"),
        ("glob", "*.css", 1, "matches no URL"),
        ("glob", "", 1, "matches no URL"),
        ("glob", "/" + "*" * 1024, 1025, "longer"),
        ("regex", "", 1, "empty"),
        ("regex", "a" * (MAX_REGEX + 1), MAX_REGEX + 1, "longer"),
        ("expr", "", 1, "expected a tag"),
        ("expr", "a &", 4, "expected a tag"),
        ("expr", "a b", 3, "expected & or |"),
        ("expr", "(a", 1, "never closed"),
        ("expr", "a)", 2, "expected & or |"),
        ("expr", "a | | b", 5, "expected a tag"),
        ("expr", 'a & "b', 5, "quote"),
        ("expr", 'a & ""', 5, "never empty"),
        ("expr", "(" * 40 + "a", 34, "nested"),
        ("expr", "!" * 40 + "a", 34, "nested"),
        ("expr", "a|" * 3000 + "a", 4097, "longer"),
        ("all", "x", 1, "a value"),
    ],
)
def test_a_mistake_says_where_and_what(kind: str, value: str, where: int, what: str) -> None:
    with pytest.raises(ClientError) as raised:
        Selector.of(kind, value)
    assert raised.value.status == 400
    assert f"character {where}:" in raised.value.reason
    assert what in raised.value.reason
    assert ";" in raised.value.reason


@needs_re2
@pytest.mark.parametrize("value", ["(a", r"(a)\1", "(?=a)", "a{9999}"])
def test_a_regex_that_re2_declines(value: str) -> None:
    with pytest.raises(ClientError, match="look-around"):
        Selector.of("regex", value)


def test_an_unknown_kind_is_told_what_there_is() -> None:
    with pytest.raises(ClientError, match="url, prefix, host, tag, glob, regex, expr, all"):
        Selector.parse("ban:x")


def test_without_re2_a_regex_is_declined_and_another_s_matches_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ClientError, match="install edgecache"):
        Selector.of("regex", "a")
    assert Selector(Kind.REGEX, "^a$").matcher()(target_of("http://h/b"), frozenset())


# --------------------------------------------------------------------------------------------------- canonical form


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("url:HTTP://Ex.com:80/a?x=1", "url:ex.com/a?x=1"),
        ("~url:https://ex.com", "~url:ex.com/"),
        ("prefix:/foo", "prefix:/foo"),
        ("prefix:Ex.com", "prefix:ex.com/"),
        ("tag:a:b", "tag:a:b"),
        ("glob:*.Ex.com/A/*", "glob:*.ex.com/A/*"),
        ("glob:**.PNG", "glob:**.PNG"),
        ('expr:((a|b)&c)|!d|e&"x y"', 'expr:(a | b) & c | !d | e & "x y"'),
        ("expr:!((a))", "expr:!a"),
        ("expr:!(a|b)", "expr:!(a | b)"),
        ("expr:a&(b&c)", "expr:a & b & c"),
        ("all", "all"),
        ("~all:", "~all"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    assert str(Selector.parse(text)) == canonical
    assert Selector.parse(canonical) == Selector.parse(text)


tags = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
expressions: st.SearchStrategy[Expression] = st.recursive(
    st.builds(Tag, tags),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner.filter(lambda one: not isinstance(one, Both)), min_size=2, max_size=3).map(tuple).map(Both),
        st.lists(inner.filter(lambda one: not isinstance(one, Either)), min_size=2, max_size=3).map(tuple).map(Either),
    ),
    max_leaves=8,
)


@given(expressions)
def test_an_expression_survives_being_written_down(written: Expression) -> None:
    assert expression.parse(str(written)) == written


@given(
    st.one_of(st.text(max_size=40), st.text('ab/:*?.#&|!()"\\ ~', max_size=30)),
    st.sampled_from(list(Kind)),
    st.booleans(),
)
def test_anything_is_a_selector_or_a_client_error(value: str, kind: Kind, soft: bool) -> None:
    try:
        made = Selector.of(kind, value, soft=soft)
    except ClientError:
        return
    assert Selector.of(kind, made.value, soft=soft) == made
    assert Selector.parse(str(made)) == made
    made.matcher()(target_of(value), frozenset({value}))


# ---------------------------------------------------------------------------------------------------------- globs


def naive(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|\*\*+|.", pattern, re.DOTALL)
    said = {"*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            said.get(part) or (".*" if part[:2] == "**" else re.escape(part[1:] if len(part) > 1 else part))
            for part in parts
        ),
        re.DOTALL,
    )


@given(st.text("ab/*?\\", max_size=10), st.text("ab/?*", max_size=10))
def test_a_glob_is_what_a_regular_expression_would_be(pattern: str, target: str) -> None:
    path = target.partition("?")[0]
    expected = any(naive(pattern).fullmatch(subject) is not None for subject in (target, path))
    assert Glob(pattern).matches(target) is expected


@pytest.mark.parametrize(
    "value", ["/**a*a*a*a*a*a*a*a*b", "/" + "*a" * 200 + "b", "/**" + "?" * 500 + "b", "/" + "**a" * 300]
)
def test_no_glob_takes_long(value: str) -> None:
    # Backtracking would not end in this century.
    assert hits("glob", value, "http://h/" + "a" * 10_000) is value.endswith("a")


@needs_re2
@pytest.mark.parametrize("value", ["(a+)+$", "(a|aa)+b", "(.*)*c"])
def test_no_regex_takes_long(value: str) -> None:
    assert hits("regex", value, "http://h/" + "a" * 10_000) is value.endswith("$")


def test_a_glob_knows_what_its_matches_begin_with() -> None:
    assert Glob("/img/a*").literal == "/img/a"
    assert Glob(r"/a\*b?").literal == "/a*b"
    assert Glob("/plain").literal == "/plain"
