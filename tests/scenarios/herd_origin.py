"""``python -m tests.scenarios.herd_origin BYTES``: one large object, from a process of its own.

The first line on standard output is the URL. ``/object`` is sent up to a sixteenth and then held until ``/release``
is asked for; ``/asked`` tells how often it was asked for. It ends with standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from typing import Final

__all__ = ["BLOCK", "digest"]

BLOCK: Final = hashlib.sha512(b"edgecache").digest() * 1024  # 64 KiB


def digest(size: int) -> str:
    """The SHA-1 of the object with ``size`` bytes, a multiple of the block's."""
    sha1 = hashlib.sha1(usedforsecurity=False)
    for _ in range(size // len(BLOCK)):
        sha1.update(BLOCK)
    return sha1.hexdigest()


async def _serve(size: int) -> None:
    asked, released, ended = 0, asyncio.Event(), asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        if target == b"/object":
            asked += 1
            head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            writer.write(head % size)
            for sent in range(0, size, len(BLOCK)):
                if sent >= size // 16:
                    await released.wait()
                writer.write(BLOCK)
                await writer.drain()
        else:
            if target == b"/release":
                released.set()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d" % asked)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    loop = asyncio.get_running_loop()

    def wait_for_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
