"""Which media type a file has: by the end of its name, from a table of our own.

Theory
    The type decides what a browser does with bytes, so it may not depend on the machine that serves them:
    ``mimetypes`` reads the system's files, and differs from one to the next. Content is not looked into either. What
    is not in the table is ``application/octet-stream``, which nothing executes.

    Texts are UTF-8, and say so; JSON is so by definition (RFC 8259 §8.1), and XML says it itself.

Called by ``files``. No I/O.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MEDIA_TYPES", "UNKNOWN", "media_type"]

UNKNOWN: Final = "application/octet-stream"

_TEXTS: Final = {
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm",
    "text/javascript": "js mjs",  # RFC 9239
    "text/markdown": "md",
    "text/plain": "txt text log",
    "text/vtt": "vtt",
    "text/calendar": "ics",
}
_OTHERS: Final = {
    "application/atom+xml": "atom",
    "application/dash+xml": "mpd",
    "application/geo+json": "geojson",
    "application/gzip": "gz tgz",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/pdf": "pdf",
    "application/rss+xml": "rss",
    "application/toml": "toml",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/vnd.ms-fontobject": "eot",
    "application/wasm": "wasm",
    "application/x-tar": "tar",
    "application/xhtml+xml": "xhtml",
    "application/xml": "xml xsl",
    "application/yaml": "yaml yml",  # RFC 9512
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/collection": "ttc",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/jpeg": "jpg jpeg",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "video/iso.segment": "m4s",
    "video/mp2t": "ts",
    "video/mp4": "mp4 m4v",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
}

MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {end: f"{media}; charset=utf-8" for media, ends in _TEXTS.items() for end in ends.split()}
    | {end: media for media, ends in _OTHERS.items() for end in ends.split()}
)
"""End of a name, lower case and without its dot -> Content-Type."""


def media_type(name: str) -> str:
    """Return the Content-Type of a file with this name; of ``app.js.gz`` that of the ``.gz``."""
    stem, dot, end = name.rpartition(".")
    return MEDIA_TYPES.get(end.lower(), UNKNOWN) if stem and dot else UNKNOWN
