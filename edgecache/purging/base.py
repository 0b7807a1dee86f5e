"""What the engine and the admin listener know of a ledger, whether it lives in one process or in many.

Theory
    Copies of a purged response may be anywhere, also on their way from the origin. None is hunted down: each carries
    the ledger's position from before its origin request was sent (``Birth``), each purge advances the position
    and notes it for its selector, and a response may be served only if no matching purge is newer than its
    birth. So an acknowledged purge cannot be undone by a fill that began before it.

    Beside the purges it carries one register, the active release (``purging.release``), which changes at every process
    by one order as a purge does.

Contract
    * ``birth`` and ``verdict`` never wait. ``verdict`` is antitone: a response never gets a better one later.
    * ``purge`` has taken effect in this process when it is called: what is decided after it, even before it returns,
      knows it, unless its receipt says ``UNCONFIRMED``. So has ``activate``; of two at the same time the later counts.
    * After an activation is confirmed nobody uses another release to serve what is stored, until the next is ordered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from edgecache.purging.log import MAX_SELECTORS
from edgecache.purging.receipt import Receipt
from edgecache.purging.release import Release
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth, StoredResponse

__all__ = ["MAX_SELECTORS", "Ledger", "Release"]


class Ledger(Protocol):
    """What has been purged, and the test of responses against it."""

    @property
    def sequence(self) -> int:
        """The last purge, or activation, known here."""
        ...

    @property
    def release(self) -> Release:
        """The active release, as far as it is known here: never waits.

        Where nothing is proven it may be out of date; what is stored then is stored under it all the same, and not
        looked up once a newer one is known here.
        """
        ...

    @property
    def last_hard(self) -> int:
        """The last of them that was hard: as long as it is the same, nothing more has become ``INVALID``."""
        ...

    def birth(self) -> Birth:
        """Return the position to stamp a response with; taken before its origin request is sent."""
        ...

    def is_current(self, birth: Birth) -> bool:
        """Whether what was born there is ``VALID``, whatever it is: there has been no purge since. Cheap."""
        ...

    def verdict(self, response: StoredResponse) -> Verdict:
        """Return whether a stored response may be served, as far as purges are concerned."""
        ...

    def verdict_of(self, birth: Birth, uri: str, tags: Iterable[str] = ()) -> Verdict:
        """As ``verdict``, for a response that is still on its way."""
        ...

    async def purge(
        self, selectors: Sequence[Selector], *, idempotency_key: str = "", patience: float | None = None
    ) -> Receipt:
        """Purge what the selectors match, all of them or none.

        Returns when it is confirmed everywhere, or ``patience`` (seconds; None: as long as it takes) is over.
        Raises ``ClientError`` for selectors or a key that cannot be accepted.
        """
        ...

    async def activate(self, name: str, *, held: bool = False, patience: float | None = None) -> Receipt:
        """Let a release be the active one, everywhere; ``held`` when it is rolled back to.

        Returns as ``purge`` does. What is active already may be activated again, which is confirmed like any other.
        Raises ``ClientError`` (400) for what cannot be a name.
        """
        ...

    async def invalidate(self, selectors: Sequence[Selector]) -> None:
        """Purge for want of freshness, not by order (RFC 9111 §4.4): in force here at once, elsewhere soon.

        Nobody is told how far it came. What cannot be shared now is shared as soon as possible.
        """
        ...

    async def start(self) -> bool:
        """Begin; return whether other processes can be heard. Where not, nothing is proven until they can."""
        ...

    async def catch_up(self, sequence: int) -> bool:
        """Ask for news unless the purge with this sequence is known here; return whether it is now."""
        ...

    def retire(self) -> None:
        """Let nothing be valid here from now on unless other processes know that this one is there."""
        ...

    async def close(self) -> None:
        """Leave; nothing is served by this ledger afterwards."""
        ...
