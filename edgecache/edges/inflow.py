"""What comes in from one client: bytes to messages, no more of them than can be dealt with.

Theory
    aiohttp's C parser does the reading. Of it this uses what it is given and what it calls: ``feed_data``,
    ``message_consumed`` and ``pause_reading``; the ``StreamReader`` it makes for content calls back ``connected``,
    ``pause_reading`` and ``resume_reading``. The parser stops by itself after ``_MOST_MESSAGES`` messages that were
    not consumed, and keeps the rest of what it was fed until it is fed again, be it with nothing.

    While nothing is under way, a request that differs from the latest one in nothing but its target is that one with
    another target: the parser is not asked about it (``_repeats``).

Invariants
    * After a message that may be the last one (``Connection: close``, chunked content, an upgrade) and after an
      error, nothing becomes a message. Chunked content is among them because the parser gives its last trailer
      field to the next message, so a client could add fields to a request that is not its own; an upgrade, because
      the parser drops what was pipelined behind one it does not know.
    * An error within content is seen by the reader of the content; an error elsewhere takes its place in the queue.
    * An unfinished head is bounded as it arrives, not only when it is complete.
    * The socket is read only while nobody objects: content, queue and tunnel each can.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from aiohttp import StreamReader
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from edgecache.edges.request_head import parser_failure
from edgecache.edges.settings import ServerSettings
from edgecache.edges.tunnel import Inlet
from edgecache.errors import ClientError

__all__ = ["Incoming", "Inflow"]

Incoming: TypeAlias = tuple[RawRequestMessage, StreamReader] | ClientError
"""A message and its content, or why there is none."""

_MOST_MESSAGES: Final = 32
"""Messages a client may send ahead of their responses."""

_FEW_MESSAGES: Final = _MOST_MESSAGES // 2
"""How few have to be left before more are taken."""

_CONTENT_HELD: Final = 32 * 1024
"""Bytes of content that may wait for their reader; the socket is held back at twice as many."""

_REQUEST_LINE_REST: Final = 64
"""Room for a method, a version and line ends beside the target, in the bound of an unfinished head."""

_PLAIN_LINE: Final = re.compile(rb"(GET|HEAD) (/(?:[A-Za-z0-9._~%?&=+,;:@!$'()*-][A-Za-z0-9._~%?&=+,;:@!$'()*/-]*)?)")
"""The beginning of a request line, up to its version, of which the parser would say nothing else."""
_VERSION: Final = b" HTTP/1.1\r\n"
_END: Final = b"\r\n\r\n"


# Who holds the socket back: bits, and no enum, since each message asks several times.
_BY_NOBODY: Final = 0
_BY_CONTENT: Final = 1
_BY_QUEUE: Final = 2
_BY_TUNNEL: Final = 4


class Inflow:
    """The reading half of a connection. ``on_messages`` is called when messages come without new bytes."""

    def __init__(self, transport: asyncio.Transport, settings: ServerSettings, on_messages: Callable[[], None]) -> None:
        self.inlet: Inlet | None = None
        self.partial_head = 0
        """Bytes received of a head that is not complete."""
        self._surplus = False  # the client sent something that nobody will look at
        self._transport: asyncio.Transport | None = transport
        self._settings = settings
        self._on_messages = on_messages
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Incoming] = deque()
        self._unconsumed = 0
        self._latest: tuple[bytes, RawRequestMessage] | None = None  # its bytes from the version on, if it was plain
        self._repeated = False  # the first of what is not consumed is nothing that the parser knows of
        self._content: StreamReader | None = None  # of the message parsed last
        self._last = False  # nothing after the message parsed last becomes one
        self._ended = False  # nothing more is parsed at all
        self._holds = _BY_NOBODY
        self._most_partial = settings.max_header_bytes + settings.max_target + _REQUEST_LINE_REST
        self._parser: HttpRequestParser | None = HttpRequestParser(
            self,  # type: ignore[arg-type]  # it is BaseProtocol by name, and what the Theory says by use
            self._loop,
            _CONTENT_HELD,
            max_line_size=settings.max_target,
            max_field_size=_max_field(settings),
            max_headers=settings.max_header_fields,
            auto_decompress=False,
            max_msg_queue_size=_MOST_MESSAGES,
        )

    @property
    def receiving(self) -> bool:
        """Whether the content of the message parsed last is still on its way."""
        return self._content is not None and not self._content.is_eof()

    @property
    def unheard(self) -> bool:
        """Whether the client sent, or is about to send, something that nobody will look at."""
        return self._surplus or self._ended or self.receiving

    @property
    def waiting(self) -> bool:
        """Whether there are messages to be popped."""
        return bool(self._queue)

    def feed(self, data: bytes) -> None:
        """Take bytes from the socket, or none to go on with those that were kept."""
        if self.inlet is not None:
            self.inlet.feed(data)
            return
        if self._parser is None or self._ended or (self._last and not self.receiving):
            self._surplus = self._surplus or bool(data)
            return
        if self._latest is not None and self._repeats(data, *self._latest):
            return
        content_before, begins = self.receiving, not (self._unconsumed or self.partial_head)
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self.fail(parser_failure(error, data, self._settings))
            return
        for message, content in messages:
            self._append(message, content)
        self._latest = _plain(data, *messages[0]) if begins and len(messages) == 1 and not content_before else None
        if upgraded:
            self.inlet = Inlet(partial(self._hold, _BY_TUNNEL))
            self.inlet.feed(tail)
        if messages or content_before or self.receiving:
            self.partial_head = 0
        else:
            self._count_head(len(data))
        if self._last and not self.receiving and self.inlet is None:
            self._holds = _BY_NOBODY  # what follows is dropped, and the client's leaving has to be seen
            self._apply_holds()

    def _repeats(self, data: bytes, section: bytes, latest: RawRequestMessage) -> bool:
        """Take one complete request that is the latest with another target; whatever else it is, the parser says."""
        if self._unconsumed or self.partial_head or self._holds or not data.endswith(section):
            return False
        line = _PLAIN_LINE.fullmatch(data, 0, len(data) - len(section))
        if line is None or line.end() > self._settings.max_target:
            return False
        # Its ``url`` stays the latest one's: nobody here looks at that.
        message = latest._replace(method=line[1].decode(), path=line[2].decode())
        self._repeated = True
        self._append(message, EMPTY_PAYLOAD)
        return True

    def _append(self, message: RawRequestMessage, content: StreamReader) -> None:
        if self._last:
            self._surplus = True
            return
        self._queue.append((message, content))
        self._content = content
        self._last = message.should_close or message.chunked or message.upgrade
        self._unconsumed += 1
        if self._unconsumed >= _MOST_MESSAGES:
            self._hold(_BY_QUEUE, True)

    def _count_head(self, size: int) -> None:
        self.partial_head += size
        if self.partial_head > self._most_partial:
            self.fail(ClientError(431, "header section too large"))

    def pop(self) -> Incoming | None:
        """Return the next message, None when there is none yet."""
        return self._queue.popleft() if self._queue else None

    def consumed(self) -> None:
        """Note that the message popped last, content and all, has been dealt with."""
        self._unconsumed -= 1
        if self._repeated:
            self._repeated = False
            return
        if self._parser is None:
            return
        self._parser.message_consumed()
        if self._holds & _BY_QUEUE and self._unconsumed == _FEW_MESSAGES:
            # Later, so that thousands of pipelined requests cannot keep everybody else waiting.
            self._loop.call_soon(self._take_more)

    def _take_more(self) -> None:
        if self._transport is not None:
            self._holds &= ~_BY_QUEUE
            self.feed(b"")
            self._apply_holds()
            self._on_messages()

    def fail(self, error: ClientError) -> None:
        """Take no more messages; let the reader of unfinished content, or else the queue, have the reason."""
        if self._content is not None and not self._content.is_eof():
            self._content.set_exception(error)
        elif not self._last:
            self._queue.append(error)
        self._ended = True
        self.partial_head = 0
        self._holds = _BY_NOBODY
        self._apply_holds()

    def lost(self) -> None:
        """The connection is gone, and with it what refers to this one (``processes.garbage``)."""
        self._transport = None
        self.fail(ClientError(400, "connection closed"))
        self._queue.clear()
        self._on_messages = _nobody
        self._parser = self._content = self._latest = None
        if self.inlet is not None:
            self.inlet.end()

    # ------------------------------------------------------------------ for the StreamReader

    @property
    def connected(self) -> bool:
        """Whether content can still come."""
        return self._transport is not None

    def pause_reading(self) -> None:
        """Called when enough content waits for its reader."""
        if self._parser is not None:
            self._parser.pause_reading()
        self._hold(_BY_CONTENT, True)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called when content has been read, or ended; the parser may have kept some of what it was fed."""
        if not self._holds & _BY_CONTENT:
            return
        self._holds &= ~_BY_CONTENT
        if resume_parser:
            self.feed(b"")
            self._loop.call_soon(self._on_messages)
        self._apply_holds()

    # --------------------------------------------------------------------------- the socket

    def _hold(self, who: int, on: bool) -> None:
        self._holds = self._holds | who if on else self._holds & ~who
        self._apply_holds()

    def _apply_holds(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._holds and self._transport.is_reading():
            self._transport.pause_reading()
        elif not self._holds and not self._transport.is_reading():
            self._transport.resume_reading()


def _plain(data: bytes, message: RawRequestMessage, content: StreamReader) -> tuple[bytes, RawRequestMessage] | None:
    """Return a message without content and its bytes from the version on, if ``data`` is that and nothing else."""
    if message.should_close or message.chunked or message.upgrade or content is not EMPTY_PAYLOAD:
        return None
    line = _PLAIN_LINE.match(data)
    if line is None or not data.startswith(_VERSION, line.end()) or data.find(_END) != len(data) - len(_END):
        return None
    return data[line.end() :], message


def _nobody() -> None:
    """Whom to tell of messages once the connection is gone."""


def _max_field(settings: ServerSettings) -> int:
    """Return the limit of a field, never that of the target: the parser's errors differ in nothing else."""
    return settings.max_field + (settings.max_field == settings.max_target)
