"""Where a response's body ends (RFC 9112 §6.3), and taking it out of what frames it.

Invariants
    * Two answers to "where does it end" are no answer: Transfer-Encoding is exactly ``chunked``, on
      HTTP/1.1 and alone, or there is at most one Content-Length, or the response is refused, also when it
      is one that has no body.
    * ``complete`` becomes true once, with the last byte of the message. What comes after it in the same
      read sets ``overrun`` and is dropped: it was sent to nobody.
    * Trailer fields and chunk extensions are read and forgotten, and bounded while they are read.

Called by ``connection`` only. No I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

import httptools

from edgecache.errors import OriginError
from edgecache.origin.base import Framing

if TYPE_CHECKING:
    from edgecache.origin.wire import WireResponse

__all__ = ["BodyReader", "body_reader"]

# A leading zero is legal, and octal to some; 18 digits are an exabyte.
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,17}")

_MAX_BARREN: Final = 64 * 1024
"""Bytes of chunk framing (sizes, extensions, trailers) without a byte of content between them."""

_CHUNKED_HEAD: Final = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


class BodyReader(Protocol):
    """Takes a body out of its framing.

    Attributes:
        framing: how the end is known.
        length: bytes of the body when ``framing`` is LENGTH, 0 when it is NONE, else None.
        complete: the message has ended.
        overrun: bytes were received after its end.
    """

    framing: Framing
    length: int | None
    complete: bool
    overrun: bool

    def read(self, data: bytes) -> bytes:
        """Return the content in ``data``; raise ``OriginError`` when the framing is broken."""
        ...


def body_reader(method: str, head: WireResponse) -> BodyReader:
    """Return the reader for a final response to ``method``; raise ``OriginError`` when its end is in doubt."""
    chunked = "transfer-encoding" in head.fields and _is_chunked(head)
    length = _content_length(head)
    if chunked and length is not None:
        raise OriginError("both Transfer-Encoding and Content-Length")
    if method == "HEAD" or head.status in (204, 304):
        return _Counted(Framing.NONE, 0)
    if head.status == 101:
        return _UntilClose()
    if chunked:
        return _Chunked()
    if length is not None:
        return _Counted(Framing.LENGTH, length)
    return _UntilClose()


def _is_chunked(head: WireResponse) -> bool:
    codings = head.fields.getall("Transfer-Encoding")
    if head.minor == 0 or len(codings) > 1 or codings[0].lower() != "chunked":
        raise OriginError("Transfer-Encoding is not just chunked, or not on HTTP/1.1")
    return True


def _content_length(head: WireResponse) -> int | None:
    lengths = head.fields.getall("Content-Length", [])
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise OriginError("Content-Length is not one number")
    return int(lengths[0])


class _Counted:
    """NONE and LENGTH: so many bytes."""

    def __init__(self, framing: Framing, length: int) -> None:
        self.framing = framing
        self.length: int | None = length
        self.complete = length == 0
        self.overrun = False
        self._missing = length

    def read(self, data: bytes) -> bytes:
        self.overrun = len(data) > self._missing
        content = data[: self._missing]
        self._missing -= len(content)
        self.complete = self._missing == 0
        return content


class _UntilClose:
    """CLOSE: whatever comes. The connection knows when it ends."""

    def __init__(self) -> None:
        self.framing = Framing.CLOSE
        self.length: int | None = None
        self.complete = False
        self.overrun = False

    def read(self, data: bytes) -> bytes:
        return data


class _Chunked:
    """CHUNKED, by llhttp: it is given a head of our own, so nothing in the origin's can influence it."""

    def __init__(self) -> None:
        self.framing = Framing.CHUNKED
        self.length: int | None = None
        self.complete = False
        self.overrun = False
        self._content: list[bytes] = []
        self._barren = 0
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(_CHUNKED_HEAD)

    def on_body(self, content: bytes) -> None:
        """Called by llhttp with a piece of content."""
        self._content.append(content)

    def on_message_complete(self) -> None:
        """Called by llhttp after the trailer section."""
        self.complete = True

    def read(self, data: bytes) -> bytes:
        self._content.clear()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # After "Connection: close" llhttp refuses whatever follows the end.
            self.overrun = self.complete
            if not self.complete:
                raise OriginError(f"malformed chunked body: {error}") from error
        self._barren = 0 if self._content else self._barren + len(data)
        if self._barren > _MAX_BARREN:
            raise OriginError("chunked body of framing only")
        return b"".join(self._content)
