"""Where the bytes of a delivery come from: memory, a body that is on its way, or several parts of either.

Called by ``engine.deliver``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

import msgspec

__all__ = ["PartsStream", "Source"]


class Source(msgspec.Struct, frozen=True):
    """Bytes ``[first, stop)`` of a representation of ``complete`` bytes; ``complete`` is None when not known yet."""

    complete: int | None
    first: int
    pieces: Callable[[int, int], tuple[bytes | memoryview, ...]] | None
    stream: Callable[[int, int | None], AsyncIterator[bytes | memoryview]]


class PartsStream:
    """Parts of a body on its way. All of them are followed from the beginning: between two, it is not deserted."""

    __slots__ = ("_pieces", "_streams")

    def __init__(self, parts: Iterable[tuple[bytes, int, int]], closing: bytes, source: Source) -> None:
        begun = [(head, source.stream(first - source.first, last + 1 - source.first)) for head, first, last in parts]
        self._streams = [stream for _, stream in begun]
        self._pieces = _in_order(begun, closing)

    def __aiter__(self) -> PartsStream:
        return self

    async def __anext__(self) -> bytes | memoryview:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Leave all of them."""
        await self._pieces.aclose()
        for stream in self._streams:
            aclose = getattr(stream, "aclose", None)
            if aclose is not None:
                await aclose()


async def _in_order(
    parts: Iterable[tuple[bytes, AsyncIterator[bytes | memoryview]]], closing: bytes
) -> AsyncGenerator[bytes | memoryview, None]:
    for preamble, stream in parts:
        if preamble:
            yield preamble
        async for piece in stream:
            yield piece
    if closing:
        yield closing
