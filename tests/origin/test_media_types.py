"""Content-Type by name: the same everywhere, and nothing that a browser would run by accident."""

from __future__ import annotations

import re

import pytest

from edgecache.origin.media_types import MEDIA_TYPES, UNKNOWN, media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("app.css", "text/css; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("app.3f2a.JS", "text/javascript; charset=utf-8"),
        ("app.js.map", "application/json"),
        ("data.json", "application/json"),
        ("site.webmanifest", "application/manifest+json"),
        ("module.wasm", "application/wasm"),
        ("font.woff2", "font/woff2"),
        ("image.svg", "image/svg+xml"),
        ("image.webp", "image/webp"),
        ("image.avif", "image/avif"),
        ("favicon.ico", "image/vnd.microsoft.icon"),
        ("robots.txt", "text/plain; charset=utf-8"),
        ("feed.xml", "application/xml"),
        ("film.mp4", "video/mp4"),
        ("app.js.gz", "application/gzip"),
        ("app.js.zst", "application/zstd"),
        ("app.js.br", UNKNOWN),
        ("html", UNKNOWN),
        (".html", UNKNOWN),
        ("index.", UNKNOWN),
        ("index.html~", UNKNOWN),
        ("index.php", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_media_types(name: str, expected: str) -> None:
    assert media_type(name) == expected


def test_the_table_is_made_of_media_types() -> None:
    for end, value in MEDIA_TYPES.items():
        assert re.fullmatch(r"[a-z0-9]+", end)
        assert re.fullmatch(r"(text/[a-z]+; charset=utf-8|(?!text/)[a-z]+/[a-z0-9.+-]+)", value)
