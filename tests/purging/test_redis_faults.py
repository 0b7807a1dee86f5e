"""What is confirmed stays purged, whatever happens to the server: G1, with processes, purges and requests going on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecache.purging.receipt import State
from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer, Sentinel, two_servers
from tests.purging.redis_server import LedgerServer
from tests.purging.redis_words import LOG, META
from tests.purging.world import World

# ------------------------------------------------------------------------------------- the server is lost, or its data


@pytest.fixture
def appending(tmp_path: Path) -> Iterator[LedgerServer]:
    """A server that writes down what it does, and may lose the last second of that."""
    server = LedgerServer(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec")
    yield server
    server.stop()


def restart_with_all_it_wrote(server: LedgerServer) -> None:
    server.restart()


def restart_without_the_last_it_wrote(server: LedgerServer) -> None:
    server.kill()
    (written,) = server.directory.rglob("*.incr.aof")
    whole = written.read_bytes()
    written.write_bytes(whole[: len(whole) // 2])
    server.start()


def restart_with_an_older_snapshot(server: LedgerServer) -> None:
    server.restart()


def restart_with_nothing(server: LedgerServer) -> None:
    server.forget()
    server.restart()


def flush(server: LedgerServer) -> None:
    server.admin.flushall()


def delete_log(server: LedgerServer) -> None:
    server.admin.delete(LOG)


def delete_meta(server: LedgerServer) -> None:
    server.admin.delete(META)


def evict_everything(server: LedgerServer) -> None:
    server.admin.config_set("maxmemory-policy", "allkeys-lru")
    server.admin.config_set("maxmemory", 1)
    while server.admin.exists(META, LOG):
        server.admin.ping()
    server.admin.config_set("maxmemory", 0)


async def survived(server: LedgerServer, lose: Callable[[LedgerServer], None]) -> None:
    """Lose something in the middle of purges, and see them confirmed and copies served again: nothing stale."""
    async with World([server.url] * 2).living() as world:
        await world.until()
        server.save()
        await world.until()
        epoch = world.processes[0].ledger.epoch
        await asyncio.to_thread(lose, server)
        await world.until()
        assert world.processes[0].ledger.epoch != epoch
        assert world.switches
        assert (world.stale, world.astray) == (0, 0)


@pytest.mark.parametrize(
    "lose",
    [restart_with_an_older_snapshot, restart_with_nothing, flush, delete_log, delete_meta, evict_everything],
    ids=lambda lose: lose.__name__,
)
async def test_nothing_that_is_lost_brings_back_what_was_purged(
    own_server: LedgerServer, lose: Callable[[LedgerServer], None]
) -> None:
    await survived(own_server, lose)


@pytest.mark.parametrize(
    "lose", [restart_with_all_it_wrote, restart_without_the_last_it_wrote], ids=lambda lose: lose.__name__
)
async def test_nor_does_what_is_written_down(appending: LedgerServer, lose: Callable[[LedgerServer], None]) -> None:
    await survived(appending, lose)


async def test_a_server_that_stands_still_confirms_nothing_and_proves_nothing(own_server: LedgerServer) -> None:
    async with World([own_server.url] * 2).living() as world:
        await world.until()
        own_server.pause()
        await world.until_nothing_is_proven()
        hits = world.hits
        assert await world.next_receipts() == {State.UNCONFIRMED}
        assert world.hits == hits
        own_server.resume()
        await world.until()
        assert (world.stale, world.astray) == (0, 0)


# ---------------------------------------------------------------------------------------------- another takes over


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary, and a replica-to-be."""
    yield from two_servers(tmp_path)


@pytest.mark.parametrize("replicas", [0, 1])
async def test_a_replica_that_lags_takes_over(pair: tuple[RedisServer, RedisServer], replicas: int) -> None:
    """The address stays, as a name in DNS does; the newest purges never came to the server that is behind it now."""
    primary, replica = pair
    async with FaultProxy(("127.0.0.1", primary.port)) as between, FaultProxy(primary.socket) as front:
        await asyncio.to_thread(replica.follow, between.port)
        async with World([front.url] * 2, replicas=replicas).living() as world:
            await world.until()
            between.down.black_hole = True
            if replicas:
                assert await world.next_receipts() == {State.UNCONFIRMED}
            else:
                await world.until()
            primary.kill()
            assert await world.next_receipts() == {State.UNCONFIRMED}
            replica.lead()
            front.upstream = replica.socket
            if replicas:
                primary.start()
                await asyncio.to_thread(primary.follow, replica.port)
            await world.until()
            assert (world.stale, world.astray) == (0, 0)


async def test_a_primary_that_became_a_replica_is_left(pair: tuple[RedisServer, RedisServer]) -> None:
    """It is still there and answers on the old connections: READONLY."""
    primary, replica = pair
    replica.follow(primary.port)
    async with FaultProxy(primary.socket) as front, World([front.url] * 2).living() as world:
        await world.until()
        replica.lead()
        await asyncio.to_thread(primary.follow, replica.port)
        front.upstream = replica.socket
        await world.until()
        assert (world.stale, world.astray) == (0, 0)


async def test_sentinels_let_a_replica_take_over(pair: tuple[RedisServer, RedisServer], tmp_path: Path) -> None:
    primary, replica = pair
    replica.follow(primary.port)
    (tmp_path / "sentinel").mkdir()
    sentinel = Sentinel(tmp_path / "sentinel", primary.port).start()
    try:
        async with World([sentinel.url] * 2).living() as world:
            await world.until()
            replica.pause()
            await world.until()
            primary.kill()
            assert await world.next_receipts() == {State.UNCONFIRMED}
            replica.resume()
            await world.until()
            assert (world.stale, world.astray) == (0, 0)
    finally:
        sentinel.kill()
