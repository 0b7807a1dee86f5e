"""The composed program with other than default tables, and waiting for what it does by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

from edgecache.app import compose
from edgecache.edges.config import Admin, Cache, Config, Log, Origin, Redis, Server
from edgecache.engine.cache import eagerness
from edgecache.purging.distributed import boottime
from edgecache.semantics.rules import Rule
from tests.scenarios.rig import ClientResponse, fetch
from tests.scenarios.running import RunningEdge

__all__ = ["edge_before", "ordered", "outcome", "requested", "settled", "silent_client", "until"]


@contextlib.asynccontextmanager
async def edge_before(
    *urls: str,
    clock: Callable[[], float] = time.time,
    origin: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
    cache: Mapping[str, Any] | None = None,
    redis: Mapping[str, Any] | None = None,
    rules: Iterable[Rule] = (),
    steady: Callable[[], float] = boottime,
    luck: Callable[[], float] = eagerness,
) -> AsyncIterator[RunningEdge]:
    """Run an edge in front of ``urls``; the mappings are keys of the tables of the same names."""
    config = Config(
        origin=Origin(urls=urls, **(origin or {})),
        server=Server(**{"listen": "127.0.0.1:0", "drain_timeout": 0.0, **(server or {})}),
        admin=Admin(listen="127.0.0.1:0"),
        cache=Cache(**(cache or {})),
        redis=Redis(**(redis or {})),
        log=Log(access="off"),
        rules=tuple(rules),
    )
    parts = await compose(config, clock=clock, steady=steady, luck=luck)
    try:
        yield RunningEdge(parts, int(parts.public.addresses[0].rpartition(":")[2]))
    finally:
        await parts.close()


async def until(holds: Callable[[], bool]) -> None:
    """Let everybody work until something holds; the time limit of the tests is the limit."""
    while not holds():  # noqa: ASYNC110 - the program has no event for what its tests want to know
        await asyncio.sleep(0)


async def requested(edge: RunningEdge, count: int) -> None:
    """Wait until ``count`` requests altogether have reached the engine; each then waits for its answer, or has it."""
    await until(lambda: edge.parts.counters.requests >= count)


async def ordered(edge: RunningEdge, path: str, order: object = None) -> dict[str, Any]:
    """Send an order to the admin listener, or ask it a question; return its answer."""
    ((host, port, *_),) = edge.parts.admin_addresses  # type: ignore[misc]
    content = b"" if order is None else json.dumps(order).encode()
    fields = {"Host": host, "Authorization": edge.parts.local_token.authorization}
    fields |= {"Content-Length": str(len(content))} if content else {}
    response = await fetch(port, path, "POST" if content else "GET", fields, content)
    return json.loads(response.body)  # type: ignore[no-any-return]


async def settled(edge: RunningEdge) -> None:
    """Wait until nothing is on its way from the origin."""
    await until(lambda: edge.parts.cache.in_flight == 0)


async def outcome(response: asyncio.Task[ClientResponse]) -> ClientResponse | None:
    """Wait for a response; None when its connection broke before there was one."""
    try:
        return await response
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


@contextlib.contextmanager
def silent_client(port: int, target: str) -> Iterator[None]:
    """A client that asks and never reads, with as little room in the kernel as the kernel gives."""
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        silent.connect(("127.0.0.1", port))
        silent.sendall(f"GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode())
        yield
