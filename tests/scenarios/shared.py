"""Edges that share a Redis server, in one process: what each has stored, and when all of it is where others find it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

from edgecache.purging.distributed import boottime
from edgecache.purging.receipt import State
from edgecache.purging.selector import Selector
from edgecache.semantics.rules import Rule
from edgecache.stores.tiered import TieredStore
from tests.faults.redis_server import RedisServer
from tests.scenarios.composed import edge_before, settled, until
from tests.scenarios.rig import FakeClock, ScriptedOrigin
from tests.scenarios.running import RunningEdge

__all__ = ["SECRET", "StartShared", "SteadyClock", "confirmed", "edges_sharing", "written"]

SECRET = "shared by these edges"

StartShared: TypeAlias = Callable[..., Awaitable[RunningEdge]]


class SteadyClock:
    """The clock of the leases: it goes on by itself, and further when a story wants it to."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return boottime() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


@contextlib.asynccontextmanager
async def edges_sharing(
    server: RedisServer, origin: ScriptedOrigin, clock: FakeClock, steady: SteadyClock, **settings: Any
) -> AsyncIterator[StartShared]:
    """Start edges that share ``server``; keywords are keys of the ``cache`` table, beside ``redis`` and rules.

    ``settings`` are those of ``edge_before``.
    """
    edges: list[RunningEdge] = []
    async with AsyncExitStack() as running:

        async def start(
            *, redis: dict[str, Any] | None = None, rules: Iterable[Rule] = (), **cache: Any
        ) -> RunningEdge:
            table = {"url": server.url, "secret": SECRET, "budget": 1.0, **(redis or {})}
            given = {"rules": rules, **settings}
            edge = edge_before(origin.url, clock=clock, steady=steady, cache=cache, redis=table, **given)
            edges.append(await running.enter_async_context(edge))
            steady.advance(11)  # so long the first epoch has to be known before the registry counts as complete
            for each in edges:
                await each.parts.ledger.catch_up(10**9)
            return edges[-1]

        yield start


async def written(edge: RunningEdge) -> None:
    """Wait until everything that is stored is in Redis too."""
    await settled(edge)
    store = edge.parts.store
    assert isinstance(store, TieredStore)
    await until(lambda: store.is_written)


async def confirmed(edge: RunningEdge, kind: str, value: str, *, soft: bool = False) -> None:
    receipt = await edge.parts.ledger.purge([Selector.of(kind, value, soft=soft)])
    assert receipt.state is State.CONFIRMED
