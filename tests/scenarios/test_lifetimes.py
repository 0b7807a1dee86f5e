"""Lifetimes that rules set, through the running edge: here, at browsers, in use, and after a 304."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgecache.http.fields import format_http_date
from edgecache.http.glob import Wildcard
from edgecache.purging.selector import Selector
from edgecache.semantics.policy import Strategy
from edgecache.semantics.rules import Match
from tests.scenarios.composed import requested, settled
from tests.scenarios.rig import ClientResponse, FakeClock, Hold, Received, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge, StartEdge


def answering(status: int = 200, /, *, etag: str = "", **fields: str) -> Callable[[Received], Reply]:
    """Answer each request with its number, or 304 to who has ``etag``; underscores in names stand for hyphens."""
    pairs = {name.replace("_", "-"): value for name, value in fields.items()}
    pairs |= {"ETag": etag} if etag else {}

    def script(request: Received) -> Reply:
        if etag and request.fields.get("if-none-match") == etag:
            return Reply(304, pairs | {"X-Number": str(request.number)})
        return Reply(status, pairs, b"answer %d" % request.number)

    return script


async def got(edge: RunningEdge, fields: dict[str, str] | None = None) -> bytes:
    return (await edge.fetch("/a", fields=fields or {})).body


# ------------------------------------------------------------------------------------------------- the edge's own


async def test_the_lifetime_here_is_apart_from_that_of_the_origin(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await ruled(edge_ttl=100.0)
    origin.script = answering(Cache_Control="max-age=5")
    await got(edge)
    clock.advance(99)
    hit = await edge.fetch("/a")
    assert (hit.body, hit.fields["cache-control"], hit.fields["age"]) == (b"answer 1", "max-age=5", "99")
    assert hit.cache_status == "edgecache; hit; ttl=1"
    clock.advance(1)
    assert await got(edge) == b"answer 2"


@pytest.mark.parametrize("forbids", ["no-store", "private", "no-cache"])
@pytest.mark.parametrize("status", [200, 404])
async def test_it_never_overrules_what_the_origin_forbids(
    ruled: StartEdge, origin: ScriptedOrigin, forbids: str, status: int
) -> None:
    edge = await ruled(edge_ttl=100.0, default_ttl=100.0, negative_ttl=100.0, sliding=100.0, grace=100.0, early=1.0)
    origin.script = answering(status, etag='"1"', Cache_Control=forbids)
    await got(edge)
    assert "hit" not in (await edge.fetch("/a")).cache_status
    assert origin.asked() == 2


async def test_what_is_missing_is_remembered_for_a_while(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await ruled(negative_ttl=5.0)
    origin.script = answering(404)
    assert await got(edge) == b"answer 1"
    clock.advance(4.9)
    assert await got(edge) == b"answer 1"
    clock.advance(0.1)
    origin.script = answering(200, Cache_Control="max-age=60")
    assert await got(edge) == b"answer 2"


async def test_windows_are_the_rules_too(ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    edge = await ruled(edge_ttl=10.0, grace=10.0, if_error=20.0, max_ttl=5.0)
    origin.script = answering()
    await got(edge)
    clock.advance(5)
    origin.script = lambda _: Reply(503)
    assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=0; detail=grace"
    await settled(edge)
    clock.advance(19)
    assert (await edge.fetch("/a")).cache_status.endswith("fwd=stale; fwd-status=503; ttl=-19; detail=if-error")
    clock.advance(1)
    assert (await edge.fetch("/a")).status == 503


async def test_a_304_is_judged_by_the_rules_again(ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    edge = await ruled(edge_ttl=100.0, jitter=0.5)
    origin.script = answering(etag='"1"', Cache_Control="max-age=5")
    await got(edge)
    lifetimes = set()
    for _ in range(6):
        (stored,) = edge.parts.memory.lookup_now("http://example.com/a")  # type: ignore[arg-type]
        lifetimes.add(stored.freshness.lifetime)
        clock.advance(stored.freshness.lifetime + 0.01)
        assert (await edge.fetch("/a")).cache_status.startswith("edgecache; fwd=stale; fwd-status=304; ttl=")
    assert len(lifetimes) == 6
    assert all(50 <= lifetime <= 100 for lifetime in lifetimes)
    assert all(request.fields["if-none-match"] == '"1"' for request in origin.requests[1:])


async def test_what_asks_for_validation_is_served_in_the_place_of_a_404_by_a_rule_alone(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    keeping, plain = await ruled(retain=60.0), await ruled()
    for edge, status in ((keeping, 200), (plain, 404)):
        origin.script = answering(Cache_Control="max-age=10")
        await got(edge)
        origin.script = answering(404)
        assert (await edge.fetch("/a", fields={"Cache-Control": "no-cache"})).status == status
    clock.advance(69)
    retained = await keeping.fetch("/a")
    assert retained.cache_status == "edgecache; fwd=stale; fwd-status=404; ttl=-59; detail=retained"
    clock.advance(1)
    assert (await keeping.fetch("/a")).status == 404


async def test_a_version_in_a_query_is_believed_for_as_long_as_a_rule_says(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    """An old server has answered under the new version; those who got that ask again soon, and so does the edge."""
    edge = await ruled(Match(query=(("v", Wildcard("*")),)), max_ttl=60.0, browser_ttl=60.0)
    fields = {"Cache-Control": "public, max-age=31536000, immutable", "Content-Type": "text/javascript"}
    origin.script = lambda _: Reply(200, fields, b"old")
    for target in ("/a.js", "/a.js?v=2"):
        await edge.fetch(target)
    origin.script = lambda _: Reply(200, fields, b"new")
    clock.advance(60)
    answer = await edge.fetch("/a.js?v=2")
    assert (answer.body, answer.fields["cache-control"]) == (b"new", "public, max-age=60")
    assert (await edge.fetch("/a.js")).body == b"old"


# ------------------------------------------------------------------------------------------------- the browsers'


async def by_everybody(edge: RunningEdge) -> list[ClientResponse]:
    """Ask in each way that a stored response can be asked for."""
    ways: list[tuple[str, dict[str, str]]] = [
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"If-None-Match": '"1"'}),
        ("GET", {"Range": "bytes=0-2"}),
        ("GET", {"Range": "bytes=0-1, 4-5"}),
    ]
    return [await edge.fetch("/a", method, fields) for method, fields in ways]


async def test_the_time_of_browsers_runs_from_delivery(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await ruled(edge_ttl=3600.0, browser_ttl=60.0, strategy=Strategy.IMMUTABLE)
    origin.script = answering(etag='"1"', Age="40", Date=format_http_date(clock() - 40), Expires="0")
    first = await edge.fetch("/a")
    clock.advance(1000)
    assert [first.status, *(each.status for each in await by_everybody(edge))] == [200, 200, 200, 304, 206, 206]
    for each in (await edge.fetch("/a"), *await by_everybody(edge)):
        assert each.fields["cache-control"] == "max-age=60"
        assert (each.fields["age"], each.fields["date"]) == ("0", format_http_date(clock()))
        assert "expires" not in each.fields
        assert len(each.fields.getall("date")) == 1
    assert (first.fields["cache-control"], first.fields["date"]) == ("max-age=60", format_http_date(clock() - 1000))
    assert "age" not in first.fields
    assert "ttl=2600" in (await edge.fetch("/a")).cache_status


async def test_followers_have_it_too(ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    edge = await ruled(edge_ttl=3600.0, browser_ttl=60.0)
    hold = Hold()
    origin.script = lambda _: Reply(
        200, {"Date": format_http_date(clock() - 40), "Age": "40"}, b"abc", hold_at={1: hold}
    )
    clients = [await edge.download("/a") for _ in range(3)]
    await requested(edge, 3)
    hold.release()
    for client in clients:
        answer = await client.rest()
        assert answer.fields["date"] == format_http_date(clock())
        assert answer.fields.get("age", "0") == "0"
        assert answer.fields["cache-control"] == "max-age=60"
    assert origin.asked() == 1


async def test_a_failure_keeps_its_own_time(ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    edge = await ruled(browser_ttl=60.0)
    origin.script = answering(404, Cache_Control="max-age=30")
    await got(edge)
    clock.advance(20)
    missing = await edge.fetch("/a")
    assert (missing.fields["age"], missing.fields["cache-control"]) == ("20", "max-age=30")
    assert missing.fields["date"] == format_http_date(clock() - 20)


async def test_a_head_is_answered_as_a_get_would_be(ruled: StartEdge, origin: ScriptedOrigin) -> None:
    """Also one that is forwarded, since nothing is stored."""
    edge = await ruled(strategy=Strategy.PRIVATE)
    origin.script = answering()
    assert (await edge.fetch("/a", "HEAD")).fields["cache-control"] == "private, no-cache"
    assert (await edge.fetch("/a")).fields["cache-control"] == "private, no-cache"


async def test_a_strategy_makes_nothing_public_that_was_asked_for_with_credentials(
    ruled: StartEdge, origin: ScriptedOrigin
) -> None:
    edge = await ruled(strategy=Strategy.VERSIONED)
    origin.script = answering()
    private = await edge.fetch("/a", fields={"Authorization": "Basic x"})
    assert "cache-control" not in private.fields
    assert private.cache_status == "edgecache; fwd=uri-miss; detail=authorization"
    public = await edge.fetch("/a")
    assert public.fields["cache-control"] == "public, max-age=31536000"
    assert (await edge.fetch("/a")).cache_status.startswith("edgecache; hit; ttl=31536000")


# ----------------------------------------------------------------------------------------------------- in use


async def test_what_is_used_stays(ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    edge = await ruled(sliding=100.0, sliding_max=250.0)
    origin.script = answering(Cache_Control="max-age=60")
    for target in ("/a", "/unused"):
        await edge.fetch(target)
    for _ in range(4):
        clock.advance(50)
        assert await got(edge) == b"answer 1"
    assert (await edge.fetch("/unused")).body == b"answer 3"
    clock.advance(49)
    assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=1"
    clock.advance(1)
    assert await got(edge) == b"answer 4"
    assert edge.parts.counters.prolonged == 3


@pytest.mark.parametrize("fields", [{"Range": "bytes=0-1"}, {"If-None-Match": '"1"'}])
async def test_each_kind_of_use_counts(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock, fields: dict[str, str]
) -> None:
    edge = await ruled(sliding=100.0)
    origin.script = answering(etag='"1"', Cache_Control="max-age=60")
    await got(edge)
    clock.advance(50)
    await edge.fetch("/a", "HEAD")
    clock.advance(90)
    await edge.fetch("/a", fields=fields)
    clock.advance(90)
    assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=100"


async def test_what_was_purged_softly_is_not_kept_alive_by_its_uses(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await ruled(sliding=100.0, grace=50.0)
    origin.script = answering(Cache_Control="max-age=60")
    await got(edge)
    await edge.parts.ledger.purge([Selector.of("url", "http://example.com/a", soft=True)])
    hold = Hold()
    origin.script = lambda r: Reply(200, {"Cache-Control": "max-age=60"}, b"answer %d" % r.number, hold=hold)
    for _ in range(5):
        assert "detail=grace" in (await edge.fetch("/a")).cache_status
        clock.advance(9)
    clock.advance(9)
    hold.release()
    await settled(edge)
    assert await got(edge) == b"answer 2"


async def test_a_use_during_a_validation_does_not_undo_it(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await ruled(sliding=100.0)
    origin.script = answering(etag='"1"', Cache_Control="max-age=60")
    await got(edge)
    for fields, status, expected in (({"X": "new"}, 304, b"answer 1"), ({"Cache-Control": "no-store"}, 200, b"gone")):
        hold = Hold()
        origin.script = lambda _, f=fields, s=status, h=hold: Reply(s, f, b"gone", hold=h)  # type: ignore[misc]
        reload = await edge.download("/a", fields={"Cache-Control": "no-cache"})
        await hold.reached()
        clock.advance(50)
        assert "hit" in (await edge.fetch("/a")).cache_status
        hold.release()
        assert (await reload.rest()).body == expected
        await settled(edge)
        if status == 304:
            assert (await edge.fetch("/a")).fields["x"] == "new"
    origin.script = answering()
    assert (await edge.fetch("/a")).cache_status == "edgecache; fwd=uri-miss; detail=no-freshness"
