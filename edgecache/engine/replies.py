"""Replies: what the engine has answered from memory, kept so that the same question need not be thought about again.

Theory
    The answer to a request that hits is a function of few things: the request, what is stored under its key, what is
    known of purges, which release is active, and the time. So an answer that was given may be given again while all of
    these are as they were, and only the time has gone on within a span in which nothing would be decided anew. Nothing
    is decided here: what ``reuse.decide`` said once is repeated, with another Age.

    *The request* is its request line and its manner: whatever else its answer may depend on, as received (the host,
    what rules look at, and who is believed about the scheme). Beside that there are ``CONDITIONS``, and the fields by
    which stored responses vary. Requests that are alike in these get the same answer. *What is stored* is a slot of the
    store: it keeps what replies were made of it, and has them forget it as soon as anything under its key is added,
    replaced or removed. *Purges*: a reply has a birth of its own, which moves on as that of a stored response does
    (``engine.lookup``). *The release*: a reply is good while the same one is active. *The time*: a reply is good
    while its response is fresh, but for the end of that time, in which a lucky request refreshes it.

    With many objects a hit costs what it takes to bring cold memory near: so a question leads to its reply directly,
    numbers and words that many replies share are one object, and a use is recorded once a second.

Invariants
    * A reply is learnt from a delivery of the engine, of a stored response whose lifetime does not depend on its
      being used, for the reason ``FRESH``.
    * A question is answered or it is not; then nothing was counted, refreshed or changed.
    * A reply that was forgotten is never good, and holds nothing but itself.
    * Questions are bounded in number. Replies are, for each slot, and their bytes are charged to the store.

Read and written on one event loop, by ``edges.lane``, never across an ``await``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.http.fields import format_http_date
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.base import Slot, Tiers

__all__ = ["AS_RECEIVED", "CONDITIONS", "Asked", "Manner", "Replies", "Reply"]

CONDITIONS: Final = ("if-none-match", "if-modified-since", "range", "if-range")
"""Request fields that change what is given of a stored response, and never which one is."""

AS_RECEIVED: Final = "="
"""Before the name of a field: its value as it was received is meant."""

_MOST_QUESTIONS: Final = 65_536
"""Of each of two generations: when the young one is full, the old one is dropped."""

_MOST_MANNERS: Final = 4096
"""The same: whoever asks in one of the old ones keeps it."""

_MOST_REPLIES: Final = 16
"""Of one slot; who asks for ever other ranges, or with ever other tags, is answered by the engine."""

_LARGE: Final = 64 * 1024
"""Bytes of content above which an answer is given to the socket piece by piece."""

_MOST_WORDS: Final = 4096

_LEAST_LUCK: Final = 40.0
"""No request is luckier than that: the chance is e to the minus 40. See ``reuse.decide``."""

_MOST_PURGES: Final = 1000
"""After so many purges the engine looks at the stored response again, and lets that begin anew too."""

_PER_REPLY: Final = 700
"""The objects of a reply and of the question that leads to it, bytes, by estimate."""

_Question: TypeAlias = bytes | tuple[bytes, tuple[str | None, ...]]
_Values: TypeAlias = tuple[str | None, ...]
_Pieces: TypeAlias = tuple[bytes | memoryview, ...]

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

    __slots__ = ("authority", "old", "scheme", "young")

    def __init__(self) -> None:
        self.scheme = self.authority = ""
        self.young: dict[_Question, Reply] = {}
        self.old: dict[_Question, Reply] = {}


class Asked(Protocol):
    """A request without its request line.

    Attributes:
        manner: of ``Replies.manner``.
        conditions: values of ``CONDITIONS`` as received, None where one is not there; None when none is.
    """

    @property
    def manner(self) -> Manner: ...  # noqa: D102

    @property
    def conditions(self) -> _Values | None: ...  # noqa: D102

    def has(self, names: tuple[str, ...]) -> bool:
        """Whether the values of these fields are the client's own words, and can be told."""
        ...

    def values(self, names: tuple[str, ...]) -> _Values:
        """Return canonical values (``selecting_value``) of fields, ``names`` in lower case, or as ``AS_RECEIVED``."""
        ...


