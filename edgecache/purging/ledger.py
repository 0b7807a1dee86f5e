"""The ledger: what has been purged, and whether a stored response survives it.

Theory
    Copies of a purged response may be anywhere, also on their way from the origin. None is hunted down: each carries
    the ledger's position from before its origin request was sent (``Birth``), each purge advances the position
    and notes it for its selector, and a response is valid only if no matching purge is newer than its
    birth. So an acknowledged purge cannot be undone by a fill that began before it.

Invariants
    * ``sequence`` only grows within an epoch; an epoch is never used again.
    * The index holds every purge with a sequence above ``floor``; what was born below the floor is invalid, because
      the purge that matched it may have been forgotten. Memory is bounded by ``capacity`` selectors.
    * ``verdict`` is antitone: a response once invalid stays so.

This is the form that lives in one process; positions are taken and advanced without waiting.
"""

from __future__ import annotations

import enum
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from edgecache.semantics.stored import Birth, StoredResponse

__all__ = ["Ledger", "Verdict"]

_CAPACITY: Final = 100_000


class Verdict(enum.Enum):
    """Whether a stored response survives the purges."""

    VALID = "valid"
    INVALID = "invalid"


class Ledger:
    """Purges of one process, and the test of responses against them."""

    __slots__ = ("_capacity", "_epoch", "_floor", "_sequence", "_tags", "_urls")

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._epoch: Final = secrets.token_bytes(16)
        self._capacity = capacity
        self._sequence = 0
        self._floor = 0
        self._urls: OrderedDict[str, int] = OrderedDict()
        self._tags: OrderedDict[str, int] = OrderedDict()

    @property
    def sequence(self) -> int:
        """Number of purges so far."""
        return self._sequence

    @property
    def remembered(self) -> int:
        """Number of selectors in the index, at most ``capacity``."""
        return len(self._urls) + len(self._tags)

    def birth(self) -> Birth:
        """Return the position to stamp a response with; taken before its origin request is sent."""
        return Birth(self._epoch, self._sequence)

    def verdict(self, response: StoredResponse) -> Verdict:
        """Return whether the response survives every purge so far."""
        if response.birth.sequence == self._sequence and response.birth.epoch == self._epoch:
            return Verdict.VALID
        return self.verdict_of(response.birth, response.uri, response.tags)

    def verdict_of(self, birth: Birth, uri: str, tags: Iterable[str] = ()) -> Verdict:
        """As ``verdict``, for a response that is still on its way."""
        if birth.epoch != self._epoch or birth.sequence < self._floor:
            return Verdict.INVALID
        if self._urls.get(_without_scheme(uri), 0) > birth.sequence:
            return Verdict.INVALID
        if any(self._tags.get(tag, 0) > birth.sequence for tag in tags):
            return Verdict.INVALID
        return Verdict.VALID

    def purge(self, uris: Iterable[str] = (), tags: Iterable[str] = ()) -> int:
        """Make every response invalid that has one of these target URIs (any scheme) or tags; return the sequence."""
        self._sequence += 1
        for uri in uris:
            self._note(self._urls, _without_scheme(uri))
        for tag in tags:
            self._note(self._tags, tag)
        self._trim()
        return self._sequence

    def _note(self, index: OrderedDict[str, int], selector: str) -> None:
        index[selector] = self._sequence
        index.move_to_end(selector)

    def _trim(self) -> None:
        """Forget the oldest purges beyond the capacity; the floor rises over each."""
        while self.remembered > self._capacity:
            oldest_first = [index for index in (self._urls, self._tags) if index]
            index = min(oldest_first, key=lambda index: next(iter(index.values())))
            _, sequence = index.popitem(last=False)
            self._floor = max(self._floor, sequence)


def _without_scheme(uri: str) -> str:
    return uri.partition("://")[2]
