"""What the answer to one request tells about the answers to others.

Theory
    An answer that is not stored may say that its target has nothing to store any more: then what is stored has had its
    time, and nobody waits for such answers (hit-for-miss). Or it says something about this one request: its fields,
    its credentials, its wish that nothing be stored. From that nothing follows for others, or whoever asks oddly could
    take away what everybody uses (RFC 9111 §4.3.3 leaves a cache the choice).

Called by ``engine.fetch`` and ``engine.through``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgecache.engine.collapse import KEPT_OUT, Collapse, Flight
from edgecache.engine.counters import Counters
from edgecache.engine.plan import Plan
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.selection import is_of_the_request
from edgecache.semantics.stored import StoredResponse

__all__ = ["Marks", "ends_what_is_stored", "is_telling", "is_update_for_one"]

_OF_THE_REQUEST: Final = frozenset({Reason.REQUEST_NO_STORE, Reason.UNKEYED_FIELD})


def is_telling(plan: Plan, status: int, reason: Reason) -> bool:
    """Whether others who are like the one who asked would be answered so too.

    A server error says nothing about the next answer, and a herd must not follow it.
    """
    is_odd = plan.is_alone or reason in _OF_THE_REQUEST or reason in KEPT_OUT
    return not (is_odd or status >= 500 or is_of_the_request(status))


def ends_what_is_stored(plan: Plan, status: int, reason: Reason) -> bool:
    """Whether everybody would be answered so, and what is stored has had its time."""
    return is_telling(plan, status, reason) and not plan.is_personal


def is_update_for_one(plan: Plan, stored: StoredResponse, updated: StoredResponse) -> bool:
    """Whether what a 304 or a HEAD made of a stored response is for who asked alone, and others keep what there was."""
    return plan.is_personal and updated.freshness.must_validate and not stored.freshness.must_validate


class Marks:
    """Whether waiting for a key is worth it, as answers tell (hit-for-miss)."""

    __slots__ = ("_clock", "_collapse", "_counters", "_policy")

    def __init__(self, collapse: Collapse, counters: Counters, policy: Policy, clock: Callable[[], float]) -> None:
        self._collapse = collapse
        self._counters = counters
        self._policy = policy
        self._clock = clock

    def mark(self, flight: Flight) -> None:
        """Let nobody wait for what could not be shared; with credentials, nobody who has some."""
        self._counters.hit_for_miss_marks += 1
        until = self._clock() + self._policy.hit_for_miss
        self._collapse.mark(flight.key, until, personal=flight.is_personal)

    def note(self, flight: Flight, response: StoredResponse) -> None:
        """Remember what is stored: a response that is stale on arrival answers nobody else."""
        now = self._clock()
        if is_of_the_request(response.status):
            return
        if response.freshness.is_fresh(now) and not response.freshness.must_validate:
            self._collapse.unmark(flight.key)
        else:
            self.mark(flight)
