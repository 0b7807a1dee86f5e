"""The file in which a supervisor says who it is and what became of the latest reload, for commands of the same user.

Theory
    It stands beside the machine's token, under the name of the admin listener's address. Its writer holds a lock on
    it for as long as it lives, and the system drops that with the process: a file that is not locked was left
    behind, whatever process may have the number in it now.

    A report is written in one call over the one before. ``begun`` counts reloads from their beginning, ``finished``
    to their end, so whoever asked for one knows which report is about it.

Called by the supervisor (``StatusFile``) and by commands (``Watched``).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from edgecache.edges.token_file import every_place, place, places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Report", "StatusFile", "Watched", "watched", "watched_pid"]

_logger = logging.getLogger(__name__)

_SUFFIX: Final = ".pid"
_SIZE: Final = 8192
_LONGEST_ERROR: Final = 1024  # characters, each up to six bytes of JSON
_PRIVATE_FILE: Final = 0o600


class Report(msgspec.Struct, frozen=True):
    """What a supervisor says.

    Attributes:
        pid: its process.
        generation: number of the configuration in service.
        begun: reloads so far.
        finished: those whose outcome is known.
        error: why the latest of these was refused, as people are told it; empty when it was not.
    """

    pid: int
    generation: int
    begun: int = 0
    finished: int = 0
    error: str = ""


class StatusFile:
    """The file, or several when the admin listener has several addresses."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ: Final = environ
        self._open: dict[Path, int] = {}

    def write(self, report: Report) -> None:
        """Replace the report."""
        clipped = msgspec.structs.replace(report, error=report.error[:_LONGEST_ERROR])
        data = msgspec.json.encode(clipped).ljust(_SIZE)
        for path, descriptor in self._open.items():
            try:
                os.pwrite(descriptor, data, 0)
            except OSError as error:
                _logger.warning("%s cannot be written: %s", path, error)

    def stand_at(self, bound: Iterable[object], report: Report) -> None:
        """Have a file for each of these addresses, as ``getsockname`` tells them, and no others.

        Where that is impossible a warning is logged, and ``edgecache reload`` does not find this process.
        """
        left = dict(self._open)
        for address in bound:
            try:
                path = place(address, self._environ, _SUFFIX)
                if left.pop(path, None) is None:
                    self._open[path] = _locked(path)
            except OSError as error:
                _logger.warning("edgecache reload will not find this process: %s", error)
        self.write(report)
        for path in left:
            self._remove(path)

    def remove(self) -> None:
        """Remove what was written."""
        for path in list(self._open):
            self._remove(path)

    def let_go(self) -> None:
        """In a child: close the files, which stay locked by the parent."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(self._open.pop(path))


class Watched:
    """The report of another process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: Final = descriptor

    @property
    def lives(self) -> bool:
        """Whether that process still reports here."""
        return not _is_free(self._descriptor)

    def report(self) -> Report:
        """Return what it said last."""
        while True:
            with contextlib.suppress(msgspec.DecodeError):  # half of the former one, half of the next
                return msgspec.json.decode(os.pread(self._descriptor, _SIZE, 0), type=Report)

    def close(self) -> None:
        """Look at it no more."""
        os.close(self._descriptor)


def watched(admin: str, environ: Mapping[str, str]) -> Watched | None:
    """Return the live edge of this user whose admin listener has this URL; None when there is none."""
    return next(filter(None, map(_watch, places(admin, environ, _SUFFIX))), None)


def watched_pid(pid: int, environ: Mapping[str, str]) -> Watched | None:
    """Return the live edge of this user whose supervisor is this process; None when there is none."""
    for found in filter(None, map(_watch, every_place(environ, _SUFFIX))):
        if found.report().pid == pid:
            return found
        found.close()
    return None


def _watch(path: Path) -> Watched | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # absent, or not ours to read: the same to us
        return None
    found = Watched(descriptor)
    if found.lives and os.fstat(descriptor).st_size:  # empty: locked a moment ago, and nothing said yet
        return found
    found.close()
    return None


def _locked(path: Path) -> int:
    """Return an open file that this process has locked; raise ``OSError``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _is_free(descriptor: int) -> bool:
    """Whether nobody holds the lock: its writer has ended."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True
