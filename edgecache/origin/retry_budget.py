"""Whether another attempt is affordable: a small ledger. ``now`` is a parameter.

Called by ``upstreams``, for connections that failed, and by the engine, for assets that one server of several may not
have yet. Instants are seconds of any clock that does not jump by much.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RetryBudget"]

_RETRY_SHARE: Final = 0.1
"""Retries per request, so that retries can add a tenth to the load of an origin that is failing."""

_RETRY_RESERVE: Final = 3.0
_RETRY_CEILING: Final = 100.0
_RESERVE_PERIOD: Final = 10.0


class RetryBudget:
    """A token bucket: every request adds a tenth of a retry, every retry takes a whole one.

    A reserve, of three if nobody says otherwise, refills with time, so that a quiet origin can be retried too; the
    ceiling makes "recent requests" mean the last thousand.
    """

    def __init__(self, now: float, reserve: float = _RETRY_RESERVE) -> None:
        self._tokens = reserve
        self._reserve = reserve
        self._filled_at = now

    def note_request(self, now: float, count: int = 1) -> None:
        """Count a request that came from a client, or several that came since the last time."""
        if self._tokens < self._reserve:
            refill = (now - self._filled_at) * self._reserve / _RESERVE_PERIOD
            self._tokens = max(self._tokens, min(self._tokens + refill, self._reserve))
        self._filled_at = now
        self._tokens = min(self._tokens + count * _RETRY_SHARE, _RETRY_CEILING)

    def spend(self) -> bool:
        """Take one retry; False when there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def give_back(self) -> None:
        """Put a retry back that was worth it."""
        self._tokens = min(self._tokens + 1.0, _RETRY_CEILING)
