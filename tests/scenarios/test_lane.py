"""The hit lane answers what the full lane answers, to the byte: two edges, one with it and one without, live alike.

A life is a sequence of steps drawn from a seed: conversations on connections that stay open, time that passes, purges
and activations. Each step happens to both edges, before the same origin and by the same clock, and what comes back
over the wire has to be the same. Both ask an origin whose answers depend on nothing but the request and that clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from edgecache.http.fields import format_http_date
from edgecache.http.glob import Glob, Wildcard
from edgecache.purging.selector import Kind, Selector
from edgecache.semantics.policy import QueryKey
from edgecache.semantics.rules import Match, Rule
from tests.scenarios.composed import edge_before, settled
from tests.scenarios.rig import FakeClock, Received, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge

LIVES = 400 if os.environ.get("EDGECACHE_LONG") else 24
STEPS = 400

RULES = (
    Rule(name="by cookie", match=Match(paths=(Glob("/shop/**"),)), settings={"key_cookies": ("country",)}),
    Rule(name="by field", match=Match(paths=(Glob("/field/**"),)), settings={"key_fields": ("x-device",)}),
    Rule(name="pages", match=Match(paths=(Glob("/page/**"),)), settings={"by_release": True, "browser_ttl": 5.0}),
    Rule(
        name="apart",
        match=Match(request_fields=(("X-Preview", Wildcard("1")),)),
        settings={"passes": True},
    ),
    Rule(name="marketing", settings={"query": QueryKey(drop=("utm_*",))}),
)

TARGETS = (
    *("/plain", "/plain?utm_source=x", "/page/a", "/vary", "/tagged", "/shop/a", "/plain?a=1", "/language"),
    *("/grace", "/short", "/nothing", "/large", "/private", "/field/a", "/other", "/gone", '/%7e"q', "/no-date"),
)
SECTIONS = (
    "Host: example.com\r\n",
    "Host: EXAMPLE.com:80\r\nUser-Agent: a\r\n",
    "host:\texample.com \r\nAccept-Encoding: gzip, br\r\nCookie: country=de; s=1\r\n",
    "Host: example.com\r\nAccept-Encoding: br,gzip\r\nCookie: country=fr\r\nX-Device: phone\r\n",
    "Host: example.com\r\nAccept-Language: de\r\nX-Preview: 1\r\n",
    "Host: example.com\r\nAccept-Language: de, en;q=0.5\r\nConnection: keep-alive\r\n",
    "Host: example.com\r\nAccept-Encoding: gzip;q=0.5, br\r\n",
    "Host: example.com\r\nAccept-Encoding: identity\r\nUser-Agent: b\r\n",
    "Host: example.org\r\nReferer: http://example.org/\r\n",
    "Host: example.com\r\nCache-Control: max-age=3\r\n",
    "Host: example.com\r\nPragma: no-cache\r\n",
    'Host: example.com\r\nIf-None-Match: "v1"\r\n',
    'Host: example.com\r\nIf-None-Match: W/"v1", "x"\r\n',
    'Host: example.com\r\nIf-None-Match: "other"\r\n',
    "Host: example.com\r\nIf-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT\r\n",
    "Host: example.com\r\nRange: bytes=2-5\r\n",
    "Host: example.com\r\nRange: bytes=0-1,4-5\r\n",
    "Host: example.com\r\nRange: bytes=900-\r\n",
    'Host: example.com\r\nRange: bytes=2-5\r\nIf-Range: "v1"\r\n',
    "Host: example.com\r\nX-Forwarded-Proto: https\r\n",
    "Host: example.com\r\nX-Debug: 1\r\n",
    "Host: example.com\r\nCookie: a=1\r\nCookie: country=de\r\n",
    "Host: example.com\r\nContent-Length: 0\r\n",
    "Host: example.com\r\nContent-Length: 3\r\n",
    "Host: example.com\r\nTE: trailers\r\nUpgrade-Insecure-Requests: 1\r\n",
)
BROKEN = (
    "User-Agent: no host\r\n",
    "Host: example.com\r\nHost: example.com\r\n",
    "Host: example.com\r\nBad Name: 1\r\n",
    "Host: example.com\r\nX: a\x01b\r\n",
    "Host: exa mple.com\r\n",
    "Host: example.com\r\n folded\r\n",
    "Host: example.com\r\nConnection: cookie\r\n",
    "Host: example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "Host: example.com\r\nExpect: 200-ok\r\n",
)


class Site:
    """Answers by the target; what changes does so every 40 seconds."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def __call__(self, request: Received) -> Reply:
        path = request.target.partition("?")[0]
        version = int(self._clock.now) // 40 % 3
        fields = {
            "Date": format_http_date(self._clock.now),
            "Cache-Control": "max-age=30",
            "ETag": f'"v{version}"',
            "Last-Modified": "Fri, 15 Jan 2027 07:00:00 GMT",
        }
        body = f"{path} {version} {request.fields.get('cookie')}".encode()
        match path:
            case "/tagged":
                fields["Surrogate-Key"] = "red blue"
            case "/vary":
                fields["Vary"] = "Accept-Encoding, User-Agent"
                body += f"{request.fields.get('accept-encoding')} {request.fields.get('user-agent')}".encode()
            case "/language":
                fields |= {"Vary": "Accept-Language", "Content-Language": "de"}
                body += f"{request.fields.get('accept-language')}".encode()
            case "/private":
                fields["Cache-Control"] = "private"
            case "/grace":
                fields["Cache-Control"] = "max-age=3, stale-while-revalidate=10"
            case "/short":
                fields["Cache-Control"] = "max-age=1"
            case "/large":
                body *= 9_000
            case "/no-date":
                fields = {"Cache-Control": "max-age=20"}
            case "/nothing" | "/gone":
                return Reply(204 if path == "/nothing" else 404, fields)
        return Reply(200, fields, body)


