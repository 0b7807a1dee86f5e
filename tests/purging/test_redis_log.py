"""The scripts on a real server: what they keep, and how they notice that it was lost."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import math
from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError

import edgecache.purging
from edgecache.errors import ClientError, StoreError
from edgecache.purging.log import Member, Purge, Sync
from edgecache.purging.redis_log import RedisLog, connect
from edgecache.purging.selector import Kind, Selector
from tests.faults.proxy import FaultProxy
from tests.faults.refusals import ODD_REPLIES, REFUSALS
from tests.purging.redis_server import LedgerServer
from tests.purging.redis_words import LOG, META, ONCE, A, B, opened, ordering, syncing

# ------------------------------------------------------------------------------------------------------ what is kept


async def test_what_is_purged_is_what_a_sync_brings(log: RedisLog) -> None:
    first = await log.sync(syncing())
    assert len(first.epoch) == 16
    assert first.purges == ()
    sent = [
        Selector.of("url", "http://h/a?x=1"),
        Selector.of("prefix", "/a"),
        Selector.of("host", "h:81"),
        Selector.of("tag", "ä ~once"),
        Selector.of("glob", "/**/*.css"),
        Selector(Kind.REGEX, "a+$"),
        Selector.of("expr", 'a & !"b c"'),
        Selector.of("all"),
    ]
    sent += [Selector(one.kind, one.value, soft=True) for one in sent]
    committed = await log.purge(ordering(*sent, key="k"))
    second = await log.sync(syncing(epoch=first.epoch, applied=first.sequence))
    assert (committed.epoch, committed.sequence) == (first.epoch, first.sequence + 1)
    assert second.purges == (Purge(first.sequence + 1, tuple(sent)),)
    assert (second.epoch, second.sequence, second.floor) == (first.epoch, first.sequence + 1, first.floor)


async def test_a_thousand_selectors_are_one_purge(log: RedisLog) -> None:
    first = await log.sync(syncing())
    sent = tuple(Selector.of("tag", str(n)) for n in range(1000))
    await log.purge(ordering(*sent))
    assert (await log.sync(syncing())).purges == (Purge(first.sequence + 1, sent),)


async def test_a_selector_of_a_newer_edge_is_taken_for_everything(log: RedisLog, server: LedgerServer) -> None:
    first = await log.sync(syncing())
    server.admin.xadd(LOG, {"zone": "7"}, id=f"{first.sequence + 1}-0")
    server.admin.xadd(LOG, {"~zone": "7"}, id=f"{first.sequence + 2}-0")
    server.admin.hincrby(META, "seq", 2)
    purges = (await log.sync(syncing())).purges
    assert [purge.selectors for purge in purges] == [(Selector.of("all"),), (Selector.of("all", soft=True),)]


async def test_i2_sequences_grow_and_epochs_never_repeat(log: RedisLog, server: LedgerServer) -> None:
    epochs = []
    for _ in range(3):
        replies = [await log.purge(ordering()) for _ in range(3)]
        sequences = [reply.sequence for reply in replies]
        assert sequences == list(range(sequences[0], sequences[0] + 3))
        epochs.append({reply.epoch for reply in replies})
        server.admin.flushall()
    assert len(set.union(*epochs)) == len(epochs) == 3


async def test_i3_the_log_holds_what_is_above_the_floor_and_no_more(server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "test", capacity=5)) as log:
        for size in (1, 2, 3, 1, 5, 4, 6, 1, 1):
            await log.purge(ordering(*(Selector.of("tag", str(n)) for n in range(size)), key=f"{size}"))
            reply = await log.sync(syncing())
            held = [purge.sequence for purge in reply.purges]
            assert held == list(range(reply.floor + 1, reply.sequence + 1))
            assert sum(len(purge.selectors) for purge in reply.purges) <= 5
            assert server.admin.hlen(ONCE) <= len(held)


async def test_pages(server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "test", page=2)) as log:
        first = await log.sync(syncing())
        for _ in range(5):
            await log.purge(ordering())
        applied, brought = first.sequence, []
        while applied < first.sequence + 5:
            reply = await log.sync(syncing(epoch=first.epoch, applied=applied))
            assert reply.sequence == first.sequence + 5
            applied = reply.purges[-1].sequence
            brought.append(len(reply.purges))
        assert brought == [2, 2, 1]


async def test_the_registry_shows_what_was_applied_before(log: RedisLog) -> None:
    first = await log.sync(syncing("v", lease=math.inf))
    assert first.members == {"v": Member(0, math.inf, 1)}
    purged = await log.purge(ordering())
    reply = await log.sync(syncing("w", first.epoch, purged.sequence - 1, lease=12.345))
    assert reply.members == {"v": Member(0, math.inf, 1), "w": Member(purged.sequence - 1, 12.345, 1)}
    reply = await log.sync(syncing("w", first.epoch, purged.sequence))
    assert reply.members is not None
    assert reply.members["w"] == Member(purged.sequence, 10.0, 2)
    reply = await log.sync(syncing("w", b"another", 99))
    assert reply.members is not None
    assert reply.members["w"] == Member(0, 10.0, 3)


async def test_the_registry_comes_only_when_asked_for(log: RedisLog) -> None:
    assert (await log.sync(Sync("w", b"", 0, 10.0, settled=False, census=False, sent_at=0.0))).members is None


async def test_only_who_knows_the_epoch_settles_the_registry(log: RedisLog) -> None:
    first = await log.sync(syncing(settled=True))
    assert not first.settled
    assert not (await log.purge(ordering())).settled
    assert (await log.sync(syncing(epoch=first.epoch, settled=True))).settled
    assert (await log.purge(ordering())).settled
    assert (await log.sync(syncing("v"))).settled


async def test_leaving(log: RedisLog) -> None:
    first = await log.sync(syncing("v"))
    await log.sync(syncing("w"))
    await log.leave("v", b"another")
    await log.leave("v", first.epoch, heartbeat=7)
    assert set((await log.sync(syncing("w"))).members or ()) == {"v", "w"}
    await log.leave("v", first.epoch, heartbeat=1)
    assert set((await log.sync(syncing("w"))).members or ()) == {"w"}
    await log.leave("w", first.epoch)
    assert set((await log.sync(syncing("x"))).members or ()) == {"x"}


# ------------------------------------------------------------------------------------------------------------- once


async def test_a_purge_with_the_same_key_happens_once(log: RedisLog) -> None:
    first = await log.purge(ordering(A, B, key="deploy 7"))
    other = await log.purge(ordering(A))
    again = await log.purge(ordering(A, B, key="deploy 7"))
    assert again.sequence == first.sequence
    assert [purge.sequence for purge in (await log.sync(syncing())).purges] == [first.sequence, other.sequence]


async def test_a_key_stands_for_its_selectors(log: RedisLog) -> None:
    await log.purge(ordering(A, key="k"))
    with pytest.raises(ClientError) as raised:
        await log.purge(ordering(B, key="k"))
    assert raised.value.status == 422
    assert len((await log.sync(syncing())).purges) == 1


async def test_a_key_lives_as_long_as_its_entry(server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "test", capacity=2)) as log:
        first = await log.purge(ordering(key="k"))
        await log.purge(ordering())
        assert (await log.purge(ordering(key="k"))).sequence == first.sequence
        await log.purge(ordering())
        assert (await log.purge(ordering(key="k"))).sequence == first.sequence + 3
        server.admin.flushall()
        again = await log.purge(ordering(key="k"))
        assert again.epoch != first.epoch


# ------------------------------------------------------------------------------------------- hints, and what fails


async def test_a_purge_is_heard_of(log: RedisLog) -> None:
    heard: asyncio.Queue[None] = asyncio.Queue()
    listening = asyncio.create_task(log.listen(lambda: heard.put_nowait(None)))
    await heard.get()  # the subscription: what came before it was missed
    await log.purge(ordering())
    await heard.get()
    listening.cancel()
    await asyncio.wait([listening])


async def test_a_lost_subscription_is_heard_of(log: RedisLog, server: LedgerServer) -> None:
    heard: asyncio.Queue[None] = asyncio.Queue()
    listening = asyncio.create_task(log.listen(lambda: heard.put_nowait(None)))
    await heard.get()
    server.admin.client_kill_filter(_type="pubsub")
    again = asyncio.create_task(heard.get())
    await asyncio.wait([listening, again], return_when=asyncio.FIRST_COMPLETED)
    assert again.done() or isinstance(listening.exception(), StoreError)
    for task in (listening, again):
        task.cancel()
    await asyncio.wait([listening, again])


async def test_a_purge_is_committed_when_redis_is_full(log: RedisLog, server: LedgerServer) -> None:
    first = await log.sync(syncing())
    server.admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            server.admin.set("other", "x")
        await log.purge(ordering())
        assert len((await log.sync(syncing(epoch=first.epoch, applied=first.sequence))).purges) == 1
    finally:
        server.admin.config_set("maxmemory", 0)


async def test_too_few_replicas_are_a_failure(server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "test", replicas=1)) as log:
        with pytest.raises(StoreError, match="replicas"):
            await log.purge(ordering())


async def test_no_server_is_a_failure(tmp_path: Path) -> None:
    async with opened(RedisLog(connect(f"unix://{tmp_path}/none"), "test")) as log:
        for operation in (log.sync(syncing()), log.purge(ordering()), log.leave("w", b""), log.listen(print)):
            with pytest.raises(StoreError):
                await operation


async def test_a_silent_server_is_a_failure_soon(tmp_path: Path) -> None:
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_unix_server(lambda _, writer: held.append(writer), tmp_path / "silent")
    async with opened(RedisLog(connect(f"unix://{tmp_path}/silent"), "test", patience=0.05)) as log:
        with pytest.raises(StoreError):
            await log.purge(ordering())
    for writer in held:
        writer.close()
    silent.close()
    await silent.wait_closed()


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_whatever_goes_on_can_be_given_up_at_any_time(server: LedgerServer, turns: int) -> None:
    log = RedisLog(server.client(), "test", replicas=1)
    tasks = [asyncio.create_task(one) for one in (log.sync(syncing()), log.purge(ordering()), log.listen(print))]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks if not task.done() or task.cancelled() or not task.exception()]
    await log.close()
    assert log._talks == set()


async def test_closing_ends_what_goes_on(server: LedgerServer) -> None:
    log = RedisLog(server.client(), "test")
    heard = asyncio.Event()
    listening = asyncio.create_task(log.listen(heard.set))
    await heard.wait()
    await log.close()
    with pytest.raises(StoreError, match="closed"):
        await listening


async def test_operators_are_told_what_makes_the_log_disappear(log: RedisLog, server: LedgerServer) -> None:
    assert await log.advice() == ""
    server.admin.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "volatile-lfu" in await log.advice()
    finally:
        server.admin.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("reply", [*(f"-{words}\r\n".encode() for words in REFUSALS), *ODD_REPLIES])
async def test_whatever_the_server_says_is_a_failure_at_most(server: LedgerServer, reply: bytes) -> None:
    async with FaultProxy(server.socket) as proxy:
        proxy.replies["*"] = reply
        async with opened(RedisLog(connect(proxy.url), "test", replicas=1)) as log:
            for operation in (log.sync(syncing()), log.purge(ordering()), log.advice(), log.leave("w", b"")):
                with contextlib.suppress(StoreError):
                    assert await operation in (None, "")
            listening = asyncio.create_task(log.listen(lambda: None))
            await asyncio.wait([listening], timeout=0.01)
        with pytest.raises(StoreError):
            await listening


async def test_a_primary_without_replicas_can_be_told_to_give_no_leases(log: RedisLog, server: LedgerServer) -> None:
    server.admin.config_set("min-replicas-to-write", 1)
    try:
        for operation in (log.sync(syncing()), log.purge(ordering())):
            with pytest.raises(StoreError, match="NOREPLICAS"):
                await operation
    finally:
        server.admin.config_set("min-replicas-to-write", 0)


async def test_another_s_key_in_our_place_is_a_failure(log: RedisLog, server: LedgerServer) -> None:
    server.admin.set(META, "x")
    with pytest.raises(StoreError):
        await log.sync(syncing())


async def test_another_s_registry_entry_is_a_failure(log: RedisLog, server: LedgerServer) -> None:
    await log.sync(syncing())
    server.admin.hset(META, "n:x", "nonsense")
    with pytest.raises(StoreError):
        await log.sync(syncing())


async def test_many_purges_at_once_wait_for_each_other(log: RedisLog) -> None:
    replies = await asyncio.gather(*(log.purge(ordering()) for _ in range(50)))
    assert len({reply.sequence for reply in replies}) == 50


async def test_the_permissions_it_needs(server: LedgerServer) -> None:
    commands = "evalsha eval info hmget hset hget hgetall hdel del xlen xrange xrevrange xadd xtrim publish subscribe"
    allowed = [f"+{command}" for command in commands.split()]
    rights = ["resetkeys", "~ec:{test}:*", "resetchannels", "&ec:{test}:wake", "-@all", *allowed]
    assert server.ask("ACL", "SETUSER", "edge", "on", ">secret", *rights) == b"+OK\r\n"
    heard = asyncio.Event()
    async with opened(RedisLog(connect(f"unix://edge:secret@{server.socket}"), "test", capacity=1)) as log:
        await log.purge(ordering(key="k"))
        await log.purge(ordering(key="l"))
        reply = await log.sync(syncing())
        await log.leave("w", reply.epoch, 1)
        listening = asyncio.create_task(log.listen(heard.set))
        await heard.wait()
        listening.cancel()
        await asyncio.wait([listening])
    assert server.ask("ACL", "DELUSER", "edge") == b":1\r\n"


async def test_namespaces_do_not_meet(log: RedisLog, server: LedgerServer) -> None:
    async with opened(RedisLog(server.client(), "other")) as other:
        await log.purge(ordering(key="k"))
        assert (await other.sync(syncing())).purges == ()
    keys = {key.decode() for key in server.admin.scan_iter()}
    assert keys == {META, LOG, ONCE, "ec:{other}:meta"}


def test_the_scripts_are_package_data() -> None:
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).parents[2] / "setup.cfg", "utf-8")
    pattern = parser["options.package_data"]["edgecache.purging"]
    found = {path.name for path in Path(next(iter(edgecache.purging.__path__))).glob(pattern)}
    assert found == {f"{name}.lua" for name in ("head", "append", "sync", "purge", "activate", "leave", "memory")}
