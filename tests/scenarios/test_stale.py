"""Stale responses: who gets one, who validates it, and what ends it (RFC 9111 §4.2.4, RFC 5861)."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.composed import settled
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import ClientResponse, FakeClock, Hold, Reply, Script, ScriptedOrigin

GRACE = "max-age=10, stale-while-revalidate=30"
IF_ERROR = "max-age=10, stale-if-error=30"


def numbered(cache_control: str, etag: str = "", status: int = 200) -> Script:
    """Answer each request with its number."""
    fields = {"Cache-Control": cache_control, **({"ETag": etag} if etag else {})}
    return lambda request: Reply(status, fields, b"answer %d" % request.number)


async def stored(
    edge: RunningEdge, origin: ScriptedOrigin, cache_control: str, etag: str = '"1"', method: str = "GET"
) -> None:
    """Let the edge store ``answer 1`` for ``/a``."""
    origin.script = numbered(cache_control, etag)
    assert (await edge.fetch("/a", method)).body == b"answer 1"


# Grace.


async def test_within_grace_stale_is_served_at_once_while_one_request_refreshes_it(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(25)
    hold = Hold()
    origin.script = lambda request: Reply(200, {"Cache-Control": GRACE}, b"refreshed", hold=hold)
    for _ in range(5):
        stale = await edge.fetch("/a")
        assert (stale.status, stale.body, stale.fields["age"]) == (200, b"answer 1", "25")
        assert stale.cache_status == "edgecache; hit; ttl=-15; detail=grace"
    await hold.reached()
    assert origin.asked() == 2
    assert origin.requests[1].fields["if-none-match"] == '"1"'
    hold.release()
    await settled(edge)
    refreshed = await edge.fetch("/a")
    assert (refreshed.body, refreshed.cache_status) == (b"refreshed", "edgecache; hit; ttl=10")
    assert origin.asked() == 2


async def test_a_refresh_that_is_answered_304_keeps_the_content(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(10)
    origin.script = lambda _: Reply(304, {"ETag": '"1"', "Cache-Control": GRACE, "X": "new"})
    await edge.fetch("/a")
    await settled(edge)
    fresh = await edge.fetch("/a")
    assert (fresh.body, fresh.fields["age"], fresh.fields["x"]) == (b"answer 1", "0", "new")
    assert fresh.cache_status == "edgecache; hit; ttl=10"


async def test_the_operator_can_give_grace_where_the_origin_is_silent(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await start_edge(grace=5.0)
    await stored(edge, origin, "max-age=10")
    clock.advance(14)
    assert (await edge.fetch("/a")).body == b"answer 1"
    await settled(edge)
    assert (await edge.fetch("/a")).body == b"answer 2"


@pytest.mark.parametrize("own", ["stale-while-revalidate=0", "must-revalidate", "no-cache", "s-maxage=10"])
async def test_the_origin_can_forbid_the_operators_grace(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock, own: str
) -> None:
    edge = await start_edge(grace=60.0)
    await stored(edge, origin, f"max-age=10, {own}")
    clock.advance(10)
    assert (await edge.fetch("/a")).body == b"answer 2"


async def test_after_grace_a_request_waits_for_validation(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(40)
    waited = await edge.fetch("/a")
    assert (waited.body, waited.cache_status) == (b"answer 2", "edgecache; fwd=stale; stored")


async def test_a_head_within_grace_is_answered_and_refreshed_by_a_get(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(10)
    head = await edge.fetch("/a", "HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (200, b"", "8")
    await settled(edge)
    assert [request.method for request in origin.requests] == ["GET", "GET"]
    assert (await edge.fetch("/a")).body == b"answer 2"


async def test_a_client_can_refuse_grace(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(10)
    assert (await edge.fetch("/a", fields={"Cache-Control": "no-cache"})).body == b"answer 2"


async def test_a_condition_within_grace_is_answered_from_what_is_stored(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(10)
    response = await edge.fetch("/a", fields={"If-None-Match": '"1"', "Range": "bytes=0-1"})
    assert (response.status, response.cache_status) == (304, "edgecache; hit; ttl=0; detail=grace")
    await settled(edge)
    assert "range" not in origin.requests[1].fields
    assert (await edge.fetch("/a")).body == b"answer 2"


BROKEN = Reply(200, {"Cache-Control": GRACE}, b"abc", abort_at=1)


@pytest.mark.parametrize("failure", [Reply(abort_at=-1), Reply(503, body=b"down"), BROKEN])
async def test_a_refresh_that_fails_leaves_what_was_stored(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, failure: Reply
) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(10)
    origin.script = lambda _: failure
    for _ in range(2):
        assert (await edge.fetch("/a")).body == b"answer 1"
        await settled(edge)
    origin.script = lambda _: Reply(200, {"Cache-Control": GRACE}, b"refreshed")
    assert (await edge.fetch("/a")).body == b"answer 1"
    await settled(edge)
    assert (await edge.fetch("/a")).body == b"refreshed"


@pytest.mark.parametrize("forbids", ["no-store", "private"])
async def test_a_refresh_that_may_not_be_stored_removes_what_was(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, forbids: str
) -> None:
    await stored(edge, origin, GRACE)
    clock.advance(10)
    origin.script = numbered(forbids)
    assert (await edge.fetch("/a")).body == b"answer 1"
    await settled(edge)
    gone = await edge.fetch("/a")
    assert (gone.body, gone.cache_status) == (b"answer 3", f"edgecache; fwd=uri-miss; detail={forbids}")


# In the place of an error.


async def test_stale_takes_the_place_of_a_server_error_as_long_as_the_origin_said(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, IF_ERROR)
    origin.script = lambda _: Reply(503, {"Retry-After": "5"}, b"down")
    clock.advance(39)
    stale = await edge.fetch("/a")
    assert (stale.status, stale.body) == (200, b"answer 1")
    assert stale.cache_status == "edgecache; fwd=stale; fwd-status=503; ttl=-29; detail=if-error"
    assert "retry-after" not in stale.fields
    head = await edge.fetch("/a", "HEAD")
    assert (head.status, head.fields["content-length"]) == (200, "8")
    clock.advance(1)
    assert (await edge.fetch("/a")).body == b"down"
    assert (await edge.fetch("/a", "HEAD")).status == 503


async def test_everybody_who_waits_gets_it(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    await stored(edge, origin, IF_ERROR)
    clock.advance(10)
    hold = Hold()
    origin.script = lambda _: Reply(500, hold=hold)
    clients = [asyncio.ensure_future(edge.fetch("/a")) for _ in range(4)]
    await hold.reached()
    hold.release()
    answers: list[ClientResponse] = await asyncio.gather(*clients)
    assert [answer.body for answer in answers] == [b"answer 1"] * 4


async def test_the_operator_can_allow_it_where_the_origin_is_silent(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await start_edge(if_error=30.0)
    await stored(edge, origin, "max-age=10")
    clock.advance(39)
    origin.script = lambda _: Reply(500)
    assert (await edge.fetch("/a")).body == b"answer 1"


async def test_without_permission_the_error_is_what_the_client_gets(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, "max-age=10")
    clock.advance(10)
    origin.script = lambda _: Reply(500, {}, b"broken")
    broken = await edge.fetch("/a")
    assert (broken.status, broken.body) == (500, b"broken")
    assert broken.cache_status == "edgecache; fwd=stale; fwd-status=500; detail=status"


async def test_an_answer_below_500_is_no_error(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    await stored(edge, origin, IF_ERROR)
    clock.advance(10)
    origin.script = lambda _: Reply(404, {}, b"gone")
    assert (await edge.fetch("/a")).body == b"gone"
    origin.script = lambda _: Reply(500)
    assert (await edge.fetch("/a")).status == 500


@pytest.mark.parametrize("window", [IF_ERROR, GRACE])
async def test_a_server_error_never_replaces_a_response_that_can_still_be_used(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, window: str
) -> None:
    """Not even one that may be stored itself."""
    await stored(edge, origin, window)
    clock.advance(10)
    origin.script = numbered("max-age=60", status=503)
    for _ in range(3):
        assert (await edge.fetch("/a")).body == b"answer 1"
        await settled(edge)
    origin.script = lambda _: Reply(304, {"ETag": '"1"'})
    assert (await edge.fetch("/a")).body == b"answer 1"


async def test_a_reload_that_fails_is_answered_with_what_is_fresh(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    await stored(edge, origin, "max-age=10")
    origin.script = lambda _: Reply(500)
    reload = {"Cache-Control": "no-cache"}
    assert (await edge.fetch("/a", fields=reload)).body == b"answer 1"
    await origin.stop()
    assert (await edge.fetch("/a", fields=reload)).body == b"answer 1"


# In the place of silence.


async def test_stale_is_served_for_an_hour_while_the_origin_cannot_be_reached(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, "max-age=10")
    await origin.stop()
    clock.advance(3609)
    stale = await edge.fetch("/a")
    assert (stale.status, stale.body, stale.fields["age"]) == (200, b"answer 1", "3609")
    assert stale.cache_status == "edgecache; fwd=stale; ttl=-3599; detail=unreachable"
    assert (await edge.fetch("/a", "HEAD")).status == 200
    clock.advance(1)
    for method in ("GET", "HEAD"):
        failed = await edge.fetch("/a", method)
        assert (failed.status, failed.cache_status) == (502, "edgecache; fwd=stale; detail=origin-error")


async def test_stale_if_error_covers_an_origin_that_cannot_be_reached(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await start_edge(if_unreachable=0.0)
    await stored(edge, origin, IF_ERROR)
    await origin.stop()
    clock.advance(39)
    assert (await edge.fetch("/a")).cache_status == "edgecache; fwd=stale; ttl=-29; detail=if-error"
    clock.advance(1)
    assert (await edge.fetch("/a")).status == 502


async def test_when_the_origin_comes_back_it_is_asked_again(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, "max-age=10")
    await origin.stop()
    clock.advance(10)
    assert (await edge.fetch("/a")).body == b"answer 1"
    async with origin:
        clock.advance(100)
        assert (await edge.fetch("/a")).body == b"answer 2"


async def test_a_response_without_a_lifetime_is_no_different(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    await stored(edge, origin, "max-age=0")
    await origin.stop()
    assert (await edge.fetch("/a")).body == b"answer 1"


# Keep.


async def test_after_every_window_a_response_is_kept_only_to_be_asked_about(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await start_edge(if_unreachable=0.0, keep=100.0)
    await stored(edge, origin, "max-age=10")
    clock.advance(109)
    await origin.stop()
    assert (await edge.fetch("/a")).status == 502
    async with origin:
        clock.advance(0.5)
        origin.script = lambda _: Reply(304, {"ETag": '"1"'})
        assert (await edge.fetch("/a")).body == b"answer 1"
    assert origin.requests[-1].fields["if-none-match"] == '"1"'


async def test_after_that_it_is_gone(start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    edge = await start_edge(if_unreachable=0.0, keep=100.0)
    await stored(edge, origin, "max-age=10")
    clock.advance(110)
    again = await edge.fetch("/a", fields={"Cache-Control": "max-stale"})
    assert (again.body, again.cache_status) == (b"answer 2", "edgecache; fwd=uri-miss; stored")
    assert "if-none-match" not in origin.requests[1].fields


async def test_without_a_validator_there_is_nothing_to_keep(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await start_edge(if_unreachable=0.0, keep=100.0)
    await stored(edge, origin, "max-age=10", etag="")
    clock.advance(10)
    assert (await edge.fetch("/a")).cache_status == "edgecache; fwd=uri-miss; stored"


async def test_max_stale_is_not_obeyed_against_the_origins_word(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await stored(edge, origin, "max-age=10, must-revalidate")
    clock.advance(10)
    assert (await edge.fetch("/a", fields={"Cache-Control": "max-stale"})).body == b"answer 2"