_OF_OURS = re.compile(rb"Date: [^\r]* 2026 [^\r]*\r\n")
_BOUNDARY = re.compile(rb"[0-9a-f]{32}")


def comparable(answer: bytes) -> bytes:
    """Leave out what is different each time: boundaries, and the date of what has not gone through the engine."""
    return _OF_OURS.sub(b"", _BOUNDARY.sub(b"-", answer))


@dataclass
class Visitor:
    """A connection to one edge that is opened again when it was closed."""

    port: int
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None)

    async def says(self, pieces: list[bytes], methods: list[str]) -> bytes:
        """Send pieces; return the answers, as many as there are methods, or up to the end of the connection."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        answers = b""
        with contextlib.suppress(ConnectionError):  # refused before all was said
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                for _ in range(3):
                    await asyncio.sleep(0)
        try:
            for method in methods:
                answers += await _answer(reader, method)
        except (asyncio.IncompleteReadError, ConnectionError) as end:
            answers += getattr(end, "partial", b"") + b" END"
        if answers.endswith(b" END") or b"\r\nConnection: close\r\n" in answers:
            await self.leaves()
        return answers

    async def leaves(self) -> None:
        streams, self.streams = self.streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(ConnectionError):
                await streams[1].wait_closed()


async def _answer(reader: asyncio.StreamReader, method: str) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if method == "HEAD" or head[9:12] in (b"204", b"304"):
        return head
    if b"\r\nTransfer-Encoding: chunked" in head:
        body = b""
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += await reader.readexactly(1)
        return head + body
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return head + await (reader.readexactly(int(length[1])) if length else reader.read())


@contextlib.asynccontextmanager
async def both(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[tuple[RunningEdge, RunningEdge]]:
    """Run an edge with the lane, and one without."""
    origin.script = Site(clock)
    async with (
        edge_before(origin.url, clock=clock, rules=RULES, luck=lambda: 0.0) as with_lane,
        edge_before(origin.url, clock=clock, rules=RULES, luck=lambda: 0.0, server={"lane": False}) as without,
    ):
        yield with_lane, without


def request(dice: random.Random) -> tuple[str, bytes]:
    """Draw a request, mostly one that is drawn often."""
    method = dice.choices(("GET", "HEAD", "OPTIONS", "POST"), (90, 6, 2, 2))[0]
    common = min(int(dice.expovariate(0.6)), len(TARGETS) - 1)
    target = TARGETS[common] if dice.random() < 0.7 else dice.choice(TARGETS)
    section = SECTIONS[min(int(dice.expovariate(0.5)), len(SECTIONS) - 1)]
    if dice.random() < 0.2:
        section = dice.choice(SECTIONS)
    if dice.random() < 0.4:  # never seen before, and of no importance
        name = dice.choices(("X-Request-Id", "x-request-id", "Accept-Language"), (80, 10, 10))[0]
        end = dice.choices(("", "\t\xe9 ", ": b", "\x7f", "\x00"), (94, 2, 2, 1, 1))[0]
        section += f"{name}: {dice.randrange(10**9)}{end}\r\n"
    if dice.random() < 0.03:
        section = dice.choice(BROKEN)
    if method == "POST" and "Content-Length" not in section:
        section += "Content-Length: 3\r\n"
    content = "\r\nabc" if "Content-Length: 3\r\n" in section else "\r\n"
    version = "1.0" if dice.random() < 0.02 else "1.1"
    return method, f"{method} {target} HTTP/{version}\r\n{section}{content}".encode("latin-1")


def conversation(dice: random.Random) -> tuple[list[bytes], list[str]]:
    """Draw what is sent in one go: a request or several behind one another, in one piece or in as many as it happens.

    Some are cut where a head ends, so that a piece looks like a request of its own.
    """
    drawn = [request(dice) for _ in range(dice.choices((1, 2, 5), (85, 10, 5))[0])]
    data = b"".join(bytes_ for _, bytes_ in drawn)
    cuts = sorted(dice.sample(range(1, len(data)), dice.choices((0, 1, 3), (85, 10, 5))[0]))
    if dice.random() < 0.5:
        cuts = [match.end() for match in re.finditer(b"\r\n\r\n(?=.)", data, re.DOTALL)]
    pieces = [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return pieces, [method for method, _ in drawn]


async def happens(dice: random.Random, edges: tuple[RunningEdge, RunningEdge], clock: FakeClock) -> None:
    """Let something happen to both edges that is no request."""
    match dice.randrange(4):
        case 0 | 1:
            clock.advance(dice.choice((0.3, 1.0, 2.5, 7.0, 31.0)))
        case 2:
            selectors = (
                Selector(Kind.TAG, "red"),
                Selector(Kind.TAG, "nobody's"),
                Selector(Kind.URL, "http://example.com/plain"),
                Selector(Kind.PREFIX, "/shop/", soft=True),
                Selector(Kind.ALL, "", soft=True),
            )
            selector = dice.choice(selectors)
            for edge in edges:
                await edge.parts.ledger.purge([selector])
        case 3:
            release, held = dice.choice(("v1", "v2")), dice.random() < 0.3
            for edge in edges:
                await edge.parts.ledger.activate(release, held=held)


@pytest.mark.parametrize("seed", range(LIVES))
async def test_both_lanes_give_the_same_answers(seed: int, origin: ScriptedOrigin, clock: FakeClock) -> None:
    dice = random.Random(seed)
    async with both(origin, clock) as edges:
        visitors = [tuple(Visitor(edge.port) for edge in edges) for _ in range(4)]
        for step in range(STEPS):
            if dice.random() < 0.08:
                await happens(dice, edges, clock)
                continue
            pieces, methods = conversation(dice)
            answers = [comparable(await one.says(pieces, methods)) for one in dice.choice(visitors)]
            for edge in edges:
                await settled(edge)
            assert answers[0] == answers[1], (step, pieces)
        counters = [edge.parts.counters for edge in edges]
        assert counters[0].hits_lane > 20
        assert counters[1].hits_lane == 0
        same = ("requests", "hits", "bytes_from_store", "bytes_sent", "hits_stale_grace", "bad_requests")
        assert [getattr(counters[0], name) for name in same] == [getattr(counters[1], name) for name in same]
        for visitor in visitors:
            for one in visitor:
                await one.leaves()


@pytest.mark.parametrize(
    "ending",
    [
        "X-Request-Id: 2",
        "X-Request-Id: \t\xe9 ",
        "X-Request-Id:",
        "X-Request-Id: \x7f",
        "X-Request-Id: a\x00b",
        "X-Request-Id: a\nb",
        "X-Request-Id : 2",
        "X-Request-Id",
        ": 2",
        "X-Request-Ie: 2",
    ],
)
async def test_a_section_like_the_last_one_is_read_as_strictly(
    ending: str, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    async with both(origin, clock) as edges:
        begin = "GET /plain HTTP/1.1\r\nHost: example.com\r\n"
        visitors = [Visitor(edge.port) for edge in edges]
        for last in ("X-Request-Id: 0", "X-Request-Id: 1", "X-Request-Id: 3", ending):
            asked = f"{begin}{last}\r\n\r\n".encode("latin-1")
            answers = [comparable(await visitor.says([asked], ["GET"])) for visitor in visitors]
            assert answers[0] == answers[1]
            await settled(edges[0])
        assert edges[0].parts.counters.hits_lane >= 1
        for visitor in visitors:
            await visitor.leaves()
