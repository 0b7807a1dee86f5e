"""What the collector of cycles does not look at any more has to go without it."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from edgecache.processes import worker
from edgecache.processes.garbage import bound_pauses
from edgecache.stores.memory import MemoryStore
from tests.scenarios.answers import FRESH
from tests.scenarios.composed import edge_before
from tests.scenarios.rig import FakeClock, Reply, ScriptedOrigin
from tests.stores.contract import response

Visit = Callable[[socket.socket, int], None]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection but those that a test asks for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def python_settings() -> Iterator[None]:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield
    gc.set_threshold(*thresholds)
    gc.callbacks[:] = callbacks
    gc.unfreeze()


def found() -> Counter[str]:
    """What is garbage now for being part of cycles, by type; nothing of it is left."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()
    return kinds


def asked(client: socket.socket, request: str) -> None:
    client.sendall(request.encode())
    received = b""
    while not received.endswith(b"end"):
        received += client.recv(65536)


def get(client: socket.socket, number: int) -> None:
    """A miss and a hit."""
    for _ in range(2):
        asked(client, f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n")


def reload(client: socket.socket, number: int) -> None:
    asked(client, "GET /reloaded HTTP/1.1\r\nHost: x\r\nCache-Control: no-cache\r\n\r\n")


def post(client: socket.socket, number: int) -> None:
    asked(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")


def leave(client: socket.socket, number: int) -> None:
    """In the middle of a head."""
    client.sendall(b"GET / HT")


def leave_early(client: socket.socket, number: int) -> None:
    """Before the answer comes."""
    client.sendall(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def be_refused(client: socket.socket, number: int) -> None:
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    while client.recv(65536):
        pass


async def visited(visit: Visit, times: int) -> Counter[str]:
    """Return the garbage that so many connections leave, after some that are the first."""
    async with ScriptedOrigin() as origin, edge_before(origin.url, clock=FakeClock()) as edge:
        origin.script = lambda _: Reply(200, FRESH, b"an endless body has no end")

        def connect(number: int) -> None:
            with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as client:
                visit(client, number)

        for number in range(-3, times):
            await asyncio.to_thread(connect, number)
            while edge.parts.connections or edge.parts.cache.in_flight:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            if number == -1:
                found()
        return found()


def run(story: Coroutine[Any, Any, Counter[str]]) -> Counter[str]:
    """Run a story on the event loop that workers have."""
    with asyncio.Runner(loop_factory=worker._LOOP_FACTORY) as runner:
        return runner.run(story)


@pytest.mark.parametrize("visit", [get, reload, post, leave, leave_early, be_refused], ids=lambda visit: visit.__name__)
def test_a_connection_that_ends_is_part_of_no_cycle(visit: Visit, uncollected: None) -> None:
    times = 20
    left = run(visited(visit, times))
    assert not {kind: count for kind, count in left.items() if count >= times}


def test_what_survives_a_full_collection_is_set_aside(python_settings: None) -> None:
    bound_pauses()
    before = gc.get_freeze_count()
    kept = [[number] for number in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() > before + len(kept)
    assert not gc.get_objects(generation=2)
    bound_pauses()
    assert len([each for each in gc.callbacks if each.__module__ == bound_pauses.__module__]) == 1


def test_no_table_of_a_store_is_looked_at_again(python_settings: None) -> None:
    """A dict of nothing but plain values would be: it is set aside no more as soon as something is added."""
    store = MemoryStore(10_000_000)
    for number in range(2_000):
        store.put_now(response(str(number), uri=f"http://{number}.example/", tags=frozenset({f"product:{number}"})))
    bound_pauses()
    gc.collect()
    store.put_now(response("new", uri="http://new.example/", tags=frozenset({"product:new"})))
    census = store._census
    tables = {id(part): name for name in census.__slots__ if name != "bytes" for part in getattr(census, name)}
    tables |= {id(part): "shards" for part in store._shards}
    assert not [tables[id(each)] for each in gc.get_objects() if id(each) in tables]


def test_cycles_that_end_before_are_found(python_settings: None) -> None:
    bound_pauses()

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    Cycle()
    assert gc.collect() > 0
