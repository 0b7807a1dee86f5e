"""What a purge is answered with: how far it is known to have come, and where.

``CONFIRMED`` is the promise: no request that arrives from now on, at any process, is answered from a response that
the purge matches and whose origin request was sent before it. The other states promise less, and say what is missing.

An activation is answered the same way. Confirmed, it promises that no process serves what is stored under another
release, until the next one is ordered.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Receipt", "State", "WorkerReceipt"]


class State(enum.StrEnum):
    """How far a purge has come."""

    CONFIRMED = "confirmed"
    PARTIAL = "partial"
    """It is in the log; some process may still answer without it, or there was no patience to wait until none does."""
    UNCONFIRMED = "unconfirmed"
    """It is not known to be in the log. Asking again with the same idempotency key is safe."""

    @property
    def status(self) -> int:
        """The HTTP status code: 200, 202 or 503."""
        return {"confirmed": 200, "partial": 202, "unconfirmed": 503}[self.value]


@dataclass(frozen=True, slots=True)
class WorkerReceipt:
    """What one process said.

    Attributes:
        worker: its name in the registry: host, process and a random part.
        applied: whether it has declared the purge applied.
        milliseconds: from the purge's commit until the purger saw that declaration; None while it has not.
    """

    worker: str
    applied: bool
    milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a purge.

    Attributes:
        epoch, sequence: its place in the log; empty and 0 when unconfirmed.
        workers: the registered processes, by name. One that is gone without a word stays listed for a while.
        waited: seconds from the request to this receipt.
        detail: for people, why it is not confirmed; empty when it is.
    """

    state: State
    sequence: int
    epoch: bytes
    workers: tuple[WorkerReceipt, ...]
    waited: float
    detail: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the processes that have not declared the purge applied."""
        return tuple(one.worker for one in self.workers if not one.applied)
