"""The active release on a real server: what the scripts keep, and several ledgers that lose the server's data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from edgecache.errors import StoreError
from edgecache.purging.distributed import DistributedLedger
from edgecache.purging.log import OrderReply, Purge
from edgecache.purging.node import Timing
from edgecache.purging.receipt import State
from edgecache.purging.redis_log import RedisLog, connect
from edgecache.purging.release import NO_RELEASE, Release
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from tests.faults.proxy import FaultProxy
from tests.purging.redis_server import LedgerServer
from tests.purging.redis_words import LOG, META, activated, activating, opened, ordering, syncing

TIMING = Timing(lease=0.5)
URI = "http://example.com/a"

# ----------------------------------------------------------------------------------------------- what the scripts keep


async def test_an_activation_is_an_entry_and_a_register(log: RedisLog, server: LedgerServer) -> None:
    first = await log.sync(syncing())
    assert (first.release, first.sure) == (NO_RELEASE, False)
    before = time.time()
    reply = await activated(log, "v1")
    assert reply.sequence == first.sequence + 1
    assert reply.release == Release("v1", sequence=reply.release.sequence)
    assert before * 1e6 <= reply.release.sequence <= time.time() * 1e6
    assert server.admin.hget(META, "release") == str(reply.release).encode()
    assert [entry[1] for entry in server.admin.xrange(LOG)] == [{b"release": b"v1"}]
    second = await log.sync(syncing(epoch=first.epoch, applied=first.sequence))
    assert second.purges == (Purge(reply.sequence, ()),)
    assert (second.sequence, second.release, second.sure) == (reply.sequence, reply.release, True)
    assert (await log.purge(ordering())).release == reply.release


async def test_a_name_that_is_spelled_like_something_else(log: RedisLog) -> None:
    for name in ("once", "release", "tag", "all", "0", "v" * 64, "A-b.c_d"):
        assert (await activated(log, name)).release.name == name
    assert {purge.selectors for purge in (await log.sync(syncing())).purges} == {()}


async def test_held_and_previous(log: RedisLog) -> None:
    told = NO_RELEASE
    for name, held in (("v1", False), ("v2", False), ("v2", False), ("v1", True), ("v1", True), ("v1", False)):
        release = (await activated(log, name, held=held)).release
        assert release == told.then(name, held=held, sequence=release.sequence)
        assert release.sequence > told.sequence
        told = release


async def test_it_stays_when_its_entry_is_trimmed(server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "test", capacity=3)) as log:
        reply = await activated(log, "v1")
        for _ in range(3):
            await log.purge(ordering())
        told = await log.sync(syncing("newcomer"))
        assert told.floor == reply.sequence
        assert told.release == reply.release
        assert server.admin.hget(META, "held") == b"3"


async def test_it_is_committed_when_redis_is_full(log: RedisLog, server: LedgerServer) -> None:
    server.admin.config_set("maxmemory", 1)
    try:
        assert (await activated(log, "v1")).release.name == "v1"
    finally:
        server.admin.config_set("maxmemory", 0)


async def test_it_is_heard_of(log: RedisLog) -> None:
    heard: asyncio.Queue[None] = asyncio.Queue()
    listening = asyncio.create_task(log.listen(lambda: heard.put_nowait(None)))
    await heard.get()
    await activated(log, "v1")
    await heard.get()
    listening.cancel()
    await asyncio.wait([listening])


async def test_too_few_replicas_are_a_failure(server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "test", replicas=1)) as log:
        with pytest.raises(StoreError, match="replicas"):
            await activated(log, "v1")


async def test_only_who_knows_the_epoch_and_the_active_release_replaces_it(log: RedisLog) -> None:
    first = await log.sync(syncing())
    late = activating("late", first.epoch, first.sequence)
    active = (await activated(log, "v1")).release
    assert await log.activate(late) == active
    assert await log.activate(activating("v2", b"another", 0, known=active)) == active
    assert (await log.sync(syncing())).purges == (Purge(first.sequence + 1, ()),)
    assert isinstance(await log.activate(activating("v2", first.epoch, first.sequence, known=active)), OrderReply)


async def test_what_was_given_up_does_not_replace_what_a_lost_log_knew(log: RedisLog, server: LedgerServer) -> None:
    first = await log.sync(syncing())
    late = activating("late", first.epoch, first.sequence)
    await activated(log, "v1")
    server.admin.flushall()
    assert await log.activate(late) == NO_RELEASE


async def test_a_state_that_was_written_by_an_older_make(log: RedisLog, server: LedgerServer) -> None:
    first = await log.sync(syncing())
    server.admin.hdel(META, "release")
    same = await log.sync(syncing(epoch=first.epoch, applied=first.sequence))
    assert (same.epoch, same.release) == (first.epoch, NO_RELEASE)
    known = Release("v1", sequence=5)
    told = await log.sync(syncing(known=known))
    assert (told.epoch != first.epoch, told.release) == (True, known)


@pytest.mark.parametrize("nonsense", ["", "nonsense", "7 v1 active", "7 v1 active v1", b"7 \xff active -"])
async def test_another_s_register_is_a_failure(log: RedisLog, server: LedgerServer, nonsense: bytes | str) -> None:
    await log.sync(syncing())
    server.admin.hset(META, "release", nonsense)
    with pytest.raises(StoreError):
        await log.sync(syncing())


# ------------------------------------------------------------------------------------------- what a new epoch knows


async def test_a_lost_log_is_told_by_whoever_comes(log: RedisLog, server: LedgerServer) -> None:
    first = await log.sync(syncing())
    older, newer = (await activated(log, "v1")).release, (await activated(log, "v2")).release
    for ask in (
        lambda known: log.sync(syncing("v", first.epoch, known=known)),
        lambda known: log.purge(ordering(epoch=first.epoch, known=known)),
    ):
        server.admin.flushall()
        epochs = []
        for known, told in ((NO_RELEASE, NO_RELEASE), (older, older), (newer, newer), (older, newer)):
            reply = await ask(known)
            epochs.append(reply.epoch)
            assert reply.release == told
        assert len(set(epochs[:3])) == 3  # who knows more than the log begins another
        assert epochs[2] == epochs[3]
        assert not (await log.sync(syncing())).sure


async def test_an_older_snapshot_is_believed_as_far_as_nobody_knows_better(server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "test")) as log:
        older = (await activated(log, "v1")).release
        server.save()
        newer = (await activated(log, "v2")).release
        server.restart()
        for _ in range(3):
            await asyncio.sleep(0)  # a connection that was closed is noticed when the loop turns
        told = await log.sync(syncing("newcomer"))
        assert (told.release, told.sure) == (older, False)
        told = await log.sync(syncing("witness", known=newer))
        assert (told.release, told.sure) == (newer, False)


async def test_only_who_knows_the_epoch_makes_it_sure(log: RedisLog) -> None:
    first = await log.sync(syncing(sure=True))
    assert not first.sure
    assert (await log.sync(syncing(epoch=first.epoch, sure=True))).sure
    assert (await log.sync(syncing("v"))).sure


async def test_a_later_activation_has_the_higher_sequence_after_any_loss(log: RedisLog, server: LedgerServer) -> None:
    before = (await activated(log, "v1")).release
    server.admin.flushall()
    after = await activated(log, "v2")
    assert after.sequence <= 2  # of the log: it begins again
    assert after.release.sequence > before.sequence
    assert (await log.sync(syncing(known=before))).release == after.release


async def test_a_clock_that_went_back_is_behind_what_is_known(log: RedisLog) -> None:
    ahead = Release("v1", sequence=9 * 10**15)
    now = await log.sync(syncing(known=ahead))
    reply = await log.activate(activating("v2", now.epoch, now.sequence, known=ahead))
    assert isinstance(reply, OrderReply)
    assert reply.release == Release("v2", False, "v1", ahead.sequence + 1)


# ----------------------------------------------------------------------------------------------------- several ledgers


@asynccontextmanager
async def ledgers(
    server: LedgerServer, count: int, *urls: str, capacity: int = 1000
) -> AsyncIterator[list[DistributedLedger]]:
    """So many, in step; those with a URL of their own come last."""
    made = [
        DistributedLedger(RedisLog(client, "test", capacity=capacity), timing=TIMING)
        for client in (*(server.client() for _ in range(count)), *map(connect, urls))
    ]
    for ledger in made:
        assert await ledger.start()
    try:
        yield made
    finally:
        for ledger in made:
            await ledger.close()


async def until(true: Callable[[], bool], *syncing: DistributedLedger) -> None:
    """Sync until it is."""
    while not true():
        for ledger in syncing:
            await ledger.sync()
        await asyncio.sleep(0.01)


async def test_when_it_is_confirmed_everybody_has_switched(server: LedgerServer) -> None:
    async with ledgers(server, 3) as (one, two, three):
        born = two.birth()
        for activating_one, name, held in ((one, "v1", False), (two, "v2", False), (three, "v1", True)):
            receipt = await activating_one.activate(name, held=held)
            assert receipt.state is State.CONFIRMED
            assert len(receipt.workers) == 3
            told = {ledger.release for ledger in (one, two, three)}
            assert {(release.name, release.held) for release in told} == {(name, held)}
            assert len(told) == 1
        assert one.release.previous == "v2"
        assert {ledger.verdict_of(born, URI, ["a"]) for ledger in (one, two, three)} == {Verdict.VALID}
        again = await one.activate("v1", held=True)
        assert (again.state, again.sequence) == (State.CONFIRMED, receipt.sequence + 1)
        assert one.release.previous == "v2"


async def test_two_at_once_are_both_confirmed_and_the_later_counts(server: LedgerServer) -> None:
    async with ledgers(server, 3) as (one, two, three):
        for turn in range(3):
            names = [f"a{turn}", f"b{turn}"]
            receipts = await asyncio.gather(*(who.activate(name) for who, name in zip((one, two), names, strict=True)))
            assert {receipt.state for receipt in receipts} == {State.CONFIRMED}
            last = max((receipt.sequence, name) for receipt, name in zip(receipts, names, strict=True))[1]
            assert {ledger.release.name for ledger in (one, two, three)} == {last}


async def test_a_flush_makes_nobody_forget(server: LedgerServer) -> None:
    async with ledgers(server, 2) as (one, two):
        assert (await one.activate("v1")).state is State.CONFIRMED
        release, epoch = one.release, one.epoch
        server.admin.flushall()
        assert await two.sync()
        assert await one.sync()
        assert one.epoch == two.epoch != epoch
        assert one.release == two.release == release
        async with ledgers(server, 1) as (newcomer,):
            assert newcomer.release == release
            await until(newcomer.leased, newcomer)
        assert (await two.activate("v2")).state is State.CONFIRMED
        assert one.release.name == "v2"
        assert one.release.previous == "v1"


async def test_a_late_joiner_learns_what_the_log_forgot(server: LedgerServer) -> None:
    async with ledgers(server, 1, capacity=5) as (one,):
        receipt = await one.activate("v1")
        await asyncio.gather(*(one.purge([Selector.of("tag", str(number))], patience=0.0) for number in range(6)))
        assert int(server.admin.hget(META, "floor") or 0) >= receipt.sequence
        async with ledgers(server, 1, capacity=5) as (newcomer,):
            assert newcomer.release == one.release


async def test_a_killed_server_with_an_older_snapshot(own_server: LedgerServer) -> None:
    async with ledgers(own_server, 2) as (one, two):
        assert (await one.activate("v1")).state is State.CONFIRMED
        own_server.save()
        assert (await one.activate("v2")).state is State.CONFIRMED
        release = one.release
        await asyncio.to_thread(own_server.restart)
        async with ledgers(own_server, 1) as (newcomer,):  # perhaps the first to come, and told of v1 only
            await until(newcomer.leased, one, two, newcomer)
            assert newcomer.release == one.release == two.release == release


async def test_a_killed_server_without_data_and_without_anybody_who_had_a_lease(own_server: LedgerServer) -> None:
    async with ledgers(own_server, 2) as (one, two):
        assert (await one.activate("v1")).state is State.CONFIRMED
        own_server.kill()
        await until(lambda: not (one.leased() or two.leased()))
        own_server.start()
        await until(lambda: one.leased() and two.leased(), one, two)
        assert one.release == two.release
        assert one.release.name == "v1"
        assert (await two.activate("v2")).state is State.CONFIRMED
        assert one.release.name == "v2"


async def test_who_was_cut_off_does_not_bring_the_older_one_back(server: LedgerServer) -> None:
    async with FaultProxy(server.socket) as proxy, ledgers(server, 1, proxy.url) as (one, away):
        assert (await one.activate("v1")).state is State.CONFIRMED
        proxy.refuse = True
        proxy.reset()
        receipt = await one.activate("v2")
        assert (receipt.state, receipt.missing) == (State.CONFIRMED, (away.worker,))
        assert (away.release.name, away.leased()) == ("v1", False)
        server.admin.flushall()
        proxy.refuse = False
        while not await away.sync():
            pass
        await until(lambda: one.leased() and away.leased(), one, away)
        assert one.release == away.release
        assert one.release.name == "v2"


async def test_a_lost_answer_and_asking_again(server: LedgerServer) -> None:
    async with FaultProxy(server.socket) as proxy:
        ledger = DistributedLedger(RedisLog(connect(proxy.url), "test", patience=0.2), timing=TIMING)
        assert await ledger.start()
        proxy.down.black_hole = True
        assert (await ledger.activate("v1")).state is State.UNCONFIRMED
        assert ledger.release == NO_RELEASE
        proxy.down.black_hole = False
        proxy.reset()
        while (await ledger.activate("v1")).state is not State.CONFIRMED:
            pass
        assert (ledger.release.name, ledger.release.previous) == ("v1", "")
        await ledger.close()