class Reply:
    """One answer.

    Attributes:
        stored: what it was made of; None when that is gone.
        slot: where that is.
        status: its status code.
        length: of its content, bytes.
        birth: where it stands among purges.
        generated_at: POSIX seconds from which its age is counted.
        good_from, good_until: at which age it may be given, seconds.
        names: of the request fields by which what is under its key varies.
        others: the replies to the same question by the values of these, itself among them.
        release: the active release when it was given.
        is_large: whether it is too large to be put together.
        unused_from: POSIX seconds from which on a use is recorded again.
    """

    __slots__ = (
        *("birth", "generated_at", "good_from", "good_until", "is_large", "length", "names", "others"),
        *("release", "slot", "status", "stored", "unused_from"),
        *("_after", "_before", "_content", "_lifetime", "_pieces", "_restarts", "_told"),
    )

    def __init__(self, slot: Slot, stored: StoredResponse, status: int, pieces: _Pieces, release: object) -> None:
        self.slot: Final = slot
        self.stored: StoredResponse | None = stored
        self.status: Final = status
        self.length: Final = sum(map(len, pieces))
        self.is_large: Final = self.length > _LARGE
        self.birth = stored.birth
        self.release = release
        self.names: tuple[str, ...] = ()
        self.others: dict[_Values, Reply] = {}
        self.unused_from = 0.0
        self._pieces = pieces
        self._content = b"" if self.is_large else pieces[0] if len(pieces) == 1 else None  # None: to be put together

    def timed(self, told: re.Match[bytes], shared: Callable[[Any], Any]) -> None:
        """Take the head as it was written, and the numbers; ``shared`` gives one object for all that are equal."""
        assert self.stored is not None
        freshness = self.stored.freshness
        before = _DATE.sub(b"", told["before"]) if freshness.restarts_age else told["before"]
        self._before: bytes = self.stored.rendered if before == self.stored.rendered else before
        self._told: bytes = shared(told["status"])
        self._after: bytes = shared(told["after"])
        self.generated_at = freshness.generated_at
        self._lifetime: float = shared(freshness.lifetime)
        self.good_from: float = shared(max(0.0, self.stored.response_time - freshness.generated_at))
        self.good_until: float = shared(freshness.lifetime - _LEAST_LUCK * freshness.eager)
        self._restarts = freshness.restarts_age

    def forget(self) -> None:
        """Let go of what it was made of, and never be good again."""
        self.stored, self._pieces, self._content, self._before, self.others = None, (), None, b"", {}
        self.generated_at = math.inf

    @property
    def is_apart(self) -> bool:
        """Whether its content takes memory of its own."""
        return self.stored is not None and self._pieces is not self.stored.body.local

    def rendered(self, now: float) -> bytes:
        """Return the head for ``now``, POSIX seconds, as it is to be written, and the content unless it is large."""
        seconds, content = now - self.generated_at, self._content
        if content is None:
            content = b"".join(self._pieces)
        age, date, ttl = seconds, b"", self._lifetime - seconds
        if self._restarts:
            age, date = 0.0, b"Date: %b\r\n" % format_http_date(now).encode("ascii")
        parts = self._before, date, age, self._told, ttl, self._after, content
        return b"%b%bAge: %d\r\n%b%d%b%b" % parts  # type: ignore[str-format]  # %b takes a memoryview too

    def pieces(self, now: float) -> list[bytes | memoryview]:
        """Return head and large content."""
        return [self.rendered(now), *self._pieces]

    def exchange(self, request: Request, now: float) -> Exchange:
        """Return what the engine would tell of a request that was answered with this at ``now``, POSIX seconds."""
        assert self.stored is not None
        exchange = Exchange(request, now, self.stored.key, "hit", Reason.FRESH, stored=self.stored)
        value = self._told.partition(b": ")[2] + b"%d" % (self._lifetime - (now - self.generated_at))
        exchange.cache_status = (value + self._after[: self._after.index(b"\r\n")]).decode("latin-1")
        return exchange


