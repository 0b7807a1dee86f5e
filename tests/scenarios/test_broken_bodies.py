"""A body that breaks off looks complete to nobody and is stored nowhere, wherever it breaks (RFC 9112 §8).

The offsets are random; each run prints its seed, and ``EDGECACHE_SEED`` repeats one. ``EDGECACHE_LONG=1`` tries more.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import random
from functools import partial
from itertools import pairwise

import pytest

from tests.origin.scripted import EVIL, OK, Peer, scripted
from tests.scenarios.composed import edge_before, outcome, requested, settled
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import Hold, Received, Reply, ScriptedOrigin

FRESH = {"Cache-Control": "max-age=60"}
LONG = os.environ.get("EDGECACHE_LONG") == "1"
OFFSETS = 500 if LONG else 50  # with each of two framings
CLIENTS = 3


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("EDGECACHE_SEED", random.SystemRandom().getrandbits(32)))
    print(f"EDGECACHE_SEED={seed}")
    return random.Random(seed)


def broken(chance: random.Random, *, chunked: bool, hold: Hold) -> Reply:
    """A storable answer, sometimes compressed, that ends before its end."""
    body = chance.randbytes(chance.choice([1, 10, 1000, 70_000, 300_000]))
    fields = dict(FRESH)
    if chance.random() < 0.3:
        body = gzip.compress(body)
        fields["Content-Encoding"] = "gzip"
    if not chunked:
        return Reply(200, fields, body, hold=hold, abort_at=chance.randrange(len(body)))
    cuts = sorted({0, len(body), *(chance.randrange(len(body)) for _ in range(chance.randrange(5)))})
    pieces = tuple(body[a:b] for a, b in pairwise(cuts))
    # At the end of the body the last chunk is still missing.
    return Reply(200, fields, pieces, chunked=True, hold=hold, abort_at=chance.randrange(len(body) + 1))


def answering(reply: Reply, request: Received) -> Reply:
    return reply


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.timeout(600)
async def test_wherever_it_breaks_off(
    edge: RunningEdge, origin: ScriptedOrigin, chance: random.Random, chunked: bool
) -> None:
    for number in range(1, OFFSETS + 1):
        hold = Hold()
        reply = broken(chance, chunked=chunked, hold=hold)
        origin.script = partial(answering, reply)
        clients = [asyncio.create_task(edge.fetch(f"/{number}")) for _ in range(CLIENTS)]
        await requested(edge, number * CLIENTS)
        hold.release()
        sent = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
        for client in clients:
            response = await outcome(client)
            if response is not None:
                assert not response.complete, f"complete at {reply.abort_at} of {len(sent)}"
                assert sent.startswith(response.body)
        await settled(edge)
    assert edge.parts.memory.statistics().responses == 0
    assert edge.parts.counters.stored == 0


async def test_the_next_request_after_a_broken_body_gets_a_whole_one(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, FRESH, b"abcdef", abort_at=3 if request.number == 1 else None)
    assert not (await edge.fetch("/a")).complete
    assert (await edge.fetch("/a")).body == b"abcdef"
    assert (await edge.fetch("/a")).cache_status.startswith("edgecache; hit")


@pytest.mark.parametrize("control", ["max-age=60", "no-store"])
async def test_a_body_that_is_reset_is_incomplete_however_it_is_framed(control: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nCache-Control: {control}\r\n".encode()
    framings = {
        "/length": b"Content-Length: 9\r\n\r\nearly",
        "/chunked": b"Transfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n",
        "/close": b"\r\nearly",
    }

    async def script(peer: Peer) -> None:
        target = (await peer.request()).split(b" ")[1].decode()
        peer.write(head + framings[target])
        await seen.wait()
        peer.reset()

    async with scripted(script) as origin, edge_before(origin.url) as edge:
        for target in framings:
            seen = Hold()
            client = await edge.download(target)
            assert await client.read(5) == b"early"
            seen.release()
            assert not (await client.rest()).complete, target
        await settled(edge)
        assert edge.parts.memory.statistics().responses == 0


@pytest.mark.parametrize("body", [b"", b"all there is", b"x" * 300_000], ids=len)
async def test_a_body_that_ends_with_its_connection_is_delivered_and_never_stored(
    edge: RunningEdge, origin: ScriptedOrigin, body: bytes
) -> None:
    origin.script = lambda request: Reply(200, FRESH, body, close_delimited=True)
    for _ in range(2):
        response = await edge.fetch("/a")
        assert (response.body, response.complete) == (body, True)
        assert "detail=close-delimited" in response.cache_status
    assert origin.asked() == 2
    assert edge.parts.memory.statistics().responses == 0


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"\r\n\r\n", b"\r\nCache-Control: max-age=60\r\n\r\n") + b"evil",
        OK.replace(b"\r\n\r\n", b"\r\nCache-Control: max-age=60\r\n\r\n") + EVIL,
        OK + EVIL,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n4\r\ngood\r\n0\r\n\r\n"
        + EVIL,
        b"HTTP/1.1 204 No Content\r\n\r\nevil",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n" + EVIL,
    ],
    ids=["bytes", "response", "unstorable", "chunked", "204", "304"],
)
@pytest.mark.parametrize("together", [True, False], ids=["together", "later"])
async def test_bytes_after_the_end_reach_nobody(answer: bytes, together: bool) -> None:
    end = answer.find(b"good") + 4 if b"good" in answer else answer.find(b"\r\n\r\n") + 4
    if b"chunked" in answer:
        end = answer.find(b"\r\n0\r\n\r\n") + 7

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(answer if together else answer[:end])
        if not together:
            await delivered.wait()
            peer.write(answer[end:])
        await peer.gone()

    async with scripted(script) as origin, edge_before(origin.url) as edge:
        for number in range(50 if LONG else 5):
            delivered = Hold()
            for target in (f"/{number}", f"/{number}", f"/{number}/other"):
                response = await edge.fetch(target)
                assert b"evil" not in response.body
                assert response.body in (b"good", b"") or response.status == 502
                delivered.release()


async def test_a_response_larger_than_declared_is_stored_as_declared(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    def script(request: Received) -> Reply:
        return Reply(200, (*FRESH.items(), ("Content-Length", "4")), b"good evil", close_delimited=True)

    origin.script = script
    assert (await edge.fetch("/a")).body == b"good"
    assert (await edge.fetch("/a")).body == b"good"
