"""Processes that share a model of the log and a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from edgecache.errors import StoreError
from edgecache.purging.distributed import DistributedLedger
from edgecache.purging.log import Activation, Order, OrderReply, Sync, SyncReply
from edgecache.purging.node import Timing
from edgecache.purging.receipt import Receipt
from edgecache.purging.selector import Selector
from tests.purging.model import ModelLog, Unreachable

TIMING: Final = Timing(lease=10.0)
A: Final = Selector.of("tag", "a")


class Clock:
    """Time stands still until ``advance``; whoever sleeps is woken in the right order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        until = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self.now = until

    async def settle(self) -> None:
        """Let everybody go on as far as they can."""
        for _ in range(50):
            await asyncio.sleep(0)


class SharedLog:
    """A ``Log`` of one process over the model; ``parted`` cuts off this process alone."""

    def __init__(self, model: ModelLog) -> None:
        self.model = model
        self.parted = self.deaf = self.closed = False
        self.heard: list[Callable[[], None]] = []
        self.neighbours: list[SharedLog] = []

    def _reach(self) -> ModelLog:
        if self.parted:
            raise StoreError("parted")
        return self.model

    async def sync(self, sync: Sync) -> SyncReply:
        await asyncio.sleep(0)
        try:
            return self._reach().sync(sync)
        except Unreachable as error:
            raise StoreError("down") from error

    async def purge(self, order: Order) -> OrderReply:
        return await self._committed(lambda model: model.purge(order))

    async def activate(self, activation: Activation) -> OrderReply:
        return await self._committed(lambda model: model.activate(activation))

    async def _committed(self, ask: Callable[[ModelLog], OrderReply]) -> OrderReply:
        await asyncio.sleep(0)
        try:
            reply = ask(self._reach())
        except Unreachable as error:
            raise StoreError("down") from error
        for heard in (heard for one in self.neighbours if not one.deaf for heard in one.heard):
            heard()
        return reply

    async def leave(self, worker: str, epoch: bytes, heartbeat: int | None = None) -> None:
        member = self._reach().members.get(worker)
        if member is not None and heartbeat in (None, member.heartbeat):
            del self.model.members[worker]

    async def listen(self, heard: Callable[[], None]) -> None:
        self.heard.append(heard)
        heard()
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        self.closed = True


class Cluster:
    """Processes that share a model of the log and a clock."""

    def __init__(self) -> None:
        self.model, self.clock = ModelLog(capacity=100), Clock()
        self.logs: list[SharedLog] = []
        self.ledgers: list[DistributedLedger] = []

    async def join(self, *, extra: float = 0.0) -> DistributedLedger:
        log = SharedLog(self.model)
        log.neighbours = self.logs
        self.logs.append(log)
        name = f"w{len(self.logs)}"
        ledger = DistributedLedger(
            log, timing=TIMING, extra=extra, worker=name, clock=self.clock, sleep=self.clock.sleep
        )
        self.ledgers.append(ledger)
        await ledger.start()
        await self.clock.settle()
        return ledger

    async def settle(self) -> None:
        """Let the registry become complete."""
        await self.clock.advance(TIMING.term() + 1)

    async def purge(self, ledger: DistributedLedger, *selectors: Selector, within: float = 1.0) -> Receipt:
        purging = asyncio.create_task(ledger.purge(selectors or (A,), patience=within))
        await self.clock.advance(within)
        return await purging

    async def close(self) -> None:
        for ledger in self.ledgers:
            await ledger.close()
