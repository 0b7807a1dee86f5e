"""Every reason, every ``fwd`` and every counter is brought about by something that happens to the real program.

A story sets the scene and makes requests. Afterwards the program is stopped, and what it told is collected: reasons
from the access log and from what was not stored, ``fwd`` and counters from the statistics.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from edgecache.app import compose
from edgecache.edges.config import Admin, Cache, Config, Log, Origin, Redis, Server
from edgecache.engine.counters import COUNTERS, RESULTS, Statistics
from edgecache.http.cache_status import Fwd
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import Rule
from edgecache.semantics.stored import CacheKey
from edgecache.semantics.versioned import AssetNames, By, Versioned
from tests.faults.redis_server import RedisServer
from tests.scenarios.composed import ordered, settled, until
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, FakeClock, FieldsLike, Hold, Reply, ScriptedOrigin

UNPRODUCED: Final = {"miss"}
"""What nothing brings about: a word for those who do not tell why."""

FRESH: Final = "max-age=60"
LARGEST: Final = 1000


@dataclass
class Stage:
    """The program, what is before and behind it, and the time."""

    edge: RunningEdge
    origin: ScriptedOrigin
    clock: FakeClock

    def answers(self, status: int = 200, body: bytes = b"content", /, **fields: str) -> None:
        """Let the origin answer so from now on; underscores in names stand for hyphens."""
        pairs = {name.replace("_", "-"): value for name, value in fields.items()}
        self.origin.script = lambda _: Reply(status, pairs, body)

    async def get(self, fields: FieldsLike = (), method: str = "GET", body: bytes = b"") -> ClientResponse:
        return await self.edge.fetch("/a", method, fields, body)

    async def stored(self, cache_control: str = FRESH, age: float = 0, **fields: str) -> None:
        """Let something be stored, and grow so old."""
        self.answers(Cache_Control=cache_control, ETag='"1"', **fields)
        await self.get()
        self.clock.advance(age)


Story: TypeAlias = Callable[[Stage], Awaitable[object]]


# Served from the store.


async def a_hit(stage: Stage) -> None:
    await stage.stored()
    await stage.get()


async def a_hit_like_another(stage: Stage) -> None:
    await stage.stored()
    await stage.get()
    await stage.get()


async def grace(stage: Stage) -> None:
    await stage.stored("max-age=1, stale-while-revalidate=9", age=2)
    await stage.get()
    await settled(stage.edge)


async def max_stale(stage: Stage) -> None:
    await stage.stored(age=61)
    await stage.get({"Cache-Control": "max-stale"})


async def an_error_replaced(stage: Stage) -> None:
    await stage.stored("max-age=1, stale-if-error=9", age=2)
    stage.answers(503)
    await stage.get()


async def an_unreachable_origin(stage: Stage) -> None:
    await stage.stored(age=61)
    await stage.origin.stop()
    await stage.get()


async def a_validation(stage: Stage) -> None:
    await stage.stored(age=61)
    stage.answers(304, ETag='"1"')
    await stage.get()


async def a_change(stage: Stage) -> None:
    await stage.stored(age=61)
    await stage.stored()


async def two_at_once(stage: Stage) -> None:
    hold = Hold()
    stage.origin.script = lambda _: Reply(200, {"Cache-Control": FRESH}, b"content", hold=hold)
    both = [asyncio.ensure_future(stage.get()) for _ in range(2)]
    await until(lambda: stage.edge.parts.counters.requests == 2)
    hold.release()
    await asyncio.gather(*both)


async def a_style_that_is_wanted_smaller(stage: Stage) -> None:
    await stage.stored(Content_Type="text/css")
    stage.answers(200, b"content " * 100, Cache_Control=FRESH, Content_Type="text/css")
    stage.clock.advance(61)
    for _ in range(2):
        await stage.get({"Accept-Encoding": "gzip"})
    await until(lambda: stage.edge.parts.counters.encoded > 0)


# Forwarded.


async def a_miss(stage: Stage) -> None:
    await stage.stored()


async def another_variant(stage: Stage) -> None:
    await stage.stored(Vary="X")
    await stage.get({"X": "1"})


async def no_cache(stage: Stage) -> None:
    await stage.stored("no-cache")
    await stage.get()


async def a_reload(stage: Stage) -> None:
    await stage.stored()
    await stage.get({"Cache-Control": "no-cache"})


async def a_part(stage: Stage) -> None:
    stage.answers(206, Cache_Control=FRESH, Content_Range="bytes 0-6/9")
    await stage.get({"Range": "bytes=0-6"})
    stage.answers(Cache_Control=FRESH)
    await stage.get()


async def an_unsafe_method(stage: Stage) -> None:
    await stage.get(method="POST")


async def a_precondition(stage: Stage) -> None:
    await stage.get({"If-Match": '"1"'})


async def an_upgrade(stage: Stage) -> None:
    key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}
    await stage.get((("Connection", "Upgrade"), ("Upgrade", "websocket"), *key.items()))


async def a_pass(stage: Stage) -> None:
    await stage.stored()


async def content_in_a_get(stage: Stage) -> None:
    await stage.get(body=b"content")


async def only_if_cached(stage: Stage) -> None:
    await stage.get({"Cache-Control": "only-if-cached"})


# Not stored.


def answered(status: int = 200, body: bytes = b"content", **fields: str) -> Story:
    async def story(stage: Stage) -> None:
        stage.answers(status, body, **fields)
        await stage.get({"Range": "bytes=0-1"} if status == 206 else ())

    return story


def asked(request: FieldsLike, **fields: str) -> Story:
    async def story(stage: Stage) -> None:
        stage.answers(**fields)
        await stage.get(request)

    return story


def asked_for(target: str) -> Story:
    async def story(stage: Stage) -> None:
        stage.answers(Cache_Control=FRESH, Content_Type="text/html")
        await stage.edge.fetch(target)

    return story


async def an_error_kept_out(stage: Stage) -> None:
    await an_error_replaced(stage)


async def an_end_that_cannot_be_told(stage: Stage) -> None:
    stage.origin.script = lambda _: Reply(200, {"Cache-Control": FRESH}, b"content", close_delimited=True)
    await stage.get()


async def a_broken_body(stage: Stage) -> None:
    stage.origin.script = lambda _: Reply(200, {"Cache-Control": FRESH}, b"content", abort_at=3)
    await stage.get()


async def a_purge_meanwhile(stage: Stage) -> None:
    hold = Hold()
    stage.origin.script = lambda _: Reply(200, {"Cache-Control": FRESH}, b"content", hold=hold)
    before = asyncio.ensure_future(stage.get())
    await hold.reached()
    stage.answers(204)
    await stage.get(method="DELETE")
    hold.release()
    await before
    await settled(stage.edge)


async def gone_back_to(stage: Stage) -> None:
    await stage.edge.parts.ledger.activate("v1")
    await stage.stored(age=61)
    await stage.edge.parts.ledger.activate("v1", held=True)
    await stage.get()


async def of_another_release(stage: Stage) -> None:
    await stage.edge.parts.ledger.activate("v2")
    await stage.stored(Edgecache_Release="v1")


async def an_early_refresh(stage: Stage) -> None:
    await a_hit(stage)
    await settled(stage.edge)


async def a_refresh_elsewhere(stage: Stage) -> None:
    """Another process has the lock, until it is waited for here."""
    assert stage.edge.parts.shared is not None
    lock, link = stage.edge.parts.shared.lock, stage.edge.parts.shared.link
    await stage.stored("max-age=1, stale-while-revalidate=9", age=2)
    owner = await lock.acquire(CacheKey("http://example.com/a"), 10)
    assert owner is not None
    await stage.get()
    while "cmdstat_exists" not in await link.call("INFO", "commandstats"):
        pass
    await lock.release(owner)
    await settled(stage.edge)


async def what_is_gone(stage: Stage) -> None:
    await stage.stored(age=61)
    stage.answers(404)
    await stage.get()


async def a_page_in_the_place_of_a_script(stage: Stage) -> None:
    stage.answers(Cache_Control=FRESH, Content_Type="text/html")
    await stage.edge.fetch("/a.js")


async def a_use(stage: Stage) -> None:
    await stage.stored(age=30)
    await stage.get()


async def another_file(stage: Stage) -> None:
    listed = {"/a.0123abcd.js": Versioned(By.MANIFEST, "0123abcd", hashes_content=True)}
    stage.edge.parts.rules.names = AssetNames.of(listed)  # type: ignore[misc]
    stage.answers(Cache_Control=FRESH, Content_Type="text/javascript")
    await stage.edge.fetch("/a.0123abcd.js")


async def groups_ended(stage: Stage) -> None:
    stage.answers(Cache_Group_Invalidation='"x"')
    await stage.get(method="POST")


# Made here.


async def no_origin(stage: Stage) -> None:
    await stage.origin.stop()
    await stage.get()


async def a_slow_origin(stage: Stage) -> None:
    stage.origin.script = lambda _: Reply(hold=Hold())
    await stage.get()


# On the client's side.


async def a_request_that_is_none(stage: Stage) -> None:
    await stage.get({"Host": "a b"})


async def a_clock_set_back(stage: Stage) -> None:
    await stage.stored()
    stage.clock.advance(-3600)
    await stage.get()


async def without_redis(stage: Stage) -> None:
    """Nobody says what is purged: the origin has to."""
    await stage.stored()
    await stage.get()


async def a_purge_of_what_is_stored(stage: Stage) -> None:
    await stage.stored()
    await stage.get(method="PURGE")


async def an_erasure(stage: Stage) -> None:
    await stage.stored()
    await until(lambda: stage.edge.parts.store.is_written)
    await ordered(stage.edge, "/v1/purge", {"selectors": [{"kind": "all"}], "erase": True})
    await until(lambda: stage.edge.parts.counters.purge_erased == 1)


async def a_client_that_leaves(stage: Stage) -> None:
    hold = Hold()
    much = 2 * 1024 * 1024
    stage.origin.script = lambda _: Reply(200, {"Cache-Control": FRESH}, bytes(much), hold_at={LARGEST // 2: hold})
    leaving = await stage.edge.download("/large")
    await leaving.read(1)
    await leaving.close()
    await until(lambda: stage.edge.parts.counters.client_aborts == 1)


REASONS: Final[dict[Reason, Story]] = {
    Reason.FRESH: a_hit,
    Reason.GRACE: grace,
    Reason.MAX_STALE: max_stale,
    Reason.IF_ERROR: an_error_replaced,
    Reason.UNREACHABLE: an_unreachable_origin,
    Reason.VALIDATED: a_validation,
    Reason.HELD: gone_back_to,
    Reason.EARLY: an_early_refresh,
    Reason.RETAINED: what_is_gone,
    Reason.COLLAPSED: two_at_once,
    Reason.URI_MISS: a_miss,
    Reason.VARY_MISS: another_variant,
    Reason.STALE: a_change,
    Reason.NO_CACHE: no_cache,
    Reason.UNPROVEN: without_redis,
    Reason.CLOCK: a_clock_set_back,
    Reason.RELOAD: a_reload,
    Reason.PARTIAL: a_part,
    Reason.METHOD: an_unsafe_method,
    Reason.PRECONDITION: a_precondition,
    Reason.UPGRADE: an_upgrade,
    Reason.RULE_PASS: a_pass,
    Reason.CONTENT: content_in_a_get,
    Reason.ONLY_IF_CACHED: only_if_cached,
    Reason.STATUS: answered(500),
    Reason.NOT_UNDERSTOOD: answered(299, Cache_Control=f"{FRESH}, must-understand"),
    Reason.NO_STORE: answered(Cache_Control="no-store"),
    Reason.REQUEST_NO_STORE: asked({"Cache-Control": "no-store"}, Cache_Control=FRESH),
    Reason.PRIVATE: answered(Cache_Control="private"),
    Reason.AUTHORIZATION: asked({"Authorization": "Basic x"}, Cache_Control=FRESH),
    Reason.SET_COOKIE: answered(Cache_Control=FRESH, Set_Cookie="a=b"),
    Reason.TYPE_MISMATCH: a_page_in_the_place_of_a_script,
    Reason.UNKEYED_FIELD: asked({"X-Debug": "1"}, Cache_Control=FRESH),
    Reason.REQUEST_COOKIE: asked({"Cookie": "a=b"}, ETag='"1"'),
    Reason.UNKEYED_FIELD: asked({"X-Debug": "1"}, Cache_Control=FRESH),
    Reason.AMBIGUOUS_PATH: asked_for("/static/..%2fa"),
    Reason.TYPE_MISMATCH: asked_for("/a.js"),
    Reason.VARY_STAR: answered(Cache_Control=FRESH, Vary="*"),
    Reason.NO_FRESHNESS: answered(),
    Reason.CLOSE_DELIMITED: an_end_that_cannot_be_told,
    Reason.CONTENT_RANGE: answered(206, Cache_Control=FRESH, Content_Range="bytes 0-1/9"),
    Reason.TOO_LARGE: answered(body=bytes(LARGEST + 1), Cache_Control=FRESH),
    Reason.TRUNCATED: a_broken_body,
    Reason.TOO_MANY_TAGS: answered(Cache_Control=FRESH, Cache_Groups=f'"{"x" * 129}"'),
    Reason.DIGEST_MISMATCH: another_file,
    Reason.ERROR_KEPT_OUT: an_error_kept_out,
    Reason.PURGED: a_purge_meanwhile,
    Reason.OTHER_RELEASE: of_another_release,
    Reason.ORIGIN_ERROR: no_origin,
    Reason.ORIGIN_TIMEOUT: a_slow_origin,
}

RULES: Final[dict[Story, tuple[Rule, ...]]] = {
    a_style_that_is_wanted_smaller: (Rule(name="compress", settings={"compress": True}),),
    gone_back_to: (Rule(name="pages", settings={"by_release": True}),),
    of_another_release: (Rule(name="pages", settings={"by_release": True}),),
    a_pass: (Rule(name="pass", settings={"passes": True}),),
    an_early_refresh: (Rule(name="early", settings={"early": 1e15}),),
    what_is_gone: (Rule(name="assets", settings={"retain": 60.0}),),
    a_use: (Rule(name="sliding", settings={"sliding": 600.0}),),
}
"""What some stories need."""

FORWARDED: Final[dict[Fwd, Story]] = {
    Fwd.BYPASS: a_precondition,
    Fwd.METHOD: an_unsafe_method,
    Fwd.URI_MISS: a_miss,
    Fwd.VARY_MISS: another_variant,
    Fwd.REQUEST: a_reload,
    Fwd.STALE: a_validation,
    Fwd.PARTIAL: a_part,
}

COUNTED: Final[dict[str, Story]] = {
    "encoded": a_style_that_is_wanted_smaller,
    "requests": a_miss,
    "hits": a_hit,
    "hits_lane": a_hit_like_another,
    "hits_stale_grace": grace,
    "hits_stale_error": an_error_replaced,
    "hits_retained": what_is_gone,
    "prolonged": a_use,
    "misses": a_miss,
    "passes": an_unsafe_method,
    "revalidated": a_validation,
    "revalidated_full": a_change,
    "collapsed": two_at_once,
    "synthesized": only_if_cached,
    "refused_storing": answered(),
    "stored": a_miss,
    "store_failures": without_redis,
    "fills": a_miss,
    "fills_aborted": a_broken_body,
    "fills_abandoned": a_client_that_leaves,
    "refreshes": grace,
    "refreshes_early": an_early_refresh,
    "refreshes_elsewhere": a_refresh_elsewhere,
    "origin_requests": a_miss,
    "origin_errors": no_origin,
    "origin_timeouts": a_slow_origin,
    "hit_for_miss_marks": answered(),
    "invalidations": a_purge_meanwhile,
    "group_invalidations": groups_ended,
    "bytes_from_store": a_hit,
    "bytes_from_origin": a_miss,
    "connections": a_miss,
    "bad_requests": a_request_that_is_none,
    "client_aborts": a_client_that_leaves,
    "bytes_sent": a_miss,
    "purge_matched": a_purge_of_what_is_stored,
    "purge_erased": an_erasure,
}

ENDED: Final[dict[str, Story]] = {
    "hit": a_hit,
    "stale": max_stale,
    "revalidated": a_validation,
    "collapsed": two_at_once,
    "miss": a_miss,
    "pass": an_unsafe_method,
    "synth": only_if_cached,
    "error": no_origin,
}


async def told(story: Story, log: Path) -> tuple[set[str], Statistics]:
    """Let a story happen; return the reasons that were told, and the statistics."""
    clock = FakeClock()
    with contextlib.ExitStack() as running:
        return await _told(story, log, clock, _redis(story, log.parent, running))


async def _told(story: Story, log: Path, clock: FakeClock, redis: Redis) -> tuple[set[str], Statistics]:
    async with ScriptedOrigin() as origin:
        config = Config(
            origin=Origin(urls=(origin.url,), first_byte_timeout=0.2),
            server=Server(listen="127.0.0.1:0", drain_timeout=0.0, purge_from=("127.0.0.1",)),
            admin=Admin(listen="127.0.0.1:0"),
            cache=Cache(max_object=LARGEST if story is not a_client_that_leaves else 64 * 1024 * 1024),
            redis=redis,
            rules=RULES.get(story, ()),
            log=Log(access="json", file=str(log)),
        )
        parts = await compose(config, clock=clock)
        edge = RunningEdge(parts, int(parts.public.addresses[0].rpartition(":")[2]))
        try:
            await story(Stage(edge, origin, clock))
        finally:
            await parts.close()
    statistics = parts.counters.statistics()
    return _logged(log) | set(statistics.not_storable), statistics


def _redis(story: Story, directory: Path, running: contextlib.ExitStack) -> Redis:
    if story in (an_erasure, a_refresh_elsewhere):
        server = RedisServer(directory).start()
        running.callback(server.kill)
        return Redis(url=server.url, budget=1.0, lease=1.0)
    return Redis(url=f"unix://{directory}/absent.sock" if story is without_redis else None)


def _logged(log: Path) -> set[str]:
    return {json.loads(line)["reason"] for line in log.read_text("utf-8").splitlines()}


@pytest.mark.parametrize("reason", REASONS)
async def test_a_reason(reason: Reason, tmp_path: Path) -> None:
    reasons, _ = await told(REASONS[reason], tmp_path / "log")
    assert reason in reasons


@pytest.mark.parametrize("fwd", FORWARDED)
async def test_a_word_for_forwarding(fwd: Fwd, tmp_path: Path) -> None:
    _, statistics = await told(FORWARDED[fwd], tmp_path / "log")
    assert statistics.forwarded[fwd]


@pytest.mark.parametrize("name", COUNTED)
async def test_a_counter(name: str, tmp_path: Path) -> None:
    _, statistics = await told(COUNTED[name], tmp_path / "log")
    assert statistics.counts[name]


@pytest.mark.parametrize("word", ENDED)
async def test_a_word_for_how_it_ended(word: str, tmp_path: Path) -> None:
    _, statistics = await told(ENDED[word], tmp_path / "log")
    assert statistics.request_seconds[word].count


def test_there_are_no_others() -> None:
    assert set(REASONS) == {reason for reason in Reason if reason.value not in UNPRODUCED}
    assert set(FORWARDED) == {fwd for fwd in Fwd if fwd.value not in UNPRODUCED}
    assert set(COUNTED) == {counter.name for counter in COUNTERS} - UNPRODUCED
    assert set(ENDED) == set(RESULTS)
