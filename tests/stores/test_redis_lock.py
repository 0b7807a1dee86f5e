"""The lock that processes share: who has it, how it ends, and that nothing depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from edgecache.stores.base import FillLock as FillLockContract
from edgecache.stores.redis_link import RedisLink
from edgecache.stores.redis_lock import _ACQUIRE, FillLock
from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer
from tests.stores.contract import key
from tests.stores.redis_rig import SHORT
from tests.stores.redis_stores import PATIENT, SECRET, unused_namespace

A, B = key("a"), key("b")
LONG = 1000.0
"""Seconds that no test takes."""


class Time:
    """Seconds for waiting; whoever sleeps is awake at once, and later."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.waited = asyncio.Event()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        if len(self.pauses) == 8:
            self.waited.set()
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def locks(redis_server: RedisServer, time: Time) -> AsyncIterator[tuple[FillLock, FillLock]]:
    """Of two processes."""
    links = [RedisLink(redis_server.url, budget=PATIENT) for _ in range(2)]
    namespace = unused_namespace()
    one, two = (FillLock(link, namespace, SECRET, clock=time, sleep=time.sleep) for link in links)
    yield one, two
    for link in links:
        await link.close()


def test_it_is_what_the_engine_knows(redis_server: RedisServer) -> None:
    lock: FillLockContract = FillLock(RedisLink(redis_server.url), "test")
    assert lock


async def test_one_has_it_until_it_is_given_back(locks: tuple[FillLock, FillLock]) -> None:
    one, two = locks
    owner = await one.acquire(A, LONG)
    assert owner is not None
    assert await two.acquire(A, LONG) is None
    assert await one.acquire(A, LONG) is None
    other = await two.acquire(B, LONG)
    assert other is not None
    await one.release(owner)
    assert await two.acquire(A, LONG) is not None


async def test_of_many_at_once_one_gets_it(locks: tuple[FillLock, FillLock]) -> None:
    got = await asyncio.gather(*(lock.acquire(A, LONG) for lock in locks * 20))
    assert sum(owner is not None for owner in got) == 1


async def test_it_ends_by_itself_and_who_had_it_takes_nothing_from_the_next(locks: tuple[FillLock, FillLock]) -> None:
    one, two = locks
    late = await one.acquire(A, 0.001)
    assert late is not None
    while (owner := await two.acquire(A, LONG)) is None:
        pass
    await one.release(late)
    assert await one.acquire(A, LONG) is None
    await two.release(owner)
    assert await one.acquire(A, LONG) is not None


async def test_every_lock_has_a_time_to_live(locks: tuple[FillLock, FillLock], client: Redis) -> None:
    owner = await locks[0].acquire(A, 60.0)
    assert owner is not None
    assert 0 < await client.pttl(owner.name) <= 60_000
    assert "example" not in owner.name
    tiny = await locks[0].acquire(B, 0.0)
    assert tiny is not None


async def test_waiting_ends_when_it_is_given_back(locks: tuple[FillLock, FillLock], time: Time) -> None:
    one, two = locks
    assert await two.released(A, LONG)
    assert time.pauses == []
    owner = await one.acquire(A, LONG)
    assert owner is not None
    waiting = asyncio.create_task(two.released(A, LONG))
    await time.waited.wait()
    await one.release(owner)
    assert await waiting
    assert time.pauses[:6] == [0.005, 0.01, 0.02, 0.04, 0.08, 0.1]
    assert max(time.pauses) == 0.1


async def test_waiting_ends_when_its_time_is_over(locks: tuple[FillLock, FillLock], time: Time) -> None:
    one, two = locks
    assert await one.acquire(A, LONG) is not None
    assert not await two.released(A, 0.5)
    assert time.now == 0.5
    assert not await two.released(A, 0.0)
    assert time.now == 0.5


async def test_asking_twice_is_as_asking_once(redis_server: RedisServer) -> None:
    """The client asks again when a connection broke, and the first time may have counted."""
    link, name = RedisLink(redis_server.url, budget=PATIENT), unused_namespace()
    assert [await link.script(_ACQUIRE, name, token, 60_000) for token in (b"1", b"1", b"2", b"1")] == [1, 1, 0, 1]
    await link.close()


async def test_namespaces_do_not_meet_and_secrets_do_not_either(redis_server: RedisServer) -> None:
    link, name = RedisLink(redis_server.url, budget=PATIENT), unused_namespace()
    locks = FillLock(link, name, SECRET), FillLock(link, f"{name}x", SECRET), FillLock(link, name, SECRET[::-1])
    assert None not in [await lock.acquire(A, LONG) for lock in locks]
    await link.close()


async def test_without_a_server_everybody_goes_on(tmp_path: Path) -> None:
    link = RedisLink(f"unix://{tmp_path}/none", budget=PATIENT)
    lock = FillLock(link, "test")
    for _ in range(10):  # some of them when the link has given up asking
        owner = await lock.acquire(A, LONG)
        assert owner is not None
        assert await lock.released(A, LONG)
        await lock.release(owner)
    assert lock.failures == 30
    await link.close()


async def test_a_server_that_dies_while_others_wait_lets_them_go_on(own_redis_server: RedisServer, time: Time) -> None:
    link = RedisLink(own_redis_server.url, budget=PATIENT)
    lock = FillLock(link, "test", clock=time, sleep=time.sleep)
    owner = await lock.acquire(A, LONG)
    assert owner is not None
    waiting = asyncio.create_task(lock.released(A, LONG))
    await time.waited.wait()
    own_redis_server.kill()
    assert await waiting
    await lock.release(owner)
    await link.close()


async def test_an_answer_that_is_lost_is_leave_to_go_on(redis_server: RedisServer) -> None:
    async with FaultProxy(redis_server.socket) as proxy:
        near, far = RedisLink(redis_server.url, budget=PATIENT), RedisLink(proxy.url, budget=SHORT)
        namespace = unused_namespace()
        one, two = FillLock(near, namespace), FillLock(far, namespace)
        proxy.down.black_hole = True
        owner = await two.acquire(A, LONG)
        assert owner is not None
        await two.release(owner)
        assert two.failures == 2
        assert await one.released(B, LONG)
        await near.close()
        await far.close()


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"*0\r\n", b"$-1\r\n", b"-OOM no memory\r\n", b"-NOPERM no\r\n"])
async def test_an_answer_that_makes_no_sense_is_leave_to_go_on(redis_server: RedisServer, reply: bytes) -> None:
    async with FaultProxy(redis_server.socket) as proxy:
        proxy.replies["*"] = reply
        link = RedisLink(proxy.url, budget=PATIENT)
        lock = FillLock(link, "test")
        owner = await lock.acquire(A, LONG)
        assert owner is not None
        assert await lock.released(A, LONG)
        await lock.release(owner)
        await link.close()
