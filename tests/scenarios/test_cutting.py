"""Ranges cut from a stored whole (RFC 9110 §14); ``test_ranges`` is about what comes and is stored in parts."""

from __future__ import annotations

import email
import email.policy

import pytest

from edgecache.http.fields import format_http_date
from tests.scenarios.answers import CONTENT, FRESH, TAGGED, ranged, representation
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, FakeClock, Reply, ScriptedOrigin


def asked_for(origin: ScriptedOrigin) -> list[str | None]:
    """The Range of each request that reached the origin."""
    return [request.fields.get("range") for request in origin.requests]


def parts_of(response: ClientResponse) -> list[tuple[str, str, bytes]]:
    """Type, Content-Range and content of each part of a multipart/byteranges."""
    head = f"Content-Type: {response.fields['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.body, policy=email.policy.HTTP)
    parts = []
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts.append((part["content-type"], part["content-range"], content))
    return parts


@pytest.fixture
async def whole(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    """The edge holds all of ``/a``."""
    digests = {"Content-Digest": "sha-256=:YQ==:", "Content-MD5": "YQ==", "Repr-Digest": "sha-256=:YQ==:"}
    origin.script = representation(fields={**TAGGED, "Content-Type": "text/x", **digests})
    assert (await edge.fetch("/a")).body == CONTENT


# Cut from a stored whole.


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=3-9", 3, 9),
        ("BYTES=3-9", 3, 9),
        ("bytes=500-", 500, 511),
        ("bytes=500-9999", 500, 511),
        ("bytes=-12", 500, 511),
        ("bytes=-9999", 0, 511),
        ("bytes=0-511", 0, 511),
        ("bytes=600-700, 3-9", 3, 9),
    ],
)
async def test_one_range(edge: RunningEdge, origin: ScriptedOrigin, value: str, first: int, last: int) -> None:
    part = await ranged(edge, value)
    assert (part.status, part.body, part.complete) == (206, CONTENT[first : last + 1], True)
    assert part.fields["content-range"] == f"bytes {first}-{last}/512"
    assert (part.fields["etag"], part.fields["content-type"]) == ('"1"', "text/x")
    assert part.cache_status == "edgecache; hit; ttl=60"
    # What was said of all the bytes is not said of some; what was said of the representation still holds.
    assert not {"content-digest", "content-md5"} & {name.lower() for name in part.fields}
    assert part.fields["repr-digest"] == "sha-256=:YQ==:"
    assert origin.asked() == 1


@pytest.mark.usefixtures("whole")
async def test_several_ranges(edge: RunningEdge) -> None:
    response = await ranged(edge, "bytes=0-1, -2, 100-199")
    assert (response.status, response.complete) == (206, True)
    assert "content-range" not in response.fields
    assert parts_of(response) == [
        ("text/x", "bytes 0-1/512", CONTENT[:2]),
        ("text/x", "bytes 510-511/512", CONTENT[-2:]),
        ("text/x", "bytes 100-199/512", CONTENT[100:200]),
    ]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("value", ["bytes=512-", "bytes=600-700, 900-", "bytes=-0"])
async def test_a_range_that_cannot_be_had(edge: RunningEdge, value: str) -> None:
    response = await ranged(edge, value)
    assert (response.status, response.body) == (416, b"")
    assert response.fields["content-range"] == "bytes */512"
    assert (await edge.fetch("/a")).body == CONTENT


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    "value",
    [
        "bytes=5-3",
        "bytes=",
        "bytes=x-y",
        "lines=1-2",
        "bytes 0-1",
        "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(17)),
        "bytes=" + ",".join(["0-9"] * 4),
        "bytes=0-511, 0-0",
    ],
)
async def test_a_range_that_is_odd_or_too_much_is_answered_with_the_whole(edge: RunningEdge, value: str) -> None:
    response = await ranged(edge, value)
    assert (response.status, response.body) == (200, CONTENT)


@pytest.mark.usefixtures("whole")
async def test_a_head_has_no_ranges(edge: RunningEdge) -> None:
    response = await edge.fetch("/a", "HEAD", {"Range": "bytes=0-1"})
    assert (response.status, response.fields["content-length"], response.body) == (200, "512", b"")
    assert "content-range" not in response.fields


@pytest.mark.usefixtures("whole")
async def test_a_condition_comes_before_a_range(edge: RunningEdge) -> None:
    assert (await ranged(edge, "bytes=0-1", {"If-None-Match": '"1"'})).status == 304
    assert (await ranged(edge, "bytes=0-1", {"If-None-Match": '"2"'})).status == 206


async def test_an_error_is_not_cut(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(404, FRESH, b"not found")
    for _ in range(2):
        response = await ranged(edge, "bytes=0-1")
        assert (response.status, response.body) == (404, b"not found")


@pytest.mark.parametrize(
    ("etag", "if_range", "status"),
    [
        ('"1"', '"1"', 206),
        ('"1"', '"2"', 200),
        ('W/"1"', 'W/"1"', 200),
        ('"1"', 'W/"1"', 200),
        ('"1"', "modified", 206),
        ('"1"', "a second later", 200),
        ('"1"', "nonsense", 200),
    ],
)
async def test_if_range_names_exactly_what_is_stored(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, etag: str, if_range: str, status: int
) -> None:
    modified, later = format_http_date(clock.now - 1000), format_http_date(clock.now - 999)
    origin.script = lambda _: Reply(200, {**FRESH, "ETag": etag, "Last-Modified": modified}, CONTENT)
    await edge.fetch("/a")
    value = {"modified": modified, "a second later": later}.get(if_range, if_range)
    response = await ranged(edge, "bytes=1-2", {"If-Range": value})
    assert (response.status, response.body) == (status, CONTENT[1:3] if status == 206 else CONTENT)


async def test_a_date_is_no_strong_validator_when_it_is_as_recent_as_the_response(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    now = format_http_date(clock.now)
    origin.script = lambda _: Reply(200, {**FRESH, "Last-Modified": now, "Date": now}, CONTENT)
    await edge.fetch("/a")
    assert (await ranged(edge, "bytes=1-2", {"If-Range": now})).status == 200


async def test_a_stale_whole_is_validated_and_then_cut(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = representation()
    await edge.fetch("/a")
    clock.advance(60)
    part = await ranged(edge, "bytes=1-2")
    assert (part.status, part.body, part.fields["age"]) == (206, CONTENT[1:3], "0")
    assert part.cache_status == "edgecache; fwd=stale; fwd-status=304; ttl=60; stored; detail=validated"
    assert asked_for(origin) == [None, None]


async def test_a_stale_whole_that_changed_is_replaced_and_then_cut(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = representation()
    await edge.fetch("/a")
    clock.advance(60)
    origin.script = representation(b"changed", {**FRESH, "ETag": '"2"'})
    part = await ranged(edge, "bytes=1-2")
    assert (part.status, part.body) == (206, b"ha")
    assert part.cache_status == "edgecache; fwd=stale; fwd-status=200; stored"
    assert (await edge.fetch("/a")).body == b"changed"
