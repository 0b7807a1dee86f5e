"""One connection to an origin server, and the one exchange that may be going on over it.

Theory
    HTTP/1.1 matches answers to requests by their order only, so a byte too many on a connection is the
    beginning of somebody else's answer. A connection is therefore used again only if everything about the
    last exchange was exact, and a byte that arrives while nobody has asked anything ends the connection.
    aiohttp's client takes such bytes for the next answer, reads heads leniently and repeats requests on
    its own; hence this protocol, which leaves parsing to ``wire`` and ``framing``.

Invariants
    * ``_exchange`` is the exchange in progress, None when idle. It leaves in one step: completed
      (``_complete``), failed (``_fail``) or broken off (``_break_off``). Only the first gives the
      connection back to its home; the others abort it.
    * Bytes reach ``_exchange`` only; a response that was completed or given up gets none.
    * An exchange that is cancelled or given up touches the connection only while it is the one in progress.

Made by ``pool``; ``exchange`` is called by ``server``.
"""

from __future__ import annotations

import asyncio
import select
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, cast

from edgecache.errors import ClientError, OriginError, OriginTimeout
from edgecache.http.fields import combined
from edgecache.origin.base import Framing, InterimHandler, RequestBody
from edgecache.origin.framing import BodyReader, body_reader
from edgecache.origin.inflow import Inflow
from edgecache.origin.patience import Patience
from edgecache.origin.response import ConnectionTunnel, Response
from edgecache.origin.wire import WireRequest, WireResponse, is_hopeless, parse_response

if TYPE_CHECKING:
    from edgecache.http.message import ResponseHead
    from edgecache.origin.settings import OriginSettings

__all__ = ["Home", "OriginConnection", "Unanswered"]

_MAX_INTERIM: Final = 16
"""Interim responses to one request; more are a flood."""

_LAST_CHUNK: Final = b"0\r\n\r\n"


class Unanswered(OriginError):
    """A connection that had served before broke off without a byte of an answer.

    Most likely the origin was closing it while the request was on its way (RFC 9112 §9.3.1).
    """


class Home(Protocol):
    """Where connections come from."""

    def released(self, connection: OriginConnection) -> None:
        """The exchange is over and the connection can be used again."""
        ...

    def lost(self, connection: OriginConnection) -> None:
        """The connection is closed."""
        ...


