"""The question of scale is put to edges that are filled as the sizes say, and they answer hits."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import scaling
from benchmarks.in_process import Client, running_edge
from benchmarks.processes import Failed
from benchmarks.scaling import Size
from benchmarks.workload import Workload
from edgecache.semantics.stored import CacheKey
from edgecache.stores.memory import MemoryStore


def keys_of(memory: MemoryStore) -> list[CacheKey]:
    return [key for shard in range(memory.shards) for key in memory.keys_in(shard)]


@pytest.mark.parametrize(
    "size",
    [Size(objects=300, asked=100), Size(objects=100, asked=100, tags=20), Size(objects=100, asked=100, purges=50)],
    ids=["objects", "tags", "purges"],
)
async def test_an_edge_is_filled_as_its_size_says(size: Size) -> None:
    async with running_edge() as edge:
        with Client(edge) as client:
            workload = await scaling.fill(edge, client, size)
            client.hits([workload.head(number).encode() for number in range(size.objects)])
            assert edge.memory.statistics().responses == size.objects + 1  # the one that was copied
            assert edge.ledger.sequence == size.purges
            assert {len(stored.tags) for key in keys_of(edge.memory) for stored in edge.memory.peek(key)} == {size.tags}


async def test_copies_share_nothing() -> None:
    async with running_edge() as edge:
        with Client(edge) as client:
            await scaling.fill(edge, client, Size(objects=2, asked=2))
            one, other = (edge.memory.peek(key)[0] for key in sorted(keys_of(edge.memory))[:2])
            assert one.body.local is not None
            assert other.body.local is not None
            assert one.body.local[0] is not other.body.local[0]
            assert one.rendered is not other.rendered


async def test_who_is_not_answered_from_memory_is_no_hit() -> None:
    async with running_edge() as edge:
        with Client(edge) as client:
            with pytest.raises(Failed, match="no hit"):
                client.hits([Workload().head("never-asked-for").encode()])
            await asyncio.sleep(0)


@pytest.mark.timeout(120)
def test_sizes_are_measured_in_turn() -> None:
    found = scaling.answers({"few": Size(objects=10, asked=10), "more": Size(objects=20, asked=20)}, rounds=2, hits=20)
    assert {name: len(times) for name, times in found.items()} == {"few": 2, "more": 2}
    assert all(time > 0 for times in found.values() for time in times)
