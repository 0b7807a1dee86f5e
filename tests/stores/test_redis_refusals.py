"""The shared tier when its server says no, or says something else than it was asked."""

from __future__ import annotations

import asyncio

import pytest

from edgecache.errors import StoreError
from edgecache.stores.breaker import FAILURES
from tests.faults.refusals import ODD_REPLIES, REFUSALS
from tests.stores.contract import key, response
from tests.stores.redis_rig import LARGE, OPERATIONS, Rig, fill, tried


@pytest.mark.parametrize("name", OPERATIONS)
async def test_whatever_the_server_refuses_is_a_store_error(rig: Rig, name: str) -> None:
    await fill(rig.straight)
    for words in REFUSALS:
        rig.proxy.replies["*"] = f"-{words}\r\n".encode()
        store = rig.through()
        assert isinstance(await tried(OPERATIONS[name](store)), StoreError)


@pytest.mark.parametrize("reply", ODD_REPLIES)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_reply_of_another_form_is_a_store_error_or_a_miss(rig: Rig, name: str, reply: bytes) -> None:
    await fill(rig.straight)
    rig.proxy.replies["*"] = reply
    store = rig.through()
    assert isinstance(await tried(OPERATIONS[name](store)), StoreError | tuple | int | None)


async def test_refusals_in_time_do_not_open_the_breaker(rig: Rig) -> None:
    await fill(rig.straight)
    rig.proxy.replies["EVALSHA"] = b"-OOM command not allowed\r\n"
    store = rig.through()
    for _ in range(2 * FAILURES):
        assert isinstance(await tried(store.put(response())), StoreError)
    assert len(await store.lookup(key("a"))) == 1


async def test_a_read_only_server_is_left_for_whoever_is_there_now(rig: Rig) -> None:
    """The name of a primary points to the new one after a failover; old connections still lead to the old one."""
    rig.proxy.replies["EVALSHA"] = b"-READONLY You can't write against a read only replica.\r\n"
    store = rig.through()
    assert isinstance(await tried(store.put(response())), StoreError)
    del rig.proxy.replies["EVALSHA"]
    await asyncio.gather(*store._link._conversations)
    assert await store.put(response())
    assert rig.proxy.accepted == 2


async def test_a_server_that_forgot_the_script_gets_it_again(rig: Rig) -> None:
    store = rig.through()
    await store.put(response())
    rig.server.ask("SCRIPT", "FLUSH")
    assert await store.remove_key(key("a")) == 1


async def test_a_full_server_refuses_new_responses_and_still_takes_removals(own_rig: Rig) -> None:
    store = own_rig.through()
    await fill(store)
    await store.put(response("other"))
    own_rig.server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    own_rig.server.ask("CONFIG", "SET", "maxmemory", "1")
    for body in (b"new", LARGE):
        assert isinstance(await tried(store.put(response("new", body))), StoreError)
    assert isinstance(await tried(store.put(response(status=203))), StoreError)
    assert await store.lookup(key("a")) == ()  # what it was to replace does not come back
    assert len(await store.lookup(key("other"))) == 1
    assert await store.remove_key(key("other")) == 1
    own_rig.server.ask("CONFIG", "SET", "maxmemory", "0")
    assert await store.put(response())


async def test_a_closed_store_is_an_error(rig: Rig) -> None:
    store = rig.through()
    await store.lookup(key("a"))
    rig.proxy.down.hold = asyncio.Event()
    waiting = asyncio.create_task(tried(store.lookup(key("a"))))
    await asyncio.sleep(0)
    await store.close()
    assert isinstance(await waiting, StoreError)
    for operation in OPERATIONS.values():
        assert isinstance(await tried(operation(store)), StoreError)
    rig.stores.remove(store)
