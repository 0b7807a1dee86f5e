"""How deploys break pages, each way shown at the origin itself, and what the edge makes of it.

A server is replaced by one of the next release. In each story somebody asks at the wrong moment, first the origin and
then the edge; and asks again when everything is where it belongs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

import pytest

from edgecache.http.cache_control import parse_response
from edgecache.http.glob import Wildcard
from edgecache.purging.selector import Selector
from edgecache.semantics.policy import Strategy
from edgecache.semantics.rules import Match, Rule
from edgecache.semantics.versioned import By
from tests.scenarios.composed import edge_before, settled
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.releases import IMMUTABLE, NEW, OLD, Release, Server
from tests.scenarios.rig import ClientResponse, FakeClock, Received, Reply, ScriptedOrigin, fetch

Start: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningEdge]]
"""Run an edge with rules."""

MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86_400.0, 365 * 86_400.0

VERSIONED: Final = Match(versioned=frozenset(By))
LONG: Final = Rule(
    name="assets", match=VERSIONED, settings={"edge_ttl": YEAR, "strategy": Strategy.IMMUTABLE, "browser_ttl": YEAR}
)
"""As somebody writes it who thinks of nothing that can go wrong."""

RETAINED: Final = Rule(name="assets", match=VERSIONED, settings={"edge_ttl": HOUR, "retain": 30 * DAY})
PAGES: Final = Rule(name="pages", match=Match(extensions=frozenset({""})), settings={"tags": ("page",)})
UNPROVEN: Final = Rule(
    name="versions in queries",
    match=Match(query=(("v", Wildcard("*")),)),
    settings={"max_ttl": MINUTE, "browser_ttl": MINUTE},
)


@pytest.fixture
def server() -> Server:
    return Server(OLD)


@pytest.fixture
async def origin(server: Server) -> AsyncIterator[ScriptedOrigin]:
    async with ScriptedOrigin(server) as origin:
        yield origin


@pytest.fixture
def start(origin: ScriptedOrigin, clock: FakeClock) -> Start:
    return lambda *rules: edge_before(origin.url, clock=clock, rules=rules)


def kept_for(response: ClientResponse) -> float:
    """How long a browser may keep it without asking, in seconds."""
    said = parse_response(response.fields)
    return 0.0 if said.no_store or said.no_cache else float(said.max_age or 0)


def is_asset(response: ClientResponse, release: Release, target: str) -> bool:
    return response.status == 200 and response.body == release.assets[target][1]


# 1. The page of a single-page application in the place of a script, for a year.


async def test_a_page_is_kept_as_a_script(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    server.falls_back = True
    chunk = NEW.target("chunk")
    direct = await fetch(origin.port, chunk)
    assert (direct.status, direct.fields["content-type"]) == (200, "text/html")
    assert kept_for(direct) == YEAR, "whoever asked too early has a broken site for a year"

    async with start(LONG) as edge:
        for _ in range(2):
            early = await edge.fetch(chunk)
            assert early.fields["cache-control"] == "no-store"
            assert "detail=type-mismatch" in early.cache_status
        assert edge.parts.memory.statistics().responses == 0
        server.release = NEW
        late = await edge.fetch(chunk)
        assert is_asset(late, NEW, chunk)
        assert kept_for(late) == YEAR
        assert "hit" in (await edge.fetch(chunk)).cache_status


async def test_not_even_with_a_cookie_on_it(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    """What speaks against storing the page is not what speaks against keeping it."""
    server.falls_back = True
    plain = origin.script

    def with_cookie(request: Received) -> Reply:
        reply = plain(request)
        assert isinstance(reply, Reply)
        return Reply(reply.status, {**dict(reply.fields), "Set-Cookie": "id=1"}, reply.body)

    origin.script = with_cookie
    async with start(LONG) as edge:
        for method in ("GET", "HEAD"):
            early = await edge.fetch(NEW.target("chunk"), method, {"Cookie": "id=1", "X-Unknown": "1"})
            assert early.fields["cache-control"] == "no-store"


# 2. The 404 of a script that is not there yet, for hours.


async def test_a_404_is_kept_for_a_script(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    server.keeps_errors = True
    chunk = NEW.target("chunk")
    direct = await fetch(origin.port, chunk)
    assert (direct.status, kept_for(direct)) == (404, YEAR)
    assert parse_response(direct.fields).immutable

    async with start(LONG) as edge:
        early = await edge.fetch(chunk)
        assert (early.status, kept_for(early)) == (404, 2.0)
        assert not parse_response(early.fields).immutable
        server.release = NEW
        clock.advance(2.0)
        assert is_asset(await edge.fetch(chunk), NEW, chunk)


# 3. A page that is open, and its script that is gone.


async def test_an_open_page_asks_for_what_is_gone(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    chunk = OLD.target("chunk")
    async with start(RETAINED) as edge:
        assert (await edge.fetch("/")).body == OLD.page
        assert is_asset(await edge.fetch(chunk), OLD, chunk), "somebody has asked for it"
        server.release = NEW
        assert (await fetch(origin.port, chunk)).status == 404, "the page that is open is broken"
        for age, detail in ((MINUTE, "hit"), (HOUR, "detail=retained"), (20 * DAY, "detail=retained")):
            clock.advance(age)
            kept = await edge.fetch(chunk)
            assert is_asset(kept, OLD, chunk)
            assert detail in kept.cache_status
        assert (await edge.fetch("/")).body == NEW.page
        clock.advance(30 * DAY)
        assert (await edge.fetch(chunk)).status == 404, "but not for ever"


async def test_what_is_gone_and_replaced_by_a_page(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    """A single-page application has no 404: its page says as much."""
    server.falls_back = True
    chunk = OLD.target("chunk")
    async with start(RETAINED) as edge:
        assert is_asset(await edge.fetch(chunk), OLD, chunk)
        server.release = NEW
        clock.advance(2 * HOUR)
        assert (await fetch(origin.port, chunk)).fields["content-type"] == "text/html"
        for _ in range(2):
            assert is_asset(await edge.fetch(chunk), OLD, chunk)


# 4. A page that is cached, and refers to what is gone.


async def test_a_cached_page_refers_to_what_is_gone(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    def cached_page(request: Received) -> Reply:
        if request.target != "/":
            return server(request)
        fields = {"Content-Type": "text/html", "Cache-Control": "max-age=60, stale-while-revalidate=604800"}
        return Reply(200, fields, server.release.page)

    origin.script = cached_page
    in_a_cache = await fetch(origin.port, "/")
    async with start(RETAINED, PAGES) as edge:
        assert (await edge.fetch("/")).body == OLD.page
        for target in OLD.assets:
            await edge.fetch(target)
        server.release = NEW
        clock.advance(DAY)
        assert in_a_cache.body == OLD.page
        assert {(await fetch(origin.port, target)).status for target in OLD.assets} == {404}, "a page without style"

        stale = await edge.fetch("/")
        assert stale.body == OLD.page
        for target in OLD.assets:
            assert is_asset(await edge.fetch(target), OLD, target)
        await settled(edge)
        assert (await edge.fetch("/")).body == NEW.page


async def test_a_deploy_ends_the_pages_that_are_cached(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    origin.script = lambda request: (
        Reply(200, {"Content-Type": "text/html", "Cache-Control": "max-age=3600"}, server.release.page)
        if request.target == "/"
        else server(request)
    )
    async with start(RETAINED, PAGES) as edge:
        for target in ("/", *OLD.assets):
            await edge.fetch(target)
        server.release = NEW
        assert (await edge.fetch("/")).body == OLD.page
        await edge.parts.ledger.purge([Selector.of("tag", "page", soft=True)])
        assert (await edge.fetch("/")).body == NEW.page
        for release in (NEW, OLD):
            for target in release.assets:
                assert is_asset(await edge.fetch(target), release, target), "those with an open page have theirs too"


# 5. A new version's name, answered by a server of the old one.


def by_query(server: Server) -> Callable[[Received], Reply]:
    """Answer ``/app.js`` with what there is, whatever version is asked for, to be kept for ever."""
    fields = {"Content-Type": "text/javascript", "Cache-Control": IMMUTABLE}
    return lambda request: Reply(200, fields, f"version of {server.release.name}".encode())


async def test_an_old_server_answers_for_a_new_version(
    server: Server, origin: ScriptedOrigin, clock: FakeClock, start: Start
) -> None:
    origin.script = by_query(server)
    direct = await fetch(origin.port, "/app.js?v=2")
    assert (direct.body, kept_for(direct)) == (b"version of old", YEAR), "the old one, under the new name, for ever"

    async with start(UNPROVEN, LONG) as edge:
        early = await edge.fetch("/app.js?v=2")
        assert (early.body, kept_for(early)) == (b"version of old", MINUTE)
        assert not parse_response(early.fields).immutable
        server.release = NEW
        clock.advance(MINUTE)
        assert (await edge.fetch("/app.js?v=2")).body == b"version of new"


async def test_where_the_digest_is_in_the_path_the_old_server_is_not_believed(
    server: Server, clock: FakeClock, origin: ScriptedOrigin
) -> None:
    async with (
        ScriptedOrigin(Server(NEW)) as other,
        edge_before(origin.url, other.url, clock=clock, rules=[LONG]) as edge,
    ):
        for target in NEW.assets:
            assert is_asset(await edge.fetch(target), NEW, target)
