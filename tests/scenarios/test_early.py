"""Refreshing in the background, early or within grace: once, whoever asks, and once among all processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from edgecache.engine.turns import REFRESH_SECONDS
from edgecache.semantics.rules import Rule
from tests.faults.redis_server import RedisServer
from tests.scenarios.composed import edge_before, settled, until
from tests.scenarios.rig import FakeClock, Hold, Received, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge
from tests.scenarios.shared import StartShared, SteadyClock, edges_sharing, written

FRESH: Final = {"Cache-Control": "max-age=60"}
GRACE: Final = {"Cache-Control": "max-age=60, stale-while-revalidate=60"}
FETCHING: Final = 2.0
"""Seconds that each fetch takes, by the injected clock."""


class Luck:
    """How eager each request is; none, unless a story says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def luck() -> Luck:
    return Luck()


def early(factor: float = 1.0, **settings: object) -> list[Rule]:
    return [Rule(name="early", settings={"early": factor, **settings})]


@pytest.fixture
async def edge(origin: ScriptedOrigin, clock: FakeClock, luck: Luck) -> AsyncIterator[RunningEdge]:
    """An edge that refreshes early, if requests are lucky."""
    async with edge_before(origin.url, clock=clock, luck=luck, rules=early()) as running:
        yield running


def taking(clock: FakeClock, fields: dict[str, str], seconds: float = FETCHING) -> Callable[[Received], Reply]:
    """Answer each request with its number, after some time by the clock; 304 to who knows the number."""

    def script(request: Received) -> Reply:
        clock.advance(seconds)
        if request.fields.get("if-none-match") == '"the same"':
            return Reply(304, fields)
        return Reply(200, fields, b"answer %d" % request.number)

    return script


def held(fields: dict[str, str], hold: Hold) -> Callable[[Received], Reply]:
    return lambda request: Reply(200, fields, b"answer %d" % request.number, hold=hold)


async def stored(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, fields: dict[str, str] = FRESH) -> None:
    """Let ``answer 1`` be stored for ``/a``: fresh for ``60 - FETCHING`` more seconds."""
    origin.script = taking(clock, fields)
    assert (await edge.fetch("/a")).body == b"answer 1"


# ---------------------------------------------------------------------------------------------------- one process


async def test_a_lucky_request_refreshes_what_is_about_to_end_and_everybody_goes_on_hitting(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    await stored(edge, origin, clock)
    clock.advance(60 - FETCHING - 5)
    luck.now = 5 / FETCHING - 0.01
    assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=5"
    hold = Hold()
    origin.script = held(FRESH, hold)
    luck.now = 5 / FETCHING + 0.01
    for _ in range(5):
        hit = await edge.fetch("/a")
        assert (hit.body, hit.cache_status) == (b"answer 1", "edgecache; hit; ttl=5; detail=early")
    await hold.reached()
    hold.release()
    await settled(edge)
    luck.now = 0.0
    assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=60"
    assert origin.asked() == 2
    counters = edge.parts.counters
    assert (counters.refreshes, counters.refreshes_early, counters.hits) == (1, 1, 7)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("HEAD", {}),
        ("GET", {"Range": "bytes=0-1"}),
        ("GET", {"If-None-Match": '"1"', "If-Modified-Since": "Mon, 23 Nov 2026 00:00:00 GMT"}),
        ("GET", {"Cache-Control": "no-store"}),
        ("GET", {"Cache-Control": "only-if-cached, max-stale=9", "Pragma": "no-cache"}),
    ],
)
async def test_what_is_sent_is_for_everybody(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, luck: Luck, method: str, fields: dict[str, str]
) -> None:
    """A client's own wishes are not asked of the origin, and its no-store costs nobody what is stored."""
    await stored(edge, origin, clock)
    luck.now = 100.0
    assert "detail=early" in (await edge.fetch("/a", method, fields)).cache_status
    await settled(edge)
    luck.now = 0.0
    sent = origin.requests[1]
    assert sent.method == "GET"
    assert not set(sent.fields) & {"Range", "If-None-Match", "If-Modified-Since", "Cache-Control", "Pragma"}
    assert (await edge.fetch("/a")).body == b"answer 2"


@pytest.mark.parametrize("why", ["early", "grace"])
@pytest.mark.parametrize(
    ("credentials", "stored_under", "is_sent"),
    [
        ({"Authorization": "Basic x"}, "max-age=60", False),
        ({"Authorization": "Basic x"}, "public, max-age=60", True),
        ({"Cookie": "id=1"}, "", False),
        ({"Cookie": "id=1"}, "max-age=60", False),  # what is refreshed for everybody has nobody's cookies
    ],
)
async def test_credentials_are_sent_only_where_the_answer_can_be_for_others(
    origin: ScriptedOrigin,
    clock: FakeClock,
    luck: Luck,
    credentials: dict[str, str],
    stored_under: str,
    is_sent: bool,
    why: str,
) -> None:
    fields = {"Cache-Control": stored_under} if stored_under else {}
    rules = early(default_ttl=60.0, grace=60.0)
    async with edge_before(origin.url, clock=clock, luck=luck, rules=rules) as edge:
        await stored(edge, origin, clock, fields)
        luck.now = 100.0
        clock.advance(60 if why == "grace" else 0)
        assert f"detail={why}" in (await edge.fetch("/a", fields=credentials)).cache_status
        await settled(edge)
        luck.now = 0.0
        assert (await edge.fetch("/a", fields=credentials)).body == b"answer 2"
        assert origin.asked() == 2
        assert bool(set(credentials) & set(origin.requests[1].fields)) is is_sent


