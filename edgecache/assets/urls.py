"""URLs for templates: the name in the sources goes in, the versioned URL comes out.

Theory
    With a manifest the tool has named the files, and this only looks names up. Without one, the files in a directory
    keep their names and get a query of their digest, ``app.css?v=2c1743a391``: another URL whenever the bytes are
    others, for every cache that keys on the query, as edgecache does.

    What was read is kept. With ``auto_reload`` each look-up asks the file system whether the file is still the same,
    which is for development.

Called by applications, from any thread.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final, Protocol
from urllib.parse import quote

from edgecache.assets.manifests import read_manifest_file
from edgecache.assets.names import below
from edgecache.errors import AssetError, ConfigError

__all__ = ["Assets", "static_url", "use"]

_DIGITS: Final = 10
_SUGGESTED: Final = 3
_LIKE: Final = 0.75
_COMPARED: Final = 10_000


class _Names(Protocol):
    def url(self, name: str) -> str: ...


class Assets:
    """What a site built, by the names of its sources."""

    def __init__(self, source: str | os.PathLike[str], base: str = "/static/", *, auto_reload: bool = False) -> None:
        """Read a manifest, or take a directory whose files have no versions in their names.

        Args:
            source: a manifest that ``read_manifest`` knows, or a directory.
            base: where the site serves the build; for names that the manifest does not give as whole paths.
            auto_reload: look at the file again for each URL.

        Raises ``ConfigError`` when the manifest is none, or the base is no path.
        """
        source = Path(source)
        below(base, "")
        self._names: Final[_Names] = (
            _Files(source, base, auto_reload) if source.is_dir() else _Listed(source, base, auto_reload)
        )

    def url(self, name: str) -> str:
        """Return the URL of a file by its name in the sources, with or without a slash in front.

        Raises ``AssetError`` when there is no such file, and says which names are like it; with ``auto_reload`` also
        ``ConfigError``, as the constructor does.
        """
        return self._names.url(name)


_in_use: list[Assets] = []


def use(assets: Assets) -> None:
    """Make these the assets of ``static_url``; called once, where the application starts."""
    _in_use[:] = [assets]


def static_url(name: str) -> str:
    """Return the URL of a file by its name in the sources: ``Assets.url`` of the assets in ``use``."""
    if not _in_use:
        raise AssetError('no assets are in use: call edgecache.assets.use(Assets("…/manifest.json")) first')
    return _in_use[0].url(name)


# ------------------------------------------------------------------------------------------------------- two sources

_State = tuple[int, int, int]


class _Listed:
    """Names from a manifest."""

    def __init__(self, path: Path, base: str, auto_reload: bool) -> None:
        self._path = path
        self._base = base
        self._auto_reload = auto_reload
        self._manifest = read_manifest_file(path)
        self._state = _state(path)

    def url(self, name: str) -> str:
        if self._auto_reload and (state := _state(self._path)) != self._state:
            self._manifest, self._state = read_manifest_file(self._path), state
        logical = self._manifest.logical
        for spelled in (name, name.lstrip("/"), "/" + name):
            if spelled in logical:
                return below(self._base, logical[spelled])
        raise _unknown(name, logical, f"{self._path} lists no")


class _Files:
    """Names of files, with a digest of their content as query."""

    def __init__(self, root: Path, base: str, auto_reload: bool) -> None:
        self._root = root
        self._base = base
        self._auto_reload = auto_reload
        self._urls: dict[str, tuple[_State, str]] = {}

    def url(self, name: str) -> str:
        kept = self._urls.get(name)
        if kept is None or self._auto_reload:
            path = self._file(name)
            state = _state(path)
            if kept is None or kept[0] != state:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
                kept = (state, f"{below(self._base, quote(name.lstrip('/')))}?v={digest}")
                self._urls[name] = kept
        return kept[1]

    def _file(self, name: str) -> Path:
        """Return the path of a file in the directory; a name that leads out of it is the name of none."""
        path = self._root / name.lstrip("/")
        if ".." in PurePosixPath(name).parts or not path.is_file():
            there = (str(found.relative_to(self._root)) for found in self._root.rglob("*") if found.is_file())
            raise _unknown(name, there, f"{self._root} has no")
        return path


def _state(path: Path) -> _State:
    """Return what changes when a file is written or replaced."""
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _unknown(name: str, known: Iterable[str], says: str) -> AssetError:
    close = difflib.get_close_matches(name, itertools.islice(known, _COMPARED), n=_SUGGESTED, cutoff=_LIKE)
    return AssetError(f"{says} {name!r}" + (f"; did you mean {' or '.join(map(repr, close))}?" if close else ""))
