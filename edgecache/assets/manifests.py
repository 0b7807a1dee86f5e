"""A build manifest as a value.

Theory
    ``dialects`` knows what each tool writes; here the lines of all of them become two tables. ``digests`` has the names
    that are versioned and the digest in each, ``logical`` the URL behind each name in the sources. Names are brought to
    the spelling of URLs; one that begins with a slash or a host stands as it is, any other is below the base under
    which the site serves the build. A name that leads out of it is in neither table.

Invariants
    Any bytes give a manifest or a ``ConfigError``, in time and memory linear in their size, which is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import msgspec

from edgecache.assets.dialects import DIALECTS, Dialect, Kind, Line
from edgecache.assets.digests import digest_in, stems
from edgecache.errors import ConfigError

__all__ = ["MAX_MANIFEST", "Manifest", "read_manifest", "read_manifest_file"]

MAX_MANIFEST: Final = 64 * 1024 * 1024
"""Bytes. Statistics of large webpack builds have tens of megabytes."""

_LEFT_ALONE: Final = "/~!*'()@:$&+,;=[]"
"""What browsers send as it stands in a path."""

_WHOLE_URLS: Final = ("/", "http://", "https://")

_LEADS_ELSEWHERE: Final = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|[\x00-\x1f\x7f\\]|/$|^$")

_AROUND_A_PATH: Final = re.compile(r"^(?:https?:)?//[^/?#]*|[?#].*", re.DOTALL)
"""The host in front, the query and the fragment behind."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a tool built.

    Attributes:
        kind: the dialect.
        digests: the path of each versioned name and the digest in it; a path without a slash in front is below a base.
        logical: for each name in the sources the path, or URL, that was written for it, query included.
        hashes_content: each digest is one of the bytes as they are served (``semantics.versioned.verifies``).
    """

    kind: Kind
    digests: Mapping[str, str]
    logical: Mapping[str, str]
    hashes_content: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The versioned names."""
        return frozenset(self.digests)


def read_manifest_file(path: str | Path) -> Manifest:
    """Read a manifest from a file; raises ``ConfigError`` that names the file."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return read_manifest(data, where=str(path))


def read_manifest(data: bytes, *, where: str = "") -> Manifest:
    """Read a manifest of any tool; raises ``ConfigError`` saying what was found and what is known."""
    document = _document(data, where)
    dialect = next((dialect for dialect in DIALECTS if dialect.is_of(document)), None)
    if dialect is None:
        raise ConfigError(
            f"is not a build manifest: {_found(document)}",
            where=where,
            hint="known are " + "; ".join(kind.explanation for kind in Kind),
        )
    try:
        return _manifest(dialect, document)
    except msgspec.ValidationError as error:
        raise ConfigError(f"looks like {dialect.kind.explanation}, but is not: {error}", where=where) from None


def _document(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST:
        raise ConfigError(f"is larger than {MAX_MANIFEST >> 20} MiB, too large for a build manifest", where=where)
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not JSON: {error}", where=where) from None
    except RecursionError:
        raise ConfigError("is nested too deep for a build manifest", where=where) from None
    if not isinstance(document, dict):
        raise ConfigError(f"is not a build manifest: a JSON {type(document).__name__}, not an object", where=where)
    return document


def _found(document: dict[str, Any]) -> str:
    keys = ", ".join(repr(key[:40]) for key in list(document)[:5])
    return f"an object with the keys {keys}{', …' if len(document) > 5 else ''}" if keys else "an empty object"


def _manifest(dialect: Dialect, document: dict[str, Any]) -> Manifest:
    lines = list(dialect.lines(document))
    return Manifest(
        dialect.kind,
        MappingProxyType(_digests(lines)),
        MappingProxyType(_logical(lines)),
        dialect.hashes_content(document),
    )


def _digests(lines: Iterable[Line]) -> dict[str, str]:
    known = stems(line.logical for line in lines if line.logical)
    digests: dict[str, str] = {}
    for line in lines:
        path = _path(line.name)
        digest = line.digest or digest_in(path, known)
        if digest and path and line.name != line.logical:
            digests.setdefault(_url(path), digest)
    return digests


def _logical(lines: Iterable[Line]) -> dict[str, str]:
    logical: dict[str, str] = {}
    for line in lines:
        if line.logical and _path(line.name):
            logical.setdefault(line.logical, _url(line.name))
    return logical


def _path(name: str) -> str:
    """Return the path of a name as it is written; empty if it leads elsewhere."""
    path = _AROUND_A_PATH.sub("", name)
    return "" if _LEADS_ELSEWHERE.search(path) else path


def _url(name: str) -> str:
    """Return a name as a URL. One that is relative is the name of a file, where a per cent sign stands for itself."""
    return quote(name, safe=_LEFT_ALONE + "?#" + ("%" if name.startswith(_WHOLE_URLS) else ""))
