"""Compression at the edge: one stored response, encoded once for each coding that somebody wants."""

from __future__ import annotations

import gc
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import brotli
import pytest
from backports import zstd

from edgecache.engine.encodings import SMALLEST
from edgecache.semantics.rules import Rule
from tests.scenarios.composed import edge_before, ordered, until
from tests.scenarios.rig import ClientResponse, FakeClock, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge

TEXT = b"the same words again and again, " * 100
STYLE = {"Content-Type": "text/css", "Cache-Control": "max-age=60", "ETag": '"1"', "Accept-Ranges": "bytes"}
DECODERS = {"br": brotli.decompress, "zstd": zstd.decompress, "gzip": gzip.decompress}


class Start(Protocol):
    async def __call__(self, **cache: Any) -> RunningEdge: ...


@pytest.fixture
async def start(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[Start]:
    async with AsyncExitStack() as running:

        async def start(**cache: Any) -> RunningEdge:
            rules = [Rule(name="compress", settings={"compress": True})]
            edge = edge_before(origin.url, clock=clock, cache=cache, rules=rules)
            return await running.enter_async_context(edge)

        yield start


def answering(content: bytes = TEXT, fields: dict[str, str] | None = None) -> Any:
    return lambda request: Reply(200, STYLE if fields is None else fields, content)


async def wanting(edge: RunningEdge, coding: str, method: str = "GET", **fields: str) -> ClientResponse:
    """Ask for a coding until the work is done."""
    given = {"Accept-Encoding": coding} | {name.replace("_", "-"): value for name, value in fields.items()}
    await edge.fetch("/a.css")
    await edge.fetch("/a.css", fields=given)
    await until(lambda: edge.parts.cache.encodings.running == 0)
    return await edge.fetch("/a.css", method, fields=given)


@pytest.mark.parametrize("coding", DECODERS)
async def test_a_stored_response_is_encoded_once(start: Start, origin: ScriptedOrigin, coding: str) -> None:
    origin.script = answering()
    edge = await start()
    for _ in range(3):
        response = await wanting(edge, coding)
        assert DECODERS[coding](response.body) == TEXT
        assert response.fields["content-encoding"] == coding
        assert response.fields["content-length"] == str(len(response.body))
        assert response.fields["etag"] == 'W/"1"'
        assert response.fields["vary"] == "Accept-Encoding"
        assert "accept-ranges" not in response.fields
        assert "hit" in response.cache_status
    assert edge.parts.counters.encoded == 1
    assert len(origin.requests) == 1


async def test_the_hit_lane_gives_what_each_client_likes_best(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = answering()
    edge = await start()
    likings = {"br;q=0.5, gzip": "gzip", "gzip;q=0.5, br": "br", "gzip, br;q=0": "gzip", "identity": None}
    for liking in likings:
        await wanting(edge, liking)
    before = edge.parts.counters.hits_lane
    for _ in range(2):
        for liking, coding in likings.items():
            response = await edge.fetch("/a.css", fields={"Accept-Encoding": liking})
            assert response.fields.get("content-encoding") == coding
            assert DECODERS.get(coding or "", bytes)(response.body) == TEXT
    assert edge.parts.counters.hits_lane == before + 6  # what is not coded yet may be soon


async def test_whoever_wants_no_coding_gets_none(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = answering()
    edge = await start()
    await wanting(edge, "br")
    plain = await edge.fetch("/a.css")
    assert (plain.body, plain.fields["etag"], plain.fields["vary"]) == (TEXT, '"1"', "Accept-Encoding")
    assert "content-encoding" not in plain.fields


async def test_the_first_client_learns_that_it_varies(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = answering()
    edge = await start()
    first = await edge.fetch("/a.css", fields={"Accept-Encoding": "br"})
    assert (first.body, first.fields["vary"]) == (TEXT, "Accept-Encoding")
    assert "content-encoding" not in first.fields


async def test_a_condition_and_a_head(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = answering()
    edge = await start()
    body = (await wanting(edge, "br")).body
    head = await wanting(edge, "br", "HEAD")
    assert (head.body, head.fields["content-length"]) == (b"", str(len(body)))
    for etag in ('W/"1"', '"1"'):
        unchanged = await edge.fetch("/a.css", fields={"Accept-Encoding": "br", "If-None-Match": etag})
        assert (unchanged.status, unchanged.fields["vary"]) == (304, "Accept-Encoding")


async def test_a_range_is_one_of_the_bytes_that_are_stored(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = answering()
    edge = await start()
    await wanting(edge, "br")
    part = await edge.fetch("/a.css", fields={"Accept-Encoding": "br", "Range": "bytes=4-7"})
    assert (part.status, part.body, part.fields["etag"]) == (206, TEXT[4:8], '"1"')
    assert "content-encoding" not in part.fields


async def test_a_304_keeps_what_was_encoded(start: Start, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = lambda request: (
        Reply(304, {**STYLE, "X": "new"}) if "if-none-match" in request.fields else Reply(200, STYLE, TEXT)
    )
    edge = await start()
    await wanting(edge, "br")
    clock.advance(61)
    again = await edge.fetch("/a.css", fields={"Accept-Encoding": "br"})
    assert (again.fields["x"], again.fields["content-encoding"]) == ("new", "br")
    assert edge.parts.counters.encoded == 1


async def test_what_goes_takes_its_codings_along(start: Start, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = answering()
    edge = await start()
    await wanting(edge, "br")
    assert edge.parts.cache.encodings.bytes > 0
    clock.advance(10_000)
    origin.script = answering(b"other words " * 100)
    assert (await edge.fetch("/a.css", fields={"Accept-Encoding": "br"})).body == b"other words " * 100
    gc.collect()  # a closed connection is a cycle, and remembers its last exchange
    assert edge.parts.cache.encodings.bytes == 0


async def test_there_is_a_bound(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = answering()
    edge = await start(encoded=0)
    assert "content-encoding" not in (await wanting(edge, "br")).fields
    assert edge.parts.cache.encodings.bytes == 0


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({**STYLE, "Cache-Control": "max-age=60, no-transform"}, TEXT),
        ({**STYLE, "Content-Encoding": "gzip"}, gzip.compress(TEXT)),
        ({**STYLE, "Content-Type": "image/png"}, TEXT),
        (STYLE, b"x" * (SMALLEST - 1)),
        (STYLE, bytes(range(256)) + bytes(range(255, 0, -1))),
    ],
    ids=["no-transform", "encoded already", "not text", "small", "no gain"],
)
async def test_what_stays_as_it_is(
    start: Start, origin: ScriptedOrigin, fields: dict[str, str], content: bytes
) -> None:
    origin.script = answering(content, fields)
    edge = await start()
    response = await wanting(edge, "br")
    assert response.body == content
    assert response.fields.get("content-encoding") == fields.get("Content-Encoding")
    assert response.fields["etag"] == '"1"'


async def test_a_purge_is_a_purge_of_every_coding(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = answering()
    edge = await start()
    await wanting(edge, "br")
    origin.script = answering(b"newer " * 100)
    await ordered(edge, "/v1/purge", {"selectors": [{"kind": "url", "value": "http://example.com/a.css"}]})
    assert (await edge.fetch("/a.css", fields={"Accept-Encoding": "br"})).body == b"newer " * 100
