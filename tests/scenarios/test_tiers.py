"""Edges that share a Redis server: what one has fetched the others have, and what one purges all have purged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecache.purging.receipt import State
from edgecache.purging.selector import Selector
from tests.faults.redis_server import RedisServer
from tests.scenarios.composed import edge_before, requested, settled, until
from tests.scenarios.rig import FakeClock, Hold, Received, Reply, ScriptedOrigin
from tests.scenarios.shared import SECRET, StartShared, SteadyClock, confirmed, edges_sharing, written

LARGE = 3 * 256 * 1024 + 17
TAGGED = {"Cache-Control": "max-age=600", "ETag": '"1"', "Surrogate-Key": "a b"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


def numbered(request: Received) -> Reply:
    return Reply(200, TAGGED, b"body %d" % request.number)


@pytest.mark.parametrize("size", [0, 10, 64 * 1024, LARGE])
async def test_what_one_has_fetched_the_other_has(start: StartShared, origin: ScriptedOrigin, size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    origin.script = lambda _: Reply(200, TAGGED, body[:size])
    one, other = await start(), await start()
    assert (await one.fetch("/x")).body == body[:size]
    await written(one)
    for _ in range(2):
        response = await other.fetch("/x")
        assert (response.status, response.body) == (200, body[:size])
        assert response.cache_status == "edgecache; hit; ttl=600"
        assert "surrogate-key" not in response.fields
    assert len(origin.requests) == 1


async def test_a_range_of_what_the_other_has(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(200, TAGGED, bytes(LARGE))
    one, other = await start(), await start()
    await one.fetch("/x")
    await written(one)
    response = await other.fetch("/x", fields={"Range": "bytes=300000-300009"})
    assert (response.status, response.body) == (206, bytes(10))
    assert len(origin.requests) == 1


async def test_what_memory_does_not_take_is_still_served(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(200, TAGGED, bytes(LARGE))
    one, small = await start(), await start(memory=1024 * 1024)
    await one.fetch("/x")
    await written(one)
    for _ in range(2):
        assert (await small.fetch("/x")).body == bytes(LARGE)
    assert small.parts.memory.statistics().responses == 0
    assert len(origin.requests) == 1


async def test_variants(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = lambda r: Reply(200, {**TAGGED, "Vary": "X"}, r.fields["x"].encode())
    one, other = await start(), await start()
    for value in "ab":
        await one.fetch("/x", fields={"X": value})
    await written(one)
    for value in "abab":
        assert (await other.fetch("/x", fields={"X": value})).body == value.encode()
    assert len(origin.requests) == 2


async def test_who_asks_at_once_asks_redis_once(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = numbered
    one, other = await start(), await start()
    await one.fetch("/x")
    await written(one)
    assert {r.body for r in await asyncio.gather(*(other.fetch("/x") for _ in range(20)))} == {b"body 1"}
    assert other.parts.shared is not None
    assert other.parts.shared.store.counters.hits <= 20
    assert len(origin.requests) == 1


async def test_a_validation_by_one_is_for_all(start: StartShared, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = lambda r: Reply(304, TAGGED) if "if-none-match" in r.fields else numbered(r)
    one, other = await start(), await start()
    await one.fetch("/x")
    await written(one)
    clock.advance(601)
    assert "fwd=stale; fwd-status=304" in (await one.fetch("/x")).cache_status
    await written(one)
    assert (await other.fetch("/x")).cache_status == "edgecache; hit; ttl=600"
    assert len(origin.requests) == 2


async def test_what_may_not_be_stored_any_more_is_gone_for_all(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = numbered
    one, other = await start(), await start()
    await one.fetch("/x")
    await written(one)
    clock.advance(601)
    origin.script = lambda r: Reply(200, {"Cache-Control": "no-store"}, b"secret %d" % r.number)
    await one.fetch("/x")
    await written(one)
    assert (await other.fetch("/x")).body == b"secret 3"
    assert "if-none-match" not in origin.requests[-1].fields


KINDS = {
    "url": "http://example.com/x",
    "prefix": "example.com/x",
    "host": "example.com",
    "tag": "a",
    "glob": "*/x",
    "expr": "a & b",
    "all": "",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_one_purges_is_purged_for_all(start: StartShared, origin: ScriptedOrigin, kind: str) -> None:
    origin.script = numbered
    edges = [await start(), await start()]
    for edge in edges:
        assert (await edge.fetch("/x")).body == b"body 1"
        await written(edge)
    await confirmed(edges[0], kind, KINDS[kind])
    response = await edges[1].fetch("/x")
    assert (response.body, response.cache_status) == (b"body 2", "edgecache; fwd=uri-miss; stored")
    await written(edges[1])
    assert (await edges[0].fetch("/x")).body == b"body 2"


async def test_a_late_write_to_redis_brings_nothing_back(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = numbered
    one, other = await start(), await start()
    assert one.parts.shared is not None
    hold, store = Hold(), one.parts.shared.store
    put = store.put

    async def held(response: Any) -> bool:
        await hold.wait()
        return await put(response)

    store.put = held  # type: ignore[method-assign]
    await one.fetch("/x")
    await hold.reached()
    await confirmed(other, "tag", "a")
    hold.release()
    await written(one)
    assert (await other.fetch("/x")).body == b"body 2"


async def test_a_soft_purge_is_soft_for_all(start: StartShared, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = lambda r: Reply(304, TAGGED) if "if-none-match" in r.fields else numbered(r)
    one, other = await start(), await start()
    await one.fetch("/x")
    await written(one)
    await confirmed(one, "tag", "a", soft=True)
    clock.advance(1)
    assert "fwd=stale; fwd-status=304" in (await other.fetch("/x")).cache_status
    await written(other)
    assert "hit" in (await one.fetch("/x")).cache_status


async def test_a_post_through_one_invalidates_for_all(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = numbered
    one, other = await start(), await start()
    for edge in (one, other):
        await edge.fetch("/x")
        await written(edge)
    before = one.parts.ledger.sequence
    await one.fetch("/x", "POST", body=b"new")
    await until(lambda: one.parts.ledger.sequence == other.parts.ledger.sequence == before + 1)
    assert (await other.fetch("/x")).body == b"body 3"


async def test_a_request_can_ask_for_a_purge_to_be_known(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = numbered
    edge = await start()
    await edge.fetch("/x")
    for wanted in ("0", "1", "99999999999999", "-1", "x", "9" * 40):
        assert (await edge.fetch("/x", fields={"Edgecache-Min-Seq": wanted})).body == b"body 1"
    assert (await edge.fetch("/y", fields={"Edgecache-Min-Seq": "0"})).status == 200
    assert "edgecache-min-seq" not in origin.requests[-1].fields


@pytest.mark.parametrize("hours", [-1, 1])
async def test_edges_whose_clocks_differ(
    server: RedisServer, origin: ScriptedOrigin, steady: SteadyClock, hours: int
) -> None:
    """What one has stored is not fresh for longer at the other, and a purge is one at both."""
    origin.script = lambda r: Reply(304, TAGGED) if "if-none-match" in r.fields else numbered(r)
    clocks = FakeClock(), FakeClock(1_800_000_000.0 + hours * 3600)
    async with edges_sharing(server, origin, clocks[0], steady) as start:
        one = await start()
        async with edges_sharing(server, origin, clocks[1], steady) as start_other:
            other = await start_other()
            await one.fetch("/x")
            await written(one)
            assert "fwd=stale; fwd-status=304" in (await other.fetch("/x")).cache_status
            assert "hit" in (await other.fetch("/x")).cache_status
            await written(other)
            await confirmed(one, "tag", "a")
            assert {(await edge.fetch("/x")).body for edge in (other, one)} == {b"body 3"}
            clocks[0].advance(-3600)
            await confirmed(other, "tag", "a")
            assert {(await edge.fetch("/x")).body for edge in (one, other)} == {b"body 5"}


# Redis gone.


async def test_without_redis_from_the_start(origin: ScriptedOrigin, clock: FakeClock, tmp_path: Path) -> None:
    origin.script = numbered
    redis = {"url": f"unix://{tmp_path}/nobody.sock", "secret": SECRET}
    async with edge_before(origin.url, clock=clock, redis=redis) as edge:
        assert (await edge.fetch("/x")).body == b"body 1"
        response = await edge.fetch("/x")
        assert response.cache_status == "edgecache; fwd=stale; stored; detail=unproven"
        assert "if-none-match" in origin.requests[-1].fields
        receipt = await edge.parts.ledger.purge([Selector.of("tag", "a")])
        assert receipt.state is State.UNCONFIRMED


async def test_a_short_absence_is_not_noticed(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock
) -> None:
    origin.script = numbered
    edge = await start()
    await edge.fetch("/x")
    server.pause()
    steady.advance(5)
    assert "hit" in (await edge.fetch("/x")).cache_status
    server.resume()


async def test_without_a_lease_the_origin_confirms(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock
) -> None:
    origin.script = lambda r: Reply(304, TAGGED) if "if-none-match" in r.fields else numbered(r)
    edge = await start()
    for target in ("/x", "/y"):
        await edge.fetch(target)
    await written(edge)
    server.pause()
    steady.advance(10)
    for _ in range(2):
        response = await edge.fetch("/x")
        assert response.body == b"body 1"
        assert "fwd=stale; fwd-status=304" in response.cache_status
    server.resume()
    await until(edge.parts.ledger.leased)
    for target in ("/x", "/y"):
        assert "hit" in (await edge.fetch(target)).cache_status
    assert len(origin.requests) == 4


async def test_without_a_lease_one_fetch_runs_and_one_waits(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock
) -> None:
    """Also when those who wait come in waves: nobody gets what was asked for before it came."""
    edge = await start()
    server.kill()
    steady.advance(11)
    holds = [Hold() for _ in range(4)]
    origin.script = lambda r: Reply(200, TAGGED, b"body %d" % r.number, hold=holds[r.number - 1])
    waves = [[await edge.download("/x")]]
    await holds[0].reached()
    for number in range(1, 4):
        waves.append([await edge.download("/x") for _ in range(20)])
        await requested(edge, sum(map(len, waves)))
        await asyncio.sleep(0)
        assert len(origin.requests) == number
        holds[number - 1].release()
        await holds[number].reached()
    holds[3].release()
    for number, wave in enumerate(waves, 1):
        assert {(await each.rest()).body for each in wave} == {b"body %d" % number}
    assert len(origin.requests) == 4


async def test_who_leads_the_queue_may_leave(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock
) -> None:
    edge = await start()
    server.kill()
    steady.advance(11)
    hold = Hold()
    private = {"Cache-Control": "private"}
    origin.script = lambda r: Reply(
        200, TAGGED if r.number == 1 else private, b"body %d" % r.number, hold=hold if r.number == 1 else None
    )
    first = await edge.download("/x")
    await hold.reached()
    leader, follower = await edge.download("/x"), await edge.download("/x")
    await requested(edge, 3)
    await leader.close()
    for _ in range(20):
        await asyncio.sleep(0)
    hold.release()
    assert (await first.rest()).body == b"body 1"
    assert (await follower.rest()).body == b"body 3"
    await settled(edge)


async def test_an_invalidation_during_an_absence_arrives_later(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer
) -> None:
    origin.script = numbered
    one, other = await start(), await start()
    for edge in (one, other):
        await edge.fetch("/x")
        await written(edge)
    before = one.parts.ledger.sequence
    server.pause()
    await one.fetch("/x", "POST", body=b"new")
    assert (await one.fetch("/x")).body == b"body 3"
    server.resume()
    await until(lambda: one.parts.ledger.sequence == other.parts.ledger.sequence == before + 1)
    assert (await other.fetch("/x")).body != b"body 1"


async def test_a_server_that_forgets_everything(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer
) -> None:
    """A new epoch: nothing old is served unconfirmed, and bodies are not fetched again."""
    origin.script = lambda r: Reply(304, TAGGED) if "if-none-match" in r.fields else numbered(r)
    edge = await start()
    await edge.fetch("/x")
    await written(edge)
    epoch = edge.parts.ledger.birth().epoch
    server.ask("FLUSHALL")
    await edge.parts.ledger.catch_up(10**6)
    assert edge.parts.ledger.birth().epoch != epoch
    assert "fwd=stale; fwd-status=304" in (await edge.fetch("/x")).cache_status
    assert "hit" in (await edge.fetch("/x")).cache_status


async def test_a_body_that_is_lost_half_way_is_a_miss(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer
) -> None:
    origin.script = lambda r: Reply(200, TAGGED, bytes([r.number]) * LARGE)
    one, other = await start(), await start()
    await one.fetch("/x")
    await written(one)
    with contextlib.closing(_admin(server)) as admin:
        sizes = {name: admin.strlen(name) for name in admin.scan_iter("ec:*", _type="string")}
        admin.unlink(max(sizes, key=sizes.__getitem__))
    response = await other.fetch("/x")
    assert (response.body, response.complete) == (b"\x02" * LARGE, True)
    assert other.parts.counters.store_failures == 1


def _admin(server: RedisServer) -> Any:
    import redis

    return redis.Redis(unix_socket_path=str(server.socket))
