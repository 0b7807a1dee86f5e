"""A directory as a tree of files: what lies below its root can be opened, and nothing else can.

Theory
    To look whether a path leads out and to open it afterwards is a race that whoever may write in the tree wins. So
    directories are opened one after the other, each by its name in the one before, never through a symbolic
    link (``O_NOFOLLOW``); whatever is renamed meanwhile, what is open is below the root. A link that stays inside
    is honoured all the same: the path is resolved, compared with the root, and what comes out is walked again, in
    the same way. Who puts a link there between the two finds that it is not followed.

    The root is opened each time anew, through links if need be: a deploy that turns ``current`` to another
    release is seen by the next request, and one that is running ends in the release in which it began.

Invariants
    * Only regular files are opened for reading. What a name is, is asked before it is opened, for opening a FIFO or a
      device can do something; and again afterwards, of the descriptor.
    * A name that leads to nothing, or to what may not be read, is None. Any other failure of the file system is an
      ``OriginError``, and so is a root that is gone: then nobody knows what is there.

Called by ``files``. Blocks, for as long as the file system takes to find a name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from edgecache.errors import ConfigError, OriginError
from edgecache.origin.open_file import OpenFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Place", "Tree"]

_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW

_NOT_THERE: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EACCES,
        errno.EPERM,
        errno.ENXIO,  # a socket
        errno.EINVAL,  # a name that this file system cannot have
        errno.EILSEQ,
    }
)


class Place:
    """A name in a directory that is held open, and what bears it; ``is_directory`` when that is no file.

    ``modified`` is when a file was last written, in nanoseconds.
    """

    def __init__(self, folder: int, name: bytes, found: os.stat_result) -> None:
        self.is_directory: Final = stat.S_ISDIR(found.st_mode)
        self.modified: Final = found.st_mtime_ns
        self._folder = folder
        self._name = name

    def neighbour(self, suffix: str) -> int | None:
        """Return when the regular file was written that has the same name and ``suffix``; None without one."""
        found = _look(self._folder, self._name + suffix.encode())
        return found.st_mtime_ns if found is not None and stat.S_ISREG(found.st_mode) else None

    def open(self, suffix: str = "") -> OpenFile | None:
        """Open the file, or its neighbour; None when it cannot be read (any more). Raise ``OriginError``."""
        try:
            descriptor = os.open(self._name + suffix.encode(), _FILE, dir_fd=self._folder)
        except OSError as error:
            _raise_unless_missing(error)
            return None
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                return OpenFile(descriptor, found)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


class Tree:
    """The files below a directory. Raise ``ConfigError`` when there is no such directory."""

    def __init__(self, directory: str) -> None:
        self._root = os.fsencode(directory)
        try:
            folder = os.open(self._root, _FOLDER)
            try:
                os.stat(b".", dir_fd=folder)  # whether names may be looked up in it
            finally:
                os.close(folder)
        except OSError as error:
            hint = "name a directory that this user may read, as in file:///srv/dist"
            raise ConfigError(f"{directory}: {error.strerror}", hint=hint) from error

    @contextlib.contextmanager
    def reach(self, names: Sequence[str]) -> Iterator[Place | None]:
        """Follow names (at least one) from the root; yield what the last one is, None when there is no such thing.

        Raises:
            OriginError: the root is gone, or the file system fails.
        """
        path = [name.encode() for name in names]
        with contextlib.ExitStack() as held:
            place = self._walk(self._root, path, held)
            if place is None and (real := self._resolved(path)) is not None:
                place = self._walk(*real, held)
            yield place

    def _walk(self, root: bytes, path: Sequence[bytes], held: contextlib.ExitStack) -> Place | None:
        """Go from directory to directory without following a link; None where that leads nowhere."""
        try:
            folder = os.open(root, _FOLDER)
        except OSError as error:
            raise OriginError(f"the directory of files: {error.strerror}") from error
        *folders, name = path
        try:
            for each in folders:
                folder = _step(folder, each)
        except OSError as error:
            _raise_unless_missing(error)
            return None
        held.callback(os.close, folder)
        found = _look(folder, name)
        known = found is not None and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
        return Place(folder, name, found) if found is not None and known else None

    def _resolved(self, path: Sequence[bytes]) -> tuple[bytes, Sequence[bytes]] | None:
        """Return the root and the way from there without links; None when it is the same way, or leads out."""
        try:
            root = os.path.realpath(self._root, strict=True)
            real = os.path.realpath(os.path.join(root, *path), strict=True)
        except OSError as error:
            _raise_unless_missing(error)
            return None
        if real == root:
            return root, [b"."]
        way = real[len(root) + 1 :].split(b"/")
        return (root, way) if real.startswith(root + b"/") and way != path else None


def _step(folder: int, name: bytes) -> int:
    """Return the directory of that name, and close the one it was found in."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


def _look(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        _raise_unless_missing(error)
        return None


def _raise_unless_missing(error: OSError) -> None:
    """Raise ``OriginError``, unless the error says that there is nothing."""
    if error.errno not in _NOT_THERE:
        raise OriginError(f"the file system: {error.strerror}") from error
