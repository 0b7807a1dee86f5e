"""A scripted engine behind the real server, and raw sockets in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from edgecache.edges.base import Purger
from edgecache.edges.finished import Finished
from edgecache.edges.listener import Listener
from edgecache.edges.server import EdgeServer
from edgecache.edges.settings import ServerSettings
from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.errors import EdgecacheError
from edgecache.http.message import Pair, ResponseHead, fields_of

Handler = Callable[[Request], Awaitable[Delivery]]
Hit = Callable[[Request], Delivery]


def delivery(
    request: Request,
    body: bytes = b"",
    *,
    status: int = 200,
    fields: tuple[Pair, ...] = (),
    stream: AsyncIterator[bytes] | None = None,
    length: int | None = None,
) -> Delivery:
    """A response with ``body`` in memory, or with a stream that is ``length`` bytes long."""
    known = len(body) if stream is None else length
    pairs = fields if known is None else (*fields, ("Content-Length", str(known)))
    pieces = None if stream is not None or not body else (body,)
    exchange = Exchange(request=request, started=0.0)
    return Delivery(ResponseHead(status, fields_of(pairs)), known, exchange, pieces=pieces, stream=stream)


@dataclass
class ScriptedEngine:
    """Answers by target: ``hits`` at once, ``handlers`` by and by, everything else with its own target."""

    hits: dict[str, Hit] = field(default_factory=dict)
    handlers: dict[str, Handler] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def answer_now(self, request: Request) -> Delivery | None:
        hit = self.hits.get(request.head.target)
        if hit is None:
            return None
        self._see(request)
        return hit(request)

    def begin(self, request: Request, landed: Callable[[], None]) -> None:
        """Leave everything to ``handle``."""

    async def handle(self, request: Request) -> Delivery:
        self._see(request)
        handler = self.handlers.get(request.head.target)
        return await handler(request) if handler else await self.echo(request)

    async def echo(self, request: Request) -> Delivery:
        """Read the content, answer with method, target and content."""
        body = b""
        try:
            if request.body is not None:
                async for chunk in request.body.chunks:
                    body += chunk
        except EdgecacheError:
            return delivery(request, b"bad", status=502)
        self.bodies.append(body)
        return delivery(request, f"{request.head.method} {request.head.target} ".encode() + body)

    def _see(self, request: Request) -> None:
        self.seen.append(request)
        self.news.set()

    async def until_seen(self, count: int) -> None:
        """Wait until there were ``count`` requests."""
        while len(self.seen) < count:
            self.news.clear()
            await self.news.wait()

    @property
    def targets(self) -> list[str]:
        return [request.head.target for request in self.seen]


@dataclass
class Client:
    """A raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await self.reader.read()

    async def response(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """One response: status, fields (lower case), content with its framing removed."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        status = int(lines[0].split(" ")[1])
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
        if head_only or status in (101, 103, 100, 204, 304):
            return status, fields, b""
        return status, fields, await self._content(fields)

    async def _content(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(await self.reader.readline(), 16):
                content += (await self.reader.readexactly(size + 2))[:-2]
            assert await self.reader.readexactly(2) == b"\r\n"
            return content
        if "content-length" in fields:
            return await self.reader.readexactly(int(fields["content-length"]))
        return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            assert self.writer.is_closing()


@dataclass
class Site:
    """A running server and what it told its sink."""

    engine: ScriptedEngine
    server: EdgeServer
    listener: Listener
    finished: list[Finished]
    port: int
    clients: list[Client] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self, **options: Any) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.clients.append(client)
        return client

    async def ask(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, return everything that comes back."""
        client = await self.connect()
        client.send(data)
        return await client.rest()

    async def until_finished(self, count: int) -> list[Finished]:
        """Wait until the sink was told of ``count`` exchanges."""
        while len(self.finished) < count:
            self.news.clear()
            await self.news.wait()
        return self.finished


@asynccontextmanager
async def site(
    engine: ScriptedEngine | None = None, *, purger: Purger | None = None, **settings: Any
) -> AsyncIterator[Site]:
    """Run a server on a free port."""
    engine = engine or ScriptedEngine()
    chosen = ServerSettings(**{"listen": "127.0.0.1:0", **settings})
    finished: list[Finished] = []
    news = asyncio.Event()

    def sink(facts: Finished) -> None:
        finished.append(facts)
        news.set()

    server = EdgeServer(engine, chosen, sink, purger)
    listener = Listener(server, chosen)
    await listener.start()
    port = 0 if chosen.listen.startswith("unix:") else int(listener.addresses[0].rpartition(":")[2])
    running = Site(engine, server, listener, finished, port, news=news)
    try:
        yield running
    finally:
        for client in running.clients:
            client.writer.transport.abort()
        await listener.force()
