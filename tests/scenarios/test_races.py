"""A purge against everything that can be under way: nine phases of a response's life, each held while it is purged.

Each run lets one of two edges bring a response to a phase, holds it there, has either edge purge it, by each kind of
selector, and lets it go. From the moment of the acknowledgement on, both edges are asked, before and after the letting
go. The origin says of each response whether it was asked for before the purge was ordered: such a one is stale.
Everything else is left to chance, from a seed: the edges, the moments, how many ask.

``EDGECACHE_LONG`` makes it nine thousand runs.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from edgecache.stores.redis import RedisStore
from tests.faults.redis_server import RedisServer
from tests.scenarios.composed import until
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, Download, FakeClock, Hold, Received, Reply, ScriptedOrigin
from tests.scenarios.shared import SteadyClock, confirmed, edges_sharing, written

RUNS: Final = 143 if os.environ.get("EDGECACHE_LONG") else 4
"""For each phase and selector: 9 x 7 x 143 are 9 009."""

SELECTORS: Final = {
    "url": "http://example.com{path}",
    "prefix": "http://example.com{path}",
    "host": "example.com",
    "tag": "{path}",
    "glob": "http://example.com{path}*",
    "expr": "{path} & !nothing",
    "all": "",
}
SIZE: Final = 100 * 1024
"""More than a record holds: the body lies in chunks of its own."""

FIELDS: Final = {"Cache-Control": "max-age=60, stale-while-revalidate=600", "ETag": '"1"'}
COMPLETE: Final = 1000


@dataclass
class Scene:
    """Two edges, their origin, and one path."""

    edges: list[RunningEdge]
    origin: ScriptedOrigin
    clock: FakeClock
    random: random.Random
    path: str
    age: str = "old"
    hold: Hold = field(default_factory=Hold)
    restored: list[Callable[[], None]] = field(default_factory=list)

    def answers(self, held: Callable[[Received], bool] = lambda _: False, *, in_body: bool = False) -> None:
        """Let the origin answer with the age of the request, and stop at those that are ``held``."""

        def script(request: Received) -> Reply:
            stops: dict[str, Any] = {}
            if self.age == "old" and held(request):
                stops = {"hold_at": {SIZE // 2: self.hold}} if in_body else {"hold": self.hold}
            fields = {**FIELDS, "Surrogate-Key": f"x {self.path} y", "X-Age": self.age}
            if "if-none-match" in request.fields and self.age == "old":
                return Reply(304, fields, **stops)
            body = self.age.encode() * (SIZE // 3)
            if "range" in request.fields:
                first, last = request.fields["range"].removeprefix("bytes=").split("-")
                part = (self.age.encode() * COMPLETE)[int(first) : int(last or COMPLETE - 1) + 1]
                fields["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{COMPLETE}"
                return Reply(206, fields, part, **stops)
            return Reply(200, fields, body, **stops)

        self.origin.script = script

    async def get(self, edge: RunningEdge, fields: dict[str, str] | None = None) -> Download:
        return await edge.download(self.path, fields=fields or {})

    async def stored(self, edge: RunningEdge) -> None:
        await edge.fetch(self.path)
        await written(edge)

    def stall(self, owner: object, name: str) -> None:
        """Let a method of the program wait before it returns, until the story goes on."""
        real = getattr(owner, name)

        async def stalled(*args: Any) -> Any:
            result = await real(*args)
            await self.hold.wait()
            return result

        setattr(owner, name, stalled)
        self.restored.append(lambda: delattr(owner, name))


def store_of(edge: RunningEdge) -> RedisStore:
    assert edge.parts.shared is not None
    return edge.parts.shared.store


# Phases: each brings a response so far, and returns who is waiting for it.


async def before_the_head(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers(lambda _: True)
    return [await scene.get(edge)]


async def in_the_body(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers(lambda _: True, in_body=True)
    first = await scene.get(edge)
    await first.head()
    return [first, *[await scene.get(edge) for _ in range(scene.random.randrange(4))]]


async def validating(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers(lambda request: "if-none-match" in request.fields)
    await scene.stored(edge)
    scene.clock.advance(700)
    return [await scene.get(edge)]


async def refreshing(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers(lambda request: "if-none-match" in request.fields)
    await scene.stored(edge)
    scene.clock.advance(61)
    return [await scene.get(edge)]


async def a_range(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers(lambda _: True)
    return [await scene.get(edge, {"Range": "bytes=0-99"})]


async def completing(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers(lambda request: request.fields.get("range") == "bytes=100-")
    await edge.fetch(scene.path, fields={"Range": "bytes=0-99"})
    await written(edge)
    return [await scene.get(edge)]


async def writing_to_redis(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers()
    store = store_of(edge)
    put = store.put

    async def late(response: Any) -> bool:
        await scene.hold.wait()
        return await put(response)

    store.put = late  # type: ignore[method-assign]
    scene.restored.append(lambda: delattr(store, "put"))
    await edge.fetch(scene.path)
    return []


async def looking_behind(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers()
    await scene.stored(next(each for each in scene.edges if each is not edge))
    scene.stall(store_of(edge), "lookup")
    return [await scene.get(edge)]


async def bringing_a_body(scene: Scene, edge: RunningEdge) -> list[Download]:
    scene.answers()
    await scene.stored(next(each for each in scene.edges if each is not edge))
    scene.stall(edge.parts.store, "brought")
    return [await scene.get(edge)]


Phase: TypeAlias = Callable[[Scene, RunningEdge], Awaitable[list[Download]]]
PHASES: Final[tuple[Phase, ...]] = (
    before_the_head,
    in_the_body,
    validating,
    refreshing,
    a_range,
    completing,
    writing_to_redis,
    looking_behind,
    bringing_a_body,
)


async def run(scene: Scene, phase: Phase, kind: str) -> None:
    chance = scene.random
    held, purger = chance.choice(scene.edges), chance.choice(scene.edges)
    under_way = await phase(scene, held)
    await scene.hold.reached()
    scene.age = "new"
    await confirmed(purger, kind, SELECTORS[kind].format(path=scene.path))
    early = [await scene.get(chance.choice(scene.edges)) for _ in range(chance.randrange(4))]
    for _ in range(chance.randrange(30)):
        await asyncio.sleep(0)
    scene.hold.release()
    for restore in scene.restored:
        restore()
    answers = [await each.rest() for each in early]
    for edge in chance.sample(scene.edges, 2):
        answers += [await edge.fetch(scene.path) for _ in range(2)]
    for each in under_way:
        assert (await each.rest()).complete
    for edge in scene.edges:
        await written(edge)
        answers.append(await edge.fetch(scene.path))
    for answer in answers:
        check(answer)


def check(answer: ClientResponse) -> None:
    assert (answer.status, answer.complete, answer.fields["x-age"]) == (200, True, "new"), answer.cache_status
    assert answer.body == b"new" * (SIZE // 3)


@pytest.fixture
async def scenes(
    origin: ScriptedOrigin, clock: FakeClock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[[int], Scene]]:
    server = RedisServer(tmp_path).start()
    try:
        async with edges_sharing(server, origin, clock, SteadyClock()) as start:
            edges = [await start(), await start()]
            yield lambda seed: Scene(edges, origin, clock, random.Random(seed), f"/{seed}")
    finally:
        server.kill()


@pytest.mark.parametrize("kind", SELECTORS)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
@pytest.mark.timeout(300)
async def test_what_is_purged_stays_purged(scenes: Callable[[int], Scene], phase: Phase, kind: str) -> None:
    for seed in range(RUNS):
        scene = scenes(seed)
        await run(scene, phase, kind)
        await until(lambda scene=scene: all(edge.parts.cache.in_flight == 0 for edge in scene.edges))  # type: ignore[misc]
