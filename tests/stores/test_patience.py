"""A limit runs out while the loop turns, and not because the loop was away."""

from __future__ import annotations

import asyncio
import time

from edgecache.stores.patience import Patience, settled

LIMIT = 0.05


async def test_it_runs_out() -> None:
    assert not await settled(asyncio.get_running_loop().create_future(), LIMIT)


async def test_what_is_done_is_waited_for_no_longer() -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    assert await settled(done, 3600.0)


async def test_a_busy_loop_costs_the_other_side_nothing() -> None:
    """What has come meanwhile is seen, however many steps of this program it takes to see it."""

    async def answer() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    task = asyncio.create_task(answer())
    asyncio.get_running_loop().call_soon(time.sleep, 3 * LIMIT)
    assert await settled(task, LIMIT)


async def test_a_plain_timer_would_have_given_up() -> None:
    """The same, with what this is not: the test above is able to fail."""
    tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
    asyncio.get_running_loop().call_soon(time.sleep, 3 * LIMIT)

    async def answer() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    done, _ = await asyncio.wait([asyncio.create_task(answer())], timeout=LIMIT)
    await asyncio.gather(*tasks)
    assert not done


async def test_who_is_not_needed_says_nothing() -> None:
    said: list[None] = []
    Patience(0.0, lambda: said.append(None)).cancel()
    await asyncio.sleep(0.01)
    assert not said
