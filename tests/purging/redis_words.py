"""What is said to the log in Redis, in few words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgecache.purging.log import Activation, Order, OrderReply, Sync
from edgecache.purging.redis_log import RedisLog
from edgecache.purging.release import NO_RELEASE, Release
from edgecache.purging.selector import Selector

A, B = Selector.of("tag", "a"), Selector.of("tag", "b")
META, LOG, ONCE = "ec:{test}:meta", "ec:{test}:log", "ec:{test}:once"


def syncing(
    worker: str = "w",
    epoch: bytes = b"",
    applied: int = 0,
    *,
    lease: float = 10.0,
    settled: bool = False,
    known: Release = NO_RELEASE,
    sure: bool = False,
) -> Sync:
    return Sync(worker, epoch, applied, lease, settled, census=True, sent_at=0.0, known=known, sure=sure)


def ordering(
    *selectors: Selector, epoch: bytes = b"", applied: int = 0, key: str = "", known: Release = NO_RELEASE
) -> Order:
    return Order(selectors or (A,), epoch, applied, key, known)


def activating(
    name: str, epoch: bytes = b"", applied: int = 0, *, held: bool = False, known: Release = NO_RELEASE
) -> Activation:
    return Activation(name, held, epoch, applied, known)


async def activated(log: RedisLog, name: str, *, held: bool = False) -> OrderReply:
    """Activate it by whoever knows everything."""
    now = await log.sync(syncing())
    reply = await log.activate(activating(name, now.epoch, now.sequence, held=held, known=now.release))
    assert isinstance(reply, OrderReply)
    return reply


@asynccontextmanager
async def opened(log: RedisLog) -> AsyncIterator[RedisLog]:
    yield log
    await log.close()
