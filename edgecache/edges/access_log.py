"""The access log: one line for each finished exchange, written by somebody who cannot be made to wait.

Theory
    A line is made on the event loop, from what the exchange already knows, and handed to a ``LineWriter``. Its
    thread gathers lines for a moment and writes them in one call. When the file or the pipe behind
    stdout takes no more, lines wait up to a bound and are then dropped and counted: a log is never a reason for a
    request to be late.

Formats
    ``common`` and ``combined`` are what their readers have parsed since Apache 1.3, to the letter. ``extended``
    is ``combined`` and then the result word, the closed reason and the seconds. ``json`` is one object per
    line with the keys of ``LOG_FIELDS``, always all of them.

Invariants
    * One exchange is one line, in ASCII: control bytes, quotes, backslashes and bytes above 0x7E are
      escaped, as ``\\xHH`` (as nginx does) or in JSON's own way. So no client can forge a line, or talk to the terminal
      in which somebody reads it.
    * Only the request fields of the table are read. ``Authorization`` and ``Cookie`` are not among them.
"""

from __future__ import annotations

import logging
import os
import re
import select
import stat
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgecache.edges.finished import Finished, FinishedSink

__all__ = [
    "CLOSE_SECONDS",
    "FORMATS",
    "LOG_FIELDS",
    "MAX_BYTES",
    "MAX_LINES",
    "LineWriter",
    "LogField",
    "LogStatistics",
    "access_log",
    "common_line",
    "escaped",
    "how",
    "who",
]

_logger = logging.getLogger(__name__)

MAX_LINES: Final = 10_000
"""Lines that may wait; a fifth of a second at the busiest, and then the reader is not coming back soon."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes that may wait: a client chooses how long its lines are, the operator how much memory they take."""
CLOSE_SECONDS: Final = 2.0
"""How long a stop waits for a log that is not taken."""

_GATHER_SECONDS: Final = 0.05  # one wake-up and one write for all lines of this long, not for each of them
_STDOUT: Final = 1
_MODE: Final = 0o640  # lines name people's addresses: not for everybody to read


@dataclass(frozen=True, slots=True)
class LogField:
    """One key of a JSON line: its unit and a line of prose."""

    name: str
    unit: str
    summary: str


LOG_FIELDS: Final = (
    LogField("time", "RFC 3339, UTC", "When the request arrived."),
    LogField("peer", "IP address", "Who is at the other end of the connection."),
    LogField("method", "token", "Request method."),
    LogField("authority", "host[:port]", "Host the request was for."),
    LogField("target", "origin-form", "Request target, as received."),
    LogField("version", "HTTP version", "Version the client spoke."),
    LogField("status", "status code", "Final status sent to the client."),
    LogField("bytes", "bytes", "Content sent to the client."),
    LogField("seconds", "seconds", "From the request's head to the response's end."),
    LogField("first_byte_seconds", "seconds", "From the request's head to the response's head."),
    LogField("result", "word", "How it ended: one of ``counters.RESULTS``."),
    LogField("reason", "word", "Why: one of the closed list of reasons."),
    LogField("cache_status", "RFC 9211", "This cache's member of Cache-Status."),
    LogField("origin_status", "status code", "What the origin answered, when it was asked."),
    LogField("origin_seconds", "seconds", "From asking the origin to the head of its response."),
    LogField("content_type", "media type", "Content-Type of what is stored, when the answer is."),
    LogField("lifetime", "seconds", "How long what is stored may be reused here, from when the origin made it."),
    LogField("referer", "URI", "Referer of the request."),
    LogField("user_agent", "text", "User-Agent of the request."),
    LogField("aborted", "word", "Who broke the exchange off; empty when it is complete."),
)
"""The keys of a JSON line, in order. What does not exist is null."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECONDS_KEPT: Final = 8  # spelled seconds: the present one, and those in which slower requests arrived


@lru_cache(_SECONDS_KEPT)
def _clf_time(second: int) -> str:
    """Return ``23/Nov/2025:00:40:00 +0000``; month names do not follow the locale."""
    utc = time.gmtime(second)
    return f"{utc.tm_mday:02d}/{_MONTHS[utc.tm_mon - 1]}/{time.strftime('%Y:%H:%M:%S +0000', utc)}"


@lru_cache(_SECONDS_KEPT)
def _rfc3339_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _rfc3339_time(instant: float) -> str:
    """Return ``2025-11-23T00:40:00.123Z`` (RFC 3339 §5.6)."""
    second = int(instant)
    return f"{_rfc3339_second(second)}.{int((instant - second) * 1000):03d}Z"


def _field(finished: Finished, name: str) -> str | None:
    return None if finished.fields is None else finished.fields.get(name)


_UNSAFE: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_DIGITS: Final = 6  # durations are written to the microsecond
_UNSAFE_JSON: Final = re.compile(r"[^\x00-\x7e]")


def escaped(value: str | None) -> str:
    """Return a value as it may stand between quotes, ``-`` when there is none."""
    if not value:
        return "-"
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02X}", value)


def common(finished: Finished, arrived: float) -> str:
    """Return a line of the Common Log Format, without its end. ``arrived`` is in POSIX seconds."""
    request = f"{finished.method} {finished.target} HTTP/{finished.version}" if finished.method else ""
    return common_line(escaped(finished.peer), int(arrived), escaped(request), finished.status, finished.bytes_sent)


def common_line(peer: str, second: int, request: str, status: int, sent: int) -> str:
    """Return ``common`` of its parts, escaped already; ``second`` is when the request arrived."""
    return f'{peer} - - [{_clf_time(second)}] "{request}" {status} {sent or "-"}'


def combined(finished: Finished, arrived: float) -> str:
    """Return a line of Apache's combined format: ``common``, Referer and User-Agent."""
    return f"{common(finished, arrived)}{who(_field(finished, 'Referer'), _field(finished, 'User-Agent'))}"


