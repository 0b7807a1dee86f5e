from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.semantics.guards import extension_of, is_ambiguous, media_type, path_of, type_contradicts
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from tests.semantics.build import fields, refusal, request, response

FRESH = "Cache-Control: max-age=60"
HTML, JSON, CSS, JS = "text/html; charset=utf-8", "application/json", "text/css", "text/javascript"


def contradicts(target: str, content_type: str, status: int = 200) -> bool:
    return type_contradicts(request(target=target), response(f"Content-Type: {content_type}", status=status))


# --------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("target", "content_types"),
    [
        ("/app.js", [JS, "application/javascript", "application/x-javascript; charset=utf-8", "TEXT/JavaScript"]),
        ("/app.mjs", [JS]),
        ("/style.css", [CSS, "text/css;charset=utf-8"]),
        ("/app.js.map", [JSON, "application/octet-stream", "text/plain"]),
        ("/data.json", [JSON, "application/ld+json", "application/problem+json", "text/json"]),
        ("/site.webmanifest", ["application/manifest+json", JSON, "application/octet-stream"]),
        ("/module.wasm", ["application/wasm"]),
        ("/logo.svg", ["image/svg+xml"]),
        ("/photo.JPG", ["image/jpeg", "image/webp", "image/avif"]),
        ("/favicon.ico", ["image/x-icon", "image/vnd.microsoft.icon", "image/png"]),
        ("/font.woff2", ["font/woff2", "application/font-woff2", "application/octet-stream"]),
        ("/film.mp4", ["video/mp4", "application/octet-stream"]),
        ("/list.m3u8", ["application/vnd.apple.mpegurl", "audio/mpegurl"]),
        ("/paper.pdf", ["application/pdf"]),
        ("/table.csv", ["text/csv; header=present", "text/plain"]),
        ("/robots.txt", ["text/plain"]),
        ("/feed.xml", ["application/xml", "text/xml", "application/rss+xml", "application/atom+xml"]),
        ("/a.zip", ["application/zip", "application/octet-stream", "binary/octet-stream"]),
        ("/a.tar.gz", ["application/gzip", "application/x-gzip", "application/x-tar"]),
        ("/a.docx", ["application/vnd.openxmlformats-officedocument.wordprocessingml.document"]),
        # It may be named for what it is, or for what it is encoded in.
        ("/app.js.br", [JS, "application/octet-stream"]),
        ("/sitemap.xml.gz", ["application/xml", "application/gzip"]),
    ],
)
def test_what_a_name_says(target: str, content_types: list[str]) -> None:
    for content_type in content_types:
        assert not contradicts(target, content_type), content_type
        assert not contradicts(f"{target}?v=1", content_type), content_type
    for content_type in (HTML, "application/xhtml+xml", "", "text", "text/html, text/css", "multipart/form-data"):
        assert contradicts(target, content_type), content_type
        assert contradicts(f"{target}?v=1", content_type), content_type
        assert not contradicts(target, content_type, 404), "an error is a page"
        assert not contradicts(target, content_type, 302)
        assert not contradicts(target, content_type, 204)


@pytest.mark.parametrize(
    "extension",
    ["js", "css", "svg", "png", "woff2", "mp4", "pdf", "csv", "txt", "xml", "zip", "gz", "docx", "wasm", "exe", "vtt"],
)
def test_what_an_interface_answers_is_no_asset(extension: str) -> None:
    for content_type in (JSON, "application/problem+json", "application/json-seq"):
        assert contradicts(f"/api/me;x.{extension}", content_type)


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/account", "/account?x.css", "/account?/x.css", "/v1.2", "/john.smith", "/index.php", "/a.css/b"),
        *(
            "/page.html",
            "/app.js.html",
            "/next.js/",
            "/.css-in-a-name",
            "/what-is-node.js-for",
            "/vue.js_2",
            "/x.jsx",
            "/a.css2",
            "/js",
            "/.js/x",
        ),
    ],
)
def test_what_says_nothing(target: str) -> None:
    assert not contradicts(target, HTML)
    assert not contradicts(target, JSON)


