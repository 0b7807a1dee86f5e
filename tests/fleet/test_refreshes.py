"""Refreshes among several edges of several processes: whatever is served, one process at a time asks the origin."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fleet.rig import EdgeProcess, Fleet, Truth, fleet, until
from tests.scenarios.rig import Received, Reply

pytestmark = pytest.mark.timeout(120)

PATHS = [f"/{name}" for name in "abcd"]
ROUNDS = 3
GRACE = "max-age=1, stale-while-revalidate=600"


class Generations(Truth):
    """An origin whose every answer is another: the tag that a validation presents tells what it is to replace."""

    def __init__(self) -> None:
        super().__init__()
        self.cache_control = GRACE
        self.replaced: dict[str, list[str]] = {path: [] for path in PATHS}

    async def answer(self, request: Received) -> Reply:
        if "if-none-match" in request.fields:
            self.replaced[request.target].append(request.fields["if-none-match"])
        await asyncio.sleep(0.1)
        self.versions[request.target] += 1
        version = self.versions[request.target]
        fields = {"Cache-Control": self.cache_control, "ETag": f'"{version}"'}
        return Reply(200, fields, self.body(request.target, version))


async def counted(running: Fleet, edge: EdgeProcess, name: str) -> int:
    async with running.session.get(f"{edge.admin}/v1/stats") as response:
        return int(json.loads(await response.read())["counters"]["counts"][name])


async def test_each_round_costs_the_origin_one_request(tmp_path: Path) -> None:
    """Two edges of two workers each, all of them busy: none of them asks for what another one has replaced."""
    async with fleet(tmp_path) as running:
        truth = Generations()
        running.truth = truth
        running.origin.script = truth.answer
        # A busy machine must not cost a lease here: then somebody would rightly ask again.
        one, other = await asyncio.gather(*(running.start(redis_lease="10s", redis_budget="1s") for _ in range(2)))
        loads = [running.load(edge, PATHS, clients=8) for edge in (one, other)]
        await until(lambda: all(len(replaced) >= ROUNDS for replaced in truth.replaced.values()))
        for load in loads:
            await load.stop()
            assert (load.wrong, load.broken) == ([], 0)
        for replaced in truth.replaced.values():
            assert len(set(replaced)) == len(replaced)
        for edge in (one, other):
            assert await counted(running, edge, "refreshes_elsewhere")
