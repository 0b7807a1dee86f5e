"""For how long, and for whom that is long enough: lifetimes and directives (RFC 9111 §4.2, §5.2, RFC 9213)."""

from __future__ import annotations

import pytest

from edgecache.http.fields import format_http_date
from tests.scenarios.answers import FRESH, bodies, numbered, validating
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import FakeClock, Reply, ScriptedOrigin

# Directives of the request.


@pytest.mark.parametrize(
    ("directive", "fwd"),
    [("no-cache", "request"), ("max-age=0", "request"), ("max-age=9", "request"), ("min-fresh=51", "request")],
)
async def test_a_request_can_ask_for_validation(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, directive: str, fwd: str
) -> None:
    origin.script = validating(*FRESH.items())
    await edge.fetch("/a")
    clock.advance(10)
    response = await edge.fetch("/a", fields={"Cache-Control": directive})
    assert response.cache_status.startswith(f"edgecache; fwd={fwd}; fwd-status=304")
    assert response.body == b"content"


@pytest.mark.parametrize("directive", ["max-age=10", "min-fresh=50", "max-stale=0", "only-if-cached", "no-store"])
async def test_a_request_can_be_content_with_what_is_stored(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, directive: str
) -> None:
    origin.script = numbered(*FRESH.items())
    await edge.fetch("/a")
    clock.advance(10)
    assert (await edge.fetch("/a", fields={"Cache-Control": directive})).cache_status == "edgecache; hit; ttl=50"


