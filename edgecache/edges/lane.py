"""The hit lane: what was answered before is answered again straight from the socket.

Theory
    Most requests that a cache gets are like others that it got, and what the full lane made of those is known
    (``engine.replies``). So the lane parses nothing that it has seen: when what was received ends with the header
    section that this connection sent last time, all that can be said about that is known, and what stands before it is
    a request line or nothing for the lane. Another header section is read by a grammar much narrower than HTTP's. What
    is not of that form, and every question to which no answer is known, goes to the full lane with its bytes untouched.

    What the lane answers the full lane would have answered, with the same bytes. Three things see to that: the grammar
    admits nothing that is refused there; what can change an answer is part of the question (``Replies.manner``,
    ``CONDITIONS``, the fields of Vary), and what else could is not for the lane (``_LEFT``); and answers are learnt
    from the full lane, for request lines that it took.

    A small answer is left to the transport. Of a large one the socket is given what it takes at once; if that is not
    all, the connection sends the rest, no faster than its client reads (``Unfinished``).

Invariants
    * One request, complete, without content, and nothing behind it: whatever else arrives is not for the lane.
    * Of a client nothing is remembered beyond its connection, but the manner in which it asks, and field lines for a
      while, which lead to nothing but what they say.

One per connection, made by ``HitLane``, of which there is one per server. Called by ``edges.connection``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from edgecache.edges.forwarded import FORWARDING, Peer
from edgecache.edges.outflow import Outflow
from edgecache.edges.settings import ServerSettings
from edgecache.engine.counters import Counters
from edgecache.engine.exchange import Delivery, Request
from edgecache.engine.replies import AS_RECEIVED, CONDITIONS, Manner, Replies, Reply
from edgecache.http.message import FieldsView, Pair, ResponseHead, fields_of
from edgecache.http.negotiation import normalise

__all__ = ["Hit", "HitLane", "HitLog", "Lane", "Section", "Unfinished"]

_LINE: Final = re.compile(rb"(?:GET|HEAD) /[!-\"$-\[\]-~]* HTTP/1\.1\r\n")
"""No ``#`` and no backslash in a target: see ``http.target``."""

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TEXT: Final = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
"""What the value of a field may be made of (RFC 9110 §5.5)."""

_LEFT: Final = frozenset(
    {
        *("cache-control", "pragma", "if-match", "if-unmodified-since"),
        *("connection", "content-length", "transfer-encoding", "trailer", "expect", "upgrade"),
        *("edgecache-debug", "edgecache-min-seq", "edgecache-release"),
    }
)
"""Names, lower case, of fields that are for the full lane to understand; but for a ``Connection: keep-alive``."""

_NO_FIELDS: Final = fields_of(())
_FOREIGN: Final = ("", "")
"""What a line is read as that is not for the lane."""

_SECRET: Final = frozenset({"authorization", "cookie"})
_SCHEME: Final = ("forwarded", "x-forwarded-proto")
"""What a trusted peer says about the scheme."""

_ENDS: Final = 2
"""Empty strings behind the lines of a section that was split."""

_MOST_BYTES: Final = 4096
_MOST_FIELDS: Final = 32
_MOST_LINES: Final = 4096
_MOST_NAMES: Final = 1024
_LONGEST_LINE: Final = 256
"""Field lines and names that are remembered, and how long a line may be; most of what is sent is sent again."""


class Section:
    """A header section, understood (``engine.replies.Asked``). ``line_end`` is the access log's."""

    __slots__ = ("_fields", "_known", "_values", "conditions", "line_end", "lines", "manner")

    def __init__(
        self, lines: list[bytes], known: _Lines, manner: Manner, conditions: tuple[str | None, ...] | None
    ) -> None:
        self.lines: Final = lines
        self.manner: Final = manner
        self.conditions: Final = conditions
        self.line_end: str | None = None
        self._known: Final = known
        self._fields: dict[str, str] | None = None
        self._values: dict[tuple[str, ...], tuple[str | None, ...]] = {}

    def like(self, lines: list[bytes]) -> Section:
        """Return a section that differs in what does not matter."""
        return Section(lines, self._known, self.manner, self.conditions)

    def _read(self) -> dict[str, str]:
        if self._fields is None:
            self._fields = self._known.read(self.lines)
            self._fields.pop("connection", None)
        return self._fields

    def field(self, name: str) -> str | None:
        """Return the value of a field, ``name`` in lower case, as received."""
        return self._read().get(name)

    def fields(self) -> FieldsView:
        """Return all of them."""
        return fields_of(self._read().items())

    def has(self, names: tuple[str, ...]) -> bool:
        """Whether none of these fields is one that the server writes itself."""
        return FORWARDING.isdisjoint(names)

    def values(self, names: tuple[str, ...]) -> tuple[str | None, ...]:
        """Return canonical values, once for each set of names."""
        values = self._values.get(names)
        if values is None:
            values = self._values[names] = tuple(map(self._value, names))
        return values

    def _value(self, name: str) -> str | None:
        value = self._read().get(name.removeprefix(AS_RECEIVED))
        return value if value is None or name.startswith(AS_RECEIVED) else normalise(name, (value,))


