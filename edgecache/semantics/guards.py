"""Guards: what is wrong with a response whatever its Cache-Control says, on by default.

Theory
    Two accidents and one attack look the same from here: content whose type contradicts the name it was asked for
    under. A single-page application's fallback answers a missing ``/app.3f2a.js`` with its HTML, a header rule stamps
    it immutable, and the site is broken for a year; a framework that ignores what follows a delimiter answers
    ``/account;x.css`` with the account of whoever was lured there (cache deception). So the extension of a name, where
    it has one that says something, and Content-Type have to agree, or the response is not stored and clients are told
    not to either.

    ``extension_of`` is what rules match by; the guard looks more widely, so that no rule's idea of a name can slip
    past it: percent-encoding is undone, and an extension before a delimiter counts.

Pure; called by ``semantics.storing``, ``semantics.presenting`` and whoever looks for what was stored before.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from edgecache.http.fields import combined
from edgecache.http.memo import memoised
from edgecache.http.message import FieldsView, RequestHead, ResponseHead

__all__ = ["extension_of", "media_type", "path_of", "type_contradicts"]

_SCRIPT: Final = (r"(?:text|application)/(?:x-)?(?:javascript|ecmascript)",)
_BINARY: Final = (r"(?:application|binary)/octet-stream",)
_IMAGE: Final = (r"image/[\w.+-]+", *_BINARY)
_FONT: Final = (r"font/[\w.+-]+", r"application/(?:x-)?font[\w.+-]*", r"application/vnd\.ms-fontobject", *_BINARY)
_MEDIA: Final = (r"(?:video|audio)/[\w.+-]+", r"application/(?:ogg|mp4|vnd\.apple\.mpegurl|x-mpegurl)", *_BINARY)
_JSON: Final = (r"application/(?:[\w.-]+\+)?json", r"text/json")
_ARCHIVE: Final = (r"application/[\w.+-]+", *_BINARY)

_TYPES: Final = {
    **dict.fromkeys(("js", "mjs", "cjs"), _SCRIPT),
    "css": (r"text/css",),
    "map": (*_JSON, r"text/plain", *_BINARY),
    **dict.fromkeys(("json", "webmanifest"), (*_JSON, r"application/manifest\+json")),
    "wasm": (r"application/wasm", *_BINARY),
    "svg": (r"image/svg\+xml",),
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "bmp", "tif", "tiff", "heic", "jxl"), _IMAGE),
    **dict.fromkeys(("woff", "woff2", "ttf", "otf", "eot"), _FONT),
    **dict.fromkeys(("mp4", "webm", "ogg", "ogv", "mov", "mp3", "m4a", "wav", "flac", "aac", "m3u8"), _MEDIA),
    "pdf": (r"application/pdf", *_BINARY),
    "csv": (r"text/csv", r"text/plain", r"application/csv", *_BINARY),
    "txt": (r"text/plain",),
    **dict.fromkeys(("xml", "rss", "atom"), (r"(?:application|text)/(?:[\w.-]+\+)?xml",)),
    **dict.fromkeys(("zip", "gz", "bz2", "xz", "zst", "br", "tar", "7z", "jar", "exe", "dmg", "apk", "iso"), _ARCHIVE),
}
"""Extension -> the media types that content of such a name has."""

_AGREES: Final = {extension: re.compile("|".join(types)) for extension, types in _TYPES.items()}
_SAID: Final = re.compile(rf"\.({'|'.join(sorted(_TYPES, key=len, reverse=True))})(?![A-Za-z0-9])", re.IGNORECASE)
_EXTENSION: Final = re.compile(r"[^/]\.([A-Za-z0-9]{1,12})\Z")
_MEDIA_TYPE: Final = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;|\Z)")


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
    found = _MEDIA_TYPE.match(combined(fields, "content-type") or "")
    return found[1].lower() if found else ""


def type_contradicts(request: RequestHead, head: ResponseHead) -> bool:
    """Whether a successful response is not what the name in the target says. Without a type it is nothing."""
    if not 200 <= head.status < 300 or head.status == 204:
        return False
    said = _said_type(path_of(request.target))
    return said != "" and _AGREES[said].fullmatch(media_type(head.fields)) is None


@memoised
def _said_type(path: str) -> str:
    """Return the last extension in a path's last segment that says a type, also before a delimiter."""
    last = unquote(path).rpartition("/")[2]
    found = _SAID.findall(last)
    return found[-1].lower() if found else ""
