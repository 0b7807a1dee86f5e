"""Guards: what is wrong with a response whatever its Cache-Control says, on by default.

Theory
    Two accidents and one attack look the same from here: content whose type contradicts the name it was asked for
    under. A single-page application's fallback answers a missing ``/app.3f2a.js`` with its HTML, a header rule stamps
    it immutable, and the site is broken for a year; a framework that ignores what follows a delimiter answers
    ``/account;x.css`` with the account of whoever was lured there (cache deception). So the extension of a name, where
    it has one that says something, and Content-Type have to agree, or the response is not stored and clients are told
    not to either.

    ``extension_of`` is what rules match by; the guard looks more widely, so that no rule's idea of a name can slip
    past it: percent-encoding is undone as often as servers in a row might, and an extension before a delimiter counts.

    A path that servers read differently has no name to go by: ``/static/..%2faccount`` is below ``/static/`` to a rule
    and the account to an origin. No client sends dot segments unless told to; nothing under such a path is stored.

Pure; called by ``semantics.storing``, ``semantics.presenting`` and whoever looks for what was stored before.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from edgecache.http.memo import memoised
from edgecache.http.message import FieldsView, RequestHead, ResponseHead

__all__ = ["TYPED_EXTENSIONS", "extension_of", "is_ambiguous", "media_type", "path_of", "type_contradicts"]

# Types that pages and interfaces answer with are no archive's and no document's, whatever the first word says.
_DATA: Final = (
    r"(?:application|binary)/(?!(?:[\w.-]+\+)?(?:json|xml)\b|xhtml|(?:x-)?(?:javascript|ecmascript))[\w.+-]+",
)
_BINARY: Final = (r"(?:application|binary)/octet-stream",)
_SCRIPT: Final = (r"(?:text|application)/(?:x-)?(?:javascript|ecmascript)",)
_IMAGE: Final = (r"image/[\w.+-]+", *_BINARY)
_FONT: Final = (r"font/[\w.+-]+", r"application/(?:x-)?font[\w.+-]*", r"application/vnd\.ms-fontobject", *_BINARY)
_MEDIA: Final = (r"(?:video|audio)/[\w.+-]+", r"application/(?:ogg|mp4|vnd\.apple\.mpegurl|x-mpegurl)", *_BINARY)
_JSON: Final = (r"application/(?:[\w.-]+\+)?json", r"text/json")
_XML: Final = (r"(?:application|text)/(?!xhtml)(?:[\w.-]+\+)?xml",)

_COMPRESSED: Final = ("gz", "br", "zst", "bz2", "xz")
_TYPES: Final = {
    **dict.fromkeys(("js", "mjs", "cjs"), _SCRIPT),
    "css": (r"text/css",),
    "map": (*_JSON, r"text/plain", *_BINARY),
    **dict.fromkeys(("json", "jsonld", "geojson"), _JSON),
    "webmanifest": (*_JSON, *_BINARY),  # which servers do not know, WhiteNoise among them
    "wasm": (r"application/wasm", *_BINARY),
    **dict.fromkeys(("svg", "svgz"), (r"image/svg\+xml",)),
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "cur", "bmp", "tif", "tiff"), _IMAGE),
    **dict.fromkeys(("heic", "heif", "jxl", "apng", "pict"), _IMAGE),
    **dict.fromkeys(("woff", "woff2", "ttf", "otf", "eot"), _FONT),
    **dict.fromkeys(("mp4", "m4v", "m4s", "webm", "ogg", "ogv", "mov", "avi", "mkv", "wmv", "flv", "mpg"), _MEDIA),
    **dict.fromkeys(("mpeg", "3gp", "mp3", "m4a", "oga", "opus", "weba", "wav", "flac", "aac", "m3u8", "pls"), _MEDIA),
    **dict.fromkeys(("mid", "midi", "aif", "aiff"), _MEDIA),
    "mpd": (r"application/dash\+xml", *_BINARY),
    "vtt": (r"text/vtt",),
    "csv": (r"text/csv", r"text/plain", r"application/csv", r"application/vnd\.ms-excel", *_BINARY),
    "txt": (r"text/plain",),
    "rtf": (r"text/rtf", *_DATA),
    **dict.fromkeys(("xml", "rss", "atom"), _XML),
    **dict.fromkeys(("pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "odp", "epub", "ps"), _DATA),
    **dict.fromkeys((*_COMPRESSED, "zip", "tar", "tgz", "7z", "rar", "jar", "class", "bin", "exe", "dll"), _DATA),
    **dict.fromkeys(("dmg", "apk", "iso", "img", "msi", "deb", "rpm", "swf", "torrent"), _DATA),
    "eps": (r"image/[\w.+-]+", *_DATA),
}
"""Extension -> the media types that content of such a name has."""

TYPED_EXTENSIONS: Final = frozenset(_TYPES)
"""Extensions that say a type, lower case."""

_AGREES: Final = {extension: re.compile("|".join(types)) for extension, types in _TYPES.items()}
_SAID: Final = re.compile(rf"\.({'|'.join(sorted(_TYPES, key=len, reverse=True))})(?![A-Za-z0-9_-])", re.IGNORECASE)
_EXTENSION: Final = re.compile(r"[^/]\.([A-Za-z0-9]{1,12})\Z")
_PAGES: Final = frozenset({"html", "htm", "xhtml", "shtml"})
"""Extensions of pages, also of those about ``app.js`` that are called ``app.js.html``."""
_MEDIA_TYPE: Final = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;|\Z)")

_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_/-]*(?:\.([A-Za-z0-9]{1,12}))?", re.ASCII)
"""A path that has one reading: nothing is encoded in it, and its only dot stands before an extension."""

_MOST_DECODINGS: Final = 3
_DOT_SEGMENT: Final = re.compile(r"(?:\A|[/\\])\.\.?(?:;[^/\\]*)?(?:[/\\]|\Z)")
_CONTROL_OR_OVERLONG: Final = re.compile(r"[\x00-\x1f\x7f]|\xc0[\xae\xaf]|\xc1\x9c")
"""Where C strings and lines end, and dots and slashes in two bytes, which no encoder of UTF-8 writes."""


def path_of(target: str) -> str:
    """Return the path of a request-target, as spelled."""
    return target.partition("?")[0]


@memoised
def extension_of(path: str) -> str:
    """Return the extension of a path's last segment, lower case and without its dot; empty when it has none."""
    found = _EXTENSION.search(path)
    return found[1].lower() if found else ""


