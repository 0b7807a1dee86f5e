"""Content codings (RFC 9110 §8.4.1): what can be made of bytes here, and what a client would rather have.

Brotli and Zstandard are optional; gzip is always there. Encoding is deterministic: the same bytes give the same bytes.

Called by the engine, in a thread: encoders release the interpreter's lock, and 100 KiB take a few milliseconds.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from edgecache.http.fields import combined, parse_entity_tag
from edgecache.http.message import FieldsView, Pair
from edgecache.http.negotiation import IDENTITY, ranked_codings

__all__ = ["PREFERENCE", "can_gain", "encode", "encoded_fields", "encoders", "wanted_coding"]

PREFERENCE: Final = ("br", "zstd", "gzip")
"""Among codings that a client likes equally: smallest first."""

_LEVEL: Final = {"br": 5, "zstd": 6, "gzip": 6}
"""Where another level costs twice the time for a few per cent."""

_GZIP: Final = 16 + zlib.MAX_WBITS

_TEXTUAL: Final = frozenset(
    {
        "application/atom+xml",
        "application/ecmascript",
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/rss+xml",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xhtml+xml",
        "application/xml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/svg+xml",
        "image/x-icon",
    }
)
_OF_OTHER_BYTES: Final = frozenset({"accept-ranges", "content-digest", "content-md5", "digest", "repr-digest"})
"""Fields that describe the bytes before they were encoded."""


@cache
def encoders() -> Mapping[str, Callable[[bytes], bytes]]:
    """Return what there is, by the name of the coding, in the order of ``PREFERENCE``."""
    found: dict[str, Callable[[bytes], bytes]] = {}
    if (brotli := _module("brotli")) is not None:
        found["br"] = lambda content: brotli.compress(content, mode=brotli.MODE_TEXT, quality=_LEVEL["br"])
    if (zstd := _module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")) is not None:
        found["zstd"] = lambda content: zstd.compress(content, level=_LEVEL["zstd"])
    found["gzip"] = _gzip
    return MappingProxyType(found)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _gzip(content: bytes) -> bytes:
    deflate = zlib.compressobj(_LEVEL["gzip"], zlib.DEFLATED, _GZIP)
    return deflate.compress(content) + deflate.flush()


def encode(coding: str, chunks: Iterable[bytes]) -> bytes:
    """Return the bytes in a coding that ``encoders`` has."""
    return encoders()[coding](b"".join(chunks))


def wanted_coding(request: FieldsView) -> str | None:
    """Return the coding of ``encoders`` that a request prefers, None when it would rather have none."""
    best, *_ = ranked_codings(combined(request, "accept-encoding"), tuple(encoders()))
    return None if best == IDENTITY else best


def can_gain(media_type: str) -> bool:
    """Whether content of a media type, lower case, gets smaller by a coding; events have to arrive as they are."""
    if media_type.startswith("text/"):
        return media_type != "text/event-stream"
    return media_type in _TEXTUAL or media_type.endswith(("+json", "+xml"))


def encoded_fields(fields: Iterable[Pair], coding: str) -> list[Pair]:
    """Return the fields of a representation for the same in a coding: another one, of the same meaning (§8.8.3.3)."""
    pairs = [pair for pair in fields if pair[0].lower() not in _OF_OTHER_BYTES]
    pairs = [(name, _weak(value)) if name.lower() == "etag" else (name, value) for name, value in pairs]
    return [*pairs, ("Content-Encoding", coding)]


def _weak(etag: str) -> str:
    tag = parse_entity_tag(etag)
    return etag if tag is None or tag.weak else f"W/{etag}"
