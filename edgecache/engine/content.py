"""The content of a QUERY request (RFC 10008): read into memory, because it is part of the cache key."""

from __future__ import annotations

from collections.abc import AsyncIterator

from edgecache.engine.exchange import Request
from edgecache.origin.base import RequestBody

__all__ = ["buffered"]


async def buffered(request: Request, limit: int) -> bytes | None:
    """Read a request's content into memory; None, with the request still whole, when it is more than ``limit``.

    Raises ``ClientError`` when the content breaks a rule, or breaks off.
    """
    body = request.body
    assert body is not None
    pieces: list[bytes] = []
    size = 0
    if body.length is not None and body.length > limit:
        return None
    async for piece in body.chunks:
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            request.body = RequestBody(_rejoined(pieces, body.chunks), body.length)
            return None
    return b"".join(pieces)


async def _rejoined(pieces: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    async for piece in rest:
        yield piece
