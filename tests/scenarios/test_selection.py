"""Which stored response answers which request: by Vary, by method, by content (RFC 9111 §4.1, RFC 10008)."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.answers import FRESH, bodies, numbered, validating
from tests.scenarios.composed import requested
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import FakeClock, FieldsLike, ScriptedOrigin

# Vary.


async def test_what_a_request_selects_is_kept_apart(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items(), ("Vary", "Accept, X"))
    asked = [{"Accept": "a"}, {"Accept": "b"}, {}, {"X": ""}, {"Accept": "b", "Y": "1"}, {"Accept": "a"}]
    answers = [b"answer %d" % number for number in (1, 2, 3, 4, 2, 1)]
    assert await bodies(edge, *asked) == answers


async def test_another_variant_is_a_vary_miss(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items(), ("Vary", "Accept"))
    await edge.fetch("/a", fields={"Accept": "a"})
    other = await edge.fetch("/a", fields={"Accept": "b"})
    assert other.cache_status == "edgecache; fwd=vary-miss; stored"


async def test_spellings_that_mean_the_same_select_the_same(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items(), ("Vary", "accept-encoding, Accept-Language"))
    asked: list[FieldsLike] = [
        {"Accept-Encoding": "gzip, br", "Accept-Language": "de, en;q=0.5"},
        {"Accept-Encoding": "br;q=1.0,gzip", "Accept-Language": "de,en; q=0.50"},
        (("Accept-Encoding", "br"), ("Accept-Encoding", "x-gzip"), ("Accept-Language", "DE,EN;q=0.5")),
        {"Accept-Encoding": "br", "Accept-Language": "de, en;q=0.5"},
    ]
    assert await bodies(edge, *asked) == [b"answer 1", b"answer 1", b"answer 1", b"answer 2"]


async def test_the_variants_of_one_key_are_bounded(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items(), ("Vary", "X"))
    for number in range(65):
        await edge.fetch("/a", fields={"X": str(number)})
    assert (await edge.fetch("/a", fields={"X": "1"})).body == b"answer 2"
    assert (await edge.fetch("/a", fields={"X": "0"})).body == b"answer 66"


async def test_forwarding_fields_of_strangers_select_nothing(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items(), ("Vary", "X-Forwarded-Host"))
    assert await bodies(edge, {}, {"X-Forwarded-Host": "evil.example"}) == [b"answer 1"] * 2


# Methods.


async def test_options_is_passed(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items())
    for number, target in enumerate(("/a", "/a", "*"), start=1):
        response = await edge.fetch(target, "OPTIONS")
        assert (response.body, response.cache_status) == (b"answer %d" % number, "edgecache; fwd=method")
    assert [request.target for request in origin.requests] == ["/a", "/a", "*"]


@pytest.mark.parametrize(("method", "target"), [("TRACE", "/a"), ("CONNECT", "example.com:443")])
async def test_trace_and_connect_are_refused(
    edge: RunningEdge, origin: ScriptedOrigin, method: str, target: str
) -> None:
    assert (await edge.fetch(target, method)).status in (400, 405)
    assert origin.asked() == 0


async def test_a_get_with_content_is_passed_with_it(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items())
    await edge.fetch("/a")
    response = await edge.fetch("/a", body=b"question")
    assert (response.body, origin.requests[1].body) == (b"answer 2", b"question")
    assert response.cache_status == "edgecache; fwd=bypass; detail=request-content"
    assert (await edge.fetch("/a")).body == b"answer 1"


async def test_a_query_is_stored_for_its_content(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items())

    async def query(content: bytes, kind: str = "text/x", target: str = "/a") -> bytes:
        return (await edge.fetch(target, "QUERY", {"Content-Type": kind}, content)).body

    assert await query(b"one") == b"answer 1"
    assert await query(b"one") == b"answer 1"
    assert await query(b"two") == b"answer 2"
    assert await query(b"one", "text/y") == b"answer 3"
    assert await query(b"one", target="/b") == b"answer 4"
    assert await query(b"") == b"answer 5"
    assert (await edge.fetch("/a")).body == b"answer 6"
    assert await query(b"one") == b"answer 1"
    assert [request.body for request in origin.requests] == [b"one", b"two", b"one", b"one", b"", b""]
    assert {request.method for request in origin.requests[:5]} == {"QUERY"}


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_query_too_large_for_a_key_is_passed_whole(
    start_edge: StartEdge, origin: ScriptedOrigin, chunked: bool
) -> None:
    edge = await start_edge(max_query_body=1000)
    origin.script = numbered(*FRESH.items())
    content = bytes(range(250)) * 400
    fields = {"Transfer-Encoding": "chunked"} if chunked else {}
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if chunked else content
    for number in (1, 2):
        response = await edge.fetch("/a", "QUERY", fields, framed)
        assert response.body == b"answer %d" % number
        assert response.cache_status == "edgecache; fwd=bypass; detail=request-content"
    assert [request.body for request in origin.requests] == [content, content]


async def test_a_stale_query_is_validated_with_its_content(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = validating(*FRESH.items())
    await edge.fetch("/a", "QUERY", {}, b"question")
    clock.advance(60)
    answer = await edge.fetch("/a", "QUERY", {}, b"question")
    assert (answer.status, answer.body, answer.fields["request"]) == (200, b"content", "2")
    validation = origin.requests[1]
    assert (validation.method, validation.body) == ("QUERY", b"question")
    assert validation.fields["if-none-match"] == '"1"'


async def test_a_post_may_answer_later_gets_when_it_says_that_it_does(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = numbered(*FRESH.items(), ("Content-Location", "/a"))
    posted = await edge.fetch("/a", "POST", body=b"x")
    assert posted.cache_status == "edgecache; fwd=method; stored"
    assert await bodies(edge, {}, {}) == [b"answer 1"] * 2
    assert (await edge.fetch("/a", "POST", body=b"x")).body == b"answer 2"
    assert (await edge.fetch("/a")).body == b"answer 2"


@pytest.mark.parametrize(
    "fields",
    [
        {"Cache-Control": "max-age=60"},
        {"Cache-Control": "max-age=60", "Content-Location": "/b"},
        {"Content-Location": "/a", "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"},
        {"Cache-Control": "max-age=60, no-store", "Content-Location": "/a"},
        {"Cache-Control": "max-age=60", "Content-Location": "/a", "Set-Cookie": "a=b"},
    ],
)
async def test_any_other_post_answers_only_itself(
    edge: RunningEdge, origin: ScriptedOrigin, fields: dict[str, str]
) -> None:
    origin.script = numbered(*fields.items())
    await edge.fetch("/a", "POST", body=b"x")
    assert (await edge.fetch("/a")).body == b"answer 2"
    assert (await edge.fetch("/b")).body == b"answer 3"


async def test_a_query_whose_content_is_malformed_is_the_client_s_fault(
    edge: RunningEdge, origin: ScriptedOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"QUERY /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await requested(edge, 1)
    writer.write(b"no chunk\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    assert origin.requests == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
