"""Manifests of every tool, and everything that is none. What tools really write today is in ``tests/builds``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.assets import Kind, read_manifest, read_manifest_file
from edgecache.assets.manifests import MAX_MANIFEST
from edgecache.errors import ConfigError


def written(document: object) -> bytes:
    return json.dumps(document).encode()


HEX: Final = "3f2a9c1b"
LONG: Final = "0f" * 32

KNOWN: Final[list[tuple[Kind, Any, dict[str, str], dict[str, str]]]] = [
    (
        Kind.DJANGO,
        {
            "paths": {"css/a b.css": "css/a b.3b1f2a9c0d4e.css", "keep.js": "keep.js", "n.js": "n.123456789012.js"},
            "version": "1.1",
            "hash": "",
        },
        {"css/a%20b.3b1f2a9c0d4e.css": "3b1f2a9c0d4e", "n.123456789012.js": "123456789012"},
        {"css/a b.css": "css/a%20b.3b1f2a9c0d4e.css", "keep.js": "keep.js", "n.js": "n.123456789012.js"},
    ),
    (
        Kind.WEBPACK_STATS,
        {
            "publicPath": "/",
            "assetsByChunkName": {"main": ["main.css", f"main.{HEX}.js", f"main.{HEX}.js.map"], "one": "one.js"},
            "assets": [
                {"name": f"main.{HEX}.js", "info": {"immutable": True, "contenthash": HEX}},
                {"name": f"main.{HEX}.js.map", "info": {"development": True}},
                {"name": "main.css", "info": {}},
                {"name": "one.js"},
                {"name": "abcdefab.png", "info": {"immutable": True, "contenthash": ["x", "abcdefab"]}},
                {"name": f"{LONG}.svg", "info": {"sourceFilename": "src/drawing.svg"}},
                {"name": "../outside.3f2a9c1b.js", "info": {"immutable": True, "contenthash": HEX}},
            ],
        },
        {f"main.{HEX}.js": HEX, f"main.{HEX}.js.map": HEX, "abcdefab.png": "abcdefab", f"{LONG}.svg": LONG},
        {"main.js": f"main.{HEX}.js", "main.css": "main.css", "one.js": "one.js", "src/drawing.svg": f"{LONG}.svg"},
    ),
    (
        Kind.ESBUILD,
        {
            "inputs": {},
            "outputs": {
                "out/www/main-2ADT4KFJ.js": {
                    "entryPoint": "src/main.ts",
                    "cssBundle": "out/www/main-VBAKFPDR.css",
                    "inputs": {"src/main.ts": {}, "src/x.ts": {}},
                    "bytes": 1,
                },
                "out/www/main-VBAKFPDR.css": {"inputs": {"src/a.css": {}, "src/b.css": {}}},
                "out/www/media/logo-HWVUQ4JT.png": {"inputs": {"src/logo.png": {}}},
                "out/www/plain.js": {"entryPoint": "src/plain.js"},
            },
        },
        {"main-2ADT4KFJ.js": "2ADT4KFJ", "main-VBAKFPDR.css": "VBAKFPDR", "media/logo-HWVUQ4JT.png": "HWVUQ4JT"},
        {
            "src/main.ts": "main-2ADT4KFJ.js",
            "src/main.css": "main-VBAKFPDR.css",
            "src/logo.png": "media/logo-HWVUQ4JT.png",
            "src/plain.js": "plain.js",
        },
    ),
    (
        Kind.ESBUILD,
        {"inputs": {}, "outputs": {"main-2ADT4KFJ.js": {"entryPoint": "a.js"}}},
        {"main-2ADT4KFJ.js": "2ADT4KFJ"},
        {"a.js": "main-2ADT4KFJ.js"},
    ),
    (
        Kind.SPROCKETS,
        {
            "files": {
                f"application-{LONG}.css": {"logical_path": "application.css", "digest": LONG, "size": 1},
                f"application-{'1e' * 32}.css": {"logical_path": "application.css", "digest": "1e" * 32},
            },
            "assets": {"application.css": f"application-{LONG}.css"},
        },
        {f"application-{LONG}.css": LONG, f"application-{'1e' * 32}.css": "1e" * 32},
        {"application.css": f"application-{LONG}.css"},
    ),
    (
        Kind.WEBPACK_FILES,
        {
            "files": {"main.js": "/static/js/main.9a9c897c.js", "index.html": "/index.html"},
            "entrypoints": ["static/js/main.9a9c897c.js"],
        },
        {"/static/js/main.9a9c897c.js": "9a9c897c"},
        {"main.js": "/static/js/main.9a9c897c.js", "index.html": "/index.html"},
    ),
    (
        Kind.NEXT,
        {
            "pages": {"/_app": ["static/chunks/main-0c8c6c0909f9cc2f.js", "static/css/0c8c6c0909f9cc2f.css"]},
            "polyfillFiles": ["static/chunks/3qfy96eoyh-ek.js"],
            "lowPriorityFiles": ["static/jHEr5EoFgMI81LvM2t3AT/_buildManifest.js"],
            "rootMainFiles": ["static/chunks/main-0c8c6c0909f9cc2f.js", "static/chunks/main-app.js"],
        },
        {
            "static/chunks/main-0c8c6c0909f9cc2f.js": "0c8c6c0909f9cc2f",
            "static/css/0c8c6c0909f9cc2f.css": "0c8c6c0909f9cc2f",
            "static/chunks/3qfy96eoyh-ek.js": "3qfy96eoyh-ek",
        },
        {},
    ),
    (
        Kind.PROPSHAFT,
        {"app.js": {"digested_path": "app-9b5f244c.js", "integrity": "sha384-x"}, "b.js": {"digested_path": "b.js"}},
        {"app-9b5f244c.js": "9b5f244c"},
        {"app.js": "app-9b5f244c.js", "b.js": "b.js"},
    ),
    (
        Kind.VITE,
        {
            "src/main.ts": {
                "file": "assets/main-BHusnvbP.js",
                "name": "main",
                "isEntry": True,
                "css": ["assets/main-kBzyzQEa.css", "assets/shared-DQphrhpo.css"],
                "assets": ["assets/logo-aEv2D7n7.svg", "assets/Contact2024.png"],
            },
            "_shared-DQphrhpo.js": {"file": "assets/shared-DQphrhpo.js", "name": "shared"},
            "src/Contact2024.vue": {"file": "assets/Contact2024.js"},
            "src/logo.svg": {"file": "assets/logo-aEv2D7n7.svg", "src": "src/logo.svg"},
            "index.html": {"file": "assets/index-12345678.js", "css": ["assets/index.css"]},
        },
        {
            "assets/main-BHusnvbP.js": "BHusnvbP",
            "assets/main-kBzyzQEa.css": "kBzyzQEa",
            "assets/logo-aEv2D7n7.svg": "aEv2D7n7",
            "assets/index-12345678.js": "12345678",
        },
        {
            "src/main.ts": "assets/main-BHusnvbP.js",
            "src/main.css": "assets/main-kBzyzQEa.css",
            "_shared-DQphrhpo.js": "assets/shared-DQphrhpo.js",
            "src/Contact2024.vue": "assets/Contact2024.js",
            "src/logo.svg": "assets/logo-aEv2D7n7.svg",
            "index.html": "assets/index-12345678.js",
            "index.css": "assets/index.css",
        },
    ),
    (
        Kind.WEBPACK_ASSETS,
        {
            "entrypoints": {"main": {"assets": {"js": ["/main.9a9c897c.js"]}}},
            "main.js": {"src": "/main.9a9c897c.js", "integrity": "sha256-x"},
        },
        {"/main.9a9c897c.js": "9a9c897c"},
        {"main.js": "/main.9a9c897c.js"},
    ),
    (  # webpack-manifest-plugin, Parcel, Symfony, gulp-rev
        Kind.NAMES,
        {
            "main.js": "/main.9a9c897c.chunk.js",
            "img/[a].png": "https://cdn.example/img/[a].9a9c897c.png?x=1",
            "other.js": "//cdn.example/other-aBcD12x.js",
            "index.html": "/index.html",
            "entrypoints": {"main": ["main.js"]},
        },
        {"/main.9a9c897c.chunk.js": "9a9c897c", "/img/[a].9a9c897c.png": "9a9c897c", "/other-aBcD12x.js": "aBcD12x"},
        {
            "main.js": "/main.9a9c897c.chunk.js",
            "img/[a].png": "https://cdn.example/img/[a].9a9c897c.png?x=1",
            "other.js": "//cdn.example/other-aBcD12x.js",
            "index.html": "/index.html",
        },
    ),
    (  # Laravel Mix: a version in the query makes no name versioned
        Kind.NAMES,
        {"/js/app.js": "/js/app.js?id=0c8c6c0909f9cc2f1234"},
        {},
        {"/js/app.js": "/js/app.js?id=0c8c6c0909f9cc2f1234"},
    ),
]


@pytest.mark.parametrize(("kind", "document", "digests", "logical"), KNOWN, ids=lambda value: str(value)[:16])
def test_a_manifest_is_known_by_its_content(
    kind: Kind, document: Any, digests: dict[str, str], logical: dict[str, str]
) -> None:
    manifest = read_manifest(written(document))
    assert manifest.kind is kind
    assert manifest.digests == digests
    assert manifest.names == frozenset(digests)
    assert manifest.logical == logical
    assert not manifest.hashes_content


def test_the_table_has_every_kind() -> None:
    assert {kind for kind, *_ in KNOWN} == set(Kind)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (["/www/a-2ADT4KFJ.js", "/www/x/b-2ADT4KFJ.js"], {"a-2ADT4KFJ.js", "x/b-2ADT4KFJ.js"}),
        (["/www/a-2ADT4KFJ.js", "out/b-2ADT4KFJ.js"], {"/www/a-2ADT4KFJ.js", "out/b-2ADT4KFJ.js"}),
        (["out/a-2ADT4KFJ.js", "outer/b-2ADT4KFJ.js"], {"out/a-2ADT4KFJ.js", "outer/b-2ADT4KFJ.js"}),
        ([], set()),
    ],
)
def test_what_the_outputs_of_esbuild_have_in_common_is_not_served(outputs: list[str], names: set[str]) -> None:
    manifest = read_manifest(written({"inputs": {}, "outputs": {name: {} for name in outputs}}))
    assert manifest.names == names


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'{"a.js": "\xff.js"}', "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b"{} {}", "is not JSON"),
        (b"[" * 100_000, "is nested too deep"),
        (b'{"a":' * 100_000, "is nested too deep"),
        (b" " * (MAX_MANIFEST + 1), "is larger than 64 MiB"),
        (b"[]", "a JSON list, not an object"),
        (b"null", "a JSON NoneType, not an object"),
        (b"{}", "an empty object"),
        (b'{"a": "Hello world"}', "with the keys 'a'"),
        (b'{"greeting": "Hello.", "a": "b"}', "with the keys 'greeting', 'a'"),
        (b'{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}', "'a', 'b', 'c', 'd', 'e', …"),
        (b'{"entrypoints": {}}', "with the keys 'entrypoints'"),
        (b'{"paths": {"a": 1}, "version": "1.1"}', r"looks like staticfiles.json .* Expected `str`, got `int`"),
        (b'{"inputs": {}, "outputs": {"a": []}}', "looks like esbuild's metafile"),
        (b'{"a": {"file": 1}}', "looks like .vite/manifest.json"),
        (b'{"assets": ["a.js"]}', "looks like webpack's statistics"),
        (b'{"files": {"a": {}}, "assets": {}}', "looks like .sprockets-manifest"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_manifest_is_told_as_what_it_is(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_manifest(data)


def test_what_is_no_manifest_is_told_what_is_known() -> None:
    with pytest.raises(ConfigError) as caught:
        read_manifest(b"{}", where="x.json")
    assert caught.value.where == "x.json"
    assert all(kind.explanation in caught.value.hint for kind in Kind)


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    missing = tmp_path / "manifest.json"
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        read_manifest_file(missing)
    assert caught.value.where == str(missing)
    missing.write_text("[")
    with pytest.raises(ConfigError, match="is not JSON") as caught:
        read_manifest_file(missing)
    assert caught.value.where == str(missing)
    missing.write_text('{"a.js": "a.9a9c897c.js"}')
    assert read_manifest_file(missing).names == {"a.9a9c897c.js"}


@pytest.mark.parametrize(
    "name",
    [
        "../a.9a9c897c.js",
        "a/../b.9a9c897c.js",
        "./a.9a9c897c.js",
        "a\\b.9a9c897c.js",
        "a.9a9c897c.js/",
        "a\x00.9a9c897c.js",
    ],
)
def test_a_name_that_leads_elsewhere_is_left_out(name: str) -> None:
    manifest = read_manifest(written({"paths": {"a.js": name, "b.js": "b.9a9c897c.js"}, "version": "1.1"}))
    assert manifest.names == {"b.9a9c897c.js"}
    assert manifest.logical == {"b.js": "b.9a9c897c.js"}


@pytest.mark.parametrize(
    ("logical", "name", "digest"),
    [
        ("app.js", "app.js", ""),
        ("app.js", "app.min.js", ""),
        ("app.js", "app-legacy.js", ""),
        ("app.js", "app.production.js", ""),
        ("app.js", "app-2.0.1.js", ""),
        ("app.js", "app.abcdef.js", "abcdef"),
        ("app.js", "app.3f2a9c.chunk.js", "3f2a9c"),
        ("app.js", "app.20240101.js", "20240101"),
        ("app.js.map", "app.9a9c897c.js.map", "9a9c897c"),
        ("src/app.module.scss", "app-BHusnvbP.css", "BHusnvbP"),
        ("i.png", "i--mSX2pIB.png", "-mSX2pIB"),
        ("data.json", "data_9a9c897c.json", "9a9c897c"),
        ("other.js", "app.9a9c897c.js", "9a9c897c"),
        ("other.js", "app-BHusnvbP.js", ""),
        ("logo.png", f"img/{LONG}.png", LONG),
        ("logo.png", "img/9a9c897c.png", ""),
    ],
)
def test_the_digest_is_what_the_written_name_says_more(logical: str, name: str, digest: str) -> None:
    manifest = read_manifest(written({logical: name}))
    assert manifest.digests == ({name: digest} if digest else {})


# --------------------------------------------------------------------------------------------------------- properties

_names = st.text("ab.-/?\\é%\x00_9fAB ", max_size=12)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)
_keys = st.sampled_from(
    [
        *("paths", "version", "hash", "assets", "assetsByChunkName", "inputs", "outputs", "files", "entrypoints"),
        *("pages", "polyfillFiles", "file", "css", "src", "digested_path", "name", "info", "entryPoint", "a.js"),
    ]
)
_documents = st.dictionaries(_keys, st.dictionaries(_keys | _names, _values, max_size=3) | _values, max_size=4)


def check(data: bytes) -> None:
    try:
        manifest = read_manifest(data)
    except ConfigError:
        return
    assert all(digest and digest in name for name, digest in manifest.digests.items())
    assert all(name and ".." not in name.split("/") and name.isascii() for name in manifest.names)
    assert all(url.isascii() and " " not in url for url in manifest.logical.values())


@given(data=st.binary(max_size=60))
def test_any_bytes_give_a_manifest_or_the_error(data: bytes) -> None:
    check(data)


@given(document=_documents)
def test_any_document_gives_a_manifest_or_the_error(document: dict[str, Any]) -> None:
    check(msgspec.json.encode(document))


@given(data=st.data(), known=st.sampled_from([written(document) for _, document, *_ in KNOWN]))
def test_a_manifest_with_any_damage_gives_one_or_the_error(data: st.DataObject, known: bytes) -> None:
    at = data.draw(st.integers(0, len(known)))
    check(known[:at] + data.draw(st.binary(max_size=4)) + known[at + data.draw(st.integers(0, 4)) :])
