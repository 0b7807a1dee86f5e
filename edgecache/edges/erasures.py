"""Erasing: the bodies that a hard purge hit are taken out of Redis, one purge at a time, while requests go on.

Theory
    A purge makes responses unusable, and every process frees its memory of them. In Redis they rest until their time
    is over; who has to be rid of the bytes asks for erasing. Then every key is looked at, and what the selectors match
    goes, unless it is known to have been born after the purge. What was stored before the log was lost is of another
    epoch, and of that nothing is known: it goes.

    A look through takes out what is there, and something may be on its way. No process begins to write what it knows
    to be purged, so on its way are only writes that had begun before: a large body is named by its list within
    the time that its chunks live without one, or never. So there are two passes, the second ``LATE`` seconds after
    the first; by then chunks of bodies that were replaced have ended as well.

Promise
    When an erasure is done, no body that its selectors match and whose origin request was sent before the purge is
    in Redis: less than a minute after the purge, and the time that two looks take. Two exceptions. A large body whose
    writing failed in that time leaves chunks behind, which nothing refers to, and which end after another half minute.
    And a process that did not confirm the purge may write what it kept: ``detail`` names it.

Invariants
    * One erasure runs, ``_MAX_WAITING`` wait, ``_REMEMBERED`` are remembered.
    * What fails is said, and nothing is tried again by itself: another purge that erases is always safe.
    * They end with the process; nobody knows of them then.

Made and closed by the composition root; called by ``edges.purges``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import msgspec

from edgecache.edges.purge_messages import Erasure, ErasureState
from edgecache.engine.counters import Counters
from edgecache.errors import ClientError, StoreError
from edgecache.purging.index import PurgeIndex
from edgecache.purging.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from edgecache.purging.receipt import Receipt
    from edgecache.purging.selector import Selector
    from edgecache.semantics.stored import StoredResponse

__all__ = ["LATE", "Erase", "Erasures", "Progress"]

LATE: Final = 31.0
"""Seconds between the passes: longer than chunks live without a list (``stores.redis_body.SHORT_LIFE``)."""

_LOOK: Final = 0.25
"""Seconds between looks at the clock while waiting: it may go on while the machine sleeps."""

_MAX_WAITING: Final = 16
_REMEMBERED: Final = 200

_AGAIN: Final = "purge again with erase"
_WAITING: Final = "looks once more when nothing is being written"


class Progress(Protocol):
    """``stores.redis_erase.Erased``."""

    @property
    def scanned(self) -> int:
        """Keys looked at."""
        ...

    @property
    def erased(self) -> int:
        """Responses that matched and are gone."""
        ...

    @property
    def dropped(self) -> int:
        """What could not be read, and is gone for that."""
        ...


Erase: TypeAlias = "Callable[[Callable[[StoredResponse], bool]], AsyncIterator[Progress]]"
"""``stores.redis.RedisStore.erase``."""


@dataclass(slots=True, eq=False)
class _Erasing:
    """An erasure, what it is to take out, and who may go on writing that."""

    said: Erasure
    takes: Callable[[StoredResponse], bool]
    missing: Sequence[str]

    def say(self, **changes: object) -> None:
        self.said = msgspec.structs.replace(self.said, **changes)


class Erasures:
    """Erases what purges hit.

    Args:
        erase: takes out of Redis what matches; None where there is no Redis, and then every erasure is done at once.
        counters: where it is counted what went.
        now: POSIX seconds.
        steady: seconds, monotonic.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        erase: Erase | None = None,
        *,
        counters: Counters | None = None,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._erase: Final = erase
        self._counters: Final = counters or Counters()
        self._now: Final = now
        self._steady: Final = steady
        self._sleep: Final = sleep
        self._known: Final[OrderedDict[str, _Erasing]] = OrderedDict()
        self._waiting: Final[deque[_Erasing]] = deque()
        self._admitted = 0
        self._working: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Have a place for an erasure that may begin; raise ``ClientError`` (429) when none is left."""
        if self._admitted + len(self._waiting) >= _MAX_WAITING:
            reason = f"{_MAX_WAITING} erasures wait already, so nothing was purged; purge without erase, or later"
            raise ClientError(429, reason)
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    def begin(self, id: str, who: str, selectors: Sequence[Selector], receipt: Receipt) -> Erasure:
        """Erase what a purge hit, as soon as no other erasure runs; return how it stands."""
        erasing = _Erasing(Erasure(id, who, ErasureState.QUEUED), _purged(selectors, receipt), receipt.missing)
        self._remember(id, erasing)
        if self._erase is None:
            erasing.say(state=ErasureState.DONE, started=self._when(), ended=self._when(), detail="there is no Redis")
            return erasing.said
        self._waiting.append(erasing)
        if self._working is None or self._working.done():
            erasing.say(state=ErasureState.RUNNING, started=self._when())
            self._working = asyncio.get_running_loop().create_task(self._work(self._erase))
        return erasing.said

    def find(self, id: str) -> Erasure | None:
        """Return how an erasure stands; None when it is not known here."""
        erasing = self._known.get(id)
        return erasing.said if erasing is not None else None

    async def close(self) -> None:
        """Stop, wherever it is."""
        self._waiting.clear()
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    def _remember(self, id: str, erasing: _Erasing) -> None:
        self._known[id] = erasing
        if len(self._known) > _REMEMBERED:
            # The oldest has ended: far fewer can be waiting.
            self._known.popitem(last=False)

    async def _work(self, erase: Erase) -> None:
        while self._waiting:
            erasing = self._waiting.popleft()
            erasing.say(state=ErasureState.RUNNING, started=erasing.said.started or self._when())
            failure = f"the process stopped before it was done; {_AGAIN}"
            try:
                await self._twice(erase, erasing)
                failure = ""
            except StoreError as error:
                failure = f"{error}; {_AGAIN}"
            finally:
                state = ErasureState.FAILED if failure else ErasureState.DONE
                erasing.say(state=state, ended=self._when(), detail=failure or _reservation(erasing.missing))

    async def _twice(self, erase: Erase, erasing: _Erasing) -> None:
        await self._look_through(erase, erasing)
        until = self._steady() + LATE
        erasing.say(detail=_WAITING)
        while self._steady() < until:
            await self._sleep(_LOOK)
        erasing.say(detail="")
        await self._look_through(erase, erasing)

    async def _look_through(self, erase: Erase, erasing: _Erasing) -> None:
        before = erasing.said
        async for step in erase(erasing.takes):
            erased = before.erased + step.erased
            self._counters.purge_erased += erased - erasing.said.erased
            erasing.say(scanned=before.scanned + step.scanned, erased=erased, dropped=before.dropped + step.dropped)

    def _when(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")


def _purged(selectors: Sequence[Selector], receipt: Receipt) -> Callable[[StoredResponse], bool]:
    """Return whether a response is hit by the selectors of a purge, and not known to have been born after it."""
    index = PurgeIndex()
    index.note(1, selectors)

    def takes(response: StoredResponse) -> bool:
        birth = response.birth
        if birth.epoch == receipt.epoch and birth.sequence >= receipt.sequence:
            return False
        return index.verdict(0, response.uri, response.tags) is Verdict.INVALID

    return takes


def _reservation(missing: Sequence[str]) -> str:
    """Return what is to be said about processes that have not confirmed the purge."""
    if not missing:
        return ""
    return f"not confirmed by {', '.join(missing)}: what they still write may stay; {_AGAIN} when they are back or gone"