class Replies:
    """The replies of one process, and the questions that lead to them."""

    def __init__(self, store: Tiers, ledger: Ledger, clock: Callable[[], float]) -> None:
        """``clock`` gives POSIX seconds."""
        self._store: Final = store
        self._use: Final = store.use
        self._ledger: Final = ledger
        self.clock: Final = clock
        self._manners: dict[tuple[object, ...], Manner] = {}
        self._old_manners: dict[tuple[object, ...], Manner] = {}
        self._asked_young: list[Manner] = []  # who has questions of the young generation
        self._asked_old: list[Manner] = []
        self._questions = 0
        self._words: dict[object, object] = {}

    def manner(self, facts: tuple[object, ...]) -> Manner:
        """Return the manner of requests with these facts, which are all that count beside line, conditions and Vary."""
        manner = self._manners.get(facts)
        if manner is None:
            manner = self._old_manners.get(facts) or Manner()
            if len(self._manners) >= _MOST_MANNERS:
                self._manners, self._old_manners = {}, self._manners
            self._manners[facts] = manner
        return manner

    def find(self, asked: Asked, line: bytes, now: float) -> Reply | None:
        """Return the answer to a request with this request line, CRLF included, if it is known and still good."""
        question = line if asked.conditions is None else (line, asked.conditions)
        reply = asked.manner.young.get(question) or self._revived(asked.manner, question)
        if reply is not None and reply.names:
            reply = reply.others.get(asked.values(reply.names))
        if reply is None or not reply.good_from <= now - reply.generated_at < reply.good_until:
            return None  # not within the span in which nothing would be decided anew
        ledger = self._ledger
        if reply.release is not ledger.release and reply.release != ledger.release:
            return None
        if not (ledger.is_current(reply.birth) or self._survives(reply)):
            return None
        if now >= reply.unused_from:
            reply.unused_from = now + 1.0
            self._use(reply.slot)
        return reply

    def learn(self, asked: Asked, line: bytes, delivery: Delivery, head: bytes) -> None:
        """Remember an answer that the engine gave just now, ``head`` being how it was written; or leave it."""
        told, stored = _told(delivery, head), delivery.exchange.stored
        slot = None if told is None else self._store.slot_now(CacheKey(delivery.exchange.key))
        if slot is None or told is None or stored is None or not any(each is stored for each in slot.responses):
            return
        names = _names(slot)
        if not asked.has(names):
            return
        if slot.replies is None or len(slot.replies) >= _MOST_REPLIES:
            self._store.forget_replies(slot)
            slot.replies = []
        reply = Reply(slot, stored, delivery.head.status, _content(delivery, stored), self._ledger.release)
        reply.timed(told, self._shared)
        slot.replies.append(reply)
        if self._store.charge(slot, _PER_REPLY + len(head) + (reply.length if reply.is_apart else 0)):
            self._note(asked, line, reply, names)
            asked.manner.scheme = delivery.exchange.request.head.scheme
            asked.manner.authority = delivery.exchange.request.head.authority

    def _survives(self, reply: Reply) -> bool:
        """Whether no purge has hit a reply since it was looked at last; then it begins anew from here."""
        ledger, stored = self._ledger, reply.stored
        if stored is None or ledger.sequence - stored.birth.sequence > _MOST_PURGES:
            return False
        if ledger.verdict_of(reply.birth, stored.uri, stored.tags) is not Verdict.VALID:
            return False
        if reply.birth.sequence <= ledger.sequence:
            reply.birth = ledger.birth()
        return True

    def _note(self, asked: Asked, line: bytes, reply: Reply, names: tuple[str, ...]) -> None:
        """Let a question lead to a reply, or to one of several that tell each other apart."""
        young = asked.manner.young
        question = line if asked.conditions is None else (line, asked.conditions)
        if names:
            known = young.get(question)
            reply.names = names
            is_beside = known is not None and known.stored is not None and known.slot is reply.slot
            reply.others = known.others if known is not None and is_beside else {}
            reply.others[asked.values(names)] = reply
        self._keep(asked.manner, question, reply)

    def _keep(self, manner: Manner, question: _Question, reply: Reply) -> None:
        """Let a question be of the young generation; when there are too many, that is the old one."""
        if not manner.young:
            self._asked_young.append(manner)
        self._questions += question not in manner.young
        manner.young[question] = reply
        if self._questions >= _MOST_QUESTIONS:
            self._questions = 0
            for each in self._asked_old:
                each.old = {}
            for each in self._asked_young:
                each.young, each.old = {}, each.young
            self._asked_young, self._asked_old = [], self._asked_young

    def _revived(self, manner: Manner, question: _Question) -> Reply | None:
        reply = manner.old.pop(question, None)
        if reply is None or reply.stored is None:
            return None
        self._keep(manner, question, reply)
        return reply

    def _shared(self, word: Any) -> Any:
        """Return one object for all words or numbers that are equal."""
        if len(self._words) >= _MOST_WORDS:
            self._words.clear()
        return self._words.setdefault(word, word)


def _names(slot: Slot) -> tuple[str, ...]:
    names = {name for stored in slot.responses for name in stored.selecting.names}
    if any(stored.encodable for stored in slot.responses):
        names.add(f"{AS_RECEIVED}accept-encoding")  # which coding is liked best is not in the canonical value
    return tuple(sorted(names))


def _content(delivery: Delivery, stored: StoredResponse) -> tuple[bytes | memoryview, ...]:
    """Return the content of a delivery; where that is all that is stored, the very chunks."""
    chunks, pieces = stored.body.local, delivery.pieces or ()
    is_all = delivery.head.status == stored.status and sum(map(len, pieces)) == stored.body.size
    return chunks if chunks is not None and is_all and not stored.encodable else pieces


def _told(delivery: Delivery, head: bytes) -> re.Match[bytes] | None:
    """Return the parts of a head, if the answer may be given again."""
    exchange, stored = delivery.exchange, delivery.exchange.stored
    if stored is None or exchange.result != "hit" or exchange.reason != Reason.FRESH or exchange.request.debug:
        return None
    if exchange.provisional or stored.freshness.sliding or delivery.stream is not None:
        return None
    if delivery.head.status == 206 and "content-range" not in delivery.head.fields:
        return None  # several ranges: each answer has another boundary
    return _TOLD.fullmatch(head)
