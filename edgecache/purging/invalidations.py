"""Purges that no person ordered and nobody waits long for: what an unsafe request made obsolete (RFC 9111 §4.4).

Theory
    They are in force in their own process at once, and are put into the log in batches: one is being written while
    the next is gathered. While the log is away they are kept and tried again, so that an outage delays them for other
    processes, and does not lose them.

Invariants
    * What was added is in force here until the log's own copy of it is.
    * A batch is written again with the keys it was written with first: what is in the log already is not repeated.
    * At most ``MAX_PENDING`` wait; what comes beyond is counted in ``lost``, and is for other processes as if the
      request had never passed here, which is all that RFC 9111 §4.4 promises of caches elsewhere.

Called by ``distributed``, on one event loop.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgecache.errors import StoreError
from edgecache.purging.index import PurgeIndex
from edgecache.purging.log import MAX_SELECTORS, Log, Order, OrderReply
from edgecache.purging.node import Node
from edgecache.purging.selector import Selector

__all__ = ["MAX_PENDING", "Invalidations"]

MAX_PENDING: Final = 100_000
"""Selectors that may wait for the log: as many as it holds."""


@dataclass(slots=True, eq=False)
class _Batch:
    order: PurgeIndex
    tried: asyncio.Future[None]
    selectors: dict[Selector, None] = field(default_factory=dict)


class Invalidations:
    """What is to be put into the log, and the task that does it.

    Args:
        node, log: of the ledger.
        clock: the ledger's, seconds.
        pause: waits before an attempt after one that failed.
        written: called when something new is in the log.
    """

    def __init__(
        self,
        node: Node,
        log: Log,
        clock: Callable[[], float],
        pause: Callable[[], Awaitable[None]],
        written: Callable[[], None],
    ) -> None:
        self._node: Final = node
        self._log: Final = log
        self._clock: Final = clock
        self._pause: Final = pause
        self._written: Final = written
        self._gathered: _Batch | None = None
        self._wake: Final = asyncio.Event()
        self.lost = 0

    def add(self, selectors: Sequence[Selector]) -> asyncio.Future[None]:
        """Let a purge be in force here now; the future is done when writing it has been tried once."""
        batch = self._gathered
        if batch is None:
            tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            batch = self._gathered = _Batch(self._node.order(()), tried)
        if len(batch.selectors) + len(selectors) > MAX_PENDING:
            self.lost += len(selectors)
        else:
            batch.selectors.update(dict.fromkeys(selectors))
            batch.order.note(1, selectors)
            self._wake.set()
        return batch.tried

    async def run(self) -> None:
        """Write what is added, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._gathered = self._gathered, None
            if batch is not None:
                await self._write(batch)

    async def _write(self, batch: _Batch) -> None:
        selectors = tuple(batch.selectors)
        for start in range(0, len(selectors), MAX_SELECTORS):
            reply = await self._committed(selectors[start : start + MAX_SELECTORS], batch)
            self._node.commit(reply, self._clock(), batch.order)
        _settle(batch)
        self._written()

    async def _committed(self, selectors: tuple[Selector, ...], batch: _Batch) -> OrderReply:
        key = secrets.token_hex(16)
        while True:
            try:
                node = self._node
                return await self._log.purge(Order(selectors, node.epoch, node.applied, key, node.known))
            except StoreError:  # kept, and tried again: the ledger's own syncs tell that the log is away
                _settle(batch)
            await self._pause()


def _settle(batch: _Batch) -> None:
    if not batch.tried.done():
        batch.tried.set_result(None)
