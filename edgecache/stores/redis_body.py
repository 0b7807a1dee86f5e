"""Large bodies in Redis: chunks beside their list, written before it names them, read one at a time.

Theory
    Chunks are born with a short life. Only when all of them are there is it prolonged, and only then does a list
    name them: a put that fails half-way leaves nothing that has to be cleaned up, and no reader sees a part.
    A body that is replaced gets the short life again, so that who reads it can finish.

Invariants
    * A reader gets the bytes that were put, or ``StoreError``: each chunk is opened whole before any of it is
      handed out.
    * At most one chunk of a body is in memory per reader.

Called by ``stores.redis`` and the modules it is made of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from edgecache.errors import StoreError
from edgecache.semantics.stored import Body, CacheKey
from edgecache.stores.body import slices
from edgecache.stores.record import CHUNK, MAX_SEALED_CHUNK, ContentDigest, Layout, RecordCodec
from edgecache.stores.redis_layout import Names
from edgecache.stores.redis_link import Command, RedisLink, said

__all__ = ["SHORT_LIFE", "Chunks", "RedisBody", "milliseconds"]

SHORT_LIFE: Final = 30.0
"""Seconds that chunks live while no list names them: a put of the largest body, or a reader, takes less."""

_SLACK: Final = 60.0
"""Seconds that chunks outlive their list: who found a response can finish reading it."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """Writes, prolongs and reads chunks. Lifetimes are seconds; every method raises ``StoreError`` only."""

    link: RedisLink
    codec: RecordCodec
    names: Names

    async def write(self, key: CacheKey, body: Body) -> Layout:
        """Write a body under a new name, to live shortly; return where it is."""
        body_id, content, index = self.codec.new_body_id(), self.codec.content(), 0
        async for chunk in _in_chunks(body):
            content.update(chunk)
            sealed = self.codec.close_chunk(key, Layout(body.size, b"", body_id), index, chunk)
            name = self.names.chunk(self.codec.name(key), body_id, index)
            await self.link.call("SET", name, sealed, "PX", milliseconds(SHORT_LIFE))
            index += 1
        _check_size(content, body)
        return Layout(body.size, content.digest(), body_id)

    async def prolong(self, key: CacheKey, layout: Layout, lifetime: float) -> bool:
        """Let the chunks live a little longer than a list that lives ``lifetime``; False when one is gone."""
        return all(await self._expire(key, layout, milliseconds(lifetime + _SLACK)))

    async def retire(self, key: CacheKey, layout: Layout) -> None:
        """Let the chunks end soon."""
        await self._expire(key, layout, milliseconds(SHORT_LIFE))

    async def digest(self, body: Body) -> bytes:
        """Return the digest of a body's content, reading it when that is not known."""
        if isinstance(body, RedisBody):
            return body.layout.digest
        content = self.codec.content()
        async for piece in body.read(0, body.size):
            content.update(piece)
        _check_size(content, body)
        return content.digest()

    async def read(self, key: CacheKey, layout: Layout, index: int) -> bytes:
        """Return the content of one chunk."""
        name = self.names.chunk(self.codec.name(key), layout.body_id, index)
        sealed = await self.link.call("GETRANGE", name, 0, MAX_SEALED_CHUNK)
        if not isinstance(sealed, bytes) or not sealed:
            raise StoreError("a chunk of a body is gone")
        content = self.codec.open_chunk(key, layout, index, sealed)
        if len(content) != min(CHUNK, layout.size - index * CHUNK):
            raise StoreError("a chunk of a body has another length than its place")
        return content

    async def _expire(self, key: CacheKey, layout: Layout, milliseconds: int) -> list[bool]:
        name = self.codec.name(key)
        commands: list[Command] = [
            ("PEXPIRE", self.names.chunk(name, layout.body_id, index), milliseconds)
            for index in range(-(-layout.size // CHUNK))
        ]
        return [said(reply) in (1, True) for reply in await self.link.each(commands)]


class RedisBody:
    """A body whose content is fetched as it is read; see ``semantics.stored.Body`` for the contract."""

    __slots__ = ("_chunks", "_key", "layout", "local", "size")

    def __init__(self, chunks: Chunks, key: CacheKey, layout: Layout) -> None:
        self._chunks = chunks
        self._key = key
        self.layout: Final = layout
        self.size: Final = layout.size
        self.local: Final = None

    def __repr__(self) -> str:
        return f"RedisBody({self.size} bytes)"

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """Yield the bytes of ``[start, stop)``; raise ``StoreError`` when they cannot be had."""
        if not 0 <= start <= stop <= self.size:
            raise StoreError(f"no bytes {start} to {stop} in a body of {self.size}")
        for index in range(start // CHUNK, -(-stop // CHUNK) if stop > start else 0):
            offset = index * CHUNK
            content = await self._chunks.read(self._key, self.layout, index)
            for view in slices((content,), max(start - offset, 0), min(stop - offset, len(content))):
                yield view


def milliseconds(seconds: float) -> int:
    """Return a time to live as Redis takes it: whole, and never zero."""
    return max(1, ceil(seconds * 1000))


async def _in_chunks(body: Body) -> AsyncIterator[bytes]:
    """Yield the content of a body in pieces of ``CHUNK`` bytes, the last one shorter."""
    waiting = bytearray()
    async for piece in body.read(0, body.size):
        waiting += piece
        while len(waiting) >= CHUNK:
            yield bytes(waiting[:CHUNK])
            del waiting[:CHUNK]
    if waiting:
        yield bytes(waiting)


def _check_size(content: ContentDigest, body: Body) -> None:
    if content.size != body.size:
        raise StoreError(f"a body of {body.size} bytes had {content.size}")
