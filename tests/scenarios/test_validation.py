"""Asking whether it still holds: the edge asks the origin, clients ask the edge, HEAD asks too (RFC 9111 §4.3)."""

from __future__ import annotations

import pytest

from edgecache.http.fields import format_http_date
from tests.scenarios.answers import FRESH, TAGGED, bodies, numbered, validating
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, Reply, ScriptedOrigin

# Validation.


async def test_a_304_freshens_what_is_stored(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = validating(*FRESH.items(), ("Content-Type", "text/plain"))
    await edge.fetch("/a")
    clock.advance(60)
    fresh = await edge.fetch("/a")
    assert fresh.cache_status == "edgecache; fwd=stale; fwd-status=304; ttl=60; stored; detail=validated"
    assert (fresh.status, fresh.body, fresh.fields["age"]) == (200, b"content", "0")
    assert fresh.fields.getall("request") == ["2"]
    assert fresh.fields.getall("via") == ["1.1 edgecache"]
    assert fresh.fields.getall("date") == [format_http_date(clock.now)]
    clock.advance(59)
    hit = await edge.fetch("/a")
    assert (hit.body, hit.fields["age"], hit.fields["request"]) == (b"content", "59", "2")
    assert origin.asked() == 2


async def test_a_validation_sends_both_validators_and_not_the_clients(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    modified = format_http_date(clock.now - 1000)
    origin.script = validating(*FRESH.items(), ("Last-Modified", modified))
    await edge.fetch("/a")
    clock.advance(60)
    await edge.fetch("/a", fields={"If-None-Match": '"client"', "If-Modified-Since": format_http_date(clock.now)})
    sent = origin.requests[1].fields
    assert sent.getall("if-none-match") == ['"1"']
    assert sent.getall("if-modified-since") == [modified]


async def test_a_full_answer_replaces_what_was_validated(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda request: Reply(200, {**FRESH, "ETag": f'"{request.number}"'}, b"%d" % request.number)
    assert (await edge.fetch("/a")).body == b"1"
    clock.advance(60)
    replaced = await edge.fetch("/a")
    assert (replaced.body, replaced.cache_status) == (b"2", "edgecache; fwd=stale; stored")
    assert (await edge.fetch("/a")).body == b"2"


@pytest.mark.parametrize("forbids", ["no-store", "private", "no-store, max-age=60", "private, max-age=60"])
async def test_a_304_that_forbids_storing_ends_what_is_stored(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, forbids: str
) -> None:
    origin.script = validating(*FRESH.items())
    await edge.fetch("/a")
    clock.advance(60)
    origin.script = lambda _: Reply(304, {"ETag": '"1"', "Cache-Control": forbids})
    assert (await edge.fetch("/a")).body == b"content"
    origin.script = numbered()
    assert (await edge.fetch("/a", fields={"Cache-Control": "max-stale"})).body == b"answer 3"


async def test_a_cookie_in_a_304_reaches_nobody_else(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = validating(*FRESH.items())
    await edge.fetch("/a")
    clock.advance(60)
    origin.script = lambda _: Reply(304, {**TAGGED, "Set-Cookie": "id=1"})
    assert (await edge.fetch("/a")).body == b"content"
    assert "set-cookie" not in (await edge.fetch("/a")).fields


async def test_no_cache_is_validated_each_time(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = validating(("Cache-Control", "no-cache, max-age=60"))
    assert await bodies(edge, {}, {}, {}) == [b"content"] * 3
    assert origin.asked() == 3
    assert (await edge.fetch("/a")).cache_status.startswith("edgecache; fwd=stale; fwd-status=304")


async def test_a_304_to_an_unconditional_request_is_no_answer(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(304, TAGGED)
    response = await edge.fetch("/a")
    assert response.status == 502
    assert response.cache_status == "edgecache; fwd=uri-miss; detail=origin-error"


# Conditions of the client.


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-None-Match": '"1"'}, 304),
        ({"If-None-Match": 'W/"1"'}, 304),
        ({"If-None-Match": '"0", "1"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"2"'}, 200),
        ({"If-Modified-Since": "Wed, 01 Jan 2020 00:00:00 GMT"}, 304),
        ({"If-Modified-Since": "Tue, 31 Dec 2019 23:59:59 GMT"}, 200),
        ({"If-None-Match": '"2"', "If-Modified-Since": "Wed, 01 Jan 2020 00:00:00 GMT"}, 200),
    ],
)
@pytest.mark.parametrize("when", ["miss", "hit", "stale"])
async def test_a_condition_is_answered_whether_stored_or_not(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, when: str, condition: dict[str, str], status: int
) -> None:
    modified = ("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
    origin.script = validating(*FRESH.items(), modified, ("Content-Type", "text/x"))
    if when != "miss":
        await edge.fetch("/a")
    if when == "stale":
        clock.advance(60)
    response = await edge.fetch("/a", fields=condition)
    assert (response.status, response.body) == (status, b"content" if status == 200 else b"")
    assert response.fields["etag"] == '"1"'
    assert ("content-type" in response.fields) == (status == 200)
    assert response.fields["cache-control"] == "max-age=60"
    assert (await edge.fetch("/a")).body == b"content"
    assert origin.asked() == (2 if when == "stale" else 1)


async def test_a_miss_answered_304_tells_what_the_origin_said(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    """RFC 9211 §2.3: without fwd-status, the next hop's status would be taken to be the 304."""
    origin.script = validating(*FRESH.items())
    response = await edge.fetch("/a", fields={"If-None-Match": '"1"'})
    assert response.cache_status == "edgecache; fwd=uri-miss; fwd-status=200; stored"


async def test_conditions_do_not_change_an_error(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*TAGGED.items(), status=404)
    for _ in range(2):
        response = await edge.fetch("/a", fields={"If-None-Match": '"1"'})
        assert (response.status, response.body) == (404, b"answer 1")


@pytest.mark.parametrize("field", ["If-Match", "If-Unmodified-Since"])
async def test_conditions_on_the_present_state_are_the_origins_to_evaluate(
    edge: RunningEdge, origin: ScriptedOrigin, field: str
) -> None:
    origin.script = numbered(*TAGGED.items())
    await edge.fetch("/a")
    origin.script = numbered(*TAGGED.items(), status=412)
    response = await edge.fetch("/a", fields={field: "x"})
    assert (response.status, response.body) == (412, b"answer 2")
    assert origin.requests[1].fields[field] == "x"
    assert response.cache_status == "edgecache; fwd=bypass; fwd-status=412; detail=precondition"
    assert (await edge.fetch("/a")).body == b"answer 1"


# HEAD.


async def test_a_head_is_answered_from_a_stored_get(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda _: Reply(200, {**FRESH, "X": "1"}, b"content")
    await edge.fetch("/a")
    clock.advance(1)
    head = await edge.fetch("/a", "HEAD")
    assert (head.status, head.body, head.complete) == (200, b"", True)
    assert (head.fields["content-length"], head.fields["x"], head.fields["age"]) == ("7", "1", "1")
    assert head.cache_status == "edgecache; hit; ttl=59"


async def test_a_head_that_misses_is_forwarded_as_one_and_never_stored_as_a_get(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = lambda _: Reply(200, FRESH, b"content")
    head = await edge.fetch("/a", "HEAD")
    assert (head.body, head.fields.getall("content-length")) == (b"", ["7"])
    assert head.cache_status == "edgecache; fwd=uri-miss; detail=method"
    assert (await edge.fetch("/a")).body == b"content"
    assert [request.method for request in origin.requests] == ["HEAD", "GET"]


@pytest.mark.parametrize("status", [200, 304])
async def test_a_head_freshens_the_stored_get_that_it_describes(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, status: int
) -> None:
    origin.script = lambda _: Reply(200, {**TAGGED, "X": "old"}, b"content")
    await edge.fetch("/a")
    clock.advance(61)
    origin.script = lambda _: Reply(status, {**TAGGED, "X": "new"}, b"content")
    head = await edge.fetch("/a", "HEAD")
    assert (head.status, head.fields["x"], head.fields["content-length"]) == (200, "new", "7")
    clock.advance(9)
    hit = await edge.fetch("/a")
    assert (hit.body, hit.fields["x"], hit.fields["age"]) == (b"content", "new", "9")
    assert [request.method for request in origin.requests] == ["GET", "HEAD"]


@pytest.mark.parametrize("other", [{**FRESH, "ETag": '"2"'}, {**FRESH, "Last-Modified": "x"}, {**TAGGED}])
async def test_a_head_that_describes_something_else_ends_the_stored_get(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, other: dict[str, str]
) -> None:
    origin.script = lambda _: Reply(200, TAGGED, b"content")
    await edge.fetch("/a")
    clock.advance(61)
    origin.script = lambda request: Reply(200, other, b"another content")
    head = await edge.fetch("/a", "HEAD")
    assert head.fields["content-length"] == "15"
    assert (await edge.fetch("/a", fields={"Cache-Control": "max-stale"})).body == b"another content"


async def test_a_head_that_fails_leaves_the_stored_get_alone(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda _: Reply(200, TAGGED, b"content")
    await edge.fetch("/a")
    clock.advance(61)
    origin.script = lambda _: Reply(503)
    assert (await edge.fetch("/a", "HEAD")).status == 503
    assert (await edge.fetch("/a", fields={"Cache-Control": "max-stale"})).body == b"content"
