"""Names that change whenever their bytes do: which URLs are versioned, and which can never be.

Theory
    Build tools write a digest of what a file holds into its name (``app.3b1f2a9c.js``), so a response under such a
    name stays true for ever. Whether a name was made that way is not written anywhere but in the tool's manifest, so
    it is believed in this order:

    1. a manifest lists the path (``AssetNames``);
    2. the last word of the name, before its extensions, could hardly be written by a person: hexadecimal digits of a
       length that tools use, with a digit and a letter among them, or esbuild's eight of ``A-Z2-7``;
    3. the file lies in a directory that a build tool fills, and its last word looks like base64url. Many names of
       people do too (``three-Vector3D.js``), so what reads as words is left out: hence a third of all such digests is
       missed, which costs nothing but the longer lifetime.

    Only extensions that builds emit count. JSON, text and XML have them by a manifest alone, because identifiers in
    hexadecimal are how programming interfaces name their resources, and HTML never.

    A name is a claim, not a proof. ``verifies`` compares it with the bytes, for the tools whose digest is one of the
    content as it is served.

Invariants
    * What ``is_never_immutable`` is never recognised, whoever lists it.
    * A path that two parties might read differently is not recognised: dot segments, empty segments, encoded
      delimiters, path parameters.
    * Time is linear in the path: names longer than a file system allows are not looked at.

Called for every response that is stored; ``edgecache.assets`` makes the ``AssetNames``.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from edgecache.http.memo import memoised

__all__ = ["AssetNames", "By", "Versioned", "is_never_immutable", "recognise", "verifies"]


class By(enum.StrEnum):
    """What says that a name is versioned, most trustworthy first."""

    MANIFEST = "manifest"
    PATTERN = "pattern"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Versioned:
    """A versioned name: what says so, and the part of the name that changes with the content.

    ``hashes_content``: the manifest is of a tool whose token is a digest of the bytes as they are served, so that
    bytes with another digest are wrong.
    """

    by: By
    token: str
    hashes_content: bool = False


@dataclass(frozen=True, slots=True)
class AssetNames:
    """The paths that manifests list as versioned, as they are spelled in a request."""

    listed: Mapping[str, Versioned] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, listed: Mapping[str, Versioned]) -> AssetNames:
        """Return the names without those that are never immutable."""
        return cls(MappingProxyType({path: how for path, how in listed.items() if not is_never_immutable(path)}))

    def __contains__(self, path: object) -> bool:
        return path in self.listed

    def __len__(self) -> int:
        return len(self.listed)


def recognise(path: str, names: AssetNames | None = None) -> Versioned | None:
    """Return how the path of a target, as it was received and without its query, is versioned; None if it is not.

    A version in the query (``?v=3``) makes no name versioned: the file is there without it too, and what a server
    answers to a version that it does not know is the one it has.
    """
    listed = None if names is None else names.listed.get(path)
    return _by_name(path) if listed is None else listed


# ------------------------------------------------------------------------------------------------ by the name alone

_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 4096
"""Bytes: what file systems allow."""

_CODE: Final = "js|mjs|cjs|css|wasm|woff2?|ttf|otf|eot"
_MEDIA: Final = "png|jpe?g|gif|webp|avif|svg|ico|cur|bmp|mp4|webm|og[gv]|mp3|m4a|wav|flac|glb"
_ENDING: Final = re.compile(
    r"(?:-s)?(?:\.(?:p|min|chunk|bundle|module|entry|async|lazy|lean|esm|es|umd|iife|system|modern|legacy|prod"
    rf"|production|worker|digested))*\.(?:(?:{_CODE})(?:\.map)?|map|(?P<media>{_MEDIA}))\Z"
)
"""Everything after the digest. ``-s.p`` is Next.js's note about a font, ``.digested`` Propshaft's about any file."""

_DOUBTFUL: Final = re.compile(r"//|/\.{1,2}(?:/|\Z)|[\x00-\x20\x7f;\\?#]|%(?:[01].|2[35ef]|3[bf]|5c|7f)", re.IGNORECASE)
"""What origins, caches and browsers are known to read differently."""

_PEOPLES: Final = re.compile(
    r"/(?:uploads?|users?|user[-_]?(?:content|files|uploads)|avatars?|profiles?|photos|attachments?"
    r"|media_attachments|files)/",
    re.IGNORECASE,
)
"""Directories of what people put there, whose names are identifiers that look like digests."""

_BUILT: Final = re.compile(r"/(?:assets|build|bundles|chunks|dist|packs|static|vite)/")
"""Directories that build tools fill, and people too."""

_TOOLS_OWN: Final = re.compile(r"/(?:_astro|_nuxt|_next/static|_app/immutable|_framework)/")
"""Directories where nothing is but what the tool put there; what it leaves unversioned has no word like a digest."""

_HEX: Final = re.compile(
    r"(?=[0-9]*[a-f])(?=[a-f]*[0-9])(?:[0-9a-f]{8}|[0-9a-f]{10}|[0-9a-f]{12}|[0-9a-f]{16}|[0-9a-f]{20}"
    r"|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})\Z"
)
"""Lengths that tools write. Not among them: 13, PHP's ``uniqid``; 14, a time; 24, MongoDB's identifiers."""

_LONE_CODE: Final = 16
_LONE_MEDIA: Final = 20
"""Digits of a digest that is the whole name: at least for code, exactly for media, where it is webpack's default. Of
another length such names are identifiers: 32 a UUID's, 40 a commit's."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

