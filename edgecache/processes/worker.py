"""A worker: an edge in a process of its own, from what it inherits until it is told to end, or nobody is left to.

Theory
    It gets everything ready, says so, and accepts connections when it is told to (``inheritance``). To end, it lets
    running responses finish, for ``drain_timeout`` at most; when its supervisor is gone it does so by itself, since
    nobody would start it again or tell it anything. Then it also removes the directory that they shared.

Invariants
    * Nothing of the event loop is made before the fork.
    * Exit code: 0; 1 when responses were cut off; 2 when it could not start.

Called by ``processes.child``, in the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from edgecache.app import compose
from edgecache.errors import ConfigError
from edgecache.processes.garbage import bound_pauses
from edgecache.processes.inheritance import Order, Status, refusal

if TYPE_CHECKING:
    import socket

    from edgecache.app import Edge
    from edgecache.edges.config import Config
    from edgecache.processes.inheritance import Inheritance

__all__ = ["CUT_OFF", "REFUSED", "work"]

CUT_OFF: Final = 1
REFUSED: Final = 2

_PUBLISH_SECONDS: Final = 1.0
"""Between two times that a worker publishes its numbers; as much may be lost when it is killed."""


def work(config: Config, inheritance: Inheritance) -> int:
    """Run an edge; return the exit code of the process."""
    logging.getLogger().setLevel(config.log.level.upper())
    inheritance.channel.setblocking(False)
    bound_pauses()
    with asyncio.Runner(loop_factory=_LOOP_FACTORY) as runner:
        return runner.run(_serve(config, inheritance))


async def _serve(config: Config, inheritance: Inheritance) -> int:
    orders = _Orders(inheritance.channel)
    try:
        edge = await compose(config, inheritance=inheritance)
    except ConfigError as error:
        orders.answer(Status.REFUSED, refusal(error))
        return REFUSED
    publishing = asyncio.create_task(_publish(edge))
    try:
        orders.answer(Status.READY)
        return 0 if await _obey(edge, orders) else CUT_OFF
    finally:
        publishing.cancel()
        await edge.close()
        edge.shown.publish()
        if orders.is_orphan:
            shutil.rmtree(inheritance.run_dir, ignore_errors=True)


async def _obey(edge: Edge, orders: _Orders) -> bool:
    """Do as told until told to end, and end; return whether every response came to its end."""
    while (order := await orders.next()) in (Order.OPEN, Order.REOPEN):
        if order is Order.OPEN:
            await edge.open()
        else:
            edge.reopen_log()
    if order in (Order.RETIRE, Order.LEAVE):
        await edge.retire(last=order is Order.LEAVE)
        orders.answer(Status.QUIET)
    draining = asyncio.ensure_future(edge.drain())
    while order is not Order.FORCE and not draining.done():
        hearing = asyncio.ensure_future(orders.next())
        await asyncio.wait((draining, hearing), return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            hearing.cancel()
        elif (order := hearing.result()) is Order.REOPEN:
            edge.reopen_log()
    if draining.done():
        return draining.result()
    nobody_left = edge.connections == 0
    await edge.force()
    await draining
    return nobody_left


async def _publish(edge: Edge) -> None:
    while True:
        edge.shown.publish()
        await asyncio.sleep(_PUBLISH_SECONDS)


class _Orders:
    """The worker's end of the channel."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel: Final = channel
        self._heard: Final[asyncio.Queue[Order]] = asyncio.Queue()
        self.is_orphan = False
        asyncio.get_running_loop().add_reader(channel, self._hear)

    def answer(self, status: Status, more: bytes = b"") -> None:
        """Tell the supervisor, if there still is one."""
        with contextlib.suppress(OSError):  # that it is gone is heard as well
            self._channel.send(status.value + more)

    async def next(self) -> Order:
        """Wait for the next order."""
        return await self._heard.get()

    def _hear(self) -> None:
        try:
            heard = self._channel.recv(64)
        except ConnectionError:
            heard = b""
        for one in heard:
            self._heard.put_nowait(Order(bytes([one])))
        if not heard:
            self.is_orphan = True
            asyncio.get_running_loop().remove_reader(self._channel)
            self._heard.put_nowait(Order.STOP)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it installs; else the loop of the standard library."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


_LOOP_FACTORY: Final = _loop_factory()
