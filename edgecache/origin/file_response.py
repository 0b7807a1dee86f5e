"""What becomes of a file that was found: 200, 206, 304, 412 or 416, and the bytes that go with it.

Theory
    An origin has to obey all preconditions (RFC 9110 §13.2), in the order of §13.2.2. The only validator of a file is
    its entity tag. It has no Last-Modified, so conditions with a date say nothing of it (§13.1.3, §13.1.4).

Invariants
    * A body that ends without an error has the length that its head says, and all of it is of one version of the file.
    * Of a large file one piece is in memory at a time; it is read when it is asked for, by a thread.

Called by ``files``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgecache.http.conditional import Precondition, evaluate, fails_if_match
from edgecache.http.fields import combined
from edgecache.http.ranges import if_range_matches, parse_range, resolve
from edgecache.origin.base import Framing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edgecache.http.message import FieldsView, RequestHead, ResponseHead
    from edgecache.origin.base import Tunnel
    from edgecache.origin.open_file import OpenFile

__all__ = ["FileResponse", "Selected", "select"]

_PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Selected:
    """The status that a request gets, and bytes ``[first, stop)`` of the file that go with it."""

    status: int
    first: int = 0
    stop: int = 0


def select(head: RequestHead, etag: str, size: int, now: float) -> Selected:
    """Evaluate conditions and range against a file of ``size`` bytes; ``now`` is in POSIX seconds."""
    if fails_if_match(head.fields, etag):
        return Selected(412)
    unchanged = evaluate(head.method, head.fields, etag=etag, last_modified=None, date=None, now=now)
    if unchanged is Precondition.NOT_MODIFIED:
        return Selected(304)
    return _ranged(head.fields, etag, size, now) if head.method == "GET" and size else Selected(200, 0, size)


def _ranged(fields: FieldsView, etag: str, size: int, now: float) -> Selected:
    """RFC 9110 §14.2; who asks for several ranges gets the whole, which is less to get wrong."""
    specs = parse_range(combined(fields, "range") or "")
    if_range = combined(fields, "if-range")
    if specs is None or len(specs) != 1:
        return Selected(200, 0, size)
    if if_range is not None and not if_range_matches(if_range, etag=etag, last_modified=None, date=None, now=now):
        return Selected(200, 0, size)
    for first, last in resolve(specs, size):
        return Selected(206, first, last + 1)
    return Selected(416)


class FileResponse:
    """An answer of ``files`` (``base.OriginResponse``): no body, ``content``, or a stretch of an open file.

    The file is closed with the response.
    """

    tunnel: Tunnel | None = None
    server: str = "file:"

    def __init__(
        self, head: ResponseHead, content: bytes | None = None, stretch: tuple[OpenFile, int, int] | None = None
    ) -> None:
        """``stretch`` is a file, the first byte and the one after the last."""
        self.head: Final = head
        self._content = content
        self._stretch = stretch

    @property
    def framing(self) -> Framing:
        """LENGTH, or NONE for HEAD and 304."""
        return Framing.NONE if self._content is None and self._stretch is None else Framing.LENGTH

    @property
    def content_length(self) -> int | None:
        """Bytes of the body; 0 without one."""
        if self._stretch is not None:
            _, first, stop = self._stretch
            return stop - first
        return len(self._content or b"")

    def arrived(self) -> bytes | None:
        """Return the body when it is no file's."""
        return (self._content or b"") if self._stretch is None else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body. Raise ``OriginError`` when the file cannot be read, or was written since it was opened."""
        if self._content:
            yield self._content
        if self._stretch is not None:
            file, start, stop = self._stretch
            try:
                for first in range(start, stop, _PIECE):
                    yield await asyncio.to_thread(file.read, first, min(_PIECE, stop - first))
            finally:
                file.close()

    def close(self) -> None:
        """Let go of the file, read to its end or not."""
        if self._stretch is not None:
            self._stretch[0].close()
