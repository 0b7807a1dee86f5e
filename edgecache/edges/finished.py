"""What is left of an exchange when its last byte is written: the facts of the access log and the metrics.

Theory
    The server knows how an exchange went over the wire (bytes, seconds, who broke it off); the engine knows
    what was decided. ``Finished`` carries both to whoever counts and writes lines, exactly once for each
    request, and also for messages that never became a request (400, 408, 414, 431 …): those have no ``exchange``.

Invariants
    * Names and values are those received, latin-1 decoded: escaping is the reader's duty.
    * ``aborted`` is one of the words of ``Aborted``; empty when the client was given everything.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from edgecache.engine.exchange import Exchange
from edgecache.http.message import FieldsView

__all__ = ["Aborted", "Finished", "FinishedSink"]


class Aborted(enum.StrEnum):
    """Why a response did not reach its end."""

    NO = ""
    CLIENT = "client"
    """The client closed the connection."""
    ORIGIN = "origin"
    """The rest of the content never came."""
    LENGTH = "length"
    """The content was shorter or longer than its head said."""
    REQUEST = "request"
    """The rest of the request never came, or was malformed."""
    SLOW = "slow"
    """The client did not read in time."""
    SHUTDOWN = "shutdown"
    """The server could not wait any longer."""
    FAULT = "fault"
    """A defect of this program; the log has a traceback."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange as the client saw it.

    Attributes:
        exchange: the engine's record; None when the message was refused before it got there.
        method: empty when no request line could be read, like ``target``, ``authority`` and ``version``.
        target: request target in origin-form, as received when it was refused.
        authority: host and port of the target URI.
        version: ``1.0`` or ``1.1``.
        peer: address of the other end, or ``unix``.
        status: final status sent; 0 when the connection broke before there was one.
        bytes_sent: bytes of content handed to the transport, without head and chunk framing.
        seconds: from the request's head being complete to the last byte written.
        first_byte_seconds: from the same instant to the final head being written; None without one.
        aborted: why the response is incomplete, empty when it is not.
        fields: request fields as forwarded, None when the message was refused.
    """

    exchange: Exchange | None
    method: str
    target: str
    authority: str
    version: str
    peer: str
    status: int
    bytes_sent: int
    seconds: float
    first_byte_seconds: float | None
    aborted: str
    fields: FieldsView | None


FinishedSink: TypeAlias = Callable[[Finished], None]
"""Called synchronously, once for each exchange; it must not block, and not raise."""
