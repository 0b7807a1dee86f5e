"""A response on its way to one client: framed for this connection, held back while the client is slow.

Theory
    The engine says what is to be written; what depends on the connection is added here (RFC 9112 §6, §9.6,
    RFC 9110 §6.6.1). Content in memory is handed over in slices: a transport copies what it cannot send at once,
    so a slow reader of a large object costs one slice and the transport's buffer, never the object.

Invariants
    * No client is ever told that a response is complete when it is not: a content shorter or longer than
      declared, or a stream that fails, raises ``BrokenDelivery``, and the connection is then reset.
    * Surplus content is never written. HEAD, 204 and 304 have no content, whatever the engine gave.
    * Each piece of a stream is written as it arrives.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

import msgspec

from edgecache.edges.finished import Aborted
from edgecache.edges.transaction import Transaction
from edgecache.engine.exchange import Delivery
from edgecache.errors import OriginError
from edgecache.http.fields import format_http_date
from edgecache.http.message import Pair, ResponseHead, reason_phrase, render_fields, render_status_line

__all__ = ["SLICE", "BrokenDelivery", "Wire", "frame", "go_ahead", "interim", "let_go", "refusal", "send", "whole"]

SLICE: Final = 64 * 1024
"""Most bytes of content given to a transport at once; larger ones gain nothing on a loopback."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_CONTENT: Final = frozenset({204, 304})
_ALLOW: Final = b"Allow: GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE\r\n"

_Bytes: TypeAlias = bytes | memoryview


class BrokenDelivery(Exception):
    """The rest of a response cannot be sent; ``why`` says on whose account."""

    def __init__(self, why: Aborted) -> None:
        super().__init__(why)
        self.why = why


class Wire(Protocol):
    """Where bytes go."""

    def write(self, data: _Bytes) -> None:
        """Send bytes, or keep them until they can be sent."""
        ...

    async def drained(self) -> None:
        """Wait until the client has read enough; raise ``BrokenDelivery`` when it is gone."""
        ...


class Frame(msgspec.Struct, frozen=True):
    """How a response is written: its head as bytes, whether content follows and how, whether it is the last one."""

    head: bytes
    content: bool
    chunked: bool
    close: bool


def frame(delivery: Delivery, *, method: str, version: str, close: bool) -> Frame:
    """Frame a response for a client of HTTP ``version``; ``close`` announces that the connection ends with it."""
    content = method != "HEAD" and delivery.head.status not in _NO_CONTENT
    chunked = content and delivery.length is None and version == "1.1"
    close = close or (content and delivery.length is None and not chunked)
    lines = [delivery.rendered] if delivery.rendered is not None else _render(delivery, content)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if close:
        lines.append(b"Connection: close\r\n")
    elif version == "1.0":
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return Frame(b"".join(lines), content, chunked, close)


def _render(delivery: Delivery, content: bool) -> list[bytes]:
    """Return status line and fields of a head that the engine has not rendered, completed."""
    status, fields = delivery.head.status, delivery.head.fields
    pairs: Iterable[Pair] = fields.items()
    if status == 204:  # RFC 9110 §8.6: MUST NOT have a Content-Length, and origins send it
        pairs = [pair for pair in pairs if pair[0].lower() != "content-length"]
    lines = [render_status_line(status), render_fields(pairs)]
    if "Date" not in fields:  # RFC 9110 §6.6.1
        lines.append(_date_line(int(time.time())))
    if content and delivery.length is not None and "Content-Length" not in fields:
        lines.append(b"Content-Length: %d\r\n" % delivery.length)
    return lines


@lru_cache(maxsize=4)
def _date_line(second: int) -> bytes:
    return f"Date: {format_http_date(second)}\r\n".encode("ascii")


def refusal(status: int, reason: str, *, method: str) -> tuple[bytes, bytes]:
    """Return head and content of a response that ends a connection: short, plain, and the same for everybody."""
    body = f"{status} {reason_phrase(status)}: {reason}\n".encode("ascii")
    head = (
        b"%b%b%bContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n"
    ) % (render_status_line(status), _date_line(int(time.time())), _ALLOW if status == 405 else b"", len(body))
    return head, b"" if method == "HEAD" else body


def go_ahead(wire: Wire, transaction: Transaction) -> None:
    """Let a client send its content that waits for leave (RFC 9110 §10.1.1)."""
    if transaction.expects_continue and not transaction.responding:
        wire.write(_CONTINUE)


def interim(wire: Wire, transaction: Transaction, head: ResponseHead) -> None:
    """Pass on an interim response (RFC 9110 §15.2), except 100, which this server sends for itself."""
    if transaction.responding or transaction.version != "1.1" or head.status == 100:
        return
    wire.write(render_status_line(head.status) + render_fields(head.fields.items()) + b"\r\n")


def whole(delivery: Delivery, framed: Frame) -> bytes | None:
    """Return the complete response when all of it is in memory and small, else None."""
    if not framed.content:
        return framed.head
    if delivery.stream is not None or framed.chunked or delivery.length is None or delivery.length > SLICE:
        return None
    pieces = delivery.pieces or ()
    if sum(map(len, pieces)) != delivery.length:
        return None
    return b"".join((framed.head, *pieces))


async def send(wire: Wire, delivery: Delivery, framed: Frame, transaction: Transaction) -> None:
    """Write head and content, no faster than the client reads; raise ``BrokenDelivery`` when that fails."""
    transaction.respond(delivery.head.status)
    complete = whole(delivery, framed)
    if complete is not None:
        transaction.sent += len(complete) - len(framed.head)
        wire.write(complete)
        return
    wire.write(framed.head)
    content = _Content(wire, framed.chunked, delivery.length, transaction)
    for piece in delivery.pieces or ():
        await content.send(piece)
    if delivery.stream is not None:
        await _send_stream(content, delivery.stream)
    content.end()


async def _send_stream(content: _Content, stream: AsyncIterator[_Bytes]) -> None:
    while True:
        try:
            piece = await anext(stream, None)
        except OriginError as error:
            raise BrokenDelivery(Aborted.ORIGIN) from error
        if piece is None:
            return
        await content.send(piece)


async def let_go(delivery: Delivery) -> None:
    """Close what a delivery holds open, whether it was read to its end or not."""
    if delivery.tunnel is not None:
        delivery.tunnel.close()
    aclose = getattr(delivery.stream, "aclose", None)
    if aclose is not None:
        await aclose()


class _Content:
    """Writes content and compares it with its declared length."""

    def __init__(self, wire: Wire, chunked: bool, length: int | None, transaction: Transaction) -> None:
        self._wire = wire
        self._chunked = chunked
        self._missing = length
        self._transaction = transaction

    async def send(self, piece: _Bytes) -> None:
        """Write one piece in slices, waiting for the client before each."""
        if not piece:  # an empty chunk would end the content
            return
        if self._missing is not None:
            self._missing -= len(piece)
            if self._missing < 0:
                raise BrokenDelivery(Aborted.LENGTH)
        for start in range(0, len(piece), SLICE):
            await self._wire.drained()
            self._write(piece if len(piece) <= SLICE else memoryview(piece)[start : start + SLICE])

    def _write(self, data: _Bytes) -> None:
        self._transaction.sent += len(data)
        self._wire.write(b"".join((b"%x\r\n" % len(data), data, b"\r\n")) if self._chunked else data)

    def end(self) -> None:
        """Write what ends the content; raise ``BrokenDelivery`` when some is missing."""
        if self._missing:
            raise BrokenDelivery(Aborted.LENGTH)
        if self._chunked:
            self._wire.write(b"0\r\n\r\n")
