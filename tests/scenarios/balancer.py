"""A balancer that leads each new connection to the next of several servers, as those of connections do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator

__all__ = ["Balancer"]


class Balancer:
    """Listens on a port of its own; an asynchronous context manager."""

    def __init__(self, *ports: int) -> None:
        self.port = 0
        self._turns: Iterator[int] = itertools.cycle(ports)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Balancer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):  # how connections end
            server = await asyncio.open_connection("127.0.0.1", next(self._turns))
            await asyncio.gather(_copy(reader, server[1]), _copy(server[0], writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
