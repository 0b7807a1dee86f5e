"""Conversations with a Redis server or cluster: every wait bounded, every failure a ``StoreError``.

Theory
    A request can wait for the shared store as long as the budget says, and no longer. What is given up then is
    the *waiting*: the conversation goes on in a task of its own, within its own deadlines, so that a connection that
    is slow to open is open for whoever comes next, a late answer is read by nobody else, and a request that is
    cancelled leaves no connection in an unknown state. Only a change ends with its waiting, so that it is not tried
    again behind the back of a later one; if it was already on its way, it can still take effect.

    Lookups of one turn of the event loop share a round trip: the first begins a batch, the batch is sent
    when the loop comes around, and whoever asks until then has joined it.

    After several unanswered attempts the breaker opens, and idle connections are dropped, since they may
    be as dead as the ones that failed. ``READONLY`` drops them too: this address used to be a primary.

Invariants
    * Nothing but ``StoreError`` is raised.
    * No round trip is waited for longer than the budget, as ``patience`` counts it.
    * At most ``connections`` of them go on at once.

Called by ``stores.redis``; made by the composition root.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from hashlib import sha1
from typing import Any, Final, TypeAlias, TypeVar

from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from edgecache.errors import StoreError
from edgecache.redis_client import ask, connect, drop_idle_connections, prepare
from edgecache.stores.breaker import Breaker
from edgecache.stores.patience import Patience, settled

__all__ = ["BUDGET", "CONNECTIONS", "UNHURRIED", "Command", "RedisLink", "Reply", "said"]

BUDGET: Final = 0.05
"""Seconds a request waits for one round trip; a lookup is one."""

UNHURRIED: Final = 0.5
"""Seconds for one round trip of work that no request waits for."""

CONNECTIONS: Final = 32
"""Connections to one server, and so conversations at once."""

_MOST_TOGETHER: Final = 64
"""Commands in one round trip; more make several, side by side, so that the first does not wait for the last."""

_WAIT: Final = 0.25
"""Seconds to wait for a connection when all are in use."""

_RETRIES: Final = 1
"""An idle connection may have been closed at the other end; to ask or to put twice does no harm."""

Command: TypeAlias = tuple[bytes | str | int, ...]
Reply: TypeAlias = Any
T = TypeVar("T")


class RedisLink:
    """Asks a server, within a budget.

    Args:
        url: see ``redis_client``.
        connections: most conversations at once; who cannot begin one waits, within the budget.
        budget: seconds one round trip may take.
        clock: monotonic seconds, for the breaker.

    Raises:
        ConfigError: the URL cannot be understood.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = CONNECTIONS,
        budget: float = BUDGET,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = connect(url, connections=connections, waiting=_WAIT, retries=_RETRIES)
        self._free = asyncio.Semaphore(connections)  # not every client lets one wait for a connection, this does
        self._budget = budget
        self._conversations: set[asyncio.Task[Any]] = set()
        self._batch: _Batch | None = None
        self._closed = False
        self.breaker: Final = Breaker(clock, on_open=self._drop_idle_connections)

    async def call(self, *command: bytes | str | int) -> Reply:
        """Return the reply to one command."""
        (reply,) = await self.each([command])
        return said(reply)

    async def each(self, commands: Sequence[Command], *, budget: float | None = None) -> list[Reply]:
        """Return the replies to commands sent in one round trip; an error is returned in its place."""
        return await self._within(budget, self._begin(lambda: self._exchange(commands), budget))

    async def together(self, *command: bytes | str | int) -> Reply:
        """As ``call``, sharing a round trip with all that are asked in this turn of the event loop."""
        batch = self._batch
        if batch is None or len(batch.commands) == _MOST_TOGETHER:
            batch = _Batch()
            batch.task = self._begin(lambda: self._send(batch))
            self._batch = batch
        place = len(batch.commands)
        batch.commands.append(command)
        assert batch.task is not None
        return said((await self._within(None, batch.task))[place])

    async def script(self, source: str, key: str, *arguments: bytes | str | int, budget: float | None = None) -> Reply:
        """Return the reply of a script over one key; the server gets its source when it does not know it."""
        digest = sha1(source.encode(), usedforsecurity=False).hexdigest()  # as EVALSHA names it
        reply = await self._change(budget, "EVALSHA", digest, 1, key, *arguments)
        if isinstance(reply, NoScriptError):
            reply = await self._change(budget, "EVAL", source, 1, key, *arguments)
        return said(reply)

    async def names(self, pattern: str, count: int, *, budget: float | None = None) -> AsyncIterator[bytes]:
        """Yield the names of keys that match ``pattern``, of all servers, some twice; ``count`` looked at per step."""
        found = self._client.scan_iter(match=pattern, count=count)
        while (name := await self._within(budget, self._begin(lambda: anext(found, None), budget))) is not None:
            yield name

    async def close(self) -> None:
        """End every conversation and close the connections."""
        self._closed = True
        for task in self._conversations:
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        try:
            await self._client.aclose()
        except Exception as error:
            raise StoreError(f"connections did not close: {_words(error)}") from error

    async def _change(self, budget: float | None, *command: bytes | str | int) -> Reply:
        """Return the reply to a command that changes something, or the error. It ends when the waiting ends."""
        task = self._begin(lambda: self._exchange([command]), budget)
        try:
            (reply,) = await self._within(budget, task)
        finally:
            task.cancel()
        return reply

    def _begin(
        self, conversation: Callable[[], Coroutine[Any, Any, T]], budget: float | None = None
    ) -> asyncio.Task[T]:
        """Return the task of a conversation that the breaker lets through."""
        if self._closed:
            raise StoreError("the store is closed")
        attempt = self.breaker.admit()
        late = Patience(budget or self._budget, attempt.failed)

        async def converse() -> T:
            try:
                outcome = await self._in_turn(budget, conversation)
            except asyncio.CancelledError:
                attempt.failed()
                raise
            except Exception as error:  # whatever a library makes of what a broken peer says
                attempt.failed()
                raise StoreError(f"no answer: {_words(error)}") from error
            finally:
                late.cancel()
            attempt.succeeded()
            return outcome

        task = asyncio.create_task(converse())
        self._conversations.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _in_turn(self, budget: float | None, conversation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Hold a conversation when there is a connection for it; what waits too long is not begun."""
        async with asyncio.timeout(budget or self._budget):
            await self._free.acquire()
        try:
            return await conversation()
        finally:
            self._free.release()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._conversations.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever still waits for it gets it as well

    async def _within(self, budget: float | None, task: asyncio.Task[T]) -> T:
        """Wait for a conversation as long as the budget allows; cancelling the wait does not disturb it."""
        seconds = budget or self._budget
        if not await settled(task, seconds):
            raise StoreError(f"no answer within {seconds * 1000:.0f} ms")
        if task.cancelled():
            raise StoreError("the store was closed")
        return task.result()

    async def _send(self, batch: _Batch) -> list[Reply]:
        """Send a batch; this runs when the loop has come around once."""
        if self._batch is batch:
            self._batch = None
        return await self._exchange(batch.commands)

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the replies, errors that the server said among them."""
        if len(commands) == 1:  # not as a pipeline: that of a cluster refuses scripts
            replies = [await self._ask(commands[0])]
        else:
            await prepare(self._client)
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            self._drop_idle_connections()
        return replies

    async def _ask(self, command: Command) -> Reply:
        try:
            return await ask(self._client, *command)
        except ResponseError as said:
            return said

    def _drop_idle_connections(self) -> None:
        """Have new conversations begin on new connections, in a cluster with a new map of it."""
        if self._closed:
            return
        task = asyncio.get_running_loop().create_task(drop_idle_connections(self._client))
        self._conversations.add(task)
        task.add_done_callback(self._ended)


class _Batch:
    """Commands that share a round trip."""

    __slots__ = ("commands", "task")

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.task: asyncio.Task[list[Reply]] | None = None


def said(reply: Reply) -> Reply:
    """Return a reply that is not an error.

    Raises:
        StoreError: it is one.
    """
    if isinstance(reply, Exception):
        raise StoreError(f"the server refused: {_words(reply)}") from reply
    return reply


def _words(error: BaseException) -> str:
    """Return what an error says, short enough for a log line."""
    return f"{type(error).__name__} {error}"[:200]
