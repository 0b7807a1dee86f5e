"""Whether to trust a server, and whether a retry is affordable: two small ledgers. ``now`` is a parameter.

Called by ``server`` and ``upstreams``. Instants are seconds of any monotonic clock.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Health", "RetryBudget"]

_FAILURES: Final = 3
"""Consecutive failures that take a server out: one is an accident, two a coincidence."""

_FIRST_REST: Final = 1.0
_LONGEST_REST: Final = 30.0

_RETRY_SHARE: Final = 0.1
"""Retries per request, so that retries can add a tenth to the load of an origin that is failing."""

_RETRY_RESERVE: Final = 3.0
_RETRY_CEILING: Final = 100.0
_RESERVE_PERIOD: Final = 10.0


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
        return not self.is_up() and now >= self._rest_until

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


class RetryBudget:
    """A token bucket: every request adds a tenth of a retry, every retry takes a whole one.

    A reserve of three refills with time, so that a quiet origin can be retried too; the ceiling makes
    "recent requests" mean the last thousand.
    """

    def __init__(self, now: float) -> None:
        self._tokens = _RETRY_RESERVE
        self._filled_at = now

    def note_request(self, now: float) -> None:
        """Count a request that came from a client."""
        refill = (now - self._filled_at) * _RETRY_RESERVE / _RESERVE_PERIOD
        self._filled_at = now
        self._tokens = max(self._tokens, min(self._tokens + refill, _RETRY_RESERVE))
        self._tokens = min(self._tokens + _RETRY_SHARE, _RETRY_CEILING)

    def spend(self) -> bool:
        """Take one retry; False when there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
