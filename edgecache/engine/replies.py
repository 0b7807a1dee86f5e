"""Replies: what the engine has answered from memory, kept so that the same question need not be thought about again.

Theory
    The answer to a request that hits is a function of few things: the request, what is stored under its key, what is
    known of purges, which release is active, and the time. So an answer that was given may be given again while all of
    these are as they were, and only the time has gone on within a span in which nothing would be decided anew. Nothing
    is decided here: what ``reuse.decide`` said once is repeated, with another Age.

    *The request* is its request line and its manner: whatever else its answer may depend on, as received (the host,
    what rules look at, and who is believed about the scheme). Beside that there are ``CONDITIONS``, and the fields by
    which stored responses vary. Requests that are alike in these get the same answer. *What is stored* is a slot of the
    store: replies rest there, and are gone as soon as anything under its key is added, replaced or removed. *Purges*:
    a reply has a birth of its own, which moves on as that of a stored response does (``engine.lookup``). *The release*:
    with another one no route is known any more. *The time*: a reply is good while its response is fresh, but for the
    end of that time, in which a lucky request refreshes it.

Invariants
    * A reply is learnt from a delivery of the engine, of a stored response whose lifetime does not depend on its
      being used, for the reason ``FRESH``.
    * A question is answered or it is not; then nothing was counted, refreshed or changed but the order of use.
    * Routes are bounded in number. Replies are, for each key, and their bytes are charged to the store.

Read and written on one event loop, by ``edges.lane``, never across an ``await``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from edgecache.engine.exchange import Delivery
from edgecache.http.fields import format_http_date
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.base import Slot, Tiers

__all__ = ["CONDITIONS", "Asked", "Manner", "Replies", "Reply"]

CONDITIONS: Final = ("if-none-match", "if-modified-since", "range", "if-range")
"""Request fields that change what is given of a stored response, and never which one is."""

_MOST_ROUTES: Final = 32_768
"""Of each of two generations: when the young one is full, the old one is dropped."""

_MOST_MANNERS: Final = 4096
_MOST_REPLIES: Final = 16
"""Under one key; who asks for ever other ranges, or with ever other tags, is answered by the engine."""

_LEAST_LUCK: Final = 40.0
"""No request is luckier than that: the chance is e to the minus 40. See ``reuse.decide``."""

_MOST_PURGES: Final = 1000
"""After so many purges the engine looks at the stored response again, and lets that begin anew too."""

_PER_REPLY: Final = 800
"""The objects of a reply and of the route to it, bytes, by estimate."""

_NAMES: Final = None
"""Where ``Slot.replies`` has the names of the fields by which what is under the key varies."""

Pieces: TypeAlias = tuple[bytes | memoryview, ...]

_TOLD: Final = re.compile(
    rb"(?P<before>.*\r\n)Age: [0-9]+\r\n(?P<status>Cache-Status: [^\r]*; ttl=)[0-9]+(?P<after>\r\n.*)",
    re.DOTALL,
)
"""A head as it was written. What is stored has no Age: the last one is this cache's own, and Cache-Status after it."""

_DATE: Final = re.compile(rb"Date: [^\r]*\r\n\Z")
"""Of delivery, where the time of the clients runs from there: it stands before Age."""


class Manner:
    """How something is asked: one object for all requests that are alike in it.

    Attributes:
        scheme: of their target URIs, once one was answered.
        authority: the same.
    """

    __slots__ = ("authority", "scheme")

    def __init__(self) -> None:
        self.scheme = self.authority = ""


class Asked(Protocol):
    """A request without its request line.

    Attributes:
        manner: of ``Replies.manner``.
        conditions: values of ``CONDITIONS`` as received, None where one is not there; None when none is.
    """

    @property
    def manner(self) -> Manner: ...  # noqa: D102

    @property
    def conditions(self) -> tuple[str | None, ...] | None: ...  # noqa: D102

    def has(self, names: tuple[str, ...]) -> bool:
        """Whether the values of these fields are the client's own words, and can be told."""
        ...

    def values(self, names: tuple[str, ...]) -> tuple[str | None, ...]:
        """Return canonical values of fields, ``names`` in lower case, as ``selecting_value`` does."""
        ...


