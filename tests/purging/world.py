"""An origin, edge processes with a ledger each, and copies of its responses wherever they may be.

The oracle of G1: content changes and is then purged; once that is confirmed, nobody may serve the older content from
a copy. Every process keeps copies, and all share some, as stores do; nothing but the verdict keeps an old one back.
And releases are activated, one after the other; once one is confirmed, nobody who may serve uses an older one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from edgecache.purging.distributed import DistributedLedger
from edgecache.purging.node import Timing
from edgecache.purging.receipt import Receipt, State
from edgecache.purging.redis_log import RedisLog, connect
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth

__all__ = ["PATIENCE", "TIMING", "World"]

TIMING: Final = Timing(lease=0.2)
"""A term that a test can wait for again and again."""

PATIENCE: Final = 0.3
"""Seconds for one operation of the log."""

_PATHS: Final = 6
_PACE: Final = 0.001


@dataclass(frozen=True)
class Copy:
    version: int
    birth: Birth


@dataclass(eq=False)
class Process:
    ledger: DistributedLedger
    copies: dict[int, Copy] = field(default_factory=dict)


@dataclass
class World:
    """``hits`` are answers from copies; ``stale`` those that broke the promise, ``astray`` those of an old release."""

    urls: list[str]
    replicas: int = 0
    processes: list[Process] = field(default_factory=list)
    shared: dict[int, Copy] = field(default_factory=dict)
    versions: list[int] = field(default_factory=lambda: [0] * _PATHS)
    required: list[int] = field(default_factory=lambda: [0] * _PATHS)
    receipts: list[State] = field(default_factory=list)
    hits: int = 0
    stale: int = 0
    switches: int = 0
    astray: int = 0
    in_force: int = 0

    @asynccontextmanager
    async def living(self) -> AsyncIterator[World]:
        """Begin to ask and to purge, at every process, until the end of the block."""
        for url in self.urls:
            log = RedisLog(connect(url), "test", replicas=self.replicas, patience=PATIENCE)
            self.processes.append(Process(DistributedLedger(log, timing=TIMING)))
        for process in self.processes:
            await process.ledger.start()
        try:
            async with asyncio.TaskGroup() as lives:
                tasks = [lives.create_task(self._switching())]
                tasks += [
                    lives.create_task(life(process, random.Random(number)))
                    for number, process in enumerate(self.processes)
                    for life in (self._asking, self._purging)
                ]
                yield self
                for task in tasks:
                    task.cancel()
        finally:
            for process in self.processes:
                await process.ledger.close()

    async def passing(self) -> None:
        """Let a little time pass."""
        await asyncio.sleep(_PACE)

    async def until(self, *, confirmed: int = 3, hits: int = 50) -> None:
        """Return when so many more purges were confirmed, and so many more answers given from copies."""
        confirmed += self.receipts.count(State.CONFIRMED)
        hits += self.hits
        while self.receipts.count(State.CONFIRMED) < confirmed or self.hits < hits:
            await self.passing()

    async def until_nothing_is_proven(self) -> None:
        """Return when no process has a lease."""
        while any(process.ledger.leased() for process in self.processes):
            await self.passing()

    async def next_receipts(self, count: int = 4) -> set[State]:
        """Return the states of the next receipts, leaving out those of purges that are under way."""
        start = len(self.receipts) + len(self.processes)
        while len(self.receipts) < start + count:
            await self.passing()
        return set(self.receipts[start:])

    async def ask(self, process: Process, path: int) -> None:
        """A request that arrives now."""
        required = self.required[path]
        for copies in (process.copies, self.shared):
            copy = copies.get(path)
            if copy is not None and process.ledger.verdict_of(copy.birth, *_named(path)) is Verdict.VALID:
                self.hits += 1
                self.astray += int(process.ledger.release.name or 0) < self.in_force
                self.stale += copy.version < required
                return
        birth = process.ledger.birth()
        await asyncio.sleep(0)
        version = self.versions[path]
        await asyncio.sleep(_PACE)
        process.copies[path] = self.shared[path] = Copy(version, birth)

    async def purge(self, process: Process, path: int) -> Receipt:
        """Change the content, and purge it."""
        self.versions[path] += 1
        version = self.versions[path]
        receipt = await process.ledger.purge([Selector.of("tag", f"path{path}")])
        self.receipts.append(receipt.state)
        if receipt.state is State.CONFIRMED:
            self.required[path] = max(self.required[path], version)
        return receipt

    async def _switching(self) -> None:
        """Activate releases, which are called by their numbers, at one process after the other."""
        for number in itertools.count(1):
            await asyncio.sleep(20 * _PACE)
            receipt = await self.processes[number % len(self.processes)].ledger.activate(f"{number}")
            if receipt.state is State.CONFIRMED:
                self.in_force = number
                self.switches += 1

    async def _asking(self, process: Process, dice: random.Random) -> None:
        while True:
            await asyncio.sleep(_PACE)
            await self.ask(process, dice.randrange(_PATHS))

    async def _purging(self, process: Process, dice: random.Random) -> None:
        while True:
            await asyncio.sleep(10 * _PACE)
            await self.purge(process, dice.randrange(_PATHS))


def _named(path: int) -> tuple[str, list[str]]:
    return f"http://example.com/{path}", [f"path{path}"]
