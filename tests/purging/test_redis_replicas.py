"""Purges that count as committed only when replicas have them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecache.errors import StoreError
from edgecache.purging.distributed import DistributedLedger
from edgecache.purging.log import Order, OrderReply
from edgecache.purging.node import Timing
from edgecache.purging.receipt import State
from edgecache.purging.redis_log import RedisLog, connect
from tests.faults.redis_server import RedisServer, two_servers
from tests.purging.redis_words import A, ordering, syncing


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica."""
    for primary, replica in two_servers(tmp_path):
        replica.follow(primary.port)
        yield primary, replica


async def in_step(log: RedisLog, order: Order) -> OrderReply:
    """Ask until the replica has caught up: some servers take their time to notice that it is there again."""
    while True:
        try:
            return await log.purge(order)
        except StoreError:
            await asyncio.sleep(0.01)


async def test_a_purge_counts_when_the_replica_has_it(pair: tuple[RedisServer, RedisServer]) -> None:
    primary, replica = pair
    log = RedisLog(connect(primary.url), "test", replicas=1)
    first = await in_step(log, ordering(key="k"))
    replica.pause()
    with pytest.raises(StoreError, match="fewer than 1 replicas"):
        await log.purge(ordering())
    with pytest.raises(StoreError, match="fewer than 1 replicas"):
        await log.purge(ordering(key="k2"))
    for _ in range(2):  # asked again it is in the log, and no reason to believe that the replica has it
        with pytest.raises(StoreError, match="fewer than 1 replicas"):
            await log.purge(ordering(key="k2"))
    replica.resume()
    assert (await in_step(log, ordering(key="k2"))).sequence == first.sequence + 2
    assert len((await log.sync(syncing())).purges) == 3
    await log.close()


async def test_many_purges_at_once_wait_for_each_other(pair: tuple[RedisServer, RedisServer]) -> None:
    log = RedisLog(connect(pair[0].url), "test", replicas=1)
    await in_step(log, ordering())
    replies = await asyncio.gather(*(log.purge(ordering()) for _ in range(30)))
    assert len({reply.sequence for reply in replies}) == 30
    await log.close()


async def test_what_is_unconfirmed_is_confirmed_when_it_is_asked_for_again(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    ledgers = [
        DistributedLedger(RedisLog(connect(primary.url), "test", replicas=1, patience=0.5), timing=Timing(lease=0.5))
        for _ in range(2)
    ]
    for ledger in ledgers:
        assert await ledger.start()
    replica.pause()
    receipt = await ledgers[0].purge([A], idempotency_key="k")
    assert (receipt.state, receipt.state.status) == (State.UNCONFIRMED, 503)
    assert "replicas" in receipt.detail
    replica.resume()
    while (await ledgers[0].purge([A], idempotency_key="k")).state is not State.CONFIRMED:  # noqa: ASYNC110 - what changes is in another process
        await asyncio.sleep(0.01)
    receipts = await asyncio.gather(*(ledger.purge([A], idempotency_key="k") for ledger in ledgers))
    assert [one.state for one in receipts] == [State.CONFIRMED] * 2
    assert len({one.sequence for one in receipts}) == 1
    for ledger in ledgers:
        await ledger.close()