def who(referer: str | None, user_agent: str | None) -> str:
    """Return what ``combined`` adds."""
    return f' "{escaped(referer)}" "{escaped(user_agent)}"'


def extended(finished: Finished, arrived: float) -> str:
    """Return ``combined``, then result word, reason, and seconds from head to end."""
    exchange = finished.exchange
    result, reason = ("error", "-") if exchange is None else (exchange.result, exchange.reason or "-")
    return f"{combined(finished, arrived)}{how(result, reason, finished.seconds)}"


def how(result: str, reason: str, seconds: float) -> str:
    """Return what ``extended`` adds to that."""
    return f" {result} {reason} {seconds:.6f}"


def json(finished: Finished, arrived: float) -> str:
    """Return one JSON object with the keys of ``LOG_FIELDS``."""
    exchange = finished.exchange
    stored = exchange.stored if exchange else None
    line = msgspec.json.encode(
        {
            "time": _rfc3339_time(arrived),
            "peer": finished.peer,
            "method": finished.method,
            "authority": finished.authority,
            "target": finished.target,
            "version": finished.version,
            "status": finished.status,
            "bytes": finished.bytes_sent,
            "seconds": round(finished.seconds, _DIGITS),
            "first_byte_seconds": _rounded(finished.first_byte_seconds),
            "result": exchange.result if exchange else "error",
            "reason": exchange.reason if exchange else None,
            "cache_status": exchange.cache_status if exchange else None,
            "origin_status": exchange.origin_status if exchange else None,
            "origin_seconds": _rounded(exchange.origin_seconds) if exchange else None,
            "content_type": stored.field("content-type") if stored else None,
            "lifetime": _rounded(stored.freshness.lifetime) if stored else None,
            "referer": _field(finished, "Referer"),
            "user_agent": _field(finished, "User-Agent"),
            "aborted": finished.aborted,
        }
    ).decode()
    if line.isascii() and "\x7f" not in line:  # JSON itself takes care of the other control characters
        return line
    return _UNSAFE_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, _DIGITS)


FORMATS: Final[Mapping[str, Callable[[Finished, float], str]]] = {
    "common": common,
    "combined": combined,
    "extended": extended,
    "json": json,
}
"""What the configuration may name."""


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """A snapshot, in lines: written, waiting, and dropped because the queue was full or writing failed."""

    written: int
    waiting: int
    dropped_full: int
    dropped_failed: int


