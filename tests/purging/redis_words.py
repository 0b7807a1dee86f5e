"""What is said to the log in Redis, in few words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgecache.purging.log import Order, Sync
from edgecache.purging.redis_log import RedisLog
from edgecache.purging.selector import Selector

A, B = Selector.of("tag", "a"), Selector.of("tag", "b")
META, LOG, ONCE = "ec:{test}:meta", "ec:{test}:log", "ec:{test}:once"


def syncing(
    worker: str = "w", epoch: bytes = b"", applied: int = 0, *, lease: float = 10.0, settled: bool = False
) -> Sync:
    return Sync(worker, epoch, applied, lease, settled, census=True, sent_at=0.0)


def ordering(*selectors: Selector, epoch: bytes = b"", applied: int = 0, key: str = "") -> Order:
    return Order(selectors or (A,), epoch, applied, key)


@asynccontextmanager
async def opened(log: RedisLog) -> AsyncIterator[RedisLog]:
    yield log
    await log.close()
