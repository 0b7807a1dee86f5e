"""A file that is open: which version of it, and its bytes, as long as it stays that version.

Theory
    A path can lead to another file at any time; a descriptor cannot. So everything that is said of a file is asked
    of the descriptor that its bytes are read from. Whoever replaces a file by renaming disturbs no reader. Whoever
    writes into it while it is read would have half of each version sent: that is an ``OriginError`` before the last
    byte, so that no such body ever looks complete.

    Threads read, and a thread cannot be stopped; if its descriptor were closed under it, it would read from whatever
    file gets the same number next. So the last one out closes.

Called by ``file_tree``, ``entity_tags`` and ``files``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from edgecache.errors import OriginError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OpenFile", "Version"]


class Version(NamedTuple):
    """What changes when a file's bytes do, unless they change twice within one tick of the file system's clock
    (``entity_tags`` tells how that is met).
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class OpenFile:
    """A regular file; its owner closes it once, whoever may be reading. ``size`` is in bytes."""

    def __init__(self, descriptor: int, found: os.stat_result) -> None:
        self.version: Final = Version(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        self.size: Final = found.st_size
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._is_open = True
        self._uses = 1  # its owner's, and one for each thread that reads

    def read(self, first: int, size: int) -> bytes:
        """Return exactly the ``size`` bytes from position ``first`` on.

        Raises:
            OriginError: there are fewer, they cannot be read, the file has been written since it was opened, or it is
                closed.
        """
        with self._in_use() as descriptor:
            pieces, left = [], size
            while left and (piece := os.pread(descriptor, left, first + size - left)):
                pieces.append(piece)
                left -= len(piece)
            found = os.fstat(descriptor)
        # Not its ctime, which is also that of a chmod, or of the rename that put another file in its place.
        if left or (found.st_size, found.st_mtime_ns) != (self.size, self.version.mtime_ns):
            raise OriginError("a file was written while it was read")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Let go of the file, now or when nobody reads it any more; harmless when done twice."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._leave()

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[int]:
        with self._lock:
            if not self._is_open:
                raise OriginError("a file was given up while it was read")
            self._uses += 1
        try:
            yield self._descriptor
        except OSError as error:
            raise OriginError(f"a file could not be read: {error.strerror}") from error
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._uses -= 1
            is_last = self._uses == 0
        if is_last:
            os.close(self._descriptor)
