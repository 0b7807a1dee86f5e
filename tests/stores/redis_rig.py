"""What fault tests of the shared tier share: a server, a proxy in front of it, and all operations.

Where something is to fail for lack of an answer the budget is ``SHORT``; where it is to succeed, it is one
that no test uses up. Time for the breaker is a number in the test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from edgecache.errors import StoreError
from edgecache.semantics.stored import Freshness, StoredResponse
from edgecache.stores.breaker import PAUSE
from edgecache.stores.record import CHUNK
from edgecache.stores.redis import RedisStore
from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer
from tests.stores.contract import content, key, response
from tests.stores.redis_stores import PATIENT, redis_store, unused_namespace

__all__ = ["LARGE", "OPERATIONS", "SHORT", "STORED", "Clock", "Rig", "eventually", "fill", "rig_of", "tried"]

SHORT: Final = 0.02
"""Seconds: a budget that is to be used up."""

LARGE: Final = bytes(range(256)) * (CHUNK // 256) + b"the end"


class Clock:
    """Seconds for the breaker."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    """Two stores in one namespace: one with a straight way to the server, one through the proxy."""

    server: RedisServer
    proxy: FaultProxy
    clock: Clock
    namespace: str
    straight: RedisStore
    stores: list[RedisStore]

    def through(self, budget: float = PATIENT, connections: int = 10) -> RedisStore:
        store = redis_store(
            self.proxy.url, namespace=self.namespace, budget=budget, connections=connections, clock=self.clock
        )
        self.stores.append(store)
        return store


async def rig_of(server: RedisServer, path: Path) -> AsyncIterator[Rig]:
    namespace = unused_namespace()
    straight = redis_store(server.url, namespace=namespace)
    async with FaultProxy(server.socket, path) as proxy:
        rig = Rig(server, proxy, Clock(), namespace, straight, [straight])
        yield rig
        for store in rig.stores:
            await store.close()


Operation = Callable[[RedisStore], Awaitable[object]]


async def read_large(store: RedisStore) -> tuple[bytes, ...]:
    return tuple([await content(found) for found in await store.lookup(key("large"))])


async def clear(store: RedisStore) -> None:
    await store.clear()


async def erase(store: RedisStore) -> None:
    async for _ in store.erase(lambda _: True):
        pass


STORED: Final = response()
OPERATIONS: Final[dict[str, Operation]] = {
    "lookup": lambda store: store.lookup(key("a")),
    "put": lambda store: store.put(response(body=b"other")),
    "put large": lambda store: store.put(response(body=LARGE)),
    "replace": lambda store: store.replace(STORED, replace(STORED, freshness=Freshness(2000.0, 1.0))),
    "remove": lambda store: store.remove(STORED),
    "remove_key": lambda store: store.remove_key(key("a")),
    "read": read_large,
    "clear": clear,
    "erase": erase,
}


async def tried(operation: Awaitable[object]) -> object:
    """The outcome, or the one error there may be."""
    try:
        return await operation
    except StoreError as error:
        return error


async def fill(store: RedisStore) -> None:
    await store.put(STORED)
    await store.put(response("large", LARGE))


async def eventually(store: RedisStore, clock: Clock) -> tuple[StoredResponse, ...]:
    """What a lookup returns once the server answers again; a pause passes before each attempt."""
    for _ in range(200):
        clock.now += PAUSE
        found = await tried(store.lookup(key("a")))
        if isinstance(found, tuple):
            return found
    raise AssertionError("no answer any more")