class Reply:
    """One answer.

    Attributes:
        stored: what it was made of.
        status: its status code.
        pieces: its content.
        length: of that, bytes.
        birth: where it stands among purges.
        since: instant from which it is good, POSIX seconds.
        until: instant from which it is not.
    """

    __slots__ = (
        *("birth", "length", "pieces", "since", "status", "stored", "until"),
        *("_after", "_age", "_before", "_generated_at", "_head", "_lifetime", "_restarts", "_second", "_told", "_ttl"),
    )

    def __init__(self, told: re.Match[bytes], stored: StoredResponse, status: int, pieces: Pieces) -> None:
        freshness = stored.freshness
        self.stored: Final = stored
        self.status: Final = status
        self.pieces: Final = pieces
        self.length: Final = sum(map(len, pieces))
        self.birth = stored.birth
        self.since: Final = max(freshness.generated_at, stored.response_time)
        self.until: Final = freshness.generated_at + freshness.lifetime - _LEAST_LUCK * freshness.eager
        self._before: Final = _DATE.sub(b"", told["before"]) if freshness.restarts_age else told["before"]
        self._told: Final = told["status"]
        self._after: Final = told["after"]
        self._generated_at: Final = freshness.generated_at
        self._lifetime: Final = freshness.lifetime
        self._restarts: Final = freshness.restarts_age
        self._age = self._ttl = self._second = -1
        self._head = b""

    def head(self, now: float) -> bytes:
        """Return the head as it is to be written at ``now``, POSIX seconds."""
        seconds = now - self._generated_at
        age, ttl = int(seconds), int(self._lifetime - seconds)
        if self._restarts:
            return self._anew(int(now), ttl)
        if age != self._age or ttl != self._ttl:
            self._age, self._ttl = age, ttl
            self._head = b"%bAge: %d\r\n%b%d%b" % (self._before, age, self._told, ttl, self._after)
        return self._head

    def _anew(self, second: int, ttl: int) -> bytes:
        """Return a head by which the time of its clients runs from now."""
        if second != self._second or ttl != self._ttl:
            self._second, self._ttl = second, ttl
            date = format_http_date(second).encode("ascii")
            self._head = b"%bDate: %b\r\nAge: 0\r\n%b%d%b" % (self._before, date, self._told, ttl, self._after)
        return self._head

    def cache_status(self, now: float) -> str:
        """Return this cache's member of Cache-Status at ``now``."""
        value = self._told.partition(b": ")[2] + b"%d" % int(self._lifetime - (now - self._generated_at))
        return (value + self._after[: self._after.index(b"\r\n")]).decode("latin-1")


