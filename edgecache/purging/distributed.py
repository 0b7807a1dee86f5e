"""The ledger of processes that share a log (``base.Ledger``): a ``Node``, a clock, and the task that keeps in step.

Theory
    One task does all syncing, one sync after the other: every period, when something was heard, and in quick
    succession while a purge waits to be acknowledged. After each it looks whether a waiting purge is. So a purge is
    answered about two round trips after its commit, or, when some process or the log is silent, once every older
    lease has run out.

Invariants
    * Reading never waits. What may be served is decided from memory: without a lease nothing is better than
      ``UNPROVEN``.
    * A failure of the log is never raised: it ends in a lease that runs out, and in receipts that promise less.
    * ``close`` stops serving before it leaves the registry.

Called by the engine (``release``, ``birth``, ``verdict``, ``verdict_of``), the admin listener (``purge``,
``activate``) and ``app`` (``start``, ``close``), on one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from edgecache.errors import ClientError, StoreError
from edgecache.purging.index import CAPACITY
from edgecache.purging.invalidations import Invalidations
from edgecache.purging.log import MAX_SELECTORS, Activation, Log, Order, OrderReply
from edgecache.purging.node import Commitment, Node, Timing
from edgecache.purging.receipt import Receipt, State, WorkerReceipt
from edgecache.purging.release import Release
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth, StoredResponse

__all__ = ["DistributedLedger", "boottime", "worker_name"]

_T = TypeVar("_T")

MAX_KEY: Final = 256
"""Characters of an idempotency key."""

_EAGER: Final = 0.002
_PATIENT: Final = 0.1
_GROWTH: Final = 1.25
"""Seconds between syncs while a purge waits: from the first to the second, each so many times the one before, so that
no more than a quarter is added to the time that it would take to know at once."""

_COURTESY: Final = 0.1
"""Seconds an unsafe request's answer waits at most, so that who sent it sees its effect at other processes too."""


def boottime() -> float:
    """Return seconds on a clock that neither jumps nor stops while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def worker_name() -> str:
    """Return a name that no process had before: host, process, and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(slots=True, eq=False)
class _Waiting:
    """A purge, or an activation, in the log that nobody was told about yet."""

    commitment: Commitment
    done: asyncio.Future[State]
    seen: dict[str, float] = field(default_factory=dict)