_BASE32: Final = re.compile(r"[A-Z2-7]{8}\Z")
_WORD_AND_NUMBER: Final = re.compile(r"[A-Z]+[2-7]*\Z")
_ESBUILDS: Final = re.compile(r"(?:chunk|main|polyfills|scripts|styles|worker)-\Z")
"""The stems that esbuild and Angular choose themselves; after them eight capitals without a digit are a digest too."""

_DIGEST_LIKE: Final = re.compile(
    r"(?!.*(?:[A-Za-z][a-z]{3}|[A-Z]{3}[0-9]|[0-9][A-Z][a-z]{2}))"
    r"(?=.*?(?=[A-Za-z0-9]*[a-z])(?=[A-Za-z0-9]*[A-Z])(?=[A-Za-z0-9]*[0-9])[A-Za-z0-9]{5})[\w-]{8}\Z"
    r"|(?!.*[A-Za-z][a-z]{2})(?=.*[a-z][A-Z].*[a-z][A-Z])[\w-]{8}\Z",
    re.ASCII,
)
"""Eight of base64url that do not read as words. Either a capital, a small letter and a digit side by side (not
``pt-BR-v2``) without four letters that could be a word, or an abbreviation or a word that a number belongs to
(``ESP32``, ``17App``); or two humps, and no three letters that could be a word."""

_TWO_KINDS: Final = re.compile(
    r"(?=.*[0-9_].*[A-Za-z]|.*[A-Za-z].*[0-9_]|.+[A-Z].*[a-z]|.*[a-z].*[A-Z])[\w-]{8,40}\Z", re.ASCII
)
"""Letters of both cases, or letters and something else."""


@memoised
def _by_name(path: str) -> Versioned | None:
    directory, slash, name = path.rpartition("/")
    if not slash or len(name) > _LONGEST_NAME or len(path) > _LONGEST_PATH:
        return None
    ending = _ENDING.search(name)
    if ending is None or _DOUBTFUL.search(path) or is_never_immutable(path) or _PEOPLES.search(path):
        return None
    stem, media = name[: ending.start()], ending["media"] is not None
    directory += slash
    if token := _strict(stem, media=media, built=_BUILT.search(directory) is not None):
        return Versioned(By.PATTERN, token)
    if token := _loose(stem, directory):
        return Versioned(By.DIRECTORY, token)
    return None


def _strict(stem: str, *, media: bool, built: bool) -> str:
    """Return the digest at the end of a stem, wherever the file lies; empty if there is none.

    Media are what people upload under identifiers, so outside the tools' directories a dash is not enough for them.
    """
    head, token = _cut(stem)
    if not head:
        whole = len(token) == _LONE_MEDIA if media else len(token) >= _LONE_CODE
        return token if whole and _HEX.match(token) else ""
    if media and not built and head[-1] != ".":
        return ""
    if _HEX.match(token):
        return "" if _UUID.search(stem) else token
    return token if _BASE32.match(token) and (_ESBUILDS.match(head) or not _WORD_AND_NUMBER.match(token)) else ""


def _loose(stem: str, directory: str) -> str:
    """Return what looks like a digest at the end of a stem, by the standard of its directory; empty if nothing does."""
    if _TOOLS_OWN.search(directory):
        words = (_last(stem, 8), _last(stem, 13), _cut(stem)[1])
        return next((word for word in words if _TWO_KINDS.match(word)), "")
    word = _last(stem, 8)
    return word if len(word) < len(stem) and _BUILT.search(directory) and _DIGEST_LIKE.match(word) else ""


def _cut(stem: str) -> tuple[str, str]:
    """Split behind the last separator."""
    cut = max(stem.rfind("."), stem.rfind("-")) + 1
    return stem[:cut], stem[cut:]


def _last(stem: str, length: int) -> str:
    """Return the last characters if a separator precedes them; digests in base64url contain dashes too.

    Eight is what Rollup and its kin write, 13 Turbopack.
    """
    return stem[-length:] if stem[-length - 1 : -length] in ("", ".", "-") else ""


# ----------------------------------------------------------------------------------------------------- what never is