@pytest.mark.parametrize(
    "target",
    [
        *("/account/x.css", "/account;x.css", "/account:x.css", "/account,x.css", "/account!x.css", "/account$x.css"),
        *("/account%00x.css", "/account%0ax.css", "/account%09x.css", "/account%23x.css", "/account%2fx.css"),
        *("/account%3bx.css", "/account%3fx.css", "/account%5cx.css", "/account%252fx.css", "/account%253fx.css"),
        *("/account%2fx%2ecss", "/account/x%252ecss", "/account/x%25252ecss", "/account/x.%63ss", "/account/x.CSS"),
        *("/account/x.css%00", "/account/x.css%3f", "/account/x.css;a=b", "/account/x.css,y", "/account/x.css%20"),
        *("/account/x.css.", "/account/x.css%23a", "/account/x.css!", "/account/x.css:", "/account/x.css%0d%0a"),
        *("/account/x.css~", "/account/x.css%ff", "/account/x.js.css", "/account/.css", "//x.css"),
    ],
)
def test_however_the_name_is_written(target: str) -> None:
    assert contradicts(target, HTML)
    assert contradicts(target, JSON)
    assert not contradicts(target, CSS)


def test_a_contradiction_is_not_stored() -> None:
    for target in ("/app.3f2a9c1b.js", "/account;x.js"):
        asked = request(target=target)
        for cache_control in ("public, max-age=31536000, immutable", "s-maxage=60"):
            assert refusal(f"Cache-Control: {cache_control}", f"Content-Type: {HTML}", of=asked) is Reason.TYPE_MISMATCH
        assert refusal(FRESH, of=asked) is Reason.TYPE_MISMATCH
        assert refusal(FRESH, f"Content-Type: {HTML}", of=asked, policy=Policy(unsafe_ignore_content_type=True)) is None
        assert refusal(FRESH, f"Content-Type: {JS}", of=asked) is None


# --------------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../account", "/static/..%2faccount", "/static/%2e%2e/account", "/static/%2E./account", "/a/./b"),
        *(
            "/static/%2e%2e%2faccount",
            "/static/..%5caccount",
            "/static/%252e%252e%252faccount",
            "/a/..;/b",
            "/a/..;x/b",
        ),
        *(
            "/static/%25252e%25252e%25252fa",
            "/..",
            "/.",
            "/a/..",
            "/a/%2e",
            "/a%2f..%2fb",
            "/a/..%3bx/b",
            "/a%5c..%5cb",
        ),
        *("/account%00.css", "/account%0a.css", "/account%0d%0aX:1", "/account%09", "/account%7f", "/account%2500"),
        *("/static/..%c0%afaccount", "/static/%c0%ae%c0%ae/account", "/static/..%c1%9caccount"),
    ],
)
def test_paths_that_servers_read_differently(path: str) -> None:
    assert is_ambiguous(path)
    assert refusal("Cache-Control: public, max-age=60", of=request(target=path)) is Reason.AMBIGUOUS_PATH
    assert refusal("Cache-Control: public, max-age=60", of=request(target=f"{path}?q")) is Reason.AMBIGUOUS_PATH
    assert refusal("Cache-Control: public, max-age=60", of=request(target=f"/?q={path}")) is None


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/a",
            "/a/b/",
            "//a",
            "/.well-known/x",
            "/a/.b",
            "/a..b",
            "/a/...",
            "/a/..b",
            "/a./b",
            "/a;x=1",
            "/a;.b",
        ),
        *(
            "/@scope%2fname",
            "/group%2Fproject",
            "/wiki/C%23",
            "/wiki/Who%3f",
            "/a%20b",
            "/%C0_propos",
            "/%c3%a4",
            "/%zz",
        ),
        *("/100%25", "/%2525", "/a%252fb", "/%", "/%2", "/a,b", "/a:b", "/~user", "/a%5cb"),
    ],
)
def test_paths_that_everybody_reads_alike(path: str) -> None:
    assert not is_ambiguous(path)
    assert refusal(FRESH, of=request(target=path)) is None


