"""Content on its way to an origin: framed as declared, held back, broken off, overtaken by the answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edgecache.errors import ClientError, OriginTimeout
from edgecache.origin.base import RequestBody

from .scripted import OK, Peer, answering, body_of, content, fetch, request, scripted, upstreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize(
    ("body", "line", "wire"),
    [
        (content(b"ab", b"", b"cde", length=5), b"Content-Length: 5", b"abcde"),
        (content(length=0), b"Content-Length: 0", b""),
        (
            content(b"ab", b"", b"c" * 17),
            b"Transfer-Encoding: chunked",
            b"2\r\nab\r\n11\r\n" + b"c" * 17 + b"\r\n0\r\n\r\n",
        ),
        (content(), b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
    ],
    ids=["length", "length 0", "chunked", "chunked, empty"],
)
async def test_content_is_framed_as_declared(body: RequestBody, line: bytes, wire: bytes) -> None:
    async def script(peer: Peer) -> None:
        assert line in await peer.request()
        received.append(await peer.reader.readexactly(len(wire)))
        peer.write(OK)
        await peer.request()
        peer.write(OK)
        await peer.gone()

    received: list[bytes] = []
    async with scripted(script) as origin, upstreams(origin) as client:
        assert await body_of(await client.send(request("POST"), body)) == b"good"
        assert received == [wire]
        assert await fetch(client) == b"good"
        assert len(origin.peers) == 1, "the connection is used again"


async def endless(pieces: list[int]) -> AsyncIterator[bytes]:
    while True:
        pieces.append(65536)
        yield bytes(65536)


async def test_an_early_answer_stops_the_upload_and_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(OK)
        await peer.gone()

    async with scripted(script) as origin, upstreams(origin) as client:
        response = await client.send(request("POST"), RequestBody(endless([])))
        assert await body_of(response) == b"good"
        assert await fetch(client) == b"good"
        assert len(origin.peers) == 2


async def test_an_answer_is_seen_while_the_client_sends_nothing() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        assert await body_of(await client.send(request("POST"), RequestBody(silent(), 5))) == b"good"
        assert await fetch(client) == b"good"
        assert len(origin.peers) == 2, "the origin still waits for the rest of the first request"


async def test_an_origin_that_does_not_read_slows_the_upload_down_and_then_fails() -> None:
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    pieces: list[int] = []
    async with scripted(script) as origin, upstreams(origin, between_bytes_timeout=0.05) as client:
        with pytest.raises(OriginTimeout):
            await client.send(request("POST"), RequestBody(endless(pieces)))
    assert sum(pieces) < 32 * 1024 * 1024


@pytest.mark.parametrize("body", [content(b"abc", length=2), content(b"a", length=2)], ids=["more", "less"])
async def test_content_that_belies_its_length_is_never_a_request(body: RequestBody) -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        with pytest.raises(ClientError):
            await client.send(request("POST"), body)
        assert await fetch(client) == b"good"


async def test_an_error_of_the_client_ends_the_request_as_it_is() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise ClientError(400, "the client left")

    async def script(peer: Peer) -> None:
        await peer.request()
        seen.set_result(await peer.reader.read())

    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with scripted(script) as origin, upstreams(origin) as client:
        with pytest.raises(ClientError, match="left"):
            await client.send(request("POST"), RequestBody(broken()))
        assert not (await seen).endswith(b"0\r\n\r\n"), "a broken upload never looks complete"