class DistributedLedger:
    """Purges of all processes that share ``log``, and the test of responses against them.

    Args:
        log: the shared log; closed with the ledger.
        timing: lease and clock error; the same for every process of the namespace.
        extra: the longest time some rule may serve without a lease, seconds, which every purge waits for; ``math.inf``
            for ever, and then a purge that this process does not hear of is ``PARTIAL``.
        capacity: selectors remembered.
        worker: name in the registry, never used before; by default ``worker_name()``.
        clock: seconds, monotonic.
        sleep: waits for seconds of that clock.
    """

    def __init__(
        self,
        log: Log,
        *,
        timing: Timing | None = None,
        extra: float = 0.0,
        capacity: int = CAPACITY,
        worker: str = "",
        clock: Callable[[], float] = boottime,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log: Final = log
        self._node: Final = Node(worker or worker_name(), timing, extra=extra, capacity=capacity)
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._wake: Final = asyncio.Event()
        self._waiting: list[_Waiting] = []
        self._rounds: list[asyncio.Future[bool]] = []
        self._stepping: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._sharing: asyncio.Task[None] | None = None
        self._invalidations: Final = Invalidations(
            self._node, log, clock, lambda: sleep(self._node.timing.period), self._wake.set
        )
        self._closing = False
        self._eagerness = _EAGER
        self.failure = ""

    # For the engine. Nothing here waits.

    @property
    def worker(self) -> str:
        """This process's name in the registry."""
        return self._node.worker

    @property
    def sequence(self) -> int:
        """The last purge applied here, within the epoch of ``birth``."""
        return self._node.applied

    @property
    def last_hard(self) -> int:
        """The last hard purge applied here."""
        return self._node.last_hard

    @property
    def release(self) -> Release:
        """The active release, as far as it is known here; out of date perhaps when there is no lease."""
        return self._node.release

    @property
    def epoch(self) -> bytes:
        """The log's epoch; empty before the first sync."""
        return self._node.epoch

    def leased(self, extra: float = 0.0) -> bool:
        """Whether what is known here suffices to serve by; ``extra`` seconds longer if a rule allows it."""
        return self._node.leased(self._clock(), extra)

    def birth(self) -> Birth:
        """Return the position to stamp a response with; taken before its origin request is sent."""
        return self._node.birth()

    def is_current(self, birth: Birth) -> bool:
        """Whether what was born there may be served, whatever it is: there was no purge since, and there is a lease."""
        return self._node.is_current(birth) and self._node.leased(self._clock())

    def verdict(self, response: StoredResponse, *, checked: int = 0, extra: float = 0.0) -> Verdict:
        """Return whether it may be served. ``checked``: the ``sequence`` at which it was last found ``VALID``."""
        return self.verdict_of(response.birth, response.uri, response.tags, checked=checked, extra=extra)

    def verdict_of(
        self, birth: Birth, uri: str, tags: Iterable[str] = (), *, checked: int = 0, extra: float = 0.0
    ) -> Verdict:
        """As ``verdict``, for a response that is still on its way."""
        if self._node.is_news(birth):
            self._wake.set()
        verdict = self._node.verdict(birth, uri, tags if isinstance(tags, frozenset) else frozenset(tags), checked)
        return verdict if verdict is Verdict.INVALID or self.leased(extra) else Verdict.UNPROVEN

    # For whoever purges.

    async def purge(
        self, selectors: Sequence[Selector], *, idempotency_key: str = "", patience: float | None = None
    ) -> Receipt:
        """Purge at every process; all selectors or none. Here it has taken effect before this waits for anything.

        Returns when the purge is confirmed, one term after its commit at the latest, or when ``patience`` (seconds;
        None: as long as it takes) is over. Raises ``ClientError``: 400 for too many selectors or none, 422 for a key
        that other selectors had.
        """
        ordered = tuple(dict.fromkeys(selectors))
        if not 1 <= len(ordered) <= MAX_SELECTORS or len(idempotency_key) > MAX_KEY:
            what = f"1 to {MAX_SELECTORS} selectors, and an idempotency key of at most {MAX_KEY} characters"
            raise ClientError(400, f"a purge takes {what}")
        node = self._node
        order = node.order(ordered)
        purge = partial(self._log.purge, Order(ordered, node.epoch, node.applied, idempotency_key, node.known))
        return await self._committed(purge, partial(node.commit, order=order), partial(node.withdraw, order), patience)

    async def activate(self, name: str, *, held: bool = False, patience: float | None = None) -> Receipt:
        """Let a release be the active one at every process; here it is before this waits for anything.

        Returns as ``purge`` does. Raises ``ClientError`` (400) for what cannot be a name.
        """
        node = self._node
        intended = node.intend(name, held=held)
        replace = partial(self._replace, name, held=held)
        return await self._committed(replace, node.activated, partial(node.desist, intended), patience)

    async def _replace(self, name: str, *, held: bool) -> OrderReply:
        """Try again whenever something else has become of the log since this process last heard of it."""
        node = self._node
        while True:
            reply = await self._log.activate(Activation(name, held, node.epoch, node.applied, node.known))
            if isinstance(reply, OrderReply):
                return reply
            node.learn(reply)
            if not await self.sync():
                raise StoreError(self.failure or "the purge log was lost")

    async def _committed(
        self,
        ask: Callable[[], Awaitable[OrderReply]],
        commit: Callable[[OrderReply, float], Commitment],
        withdraw: Callable[[], None],
        patience: float | None,
    ) -> Receipt:
        """Wait until the log has it, then until everybody has; ``withdraw`` it here when the log may not have it."""
        began, commitment = self._clock(), None
        try:
            if not self._in_step():
                raise StoreError("this process is not connected to the purge log")
            commitment = commit(await ask(), self._clock())
        except StoreError as error:
            return Receipt(State.UNCONFIRMED, 0, b"", (), self._clock() - began, str(error))
        finally:
            if commitment is None:
                withdraw()
        waiting = _Waiting(commitment, asyncio.get_running_loop().create_future())
        return self._receipt(waiting, await self._acknowledgement(waiting, patience), began)

    async def _acknowledgement(self, waiting: _Waiting, patience: float | None) -> State:
        if not self._in_step():
            return State.PARTIAL
        self._waiting.append(waiting)
        self._eagerness = _EAGER
        self._wake.set()
        try:
            if patience is None:
                return await waiting.done
            await _first(waiting.done, self._sleep(patience))
            return waiting.done.result() if waiting.done.done() else State.PARTIAL
        finally:
            self._waiting.remove(waiting)

    def _receipt(self, waiting: _Waiting, state: State, began: float) -> Receipt:
        purge = waiting.commitment
        workers = tuple(
            WorkerReceipt(worker, worker in waiting.seen, waiting.seen.get(worker))
            for worker in self._node.workers(purge)
        )
        detail = "" if state is State.CONFIRMED else "not every process has declared it applied"
        return Receipt(state, purge.sequence, purge.epoch, workers, self._clock() - began, detail)

    async def invalidate(self, selectors: Sequence[Selector]) -> None:
        """Purge here at once and elsewhere as soon as possible; waits for the log a moment, if it is there."""
        tried = self._invalidations.add(selectors)
        if self._in_step() and not self.failure:
            await _first(tried, self._sleep(_COURTESY))

    async def catch_up(self, sequence: int) -> bool:
        """Sync unless the purge with this sequence is known here; return whether it is now."""
        return self.sequence >= sequence or (await self.sync() and self.sequence >= sequence)

    def retire(self) -> None:
        """Nothing to do: purgers wait for whoever is registered or has a lease."""

    async def sync(self) -> bool:
        """Sync as soon as possible; return whether this process then knew everything that is in the log."""
        if not self._in_step():
            return False
        finished: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._rounds.append(finished)
        self._wake.set()
        return await finished

    async def forget(self, worker: str) -> bool:
        """Remove a worker that is known not to run any more; return False when the log did not answer.

        Needed only for one whose rules let it serve without a lease for ever: others are removed in time.
        """
        with contextlib.suppress(StoreError):
            await self._log.leave(worker, self._node.epoch)
            self._node.forget(worker)
            return True
        return False

    # Keeping in step.

    async def start(self) -> bool:
        """Begin to sync; return whether the first one worked. Without the log the edge starts all the same."""
        self._stepping = asyncio.create_task(self._keep_in_step())
        self._listening = asyncio.create_task(self._keep_listening())
        self._sharing = asyncio.create_task(self._invalidations.run())
        return await self.sync()

    def _in_step(self) -> bool:
        return self._stepping is not None and not self._stepping.done()

    async def close(self) -> None:
        """Stop serving, leave the registry, and close the log; purges that still wait are answered ``PARTIAL``."""
        self._closing = True
        self._wake.set()
        helping = [task for task in (self._listening, self._sharing) if task is not None]
        for task in helping:
            task.cancel()
        await asyncio.gather(*helping, return_exceptions=True)
        if self._stepping is not None:
            await self._stepping  # not cancelled: a sync that arrives after the leave would register again
        self._node.leave()
        for waiting in self._waiting:
            _settle(waiting.done, State.PARTIAL)
        self._end_rounds(self._rounds, worked=False)
        with contextlib.suppress(StoreError):  # whoever does not leave is removed in time
            await self._log.leave(self._node.worker, self._node.epoch)
        await self._log.close()

    async def _keep_in_step(self) -> None:
        while not self._closing:
            self._wake.clear()
            rounds, self._rounds = self._rounds, []
            worked = await self._sync()
            self._acknowledge()
            self._end_rounds(rounds, worked=worked)
            if worked:
                await self._bury()
            await _first(self._sleep(self._pause(worked)), self._wake.wait())

    async def _sync(self) -> bool:
        """Sync until all is known and declared; return False when the log failed."""
        try:
            complete = False
            while not (complete or self._closing):
                sync = self._node.begin(self._clock(), census=bool(self._waiting))
                complete = self._node.take(sync, await self._log.sync(sync), self._clock())
        except StoreError as error:
            self.failure = str(error)
            return False
        self.failure = ""
        return True

    def _acknowledge(self) -> None:
        now = self._clock()
        for waiting in self._waiting:
            for worker in self._node.members:
                if self._node.has_applied(worker, waiting.commitment):
                    waiting.seen.setdefault(worker, (now - waiting.commitment.committed_at) * 1000)
            state = self._node.acknowledged(waiting.commitment, now)
            if state is not None:
                _settle(waiting.done, state)

    async def _bury(self) -> None:
        for worker, heartbeat in self._node.dead(self._clock()):
            with contextlib.suppress(StoreError):  # the next round tries again
                await self._log.leave(worker, self._node.epoch, heartbeat)

    def _pause(self, worked: bool) -> float:
        """Return how long to wait for the next sync, seconds."""
        waiting = [one.commitment for one in self._waiting if not one.done.done()]
        if not waiting:
            return self._node.timing.period
        now = self._clock()
        ends = (end(one) for one in waiting for end in (self._node.expires_at, self._node.gives_up_at))
        soonest = min((end - now for end in ends if end > now), default=math.inf)
        if worked:
            pause, self._eagerness = self._eagerness, min(_GROWTH * self._eagerness, _PATIENT)
        else:
            pause = self._node.timing.period
        return max(0.0, min(pause, soonest))

    def _end_rounds(self, rounds: Iterable[asyncio.Future[bool]], *, worked: bool) -> None:
        for finished in rounds:
            _settle(finished, worked)

    async def _keep_listening(self) -> None:
        """Hints only: without them a purge arrives with the next regular sync."""
        while True:
            with contextlib.suppress(StoreError):
                await self._log.listen(self._wake.set)
            await self._sleep(self._node.timing.period)


def _settle(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():
        future.set_result(result)


async def _first(*awaitables: Awaitable[object]) -> None:
    """Wait until one of them is done; cancel those that are coroutines."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, one in zip(tasks, awaitables, strict=True):
            if task is not one:
                task.cancel()
