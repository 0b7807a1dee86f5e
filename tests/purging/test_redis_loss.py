"""Whatever happens to the log in Redis, the next script notices; and in what it does it is the model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgecache.purging.log import Member, OrderReply
from edgecache.purging.redis_log import RedisLog
from edgecache.purging.release import NO_RELEASE, Release
from edgecache.purging.selector import Selector
from tests.purging.model import ModelLog
from tests.purging.redis_server import LedgerServer
from tests.purging.redis_words import LOG, META, A, B, activated, activating, opened, ordering, syncing

# ------------------------------------------------------------------------------------------------------ what is lost


def flush(server: LedgerServer) -> None:
    server.admin.flushall()


def restart_with_older_data(server: LedgerServer) -> None:
    """With what was saved before the last purge, or with nothing."""
    server.restart()


def restart_with_the_newest_data(server: LedgerServer) -> None:
    server.save()
    server.restart()


def delete_meta(server: LedgerServer) -> None:
    server.admin.delete(META)


def delete_log(server: LedgerServer) -> None:
    server.admin.delete(LOG)


def delete_an_entry(server: LedgerServer) -> None:
    server.admin.eval("redis.call('XDEL', KEYS[1], redis.call('XRANGE', KEYS[1], '-', '+')[1][1])", 1, LOG)


def delete_the_last_entry(server: LedgerServer) -> None:
    server.admin.eval("redis.call('XDEL', KEYS[1], redis.call('XREVRANGE', KEYS[1], '+', '-')[1][1])", 1, LOG)


def delete_a_field(server: LedgerServer) -> None:
    server.admin.hdel(META, "seq")


def put_older_keys_back(server: LedgerServer) -> None:
    """As if a process of the same identity had gone back: only whoever has applied more can tell."""
    server.admin.hincrby(META, "seq", -1)
    delete_the_last_entry(server)


@pytest.mark.parametrize("saved", [False, True], ids=["", "saved before"])
@pytest.mark.parametrize("operation", ["sync", "purge"])
@pytest.mark.parametrize(
    "lose",
    [
        flush, restart_with_older_data, restart_with_the_newest_data, delete_meta, delete_log, delete_an_entry,
        delete_the_last_entry, delete_a_field, put_older_keys_back,
    ],
    ids=lambda lose: lose.__name__,
)  # fmt: skip
async def test_whatever_is_lost_a_new_epoch_begins(
    log: RedisLog, server: LedgerServer, lose: Callable[[LedgerServer], None], operation: str, saved: bool
) -> None:
    first = await log.sync(syncing("v"))
    await log.sync(syncing("v", first.epoch, first.sequence, settled=True))
    await log.purge(ordering(key="k"))
    if saved:
        server.save()
    await activated(log, "v1")
    active = (await activated(log, "v2")).release
    last = await log.purge(ordering(B))
    lose(server)
    for _ in range(3):
        await asyncio.sleep(0)  # a connection that was closed is noticed when the loop turns
    if operation == "purge":
        committed = await log.purge(ordering(A, epoch=last.epoch, applied=last.sequence, key="k", known=active))
        assert committed.epoch != last.epoch
        assert not committed.settled
        assert committed.members == {}
    reply = await log.sync(syncing("w", last.epoch, last.sequence, known=active))
    assert reply.epoch != last.epoch
    assert (reply.release, reply.sure) == (active, False)
    assert not reply.settled
    assert reply.members == {"w": Member(0, 10.0, 1)}
    assert [purge.selectors for purge in reply.purges] == ([(A,)] if operation == "purge" else [])
    assert reply.floor == reply.sequence - len(reply.purges)
    again = await log.sync(syncing("w", reply.epoch, reply.sequence, known=active))
    assert again.epoch == reply.epoch


async def test_a_restart_from_a_snapshot_is_noticed_also_by_newcomers(log: RedisLog, server: LedgerServer) -> None:
    first = await log.purge(ordering())
    server.save()
    server.restart()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (await log.sync(syncing("newcomer"))).epoch != first.epoch


async def test_who_has_applied_more_than_there_is_begins_a_new_epoch(log: RedisLog) -> None:
    first = await log.sync(syncing())
    reply = await log.sync(syncing(epoch=first.epoch, applied=first.sequence + 5))
    assert reply.epoch != first.epoch
    assert reply.sequence == reply.floor > first.sequence + 5


def same_release(real: Release, made: Release) -> tuple[Release, Release]:
    """They agree in everything but what time it is."""
    assert replace(real, sequence=0) == replace(made, sequence=0)
    return real, made


@pytest.mark.parametrize("seed", range(15))
async def test_the_scripts_do_what_the_model_does(server: LedgerServer, seed: int) -> None:
    rng = random.Random(seed)
    server.clear()
    model = ModelLog(capacity=4, page=3)
    known = dict.fromkeys("uvw", (b"", b"", 0))  # epochs of the two, and what was applied
    told = dict.fromkeys("uvw", (NO_RELEASE, NO_RELEASE))  # the newest releases, by the numbers of the two
    async with opened(RedisLog(server.client(), "test", capacity=4, page=3)) as log:
        for _ in range(60):
            worker = rng.choice("uvw")
            mine, its, applied = known[worker]
            release, its_release = told[worker]
            match rng.choices(["sync", "purge", "activate", "flush"], [10, 6, 3, 1])[0]:
                case "sync":
                    settled, sure = rng.random() < 0.1, rng.random() < 0.1
                    real = await log.sync(syncing(worker, mine, applied, settled=settled, known=release, sure=sure))
                    made = model.sync(syncing(worker, its, applied, settled=settled, known=its_release, sure=sure))
                    assert (real.sequence, real.floor, real.settled) == (made.sequence, made.floor, made.settled)
                    assert (real.purges, real.members, real.sure) == (made.purges, made.members, made.sure)
                    told[worker] = same_release(real.release, made.release)
                    last = max(real.floor, *(purge.sequence for purge in real.purges), 0)
                    known[worker] = (real.epoch, made.epoch, max(last, applied if real.epoch == mine else 0))
                case "purge":
                    tag = Selector.of("tag", rng.choice("ab"))
                    real_purge = await log.purge(ordering(tag, epoch=mine, applied=applied, known=release))
                    made_purge = model.purge(ordering(tag, epoch=its, applied=applied, known=its_release))
                    assert real_purge.sequence == made_purge.sequence
                    assert (real_purge.settled, real_purge.members) == (made_purge.settled, made_purge.members)
                    same_release(real_purge.release, made_purge.release)
                case "activate":
                    name, held = rng.choice("xyz"), rng.random() < 0.5
                    real_one = await log.activate(activating(name, mine, applied, held=held, known=release))
                    made_one = model.activate(activating(name, its, applied, held=held, known=its_release))
                    if isinstance(real_one, OrderReply) and isinstance(made_one, OrderReply):
                        assert (real_one.sequence, real_one.settled) == (made_one.sequence, made_one.settled)
                        same_release(real_one.release, made_one.release)
                    else:  # something came in between, with both
                        assert isinstance(real_one, Release)
                        assert isinstance(made_one, Release)
                        same_release(real_one, made_one)
                case "flush":
                    server.admin.flushall()
                    model.flush()
            same = {(mine == other_mine) is (its == other_its) for mine, its, _ in known.values()
                    for other_mine, other_its, _ in known.values()}  # fmt: skip
            assert same == {True}
