"""A time limit for others, that does not run while this process itself is too busy to look.

Theory
    An event loop that was busy for a while finds its timers due and answers arrived, both at once, and a plain timer
    would then give up on a server that was quick. So the time is counted in slices: each is begun when the one
    before was seen to end, and however long the loop was away in between, it costs one slice. A limit of 50 ms
    is 50 ms for as long as the loop turns, and longer by what this process itself was late.

Called by ``redis_link``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Patience", "settled"]

_SLICES: Final = 5


class Patience:
    """Calls ``expired`` after ``seconds``, unless cancelled before."""

    __slots__ = ("_expired", "_left", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float, expired: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expired = expired
        self._seconds = seconds / _SLICES
        self._left = _SLICES
        self._timer = self._loop.call_later(self._seconds, self._tick)

    def cancel(self) -> None:
        """It is not needed any more."""
        self._timer.cancel()

    def _tick(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._seconds, self._tick)
        else:
            self._expired()


async def settled(task: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for a task as long as patience allows; return whether it is done. Who stops waiting does not disturb it."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    patience = Patience(seconds, wake)
    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        patience.cancel()
        task.remove_done_callback(wake)
    return task.done()
