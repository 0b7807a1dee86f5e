"""A response on its way: its head is here, its body grows, and any number of readers follow it.

Theory
    One task (the pump) feeds a fill from the origin; a reader is a position in the list of chunks, so it costs a few
    words, and a slow one delays nobody. Readers wait by a future that the next chunk completes: no polling.

    While the body may still be stored, all of it is kept and the pump runs at the origin's speed. Once it has
    outgrown what is stored (``spill``) only a window is kept: chunks that every reader has passed are dropped, nobody
    new may join, and the pump waits while the slowest reader is a window behind. One that does not move at all while
    others wait for it is left behind; its client gets no more.

Invariants
    * A fill ends exactly once: ``finish``, or ``fail`` with the ``OriginError`` that every reader then raises.
    * Only a complete, unspilled fill is ever offered to a store: to commit is one step, to abort is to do nothing.
    * State changes are synchronous; nobody awaits between looking at the state and acting on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from edgecache.errors import OriginError

__all__ = ["Fill", "Reader"]

WINDOW_BYTES: Final = 1024 * 1024
"""How far a spilled fill's pump may be ahead of its slowest reader."""

PATIENCE_SECONDS: Final = 10.0
"""How long the slowest reader of a spilled fill may stand still while another one waits for more."""


class Fill:
    """A growing body: one pump feeds it, readers follow it.

    Attributes:
        size: bytes that have come so far.
        complete: whether all of it has.
        spilled: whether it has outgrown what is stored.
        on_deserted: called when the last reader has left before the end.
    """

    __slots__ = (
        "_changed",
        "_chunks",
        "_dropped",
        "_error",
        "_readers",
        "_room",
        "complete",
        "on_deserted",
        "size",
        "spilled",
    )

    def __init__(self) -> None:
        self.size = 0
        self.complete = False
        self.spilled = False
        self.on_deserted: Callable[[], None] | None = None
        self._chunks: list[bytes] = []
        self._dropped = 0  # chunks already dropped from the front; 0 until spilled
        self._readers: set[Reader] = set()
        self._error: OriginError | None = None
        self._changed: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def readers(self) -> int:
        """How many are following now."""
        return len(self._readers)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.complete or self._error is not None

    @property
    def failed(self) -> bool:
        """Whether it broke off."""
        return self._error is not None

    def chunks(self) -> tuple[bytes, ...]:
        """Return what has come of an unspilled fill: all of it, once the pump has fed the last byte."""
        assert not self.spilled
        return tuple(self._chunks)

    # The pump's side.

    def feed(self, chunk: bytes) -> None:
        """Append bytes and wake the readers."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        _wake(self._changed)

    def finish(self) -> None:
        """Mark the body complete."""
        self.complete = True
        _wake(self._changed)

    def fail(self, error: OriginError) -> None:
        """Mark the body broken: readers raise ``error`` once they have had what came."""
        self._error = error
        _wake(self._changed)

    def spill(self) -> None:
        """Stop keeping what every reader has passed."""
        self.spilled = True
        self._drop_passed()

    async def room(self) -> None:
        """Wait while a spilled fill's slowest reader is more than a window behind."""
        while self.spilled and self._readers and self.size - min(r.position for r in self._readers) > WINDOW_BYTES:
            loop = asyncio.get_running_loop()
            self._room = loop.create_future()
            timer = loop.call_later(PATIENCE_SECONDS, self._leave_behind)
            try:
                await self._room
            finally:
                timer.cancel()

    def _leave_behind(self) -> None:
        """Go on without those who are a window behind, if anybody waits for that."""
        if not any(reader.position == self.size for reader in self._readers):
            _wake(self._room)
            return
        for reader in [each for each in self._readers if self.size - each.position > WINDOW_BYTES]:
            reader.left_behind = True
            self.detach(reader)

    # The readers' side.

    def attach(self, start: int = 0, stop: int | None = None) -> Reader:
        """Return a reader of ``[start, stop)``; a spilled fill takes none."""
        assert not self.spilled
        reader = Reader(self, start, stop)
        self._readers.add(reader)
        return reader

    def detach(self, reader: Reader) -> None:
        """Forget a reader; harmless when it is gone already."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        self._drop_passed()
        if not self._readers and not self.ended and self.on_deserted is not None:
            self.on_deserted()

    def chunk(self, index: int) -> bytes | None:
        """Return the chunk with this index, or None when it has not come yet."""
        index -= self._dropped
        return self._chunks[index] if index < len(self._chunks) else None

    def passed(self) -> None:
        """Note that a reader has moved on."""
        if self.spilled:
            self._drop_passed()

    async def change(self) -> None:
        """Wait until there is more, or the end; raise what ended it."""
        if self._error is not None:
            raise self._error
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _drop_passed(self) -> None:
        if not self.spilled:
            return
        end = self._dropped + len(self._chunks)
        keep_from = min((reader.index for reader in self._readers), default=end)
        del self._chunks[: keep_from - self._dropped]
        self._dropped = keep_from
        _wake(self._room)


class Reader:
    """An asynchronous iterator over part of a fill."""

    __slots__ = ("_fill", "_start", "_stop", "index", "left_behind", "position")

    def __init__(self, fill: Fill, start: int, stop: int | None) -> None:
        self._fill = fill
        self._start = start
        self._stop = stop
        self.index = 0  # of the next chunk
        self.position = 0  # of that chunk in the body
        self.left_behind = False

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes | memoryview:
        fill = self._fill
        if self.left_behind:
            raise OriginError("the others did not wait any longer")
        while self._stop is None or self.position < self._stop:
            chunk = fill.chunk(self.index)
            if chunk is not None:
                piece = self._take(chunk)
                if piece:
                    return piece
            elif fill.complete:
                break
            else:
                await self._change()
        fill.detach(self)
        raise StopAsyncIteration

    def _take(self, chunk: bytes) -> bytes | memoryview:
        first = max(self._start - self.position, 0)
        last = len(chunk) if self._stop is None else min(self._stop - self.position, len(chunk))
        self.index += 1
        self.position += len(chunk)
        self._fill.passed()
        if first == 0 and last == len(chunk):
            return chunk
        return memoryview(chunk)[first:last]

    async def _change(self) -> None:
        try:
            await self._fill.change()
        except OriginError:
            self._fill.detach(self)
            raise

    async def aclose(self) -> None:
        """Leave."""
        self._fill.detach(self)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
