"""PURGE as publishing systems send it, on the port of the clients; and memory after a purge."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.composed import edge_before, settled, until
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, FieldsLike, Received, Reply, ScriptedOrigin

FRESH = {"Cache-Control": "max-age=600, stale-while-revalidate=600", "Surrogate-Key": "product:1 list"}


@pytest.fixture
async def edge(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[RunningEdge]:
    """An edge that takes PURGE from this machine, before an origin that counts."""
    origin.script = lambda request: Reply(200, FRESH, b"body %d" % request.number)
    async with edge_before(origin.url, clock=clock, server={"purge_from": ("127.0.0.1",)}) as running:
        yield running


def methods(received: list[Received]) -> list[str]:
    return [each.method for each in received]


@pytest.mark.parametrize(
    ("target", "fields", "gone"),
    [
        ("/a", {}, True),
        ("/b", {}, False),
        ("/a?", {}, False),
        ("/b", {"Surrogate-Key": "list"}, True),
        ("/a", {"xkey": "other"}, False),
        ("http://another.example/a", {}, False),
    ],
)
async def test_what_it_means_is_gone_and_nothing_else(
    edge: RunningEdge, origin: ScriptedOrigin, target: str, fields: FieldsLike, gone: bool
) -> None:
    for _ in range(2):
        assert (await edge.fetch("/a")).body == b"body 1"
    purged = await edge.fetch(target, "PURGE", fields)
    assert (purged.status, json.loads(purged.body)["matched"]) == (200, int(gone))
    assert (await edge.fetch("/a")).body == (b"body 2" if gone else b"body 1")
    assert set(methods(origin.requests)) == {"GET"}


async def test_softly_it_makes_stale(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    await edge.fetch("/a")
    assert (await edge.fetch("/a", "PURGE", {"Soft-Purge": "1"})).status == 200
    assert (await edge.fetch("/a")).body == b"body 1"
    await origin.received(2)


async def test_its_answer_is_never_stored(edge: RunningEdge) -> None:
    first, second = [json.loads((await edge.fetch("/a", "PURGE")).body) for _ in range(2)]
    assert (first["sequence"], second["sequence"]) == (1, 2)
    assert (await edge.fetch("/a")).body == b"body 1"


async def test_what_was_purged_leaves_memory_without_being_asked_for(edge: RunningEdge) -> None:
    for target in ("/a", "/b", "/c"):
        await edge.fetch(target)
    await settled(edge)
    memory = edge.parts.memory
    assert memory.statistics().responses == 3
    await edge.fetch("/b", "PURGE")
    await until(lambda: memory.statistics().responses == 2)
    await edge.fetch("/", "PURGE", {"xkey": "list"})
    await until(lambda: memory.statistics().bytes == 0)
    assert edge.parts.sweeper.swept == 3
