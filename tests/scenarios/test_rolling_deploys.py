"""While a new release goes from server to server, a page finds the assets it asks for, wherever they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.balancer import Balancer
from tests.scenarios.composed import edge_before
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.releases import NEW, OLD, Server
from tests.scenarios.rig import FakeClock, Received, Reply, ScriptedOrigin


@pytest.fixture
async def old() -> AsyncIterator[ScriptedOrigin]:
    async with ScriptedOrigin(Server(OLD)) as origin:
        yield origin


@pytest.fixture
async def new() -> AsyncIterator[ScriptedOrigin]:
    async with ScriptedOrigin(Server(NEW)) as origin:
        yield origin


async def load(edge: RunningEdge, *targets: str) -> list[tuple[int, bytes]]:
    """Ask for everything at once, as browsers do."""
    responses = await asyncio.gather(*(edge.fetch(target) for target in targets))
    return [(response.status, response.body) for response in responses]


async def test_a_page_of_many_assets(old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(old.url, new.url, clock=clock) as edge:
        for release in (NEW, OLD):
            wanted = release.assets
            assert len(wanted) == 20
            assert await load(edge, *wanted) == [(200, content) for _, content in wanted.values()]
        asked = len(old.requests) + len(new.requests)
        assert asked <= 80
        assert await load(edge, *OLD.assets, *NEW.assets)
        assert len(old.requests) + len(new.requests) == asked, "they are stored"


@pytest.mark.parametrize("seen", range(2))
async def test_what_a_single_page_application_falls_back_to(
    old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock, seen: int
) -> None:
    """A server that answers everything with its page has the asset no more than one that says 404."""
    old.script = Server(OLD, falls_back=True)
    async with edge_before(old.url, new.url, clock=clock) as edge:
        await load(edge, *["/"] * seen)
        assert (await edge.fetch(NEW.target("main"))).body == NEW.assets[NEW.target("main")][1]


async def test_one_server_alone_is_left(old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock) -> None:
    """What it says goes on as it came, although another that might know better is not there."""
    await new.stop()
    async with edge_before(old.url, new.url, clock=clock) as edge:
        for _ in range(4):
            missing = await edge.fetch(NEW.target("chunk"))
            assert (missing.status, missing.body) == (404, b"<h1>not here</h1>")
            assert "fwd-status=404" in missing.cache_status


async def test_what_nobody_has(old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(old.url, new.url, clock=clock) as edge:
        missing = await edge.fetch("/assets/none-0123456789ab.js")
        assert (missing.status, missing.body) == (404, b"<h1>not here</h1>")
        assert len(old.requests) == len(new.requests) == 1
        assert missing.fields["cache-control"] == "max-age=2"


async def test_other_names_are_asked_for_once(old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock) -> None:
    async with edge_before(old.url, new.url, clock=clock) as edge:
        for target in ("/none", "/none.js", "/none.css?v=2"):
            assert (await edge.fetch(target)).status == 404
        assert len(old.requests) + len(new.requests) == 3


@pytest.mark.parametrize("servers", [1, 2])
async def test_names_that_nobody_has_are_not_multiplied(
    old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock, servers: int
) -> None:
    """A reserve, and then a tenth; and a busy edge has saved up no more than a hundred."""
    urls = [old.url, new.url][:servers]
    async with edge_before(*urls, clock=clock) as edge:
        old.script = lambda _: Reply(200, {"Cache-Control": "no-store"}, b"")
        for number in range(1500):
            await edge.fetch(f"/{number}")
        old.script = Server(OLD)
        before = len(old.requests) + len(new.requests)
        for number in range(400):
            assert (await edge.fetch(f"/assets/none-{number:012x}.js")).status == 404
        asked = len(old.requests) + len(new.requests) - before
        assert 400 < asked <= 400 + 100 + 40 + 1


async def test_a_server_that_is_slow_to_say_no_holds_up_nobody(
    old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock
) -> None:
    def slow(request: Received) -> Reply:
        clock.advance(6.0)
        return Reply(404, {}, b"not here")

    async with edge_before(old.url, clock=clock) as edge:
        old.script = slow
        assert (await edge.fetch("/assets/none-0123456789ab.js")).status == 404
        assert len(old.requests) == 2


# Several servers behind one name.


async def test_a_balancer_of_requests(clock: FakeClock) -> None:
    old, new = Server(OLD), Server(NEW)

    def in_turn(request: Received) -> Reply:
        return (old, new)[request.number % 2](request)

    async with ScriptedOrigin(in_turn) as balancer, edge_before(balancer.url, clock=clock) as edge:
        for release in (NEW, OLD):
            wanted = release.assets
            assert await load(edge, *wanted) == [(200, content) for _, content in wanted.values()]


async def test_a_balancer_of_connections(old: ScriptedOrigin, new: ScriptedOrigin, clock: FakeClock) -> None:
    """The connections that are kept lead where they lead; only a new one can lead elsewhere."""
    async with Balancer(old.port, new.port) as balancer, edge_before(balancer.url, clock=clock) as edge:
        for release in (NEW, OLD, NEW):
            for target, (_, content) in release.assets.items():
                response = await edge.fetch(target)
                assert (response.status, response.body) == (200, content)
