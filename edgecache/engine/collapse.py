"""Collapsing (RFC 9111 §4): many requests, one forward.

Theory
    A flight is one forwarded request that others may wait for. ``join`` makes the first comer its leader and everybody
    else a follower; both then await the one ``outcome``, which is known when the response's head is. From there
    on a follower either shares what came or goes its own way; that is for the semantics to say.

    Without a lease the ledger cannot say whether a fetch that is running has been overtaken by a purge, and then its
    answer is for those who came before it was sent. Who comes later joins the flight that begins when it has ended:
    one is running and one is queued, however many ask.

    A key whose answer could not be shared is marked (hit-for-miss): while the mark lasts nobody waits there, since
    waiting would only turn parallel requests into a queue. A shareable answer lifts the mark at once. What was answered
    to somebody with credentials tells nothing about those without: a personal mark is for the former alone.

Invariants
    * At most one flight per key is open to joiners, and never one that a purge has overtaken: a request that comes
      after a purge must not be answered by a fetch that began before it.
    * A flight is queued behind at most one other, which begins it when it ends, whatever became of it.
    * Every flight is resolved exactly once, also when its task dies: then with ``Died``, and whoever was waiting may
      lead a new one.
    * Everything here is synchronous. Who may write: the engine's tasks, one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from edgecache.engine.fill import Fill
from edgecache.errors import OriginError
from edgecache.http.message import ResponseHead
from edgecache.origin.base import OriginResponse
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Birth, StoredResponse

__all__ = [
    "KEPT_OUT",
    "Collapse",
    "Died",
    "Elsewhere",
    "Failed",
    "Filled",
    "Flight",
    "Freshened",
    "Outcome",
    "Unshared",
]

_MAX_MARKS: Final = 10_000

KEPT_OUT: Final = frozenset({Reason.ERROR_KEPT_OUT, Reason.RETAINED})
"""Why a response does not take the place of what is stored: that may be served instead."""


class Filled(msgspec.Struct, frozen=True):
    """A storable response: its head as clients see it, its growing body, and what will be stored (with no body yet).

    With ``unkept``, which says why, it is only for those who ask while it comes, and then not stored.
    """

    head: ResponseHead
    fill: Fill
    prototype: StoredResponse
    length: int | None
    unkept: Reason | None = None


class Freshened(msgspec.Struct, frozen=True):
    """The origin answered 304: the stored response holds again."""

    response: StoredResponse


class Unshared(msgspec.Struct, frozen=True):
    """A response for its leader alone, which closes it; ``shown`` is the head it gets, ``reason`` why.

    ``tells`` says that others would be answered so too, so that waiting once more is of no use to them.
    """

    response: OriginResponse
    shown: ResponseHead
    reason: Reason
    tells: bool


class Failed(msgspec.Struct, frozen=True):
    """No response came."""

    error: OriginError


@dataclass(frozen=True, slots=True)
class Died:
    """The task ended without an answer; somebody else may try."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another process has fetched it meanwhile, and now it is in memory here: everybody looks again."""


Outcome: TypeAlias = Filled | Freshened | Unshared | Failed | Died | Elsewhere


