"""Parts that are stored: reused, completed, put together, or never trusted (RFC 9110 §14.4, RFC 9111 §3.3, §3.4)."""

from __future__ import annotations

import pytest

from tests.scenarios.answers import CONTENT, FRESH, TAGGED, ranged, representation
from tests.scenarios.composed import settled
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, Reply, ScriptedOrigin


def asked_for(origin: ScriptedOrigin) -> list[str | None]:
    """The Range of each request that reached the origin."""
    return [request.fields.get("range") for request in origin.requests]


# A part that is stored.


async def test_a_range_that_misses_is_forwarded_and_its_part_stored(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation()
    miss = await ranged(edge, "bytes=100-199")
    assert (miss.status, miss.body) == (206, CONTENT[100:200])
    assert (miss.fields["content-range"], miss.fields["content-length"]) == ("bytes 100-199/512", "100")
    assert miss.cache_status == "edgecache; fwd=uri-miss; fwd-status=206; stored"
    assert asked_for(origin) == ["bytes=100-199"]
    for value, first, last in [("100-199", 100, 199), ("150-160", 150, 160), ("199-199", 199, 199)]:
        hit = await ranged(edge, f"bytes={value}")
        assert (hit.status, hit.body) == (206, CONTENT[first : last + 1])
        assert hit.fields["content-range"] == f"bytes {first}-{last}/512"
        assert hit.cache_status == "edgecache; hit; ttl=60"
    assert origin.asked() == 1


@pytest.mark.parametrize(
    ("value", "content", "held"),
    [
        ("bytes=-5", b"56789", "bytes 5-9/10"),
        ("bytes=6-8", b"678", "bytes 6-8/10"),
        ("bytes=6-", b"6789", "bytes 6-9/10"),
        ("bytes=-1", b"9", "bytes 9-9/10"),
    ],
)
@pytest.mark.parametrize("etag", [{"ETag": '"1"'}, {}])
async def test_the_end_of_a_representation_answers_for_what_is_in_it(
    edge: RunningEdge, origin: ScriptedOrigin, value: str, content: bytes, held: str, etag: dict[str, str]
) -> None:
    """The public suite's tests of reusing a part, with a Content-Range that agrees with its content."""
    origin.script = representation(b"0123456789", {"Cache-Control": "max-age=3600", **etag})
    assert (await ranged(edge, "bytes=-5")).body == b"56789"
    part = await ranged(edge, value)
    assert (part.status, part.body, part.fields["content-range"]) == (206, content, held)
    assert origin.asked() == 1


async def test_a_part_answers_for_no_byte_that_it_does_not_have(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation()
    await ranged(edge, "bytes=100-199")
    for value, body in [("99-100", CONTENT[99:101]), ("199-250", CONTENT[199:251]), ("-1", CONTENT[-1:])]:
        assert (await ranged(edge, f"bytes={value}")).body == body
    assert (await edge.fetch("/a")).body == CONTENT


async def test_a_head_is_not_answered_from_a_part(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation()
    await ranged(edge, "bytes=0-1")
    head = await edge.fetch("/a", "HEAD")
    assert (head.status, head.fields["content-length"]) == (200, "512")
    assert head.cache_status == "edgecache; fwd=partial; detail=method"


async def test_if_range_can_make_a_part_useless(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation()
    await ranged(edge, "bytes=0-9")
    assert (await ranged(edge, "bytes=0-9", {"If-Range": '"1"'})).status == 206
    assert origin.asked() == 1
    other = await ranged(edge, "bytes=0-9", {"If-Range": '"0"'})
    assert (other.status, other.body) == (200, CONTENT)


async def test_a_stale_part_is_validated_and_then_cut(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = representation()
    await ranged(edge, "bytes=10-19")
    clock.advance(60)
    part = await ranged(edge, "bytes=12-13")
    assert (part.status, part.body, part.fields["content-range"]) == (206, CONTENT[12:14], "bytes 12-13/512")
    assert part.cache_status == "edgecache; fwd=stale; fwd-status=304; ttl=60; stored; detail=validated"
    assert (await ranged(edge, "bytes=10-19")).body == CONTENT[10:20]
    assert asked_for(origin) == ["bytes=10-19", None]


async def test_a_part_within_grace_is_served_and_refreshed_by_the_whole(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    grace = "max-age=60, stale-while-revalidate=60"
    origin.script = representation(fields={"Cache-Control": grace, "ETag": '"1"'})
    await ranged(edge, "bytes=10-19")
    clock.advance(60)
    origin.script = representation(b"changed", {"Cache-Control": grace, "ETag": '"2"'})
    assert (await ranged(edge, "bytes=12-13")).body == CONTENT[12:14]
    await settled(edge)
    assert (await edge.fetch("/a")).body == b"changed"
    assert origin.asked() == 2


async def test_an_origin_that_ignores_range_is_stored_whole_and_cut_here(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = lambda _: Reply(200, TAGGED, CONTENT)
    part = await ranged(edge, "bytes=1-2")
    assert (part.status, part.body, part.fields["content-range"]) == (206, CONTENT[1:3], "bytes 1-2/512")
    assert part.cache_status == "edgecache; fwd=uri-miss; fwd-status=200; stored"
    assert (await edge.fetch("/a")).body == CONTENT
    assert origin.asked() == 1


async def test_while_the_length_is_unknown_the_whole_is_sent(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(200, TAGGED, (CONTENT[:9], CONTENT[9:]), chunked=True)
    first = await ranged(edge, "bytes=1-2")
    assert (first.status, first.body) == (200, CONTENT)
    assert (await ranged(edge, "bytes=1-2")).body == CONTENT[1:3]
    assert origin.asked() == 1


async def test_what_has_all_the_bytes_is_a_whole(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation()
    assert (await ranged(edge, "bytes=0-")).status == 206
    whole = await edge.fetch("/a")
    assert (whole.status, whole.body, origin.asked()) == (200, CONTENT, 1)
    assert "content-range" not in whole.fields


# Parts put together.


@pytest.mark.parametrize(
    "ranges",
    [
        ["0-99", "100-511"],
        ["100-511", "0-99"],
        ["0-200", "100-511"],
        ["100-511", "0-200"],
        ["0-99", "100-299", "250-511"],
        ["200-299", "100-350", "0-99", "351-511"],
    ],
)
async def test_parts_that_share_a_strong_entity_tag_become_a_whole(
    edge: RunningEdge, origin: ScriptedOrigin, ranges: list[str]
) -> None:
    digest = {"Content-Digest": "sha-256=:YQ==:"}
    origin.script = representation(fields={**TAGGED, **digest})
    for each in ranges:
        await ranged(edge, f"bytes={each}")
    whole = await edge.fetch("/a")
    assert (whole.status, whole.body, whole.fields["content-length"]) == (200, CONTENT, "512")
    assert not whole.fields.keys() & {"Content-Range", "Content-Digest"}
    assert whole.cache_status == "edgecache; hit; ttl=60"
    assert origin.asked() == len(ranges)


async def test_what_was_meant_for_this_cache_is_not_in_the_whole_either(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = representation(fields={**TAGGED, "Edgecache-Cache-Control": "max-age=60", "X": "1"})
    for value in ("bytes=0-99", "bytes=100-511"):
        part = await ranged(edge, value)
        assert "edgecache-cache-control" not in part.fields
    for condition in ({}, {"If-None-Match": '"1"'}, {"Range": "bytes=1-2"}):
        response = await edge.fetch("/a", fields=condition)
        assert "edgecache-cache-control" not in response.fields
        assert (response.fields["x"], response.fields["etag"]) == ("1", '"1"')
    assert origin.asked() == 2


async def test_parts_that_touch_answer_across_the_seam(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation()
    await ranged(edge, "bytes=100-199")
    await ranged(edge, "bytes=200-299")
    part = await ranged(edge, "bytes=150-250")
    assert (part.body, part.fields["content-range"]) == (CONTENT[150:251], "bytes 150-250/512")
    assert origin.asked() == 2


async def test_parts_that_do_not_touch_are_not_put_together(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation()
    await ranged(edge, "bytes=100-199")
    await ranged(edge, "bytes=201-299")
    assert (await ranged(edge, "bytes=199-201")).body == CONTENT[199:202]
    assert origin.asked() == 3


@pytest.mark.parametrize(
    "validators",
    [
        [{}, {}],
        [{"ETag": 'W/"1"'}, {"ETag": 'W/"1"'}],
        [{"ETag": '"1"'}, {"ETag": '"2"'}],
        [{"ETag": '"1"'}, {}],
        [{"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}] * 2,
    ],
)
async def test_no_others_do(edge: RunningEdge, origin: ScriptedOrigin, validators: list[dict[str, str]]) -> None:
    contents = [b"a" * 10, b"b" * 10]
    for content, validator, value in zip(contents, validators, ("0-4", "5-9"), strict=True):
        origin.script = representation(content, {**FRESH, **validator})
        await ranged(edge, f"bytes={value}")
    assert (await ranged(edge, "bytes=4-5")).body == b"bb"
    assert (await edge.fetch("/a")).body == b"b" * 10


async def test_parts_of_different_lengths_are_not_put_together(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = representation(b"a" * 10)
    await ranged(edge, "bytes=0-4")
    origin.script = representation(b"b" * 20)
    await ranged(edge, "bytes=5-9")
    assert (await ranged(edge, "bytes=4-5")).body == b"bb"


@pytest.mark.parametrize(("held", "missing"), [("0-99", "bytes=100-"), ("100-511", "bytes=0-99")])
async def test_a_get_asks_for_what_is_missing(
    edge: RunningEdge, origin: ScriptedOrigin, held: str, missing: str
) -> None:
    origin.script = representation(fields={**TAGGED, "Content-Digest": "sha-256=:YQ==:"})
    await ranged(edge, f"bytes={held}")
    whole = await edge.fetch("/a")
    assert (whole.status, whole.body, whole.complete) == (200, CONTENT, True)
    assert not whole.fields.keys() & {"Content-Range", "Content-Digest"}
    assert whole.cache_status == "edgecache; fwd=partial; fwd-status=206; stored"
    assert origin.requests[1].fields["range"] == missing
    assert origin.requests[1].fields["if-range"] == '"1"'
    hit = await edge.fetch("/a")
    assert (hit.status, hit.body, origin.asked()) == (200, CONTENT, 2)


async def test_what_is_missing_of_a_changed_representation_is_all_of_it(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = representation()
    await ranged(edge, "bytes=0-99")
    origin.script = representation(b"changed", {**FRESH, "ETag": '"2"'})
    for _ in range(2):
        whole = await edge.fetch("/a")
        assert (whole.status, whole.body) == (200, b"changed")
    assert origin.asked() == 2


@pytest.mark.parametrize(
    "answer",
    [
        Reply(206, {**FRESH, "ETag": '"2"', "Content-Range": "bytes 100-511/512"}, b"x" * 412),
        Reply(206, {**TAGGED, "Content-Range": "bytes 101-511/512"}, b"x" * 411),
        Reply(206, {**TAGGED, "Content-Range": "bytes 100-600/601"}, b"x" * 501),
        Reply(206, TAGGED, b"x" * 412),
        Reply(416, {"Content-Range": "bytes */50"}),
    ],
)
async def test_an_answer_that_does_not_fit_is_not_put_together(
    edge: RunningEdge, origin: ScriptedOrigin, answer: Reply
) -> None:
    """The whole is asked for instead: the client did not ask for a part."""
    origin.script = representation()
    await ranged(edge, "bytes=0-99")
    origin.script = lambda request: answer if "range" in request.fields else Reply(200, TAGGED, b"whole")
    for _ in range(2):
        whole = await edge.fetch("/a")
        assert (whole.status, whole.body) == (200, b"whole")
    assert origin.asked() == 3


async def test_a_part_of_unknown_length_is_not_completed_beyond_its_end(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = lambda _: Reply(206, {**TAGGED, "Content-Range": "bytes 0-511/*"}, CONTENT)
    await ranged(edge, "bytes=0-")
    unsatisfied = Reply(416, {"Content-Range": "bytes */512"})
    origin.script = lambda request: unsatisfied if "range" in request.fields else Reply(200, TAGGED, CONTENT)
    whole = await edge.fetch("/a")
    assert (whole.status, whole.body) == (200, CONTENT)


# Answers that contradict themselves, or the request.


@pytest.mark.parametrize(
    "content_range",
    ["bytes 4-9/10", "bytes 5-9/5", "bytes 9-5/10", "bytes 5-9", "lines 5-9/10", "bytes */10", ""],
)
async def test_a_part_that_contradicts_itself_is_not_stored(
    edge: RunningEdge, origin: ScriptedOrigin, content_range: str
) -> None:
    fields = {**TAGGED, **({"Content-Range": content_range} if content_range else {})}
    origin.script = lambda _: Reply(206, fields, b"56789")
    for _ in range(2):
        response = await ranged(edge, "bytes=-5")
        assert (response.status, response.body) == (206, b"56789")
        assert response.cache_status == "edgecache; fwd=uri-miss; fwd-status=206; detail=content-range"
    assert origin.asked() == 2


async def test_several_parts_are_passed_and_not_stored(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    fields = {**TAGGED, "Content-Type": "multipart/byteranges; boundary=b"}
    origin.script = lambda _: Reply(206, fields, b"--b--")
    for _ in range(2):
        assert (await ranged(edge, "bytes=0-1,3-4")).body == b"--b--"
    assert origin.asked() == 2


async def test_a_416_is_passed_and_never_meets_a_request_without_range(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = lambda _: Reply(416, {**TAGGED, "Content-Range": "bytes */512"}, b"too far")
    response = await ranged(edge, "bytes=600-")
    assert (response.status, response.body) == (416, b"too far")
    origin.script = representation()
    assert (await edge.fetch("/a")).body == CONTENT
    assert (await ranged(edge, "bytes=1-2")).body == CONTENT[1:3]


async def test_a_206_to_a_request_without_range_is_no_answer(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(206, {**TAGGED, "Content-Range": "bytes 0-1/512"}, b"ab")
    response = await edge.fetch("/a")
    assert (response.status, response.cache_status) == (502, "edgecache; fwd=uri-miss; detail=origin-error")


async def test_a_range_of_what_is_not_stored_is_cut_by_nobody_but_the_origin(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = representation(fields={"Cache-Control": "no-store", "ETag": '"1"'})
    for _ in range(2):
        part = await ranged(edge, "bytes=1-2")
        assert (part.status, part.body) == (206, CONTENT[1:3])
        assert part.cache_status == "edgecache; fwd=uri-miss; fwd-status=206; detail=no-store"
    assert asked_for(origin) == ["bytes=1-2"] * 2
