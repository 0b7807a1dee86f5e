"""The ledger that lives in one process: the embedded default.

A purge takes effect, and is confirmed, the moment it is ordered: there is nobody else to ask. Its epoch is random, so
that what another process, or an earlier life of this one, has stored is never taken for valid.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from edgecache.errors import ClientError
from edgecache.purging.index import CAPACITY, PurgeIndex
from edgecache.purging.log import MAX_SELECTORS
from edgecache.purging.receipt import Receipt, State, WorkerReceipt
from edgecache.purging.release import NO_RELEASE
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth, StoredResponse

__all__ = ["LocalLedger"]

_MAX_KEYS: Final = 10_000

_REPLACED: Final = Receipt(State.UNCONFIRMED, 0, b"", (), 0.0, "this process is being replaced: ask its successor")


class LocalLedger:
    """Purges of this process (``base.Ledger``). ``capacity`` selectors are remembered."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.release = NO_RELEASE
        self._position = Birth(secrets.token_bytes(16), 0)
        self._index: Final = PurgeIndex(capacity)
        self._worker: Final = f"{socket.gethostname()}:{os.getpid()}"
        self._ordered: OrderedDict[str, tuple[int, tuple[Selector, ...]]] = OrderedDict()

    @property
    def sequence(self) -> int:
        """Number of purges and activations so far."""
        return self._position.sequence

    @property
    def last_hard(self) -> int:
        """The last hard purge."""
        return self._index.last_hard

    @property
    def remembered(self) -> int:
        """Number of selectors in the index."""
        return self._index.remembered

    def birth(self) -> Birth:
        """Return the position now."""
        return self._position

    def is_current(self, birth: Birth) -> bool:
        """Whether there was no purge since."""
        position = self._position
        return (birth is position or birth == position) and position.epoch != b""

    def verdict(self, response: StoredResponse) -> Verdict:
        """Return whether a stored response survives every purge so far."""
        birth = response.birth
        return Verdict.VALID if self.is_current(birth) else self.verdict_of(birth, response.uri, response.tags)

    def verdict_of(self, birth: Birth, uri: str, tags: Iterable[str] = ()) -> Verdict:
        """As ``verdict``, for a response that is still on its way."""
        if birth.epoch != self._position.epoch or not birth.epoch:
            return Verdict.UNPROVEN
        return self._index.verdict(birth.sequence, uri, tags if isinstance(tags, frozenset) else frozenset(tags))

    async def purge(
        self, selectors: Sequence[Selector], *, idempotency_key: str = "", patience: float | None = None
    ) -> Receipt:
        """Purge at once. An order with a key that was seen is the same purge, not another."""
        return self.purge_now(selectors, idempotency_key=idempotency_key)

    def purge_now(self, selectors: Sequence[Selector], *, idempotency_key: str = "") -> Receipt:
        """As ``purge``, without waiting. Raises ``ClientError``: 400 for too many, 422 for a key used for others."""
        ordered = tuple(dict.fromkeys(selectors))
        if not 1 <= len(ordered) <= MAX_SELECTORS:
            raise ClientError(400, f"a purge takes 1 to {MAX_SELECTORS} selectors")
        if not self._position.epoch:
            return _REPLACED
        known = self._ordered.get(idempotency_key) if idempotency_key else None
        if known is None:
            self._move()
            self._index.note(self.sequence, ordered)
            self._remember(idempotency_key, ordered)
            return self._receipt(self.sequence)
        if known[1] != ordered:
            raise ClientError(422, "this idempotency key was used for other selectors")
        return self._receipt(known[0])

    async def activate(self, name: str, *, held: bool = False, patience: float | None = None) -> Receipt:
        """Let a release be the active one at once. Raises ``ClientError`` (400) for what cannot be a name."""
        release = self.release.then(name, held=held, sequence=self.sequence + 1)
        if not self._position.epoch:
            return _REPLACED
        self.release = release
        self._move()
        return self._receipt(release.sequence)

    async def invalidate(self, selectors: Sequence[Selector]) -> None:
        """Purge at once."""
        for start in range(0, len(selectors), MAX_SELECTORS):
            self.purge_now(selectors[start : start + MAX_SELECTORS])

    async def start(self) -> bool:
        """Nobody to hear."""
        return True

    async def catch_up(self, sequence: int) -> bool:
        """Return whether there was such a purge."""
        return self.sequence >= sequence

    def retire(self) -> None:
        """A successor takes over, whose purges are not heard here: all that was stored so far is unproven."""
        self._position = Birth(b"", self.sequence)

    async def close(self) -> None:
        """Nothing to leave."""

    def _move(self) -> None:
        self._position = Birth(self._position.epoch, self.sequence + 1)

    def _remember(self, key: str, ordered: tuple[Selector, ...]) -> None:
        if key:
            self._ordered[key] = self.sequence, ordered
            if len(self._ordered) > _MAX_KEYS:
                self._ordered.popitem(last=False)

    def _receipt(self, sequence: int) -> Receipt:
        return Receipt(State.CONFIRMED, sequence, self._position.epoch, (WorkerReceipt(self._worker, True, 0.0),), 0.0)
