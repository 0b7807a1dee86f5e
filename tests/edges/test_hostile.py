"""Clients that mean harm, or write bad HTTP: what they are answered, and that nothing gets past."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecache.edges.finished import Aborted
from edgecache.engine.exchange import Delivery, Request
from tests.edges.wire import ScriptedEngine, Site, delivery, site

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def status_of(answer: bytes) -> int:
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def post(fields: bytes, rest: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST / HTTP/" + version + b"\r\nHost: a\r\n" + fields + b"\r\n\r\n" + rest


def get(target: bytes = b"/", host: bytes = b"Host: a\r\n", version: bytes = b"1.1") -> bytes:
    return b"GET " + target + b" HTTP/" + version + b"\r\n" + host + b"\r\n"


FRAMING = {
    "CL and TE": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "TE and CL": post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"),
    "two equal CL": post(b"Content-Length: 5\r\nContent-Length: 5", b"12345"),
    "two CL": post(b"Content-Length: 5\r\nContent-Length: 6", b"12345"),
    "list of CL": post(b"Content-Length: 5, 5", b"12345"),
    "CL with sign": post(b"Content-Length: +5", b"12345"),
    "negative CL": post(b"Content-Length: -5", b"12345"),
    "CL in hex": post(b"Content-Length: 0x5", b"12345"),
    "CL with underscore": post(b"Content-Length: 1_0", b"1234567890"),
    "empty CL": post(b"Content-Length: ", b""),
    "huge CL": post(b"Content-Length: 99999999999999999999", b""),
    "obs-fold": post(b"X: a\r\n b"),
    "folded TE": post(b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n"),
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF in fields": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "bare CR": post(b"X: a\rb"),
    "space before colon": post(b"X : y"),
    "space in a name": post(b"X Y: z"),
    "no colon": post(b"X"),
    "empty name": post(b": x"),
    "NUL in a value": post(b"X: a\x00b"),
    "control in a value": post(b"X: a\x01b"),
    "DEL in a value": post(b"X: a\x7fb"),
    "non-ASCII name": post(b"X\xe9: b"),
    "TE xchunked": post(b"Transfer-Encoding: xchunked", b"0\r\n\r\n"),
    "TE identity": post(b"Transfer-Encoding: identity"),
    "TE twice": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "TE list": post(b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    "TE empty member": post(b"Transfer-Encoding: ,chunked", b"0\r\n\r\n"),
    "TE chunked first": post(b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n"),
    "TE with control": post(b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"),
    "HTTP/1.0 with TE": post(b"Transfer-Encoding: chunked", b"0\r\n\r\n", version=b"1.0"),
    "first chunk size 0x": post(b"Transfer-Encoding: chunked", b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk size with sign": post(b"Transfer-Encoding: chunked", b"+1\r\na\r\n0\r\n\r\n"),
    "chunk size with underscore": post(b"Transfer-Encoding: chunked", b"1_0\r\na\r\n0\r\n\r\n"),
    "chunk size too long": post(b"Transfer-Encoding: chunked", b"1" * 17 + b"\r\na\r\n0\r\n\r\n"),
    "chunk line with bare LF": post(b"Transfer-Encoding: chunked", b"1\na\r\n0\r\n\r\n"),
    "chunk extension with LF": post(b"Transfer-Encoding: chunked", b"1;a=\nb\r\na\r\n0\r\n\r\n"),
    "chunk extension with NUL": post(b"Transfer-Encoding: chunked", b"1;a=\x00\r\na\r\n0\r\n\r\n"),
    "chunk extension with CR": post(b"Transfer-Encoding: chunked", b"41;a=b\r\rXX\r\n0\r\n\r\n"),
    "chunk without end": post(b"Transfer-Encoding: chunked", b"1\r\nab\r\n0\r\n\r\n"),
    "Connection: Host": post(b"Connection: Host"),
    "Connection: content-length": post(b"Connection: close, content-length"),
    "Connection: cookie": post(b"Connection: keep-alive\r\nConnection: Cookie\r\nCookie: a=b"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no HTTP at all": b"hello\r\n\r\n",
}


@pytest.mark.parametrize("data", FRAMING.values(), ids=FRAMING.keys())
async def test_ambiguous_messages_are_refused_and_the_connection_closed(data: bytes) -> None:
    async with site() as running:
        answer = await running.ask(data + SMUGGLED)
        assert status_of(answer) == 400
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"Connection: close\r\n" in answer
        assert b"Server:" not in answer
        assert "/smuggled" not in running.engine.targets
        (facts,) = await running.until_finished(1)
        assert facts.status == 400


@pytest.mark.parametrize("split", [1, 2, 3, 5, 40, 90])
@pytest.mark.parametrize("name", ["TE xchunked", "CL and TE", "chunk size with sign", "bare LF in fields"])
async def test_where_the_bytes_are_cut_does_not_matter(name: str, split: int) -> None:
    async with site() as running:
        client = await running.connect()
        data = FRAMING[name] + SMUGGLED
        for start in range(0, len(data), split):
            client.send(data[start : start + split])
            await asyncio.sleep(0)
        assert status_of(await client.rest()) == 400
        assert "/smuggled" not in running.engine.targets


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get(b"http://b/x"), 200),
        (get(b"http://b"), 200),
        (get(b"//evil/x"), 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (get(b"*"), 400),
        (get(b"https://a/x"), 421),
        (get(b"gopher://x/"), 400),
        (get(b"http://good@evil/"), 400),
        (get(b"http:///x"), 400),
        (get(b"/a#b"), 400),
        (get(b"/a\\b"), 400),
        (get(b"/\xe9"), 400),
        (get(b"/a\x01"), 400),
        (get(b"http://b/x", host=b"Host: a@b\r\n"), 400),
        (b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"BAN / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (get(host=b""), 400),
        (get(host=b"", version=b"1.0"), 400),
        (get(host=b"Host: a\r\nHost: a\r\n"), 400),
        (get(host=b"Host:\r\n"), 400),
        (get(host=b"Host: a@b\r\n"), 400),
        (get(host=b"Host: a/b\r\n"), 400),
        (get(host=b"Host: a?b\r\n"), 400),
        (get(host=b"Host: a#b\r\n"), 400),
        (get(host=b"Host: a,b\r\n"), 400),
        (get(host=b"Host: a b\r\n"), 400),
        (get(host=b"Host: a:0\r\n"), 400),
        (get(host=b"Host: a:99999\r\n"), 400),
        (get(host=b"Host: \xe9\r\n"), 400),
        (get(version=b"2.0"), 505),
        (get(version=b"1.2"), 400),
        (get(host=b"Host: a\r\nExpect: y\r\n"), 417),
        (get(host=b"Host: a\r\nExpect: 100-continue, y\r\n"), 417),
    ],
)
async def test_targets_and_hosts(data: bytes, status: int) -> None:
    async with site() as running:
        client = await running.connect()
        client.send(data)
        assert (await client.response())[0] == status
        if status != 200:
            assert await client.rest() == b""
            assert running.engine.seen == []


async def test_methods_that_are_refused_say_what_is_allowed() -> None:
    async with site() as running:
        assert b"\r\nAllow: GET, HEAD" in await running.ask(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")


FIELDS = b"".join(b"X-%d: y\r\n" % number for number in range(63))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get(b"/" + b"x" * 8189), 200),
        (get(b"/" + b"x" * 8190), 414),
        (get(host=b"Host: a\r\n" + FIELDS), 200),
        (get(host=b"Host: a\r\n" + FIELDS + b"Y: z\r\n"), 431),
        (get(host=b"Host: a\r\nX: " + b"y" * 8191 + b"\r\n"), 200),
        (get(host=b"Host: a\r\nX: " + b"y" * 8192 + b"\r\n"), 431),
        (get(host=b"Host: a\r\n" + b"".join(b"X%d: %b\r\n" % (n, b"y" * 8000) for n in range(4))), 200),
        (get(host=b"Host: a\r\n" + b"".join(b"X%d: %b\r\n" % (n, b"y" * 8190) for n in range(4))), 431),
        (get(host=b"Host: a\r\n" + b"".join(b"X%d: %b\r\n" % (n, b"y" * 8000) for n in range(9)))[:-2], 431),
        (post(b"Content-Length: 10485761"), 413),
        (post(b"Content-Length: 10485761\r\nExpect: 100-continue"), 413),
    ],
)
async def test_limits(data: bytes, status: int) -> None:
    async with site() as running:
        client = await running.connect()
        client.send(data)
        assert (await client.response())[0] == status
        assert len(running.engine.seen) == (status == 200)


async def test_equal_limits_are_told_apart() -> None:
    async with site(max_target=100, max_field=100) as running:
        assert status_of(await running.ask(get(b"/" + b"x" * 200))) == 414
        assert status_of(await running.ask(get(host=b"Host: a\r\nX: " + b"y" * 200 + b"\r\n"))) == 431


async def test_a_declared_content_that_is_too_large_is_refused_while_it_is_sent() -> None:
    async with site(max_body=100_000) as running:
        client = await running.connect()
        client.send(post(b"Content-Length: 3000000", b"x" * 3_000_000))
        assert (await client.response())[0] == 413
        assert running.engine.seen == []


async def test_a_streamed_content_that_becomes_too_large() -> None:
    async with site(max_body=100_000) as running:
        client = await running.connect()
        client.send(post(b"Transfer-Encoding: chunked", b"8000\r\n" + b"x" * 0x8000 + b"\r\n"))
        for _ in range(3):
            client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert (await client.response())[0] == 413
        assert await client.rest() == b""
        assert running.engine.bodies == []


async def test_malformed_content_is_noticed_by_its_reader() -> None:
    async with site() as running:
        client = await running.connect()
        client.send(post(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n"))
        await running.engine.until_seen(1)
        client.send(b"zz\r\n" + SMUGGLED)
        assert (await client.response())[0] == 400
        assert await client.rest() == b""
        assert running.engine.targets == ["/"]


@pytest.mark.parametrize("trailer", [b"X-Forwarded-For: 6.6.6.6", b"Host: evil", b"A: b\r\nCookie: c"])
@pytest.mark.parametrize("split", [1, 30, 1000])
async def test_trailers_do_not_leak_into_the_next_request(trailer: bytes, split: int) -> None:
    data = post(b"Transfer-Encoding: chunked", b"0\r\n" + trailer + b"\r\n\r\n" + SMUGGLED)
    async with site() as running:
        client = await running.connect()
        for start in range(0, len(data), split):
            client.send(data[start : start + split])
            await asyncio.sleep(0)
        answer = await client.rest()
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"Connection: close\r\n" in answer
        assert "/smuggled" not in running.engine.targets


async def test_chunked_content_is_served_and_ends_the_connection() -> None:
    async with site() as running:
        data = post(b"Transfer-Encoding: chunked", b"3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nT: x\r\n\r\n")
        answer = await running.ask(data + SMUGGLED)
        assert answer.endswith(b"Connection: close\r\n\r\nPOST / abcd")
        assert running.engine.targets == ["/"]


@pytest.mark.parametrize("late", [0, 10, 29, 30])
async def test_content_behind_a_hit_is_never_a_request(late: int) -> None:
    hit = ScriptedEngine(hits={"/": lambda request: delivery(request, b"hit")})

    async def unread(request: Request) -> Delivery:
        return delivery(request, b"hit")

    hit.handlers["/"] = unread
    body = SMUGGLED[:30].ljust(30)
    async with site(hit) as running:
        client = await running.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n" + body[: 30 - late])
        assert (await client.response())[2] == b"hit"
        client.send(body[30 - late :] + get(b"/after"))
        assert (await client.response())[2] == b"GET /after "
        assert running.engine.targets == ["/", "/after"]


async def test_too_much_content_behind_a_response_ends_the_connection() -> None:
    async def unread(request: Request) -> Delivery:
        return delivery(request, b"hit")

    async with site(ScriptedEngine(handlers={"/": unread})) as running:
        client = await running.connect()
        client.send(post(b"Content-Length: 3000000", b"x" * 100_000))
        assert (await client.response())[2] == b"hit"
        client.send(b"x" * 2_900_000 + get(b"/after"))
        assert await client.rest() == b""
        assert running.engine.targets == ["/"]


async def test_h2c_is_ignored_and_ends_the_connection() -> None:
    upgrade = b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    async with site() as running:
        answer = await running.ask(get(host=upgrade) + SMUGGLED)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert status_of(answer) == 200
        assert running.engine.targets == ["/"]
        assert running.engine.seen[0].upgrade is None
        assert "HTTP2-Settings" not in running.engine.seen[0].head.fields


async def test_thousands_of_pipelined_requests_wait_their_turn() -> None:
    go = asyncio.Event()

    async def slow(request: Request) -> Delivery:
        await go.wait()
        return delivery(request, b"slow")

    async with site(ScriptedEngine({"/": lambda request: delivery(request, b"x")}, {"/slow": slow})) as running:
        client = await running.connect()
        client.send(get(b"/slow") + get() * 3000)
        await running.engine.until_seen(1)
        go.set()
        for number in range(3001):
            assert (await client.response())[2] == (b"x" if number else b"slow")


# ------------------------------------------------------------------------------ deadlines


@pytest.mark.parametrize("data", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX: y"])
async def test_a_head_has_to_be_complete_in_time(data: bytes) -> None:
    async with site(header_timeout=0.05) as running:
        answer = await running.ask(data)
        assert status_of(answer) == (408 if data else 0)
        assert running.engine.seen == []


async def test_a_head_that_trickles_in_has_no_more_time() -> None:
    async with site(header_timeout=0.05, keepalive_timeout=1000) as running:
        client = await running.connect()
        client.send(get(b"/1") + b"G")
        assert (await client.response())[0] == 200
        trickle = asyncio.create_task(_trickle(client.writer, b"ET /2 HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 10_000))
        assert status_of(await client.rest()) == 408
        trickle.cancel()


async def _trickle(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.002)


async def test_idle_connections_are_closed() -> None:
    async with site(keepalive_timeout=0.05) as running:
        client = await running.connect()
        client.send(get())
        assert (await client.response())[0] == 200
        assert await client.rest() == b""
        assert len(running.finished) == 1


async def test_content_has_to_come_fast_enough() -> None:
    async with site(body_rate_window=0.1, body_min_rate=100_000) as running:
        client = await running.connect()
        client.send(post(b"Content-Length: 1000000"))
        trickle = asyncio.create_task(_trickle(client.writer, b"x" * 10_000))
        assert (await client.response())[0] == 408
        assert await client.rest() == b""
        trickle.cancel()


async def test_content_of_which_the_rest_never_comes_behind_a_response() -> None:
    async def unread(request: Request) -> Delivery:
        return delivery(request, b"hit")

    async with site(ScriptedEngine(handlers={"/": unread})) as running:
        client = await running.connect()
        client.send(post(b"Content-Length: 10", b"x"))
        assert (await client.response())[2] == b"hit"
        client.writer.write_eof()
        assert await client.rest() == b""
        await running.server.until_empty()


@pytest.mark.parametrize("limits", [{"send_idle_timeout": 0.1}, {"send_timeout": 0.1}])
async def test_a_client_has_to_read(limits: dict[str, float]) -> None:
    body = b"x" * 30_000_000
    async with site(ScriptedEngine({"/": lambda request: delivery(request, body)}), **limits) as running:
        client = await running.connect(limit=1024)
        client.send(get())
        (facts,) = await running.until_finished(1)
        assert facts.aborted == Aborted.SLOW
        assert facts.bytes_sent < len(body)
        await running.server.until_empty()


async def test_slow_readers_cost_no_more_than_a_slice_each() -> None:
    body = b"x" * 50_000_000
    async with site(ScriptedEngine({"/": lambda request: delivery(request, body)})) as running:
        for _ in range(20):
            client = await running.connect(limit=1024)
            client.send(get())
        while running.server.buffered <= 20 * 32 * 1024:  # noqa: ASYNC110  # the kernel tells nobody what it took
            await asyncio.sleep(0.001)
        assert running.server.buffered <= 20 * 100 * 1024


# --------------------------------------------------------------------- clients that leave


async def test_a_client_that_leaves_closes_its_stream_and_nothing_else() -> None:
    closed, started = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            started.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def handler(request: Request) -> Delivery:
        return delivery(request, stream=endless())

    async with site(ScriptedEngine(handlers={"/": handler})) as running:
        client = await running.connect()
        client.send(get())
        await started.wait()
        client.writer.close()
        await closed.wait()
        (facts,) = await running.until_finished(1)
        assert (facts.aborted, facts.status, facts.bytes_sent) == (Aborted.CLIENT, 200, 5)


async def test_a_client_that_leaves_does_not_cancel_the_engine() -> None:
    arrived, go, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Stream:
        def __aiter__(self) -> Stream:
            return self

        async def __anext__(self) -> bytes:
            raise AssertionError("nobody is there to read")

        async def aclose(self) -> None:
            closed.set()

    async def handler(request: Request) -> Delivery:
        arrived.set()
        await go.wait()
        return delivery(request, stream=Stream())

    async with site(ScriptedEngine(handlers={"/": handler})) as running:
        client = await running.connect()
        client.send(get())
        await arrived.wait()
        client.writer.transport.abort()
        await running.server.until_empty()
        go.set()
        await closed.wait()
        (facts,) = await running.until_finished(1)
        assert (facts.aborted, facts.status) == (Aborted.CLIENT, 0)


async def test_a_client_that_leaves_while_it_sends() -> None:
    async with site() as running:
        client = await running.connect()
        client.send(post(b"Content-Length: 10", b"x"))
        await running.engine.until_seen(1)
        client.writer.transport.abort()
        assert (await running.until_finished(1))[0].aborted == Aborted.CLIENT
        assert running.engine.bodies == []


# --------------------------------------------------------------------------------- noise


WORDS = [
    b"GET / HTTP/1.1\r\n",
    b"POST /x HTTP/1.0\r\n",
    b"Host: a\r\n",
    b"\r\n",
    b"Content-Length: 3\r\n",
    b"abc",
    b"\x00",
]
WORDS += [
    b"Transfer-Encoding: chunked\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
]
WORDS += [b"Expect: 100-continue\r\n", b": ", b"\n", b"\r", b" ", b"Connection: close\r\n", b"\xff\xfe", b"/" * 9000]


async def _survives(running: Site, data: bytes) -> None:
    client = await running.connect()
    client.send(data)
    client.writer.write_eof()
    try:
        answer = await client.rest()
    except ConnectionResetError:
        answer = b""
    for part in answer.split(b"HTTP/1.1 ")[1:]:
        assert part[:1] in b"124", part
    await client.close()
    running.clients.clear()


def test_noise_is_refused_without_a_sound(caplog: pytest.LogCaptureFixture) -> None:
    async def batch(inputs: list[bytes]) -> None:
        async with site(header_timeout=5.0) as running:
            for data in inputs:
                await _survives(running, data)
            assert status_of(await running.ask(get(host=b"Host: a\r\nConnection: close\r\n"))) == 200

    noise = st.binary(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=12).map(b"".join)

    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(noise, min_size=20, max_size=20))
    def run(inputs: list[bytes]) -> None:
        asyncio.run(batch(inputs))

    run()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG or record.exc_info] == []
