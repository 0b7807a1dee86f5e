"""Releases at the edge: what activating switches, what going back needs of the origin, and what an origin may spoil."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from edgecache.origin.upstreams import TRIES_BEHIND_ONE_NAME
from edgecache.purging.receipt import State
from edgecache.purging.selector import Selector
from tests.scenarios.builds import DAY, PAGES, RULES, Build, Site, assets_of, is_whole, release_of
from tests.scenarios.composed import edge_before, requested, settled
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, FakeClock, Hold, Received, Reply, ScriptedOrigin

V41, V42 = Build("v41"), Build("v42")


@pytest.fixture
def site(origin: ScriptedOrigin) -> Site:
    site = Site(V41)
    origin.script = site
    return site


@pytest.fixture
async def edge(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[RunningEdge]:
    async with edge_before(origin.url, clock=clock, rules=RULES) as edge:
        yield edge


async def activate(edge: RunningEdge, release: str, *, held: bool = False) -> None:
    receipt = await edge.parts.ledger.activate(release, held=held)
    assert receipt.state is State.CONFIRMED


async def visited(edge: RunningEdge) -> list[ClientResponse]:
    """Ask for every page."""
    return [await edge.fetch(path) for path in PAGES]


async def releases(edge: RunningEdge) -> set[str]:
    return {release_of(page.body) for page in await visited(edge)}


async def v42_after_v41(edge: RunningEdge, site: Site) -> None:
    """Every page is stored of v41, then of v42, which the origin runs now."""
    await activate(edge, "v41")
    await visited(edge)
    site.switch(V42, V41)
    await activate(edge, "v42")
    await visited(edge)


# Forward and back.


async def test_activating_switches_every_page_at_once(edge: RunningEdge, site: Site) -> None:
    await activate(edge, "v41")
    assert await releases(edge) == {"v41"}
    site.switch(V42, V41)
    assert await releases(edge) == {"v41"}  # what is stored is fresh
    await activate(edge, "v42")
    assert await releases(edge) == {"v42"}


@pytest.mark.parametrize(
    "cache_control", ["max-age=60", "no-cache", "max-age=0, must-revalidate", "s-maxage=5, stale-while-revalidate=99"]
)
@pytest.mark.parametrize("age", [0, 61, 3 * DAY])
async def test_going_back_needs_nothing_of_the_origin(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin, clock: FakeClock, cache_control: str, age: float
) -> None:
    site.cache_control = cache_control
    await v42_after_v41(edge, site)
    clock.advance(age)
    await activate(edge, "v41", held=True)
    before = origin.asked()
    for reload in ({}, {"Cache-Control": "no-cache"}):
        for path in PAGES:
            page = await edge.fetch(path, fields=reload)
            assert release_of(page.body) == "v41"
            assert "hit" in page.cache_status
            assert page.cache_status.endswith("detail=held")
            assert page.fields["age"] == str(int(age))
    await settled(edge)
    assert origin.asked() == before


async def test_going_back_ends_with_what_is_kept(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await v42_after_v41(edge, site)
    clock.advance(60 + 3600 + 7 * DAY)  # with the window that is there by default
    await activate(edge, "v41", held=True)
    before = origin.asked()
    assert await releases(edge) == {"v42"}
    assert origin.asked() == before + len(PAGES)


async def test_activated_again_it_is_as_every_other(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await v42_after_v41(edge, site)
    await activate(edge, "v41", held=True)
    site.switch(V41)
    clock.advance(61)
    await activate(edge, "v41")
    before = origin.asked()
    assert await releases(edge) == {"v41"}
    assert origin.asked() == before + len(PAGES)


# What is not stored of it.


async def test_what_is_not_stored_of_it_is_fetched_and_not_stored(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    site.missing = {"/cart"}
    await v42_after_v41(edge, site)
    await activate(edge, "v41", held=True)
    site.missing = set()
    before = origin.asked("/cart")
    for _ in range(2):
        page = await edge.fetch("/cart")
        assert (page.status, release_of(page.body)) == (200, "v42")
        assert page.cache_status == "edgecache; fwd=uri-miss; detail=held"
    assert origin.asked("/cart") == before + 2
    await activate(edge, "v42")
    assert edge.parts.counters.not_storable["held"] == 2


async def test_who_asks_for_that_at_once_shares_one_fetch(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await activate(edge, "v41", held=True)
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, V42.page("/"), hold=hold)
    waiting = [asyncio.ensure_future(edge.fetch("/")) for _ in range(5)]
    await requested(edge, 5)
    hold.release()
    pages = await asyncio.gather(*waiting)
    assert origin.asked() == 1
    assert sorted(page.cache_status.rpartition("; ")[2] for page in pages) == ["collapsed"] * 4 + ["detail=held"]
    assert edge.parts.memory.statistics().responses == 0


async def test_an_origin_that_answers_with_the_release_itself_fills_it(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await activate(edge, "v41", held=True)
    site.names_release = True
    assert await releases(edge) == {"v41"}
    assert origin.requests[0].fields["edgecache-release"] == "v41"
    before = origin.asked()
    assert await releases(edge) == {"v41"}
    assert origin.asked() == before


async def test_a_hard_purge_counts_and_a_soft_one_does_not(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await v42_after_v41(edge, site)
    await activate(edge, "v41", held=True)
    before = origin.asked()
    await edge.parts.ledger.purge([Selector.of("prefix", "/", soft=True)])
    assert await releases(edge) == {"v41"}
    assert origin.asked() == before
    await edge.parts.ledger.purge([Selector.of("prefix", "/cart")])
    assert [release_of(page.body) for page in await visited(edge)] == ["v41", "v42", "v41"]
    assert origin.asked() == before + 1


async def test_a_release_can_be_purged_by_its_tag(edge: RunningEdge, site: Site, origin: ScriptedOrigin) -> None:
    await v42_after_v41(edge, site)
    await edge.parts.ledger.purge([Selector.of("tag", "release:v41")])
    before = origin.asked()
    assert await releases(edge) == {"v42"}
    assert origin.asked() == before
    await activate(edge, "v41", held=True)
    await visited(edge)
    assert origin.asked() == before + len(PAGES)


# What is on its way.


@pytest.mark.parametrize("held", [False, True])
async def test_what_was_on_its_way_is_for_those_who_asked_before(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin, held: bool
) -> None:
    await activate(edge, "v41")
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, V42.page("/"), hold=hold)
    early = [asyncio.ensure_future(edge.fetch("/")) for _ in range(3)]
    await hold.reached()
    await requested(edge, 3)
    await activate(edge, "v41" if held else "v42", held=held)
    hold.release()
    pages = await asyncio.gather(*early)
    assert origin.asked() == 1
    assert [page.status for page in pages] == [200] * 3
    # Who comes now is not answered from it; nor is who comes when somebody has gone back.
    origin.script = site
    assert release_of((await edge.fetch("/")).body) == "v41"
    assert origin.asked() == 2
    site.switch(V42)
    await activate(edge, "v41", held=True)
    assert "fwd=uri-miss" in (await edge.fetch("/")).cache_status


async def test_a_body_on_its_way_is_not_kept_either(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    await activate(edge, "v41")
    hold, page = Hold(), V41.page("/")
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, page, hold_at={10: hold})
    early = await edge.download("/")
    await early.read(10)
    await activate(edge, "v42")
    hold.release()
    assert (await early.rest()).body == page
    await settled(edge)
    assert edge.parts.memory.statistics().responses == 0
    assert edge.parts.counters.not_storable["other-release"] == 1


# An origin whose servers are switched one after the other.


async def test_a_page_of_another_release_is_not_stored_and_is_asked_for_a_few_times(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await activate(edge, "v42")
    site.names_release = True
    page = await edge.fetch("/")
    assert (release_of(page.body), origin.asked()) == ("v41", TRIES_BEHIND_ONE_NAME)
    assert page.cache_status == "edgecache; fwd=uri-miss; detail=other-release"
    assert "edgecache-release" not in page.fields
    site.switch(V42, V41)
    assert await releases(edge) == await releases(edge) == {"v42"}
    assert origin.asked() == TRIES_BEHIND_ONE_NAME + len(PAGES)


async def test_a_server_that_is_switched_already_answers_for_the_other(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    await activate(edge, "v42")
    old, new = Site(V41, names_release=True), Site(V42, names_release=True)
    origin.script = lambda request: (old if request.number == 1 else new)(request)
    page = await edge.fetch("/")
    assert (release_of(page.body), page.cache_status) == ("v42", "edgecache; fwd=uri-miss; stored")


async def test_a_page_of_another_release_takes_no_page_s_place(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    site.names_release = True
    await v42_after_v41(edge, site)
    clock.advance(61)
    site.switch(V41)
    await visited(edge)
    site.switch(V42, V41)
    clock.advance(1)
    pages = await visited(edge)
    assert {page.cache_status.rpartition("fwd=")[2] for page in pages} == {"stale; stored"}
    site.switch(V41)
    await origin.stop()
    assert await releases(edge) == {"v42"}


async def test_clients_cannot_choose_a_release(edge: RunningEdge, site: Site, origin: ScriptedOrigin) -> None:
    for path in ("/", "/assets/absent.js"):
        await edge.fetch(path, fields={"Edgecache-Release": "v43"})
        await edge.fetch(path, "POST", fields={"Edgecache-Release": "v43"})
    assert ["edgecache-release" in request.fields for request in origin.requests] == [False] * 4
    await activate(edge, "v41")
    await edge.fetch("/", fields={"Edgecache-Release": "v43"})
    assert origin.requests[-1].fields.getall("edgecache-release") == ["v41"]
    assert "hit" in (await edge.fetch("/")).cache_status


async def test_a_post_that_answers_later_gets_does_so_for_its_release(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin
) -> None:
    await activate(edge, "v41")

    def posted(request: Received) -> Reply:
        fields = {"Cache-Control": "max-age=60", "Content-Location": "/", "Content-Type": "text/html"}
        return Reply(200, fields, V41.page("/"))

    origin.script = posted
    answer = await edge.fetch("/", "POST")
    assert "stored" in answer.cache_status
    assert "hit" in (await edge.fetch("/")).cache_status
    await activate(edge, "v41", held=True)
    answer = await edge.fetch("/", "POST")
    assert answer.cache_status.endswith("detail=held")


# Assets of releases that have gone.


async def test_the_assets_of_a_release_outlive_it(
    edge: RunningEdge, site: Site, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    await activate(edge, "v41")
    old = (await edge.fetch("/")).body
    for name in assets_of(old):
        await edge.fetch(name)
    site.switch(V42)
    await activate(edge, "v42")
    for day in range(8):
        assets = [(name, await edge.fetch(name)) for name in assets_of(old)]
        if day < 7:
            assert is_whole((name, got.status, got.body) for name, got in assets), day
        clock.advance(DAY)
        last = assets
    assert {got.cache_status.rpartition("; ")[2] for _, got in last} == {"detail=retained"}
    assert [(await edge.fetch(name)).status for name in assets_of(old)] == [404, 404]
