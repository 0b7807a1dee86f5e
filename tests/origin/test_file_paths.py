"""From targets to names: what is accepted, and that nothing accepted can lead out, or to another host."""

from __future__ import annotations

from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgecache.origin.file_paths import FilePath, file_path, with_slash


@pytest.mark.parametrize(
    ("target", "names", "is_directory"),
    [
        ("/", (), True),
        ("/?q", (), True),
        ("/app.js", ("app.js",), False),
        ("/app.js?v=1/../..", ("app.js",), False),
        ("/a/b/", ("a", "b"), True),
        ("/a/b?/", ("a", "b"), False),
        ("/a%20b", ("a b",), False),
        ("/a+b", ("a+b",), False),
        ("/caf%C3%A9", ("caf\u00e9",), False),
        ("/caf%c3%a9", ("caf\u00e9",), False),
        ("/%61%70p.js", ("app.js",), False),
        ("/%2561", ("%61",), False),
        ("/%252e%252e/x", ("%2e%2e", "x"), False),
        ("/[slug]-1.js", ("[slug]-1.js",), False),
        ("/a;b=c/d", ("a;b=c", "d"), False),
        ("/a..b/c.", ("a..b", "c."), False),
        ("/...", None, False),
        ("/.well-known/a", (".well-known", "a"), False),
        ("/%2Ewell-known/", (".well-known",), True),
    ],
)
def test_what_a_target_names(target: str, names: tuple[str, ...] | None, is_directory: bool) -> None:
    assert file_path(target) == (None if names is None else FilePath(names, is_directory))


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "app.js",
        "?q",
        "http://site.example/",
        "//",
        "//evil.example",
        "//evil.example/",
        "/a//b",
        "/a//",
        "/./a",
        "/a/.",
        "/a/./",
        "/../a",
        "/a/..",
        "/a/../b",
        "/%2e%2e/a",
        "/%2e/a",
        "/.%2E/a",
        "/a%2fb",
        "/a%2Fb",
        "/%2f",
        "/..%2fa",
        "/%5c",
        "/a\\b",
        "/\\evil.example/",
        "/..\\a",
        "/%00",
        "/a%00.js",
        "/a%0ab",
        "/a%0d%0ab",
        "/a%7f",
        "/a%c2%85",
        "/a%1bb",
        "/%",
        "/%2",
        "/%zz",
        "/a%",
        "/%u0041",
        "/%c3",
        "/%c0%ae%c0%ae/a",
        "/%c0%af",
        "/%ed%a0%80",
        "/%f5%80%80%80",
        "/caf\u00e9",
        "/caf\xc3\xa9",
        "/a b",
        "/a\nb",
        "/a\x00b",
        "/a#b",
        "/a?b#c",
        "/a?b c",
        "/.env",
        "/.git/config",
        "/%2egit/config",
        "/a/.htaccess",
        "/a/.well-known/b",
        "/.well-known/.b",
        "/.well-known2",
        "/.Well-Known/a",
    ],
)
def test_what_names_nothing(target: str) -> None:
    assert file_path(target) is None


FRAGMENTS = [
    "/",
    "//",
    "\\",
    ".",
    "..",
    "%2e",
    "%2F",
    "%5C",
    "%00",
    "%",
    "%25",
    "%c3%a9",
    "a",
    ".a",
    "?",
    "#",
    "@",
    ":",
    "é",
]
TARGETS = (
    st.lists(st.sampled_from(FRAGMENTS) | st.characters(max_codepoint=0x2FF), max_size=12).map("".join).map("/".__add__)
    | st.text()
)


@given(TARGETS)
def test_whatever_is_accepted_stays_below_the_root(target: str) -> None:
    path = file_path(target)
    for place, name in enumerate(path.names if path else ()):
        assert name not in ("", ".", "..")
        assert not set(name) & set("/\\\0\r\n")
        assert not name.startswith(".") or (name, place) == (".well-known", 0)
        assert name.encode().decode() == name


@given(TARGETS)
@example("//evil.example")
@example("/\\evil.example")
@example("/a/../..//evil.example")
def test_a_redirect_stays_on_its_host(target: str) -> None:
    path = file_path(target)
    if path is not None and not path.is_directory:
        location = with_slash(target)
        assert urlsplit(urljoin("https://site.example/x/y", location)).netloc == "site.example"
        assert location.isascii()
        assert location.isprintable()
        assert file_path(location) == FilePath(path.names, is_directory=True)
        assert location.partition("?")[2] == target.partition("?")[2]


@given(st.lists(st.text(min_size=1), max_size=4), st.booleans())
def test_a_name_that_may_be_served_reads_back(names: list[str], is_directory: bool) -> None:
    written = "/" + "/".join(quote(name.encode("utf-8", "replace"), safe="") for name in names)
    target = f"{written}/" if is_directory and names else written
    accepted = file_path(target)
    if accepted is not None:
        spelled = tuple(name.encode("utf-8", "replace").decode() for name in names)
        assert accepted == FilePath(spelled, is_directory or not names)