async def test_pragma_asks_for_validation_when_there_is_no_cache_control(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = numbered(*FRESH.items())
    asked = [{}, {"Pragma": "no-cache", "Cache-Control": "max-age=9"}, {"Pragma": "no-cache"}, {}]
    assert await bodies(edge, *asked) == [b"answer 1", b"answer 1", b"answer 2", b"answer 2"]


async def test_a_request_can_accept_a_stale_response(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = numbered(*FRESH.items())
    await edge.fetch("/a")
    clock.advance(70)
    for directive in ("max-stale", "max-stale=10", "max-stale=11, only-if-cached"):
        stale = await edge.fetch("/a", fields={"Cache-Control": directive})
        assert stale.cache_status == "edgecache; hit; ttl=-10; detail=max-stale"
        assert stale.fields["age"] == "70"
    assert (await edge.fetch("/a", fields={"Cache-Control": "max-stale=9"})).body == b"answer 2"


async def test_only_if_cached_is_never_forwarded(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = numbered(*FRESH.items())
    only = {"Cache-Control": "only-if-cached"}
    missing = await edge.fetch("/a", fields=only)
    assert (missing.status, missing.cache_status) == (504, "edgecache; fwd=request; detail=only-if-cached")
    await edge.fetch("/a")
    assert (await edge.fetch("/a", fields=only)).status == 200
    assert (await edge.fetch("/a", fields={**only, "If-Match": '"1"'})).status == 504
    clock.advance(60)
    assert (await edge.fetch("/a", "HEAD", only)).status == 504
    assert origin.asked() == 1


async def test_an_operator_can_refuse_reloads(start_edge: StartEdge, origin: ScriptedOrigin) -> None:
    edge = await start_edge(honour_reload=False)
    origin.script = numbered(*FRESH.items())
    assert await bodies(edge, {}, {"Cache-Control": "no-cache"}, {"Pragma": "no-cache"}) == [b"answer 1"] * 3


async def test_immutable_is_spared_the_reload(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = numbered(("Cache-Control", "max-age=60, immutable"))
    await edge.fetch("/a")
    clock.advance(10)
    assert await bodies(edge, {"Cache-Control": "max-age=0"}, {"Cache-Control": "no-cache"}) == [
        b"answer 1",
        b"answer 2",
    ]
    clock.advance(60)
    assert await bodies(edge, {"Cache-Control": "max-age=0"}) == [b"answer 3"]


# Freshness.


@pytest.mark.parametrize("name", ["CDN-Cache-Control", "Edgecache-Cache-Control", "Surrogate-Control"])
async def test_a_targeted_field_governs(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, name: str) -> None:
    origin.script = numbered(("Cache-Control", "no-store"), (name, "max-age=60"))
    first = await edge.fetch("/a")
    clock.advance(59)
    hit = await edge.fetch("/a")
    for response in (first, hit):
        assert response.body == b"answer 1"
        assert response.fields["cache-control"] == "no-store"
        # Meant for more than one cache, or for this one alone (RFC 9213 §2; edge-arch §2.3).
        assert (name in response.fields) == (name == "CDN-Cache-Control")
    clock.advance(1)
    assert (await edge.fetch("/a")).body == b"answer 2"


async def test_what_is_meant_for_this_cache_alone_is_not_passed_on_either(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    alone = {"Edgecache-Cache-Control": "no-store", "Surrogate-Control": "no-store"}
    origin.script = lambda _: Reply(200, {**FRESH, **alone}, b"x")
    for method in ("GET", "HEAD", "POST"):
        response = await edge.fetch("/a", method)
        assert not response.fields.keys() & {"Edgecache-Cache-Control", "Surrogate-Control"}
        assert response.fields["cache-control"] == "max-age=60"
    assert origin.asked() == 3


async def test_the_most_specific_target_wins(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = numbered(("CDN-Cache-Control", "max-age=60"), ("Edgecache-Cache-Control", "max-age=5"))
    await edge.fetch("/a")
    clock.advance(6)
    assert (await edge.fetch("/a")).body == b"answer 2"


async def test_a_target_that_is_not_valid_is_as_if_absent(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60, &"))
    assert await bodies(edge, {}, {}) == [b"answer 1", b"answer 2"]


async def test_the_origin_is_told_that_surrogate_control_is_understood(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    await edge.fetch("/a")
    assert origin.requests[0].fields["surrogate-capability"] == 'edgecache="Surrogate/1.0"'


async def test_a_heuristic_lifetime_is_a_tenth_of_the_time_unchanged(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    unchanged = [("Date", format_http_date(clock.now)), ("Last-Modified", format_http_date(clock.now - 1000))]
    origin.script = numbered(*unchanged)
    await edge.fetch("/a")
    clock.advance(99)
    assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=1"
    clock.advance(1)
    assert (await edge.fetch("/a")).body == b"answer 2"


@pytest.mark.parametrize("skew", [-86_400, -3600, 3600, 86_400])
async def test_an_origin_whose_clock_is_wrong_loses_nothing(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, skew: int
) -> None:
    """Its dates are compared with one another only (RFC 9111 §4.2.1)."""
    date, expires = format_http_date(clock.now + skew), format_http_date(clock.now + skew + 60)
    origin.script = numbered(("Date", date), ("Expires", expires))
    await edge.fetch("/a")
    clock.advance(59)
    hit = await edge.fetch("/a")
    assert (hit.body, hit.fields["age"], hit.fields["date"]) == (b"answer 1", "59", date)
    clock.advance(1)
    assert (await edge.fetch("/a")).body == b"answer 2"


@pytest.mark.parametrize("status", [203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 500, 501, 503])
async def test_any_status_is_stored_that_says_for_how_long(
    edge: RunningEdge, origin: ScriptedOrigin, status: int
) -> None:
    body = b"" if status == 204 else b"content"
    origin.script = lambda _: Reply(status, {**FRESH, "Location": "/b"}, body)
    for _ in range(2):
        response = await edge.fetch("/a")
        assert (response.status, response.body, response.fields["location"]) == (status, body, "/b")
        assert response.fields.get("content-length") == (None if status == 204 else "7")
    assert origin.asked() == 1


@pytest.mark.parametrize(("status", "times"), [(404, 1), (301, 1), (302, 2), (500, 2), (299, 2)])
async def test_a_negative_response_without_a_lifetime_is_stored_if_its_status_allows_it(
    edge: RunningEdge, origin: ScriptedOrigin, status: int, times: int
) -> None:
    origin.script = numbered(("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT"), status=status)
    await edge.fetch("/a")
    await edge.fetch("/a")
    assert origin.asked() == times
