"""The ledger of many processes: over a model of the log and a clock that is turned by hand, and over a real server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgecache.errors import ClientError
from edgecache.purging.base import Ledger
from edgecache.purging.distributed import DistributedLedger, boottime, worker_name
from edgecache.purging.node import Timing
from edgecache.purging.receipt import State
from edgecache.purging.redis_log import RedisLog, connect
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth
from tests.purging.cluster import TIMING, A, Cluster, SharedLog
from tests.purging.model import ModelLog
from tests.purging.redis_server import LedgerServer
from tests.semantics.build import request, response, store

URI = "http://example.com/a"
B = Selector.of("tag", "b")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    yield cluster
    await cluster.close()


def test_it_is_a_ledger() -> None:
    ledger: Ledger = DistributedLedger(SharedLog(ModelLog()))
    assert ledger.birth() == Birth(b"", 0)


# ----------------------------------------------------------------------------------------------------- the promise


async def test_a_purge_is_confirmed_by_everybody(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    born = two.birth()
    receipt = await cluster.purge(one)
    assert receipt.state is State.CONFIRMED
    assert receipt.state.status == 200
    assert (receipt.epoch, receipt.sequence) == (cluster.model.epoch, cluster.model.sequence)
    assert [(worker.worker, worker.applied) for worker in receipt.workers] == [("w1", True), ("w2", True)]
    assert all(worker.milliseconds is not None for worker in receipt.workers)
    assert receipt.waited < 1.0
    assert receipt.missing == ()
    assert [ledger.verdict_of(born, URI, ["a"]) for ledger in (one, two)] == [Verdict.INVALID] * 2
    assert two.verdict_of(two.birth(), URI, ["a"]) is Verdict.VALID


async def test_a_lost_hint_costs_one_period(cluster: Cluster) -> None:
    one = await cluster.join()
    await cluster.join()
    await cluster.settle()
    cluster.logs[1].deaf = True
    receipt = await cluster.purge(one, within=2.0)
    assert receipt.state is State.CONFIRMED
    assert receipt.waited <= TIMING.period + 0.2


async def test_a_silent_process_costs_one_term_and_serves_nothing_after_it(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    born = two.birth()
    cluster.logs[1].parted = True
    purging = asyncio.create_task(one.purge([A]))
    await cluster.clock.advance(TIMING.term() - 0.1)
    assert not purging.done()
    await cluster.clock.advance(0.2)
    receipt = await purging
    assert receipt.state is State.CONFIRMED
    assert receipt.missing == ("w2",)
    assert two.verdict_of(born, URI, ["a"]) is Verdict.UNPROVEN
    assert not two.leased()
    cluster.logs[1].parted = False
    await cluster.clock.advance(TIMING.period)
    assert two.verdict_of(born, URI, ["a"]) is Verdict.INVALID
    assert two.verdict_of(born, URI, ["b"]) is Verdict.VALID


async def test_a_purge_is_acknowledged_although_the_log_is_gone_since(cluster: Cluster) -> None:
    one = await cluster.join()
    await cluster.settle()
    purging = asyncio.create_task(one.purge([A]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cluster.model.up = False
    await cluster.clock.advance(TIMING.term() + 1)
    assert (await purging).state is State.CONFIRMED
    assert not one.leased()


async def test_without_a_log_nothing_is_confirmed_and_nothing_changes(cluster: Cluster) -> None:
    one = await cluster.join()
    born = one.birth()
    cluster.model.up = False
    receipt = await cluster.purge(one)
    assert receipt.state is State.UNCONFIRMED
    assert receipt.state.status == 503
    assert (receipt.sequence, receipt.workers) == (0, ())
    assert receipt.detail
    assert one.verdict_of(born, URI, ["a"]) is Verdict.VALID


async def test_it_takes_effect_here_before_anything_is_waited_for(cluster: Cluster) -> None:
    one = await cluster.join()
    born = one.birth()
    purging = asyncio.create_task(one.purge([A]))
    await asyncio.sleep(0)
    assert one.verdict_of(born, URI, ["a"]) is Verdict.INVALID
    await cluster.clock.advance(TIMING.term() + 1)
    assert (await purging).state is State.CONFIRMED
    assert one.verdict_of(one.birth(), URI, ["a"]) is Verdict.VALID


async def test_patience_ends_and_the_purge_goes_on(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    cluster.logs[1].parted = True
    born = two.birth()
    purging = asyncio.create_task(one.purge([A], patience=2.0))
    await cluster.clock.advance(2.0)
    receipt = await purging
    assert receipt.state is State.PARTIAL
    assert receipt.state.status == 202
    assert receipt.missing == ("w2",)
    cluster.logs[1].parted = False
    await cluster.clock.advance(TIMING.period)
    assert two.verdict_of(born, URI, ["a"]) is Verdict.INVALID


async def test_whoever_may_serve_for_ever_is_named(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join(extra=math.inf)
    await cluster.settle()
    born = two.birth()
    cluster.logs[1].parted = True
    receipt = await cluster.purge(one, within=TIMING.term() + 0.1)
    assert receipt.state is State.PARTIAL
    assert receipt.missing == ("w2",)
    assert two.verdict_of(born, URI, ["a"], extra=math.inf) is Verdict.VALID
    assert two.verdict_of(born, URI, ["a"]) is Verdict.UNPROVEN
    assert await one.forget("w2")
    assert (await cluster.purge(one)).state is State.CONFIRMED


async def test_many_purges_at_once(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    purging = [
        asyncio.create_task(ledger.purge([Selector.of("tag", f"{n}")])) for n in range(20) for ledger in (one, two)
    ]
    await cluster.clock.advance(1.0)
    receipts = [await one for one in purging]
    assert {receipt.state for receipt in receipts} == {State.CONFIRMED}
    assert len({receipt.sequence for receipt in receipts}) == 40


async def test_a_purger_that_gives_up_leaves_nothing_behind(cluster: Cluster) -> None:
    one = await cluster.join()
    purging = asyncio.create_task(one.purge([A]))
    await cluster.clock.settle()
    purging.cancel()
    await asyncio.wait([purging])
    assert one._waiting == []


@pytest.mark.parametrize(
    ("selectors", "key"), [([], ""), ([Selector.of("tag", str(n)) for n in range(1001)], ""), ([A], "k" * 257)]
)
async def test_what_is_not_a_purge(cluster: Cluster, selectors: list[Selector], key: str) -> None:
    one = await cluster.join()
    with pytest.raises(ClientError) as raised:
        await one.purge(selectors, idempotency_key=key)
    assert raised.value.status == 400


# -------------------------------------------------------------------------------------------------- keeping in step


async def test_no_lease_nothing_proven(cluster: Cluster) -> None:
    one = await cluster.join()
    head = response("Cache-Control: max-age=60")
    stored = store(head, of=request(target="/a"), birth=one.birth())
    assert one.verdict(stored) is Verdict.VALID
    cluster.model.up = False
    await cluster.clock.advance(TIMING.lease - 0.1)
    assert one.verdict(stored) is Verdict.VALID
    assert one.failure
    await cluster.clock.advance(0.2)
    assert one.verdict(stored) is Verdict.UNPROVEN
    cluster.model.up = True
    await cluster.clock.advance(TIMING.period)
    assert one.verdict(stored) is Verdict.VALID
    assert one.failure == ""


async def test_a_lost_log_costs_every_response_and_heals(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    born = one.birth()
    cluster.model.flush()
    await cluster.clock.advance(TIMING.period)
    assert one.epoch == two.epoch == cluster.model.epoch != born.epoch
    assert one.verdict_of(born, URI) is Verdict.UNPROVEN
    assert one.verdict_of(one.birth(), URI) is Verdict.VALID


async def test_a_response_that_knows_more_is_a_hint(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    cluster.logs[1].deaf = True
    await cluster.purge(one, within=0.5)
    assert two.sequence < one.sequence
    two.verdict_of(one.birth(), URI)
    await cluster.clock.settle()
    assert two.sequence == one.sequence


async def test_a_checked_response_is_only_asked_about_newer_purges(cluster: Cluster) -> None:
    one = await cluster.join()
    born = one.birth()
    await cluster.purge(one, B, within=TIMING.term() + 1)
    checked = one.sequence
    assert one.verdict_of(born, URI, ["a"]) is Verdict.VALID
    assert one.verdict_of(born, URI, ["a"], checked=checked) is Verdict.VALID
    await cluster.purge(one, A, within=TIMING.term() + 1)
    assert one.verdict_of(born, URI, ["a"], checked=checked) is Verdict.INVALID


async def test_the_dead_are_removed(cluster: Cluster) -> None:
    await cluster.join()
    await cluster.join()
    cluster.logs[1].parted = True
    await cluster.clock.advance(5 * TIMING.term())
    assert set(cluster.model.members) == {"w1"}


async def test_closing_leaves_the_registry(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    born = two.birth()
    waiting = asyncio.create_task(two.purge([A]))
    await cluster.clock.settle()
    await two.close()
    assert set(cluster.model.members) == {"w1"}
    assert cluster.logs[1].closed
    assert two.verdict_of(born, URI) is Verdict.UNPROVEN
    assert (await waiting).state is State.PARTIAL
    assert one.leased()


async def test_who_is_not_in_step_confirms_nothing(cluster: Cluster) -> None:
    one = DistributedLedger(SharedLog(cluster.model), clock=cluster.clock, sleep=cluster.clock.sleep)
    assert (await one.purge([A])).state is State.UNCONFIRMED
    assert not await one.sync()
    await one.start()
    await one.close()
    assert (await one.purge([A])).state is State.UNCONFIRMED


async def test_it_starts_without_a_log(cluster: Cluster) -> None:
    cluster.model.up = False
    one = await cluster.join()
    assert not one.leased()
    assert one.verdict_of(one.birth(), URI) is Verdict.UNPROVEN
    cluster.model.up = True
    await cluster.clock.advance(TIMING.period)
    assert one.leased()
    assert one.verdict_of(one.birth(), URI) is Verdict.VALID


async def test_a_sync_can_be_asked_for(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    cluster.logs[1].deaf = True
    await cluster.purge(one, within=0.5)
    assert await two.sync()
    assert two.sequence == one.sequence
    cluster.model.up = False
    assert not await two.sync()


def test_names_and_clocks() -> None:
    assert worker_name() != worker_name()
    assert boottime() <= boottime()


# --------------------------------------------------------------------------------------------------- a real server


async def test_on_a_real_server(server: LedgerServer) -> None:
    ledgers = [
        DistributedLedger(RedisLog(server.client(), "test"), timing=Timing(lease=0.5), worker=name) for name in "uvw"
    ]
    for ledger in ledgers:
        assert await ledger.start()
    one, two, _ = ledgers
    born = two.birth()
    receipt = await one.purge([A], idempotency_key="k")
    assert receipt.state is State.CONFIRMED
    assert [worker.worker for worker in receipt.workers] == ["u", "v", "w"]
    assert (await two.purge([A], idempotency_key="k")).sequence == receipt.sequence
    assert {ledger.verdict_of(born, URI, ["a"]) for ledger in ledgers} <= {Verdict.INVALID, Verdict.UNPROVEN}
    server.admin.flushall()
    assert (await one.purge([B])).state is State.CONFIRMED
    assert one.epoch != born.epoch
    for ledger in ledgers:
        await ledger.close()
    assert [key for key in server.admin.hgetall("ec:{test}:meta") if key[:2] == b"n:"] == []


async def test_a_purge_without_a_server_is_unconfirmed(tmp_path: Path) -> None:
    ledger = DistributedLedger(RedisLog(connect(f"unix://{tmp_path}/none")))
    assert not await ledger.start()
    assert (await ledger.purge([A])).state is State.UNCONFIRMED
    await ledger.close()