class Replies:
    """The replies of one process, and the routes to them."""

    def __init__(self, store: Tiers, ledger: Ledger, clock: Callable[[], float]) -> None:
        """``clock`` gives POSIX seconds."""
        self._slot_now: Final = store.slot_now
        self._charge: Final = store.charge
        self._ledger: Final = ledger
        self._release = ledger.release
        self.clock: Final = clock
        self._manners: dict[tuple[object, ...], Manner] = {}
        self._young: dict[tuple[Manner, bytes], CacheKey] = {}
        self._old: dict[tuple[Manner, bytes], CacheKey] = {}

    def manner(self, facts: tuple[object, ...]) -> Manner:
        """Return the manner of requests with these facts, which are all that count beside line, conditions and Vary."""
        manner = self._manners.get(facts)
        if manner is None:
            if len(self._manners) >= _MOST_MANNERS:
                self._manners.clear()
            manner = self._manners[facts] = Manner()
        return manner

    def find(self, asked: Asked, line: bytes, now: float) -> Reply | None:
        """Return the answer to a request with this request line, CRLF included, if it is known and still good."""
        ledger = self._ledger
        if ledger.release is not self._release:
            self._compare_release()
        route = (asked.manner, line)
        key = self._young.get(route) or self._revived(route)
        slot = None if key is None else self._slot_now(key)
        if slot is None or slot.replies is None:
            return None
        reply: Reply | None = slot.replies.get(_question(asked, line, slot.replies[_NAMES]))
        if reply is None or not reply.since <= now < reply.until:
            return None
        return reply if ledger.is_current(reply.birth) or self._survives(reply) else None

    def learn(self, asked: Asked, line: bytes, delivery: Delivery, head: bytes) -> None:
        """Remember an answer that the engine gave just now, ``head`` being how it was written; or leave it."""
        told = _told(delivery, head)
        if told is None:
            return
        key, stored = CacheKey(delivery.exchange.key), delivery.exchange.stored
        slot = self._slot_now(key)
        if slot is None or stored is None or not any(each is stored for each in slot.responses):
            return
        names = _names(slot)
        if not asked.has(names):
            return
        if slot.replies is None or len(slot.replies) > _MOST_REPLIES:
            self._charge(slot, -slot.charged)
            slot.replies = {_NAMES: names}
        reply = Reply(told, stored, delivery.head.status, delivery.pieces or ())
        slot.replies[_question(asked, line, names)] = reply
        if self._charge(slot, _PER_REPLY + len(head)):
            asked.manner.scheme = delivery.exchange.request.head.scheme
            asked.manner.authority = delivery.exchange.request.head.authority
            self._note((asked.manner, line), key)

    def _survives(self, reply: Reply) -> bool:
        """Whether no purge has hit a reply since it was looked at last; then it begins anew from here."""
        ledger, stored = self._ledger, reply.stored
        if ledger.sequence - stored.birth.sequence > _MOST_PURGES:
            return False
        if ledger.verdict_of(reply.birth, stored.uri, stored.tags) is not Verdict.VALID:
            return False
        if reply.birth.sequence < ledger.sequence:
            reply.birth = ledger.birth()
        return True

    def _revived(self, route: tuple[Manner, bytes]) -> CacheKey | None:
        key = self._old.pop(route, None)
        if key is not None:
            self._note(route, key)
        return key

    def _note(self, route: tuple[Manner, bytes], key: CacheKey) -> None:
        self._young[route] = key
        if len(self._young) >= _MOST_ROUTES:
            self._young, self._old = {}, self._young

    def _compare_release(self) -> None:
        """Keys may have the name of the active release in them, so with another one no route leads anywhere."""
        known, self._release = self._release, self._ledger.release
        if self._release != known:
            self._young, self._old = {}, {}


def _question(asked: Asked, line: bytes, names: tuple[str, ...]) -> object:
    """Return what tells the replies under a key apart. GET is the usual method: the other is HEAD."""
    if not names and asked.conditions is None and line.startswith(b"G"):
        return asked.manner
    return asked.manner, line[:1], asked.conditions, asked.values(names)


def _names(slot: Slot) -> tuple[str, ...]:
    return tuple(sorted({name for stored in slot.responses for name in stored.selecting.names}))


def _told(delivery: Delivery, head: bytes) -> re.Match[bytes] | None:
    """Return the parts of a head, if the answer may be given again."""
    exchange, stored = delivery.exchange, delivery.exchange.stored
    if stored is None or exchange.result != "hit" or exchange.reason != Reason.FRESH or exchange.request.debug:
        return None
    if stored.encodable or stored.freshness.sliding or delivery.stream is not None:
        return None
    if delivery.head.status == 206 and "content-range" not in delivery.head.fields:
        return None  # several ranges: each answer has another boundary
    return _TOLD.fullmatch(head)