class LineWriter:
    """Appends lines to a file, or writes them to stdout, from a thread of its own: ``write`` never waits.

    Shared between the threads, under ``_lock``: ``_waiting``, ``_waiting_bytes``, ``_closed``. The descriptor is the
    thread's alone. Each count has one thread that writes it.
    """

    def __init__(self, path: str, *, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES) -> None:
        """Open ``path`` (``-`` is stdout); raise ``ConfigError`` when that cannot be done."""
        try:
            self._descriptor = _open(path)
        except OSError as error:
            raise ConfigError(
                f"the access log {path} cannot be opened: {error.strerror}",
                hint="give a file in a directory that this user may write to, or - for standard output",
            ) from error
        self._path = path
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._waiting_bytes = 0
        self._closed = False
        self._wake, self._closing, self._rotating = threading.Event(), threading.Event(), threading.Event()
        self._written = self._dropped_full = self._dropped_failed = 0
        self._failing = self._torn = False
        self._background = threading.Thread(target=self._run, name="edgecache access log", daemon=True)
        self._background.start()

    def write(self, line: str) -> None:
        """Queue one line, given in ASCII and without its end, or count it as dropped."""
        size = len(line) + 1
        with self._lock:
            full = len(self._waiting) >= self._max_lines or self._waiting_bytes + size > self._max_bytes
            if full or self._closed:
                self._dropped_full += 1
                return
            self._waiting.append(line)
            self._waiting_bytes += size
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Open the path anew, after a rotation: no later line goes to the file it named before."""
        self._rotating.set()
        self._wake.set()

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Write what waits and stop; False when that took longer than ``timeout`` seconds (a blocked pipe).

        Blocks the caller: an event loop with work left calls it in a thread.
        """
        with self._lock:
            self._closed = True
        self._closing.set()
        self._wake.set()
        self._background.join(timeout)
        return not self._background.is_alive()

    def statistics(self) -> LogStatistics:
        """Return a snapshot."""
        return LogStatistics(self._written, len(self._waiting), self._dropped_full, self._dropped_failed)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._closing.wait(_GATHER_SECONDS)
            self._wake.clear()
            closing = self._closing.is_set()  # after clear(): close() sets it first, so neither is missed
            if self._rotating.is_set():
                self._rotate()
            self._write_out()
        if self._descriptor != _STDOUT:
            os.close(self._descriptor)

    def _rotate(self) -> None:
        self._rotating.clear()
        if self._descriptor == _STDOUT:
            return
        try:
            fresh = _open(self._path)
        except OSError as error:
            _logger.error("access log %s cannot be reopened, going on with the old file: %s", self._path, error)
            return
        os.close(self._descriptor)
        self._descriptor = fresh
        self._torn = False

    def _write_out(self) -> None:
        with self._lock:
            lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not lines:
            return
        # A line that a full disk cut short is ended first, so that it does not swallow its successor.
        data = ("\n" * self._torn + "\n".join(lines) + "\n").encode("ascii", "backslashreplace")
        sent, error = _write_all(self._descriptor, data)
        lost = min(len(lines), data.count(b"\n", sent))
        self._written += len(lines) - lost
        self._dropped_failed += lost
        if sent:
            self._torn = not data.endswith(b"\n", 0, sent)
        if error is not None and not self._failing:
            _logger.error("access log %s cannot be written, lines are dropped: %s", self._path, error)
        self._failing = error is not None


def _open(path: str) -> int:
    if path == "-":
        return _STDOUT
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)


_PIECE: Final = select.PIPE_BUF
"""Bytes written at once to what is no file: a pipe of several workers takes no more than that in one piece."""


def _write_all(descriptor: int, data: bytes) -> tuple[int, OSError | None]:
    """Write ``data``, waiting for as long as it takes; return how many bytes were taken, and what went wrong."""
    sent = 0
    while sent < len(data):
        try:
            size = len(data) if stat.S_ISREG(os.fstat(descriptor).st_mode) else _PIECE
            end = data.rfind(b"\n", sent, sent + size) + 1 or sent + size
            sent += os.write(descriptor, memoryview(data)[sent:end])
        except BlockingIOError:  # whoever shares our stdout has made it non-blocking
            select.select((), (descriptor,), ())
        except OSError as error:
            return sent, error
    return sent, None


def access_log(writer: LineWriter, format_name: str, now: Callable[[], float] = time.time) -> FinishedSink:
    """Return what writes a line in one of ``FORMATS`` for each finished exchange."""
    line = FORMATS[format_name]

    def log(finished: Finished) -> None:
        writer.write(line(finished, now() - finished.seconds))

    return log
