"""The edge in this process, without sockets: bytes are fed to the protocol that the public listener would make.

Theory
    What is measured here is the program alone, from the bytes of a request to the bytes of its answer, with everything
    that stands between them in a real edge, whichever lane they take. The kernel's part, which is larger than ours and
    the same for everybody, is left out: so a change of ours shows more here than side by side.

    An answer from memory is written before ``data_received`` returns. That is how a hit is told from anything else: who
    has to wait for an answer did not get it from memory, and counts as a failure.

For ``guard``, ``scaling`` and ``flames``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, Self

from benchmarks import origin
from benchmarks.processes import Failed
from edgecache.app import Edge, compose
from edgecache.edges.config import Admin, Cache, Config, Log, Origin, Server

__all__ = ["Client", "running_edge"]

_LENGTH: Final = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


_A_DAY: Final = 86_400.0
"""Seconds a client may wait for its turn: others are measured meanwhile."""


class _Transport(asyncio.Transport):
    """A client that reads everything at once, and remembers the last answer."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 8080)})
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.written.extend(map(bytes, list_of_data))

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here."""

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Whoever feeds waits for the answer anyway."""

    def resume_reading(self) -> None:
        """As above."""

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is held."""

    def abort(self) -> None:
        """As above."""


class Client:
    """One connection to an edge in this process, used with ``with``."""

    def __init__(self, edge: Edge) -> None:
        self._transport = _Transport()
        self._protocol: Any = edge.connection()
        self._protocol.connection_made(self._transport)

    async def ask(self, request: bytes) -> bytes:
        """Send a request and wait for its answer, wherever it comes from. Raises ``Failed`` unless it is a success."""
        written = self._transport.written
        written.clear()
        self._protocol.data_received(request)
        while not _is_complete(answer := b"".join(written)):  # noqa: ASYNC110  # a transport has no event for it
            await asyncio.sleep(0)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"answered {answer[:300]!r}")
        return answer

    def hits(self, requests: Sequence[bytes]) -> None:
        """Send requests one after the other. Raises ``Failed`` unless each is answered at once, from memory."""
        receive, written = self._protocol.data_received, self._transport.written
        for request in requests:
            written.clear()
            receive(request)
            if not written:
                raise Failed(f"no hit: {request[:100]!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the connection."""
        self._protocol.connection_lost(None)


def _is_complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head + b"\r\n")
    return len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def running_edge(*, memory: int = 2**40, **server: Any) -> AsyncIterator[Edge]:
    """Run an edge in front of an origin, both in this process; ``server`` are keys of ``[server]``."""
    listening = await origin.listen()
    port = listening.sockets[0].getsockname()[1]
    config = Config(
        origin=Origin(urls=(f"http://127.0.0.1:{port}",)),
        server=Server(**{"listen": "127.0.0.1:0", "drain_timeout": 0.0, "keepalive_timeout": _A_DAY, **server}),
        admin=Admin(listen="127.0.0.1:0"),
        cache=Cache(memory=memory),
        log=Log(access="off"),
    )
    edge = await compose(config)
    try:
        yield edge
    finally:
        await edge.close()
        listening.close()