class Flight:
    """One forwarded request and everybody who waits for it.

    Attributes:
        birth: the ledger's position from before the request was sent; None while the flight is queued.
        outcome: what came of it; None as long as that is not known.
        members: how many wait for the outcome or have not yet attached to its fill.
        wanted: whether the fill is to be finished even when nobody reads it.
        deserted: whether its leader has left, who would have closed an unshared response.
        is_personal: whether its request has credentials.
        successor: the flight that is queued behind this one.
        landing: called soon after the outcome is known, for a leader that does not wait.
    """

    __slots__ = (
        *("_take_off", "_waiting", "birth", "deserted", "is_personal", "key", "landing", "members", "outcome"),
        *("successor", "uri", "wanted"),
    )

    def __init__(self, key: str, uri: str, birth: Birth | None) -> None:
        self.key: Final = key
        self.uri: Final = uri
        self.birth = birth
        self.outcome: Outcome | None = None
        self.members = 0
        self.wanted = False
        self.deserted = False
        self.is_personal = False
        self.successor: Flight | None = None
        self.landing: Callable[[], None] | None = None
        self._take_off: Callable[[], None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def when_due(self, take_off: Callable[[], None]) -> None:
        """Call ``take_off`` when the request may be sent: now, or when its turn has come."""
        if self.birth is not None:
            take_off()
        else:
            self._take_off = take_off

    def begin(self, birth: Birth) -> None:
        """The turn of a queued flight has come."""
        self.birth = birth
        if self._take_off is not None and (self.members or self.wanted):
            self._take_off()
        else:
            self.resolve(Died())

    def resolve(self, outcome: Outcome) -> None:
        """Tell everybody who waits."""
        if self.outcome is None:
            self.outcome = outcome
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            if self.landing is not None:
                asyncio.get_running_loop().call_soon(self.landing)

    async def landed(self) -> Outcome:
        """Wait for the outcome, each by a future of its own: whoever is cancelled leaves the others undisturbed."""
        if self.outcome is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        assert self.outcome is not None  # nobody else wakes who waits
        return self.outcome

    def tags(self) -> frozenset[str]:
        """Labels of what is coming, empty until its head is known."""
        return self.outcome.prototype.tags if isinstance(self.outcome, Filled) else frozenset()

    def is_open(self) -> bool:
        """Whether a request that comes now could still share it."""
        outcome = self.outcome
        if outcome is None:
            return True
        return isinstance(outcome, Filled) and not outcome.fill.spilled and not outcome.fill.failed


class Collapse:
    """The table of flights, and the marks of keys where nobody waits."""

    __slots__ = ("_flights", "_ledger", "_marks")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._flights: dict[str, Flight] = {}
        self._marks: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: str, uri: str) -> tuple[Flight, bool]:
        """Return the flight of a key, or the one queued behind it, and whether the caller leads it."""
        flight = self._flights.get(key)
        verdict = None if flight is None or not flight.is_open() else self._verdict(flight)
        if flight is not None and verdict is Verdict.VALID:
            flight.members += 1
            return flight, False
        if flight is not None and verdict is Verdict.UNPROVEN:
            return _queue(flight)
        flight = self.solo(key, uri)
        self._flights[key] = flight
        return flight, True

    def solo(self, key: str, uri: str) -> Flight:
        """Return a flight that nobody can join."""
        flight = Flight(key, uri, self._ledger.birth())
        flight.members = 1
        return flight

    def is_flying(self, key: str) -> bool:
        """Whether somebody is fetching the key now."""
        flight = self._flights.get(key)
        return flight is not None and self._survives(flight)

    def has(self, key: str) -> bool:
        """Whether there is a flight that others may join."""
        return key in self._flights

    def is_busy(self, key: str, now: float, *, personal: bool = False) -> bool:
        """Whether somebody is fetching the key now, or nobody waits for it: no other tier is going to help."""
        return key in self._flights or self.is_marked(key, now, personal=personal)

    def growing(self, key: str) -> Filled | None:
        """Return the response that is on its way under a key, while a request that comes now could share it."""
        flight = self._flights.get(key)
        if flight is None or not isinstance(flight.outcome, Filled):
            return None
        return flight.outcome if flight.is_open() and self._survives(flight) else None

    def end(self, flight: Flight) -> None:
        """Close a flight to joiners, and let the one that is queued behind it begin."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        successor, flight.successor = flight.successor, None
        if successor is not None:
            self._flights.setdefault(successor.key, successor)
            successor.begin(self._ledger.birth())

    def mark(self, key: str, until: float, *, personal: bool = False) -> None:
        """Let nobody wait for this key before ``until``, or nobody with credentials."""
        name = _personally(key) if personal else key
        self._marks[name] = until
        self._marks.move_to_end(name)
        if len(self._marks) > _MAX_MARKS:
            self._marks.popitem(last=False)

    def unmark(self, key: str) -> None:
        """Let requests for this key wait for one another again."""
        if self._marks:
            self._marks.pop(key, None)
            self._marks.pop(_personally(key), None)

    def is_marked(self, key: str, now: float, *, personal: bool = False) -> bool:
        """Whether the key's last answer could not be shared; with ``personal``, also with somebody with credentials."""
        if not self._marks:
            return False
        return self._lasts(key, now) or (personal and self._lasts(_personally(key), now))

    def _lasts(self, name: str, now: float) -> bool:
        until = self._marks.get(name)
        if until is None:
            return False
        if until <= now:
            del self._marks[name]
            return False
        return True

    def _survives(self, flight: Flight) -> bool:
        return self._verdict(flight) is Verdict.VALID

    def _verdict(self, flight: Flight) -> Verdict:
        assert flight.birth is not None  # queued ones are not in the table
        return self._ledger.verdict_of(flight.birth, flight.uri, flight.tags())


def _queue(flight: Flight) -> tuple[Flight, bool]:
    """Return the flight behind this one, and whether the caller leads it."""
    leads = flight.successor is None
    if flight.successor is None:
        flight.successor = Flight(flight.key, flight.uri, None)
    flight.successor.members += 1
    return flight.successor, leads


def _personally(key: str) -> str:
    return f"{key} personal"