class Hit:
    """What the access log is told: of whom, what, when."""

    __slots__ = ("line", "now", "peer", "reply", "section")

    def __init__(self, peer: str, line: bytes, section: Section, reply: Reply, now: float) -> None:
        self.peer: Final = peer
        self.line: Final = line
        self.section: Final = section
        self.reply: Final = reply
        self.now: Final = now


HitLog: TypeAlias = Callable[[Hit], None]


class Unfinished:
    """An answer of which the socket has not taken all.

    Attributes:
        reply: what is being answered.
        taken: bytes of its content that the socket has taken.
    """

    __slots__ = ("_now", "_pieces", "_taken", "reply")

    def __init__(self, reply: Reply, now: float, pieces: list[bytes | memoryview], taken: int) -> None:
        """``pieces`` are head and content, and so many bytes of them were ``taken``; ``now`` is POSIX seconds."""
        self.reply: Final = reply
        self._now: Final = now
        self._pieces: Final = pieces
        self._taken: Final = taken

    @property
    def taken(self) -> int:  # noqa: D102
        return max(0, self._taken - len(self._pieces[0]))

    def delivery(self, request: Request) -> Delivery:
        """Return what is to be written yet."""
        rest = tuple(_after(self._pieces, self._taken))
        exchange = self.reply.exchange(request, self._now)
        return Delivery(ResponseHead(self.reply.status, _NO_FIELDS), sum(map(len, rest)), exchange, rest)


def _after(pieces: list[bytes | memoryview], skipped: int) -> Iterator[bytes | memoryview]:
    """Yield what is left of ``pieces`` after so many bytes."""
    for piece in pieces:
        if skipped < len(piece):
            yield memoryview(piece)[skipped:] if skipped else piece
        skipped = max(0, skipped - len(piece))


class HitLane:
    """What the lanes of all connections of a server have in common."""

    def __init__(
        self,
        replies: Replies,
        consulted: frozenset[str],
        settings: ServerSettings,
        counters: Counters,
        log: HitLog | None = None,
    ) -> None:
        """``consulted`` are names of request fields that tell under which key something is looked up, lower case."""
        self.replies: Final = replies
        self.clock: Final = replies.clock
        self.counters: Final = counters
        self.seconds: Final = counters.request_seconds["hit"]
        self.log: Final = log
        self._by_peer: Final = not FORWARDING.isdisjoint(consulted)
        extra = consulted | FORWARDING if self._by_peer else consulted
        self._facts: Final = ("host", *sorted(extra))
        self._lines: Final = _Lines(frozenset((*self._facts, *_SCHEME, *CONDITIONS)))
        self._most_fields: Final = min(_MOST_FIELDS, settings.max_header_fields)
        self.most_bytes: Final = min(_MOST_BYTES, settings.max_header_bytes, settings.max_field, settings.max_target)

    def lane(self, peer: Peer, outflow: Outflow) -> Lane:
        """Return the lane of a new connection."""
        return Lane(self, peer, outflow)

    def read(self, section: bytes, peer: Peer, latest: Section | None) -> Section | None:
        """Return a header section understood; None when it is not for the lane.

        ``latest`` is another of the same peer: most sections are like it, but for values that do not matter.
        """
        lines = section.split(b"\r\n")
        if latest is not None and self._is_alike(lines, latest.lines):
            return latest.like(lines)
        fields = self._lines.read(lines)
        if len(fields) != len(lines) - _ENDS or len(fields) > self._most_fields or "" in fields or "host" not in fields:
            return None
        conditions = None
        if not fields.keys().isdisjoint(CONDITIONS):
            conditions = tuple(map(fields.get, CONDITIONS))
        return Section(lines, self._lines, self.replies.manner(self._manner(fields, peer)), conditions)

    def _is_alike(self, lines: list[bytes], others: list[bytes]) -> bool:
        """Whether the fields are the same in the same order, and the values that differ have no meaning here."""
        if len(lines) != len(others):
            return False
        idle, changed = self._lines.idle, []
        for line, other in zip(lines, others, strict=True):
            if line != other:
                name, colon, _ = line.partition(b":")
                if name not in idle or other[: len(name) + 1] != name + colon:
                    return False
                changed.append(line)
        return not b"".join(changed).translate(None, _TEXT)

    def _manner(self, fields: dict[str, str], peer: Peer) -> tuple[object, ...]:
        if not (peer.trusted or self._by_peer):
            return (peer.scheme, *map(fields.get, self._facts))
        facts: list[object] = [peer.trusted, peer.scheme, *map(fields.get, self._facts)]
        if peer.trusted:
            facts += map(fields.get, _SCHEME)
        if self._by_peer:
            facts.append(peer.name)
        return tuple(facts)