_EXTENSION: Final = re.compile(r"\.[0-9]*[a-z][a-z0-9]*\Z", re.IGNORECASE)

_MADE_ON_REQUEST: Final = re.compile(
    r"/[^/]*\.(?:x?html?|shtml|php[0-9]?|phtml|aspx?|ashx|jspx?|cgi|do|webmanifest|appcache|rss|atom|ics|m3u8|mpd)"
    r"(?=[/;]|\Z)",
    re.IGNORECASE,
)
"""Pages and feeds, also when a path goes on behind them; lists of what is played live."""

_OF_FRAMEWORKS: Final = re.compile(
    r"/(?:_next/(?:data|image|static/development)|page-data|_nuxt/builds/latest\.json|\.vite|\.well-known)(?:/|\Z)"
)

_SERVICE_WORKER: Final = re.compile(
    r"(?:[a-z_.-]+[-_.])?(?:sw|service[-_]?worker)(?:[-_.][a-z]+)*\.m?js\Z", re.IGNORECASE
)
_LIST_OF_A_SITE: Final = re.compile(
    r"(?:[a-z_.-]*[-_.])?manifest(?:-[0-9a-f]+)?\.json\Z|_[a-z]+manifest\.js\Z|sitemap[\w.-]*\.xml\Z", re.IGNORECASE
)
"""The second is Next.js's, which lies in a directory named after the build; some sites give every build one name."""

_FIXED_NAMES: Final = frozenset({
    # Service workers: the browser asks for them under the name it knows.
    "ngsw-worker.js", "safety-worker.js", "worker-basic.min.js", "mockserviceworker.js", "registersw.js",
    "onesignalsdkworker.js", "onesignalsdkupdaterworker.js",
    # What tells a page which build is current, or how it is configured.
    "ngsw.json", "staticfiles.json", "stats.json", "loadable-stats.json", "importmap.json", "blazor.boot.json",
    "version.json", "version.js", "version.txt", "build.json", "build-info.json", "latest.json", "remoteentry.js",
    "remoteentry.mjs", "page-data.json", "app-data.json", "env.js", "__env.js", "_env.js", "env-config.js",
    "env.json", "config.js", "config.json", "app-config.js", "app-config.json", "runtime-config.js",
    "runtime-config.json", "runtime-env.js", "appsettings.json",
    # What is asked for by convention.
    "robots.txt", "humans.txt", "ads.txt", "app-ads.txt", "security.txt", "favicon.ico", "favicon.png",
    "favicon.svg", "apple-touch-icon.png", "apple-touch-icon-precomposed.png", "browserconfig.xml",
    "crossdomain.xml", "opensearch.xml", "feed.xml", "rss.xml", "atom.xml", "assetlinks.json",
})  # fmt: skip
"""In lower case."""


def is_never_immutable(path: str) -> bool:
    """Whether a path names something that changes under its name: pages and whatever has no extension, service workers,
    manifests, configuration, what is asked for by convention, and names too long for a file.

    A rule that calls such a response immutable is a mistake: browsers would keep it where no purge reaches.
    """
    name = path.rpartition("/")[2]
    return (
        len(name) > _LONGEST_NAME
        or _EXTENSION.search(name) is None
        or name.lower() in _FIXED_NAMES
        or _SERVICE_WORKER.match(name) is not None
        or _LIST_OF_A_SITE.match(name) is not None
        or _MADE_ON_REQUEST.search(path) is not None
        or _OF_FRAMEWORKS.search(path) is not None
    )


# ------------------------------------------------------------------------------------------------------- verification

_WHOLE: Final = MappingProxyType({32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"})
_CUT_SHORT: Final = ("md5", "sha1", "sha256")
"""Digests of which tools write the first digits only: Django and gulp-rev; Middleman; mdBook."""

_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{8,128}\Z")


def verifies(token: str, body: Iterable[bytes], *, hashes_content: bool = False) -> bool | None:
    """Compare a token with the digest of what was served under its name.

    Args:
        token: ``Versioned.token``.
        body: the whole representation, without content coding, in pieces; gone through once, if at all.
        hashes_content: ``Versioned.hashes_content``.

    Returns:
        True when a digest of the body begins with the token: the name says what the bytes are. False when a manifest
        promises that and it is not so: the bytes are not those of the name. None when nothing can be said, as for
        most tools: their digests include more than the body, or are none that is known here.
    """
    if not _HEXADECIMAL.match(token):
        return None
    whole = _WHOLE.get(len(token))
    digests = [hashlib.new(name, usedforsecurity=False) for name in ((whole,) if whole else _CUT_SHORT)]
    for piece in body:
        for digest in digests:
            digest.update(piece)
    if any(digest.hexdigest().startswith(token) for digest in digests):
        return True
    return False if hashes_content else None
