"""The shared tier when its server, or the way there, fails: a miss or ``StoreError``, and never another body."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgecache.errors import StoreError
from edgecache.semantics.stored import Freshness
from edgecache.stores.breaker import FAILURES, PAUSE
from edgecache.stores.record import CHUNK
from edgecache.stores.redis_body import RedisBody
from tests.faults.proxy import Lane
from tests.faults.redis_server import RedisServer
from tests.stores.contract import content, key, response
from tests.stores.redis_rig import LARGE, OPERATIONS, SHORT, STORED, Clock, Rig, eventually, fill, tried
from tests.stores.redis_stores import NOW, redis_store

LONG = os.environ.get("EDGECACHE_LONG") == "1"

# The server is away


async def test_a_server_that_is_not_there_yet_is_found_when_it_is(tmp_path: Path) -> None:
    server, clock = RedisServer(tmp_path), Clock()
    store = redis_store(server.url, clock=clock)
    for operation in OPERATIONS.values():
        assert isinstance(await tried(operation(store)), StoreError)
        clock.now += PAUSE
    server.start()
    clock.now += PAUSE
    assert await store.lookup(key("a")) == ()
    assert await store.put(response())
    await store.close()
    server.kill()


async def test_a_killed_server_is_asked_a_few_times_and_then_now_and_then(own_rig: Rig) -> None:
    store = own_rig.through()
    await fill(store)
    own_rig.server.kill()
    for _ in range(FAILURES):
        assert isinstance(await tried(store.lookup(key("a"))), StoreError)
    asked = own_rig.proxy.accepted
    assert store._link.breaker.is_open
    for operation in OPERATIONS.values():
        assert isinstance(await tried(operation(store)), StoreError)
    assert own_rig.proxy.accepted == asked
    own_rig.server.start()
    await own_rig.straight.put(STORED)
    assert isinstance(await tried(store.lookup(key("a"))), StoreError)
    own_rig.clock.now += PAUSE
    assert len(await store.lookup(key("a"))) == 1
    assert not store._link.breaker.is_open


async def test_a_server_that_stands_still_costs_a_few_budgets(own_rig: Rig) -> None:
    store = own_rig.through(SHORT)
    await fill(own_rig.straight)
    await eventually(store, own_rig.clock)
    own_rig.server.pause()
    errors = [await tried(store.lookup(key("a"))) for _ in range(FAILURES)]
    assert all("within 20 ms" in str(error) for error in errors)
    seen = own_rig.proxy.up.seen
    errors = [await tried(operation(store)) for operation in OPERATIONS.values()]
    assert all("not asked" in str(error) for error in errors)
    assert own_rig.proxy.up.seen == seen
    own_rig.server.resume()
    (found,) = await eventually(store, own_rig.clock)
    assert await content(found) == b"hello"


async def test_what_is_given_up_is_the_waiting(rig: Rig) -> None:
    """A connection that opens too late for whoever asked first is open for the next."""
    await fill(rig.straight)
    store = rig.through(SHORT)
    rig.proxy.down.hold = asyncio.Event()
    assert isinstance(await tried(store.lookup(key("a"))), StoreError)
    assert len(store._link._conversations) == 1
    rig.proxy.down.hold.set()
    await asyncio.gather(*store._link._conversations)
    assert rig.proxy.accepted == 1
    (found,) = await eventually(store, rig.clock)
    assert await content(found) == b"hello"
    assert rig.proxy.accepted == 1


@pytest.mark.parametrize("name", OPERATIONS)
async def test_no_operation_waits_for_a_silent_server(rig: Rig, name: str) -> None:
    await fill(rig.straight)
    store = rig.through(SHORT)
    rig.proxy.down.hold = asyncio.Event()
    assert isinstance(await tried(OPERATIONS[name](store)), StoreError)


async def test_when_every_connection_is_busy_nobody_waits_longer(rig: Rig) -> None:
    await fill(rig.straight)
    store = rig.through(SHORT, connections=2)
    (small,) = await eventually(store, rig.clock)
    (large,) = await rig.straight.lookup(key("large"))
    assert isinstance(large.body, RedisBody)
    bodies = [RedisBody(store._chunks, key("large"), large.body.layout) for _ in range(200)]
    rig.proxy.down.hold = asyncio.Event()
    outcomes = await asyncio.gather(*(tried(content(replace(small, body=body))) for body in bodies))
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    rig.proxy.down.hold.set()
    assert len(await eventually(store, rig.clock)) == 1
    assert rig.proxy.accepted <= 2


# The way there


def slow(lane: Lane) -> None:
    lane.latency = 10.0


def narrow(lane: Lane) -> None:
    lane.bandwidth = 1.0


def swallowing(lane: Lane) -> None:
    lane.black_hole = True


def ending(lane: Lane) -> None:
    lane.limit = 3


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("toxic", [slow, narrow, swallowing, ending])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_poisoned_way_is_an_error_and_a_clean_one_works_again(
    rig: Rig, name: str, toxic: Callable[[Lane], None], direction: str
) -> None:
    await fill(rig.straight)
    store = rig.through(SHORT)
    lane: Lane = getattr(rig.proxy, direction)
    toxic(lane)
    assert isinstance(await tried(OPERATIONS[name](store)), StoreError)
    rig.proxy.reset()
    rig.server.ask("PING")  # what was on its way when it was given up has taken effect by now
    await rig.straight.put(STORED)
    lane.latency, lane.bandwidth, lane.black_hole, lane.limit = 0.0, None, False, None
    rig.proxy.reset()
    (found,) = await eventually(store, rig.clock)
    assert await content(found) == b"hello"


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_slices_of_any_size_are_put_together(rig: Rig, direction: str, size: int) -> None:
    getattr(rig.proxy, direction).slice = size
    store = rig.through()
    body = bytes(range(256)) * 300 if size < 1000 else LARGE
    await store.put(response(body=body))
    (found,) = await store.lookup(key("a"))
    assert await content(found) == body


async def test_a_reply_cut_anywhere_is_an_error_or_asked_again(rig: Rig) -> None:
    await fill(rig.straight)
    for limit in range(0, 500, 7):
        rig.proxy.down.limit = limit
        store = rig.through()
        outcome = await tried(store.lookup(key("a")))
        assert isinstance(outcome, StoreError) or [await content(found) for found in outcome] == [b"hello"]  # type: ignore[attr-defined]


async def test_a_reset_in_the_middle_of_a_body_is_an_error_or_asked_again(rig: Rig) -> None:
    await fill(rig.straight)
    store = rig.through()
    (found,) = await store.lookup(key("large"))
    received = bytearray()

    async def receive() -> None:
        async for piece in found.body.read(0, found.body.size):
            received.extend(piece)
            rig.proxy.reset()
            rig.proxy.refuse = True

    with pytest.raises(StoreError):
        await receive()
    assert received == LARGE[:CHUNK]
    rig.proxy.refuse = False
    assert await content(found) == LARGE


async def test_corrupt_replies_never_become_another_body(rig: Rig) -> None:
    await fill(rig.straight)
    broken = 0
    for offset in range(0, 460, 3):
        rig.proxy.down.corrupt = frozenset({offset})
        store = rig.through(budget=0.25)  # a corrupt length may announce bytes that never come
        outcome = await tried(store.lookup(key("a")))
        if isinstance(outcome, tuple):
            assert [await content(found) for found in outcome] in ([], [b"hello"])
            broken += outcome == ()
        await store.close()
        rig.stores.remove(store)
    assert broken > 50


async def test_corrupt_chunks_never_become_another_body(rig: Rig) -> None:
    await fill(rig.straight)
    for offset in (10, 100, 1000, CHUNK // 2, CHUNK):
        store = rig.through()
        before = rig.proxy.down.seen
        (found,) = await store.lookup(key("large"))
        rig.proxy.down.corrupt = frozenset({rig.proxy.down.seen - before + offset})
        with pytest.raises(StoreError):
            await content(found)
        rig.proxy.down.corrupt = frozenset()
        assert await content(found) == LARGE


async def test_connections_forgotten_on_the_way_are_left_for_new_ones(rig: Rig) -> None:
    await fill(rig.straight)
    store = rig.through(SHORT)
    await eventually(store, rig.clock)
    accepted = rig.proxy.accepted
    rig.proxy.half_open()
    (found,) = await eventually(store, rig.clock)
    assert await content(found) == b"hello"
    assert rig.proxy.accepted > accepted


@pytest.mark.timeout(900 if LONG else 60)
async def test_half_of_all_waiting_being_cancelled_mixes_nothing_up(rig: Rig) -> None:
    lasting = Freshness(NOW, 10_000.0)
    for number in range(50):
        await rig.straight.put(response(str(number), b"%d" % number * 100, freshness=lasting))
    await rig.straight.put(response("large", LARGE, freshness=lasting))
    rig.proxy.down.slice = 500
    store, dice = rig.through(connections=4), random.Random(11)
    (large,) = await store.lookup(key("large"))

    async def look(number: int) -> None:
        (found,) = await store.lookup(key(str(number)))
        assert await content(found) == b"%d" % number * 100

    async def read(start: int) -> None:
        read = b"".join([bytes(piece) async for piece in large.body.read(start, start + 10)])
        assert read == LARGE[start : start + 10]

    answered = 0
    for _ in range(8000 if LONG else 30):
        tasks = [asyncio.create_task(look(dice.randrange(50))) for _ in range(10)]
        tasks += [asyncio.create_task(read(dice.randrange(len(LARGE) - 10))) for _ in range(3)]
        for _ in range(dice.randrange(6)):
            await asyncio.sleep(0)
        for task in tasks:
            if dice.random() < 0.5:
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        # A machine that is too busy for the proxy makes a timeout of it, and that is no mixture either.
        assert [each for each in outcomes if not isinstance(each, asyncio.CancelledError | StoreError | None)] == []
        answered += outcomes.count(None)
    assert answered > 50
    assert rig.proxy.open <= 4
    await asyncio.gather(*store._link._conversations)
    assert store._link._conversations == set()
