"""Whether to trust a server. ``now`` is a parameter.

Called by ``server`` and ``upstreams``. Instants are seconds of any monotonic clock.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Health"]

_FAILURES: Final = 3
"""Consecutive failures that take a server out: one is an accident, two a coincidence."""

_FIRST_REST: Final = 1.0
_LONGEST_REST: Final = 30.0


class Health:
    """Passive health: what the last requests met.

    After ``_FAILURES`` failures in a row the server rests. When the rest is over, one request is let
    through as a probe, and the next rest begins with it: an answer ends the resting, and a probe that
    never comes to anything (its client left) has only cost that rest.
    """

    def __init__(self) -> None:
        self.failed_at = float("-inf")
        self._failures = 0
        self._rest = 0.0
        self._rest_until = 0.0

    def is_up(self) -> bool:
        """Tell whether the server is trusted with any number of requests."""
        return self._failures < _FAILURES

    def is_due(self, now: float) -> bool:
        """Tell whether the server has rested and may be probed."""
        return self._failures >= _FAILURES and now >= self._rest_until

    def probe(self, now: float) -> None:
        """Note that a request is being sent to a server that ``is_due``."""
        self._begin_rest(now)

    def succeeded(self) -> None:
        """Note an answer, whatever its status: a server that says 500 is there."""
        self._failures = 0
        self._rest = 0.0

    def failed(self, now: float) -> None:
        """Note a connection refused, an answer that never came, or one that was not HTTP."""
        was_up = self.is_up()
        self.failed_at = now
        self._failures += 1
        if was_up and not self.is_up():
            self._begin_rest(now)

    def _begin_rest(self, now: float) -> None:
        self._rest = min(max(_FIRST_REST, 2 * self._rest), _LONGEST_REST)
        self._rest_until = now + self._rest
