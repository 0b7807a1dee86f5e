"""Fixtures of the stories: a clock, an origin, and the composed program between it and the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from edgecache.app import Edge, compose
from edgecache.edges.config import Admin, Cache, Config, Log, Origin, Server
from tests.scenarios.rig import ClientResponse, Download, FakeClock, FieldsLike, ScriptedOrigin, download, fetch

__all__ = ["RunningEdge", "StartEdge"]


@dataclass(frozen=True)
class RunningEdge:
    """A started edge, its parts, and how to talk to it."""

    parts: Edge
    port: int

    async def fetch(
        self, target: str = "/", method: str = "GET", fields: FieldsLike = (), body: bytes = b""
    ) -> ClientResponse:
        """As ``rig.fetch``, from this edge."""
        return await fetch(self.port, target, method, fields, body)

    async def download(
        self, target: str = "/", method: str = "GET", fields: FieldsLike = (), body: bytes = b""
    ) -> Download:
        """As ``rig.download``, from this edge."""
        return await download(self.port, target, method=method, fields=fields, body=body)


StartEdge: TypeAlias = Callable[..., Awaitable[RunningEdge]]


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
async def edge(start_edge: StartEdge) -> RunningEdge:
    """An edge with default settings in front of ``origin``."""
    return await start_edge()
