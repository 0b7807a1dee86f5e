"""The log keeps its bound however much is purged, and who was away while it forgot proves nothing of before.

``EDGECACHE_LONG=1`` makes the numbers those of a bad day.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import pytest

from edgecache.purging.distributed import DistributedLedger
from edgecache.purging.index import CAPACITY
from edgecache.purging.log import MAX_SELECTORS
from edgecache.purging.node import Timing
from edgecache.purging.receipt import State
from edgecache.purging.redis_log import PATIENCE, RedisLog, connect
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer
from tests.purging.redis_server import LedgerServer
from tests.purging.redis_words import LOG, META, ONCE, A, ordering

LONG: Final = os.environ.get("EDGECACHE_LONG") == "1"
PATIENTLY: Final = 900 if LONG else 60
URI: Final = "http://example.com/a"


@pytest.mark.timeout(PATIENTLY)
async def test_a_process_that_was_away_while_the_log_forgot_proves_nothing_of_before(server: LedgerServer) -> None:
    capacity, purges = (CAPACITY, CAPACITY + 1) if LONG else (50, 51)
    async with FaultProxy(server.socket) as proxy:
        ledgers = [
            DistributedLedger(RedisLog(client, "test", capacity=capacity), timing=Timing(lease=1.0), capacity=capacity)
            for client in (server.client(), connect(proxy.url))
        ]
        for ledger in ledgers:
            assert await ledger.start()
        there, away = ledgers
        born = away.birth()
        assert away.verdict_of(born, URI, ["a"]) is Verdict.VALID
        proxy.refuse = True
        proxy.reset()
        log = RedisLog(server.client(), "test", capacity=capacity)
        await log.purge(ordering(A))
        for number in range(purges - 1):
            await log.purge(ordering(Selector.of("tag", str(number))))
        proxy.refuse = False
        while not await away.sync():
            pass
        assert away.sequence == born.sequence + purges
        assert int(server.admin.hget(META, "floor") or 0) == born.sequence + purges - capacity
        for ledger in ledgers:
            assert await ledger.sync()
            assert ledger.verdict_of(born, URI, ["a"]) is Verdict.UNPROVEN
            assert ledger.verdict_of(born, URI, ["b"]) is Verdict.UNPROVEN  # validated with the origin, not dropped
            assert ledger.verdict_of(ledger.birth(), URI, ["a"]) is Verdict.VALID
        assert (await there.purge([A])).state is State.CONFIRMED
        for closing in (log, *ledgers):
            await closing.close()


@pytest.mark.timeout(PATIENTLY)
async def test_any_number_of_tags_takes_no_more_than_the_bound(server: LedgerServer) -> None:
    capacity, tags = (CAPACITY, 1_000_000) if LONG else (5000, 20_000)
    log = RedisLog(server.client(), "test", capacity=capacity)
    ledger = DistributedLedger(RedisLog(server.client(), "test", capacity=capacity), capacity=capacity)
    assert await ledger.start()
    sizes = []
    for start in range(0, tags, MAX_SELECTORS):
        selectors = [Selector.of("tag", f"tag{number:07}") for number in range(start, start + MAX_SELECTORS)]
        await log.purge(ordering(*selectors, key=f"key{start:07}"))
        await ledger.sync()
        sizes.append(sum(server.admin.memory_usage(key) or 0 for key in (META, LOG, ONCE)))
    full = capacity // MAX_SELECTORS
    assert max(sizes) <= 1.1 * sizes[full]
    assert server.admin.xlen(LOG) == server.admin.hlen(ONCE) == full
    assert server.admin.hget(META, "held") == str(capacity).encode()
    assert ledger._node._index._hard.remembered == capacity
    assert {key.decode() for key in server.admin.scan_iter()} == {META, LOG, ONCE}
    await log.close()
    await ledger.close()


async def test_a_lost_answer_and_asking_again_are_one_purge(server: LedgerServer) -> None:
    async with FaultProxy(server.socket) as proxy:
        log = RedisLog(connect(proxy.url), "test", patience=0.2)
        ledger = DistributedLedger(log, timing=Timing(lease=0.5))
        assert await ledger.start()
        proxy.down.black_hole = True
        for _ in range(3):
            receipt = await ledger.purge([A], idempotency_key="k")
            assert (receipt.state, receipt.state.status) == (State.UNCONFIRMED, 503)
        assert server.admin.xlen(LOG) == 1  # it was committed, and nobody knew
        proxy.down.black_hole = False
        proxy.reset()
        while (receipt := await ledger.purge([A], idempotency_key="k")).state is State.UNCONFIRMED:
            pass
        assert receipt.state is State.CONFIRMED
        assert server.admin.xlen(LOG) == 1
        await ledger.close()


async def test_a_server_that_cannot_be_reached_is_no_reason_to_wait(tmp_path: Path) -> None:
    """The answer comes after the patience of one operation, wherever it gets stuck."""
    assert PATIENCE <= 1.4
    server = RedisServer(tmp_path).start()
    held: list[asyncio.StreamWriter] = []
    deaf = await asyncio.start_unix_server(lambda _, writer: held.append(writer), tmp_path / "deaf")
    for url in (f"unix://{tmp_path}/none", f"unix://{tmp_path}/deaf", server.url):
        ledger = DistributedLedger(RedisLog(connect(url), "test", patience=0.1), timing=Timing(lease=0.5))
        await ledger.start()
        server.pause()
        assert (await ledger.purge([A])).state is State.UNCONFIRMED
        server.resume()
        await ledger.close()
    for writer in held:
        writer.close()
    deaf.close()
    await deaf.wait_closed()
    server.kill()
