"""Stories of well-behaved clients: order, framing, fields, content, interim responses."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from edgecache.edges.finished import Aborted
from edgecache.engine.exchange import Delivery, Request
from edgecache.errors import OriginError
from edgecache.http.message import ResponseHead, fields_of, render_fields, render_status_line
from tests.edges.wire import ScriptedEngine, delivery, site

GET = b"GET %b HTTP/1.1\r\nHost: a.example\r\n\r\n"
CLOSE = b"GET %b HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"


def hit(request: Request) -> Delivery:
    return delivery(request, f"hit {request.head.target}".encode())


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_request_and_what_the_sink_is_told() -> None:
    async with site() as running:
        client = await running.connect()
        client.send(b"GET /x HTTP/1.1\r\nHost: A.example:80\r\nUser-Agent: me\r\n\r\n")
        status, fields, body = await client.response()
        assert (status, body) == (200, b"GET /x ")
        assert set(fields) == {"content-length", "date"}
        (facts,) = await running.until_finished(1)
    assert facts.exchange is not None
    assert (facts.method, facts.target, facts.authority, facts.version) == ("GET", "/x", "a.example", "1.1")
    assert (facts.status, facts.bytes_sent, facts.aborted) == (200, 7, "")
    assert facts.peer == "127.0.0.1"
    assert facts.fields is not None
    assert facts.fields["User-Agent"] == "me"
    assert 0 <= (facts.first_byte_seconds or 0) <= facts.seconds


async def test_the_head_the_engine_gets() -> None:
    async with site() as running:
        await running.ask(
            b"POST http://B.example:80?q HTTP/1.1\r\nHost: a.example\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n"
            b"Keep-Alive: 1\r\nTE: trailers\r\nX-Twice: 1\r\nX-Twice: 2\r\nX-Raw: \xe9t\xe9\xff\r\n"
            b"Content-Length: 010\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n0123456789"
        )
        (request,) = running.engine.seen
    assert request.head.target_uri == "http://b.example/?q"
    assert list(request.head.fields.items()) == [
        ("Host", "b.example"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("X-Raw", "été\xff"),
        ("Forwarded", "for=127.0.0.1;host=b.example;proto=http"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "b.example"),
    ]
    assert request.body is not None
    assert request.body.length == 10
    assert running.engine.bodies == [b"0123456789"]


async def test_bytes_of_a_response_are_exact() -> None:
    fields = (("set-COOKIE", "a=1"), ("Set-Cookie", "b=\xff\xe9"), ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"))
    engine = ScriptedEngine(hits={"/": lambda request: delivery(request, b"ok", fields=fields)})
    async with site(engine) as running:
        assert await running.ask(CLOSE % b"/") == (
            b"HTTP/1.1 200 OK\r\nset-COOKIE: a=1\r\nSet-Cookie: b=\xff\xe9\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            b"Content-Length: 2\r\nConnection: close\r\n\r\nok"
        )


async def test_a_rendered_head_is_written_as_it_is() -> None:
    def rendered(request: Request) -> Delivery:
        answer = delivery(request, b"ok")
        answer.head = ResponseHead(203, fields_of([]))
        answer.rendered = render_status_line(203) + render_fields([("Date", "x"), ("Content-Length", "2")])
        return answer

    async with site(ScriptedEngine(hits={"/": rendered})) as running:
        assert await running.ask(CLOSE % b"/") == (
            b"HTTP/1.1 203 Non-Authoritative Information\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        )


async def test_pipelined_requests_are_answered_in_order() -> None:
    engine = ScriptedEngine(hits={f"/{number}": hit for number in range(0, 200, 3)})
    async with site(engine) as running:
        client = await running.connect()
        client.send(b"".join(GET % b"/%d" % number for number in range(200)))
        for number in range(200):
            _, _, body = await client.response()
            assert body == (b"hit /%d" if number % 3 == 0 else b"GET /%d ") % number
    assert engine.targets == [f"/{number}" for number in range(200)]


async def test_pipelined_content_is_not_lost_between_requests() -> None:
    post = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbody%d"
    async with site() as running:
        client = await running.connect()
        data = b"".join(post % (number, number % 10) for number in range(100))
        for start in range(0, len(data), 97):
            client.send(data[start : start + 97])
            await asyncio.sleep(0)
        for number in range(100):
            assert (await client.response())[2] == b"POST /%d body%d" % (number, number % 10)


async def test_a_hit_waits_for_the_miss_before_it() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def miss(request: Request) -> Delivery:
        arrived.set()
        await go.wait()
        return delivery(request, b"miss")

    async with site(ScriptedEngine({"/hit": hit}, {"/miss": miss})) as running:
        client = await running.connect()
        client.send(GET % b"/hit" + GET % b"/miss" + GET % b"/hit")
        assert (await client.response())[2] == b"hit /hit"
        await arrived.wait()
        assert running.engine.targets == ["/hit", "/miss"]
        go.set()
        assert (await client.response())[2] == b"miss"
        assert (await client.response())[2] == b"hit /hit"


@pytest.mark.parametrize("now", [True, False])
@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_no_content_where_there_is_none(now: bool, method: bytes, status: int) -> None:
    def answer(request: Request) -> Delivery:
        full = delivery(request, b"must not be seen", status=status)
        full.length = 0
        return full

    async def later(request: Request) -> Delivery:
        return answer(request)

    engine = ScriptedEngine(hits={"/": answer}) if now else ScriptedEngine(handlers={"/": later})
    async with site(engine) as running:
        client = await running.connect()
        client.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n" + GET % b"/next")
        head = await client.response(head_only=True)
        assert head[0] == status
        assert head[1].get("content-length") == (None if status == 204 else "16")
        assert "transfer-encoding" not in head[1]
        assert (await client.response())[2] == b"GET /next "


@pytest.mark.parametrize(
    ("request_line", "framing"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", {"transfer-encoding": "chunked"}),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n", {"connection": "close"}),
    ],
)
async def test_a_stream_of_unknown_length_arrives_as_it_comes(request_line: bytes, framing: dict[str, str]) -> None:
    steps: asyncio.Queue[bytes] = asyncio.Queue()

    async def events() -> AsyncIterator[bytes]:
        while step := await steps.get():
            yield step

    async def handler(request: Request) -> Delivery:
        return delivery(request, stream=events())

    async with site(ScriptedEngine(handlers={"/": handler})) as running:
        client = await running.connect()
        client.send(request_line + b"\r\n")
        _, fields, _ = await client.response(head_only=True)
        assert {name: fields[name] for name in ("transfer-encoding", "connection") if name in fields} == framing
        for event in (b"data: one\n\n", b"data: two\n\n"):
            steps.put_nowait(event)
            assert event in await client.reader.readuntil(b"\n\n")
        steps.put_nowait(b"")
        ending = b"\r\n0\r\n\r\n" if "transfer-encoding" in framing else b""
        assert await client.reader.readexactly(len(ending)) == ending
        if not ending:
            assert await client.rest() == b""


async def test_http_1_0_keeps_a_connection_only_when_asked() -> None:
    async with site(default_authority="fallback.example") as running:
        client = await running.connect()
        client.send(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        status, fields, body = await client.response()
        assert (status, fields["connection"], body) == (200, "keep-alive", b"GET /1 ")
        client.send(b"GET /2 HTTP/1.0\r\n\r\n")
        _, fields, body = await client.response()
        assert (fields["connection"], body) == ("close", b"GET /2 ")
        assert await client.rest() == b""
        assert running.engine.seen[0].head.authority == "fallback.example"


async def test_large_objects_from_memory() -> None:
    body = os.urandom(3_000_001)
    engine = ScriptedEngine(hits={"/": lambda request: delivery(request, body)})
    async with site(engine) as running:
        client = await running.connect()
        client.send(GET % b"/" + GET % b"/")
        assert (await client.response())[2] == body
        assert (await client.response())[2] == body
        facts = await running.until_finished(2)
        assert [fact.bytes_sent for fact in facts] == [len(body)] * 2


@pytest.mark.parametrize(
    ("parts", "length", "why"),
    [
        ((b"12345",), 10, Aborted.LENGTH),
        ((b"12345", b"678901"), 10, Aborted.LENGTH),
        ((), 1, Aborted.LENGTH),
    ],
)
async def test_a_content_of_the_wrong_length_never_looks_complete(
    parts: tuple[bytes, ...], length: int, why: Aborted
) -> None:
    async def handler(request: Request) -> Delivery:
        return delivery(request, stream=pieces(*parts), length=length)

    async with site(ScriptedEngine(handlers={"/": handler})) as running:
        client = await running.connect()
        client.send(GET % b"/" + GET % b"/next")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.response()
        assert (await running.until_finished(1))[0].aborted == why
        assert running.engine.targets == ["/"]


async def test_pieces_of_the_wrong_length_are_not_completed_either() -> None:
    def wrong(request: Request) -> Delivery:
        answer = delivery(request, b"12345")
        answer.length, answer.head = 9, ResponseHead(200, fields_of([("Content-Length", "9")]))
        return answer

    async with site(ScriptedEngine(hits={"/": wrong})) as running:
        client = await running.connect()
        client.send(GET % b"/")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.response()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_stream_that_fails_resets_the_connection(version: bytes) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"12345"
        raise OriginError("gone")

    async def handler(request: Request) -> Delivery:
        return delivery(request, stream=broken())

    async with site(ScriptedEngine(handlers={"/": handler})) as running:
        with pytest.raises(ConnectionResetError):
            await running.ask(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        assert (await running.until_finished(1))[0].aborted == Aborted.ORIGIN


async def test_interim_responses_reach_clients_that_know_them() -> None:
    async def handler(request: Request) -> Delivery:
        assert request.on_interim is not None
        request.on_interim(ResponseHead(100, fields_of([])))
        request.on_interim(ResponseHead(103, fields_of([("Link", "</x.css>; rel=preload")])))
        return delivery(request, b"final")

    async with site(ScriptedEngine(handlers={"/": handler})) as running:
        answer = await running.ask(CLOSE % b"/")
        assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n")
        answer = await running.ask(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_is_told_to_continue_when_its_content_is_wanted() -> None:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n"

    async def unwanted(request: Request) -> Delivery:
        return delivery(request, b"no", status=403)

    async with site(ScriptedEngine(handlers={"/unwanted": unwanted})) as running:
        client = await running.connect()
        client.send(head % b"/")
        assert await client.response() == (100, {}, b"")
        client.send(b"body")
        assert (await client.response())[2] == b"POST / body"
        assert "Expect" not in running.engine.seen[0].head.fields
        client.send(head % b"/unwanted")
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (403, "close")
        assert await client.rest() == b""


async def test_content_is_held_back_while_nobody_reads_it() -> None:
    go = asyncio.Event()

    async def slow(request: Request) -> Delivery:
        await go.wait()
        return await running.engine.echo(request)

    async with site(ScriptedEngine(handlers={"/": slow})) as running:
        body = os.urandom(9_000_000)
        client = await running.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        sent = asyncio.create_task(client.writer.drain())
        for _ in range(300):
            await asyncio.sleep(0)
        assert not sent.done()
        go.set()
        assert (await client.response())[2] == b"POST / " + body
        await sent


async def test_a_defect_is_answered_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken_hit(request: Request) -> Delivery:
        raise LookupError(request.head.target)

    async def broken(request: Request) -> Delivery:
        raise LookupError(request.head.target)

    async with site(ScriptedEngine({"/hit": broken_hit}, {"/miss": broken})) as running:
        for target in (b"/hit", b"/miss"):
            answer = await running.ask(GET % target)
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert b"LookupError" not in answer
        assert (await running.ask(CLOSE % b"/fine")).startswith(b"HTTP/1.1 200 ")
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.exc_info is not None for record in records] == [True, True]
    caplog.clear()


def test_without_the_parser_in_c_nothing_starts() -> None:
    program = (
        "import asyncio\n"
        "from edgecache.edges.server import EdgeServer\n"
        "from edgecache.edges.settings import ServerSettings\n"
        "from edgecache.errors import ConfigError\n"
        "async def main():\n"
        "    try: EdgeServer(None, ServerSettings(), None)\n"
        "    except ConfigError as error: print(error.hint)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "AIOHTTP_NO_EXTENSIONS" in done.stdout
