"""A circuit breaker: after a peer was silent a few times in a row, it is asked only now and then.

Theory
    A shared store that does not answer costs every request its whole budget. So after ``failures`` attempts in
    a row without an answer nobody waits any more; once per ``pause`` seconds one attempt is let through, and
    an answer to any attempt closes the breaker. There is no state "half open": that one attempt is it.

    An error that the peer *says* is an answer: it came in time, and the next question may have a better one.

Invariants
    * An attempt counts once, as whichever came first: the answer, or the end of patience.
    * Nothing here waits; the clock is a parameter.

Called by the links to stores outside this process, on one event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgecache.errors import StoreError

__all__ = ["FAILURES", "PAUSE", "Attempt", "Breaker"]

FAILURES: Final = 5
"""Attempts in a row without an answer before nobody waits any more."""

PAUSE: Final = 1.0
"""Seconds between attempts while the breaker is open; bounds how late a recovery is noticed."""


class Breaker:
    """Lets attempts through, or not.

    Args:
        clock: monotonic seconds.
        failures: how many in a row open it.
        pause: seconds between attempts while it is open.
        on_open: called when it opens, before ``failed`` returns.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        failures: int = FAILURES,
        pause: float = PAUSE,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        self._clock = clock
        self._limit = failures
        self._pause = pause
        self._on_open = on_open
        self._in_a_row = 0
        self._next_at = 0.0
        self.opened = 0

    @property
    def is_open(self) -> bool:
        """Whether attempts are held back."""
        return self._in_a_row >= self._limit

    def admit(self) -> Attempt:
        """Return an attempt, whose outcome its holder reports.

        Raises:
            StoreError: the breaker is open and no attempt is due.
        """
        if self.is_open:
            now = self._clock()
            if now < self._next_at:
                raise StoreError(f"not asked: no answer {self._in_a_row} times in a row")
            self._next_at = now + self._pause
        return Attempt(self)

    def answered(self) -> None:
        """The peer answered."""
        self._in_a_row = 0

    def unanswered(self) -> None:
        """The peer did not answer in time, or could not be reached."""
        self._in_a_row += 1
        if self._in_a_row == self._limit:
            self.opened += 1
            self._next_at = self._clock() + self._pause
            if self._on_open is not None:
                self._on_open()


class Attempt:
    """One admitted attempt; the first outcome reported is the one that counts."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: Breaker) -> None:
        self._breaker: Breaker | None = breaker

    def succeeded(self) -> None:
        """There was an answer, be it an error."""
        if self._breaker is not None:
            self._breaker.answered()
            self._breaker = None

    def failed(self) -> None:
        """There was none in time."""
        if self._breaker is not None:
            self._breaker.unanswered()
            self._breaker = None
