"""The manifests that build tools write, told apart by what is in them.

Theory
    A manifest is a JSON object. File names say little (four tools write ``manifest.json``), so each dialect is known by
    keys that no other has, and then read strictly: what does not have its types is an error, not another dialect. The
    last and plainest, an object from names to names, is written by many tools; it is one only if every value could be
    the name of a file, since translations look the same otherwise.

    Reading yields lines: the name in the sources (empty if there is none), the name that was written, and the digest
    where the tool says which it is.

``manifests`` alone calls this.
"""

from __future__ import annotations

import enum
import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from edgecache.semantics.versioned import recognise

__all__ = ["DIALECTS", "Dialect", "Kind", "Line"]


class Kind(enum.StrEnum):
    """Who writes it."""

    explanation: str

    def __new__(cls, token: str, explanation: str) -> Kind:
        """Make a member whose value is its token."""
        member = str.__new__(cls, token)
        member._value_ = token
        member.explanation = explanation
        return member

    DJANGO = "django", "staticfiles.json of Django's ManifestStaticFilesStorage, WhiteNoise's included"
    WEBPACK_STATS = "webpack-stats", "webpack's statistics (stats.json, with assets)"
    ESBUILD = "esbuild", "esbuild's metafile"
    SPROCKETS = "sprockets", ".sprockets-manifest-*.json of Rails' Sprockets"
    WEBPACK_FILES = "webpack-files", "asset-manifest.json with files and entrypoints, as create-react-app writes it"
    NEXT = "next", "build-manifest.json of Next.js"
    PROPSHAFT = "propshaft", ".manifest.json of Rails' Propshaft"
    VITE = "vite", ".vite/manifest.json of Vite"
    WEBPACK_ASSETS = "webpack-assets", "assets-manifest.json of webpack-assets-manifest"
    NAMES = "names", "an object from names to names: webpack-manifest-plugin, Parcel, Laravel Mix, Symfony, gulp-rev"


