"""Warming a release through the real edge: what is there afterwards, for whom, and what is said of what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from edgecache.edges.deploy_messages import BeginOrder, Deploy
from edgecache.edges.deploy_requests import requests_of
from edgecache.edges.deploys import Deploying, Deploys, Orderer
from edgecache.edges.tokens import Tokens
from edgecache.purging.selector import Selector
from edgecache.semantics.guards import extension_of
from tests.scenarios.builds import DAY, PAGES, RULES, Build, Site, assets_of, release_of
from tests.scenarios.composed import edge_before, requested
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, Hold, Received, Reply, ScriptedOrigin

V41, V42 = Build("v41"), Build("v42")
SITE = "http://example.com"
BY = Orderer("root", "127.0.0.1", "")
BROWSER = {"Accept-Encoding": "gzip, deflate, br, zstd", "User-Agent": "Mozilla/5.0"}


@pytest.fixture
def site(origin: ScriptedOrigin) -> Site:
    site = Site(V41, names_release=True)
    origin.script = site
    return site


@pytest.fixture
async def edge(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[RunningEdge]:
    async with edge_before(origin.url, clock=clock, rules=RULES) as edge:
        yield edge


async def nothing(seconds: float) -> None:
    await asyncio.sleep(0)


async def warmed(
    edge: RunningEdge,
    build: Build = V42,
    pages: tuple[str, ...] = (),
    assets: tuple[str, ...] | None = None,
    sleep: Callable[[float], Awaitable[None]] = nothing,
) -> Deploy:
    """Warm a release, and wait until that has ended."""
    parts = edge.parts
    deploying = Deploying(ledger=parts.ledger, handle=parts.cache.handle, tokens=Tokens([]), sleep=sleep)
    deploys = Deploys(deploying)
    order = BeginOrder(SITE, tuple(build.names()) if assets is None else assets, pages)
    await deploys.begin(build.release, requests_of(order), BY)
    while True:
        said, _ = await deploys.find(build.release, "")
        assert said is not None
        if said.ended is not None:
            return said
        await asyncio.sleep(0)


def told(deploy: Deploy) -> list[tuple[str, int, str]]:
    return [(one.url.removeprefix(SITE), one.status, one.reason) for one in deploy.failures]


# What is there afterwards.


async def test_clients_hit_what_was_warmed(edge: RunningEdge, site: Site, origin: ScriptedOrigin) -> None:
    site.switch(V41, V42)
    said = await warmed(edge)
    assert (said.state, said.stored, said.present, said.failed) == ("ready", 2, 0, 0)
    for name, content in V42.names().items():
        asset = await edge.fetch(name, fields=BROWSER)
        assert (asset.body, asset.cache_status.split("; ")[1]) == (content, "hit")
    assert origin.asked() == 2
    said = await warmed(edge)
    assert (said.state, said.stored, said.present, said.failed) == ("ready", 0, 2, 0)
    assert origin.asked() == 2


async def test_what_was_warmed_has_the_tag_of_its_release(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await warmed(edge, V41)
    await edge.parts.ledger.purge([Selector.of("tag", "release:v41")])
    assert ["fwd" in (await edge.fetch(name)).cache_status for name in V41.names()] == [True, True]


async def test_pages_are_there_before_the_activation_and_seen_after_it(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await edge.parts.ledger.activate("v41")
    before = {path: (await edge.fetch(path)).body for path in PAGES}
    await edge.parts.ledger.activate("v41", held=True)
    site.switch(V42, V41)
    said = await warmed(edge, pages=PAGES)
    assert (said.state, said.stored) == ("ready", 5)
    assert {path: (await edge.fetch(path)).body for path in PAGES} == before
    await edge.parts.ledger.activate("v42")
    asked = origin.asked()
    for path in PAGES:
        page = await edge.fetch(path, fields=BROWSER)
        assert release_of(page.body) == "v42"
        for name in assets_of(page.body):
            assert (await edge.fetch(name)).body == V42.names()[name]
    assert origin.asked() == asked


async def test_a_page_is_taken_only_from_an_origin_that_names_its_release(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await edge.parts.ledger.activate("v41")
    site.switch(V42)
    site.names_release = False
    said = await warmed(edge, pages=("/",))
    assert told(said) == [("/", 200, "other-release")]
    site.switch(V41, V42)
    site.names_release = True
    said = await warmed(edge, pages=("/",))
    assert told(said) == [("/", 200, "other-release")]
    assert {request.fields.get("edgecache-release") for request in origin.requests if request.target == "/"} == {"v42"}
    await edge.parts.ledger.activate("v42")
    site.switch(V42)
    assert release_of((await edge.fetch("/")).body) == "v42"


async def test_pages_of_a_release_that_is_built_anew_are_fetched_anew(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    site.switch(V42)
    await warmed(edge, pages=("/",))
    mended = Build("v42", assets=3)
    site.switch(mended)
    said = await warmed(edge, mended, pages=("/",))
    assert (said.state, said.stored, said.present) == ("ready", 2, 2)
    origin.script = lambda request: Reply(304, {"ETag": request.fields["if-none-match"]})
    said = await warmed(edge, pages=("/",), assets=())
    assert (said.state, said.stored, said.present) == ("ready", 0, 1)
    await edge.parts.ledger.activate("v42")
    assert (await edge.fetch("/")).body == mended.page("/")


async def test_who_comes_meanwhile_shares_the_fetch(edge: RunningEdge, site: Site, origin: ScriptedOrigin) -> None:
    hold = Hold()
    name, content = next(iter(V41.names().items()))

    def script(request: Received) -> Reply:
        return Reply(200, {"Cache-Control": "max-age=60", "Content-Type": "text/javascript"}, content, hold=hold)

    origin.script = script
    warming = asyncio.ensure_future(warmed(edge, V41, assets=(name,)))
    await hold.reached()
    visiting = asyncio.ensure_future(edge.fetch(name))
    await requested(edge, 2)
    hold.release()
    assert ((await warming).stored, (await visiting).body, origin.asked()) == (1, content, 1)


# What is not there.


async def test_an_origin_that_comes_up_later(edge: RunningEdge, site: Site, origin: ScriptedOrigin) -> None:
    """First the server is down, then the application's fallback answers for its assets, then it is there."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=9", "Content-Type": "text/html"}, b"<html>")
        elif len(pauses) == 2:
            origin.script = lambda _: Reply(404, {"Cache-Control": "max-age=9"})
        else:
            origin.script = Site(V42)

    origin.script = lambda _: Reply(503)
    said = await warmed(edge, sleep=sleep)
    assert (said.state, said.stored, said.failed, said.failures) == ("ready", 2, 0, [])
    assert pauses == [0.5, 1.0, 2.0]