class _Lines(dict[bytes, Pair]):
    """Field lines, and what they say: what is not known is read, and known then.

    ``idle`` are names, as spelled, of fields of which nothing depends on the value unless a
    response varies by it.
    """

    def __init__(self, telling: frozenset[str]) -> None:
        """``telling`` are names, lower case, of fields whose values matter."""
        self.idle: Final[set[bytes]] = set()
        self._telling: Final = telling
        self._names: Final[dict[bytes, str]] = {}

    def read(self, lines: list[bytes]) -> dict[str, str]:
        """Return the fields of a section, by names in lower case; one without a name if a line is not for the lane."""
        return dict(map(self.__getitem__, lines[:-_ENDS]))

    def __missing__(self, line: bytes) -> Pair:
        spelled, colon, value = line.partition(b":")
        name = self._names.get(spelled) or self._name(spelled)
        if not (name and colon) or value.translate(None, _TEXT):
            return _FOREIGN
        field = name, value.strip(b" \t").decode("latin-1")
        if name == "connection" and field[1].lower() != "keep-alive":
            return _FOREIGN
        if len(line) <= _LONGEST_LINE and name not in _SECRET:
            if len(self) >= _MOST_LINES:
                self.clear()
            self[line] = field
        return field

    def _name(self, spelled: bytes) -> str:
        """Return a name in lower case; an empty one when it is none, or for the full lane to understand."""
        name = spelled.decode("latin-1").lower() if _NAME.fullmatch(spelled) else ""
        if not name or (name in _LEFT and name != "connection"):
            return ""
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
            self.idle.clear()
        self._names[spelled] = name
        if name not in self._telling and name != "connection":
            self.idle.add(spelled)
        return name


class Lane:
    """The lane of one connection."""

    __slots__ = ("_asked", "_bytes", "_line", "_outflow", "_peer", "_section", "_shared")

    def __init__(self, shared: HitLane, peer: Peer, outflow: Outflow) -> None:
        self._shared: Final = shared
        self._peer: Final = peer
        self._outflow: Final = outflow
        self._bytes = b"\0"  # the header section as it was received last; none ends like this
        self._section: Section | None = None
        self._asked: Section | None = None
        self._line = b""

    def answer(self, data: bytes) -> bool | Unfinished:
        """Answer what has been received, if that is one request whose answer is known.

        Returns whether that was done, or the answer of which the socket has not taken all.
        """
        outflow, shared = self._outflow, self._shared
        if outflow.paused:
            return False
        now = shared.clock()
        reply = self._find(data, now) if data.endswith(self._bytes) else None
        if reply is None:
            if self._asked is not None or not self._read(data):
                return False
            reply = self._find(data, now)
            if reply is None:
                return False
        if reply.is_large:
            return self._answer_large(reply, now)
        outflow.write_answer(reply.rendered(now))
        self._account(reply, now)
        return True

    def _answer_large(self, reply: Reply, now: float) -> bool | Unfinished:
        pieces = reply.pieces(now)
        taken = self._outflow.write_at_once(pieces)
        if not taken:
            return False
        if taken == len(pieces[0]) + reply.length:
            self._account(reply, now)
            return True
        self._account(reply, now, finished=False)
        return Unfinished(reply, now, pieces, taken)

    def _account(self, reply: Reply, now: float, *, finished: bool = True) -> None:
        """Count an answer, and log it if it is finished. On the clock of the event loop it has taken no time."""
        shared = self._shared
        counters, length = shared.counters, reply.length
        counters.requests += 1
        counters.hits += 1
        counters.hits_lane += 1
        counters.bytes_from_store += length
        if not finished:
            return
        counters.bytes_sent += length
        shared.seconds.counts[0] += 1
        if shared.log is not None and self._section is not None:
            shared.log(Hit(self._peer.name, self._line, self._section, reply, now))

    def learn(self, delivery: Delivery, head: bytes) -> None:
        """Remember what the full lane has answered, if it was to the request for which there was no ``reply``."""
        if self._asked is not None:
            self._shared.replies.learn(self._asked, self._line, delivery, head)

    def over(self) -> None:
        """Whatever is answered from now on is the answer to another request."""
        self._asked = None

    def _find(self, data: bytes, now: float) -> Reply | None:
        """Return the answer to what ends with the section read last; or None, and the question is left to be learnt."""
        section, line = self._section, data[: -len(self._bytes)]
        if section is None:
            return None
        self._line = line
        reply = self._shared.replies.find(section, line, now)
        if reply is None and _LINE.fullmatch(line):
            self._asked = section
        return reply

    def _read(self, data: bytes) -> bool:
        """Read another header section; return whether it is for the lane."""
        if len(data) > self._shared.most_bytes or not data.endswith(b"\r\n\r\n"):
            return False
        section = data[data.find(b"\r\n") + 2 :]
        if section == self._bytes:
            return False
        self._section, self._bytes = self._shared.read(section, self._peer, self._section), section
        return self._section is not None
