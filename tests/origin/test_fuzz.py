"""Whatever an origin sends, the caller sees a response or an ``OriginError``, and no slot leaks."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from edgecache.errors import OriginError

from .scripted import Peer, fetch, scripted, upstreams

FRAGMENTS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 103 x\r\n\r\n",
    b"HTTP/1.1 101 x\r\n",
    b"HTTP/1.1 304 x\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"\n",
    b"\0",
    b" ",
]

IMPATIENT = {"first_byte_timeout": 0.01, "between_bytes_timeout": 0.01}

ANSWERS = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=8).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=3), st.booleans())
def test_any_bytes(answers: list[bytes], reset: bool) -> None:
    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            peer.write(answer)
        if reset:
            peer.reset()

    async def story() -> None:
        async with scripted(script) as origin, upstreams(origin, **IMPATIENT) as client:
            for _ in answers:
                with contextlib.suppress(OriginError):
                    await fetch(client)

    asyncio.run(story())
