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

Invariants
    * One request, complete, without content, and nothing behind it: whatever else arrives is not for the lane.
    * Of a client nothing is remembered beyond its connection, but the manner in which it asks, and field lines for a
      while, which lead to nothing but what they say.

One per connection, made by ``HitLane``, of which there is one per server. Called by ``edges.connection``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from edgecache.edges.forwarded import FORWARDING, Peer
from edgecache.edges.outflow import Outflow
from edgecache.edges.settings import ServerSettings
from edgecache.engine.counters import Counters
from edgecache.engine.exchange import Delivery
from edgecache.engine.replies import AS_RECEIVED, CONDITIONS, Manner, Replies, Reply
from edgecache.http.message import FieldsView, Pair, fields_of
from edgecache.http.negotiation import normalise

__all__ = ["Hit", "HitLane", "HitLog", "Lane", "Section"]

_LINE: Final = re.compile(rb"(?:GET|HEAD) /[!-\"$-\[\]-~]* HTTP/1\.1\r\n")
"""No ``#`` and no backslash in a target: see ``http.target``."""

_FIELD: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")

_LEFT: Final = frozenset(
    {
        *("cache-control", "pragma", "if-match", "if-unmodified-since"),
        *("connection", "content-length", "transfer-encoding", "trailer", "expect", "upgrade"),
        *("edgecache-debug", "edgecache-min-seq", "edgecache-release"),
    }
)
"""Names, lower case, of fields that are for the full lane to understand; but for a ``Connection: keep-alive``."""

_SECRET: Final = frozenset({"authorization", "cookie"})
_SCHEME: Final = ("forwarded", "x-forwarded-proto")
"""What a trusted peer says about the scheme."""

_MOST_BYTES: Final = 4096
_MOST_FIELDS: Final = 32
_MOST_LINES: Final = 4096
_LONGEST_LINE: Final = 256
"""Field lines that are remembered, and how long one may be; most of what clients send they send again."""


class Hit(NamedTuple):
    """What the access log is told: of whom, what, when."""

    peer: str
    line: bytes
    section: Section
    reply: Reply
    now: float


HitLog: TypeAlias = Callable[[Hit], None]


class Section:
    """A header section, understood (``engine.replies.Asked``). ``line_end`` is the access log's."""

    __slots__ = ("_fields", "_values", "conditions", "line_end", "manner")

    def __init__(self, fields: dict[str, str], manner: Manner) -> None:
        self.manner: Final = manner
        self.conditions: tuple[str | None, ...] | None = None
        if not fields.keys().isdisjoint(CONDITIONS):
            self.conditions = tuple(map(fields.get, CONDITIONS))
        self.line_end: str | None = None
        self._fields: Final = fields
        self._values: dict[tuple[str, ...], tuple[str | None, ...]] = {(): ()}

    def field(self, name: str) -> str | None:
        """Return the value of a field, ``name`` in lower case, as received."""
        return self._fields.get(name)

    def fields(self) -> FieldsView:
        """Return all of them."""
        return fields_of(self._fields.items())

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
        value = self._fields.get(name.removeprefix(AS_RECEIVED))
        return value if value is None or name.startswith(AS_RECEIVED) else normalise(name, (value,))


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
        self._lines: Final[dict[str, Pair]] = {}
        self._most_fields: Final = min(_MOST_FIELDS, settings.max_header_fields)
        self.most_bytes: Final = min(_MOST_BYTES, settings.max_header_bytes, settings.max_field, settings.max_target)

    def lane(self, peer: Peer, outflow: Outflow) -> Lane:
        """Return the lane of a new connection."""
        return Lane(self, peer, outflow)

    def read(self, section: bytes, peer: Peer) -> Section | None:
        """Return a header section understood; None when it is not for the lane."""
        lines = section.decode("latin-1").split("\r\n")[:-2]
        fields = {}
        for line in lines:
            field = self._lines.get(line) or self._field(line)
            if field is None:
                return None
            fields[field[0]] = field[1]
        if len(fields) != len(lines) or len(fields) > self._most_fields or "host" not in fields:
            return None
        if fields.get("connection", "").lower() == "keep-alive":
            del fields["connection"]
        if not fields.keys().isdisjoint(_LEFT):
            return None
        return Section(fields, self.replies.manner(self._manner(fields, peer)))

    def _field(self, line: str) -> Pair | None:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        field = match[1].lower(), match[2].strip(" \t")
        if len(line) <= _LONGEST_LINE and field[0] not in _SECRET:
            if len(self._lines) >= _MOST_LINES:
                self._lines.clear()
            self._lines[line] = field
        return field

    def _manner(self, fields: dict[str, str], peer: Peer) -> tuple[object, ...]:
        facts: list[object] = [peer.trusted, peer.scheme, *map(fields.get, self._facts)]
        if peer.trusted:
            facts += map(fields.get, _SCHEME)
        if self._by_peer:
            facts.append(peer.name)
        return tuple(facts)


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

    def answer(self, data: bytes) -> bool:
        """Answer what has been received, if that is one request whose answer is known; return whether that was done."""
        outflow = self._outflow
        if outflow.paused:
            return False
        now = self._shared.clock()
        reply = self._find(data, now) if data.endswith(self._bytes) else None
        if reply is None and self._asked is None and self._read(data):
            reply = self._find(data, now)
        if reply is None:
            return False
        outflow.start_response()
        outflow.write(reply.rendered(now))
        self._account(reply, now)
        return True

    def _account(self, reply: Reply, now: float) -> None:
        """Count and log an answer. On the clock of the event loop it has taken no time."""
        shared = self._shared
        counters, length = shared.counters, reply.length
        counters.requests += 1
        counters.hits += 1
        counters.hits_lane += 1
        counters.bytes_from_store += length
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
        self._section, self._bytes = self._shared.read(section, self._peer), section
        return self._section is not None
