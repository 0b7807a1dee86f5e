"""One connection of a client: requests in, responses out, in order, each within its time.

Theory
    ``Inflow`` turns bytes into messages, ``Outflow`` takes what is written; here is what happens between them.
    While nothing else goes on, what was answered before is answered by the hit lane (``edges.lane``). What the engine
    can answer at once from memory is written at once, without a task, and what it can begin to fetch at once, as soon
    as it has come. Everything else is a task. Meanwhile the messages behind it wait.

    aiohttp's own ``RequestHandler`` is not used, only its parser: it lets the reader of malformed content wait for
    ever, takes half a megabyte of header before it objects, has one deadline for unfinished heads and for idle
    connections, and makes a task, a writer and a response object for each answer.

Invariants
    * Every message that was popped is one transaction, and its ``Finished`` is emitted once.
    * Deadlines are instants that the server's sweep compares with its clock; nothing here starts a timer.
    * A response that cannot be completed ends in a reset, never in an orderly close.
    * The engine is not cancelled because a client leaves: others may wait for the same response. The stream
      of a delivery is closed as soon as its client is gone.

Called by ``EdgeServer``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import Final, cast

from edgecache.edges.base import Begun, Owner
from edgecache.edges.content import RequestContent
from edgecache.edges.delivery import BrokenDelivery, Frame, frame, go_ahead, interim, let_go, refusal, send, whole
from edgecache.edges.finished import Aborted
from edgecache.edges.inflow import Incoming, Inflow
from edgecache.edges.lane import Lane, Unfinished
from edgecache.edges.outflow import Outflow
from edgecache.edges.request_head import RequestReader
from edgecache.edges.transaction import Transaction
from edgecache.edges.tunnel import relay, switching_head
from edgecache.engine.exchange import Delivery, Request
from edgecache.errors import ClientError
from edgecache.origin.base import RequestBody

__all__ = ["Connection"]

_logger = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 2.0
"""How long a client that is still sending may take to read why nobody listens, before it is cut off."""
_FIRST_REQUEST_SECONDS: Final = 1.0
"""How long a connection accepted just before the server stopped may take to send its request."""


class Connection(asyncio.Protocol):
    """The protocol of one client connection."""

    _inflow: Inflow
    _outflow: Outflow
    _transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transaction: Transaction | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun: Begun | None = None
        self._delivering = False
        self._deadline = math.inf
        self._fresh = True  # no request yet
        self._lane: Lane | None = None
        self._quiet = True  # the next byte begins a request, and what answers it may be written at once
        self._answered = False  # by the hit lane, since the last sweep
        self._closing = False
        self._gone = False

    # ------------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the first head has its time from now."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is one without being derived from it
        settings = self._owner.settings
        self._transport = transport
        self._peer = self._owner.peers.identify(transport)
        self._reader = RequestReader(self._peer, settings)
        self._inflow = Inflow(transport, settings, self._advance)
        self._outflow = Outflow(transport, settings)
        if self._owner.lanes is not None:
            self._lane = self._owner.lanes.lane(self._peer, self._outflow)
        self._deadline = self._loop.time() + settings.header_timeout
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests, or of a tunnel."""
        if self._quiet and self._lane is not None and (answered := self._lane.answer(data)):
            if answered is True:
                self._answered = True
            else:
                self._go_on(data, answered)
            return
        if self._closing:
            return
        self._quiet = False
        if self._transaction is None and not self._inflow.partial_head and not self._fresh:
            self._deadline = self._loop.time() + self._owner.settings.header_timeout
        self._inflow.feed(data)
        self._advance()
        if self._lane is not None:
            self._lane.over()

    def eof_received(self) -> None:
        """Take a client that closed its half as gone, as others do: it cannot be told from one that left."""

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        self._outflow.pause()

    def resume_writing(self) -> None:
        """The client has read."""
        self._outflow.resume()
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: whoever waits for this client is told."""
        self._gone = True
        self._inflow.lost()
        self._outflow.lost()
        if self._delivering and self._task is not None:
            assert self._transaction is not None
            if self._transaction.status != 101:  # leaving is how a tunnel ends
                self._transaction.abort(Aborted.CLIENT)
            self._task.cancel()
        self._owner.closed(self)

    # --------------------------------------------------------------------------- for the server

    @property
    def buffered(self) -> int:
        """Bytes that wait for the client to read them."""
        return self._outflow.pending

    def _rest(self, now: float) -> None:
        """Wait for the next request from now on; after a response was written."""
        settings, inflow = self._owner.settings, self._inflow
        self._fresh = self._answered = False
        self._deadline = now + (settings.header_timeout if inflow.partial_head else settings.keepalive_timeout)
        self._quiet = not (inflow.receiving or inflow.waiting or inflow.partial_head or inflow.inlet is not None)

    def sweep(self, now: float) -> None:
        """Compare every deadline with ``now``, in seconds of the loop."""
        if self._answered and self._quiet:  # some time since the last sweep
            self._rest(now)
        if self._outflow.overdue(now):
            self._reset(Aborted.SLOW)
        elif self._transaction is not None:
            content = self._transaction.content
            if content is not None and content.too_slow(now):
                self._inflow.fail(ClientError(408, "content came too slowly"))
        elif self._closing:
            if self._outflow.pending:
                self._deadline = now + _LINGER_SECONDS
            elif now >= self._deadline:
                self._transport.abort()
        elif now >= self._deadline:
            self._expire()

    def _expire(self) -> None:
        if self._inflow.partial_head:
            self._inflow.fail(ClientError(408, "head came too slowly"))
            self._advance()
        else:
            self._close()

    def drain(self) -> None:
        """End with the present response, or now when there is none."""
        self._quiet = False
        if self._transaction is None and not self._closing:
            if self._fresh:
                self._deadline = min(self._deadline, self._loop.time() + _FIRST_REQUEST_SECONDS)
            elif not self._inflow.partial_head:
                self._close()

    def abort(self) -> None:
        """End now, whatever is lost by that."""
        begun, self._begun = self._begun, None
        if self._task is not None:
            self._task.cancel()
        self._reset(Aborted.SHUTDOWN)
        if begun is not None and self._transaction is not None:
            begun.leave()
            self._end(self._transaction)

    # ------------------------------------------------------------------------ transactions

    def _advance(self) -> None:
        """Begin the next transactions, unless one is running or the client does not read."""
        while self._transaction is None and not (self._closing or self._gone or self._outflow.paused):
            incoming = self._inflow.pop()
            if incoming is None:
                return
            self._begin(incoming)

    def _begin(self, incoming: Incoming) -> None:
        message = None if isinstance(incoming, ClientError) else incoming[0]
        transaction = Transaction(message, self._peer.name, self._loop.time, self._owner.sink)
        self._transaction = transaction
        self._outflow.start_response()
        if isinstance(incoming, ClientError):  # not raised: with its traceback it would be a cycle
            self._refuse(transaction, incoming)
            self._end(transaction)
            return
        try:
            received = self._reader.read(incoming[0])
        except ClientError as error:
            self._refuse(transaction, error)
            self._end(transaction)
            return
        transaction.head = received.head
        transaction.expects_continue = received.expects_continue
        if received.length != 0:
            transaction.content = RequestContent(
                incoming[1], self._owner.settings, self._loop.time, partial(go_ahead, self._outflow, transaction)
            )
        body = None if transaction.content is None else RequestBody(transaction.content, received.length)
        on_interim = partial(interim, self._outflow, transaction)
        self._answer(transaction, Request(received.head, body, received.upgrade, on_interim, received.debug))

    def _go_on(self, data: bytes, unfinished: Unfinished) -> None:
        """Leave it to a task to send the rest of what the lane has begun to answer to the request ``data``."""
        self._quiet = False
        self._inflow.feed(data)
        incoming = self._inflow.pop()
        assert isinstance(incoming, tuple), "the lane takes nothing that is refused"
        transaction = Transaction(incoming[0], self._peer.name, self._loop.time, self._owner.sink)
        self._transaction = transaction
        transaction.head = self._reader.read(incoming[0]).head
        transaction.respond(unfinished.reply.status)
        transaction.sent = unfinished.taken
        request = Request(transaction.head)
        self._task = self._loop.create_task(self._serve(transaction, request, unfinished.delivery(request)))

    def _answer(self, transaction: Transaction, request: Request) -> None:
        """Write the answer now if that needs no waiting, have it fetched, or leave it to a task."""
        delivery = None
        if request.body is None and request.upgrade is None:
            try:
                delivery = self._owner.engine.answer_now(request)
                if delivery is not None and self._write_whole(transaction, delivery):
                    self._end(transaction)
                    return
                if delivery is None:
                    self._begun = self._owner.engine.begin(request, partial(self._landed, transaction, request))
                    if self._begun is not None:
                        return
            except Exception:
                self._fault(transaction)
                self._end(transaction)
                return
        self._task = self._loop.create_task(self._serve(transaction, request, delivery))

    def _landed(self, transaction: Transaction, request: Request) -> None:
        """Write what was fetched, now if that needs no waiting, else in a task."""
        begun, self._begun = self._begun, None
        if begun is None:  # it was left
            return
        try:
            delivery = begun.delivery()
            if self._gone or not self._write_whole(transaction, delivery):
                self._task = self._loop.create_task(self._serve(transaction, request, delivery))
                return
        except Exception:
            self._fault(transaction)
        self._end(transaction)
        self._advance()

    def _write_whole(self, transaction: Transaction, delivery: Delivery) -> bool:
        framed = self._frame(transaction, delivery)
        complete = whole(delivery, framed)
        if self._lane is not None and not framed.close:
            self._lane.learn(delivery, framed.head)
        if complete is None:
            return False
        transaction.exchange = delivery.exchange
        transaction.respond(delivery.head.status)
        transaction.sent = len(complete) - len(framed.head)
        self._outflow.write(complete)
        return True

    async def _serve(self, transaction: Transaction, request: Request, delivery: Delivery | None) -> None:
        try:
            if delivery is None:
                delivery = await self._handled(request)
            transaction.exchange = delivery.exchange
            await self._deliver(transaction, request, delivery)
            if transaction.content is not None and not transaction.last:
                transaction.last = not await transaction.content.rest()
        except BrokenDelivery as broken:
            self._reset(broken.why)
        except asyncio.CancelledError:
            if not (self._gone or self._closing):  # then it was not this connection that cancelled
                self._reset(Aborted.FAULT)
        except Exception:
            self._fault(transaction)
        self._task = None
        self._end(transaction)
        self._advance()

    async def _handled(self, request: Request) -> Delivery:
        purger = self._owner.purger
        if purger is not None and request.head.method == "PURGE":  # from this peer, or it would have been refused
            return await purger.handle(request, self._peer.name)
        return await self._owner.engine.handle(request)

    async def _deliver(self, transaction: Transaction, request: Request, delivery: Delivery) -> None:
        content = transaction.content
        try:
            if self._gone:
                raise BrokenDelivery(Aborted.CLIENT)
            if content is not None and content.failure is not None:
                self._refuse(transaction, content.failure)
                return
            self._delivering = True
            if delivery.tunnel is not None:
                assert self._inflow.inlet is not None, "a tunnel that nobody asked for"
                transaction.respond(101)
                transaction.last = True
                self._outflow.write(switching_head(delivery.head.fields, request.upgrade or ""))
                await relay(self._inflow.inlet, self._outflow, delivery.tunnel, transaction)
            else:
                await send(self._outflow, delivery, self._frame(transaction, delivery), transaction)
        finally:
            self._delivering = False
            await let_go(delivery)

    def _frame(self, transaction: Transaction, delivery: Delivery) -> Frame:
        """Decide what this connection adds to a response, and whether it is the last one."""
        if transaction.responding:  # the hit lane has sent the head
            return Frame(b"", content=True, chunked=False, close=transaction.last)
        content = transaction.content
        if self._owner.draining or (content is not None and transaction.expects_continue and not content.asked):
            # RFC 9110 §10.1.1: whether content that was not asked for follows, nobody can tell.
            transaction.last = True
        framed = frame(delivery, method=transaction.method, version=transaction.version, close=transaction.last)
        transaction.last = framed.close
        return framed

    def _end(self, transaction: Transaction) -> None:
        """Account for a transaction and make room for the next."""
        self._transaction = None
        transaction.finish()
        if self._gone or self._closing:
            return
        if transaction.last or self._owner.draining:
            self._close(linger=self._inflow.unheard or not transaction.asked_to_close)
        else:
            self._inflow.consumed()
            self._rest(self._loop.time())

    # ------------------------------------------------------------------- small answers and ends

    def _refuse(self, transaction: Transaction, error: ClientError) -> None:
        """Answer with an error of the client, or end the response that is on its way."""
        if transaction.responding:
            self._reset(Aborted.REQUEST)
            return
        _logger.debug("refused a request of %s: %d %s", self._peer.name, error.status, error.reason)
        self._write_refusal(transaction, error.status, error.reason)

    def _fault(self, transaction: Transaction) -> None:
        """Answer for a defect, whose exception is being handled."""
        _logger.exception("request could not be served: %s %r", transaction.method, transaction.target)
        if transaction.responding or self._gone:
            self._reset(Aborted.FAULT)
        else:
            self._write_refusal(transaction, 500, "internal error")

    def _write_refusal(self, transaction: Transaction, status: int, reason: str) -> None:
        head, body = refusal(status, reason, method=transaction.method)
        transaction.last = True
        transaction.respond(status)
        transaction.sent = len(body)
        self._outflow.write(head + body)

    def _close(self, *, linger: bool = False) -> None:
        """End in order; with ``linger`` what was written arrives even if the client is sending (RFC 9112 §9.6)."""
        self._closing, self._quiet = True, False
        self._deadline = self._loop.time() + _LINGER_SECONDS
        self._outflow.end(linger=linger)

    def _reset(self, why: Aborted) -> None:
        """End so that the client cannot take what it got for complete."""
        if self._transaction is not None:
            self._transaction.abort(why)
        if self._gone:
            return
        self._closing, self._quiet = True, False
        self._outflow.reset()
