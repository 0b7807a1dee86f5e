"""One exchange with one origin: heads, bodies, interim responses, back-pressure, upgrades, time."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from edgecache.errors import OriginError, OriginTimeout
from edgecache.origin.base import Framing

from .scripted import OK, Peer, answering, body_of, fetch, once, request, scripted, ticks, upstreams
from .test_framing import AMBIGUOUS, MALFORMED_CHUNKS
from .test_wire import MALFORMED_HEADS

if TYPE_CHECKING:
    from edgecache.http.message import ResponseHead

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\nT: x\r\n\r\n"


# -------------------------------------------------------------------------------------------------- answers


async def test_head_and_body_arrive_as_sent() -> None:
    answer = (
        b"HTTP/1.1 200 Whatever\r\nX-Latin: \xe9t\xe9\r\nSet-Cookie: a=1\r\nConnection: keep-alive, X-Hop\r\n"
        b"X-Hop: 1\r\nset-cookie: b=2\r\nContent-Length: 4\r\nETag: \xff\r\n\r\ngood"
    )
    async with scripted(answering(answer)) as origin, upstreams(origin) as client:
        response = await client.send(request("GET", "/p?q=\xe9", ("X-Req", "\xe9t\xe9")))
        assert response.head.status == 200
        assert list(response.head.fields.items()) == [
            ("X-Latin", "\xe9t\xe9"),
            ("Set-Cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("Content-Length", "4"),
            ("ETag", "\xff"),
        ]
        assert (response.framing, response.content_length, response.tunnel) == (Framing.LENGTH, 4, None)
        assert await body_of(response) == b"good"
        assert origin.requests == [b"GET /p?q=\xe9 HTTP/1.1\r\nHost: site.example\r\nX-Req: \xe9t\xe9\r\n\r\n"]


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_the_body_is_the_same_wherever_reads_split_it(answer: bytes) -> None:
    async def slowly(peer: Peer) -> None:
        for split in range(1, len(answer)):
            await peer.request()
            peer.write(answer[:split])
            await ticks(3)
            peer.write(answer[split:])
        await peer.gone()

    async with scripted(slowly) as origin, upstreams(origin) as client:
        for _ in range(1, len(answer)):
            assert await fetch(client) == b"helloworld"
        assert len(origin.peers) == 1


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_a_body_that_came_with_its_head_is_had_at_once(answer: bytes) -> None:
    async with scripted(answering(answer)) as origin, upstreams(origin) as client:
        for _ in range(2):
            response = await client.send(request())
            assert response.arrived() == b"helloworld"
            response.close()
        assert len(origin.peers) == 1


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_a_body_that_is_still_coming_is_not(answer: bytes) -> None:
    rest = asyncio.Event()

    async def halting(peer: Peer) -> None:
        await peer.request()
        peer.write(answer[:-1])
        await rest.wait()
        peer.write(answer[-1:])
        await peer.gone()

    async with scripted(halting) as origin, upstreams(origin) as client:
        response = await client.send(request())
        assert response.arrived() is None
        rest.set()
        assert await body_of(response) == b"helloworld"


async def test_a_body_that_ends_with_its_connection_has_never_arrived() -> None:
    async with scripted(once(b"HTTP/1.1 200 OK\r\n\r\nhelloworld")) as origin, upstreams(origin) as client:
        response = await client.send(request())
        assert await body_of(response) == b"helloworld"
        assert response.arrived() is None


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_no_truncated_answer_looks_complete(answer: bytes, ending: str) -> None:
    offsets = iter(range(len(answer)))

    async def truncate(peer: Peer) -> None:
        await peer.request()
        peer.write(answer[: next(offsets)])
        if ending == "rst":
            await ticks(2)
            peer.reset()

    async with scripted(truncate) as origin, upstreams(origin) as client:
        for _ in range(len(answer)):
            with pytest.raises(OriginError):
                await fetch(client)


async def test_the_bytes_before_a_break_are_delivered_before_the_error() -> None:
    async with scripted(once(LENGTH[:-3])) as origin, upstreams(origin) as client:
        chunks = (await client.send(request())).chunks()
        assert await anext(chunks) == b"hellowo"
        with pytest.raises(OriginError):
            await anext(chunks)


async def test_a_body_that_ends_with_the_connection_is_reported_as_such() -> None:
    async with scripted(once(b"HTTP/1.1 200 OK\r\n\r\nhello")) as origin, upstreams(origin) as client:
        response = await client.send(request())
        assert (response.framing, response.content_length) == (Framing.CLOSE, None)
        assert await body_of(response) == b"hello"


async def test_a_reset_is_not_the_end_of_a_body() -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await asked.wait()
        peer.reset()

    asked = asyncio.Event()
    async with scripted(reset) as origin, upstreams(origin) as client:
        chunks = (await client.send(request())).chunks()
        assert await anext(chunks) == b"hello"
        asked.set()
        with pytest.raises(OriginError):
            await anext(chunks)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4000\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(method: str, answer: bytes) -> None:
    async with scripted(answering(answer)) as origin, upstreams(origin) as client:
        for _ in range(2):
            response = await client.send(request(method))
            assert (response.framing, response.content_length) == (Framing.NONE, 0)
            assert ("4000" in response.head.fields.values()) == (b"4000" in answer)
            assert await body_of(response) == b""
        assert len(origin.peers) == 1


@pytest.mark.parametrize(
    ("status", "fields"), [(206, b"Content-Range: bytes 0-3/9\r\n"), (302, b"Location: /x\r\n"), (599, b""), (999, b"")]
)
async def test_any_final_status_is_an_answer(status: int, fields: bytes) -> None:
    answer = b"HTTP/1.1 %d x\r\n%bContent-Length: 4\r\n\r\nbody" % (status, fields)
    async with scripted(answering(answer)) as origin, upstreams(origin) as client:
        response = await client.send(request())
        assert response.head.status == status
        assert await body_of(response) == b"body"
        assert len(origin.requests) == 1, "redirects are not followed"


async def test_codings_of_the_content_are_not_our_business() -> None:
    packed = gzip.compress(b"a" * 10_000_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    async with scripted(answering(answer)) as origin, upstreams(origin) as client:
        response = await client.send(request())
        assert response.head.fields["Content-Encoding"] == "gzip"
        assert await body_of(response) == packed


HOSTILE = {
    **MALFORMED_HEADS,
    **{f"framing: {name}": b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" for name, fields in AMBIGUOUS.items()},
    **{f"chunk: {name}": CHUNKED[:47] + data for name, data in MALFORMED_CHUNKS.items()},
    "chunked on HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0"),
    "switch that nobody asked for": b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an interim response with a body": b"HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\nhello" + OK,
    "a flood of interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK,
}

UNFINISHED = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 200",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "only an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a chunk as large as can be written": CHUNKED[:47] + b"FFFFFFFFFFFFFFED\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_answers_are_errors_and_cost_the_connection(answer: bytes) -> None:
    async def hostile(peer: Peer) -> None:
        await peer.request()
        peer.write(answer)
        await peer.gone()  # the other side closes, by itself

    async with scripted(hostile) as origin, upstreams(origin) as client:
        with pytest.raises(OriginError) as caught:
            await fetch(client)
        assert caught.value.status == 502
        assert len(origin.peers) == len(origin.requests) == 1


@pytest.mark.parametrize("answer", UNFINISHED.values(), ids=UNFINISHED)
async def test_unfinished_answers_are_errors(answer: bytes) -> None:
    async with scripted(once(answer)) as origin, upstreams(origin) as client:
        with pytest.raises(OriginError) as caught:
            await fetch(client)
        assert caught.value.status == 502
        assert len(origin.requests) == 1


# -------------------------------------------------------------------------------------------------- interim


async def test_interim_answers_are_passed_on_in_order() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n" * 15 + b"HTTP/1.1 100 C\r\n\r\n"
    heads: list[ResponseHead] = []
    async with scripted(answering(interim + OK)) as origin, upstreams(origin) as client:
        response = await client.send(request(), on_interim=heads.append)
        assert [head.status for head in heads] == [103] * 15 + [100]
        assert list(heads[0].fields.items()) == [("Link", "</a>")]
        assert await body_of(response) == b"good"
        assert await fetch(client) == b"good"
        assert len(origin.peers) == 1


# ----------------------------------------------------------------------------------------------- back-pressure


async def test_a_reader_that_does_not_read_holds_the_origin_back() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * piece))
        for _ in range(64):
            peer.write(bytes(piece))
            await peer.writer.drain()
            written.append(piece)
        await peer.request()
        peer.write(OK)

    piece = 1024 * 1024
    written: list[int] = []
    async with scripted(script) as origin, upstreams(origin) as client:
        response = await client.send(request())
        before = -1
        while len(written) > before:
            before = len(written)
            await ticks(200)
        assert len(written) < 32
        assert len(await body_of(response)) == 64 * piece
        assert await fetch(client) == b"good"
        assert len(origin.peers) == 1


async def test_a_body_that_nobody_has_read_yet_does_not_hold_its_connection() -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 307200\r\n\r\n" + bytes(307200)
    async with scripted(answering(large, OK)) as origin, upstreams(origin) as client:
        response = await client.send(request())
        await ticks(100)
        assert client.servers[0].in_flight == 0
        assert await fetch(client) == b"good"
        assert len(origin.peers) == 1
        assert len(await body_of(response)) == 307200


# ---------------------------------------------------------------------------------------------------- upgrade

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


async def test_an_upgrade_becomes_a_tunnel() -> None:
    async def echo(peer: Peer) -> None:
        head = await peer.request()
        assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in head
        peer.write(SWITCH + b"early")
        while data := await peer.reader.read(65536):
            peer.write(data)
            await peer.writer.drain()

    async with scripted(echo) as origin, upstreams(origin) as client:
        response = await client.send(request("GET", "/ws", ("Sec-WebSocket-Key", "k")), upgrade="websocket")
        assert response.head.status == 101
        assert list(response.head.fields.items()) == [("Sec-WebSocket-Accept", "x")]
        tunnel = response.tunnel
        assert tunnel is not None
        assert await tunnel.read() == b"early"
        await tunnel.write(b"ping")
        assert await tunnel.read() == b"ping"

        sent = bytes(range(256)) * 32768  # more than all buffers on the way take

        async def pump() -> None:
            for start in range(0, len(sent), 65536):
                await tunnel.write(sent[start : start + 65536])

        pumping = asyncio.create_task(pump())
        received = bytearray()
        while len(received) < len(sent):
            received += await tunnel.read()
        await pumping
        assert received == sent
        tunnel.close()
        assert await tunnel.read() == b""
        with pytest.raises(OriginError):
            await tunnel.write(b"x")


async def test_the_origin_ends_a_tunnel() -> None:
    async with scripted(once(SWITCH + b"bye")) as origin, upstreams(origin) as client:
        tunnel = (await client.send(request(), upgrade="websocket")).tunnel
        assert tunnel is not None
        assert await tunnel.read() == b"bye"
        assert await tunnel.read() == b""
        tunnel.close()


async def test_a_refused_upgrade_is_an_answer() -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        response = await client.send(request(), upgrade="websocket")
        assert response.tunnel is None
        assert await body_of(response) == b"good"


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c", b""])
async def test_a_switch_to_something_else_is_an_error(protocol: bytes) -> None:
    async with scripted(once(SWITCH.replace(b"WebSocket", protocol, 1))) as origin, upstreams(origin) as client:
        with pytest.raises(OriginError):
            await client.send(request(), upgrade="websocket")


# ------------------------------------------------------------------------------------------------------- time


async def silence(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def half_a_head(peer: Peer) -> None:
    await peer.request()
    peer.write(b"HTTP/1.1 200 OK\r\nX: y\r\n")
    await peer.gone()


async def interim_only(peer: Peer) -> None:
    await peer.request()
    peer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await peer.gone()


async def half_a_body(peer: Peer) -> None:
    await peer.request()
    peer.write(LENGTH[:-3])
    await peer.gone()


@pytest.mark.parametrize("script", [silence, half_a_head, interim_only, half_a_body])
async def test_slow_origins_are_gateway_timeouts(script: object) -> None:
    async with (
        scripted(script) as origin,  # type: ignore[arg-type]
        upstreams(origin, first_byte_timeout=0.05, between_bytes_timeout=0.05) as client,
    ):
        with pytest.raises(OriginTimeout) as caught:
            await fetch(client)
        assert caught.value.status == 504
        assert len(origin.requests) <= 1, "a timeout is not retried"