class OriginConnection(asyncio.Protocol):
    """A connection; ``exchange`` sends a request over it while it is idle."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: OriginSettings, home: Home) -> None:
        self._loop = loop
        self._settings = settings
        self._home = home
        self._transport: asyncio.Transport
        self._exchange: _Exchange | None = None
        self._served = 0
        self._early = b""  # the part of a head that is here
        self._writable = asyncio.Event()
        self._arrivals = select.poll()
        self._patience = Patience(loop, self._lose_patience)
        self.closed: asyncio.Future[None] = loop.create_future()

    # What the pool asks

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed the connection."""
        return not self._transport.is_closing()

    def is_reusable(self) -> bool:
        """Tell whether the connection is open and silent.

        The kernel is asked too: what it holds has not reached this protocol yet, and would be read as the
        answer to the next request. Pending bytes and a pending end look alike, and mean the same.
        """
        return not self._transport.is_closing() and not self._arrivals.poll(0)

    def abort(self, reason: str) -> None:
        """Close at once; an exchange in progress fails with ``OriginError``."""
        self._fail(OriginError(reason))

    # What the server asks

    async def exchange(self, request: WireRequest, on_interim: InterimHandler | None) -> Response:
        """Send a request on this idle connection and wait for the head of its final response.

        Raises:
            Unanswered: see there.
            OriginError: the answer is not HTTP, or broke off.
            OriginTimeout: the origin would not read, or did not answer.
        """
        inflow = Inflow(self._loop, self._transport)
        exchange = self._exchange = _Exchange(request, on_interim, inflow, self._loop.create_future())
        try:
            self._transport.write(request.head)
            if request.body is None:
                exchange.sent = True
            else:
                await self._upload(request.body, exchange)
            return await self._answer(exchange)
        except BaseException:
            self.give_up(exchange)
            raise

    def give_up(self, exchange: _Exchange) -> None:
        """Nobody waits for the rest of this exchange any more."""
        if not exchange.answer.cancel() and not exchange.answer.cancelled():
            exchange.answer.exception()  # seen; nobody else will look
        if self._exchange is exchange:
            self.abort("given up")

    async def _answer(self, exchange: _Exchange) -> Response:
        if not exchange.answer.done():
            self._patience.begin(self._settings.first_byte_timeout)
        head, reader = await exchange.answer
        tunnel = ConnectionTunnel(exchange.inflow, self) if head.status == 101 else None
        patience = self._settings.between_bytes_timeout
        return Response(head, reader, exchange.inflow, patience, partial(self.give_up, exchange), tunnel)

    def _lose_patience(self) -> None:
        self._fail(OriginTimeout("the origin did not answer in time"))

    # What a tunnel asks

    async def write(self, data: bytes) -> None:
        """Write bytes after an upgrade, waiting while the buffer is full; raise ``OriginError`` when closed."""
        if not self.is_open:
            raise OriginError("the origin closed the tunnel")
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        """Close after what was written has been sent, or when that takes too long."""
        self._transport.close()
        self._loop.call_later(self._settings.between_bytes_timeout, self._transport.abort)

    # Sending content

    async def _upload(self, body: RequestBody, exchange: _Exchange) -> None:
        """Send content until it ends or the answer begins, whichever is first."""
        upload = self._loop.create_task(self._send(body, exchange))
        try:
            await asyncio.wait((upload, exchange.answer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not upload.done():
                upload.cancel()
                await asyncio.wait((upload,))
        if not upload.cancelled():
            upload.result()

    async def _send(self, body: RequestBody, exchange: _Exchange) -> None:
        sent = 0
        exchange.sent = body.length == 0
        async for piece in body.chunks:
            sent += len(piece)
            if body.length is not None and sent > body.length:
                raise ClientError(400, "more content than declared")
            if not self.is_open:
                return
            if piece:
                self._transport.write(piece if body.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
                exchange.sent = sent == body.length
                await self._drain()
        if body.length is not None and sent < body.length:
            raise ClientError(400, "less content than declared")
        if body.length is None and self.is_open:
            self._transport.write(_LAST_CHUNK)
            exchange.sent = True

    async def _drain(self) -> None:
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(self._settings.between_bytes_timeout):
                await self._writable.wait()
        except TimeoutError:
            raise OriginTimeout("the origin stopped reading") from None

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin idle."""
        self._transport = cast("asyncio.Transport", transport)
        self._arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Give bytes to the exchange in progress; without one, close."""
        exchange = self._exchange
        if exchange is None:
            self.abort("bytes that nobody asked for")
            return
        try:
            if exchange.reader is None:
                self._receive_head(exchange, data)
            else:
                self._receive_body(exchange, exchange.reader, data)
        except OriginError as error:
            self._fail(error)

    def eof_received(self) -> None:
        """Treat half a close as a whole one: the request has been sent, and nothing else will be answered."""
        self._break_off(None)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self._break_off(exc)
        self._patience.close()
        self._writable.set()
        self.closed.set_result(None)
        self._home.lost(self)

    def pause_writing(self) -> None:
        """Make writers wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._writable.set()

    # Receiving

    def _receive_head(self, exchange: _Exchange, data: bytes) -> None:
        seen = len(self._early)
        exchange.received = True
        data = self._early + data
        while exchange.reader is None:
            end = data.find(b"\r\n\r\n", max(0, seen - 3)) + 4
            if end < 4:
                if data and is_hopeless(data, seen):
                    raise OriginError("not the head of an HTTP response")
                self._early = data
                return
            block, data, seen = data[:end], data[end:], 0
            self._head_complete(exchange, parse_response(block))
        self._early = b""
        self._receive_body(exchange, exchange.reader, data)

    def _head_complete(self, exchange: _Exchange, head: WireResponse) -> None:
        if head.status == 101:
            wanted = exchange.request.upgrade
            if wanted is None or (combined(head.fields, "upgrade") or "").lower() != wanted.lower():
                raise OriginError("switched to a protocol that nobody asked for")
        elif head.status < 200:
            exchange.interims += 1
            if exchange.interims > _MAX_INTERIM:
                raise OriginError("a flood of interim responses")
            if exchange.on_interim is not None:
                exchange.on_interim(head.end_to_end())
            return
        exchange.reader = body_reader(exchange.request.method, head)
        exchange.persistent = head.minor == 1 and "close" not in head.options
        self._patience.end()
        if not exchange.answer.done():
            exchange.answer.set_result((head.end_to_end(), exchange.reader))

    def _receive_body(self, exchange: _Exchange, reader: BodyReader, data: bytes) -> None:
        content = reader.read(data)
        if content:
            exchange.inflow.feed(content)
        if reader.complete:
            self._complete(exchange, reader)

    # The three ways an exchange ends

    def _complete(self, exchange: _Exchange, reader: BodyReader) -> None:
        self._exchange = None
        self._served += 1
        exchange.inflow.end()
        everything_sent = exchange.sent and not self._transport.get_write_buffer_size()
        if exchange.persistent and everything_sent and not reader.overrun:
            self._home.released(self)
        else:
            self._transport.abort()

    def _fail(self, error: OriginError) -> None:
        exchange, self._exchange = self._exchange, None
        self._patience.end()
        if exchange is not None:
            exchange.fail(error)
        self._transport.abort()

    def _break_off(self, cause: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if exchange.reader is not None and exchange.reader.framing is Framing.CLOSE and cause is None:
            exchange.inflow.end()
        elif self._served and not exchange.received:
            exchange.fail(Unanswered("the origin closed a kept connection"))
        else:
            exchange.fail(OriginError("the origin closed the connection before the end of its answer"))


class _Exchange:
    """One request and what has come of it so far."""

    __slots__ = (
        "answer",
        "inflow",
        "interims",
        "on_interim",
        "persistent",
        "reader",
        "received",
        "request",
        "sent",
    )

    def __init__(
        self,
        request: WireRequest,
        on_interim: InterimHandler | None,
        inflow: Inflow,
        answer: asyncio.Future[tuple[ResponseHead, BodyReader]],
    ) -> None:
        self.request = request
        self.on_interim = on_interim
        self.inflow = inflow
        self.answer = answer
        self.reader: BodyReader | None = None
        self.interims = 0
        self.sent = False
        self.received = False
        self.persistent = False

    def fail(self, error: OriginError) -> None:
        """Raise ``error`` where somebody waits: for the head, or for the body."""
        self.inflow.end(error)
        if not self.answer.done():
            self.answer.set_exception(error)
