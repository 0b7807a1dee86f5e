"""The site behind everybody: ``python -m benchmarks.origin PORT``. As cheap as it can be, and always the same.

========================  ===================================================================================
``/KIND/SIZE/NUMBER``     an object; ``NUMBER`` may be any word
``/count``                how many objects were asked for so far, so that a hit can be told from a miss
========================  ===================================================================================

``KIND`` is ``hit`` (fresh for an hour), ``gzip`` (the same, in the coding, and varies by Accept-Encoding), ``pass``
(``no-store``), or ``tagsN`` (as ``hit``, with N tags). ``SIZE`` is bytes of the body before coding. Every other
object that is fresh has one tag, its own, ``t-NUMBER``.

It takes what caches send, GET without content, and nothing else.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
from email.utils import formatdate
from functools import lru_cache
from typing import Final
from zlib import crc32

import uvloop

__all__ = ["ETAG", "listen", "main"]

ETAG: Final = '"6b0379bb-400"'
_MODIFIED: Final = "Sun, 22 Nov 2026 23:24:43 GMT"


class _Origin(asyncio.Protocol):
    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            self._transport.write(self._answer(request.split(b" ", 2)[1].decode("ascii")))

    def _answer(self, target: str) -> bytes:
        if target == "/count":
            body = b"%d" % _Origin.count
            return b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        _Origin.count += 1
        _, kind, size, number = target.split("/", 3)
        fields, body = _object(kind, int(size))
        return b"%b%b%b\r\n%b" % (_status_and_date(), fields, _tags(kind, number), body)


_now: bytes = b""


def _status_and_date() -> bytes:
    return _now


def _tick(loop: asyncio.AbstractEventLoop) -> None:
    global _now
    _now = f"HTTP/1.1 200 OK\r\nDate: {formatdate(usegmt=True)}\r\n".encode()
    loop.call_later(0.5, _tick, loop)


@lru_cache
def _object(kind: str, size: int) -> tuple[bytes, bytes]:
    body = b"x" * size
    fields = ["Server: origin", "Content-Type: text/plain; charset=utf-8", "Accept-Ranges: bytes"]
    if kind == "pass":
        fields.append("Cache-Control: private, no-store")
    else:
        fields += ["Cache-Control: public, max-age=3600", f"ETag: {ETAG}", f"Last-Modified: {_MODIFIED}"]
    if kind == "gzip":
        body = gzip.compress("".join(f"{number:05d} of a text " for number in range(size // 16)).encode(), mtime=0)
        fields += ["Content-Encoding: gzip", "Vary: Accept-Encoding"]
    return "".join(f"{field}\r\n" for field in (*fields, f"Content-Length: {len(body)}")).encode(), body


def _tags(kind: str, number: str) -> bytes:
    if kind == "pass" or kind == "tags0":
        return b""
    families = int(kind.removeprefix("tags")) - 1 if kind.startswith("tags") else 0
    tags = " ".join((f"t-{number}", *(f"f{family}-{_member(number, family)}" for family in range(families))))
    return f"Surrogate-Key: {tags}\r\n".encode()


def _member(number: str, family: int) -> int:
    """Return which of a family's thousand tags an object has."""
    return crc32(number.encode()) * (family + 1) % 1000


async def listen(port: int = 0) -> asyncio.Server:
    """Begin to serve on a port of 127.0.0.1; 0 lets the system choose."""
    loop = asyncio.get_running_loop()
    _tick(loop)
    return await loop.create_server(_Origin, "127.0.0.1", port, backlog=4096)


async def _serve(port: int) -> None:
    await (await listen(port)).serve_forever()


def main(port: int) -> None:
    """Serve until it is ended."""
    uvloop.run(_serve(port))


if __name__ == "__main__":
    main(int(sys.argv[1]))