async def test_a_query_is_refreshed_with_its_content(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    origin.script = taking(clock, FRESH)
    fields = {"Content-Type": "text/plain"}
    for luck.now, expected in ((0.0, b"answer 1"), (100.0, b"answer 1"), (0.0, b"answer 2")):
        assert (await edge.fetch("/a", "QUERY", fields, b"what?")).body == expected
        await settled(edge)
    assert [(request.method, request.body) for request in origin.requests] == [("QUERY", b"what?")] * 2


@pytest.mark.parametrize("failure", [Reply(abort_at=-1), Reply(503), Reply(200, FRESH, b"abc", abort_at=1)])
async def test_a_refresh_that_fails_costs_nothing(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, luck: Luck, failure: Reply
) -> None:
    await stored(edge, origin, clock)
    origin.script = lambda _: failure
    luck.now = 100.0
    for _ in range(3):
        assert (await edge.fetch("/a")).body == b"answer 1"
        await settled(edge)
    assert edge.parts.counters.refreshes == 3


async def test_what_is_gone_is_gone_when_a_refresh_says_so(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    await stored(edge, origin, clock)
    origin.script = lambda _: Reply(404)
    luck.now = 100.0
    assert (await edge.fetch("/a")).body == b"answer 1"
    await settled(edge)
    assert (await edge.fetch("/a")).status == 404


async def test_eagerness_follows_the_last_fetch_or_validation(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    """A whole fetch lasts until its last byte, a validation until its 304."""

    def eager() -> float:
        (kept,) = edge.parts.memory.lookup_now("http://example.com/a")  # type: ignore[arg-type]
        return kept.freshness.eager

    tagged = FRESH | {"ETag": '"the same"'}
    hold = Hold()
    origin.script = lambda _: Reply(200, tagged, b"answer", hold_at={3: hold})
    first = await edge.download("/a")
    await hold.reached()
    await first.read(3)
    clock.advance(7.0)
    hold.release()
    await first.rest()
    assert eager() == pytest.approx(7.0, abs=0.01)
    for seconds in (3.0, 0.5):
        origin.script = taking(clock, tagged, seconds)
        luck.now = 100.0
        await edge.fetch("/a")
        await settled(edge)
        assert eager() == seconds
    assert [request.fields.get("if-none-match") for request in origin.requests] == [None, '"the same"', '"the same"']


# ----------------------------------------------------------------------------------------------- several processes


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
async def start(
    server: RedisServer, origin: ScriptedOrigin, clock: FakeClock, steady: SteadyClock, luck: Luck
) -> AsyncIterator[StartShared]:
    async with edges_sharing(server, origin, clock, steady, luck=luck, rules=early(retain=30.0)) as start:
        yield start


async def pair(start: StartShared, origin: ScriptedOrigin, clock: FakeClock, **settings: Any) -> list[RunningEdge]:
    """Two edges that have both stored ``answer 1``; it ends in 5 seconds."""
    one, other = await start(**settings), await start(**settings)
    await stored(one, origin, clock, GRACE)
    await written(one)
    assert (await other.fetch("/a")).body == b"answer 1"
    assert origin.asked() == 1
    clock.advance(60 - FETCHING - 5)
    return [one, other]


ENDS_IN = {"early": 0.0, "grace": 6.0}
"""Seconds until a refresh is wanted for this reason."""


@pytest.mark.parametrize("why", ENDS_IN)
@pytest.mark.parametrize("redis", [{}, {"fill_lock": 5.0}], ids=["default", "fill_lock"])
async def test_one_refreshes_for_all(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck, why: str, redis: dict[str, Any]
) -> None:
    one, other = await pair(start, origin, clock, redis=redis)
    clock.advance(ENDS_IN[why])
    hold = Hold()
    origin.script = held(GRACE, hold)
    luck.now = 5.0
    assert f"detail={why}" in (await one.fetch("/a")).cache_status
    await hold.reached()
    for _ in range(5):
        hit = await other.fetch("/a")
        assert hit.body == b"answer 1"
        assert f"detail={why}" in hit.cache_status
    hold.release()
    for edge in (one, other):
        await settled(edge)
        luck.now = 0.0
        assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=60"
        assert (await edge.fetch("/a")).body == b"answer 2"
    assert origin.asked() == 2
    assert (one.parts.counters.refreshes, other.parts.counters.refreshes) == (1, 0)
    assert other.parts.counters.refreshes_elsewhere == 1


async def test_whoever_comes_later_finds_what_the_other_one_stored(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    """Round after round, one origin request."""
    edges = await pair(start, origin, clock)
    for number in range(2, 8):
        origin.script = taking(clock, GRACE, 0.5)
        for edge in edges if number % 2 else reversed(edges):
            luck.now = 1000.0
            assert (await edge.fetch("/a")).body == b"answer %d" % (number - 1)
            await written(edge)
            luck.now = 0.0
            assert (await edge.fetch("/a")).body == b"answer %d" % number
        assert origin.asked() == number
        clock.advance(50)


async def test_a_validation_is_shared_as_well(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    tagged = GRACE | {"ETag": '"the same"'}
    one, other = await start(), await start()
    await stored(one, origin, clock, tagged)
    await written(one)
    await other.fetch("/a")
    for _ in range(3):
        asked = origin.asked()
        clock.advance(50)
        luck.now = 1000.0
        for edge in (one, other):
            await edge.fetch("/a")
            await written(edge)
        luck.now = 0.0
        assert (await other.fetch("/a")).cache_status == (await one.fetch("/a")).cache_status
        assert origin.asked() == asked + 1


async def test_no_client_waits_for_another_process(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    """While one refreshes, the other's copy ends: a request there asks the origin itself, at once."""
    one, other = await pair(start, origin, clock)
    hold = Hold()
    origin.script = held(GRACE, hold)
    luck.now = 1000.0
    for edge in (one, other):
        assert "detail=early" in (await edge.fetch("/a")).cache_status
    await hold.reached()
    clock.advance(200)
    origin.script = taking(clock, GRACE)
    waited = await other.fetch("/a")
    assert (waited.body, waited.cache_status) == (b"answer 3", "edgecache; fwd=stale; stored")
    assert other.parts.cache.in_flight == 1  # its refresh still waits
    hold.release()
    for edge in (one, other):
        await settled(edge)


async def test_when_redis_does_not_answer_each_refreshes_by_itself(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck, server: RedisServer
) -> None:
    edges = await pair(start, origin, clock, redis={"budget": 0.05})
    server.pause()
    origin.script = taking(clock, GRACE, 0.5)
    luck.now = 1000.0
    for edge in edges:
        assert "detail=early" in (await edge.fetch("/a")).cache_status
    for edge in edges:
        await settled(edge)
    assert origin.asked() == 3
    luck.now = 0.0
    assert {(await edge.fetch("/a")).body for edge in edges} == {b"answer 2", b"answer 3"}
    server.resume()


@pytest.mark.parametrize("failure", [Reply(abort_at=-1), Reply(503)])
async def test_a_refresh_that_failed_is_tried_again_by_whoever_wants_to(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck, failure: Reply
) -> None:
    one, other = await pair(start, origin, clock)
    origin.script = lambda _: failure
    luck.now = 1000.0
    await one.fetch("/a")
    await settled(one)
    origin.script = taking(clock, GRACE)
    await other.fetch("/a")
    await settled(other)
    luck.now = 0.0
    assert (await other.fetch("/a")).body == b"answer %d" % origin.asked()
    assert other.parts.counters.refreshes == 1


async def test_a_lock_that_a_dead_process_left_ends_by_itself(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck, server: RedisServer
) -> None:
    one, other = await pair(start, origin, clock)
    assert one.parts.shared is not None
    lock = one.parts.shared.lock
    owner: Any = await lock.acquire("http://example.com/a", REFRESH_SECONDS)  # type: ignore[arg-type]
    luck.now = 1000.0
    assert "detail=early" in (await other.fetch("/a")).cache_status
    await until(lambda: b"cmdstat_exists" in server.ask("INFO", "commandstats"))  # it looks whether the lock is free
    assert 0 < int(server.ask("PTTL", owner.name)[1:]) <= REFRESH_SECONDS * 1000
    server.ask("PEXPIRE", owner.name, "1")
    await settled(other)
    assert origin.asked() == 1
    origin.script = taking(clock, GRACE)
    assert "detail=early" in (await other.fetch("/a")).cache_status
    await settled(other)
    assert origin.asked() == 2


async def test_an_edge_that_ends_waits_for_nobody(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    one, other = await pair(start, origin, clock)
    hold = Hold()
    origin.script = held(GRACE, hold)
    luck.now = 1000.0
    for edge in (one, other):
        await edge.fetch("/a")
    await hold.reached()
    await until(lambda: other.parts.cache.in_flight == 1)
    await other.parts.cache.close()
    assert other.parts.cache.in_flight == 0
    hold.release()


async def test_numbers_are_shared_as_they_were_judged(
    start: StartShared, origin: ScriptedOrigin, clock: FakeClock, luck: Luck
) -> None:
    edges = await pair(start, origin, clock)
    kept = [edge.parts.memory.lookup_now("http://example.com/a")[0].freshness for edge in edges]  # type: ignore[arg-type]
    assert kept[0] == kept[1]
    assert (kept[0].eager, kept[0].if_gone) == (pytest.approx(FETCHING, abs=0.01), 30.0)
    clock.advance(5 + 29)
    origin.script = lambda _: Reply(404)
    for edge in edges:
        assert "detail=retained" in (await edge.fetch("/a", fields={"Cache-Control": "no-cache"})).cache_status
