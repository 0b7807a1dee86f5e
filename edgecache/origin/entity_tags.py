"""Entity tags of files: strong, made of their bytes, and made once for each version of a file.

Theory
    A tag of the content is the same on every machine and after every deploy that did not change the file, so what
    clients and caches hold stays good. It costs reading the file; that is done once, and remembered under what
    ``fstat`` says (``Version``).

    A file system's clock goes in ticks (4 ms, or up to 2 s), and a second write within one tick leaves the same
    version. So a tag is remembered only when the file had been left alone for longer than any tick before it was
    read; a younger file is read again each time, until it has grown old enough.

Invariants
    * What is remembered was read after the moment in which the file was old enough: no later write has its version.
    * At most ``CAPACITY`` tags are remembered, the ones used last.
    * One reader at a time makes the tag of a large file; others wait for it.

Called by ``files``, on one event loop.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecache.origin.open_file import OpenFile, Version

__all__ = ["CAPACITY", "EntityTags"]

CAPACITY: Final = 16_384
"""Tags, at some 400 bytes each: more files than a site has in use at a time."""

_OLD_ENOUGH: Final = 2.0
"""Seconds: the coarsest clock of a file system in use (FAT)."""

_DIGEST_BYTES: Final = 18  # 24 characters without padding
_PIECE: Final = 1024 * 1024


class EntityTags:
    """What is known of files. ``clock`` gives POSIX seconds, as the file system's clock does."""

    def __init__(self, clock: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._tags: OrderedDict[Version, str] = OrderedDict()
        self._turns: WeakValueDictionary[Version, asyncio.Lock] = WeakValueDictionary()

    def known(self, version: Version) -> str | None:
        """Return the tag of a version, as it stands in ``ETag``, when it is remembered."""
        tag = self._tags.get(version)
        if tag is not None:
            self._tags.move_to_end(version)
        return tag

    def read(self, file: OpenFile) -> tuple[str, bytes]:
        """Return the tag of a small file and its content, read here and now. Raise ``OriginError``."""
        may_keep = self._is_old_enough(file)
        content = file.read(0, file.size)
        digest = _new_digest()
        digest.update(content)
        return self._made(file, digest, may_keep), content

    async def of(self, file: OpenFile) -> str:
        """Return the tag of a file of any size, read by a thread if it has to be. Raise ``OriginError``."""
        turn = self._turns.setdefault(file.version, asyncio.Lock())
        async with turn:
            return self.known(file.version) or await self._read_through(file)

    async def _read_through(self, file: OpenFile) -> str:
        may_keep = self._is_old_enough(file)
        digest = _new_digest()
        for first in range(0, file.size, _PIECE):
            await asyncio.to_thread(_absorb, digest, file, first)
        return self._made(file, digest, may_keep)

    def _is_old_enough(self, file: OpenFile) -> bool:
        # What says that it was written in the future was written by another clock: nothing follows from its age.
        return self._clock() - file.version.ctime_ns / 1e9 > _OLD_ENOUGH

    def _made(self, file: OpenFile, digest: hashlib.blake2b, may_keep: bool) -> str:
        tag = f'"{base64.urlsafe_b64encode(digest.digest()).decode("ascii")}"'
        if may_keep:
            self._tags[file.version] = tag
            if len(self._tags) > self._capacity:
                self._tags.popitem(last=False)
        return tag


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def _absorb(digest: hashlib.blake2b, file: OpenFile, first: int) -> None:
    digest.update(file.read(first, min(_PIECE, file.size - first)))
