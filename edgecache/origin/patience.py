"""Waiting for one thing after another, each within its time: one timer serves many waits.

Theory
    Nearly every wait ends long before its time, and to set and cancel a timer for each of them costs more than most of
    what is done in between. So the timer of an earlier wait is left where it is; when it goes off and a later instant
    has come to be meant, it is set anew for that.

Invariants
    * ``lose`` is called once for each wait that was too long, never before its time, and as late as any timer would be.
    * After ``close`` nothing is called, and nothing is held.

Called by ``connection``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Patience"]


class Patience:
    """How long somebody waits; one wait at a time. Durations are seconds."""

    __slots__ = ("_goes_off", "_loop", "_lose", "_timer", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, lose: Callable[[], None]) -> None:
        self._loop = loop
        self._lose = lose
        self._until: float | None = None
        self._goes_off = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        """Begin to wait; ``lose`` is called unless ``end`` is within so many seconds."""
        self._until = self._loop.time() + seconds
        if self._timer is None or self._goes_off > self._until:
            self._set(self._until)

    def end(self) -> None:
        """It came."""
        self._until = None

    def close(self) -> None:
        """Nobody will wait any more."""
        self._until = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, instant: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._goes_off = instant
        self._timer = self._loop.call_at(instant, self._look)

    def _look(self) -> None:
        self._timer = None
        until = self._until
        if until is None:
            return
        if self._loop.time() < until:
            self._set(until)
        else:
            self._until = None
            self._lose()
