"""Fixtures of the stories: a clock, an origin, and the composed program between it and the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from edgecache.app import compose
from edgecache.edges.config import Admin, Cache, Config, Log, Origin, Server
from edgecache.semantics.rules import Match, Rule
from tests.faults.redis_server import RedisServer
from tests.scenarios.composed import edge_before
from tests.scenarios.rig import FakeClock, ScriptedOrigin
from tests.scenarios.running import RunningEdge, StartEdge
from tests.scenarios.shared import StartShared, SteadyClock, edges_sharing

__all__ = ["RunningEdge", "StartEdge"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def origin() -> AsyncIterator[ScriptedOrigin]:
    """An origin that answers 404 until a story sets its ``script``."""
    async with ScriptedOrigin() as origin:
        yield origin


@pytest.fixture
async def start_edge(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[StartEdge]:
    """Start an edge in front of ``origin``; keywords are keys of the configuration's ``cache`` table."""
    async with AsyncExitStack() as running:

        async def start(**cache: Any) -> RunningEdge:
            config = Config(
                origin=Origin(urls=(origin.url,)),
                server=Server(listen="127.0.0.1:0", drain_timeout=0.0),
                admin=Admin(listen="127.0.0.1:0"),
                cache=Cache(**cache),
                log=Log(access="off"),
            )
            parts = await compose(config, clock=clock)
            running.push_async_callback(parts.close)
            return RunningEdge(parts, int(parts.public.addresses[0].rpartition(":")[2]))

        yield start


@pytest.fixture
async def ruled(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[StartEdge]:
    """Start an edge under one rule, which is for everything unless a ``Match`` is given; keywords are its settings."""
    async with AsyncExitStack() as running:

        async def start(match: Match | None = None, /, **settings: object) -> RunningEdge:
            rule = Rule(name="the rule", match=match or Match(), settings=settings)
            return await running.enter_async_context(edge_before(origin.url, clock=clock, rules=[rule]))

        yield start


@pytest.fixture
async def edge(start_edge: StartEdge) -> RunningEdge:
    """An edge with default settings in front of ``origin``."""
    return await start_edge()


@pytest.fixture
def steady() -> SteadyClock:
    """The clock of the leases."""
    return SteadyClock()


@pytest.fixture
async def start(
    server: RedisServer, origin: ScriptedOrigin, clock: FakeClock, steady: SteadyClock
) -> AsyncIterator[StartShared]:
    """Start edges that share ``server``, which is the story's own."""
    async with edges_sharing(server, origin, clock, steady) as start:
        yield start