def media_type(fields: FieldsView) -> str:
    """Return the media type of Content-Type, lower case and without parameters; empty when there is no valid one."""
    lines = fields.getall("content-type", ())
    return _media_type(", ".join(lines)) if lines else ""


@memoised
def _media_type(value: str) -> str:
    found = _MEDIA_TYPE.match(value)
    return found[1].lower() if found else ""


def type_contradicts(request: RequestHead, head: ResponseHead) -> bool:
    """Whether a successful response is not what the name in the target says. Without a type it is nothing."""
    if not 200 <= head.status < 300 or head.status == 204:
        return False
    said = _said_types(request.target.partition("?")[0])
    return said != () and not _agree(said, media_type(head.fields))


@lru_cache
def _agree(said: tuple[str, ...], found: str) -> bool:
    return any(_AGREES[each].fullmatch(found) for each in said)


def is_ambiguous(path: str) -> bool:
    """Whether servers read a path differently: it has dot segments, control characters or overlong dots in it."""
    return _PLAIN_PATH.fullmatch(path) is None and _is_read_differently(path)


@memoised
def _is_read_differently(path: str) -> bool:
    return any(_DOT_SEGMENT.search(text) or _CONTROL_OR_OVERLONG.search(text) for text in _readings(path))


def _said_types(path: str) -> tuple[str, ...]:
    """Return the last extension in a path's last segment that says a type, also before a delimiter.

    Of ``app.js.br`` both: it may be named for what it is, or for what it is encoded in.
    """
    plain = _PLAIN_PATH.fullmatch(path)
    if plain is None:
        return _said_types_of_others(path)
    extension = (plain[1] or "").lower()
    return (extension,) if extension in TYPED_EXTENSIONS else ()


@memoised
def _said_types_of_others(path: str) -> tuple[str, ...]:
    last = re.split(r"[/\\]", _readings(path)[-1])[-1]
    if extension_of(last) in _PAGES:
        return ()
    found = [each.lower() for each in _SAID.findall(last)]
    return tuple(found[-2:]) if found and found[-1] in _COMPRESSED else tuple(found[-1:])


def _readings(path: str) -> list[str]:
    """Return a path as servers may see it: as it is, and decoded once and again. Bytes are characters (latin-1)."""
    readings = [path]
    while len(readings) <= _MOST_DECODINGS and (text := unquote(readings[-1], "latin-1")) != readings[-1]:
        readings.append(text)
    return readings
