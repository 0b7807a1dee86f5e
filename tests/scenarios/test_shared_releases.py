"""Edges that share a Redis server switch together, under load and after a restart, and go back without the origin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecache.purging.receipt import Receipt, State
from tests.faults.redis_server import RedisServer
from tests.scenarios.builds import DAY, PAGES, RULES, Build, Site, assets_of, release_of
from tests.scenarios.composed import settled
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, ScriptedOrigin
from tests.scenarios.shared import StartShared, written
from tests.scenarios.test_warming import warmed
from tests.scenarios.visitors import Visitors

V41, V42 = Build("v41"), Build("v42")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
def site(origin: ScriptedOrigin) -> Site:
    site = Site(V41, cache_control="max-age=3600")
    origin.script = site
    return site


async def two(start: StartShared) -> list[RunningEdge]:
    return [await start(rules=RULES), await start(rules=RULES)]


async def switched(edge: RunningEdge, release: str, *, held: bool = False) -> Receipt:
    receipt = await edge.parts.ledger.activate(release, held=held)
    assert receipt.state is State.CONFIRMED
    return receipt


async def visited(*edges: RunningEdge) -> set[str]:
    """Load every page with its assets at every edge, and let all of it be where other processes find it."""
    releases = set()
    for edge in edges:
        for path in PAGES:
            page = (await edge.fetch(path)).body
            releases.add(release_of(page))
            for name in assets_of(page):
                assert (await edge.fetch(name)).status == 200
        await written(edge)
    return releases


async def test_an_activation_under_load(start: StartShared, site: Site, clock: FakeClock) -> None:
    """Warm, hold, switch the origin, activate: no visitor sees a page without its assets, or the old after the new."""
    one, other = await two(start)
    await switched(one, "v41")
    await visited(one, other)
    visitors = Visitors([one, other]).start()
    await visitors.until(50)
    site.switch(V41, V42)  # the new assets are uploaded
    assert (await warmed(one, V42)).state == "ready"
    await switched(other, "v41", held=True)
    visitors.promised = "v41"
    site.switch(V42)  # the origin has only the new release from now on
    clock.advance(2 * DAY)  # and what it once said of the old one's assets, and pages, is long over
    await visitors.until(120)
    visitors.promised = ""
    await switched(other, "v42")
    visitors.promised = "v42"
    await visitors.finished()
    assert visitors.wrong == []
    assert visitors.seen["v41"] > 50
    assert visitors.seen["v42"] > 50


async def test_a_rollback_under_load_asks_the_origin_for_nothing(
    start: StartShared, site: Site, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    site.of_assets = "max-age=31536000, immutable"
    one, other = await two(start)
    await switched(one, "v41")
    assert await visited(one, other) == {"v41"}
    site.switch(V42, V41)
    await switched(one, "v42")
    assert await visited(one, other) == {"v42"}
    clock.advance(2 * DAY)
    visitors = Visitors([one, other]).start()
    await visitors.until(100)
    before = origin.asked()
    await switched(other, "v41", held=True)
    visitors.promised = "v41"
    await visitors.finished()
    assert visitors.wrong == []
    assert visitors.seen["v41"] > 50
    assert origin.asked() == before


async def test_what_one_has_warmed_the_other_has(start: StartShared, site: Site, origin: ScriptedOrigin) -> None:
    one, other = await two(start)
    site.names_release = True
    assert (await warmed(one, V41, pages=PAGES)).state == "ready"
    await written(one)
    before = origin.asked()
    await switched(other, "v41")
    assert await visited(other) == {"v41"}
    assert origin.asked() == before


async def test_an_edge_that_starts_anew_knows_the_release_and_what_is_stored_of_it(
    start: StartShared, site: Site, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    one = await start(rules=RULES)
    await switched(one, "v41")
    await visited(one)
    site.switch(V42, V41)
    await switched(one, "v42")
    await visited(one)
    await switched(one, "v41", held=True)
    clock.advance(3 * DAY)
    await one.parts.close()
    before = origin.asked()
    again = await start(rules=RULES)
    assert again.parts.ledger.release.name == "v41"
    for path in PAGES:
        page = await again.fetch(path)
        assert release_of(page.body) == "v41"
        assert page.cache_status.endswith("detail=held")
    await settled(again)
    assert origin.asked() == before


async def test_who_names_the_activation_is_answered_by_it_at_any_process(
    start: StartShared, site: Site, origin: ScriptedOrigin
) -> None:
    one, other = await two(start)
    await switched(one, "v41")
    await visited(other)
    site.switch(V42, V41)
    receipt = await one.parts.ledger.activate("v42", patience=0)
    assert receipt.sequence
    page = await other.fetch("/", fields={"Edgecache-Min-Seq": str(receipt.sequence)})
    assert release_of(page.body) == "v42"
    assert "edgecache-min-seq" not in origin.requests[-1].fields