FRESH = {"Cache-Control": "max-age=9"}


@pytest.mark.parametrize(
    ("reply", "status", "reason", "is_asked_again"),
    [
        (Reply(404), 404, "no-freshness", True),
        (Reply(404, FRESH), 404, "status", True),
        (Reply(403, FRESH), 403, "status", False),
        (Reply(503), 503, "status", True),
        (Reply(302, {"Location": "/login"}), 302, "status", False),
        (Reply(200, {**FRESH, "Content-Type": "text/html"}, b"<html>"), 200, "type-mismatch", True),
        (Reply(200, {"Cache-Control": "no-store", "Content-Type": "text/javascript"}), 200, "no-store", False),
        (Reply(200, {**FRESH, "Content-Type": "text/javascript", "Set-Cookie": "a=b"}), 200, "set-cookie", False),
        (Reply(200, {**FRESH, "Content-Type": "text/javascript"}, bytes(99), abort_at=9), 200, "truncated", True),
        (Reply(200, {**FRESH, "Content-Type": "text/javascript"}, bytes(999), chunked=True), 200, "too-large", False),
        (Reply(200, {**FRESH, "Content-Type": "text/javascript"}, bytes(999)), 200, "too-large", False),
        (Reply(abort_at=-1), 502, "origin-error", True),
    ],
)
async def test_what_could_not_be_warmed_is_told(
    origin: ScriptedOrigin, clock: FakeClock, reply: Reply, status: int, reason: str, is_asked_again: bool
) -> None:
    origin.script = lambda _: reply
    async with edge_before(origin.url, clock=clock, rules=RULES, cache={"max_object": 500}) as edge:
        said = await warmed(edge, assets=("/plain.js",))
    assert (said.state, said.failed, told(said)) == ("failed", 1, [("/plain.js", status, reason)])
    assert (origin.asked("/plain.js") > 2) is is_asked_again


async def test_what_is_only_retained_is_not_there(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await warmed(edge, V41)
    clock.advance(DAY)
    site.switch(V42)
    said = await warmed(edge, V41)
    assert {(status, reason) for _, status, reason in told(said)} == {(404, "retained")}
    await origin.stop()
    clock.advance(-DAY + 61)
    said = await warmed(edge, V41)
    assert {(status, reason) for _, status, reason in told(said)} == {(200, "unreachable")}


def test_the_names_of_these_builds_say_their_type() -> None:
    assert {extension_of(name) for name in V41.names()} == {"js"}