# --------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    ("path", "extension"),
    [
        ("/a.css", "css"),
        ("/a.CSS", "css"),
        ("/a.b.css", "css"),
        ("/a", ""),
        ("/a.b/c", ""),
        ("/.css", ""),
        ("/a.", ""),
        ("/a.css/", ""),
        ("/a.css;x", ""),
        ("/a.thirteenchars", ""),
        ("/a.c%73s", ""),
    ],
)
def test_extensions(path: str, extension: str) -> None:
    assert extension_of(path) == extension


def test_paths_of_targets() -> None:
    assert [path_of(target) for target in ("/a", "/a?b", "/a?b?c", "/?")] == ["/a", "/a", "/a", "/"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Content-Type: Text/HTML; charset=x"], "text/html"),
        (["Content-Type:  text/css"], "text/css"),
        (["Content-Type: text/css, text/html"], ""),
        (["Content-Type: text/css", "Content-Type: text/css"], ""),
        (["Content-Type: css"], ""),
        (["Content-Type: text/"], ""),
        (["Content-Type: "], ""),
        ([], ""),
    ],
)
def test_media_types(lines: list[str], expected: str) -> None:
    assert media_type(fields(lines)) == expected


# --------------------------------------------------------------------------------------------------- properties

_TYPED = st.sampled_from(["js", "css", "map", "svg", "png", "woff2", "mp4", "pdf", "csv", "txt", "xml", "zip", "json"])
_PIECES = st.lists(
    st.sampled_from(
        [*"/;:,!$#?%.\\~@a1-", "%2f", "%2e", "%00", "%0a", "%25", "%3b", "%3f", ".css", ".html", "..", "é"]
    ),
    max_size=8,
).map("".join)


@given(before=_PIECES, name=st.text("abc123-_", min_size=1, max_size=9), extension=_TYPED, upper=st.booleans())
def test_whatever_a_rule_takes_for_an_asset_the_guard_does_too(
    before: str, name: str, extension: str, upper: bool
) -> None:
    path = f"/{before.replace('?', '')}{name}.{extension.upper() if upper else extension}"
    assert extension_of(path) == extension
    assert contradicts(path, HTML)


@given(path=_PIECES, times=st.integers(0, 3))
def test_encoding_hides_nothing(path: str, times: int) -> None:
    plain = f"/{path.replace('?', '').replace('%', '')}"
    encoded = plain
    for _ in range(times):
        encoded = "".join(f"%{octet:02x}" if octet != ord("/") else "/" for octet in encoded.encode("latin-1"))
    assert is_ambiguous(encoded) >= is_ambiguous(plain)
    assert contradicts(encoded, HTML) >= contradicts(plain, HTML)


@given(path=st.text(max_size=60))
def test_any_path_has_an_answer(path: str) -> None:
    assert is_ambiguous(path) in (True, False)
    assert contradicts(path, HTML) in (True, False)


_SPELLED = st.lists(
    st.sampled_from(["a", "B", "1", "/", ".", "-", "_", "css", "html", "js", ".gz", ".css"]), max_size=8
)


@given(parts=_SPELLED, content_type=st.sampled_from(["text/css", "text/html", "application/gzip", ""]))
def test_a_plain_path_is_read_as_its_encoded_twin_is(parts: list[str], content_type: str) -> None:
    """One letter encoded, and nothing about a path is plain any more."""
    plain, twin = f"/a{''.join(parts)}", f"/%61{''.join(parts)}"
    assert contradicts(plain, content_type) == contradicts(twin, content_type)
    assert is_ambiguous(plain) == is_ambiguous(twin)
