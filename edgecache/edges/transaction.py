"""One request and its response on one connection, from the wire's point of view.

Theory
    A transaction starts when a message has been taken from the parser and ends when its response is written
    or given up. It keeps the facts of ``Finished`` while they come about, and hands them over once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from aiohttp.http import RawRequestMessage

from edgecache.edges.content import RequestContent
from edgecache.edges.finished import Aborted, Finished, FinishedSink
from edgecache.engine.exchange import Exchange
from edgecache.http.message import RequestHead

__all__ = ["Transaction"]


class Transaction:
    """Facts about one exchange. Instants are seconds of ``clock``."""

    __slots__ = (
        "_clock",
        "_first_byte",
        "_message",
        "_peer",
        "_sink",
        "_started",
        "aborted",
        "content",
        "exchange",
        "expects_continue",
        "head",
        "last",
        "sent",
        "status",
        "version",
    )

    def __init__(
        self, message: RawRequestMessage | None, peer: str, clock: Callable[[], float], sink: FinishedSink
    ) -> None:
        """``message`` is None when it could not be parsed."""
        self._message = message
        self._peer = peer
        self._clock = clock
        self._sink: FinishedSink | None = sink
        self._started = clock()
        self._first_byte: float | None = None
        self.head: RequestHead | None = None
        self.content: RequestContent | None = None
        self.expects_continue = False
        self.exchange: Exchange | None = None
        self.last = message is None or message.should_close or message.chunked or message.upgrade
        self.version = "" if message is None else _spelled(*message.version)
        self.status = 0
        self.sent = 0
        self.aborted = Aborted.NO

    @property
    def method(self) -> str:
        """Request method, empty when it is not known."""
        return "" if self._message is None else self._message.method

    @property
    def asked_to_close(self) -> bool:
        """Whether the client expects the connection to end with this response."""
        return self._message is not None and self._message.should_close

    @property
    def responding(self) -> bool:
        """Whether the final head has been written."""
        return self._first_byte is not None

    @property
    def target(self) -> str:
        """Request target, in origin-form as soon as it has been checked; empty when it is not known."""
        if self.head is not None:
            return self.head.target
        return "" if self._message is None else _as_received(self._message.path)

    def respond(self, status: int) -> None:
        """Note that the final head is being written, unless it has been."""
        if self._first_byte is None:
            self.status = status
            self._first_byte = self._clock()

    def abort(self, why: Aborted) -> None:
        """Note why the response ends early; the first cause counts."""
        self.aborted = self.aborted or why

    def finish(self) -> None:
        """Tell the sink, unless it has been told; and let go of what refers to this one (``processes.garbage``)."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink(self._facts())
        self.exchange = self.content = None

    def _facts(self) -> Finished:
        head = self.head
        first_byte = None if self._first_byte is None else self._first_byte - self._started
        return Finished(
            exchange=self.exchange,
            method=self.method,
            target=self.target,
            authority=head.authority if head else "",
            version=self.version,
            peer=self._peer,
            status=self.status,
            bytes_sent=self.sent,
            seconds=self._clock() - self._started,
            first_byte_seconds=first_byte,
            aborted=self.aborted,
            fields=head.fields if head else None,
        )


@lru_cache(maxsize=4)
def _spelled(major: int, minor: int) -> str:
    return f"{major}.{minor}"


def _as_received(target: str) -> str:
    """Return aiohttp's spelling of a target (UTF-8, surrogates for other bytes) as latin-1 of its bytes."""
    return target.encode("utf-8", "surrogateescape").decode("latin-1")