@dataclass(frozen=True, slots=True)
class Line:
    """What a manifest says of one file. ``digest`` is empty where the tool does not tell it."""

    logical: str
    name: str
    digest: str = ""


Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of manifest: is a document of it, what are its lines, and are its digests those of served bytes.

    ``lines`` and ``hashes_content`` raise ``msgspec.ValidationError``.
    """

    kind: Kind
    is_of: Callable[[Document], bool]
    lines: Callable[[Document], Iterable[Line]]
    hashes_content: Callable[[Document], bool] = lambda document: False


Shape = TypeVar("Shape")


def _as(document: object, shape: type[Shape]) -> Shape:
    return msgspec.convert(document, shape)


def _has(**kinds: type) -> Callable[[Document], bool]:
    """Whether all of these keys are there, with values of these types."""
    return lambda document: all(isinstance(document.get(key), kind) for key, kind in kinds.items())


def _values_have(*keys: str) -> Callable[[Document], bool]:
    """Whether the document is not empty, and each of its values an object that has one of these keys."""
    return lambda document: (
        bool(document)
        and all(isinstance(value, dict) and any(key in value for key in keys) for value in document.values())
    )


def _without(document: Document, key: str) -> Document:
    return {name: value for name, value in document.items() if name != key}


def _of_names(names: Mapping[str, str]) -> Iterator[Line]:
    return (Line(logical, name) for logical, name in names.items())


# ------------------------------------------------------------------------------------------------------------- Django


class _Django(msgspec.Struct):
    paths: dict[str, str]
    hash: str = ""


def _django_hashes_content(document: Document) -> bool:
    """Whether the storage's ``file_hash`` is Django's own: the manifest carries what it makes of the list of names."""
    manifest = _as(document, _Django)
    listed = json.dumps(sorted(manifest.paths.items())).encode()
    return manifest.hash == hashlib.md5(listed, usedforsecurity=False).hexdigest()[:12]


# ------------------------------------------------------------------------------------------------------------ webpack


class _StatsInfo(msgspec.Struct):
    immutable: bool = False
    contenthash: str | list[str] = ""
    sourceFilename: str = ""


class _StatsAsset(msgspec.Struct):
    name: str
    info: _StatsInfo = msgspec.field(default_factory=_StatsInfo)


class _Stats(msgspec.Struct):
    assets: list[_StatsAsset]
    assetsByChunkName: dict[str, str | list[str]] = msgspec.field(default_factory=dict)


def _stats(document: Document) -> Iterator[Line]:
    stats = _as(document, _Stats)
    chunks: dict[str, str] = {}
    for chunk, found in stats.assetsByChunkName.items():
        for name in [found] if isinstance(found, str) else found:
            chunks.setdefault(name, chunk + posixpath.splitext(name)[1])
    for asset in stats.assets:
        hashes = asset.info.contenthash
        digest = hashes if isinstance(hashes, str) else next((one for one in hashes if one in asset.name), "")
        logical = asset.info.sourceFilename or ("" if asset.name.endswith(".map") else chunks.get(asset.name, ""))
        yield Line(logical, asset.name, digest if asset.info.immutable and digest in asset.name else "")


class _Files(msgspec.Struct):
    files: dict[str, str]


class _Source(msgspec.Struct):
    src: str


def _assets_manifest(document: Document) -> Iterator[Line]:
    sources = _as(_without(document, "entrypoints"), dict[str, _Source])
    return (Line(logical, source.src) for logical, source in sources.items())


# ------------------------------------------------------------------------------------------------------ esbuild, Vite


class _Output(msgspec.Struct):
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    entryPoint: str = ""
    cssBundle: str = ""


class _Metafile(msgspec.Struct):
    outputs: dict[str, _Output]


def _metafile(document: Document) -> Iterator[Line]:
    """Yield the outputs below the directory that they have in common, since that is what is served."""
    outputs = _as(document, _Metafile).outputs
    root = "".join(f"{part}/" for part in posixpath.commonprefix([name.split("/")[:-1] for name in outputs]))
    styles = {
        output.cssBundle: posixpath.splitext(output.entryPoint)[0] + ".css"
        for output in outputs.values()
        if output.cssBundle and output.entryPoint
    }
    for name, output in outputs.items():
        only = next(iter(output.inputs)) if len(output.inputs) == 1 else ""
        yield Line(output.entryPoint or styles.get(name, only), name.removeprefix(root))


class _Chunk(msgspec.Struct):
    file: str
    css: list[str] = msgspec.field(default_factory=list)
    assets: list[str] = msgspec.field(default_factory=list)


def _vite(document: Document) -> Iterator[Line]:
    """Yield what each entry names; its first style sheet is called as it is, with the extension changed."""
    chunks = _as(document, dict[str, _Chunk])
    for key, chunk in chunks.items():
        yield Line(key, chunk.file)
        style = posixpath.splitext(key)[0] + ".css"
        for name in chunk.css:
            yield Line("" if style in chunks else style, name)
            style = ""
        for name in chunk.assets:
            yield Line("", name)


# -------------------------------------------------------------------------------------------------- Rails and Next.js


class _SprocketsFile(msgspec.Struct):
    logical_path: str
    digest: str = ""


class _Sprockets(msgspec.Struct):
    files: dict[str, _SprocketsFile]
    assets: dict[str, str]


def _sprockets(document: Document) -> Iterator[Line]:
    """Yield the current files, and those of earlier releases, which are kept beside them."""
    manifest = _as(document, _Sprockets)
    for logical, name in manifest.assets.items():
        yield Line(logical, name)
    for name, file in manifest.files.items():
        yield Line("", name, file.digest if file.digest in name else "")


class _Digested(msgspec.Struct):
    digested_path: str


def _propshaft(document: Document) -> Iterator[Line]:
    return (Line(logical, entry.digested_path) for logical, entry in _as(document, dict[str, _Digested]).items())


class _Next(msgspec.Struct):
    pages: dict[str, list[str]]
    rootMainFiles: list[str] = msgspec.field(default_factory=list)
    polyfillFiles: list[str] = msgspec.field(default_factory=list)
    lowPriorityFiles: list[str] = msgspec.field(default_factory=list)


def _next(document: Document) -> Iterator[Line]:
    """Yield the files; there is no name behind them but the tool's directory around them."""
    build = _as(document, _Next)
    for names in (build.rootMainFiles, build.polyfillFiles, build.lowPriorityFiles, *build.pages.values()):
        for name in names:
            found = recognise(f"/_next/{name}")
            yield Line("", name, "" if found is None else found.token)


# ---------------------------------------------------------------------------------------------------------- all others

_FILE: Final = re.compile(r"[^\t\r\n?#]+\.[A-Za-z][A-Za-z0-9]{0,11}(?:\?[^\s#]*)?(?:#\S*)?\Z")


def _is_of_names(document: Document) -> bool:
    values = _without(document, "entrypoints").values()
    return bool(values) and all(isinstance(value, str) and _FILE.match(value) for value in values)


DIALECTS: Final = (
    Dialect(
        Kind.DJANGO,
        _has(paths=dict, version=str),
        lambda document: _of_names(_as(document, _Django).paths),
        _django_hashes_content,
    ),
    Dialect(Kind.ESBUILD, _has(inputs=dict, outputs=dict), _metafile),
    Dialect(Kind.SPROCKETS, _has(files=dict, assets=dict), _sprockets),
    Dialect(Kind.WEBPACK_STATS, _has(assets=list), _stats),
    Dialect(Kind.WEBPACK_FILES, _has(files=dict), lambda document: _of_names(_as(document, _Files).files)),
    Dialect(Kind.NEXT, _has(pages=dict, polyfillFiles=list), _next),
    Dialect(Kind.PROPSHAFT, _values_have("digested_path"), _propshaft),
    Dialect(Kind.VITE, _values_have("file"), _vite),
    Dialect(
        Kind.WEBPACK_ASSETS,
        lambda document: _values_have("src")(_without(document, "entrypoints")),
        _assets_manifest,
    ),
    Dialect(
        Kind.NAMES,
        _is_of_names,
        lambda document: _of_names(_as(_without(document, "entrypoints"), dict[str, str])),
    ),
)
"""In the order in which they are tried."""
