"""A stored body in this process's memory: the chunks it arrived in, never joined and never copied.

Theory
    A body is delivered far more often than it is stored, and mostly whole. So the chunks are kept as they
    came from the origin, a whole delivery hands out the very same objects (``local``), and a part of it
    (a range request) is a view over them. Nothing is copied until the kernel does.

Invariants
    * ``size`` is the sum of the chunks' lengths; neither changes.
    * Two bodies are equal only when they are the same object: comparing content would cost a hit's worth of
      time and answer a question nobody asks.

Called by whoever has a complete body in hand: the engine's fill, the tiers that bring a body back into
memory, synthetic answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from edgecache.errors import StoreError

__all__ = ["SLICE", "MemoryBody", "slices"]

SLICE: Final = 64 * 1024
"""Largest piece that is handed to a socket at once, bytes: what one write can usually take without queueing."""


class MemoryBody:
    """Chunks of bytes in memory; see ``semantics.stored.Body`` for the contract.

    Attributes:
        local: the chunks, in order.
        size: their length together, in bytes.
    """

    __slots__ = ("__weakref__", "local", "size")

    def __init__(self, chunks: tuple[bytes, ...]) -> None:
        self.local: Final = chunks
        self.size: Final = sum(map(len, chunks))

    def __repr__(self) -> str:
        return f"MemoryBody({self.size} bytes in {len(self.local)} chunks)"

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """Yield what ``slices`` returns."""
        for view in slices(self.local, start, stop):
            yield view


def slices(chunks: tuple[bytes, ...], start: int, stop: int) -> tuple[memoryview, ...]:
    """Return views over the bytes of ``[start, stop)``, in order, each of 1 to ``SLICE`` bytes.

    Raises:
        StoreError: the chunks do not have these bytes.
    """
    views: list[memoryview] = []
    offset = 0
    for chunk in chunks:
        if offset >= stop:
            break
        view = memoryview(chunk)[max(start - offset, 0) : stop - offset]
        views += [view[at : at + SLICE] for at in range(0, len(view), SLICE)]
        offset += len(chunk)
    if not 0 <= start <= stop <= offset:
        raise StoreError(f"no bytes {start} to {stop} in a body of {offset}")
    return tuple(views)
