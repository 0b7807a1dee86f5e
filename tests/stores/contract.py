"""What every store promises (``edgecache/stores/base.py``), as tests to inherit.

A store in memory inherits ``LocalStoreContract``; its fixture has a budget of ``BUDGET`` bytes.

A test class of a store inherits ``StoreContract`` and has a fixture ``store`` that makes an empty one with
room for a few hundred small responses and ``max_variants`` of ``VARIANTS``. Only the asynchronous operations are
used, and responses go back into the store as a lookup returned them, because a store may return equal values
instead of the same objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from msgspec.structs import replace

from edgecache.engine.walk import Walkable
from edgecache.errors import StoreError
from edgecache.http.ranges import ContentRange
from edgecache.semantics.stored import Birth, CacheKey, Freshness, Selecting, StoredResponse, Validators
from edgecache.stores.base import LocalStore, Slot, Store
from edgecache.stores.body import MemoryBody

__all__ = [
    "BUDGET",
    "VARIANTS",
    "LocalStoreContract",
    "StoreContract",
    "content",
    "every_key",
    "key",
    "response",
    "variant",
]

VARIANTS: Final = 4
BUDGET: Final = 2**20


def key(name: str) -> CacheKey:
    return CacheKey(f"https://example.com/{name}")


def response(name: str = "a", body: bytes = b"hello", **changes: object) -> StoredResponse:
    """Return a response with something in every attribute, changed as said."""
    made = StoredResponse(
        key=key(name),
        status=200,
        fields=(("Content-Type", "text/plain"), ("Set-Thing", "\xe9"), ("set-thing", "again"), ("Empty", "")),
        body=MemoryBody((body,)),
        freshness=Freshness(1000.5, 60.0, grace=5.0, if_error=6.0, if_unreachable=7.0, keep=8.0, immutable=True),
        birth=Birth(b"epoch", 7),
        validators=Validators('"v1"', "Mon, 23 Nov 2026 00:00:00 GMT"),
        tags=frozenset({"product:1", "home"}),
        response_time=1000.75,
        uri=key(name),
        rendered=b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def variant(language: str | None, name: str = "a", body: bytes = b"hello") -> StoredResponse:
    """Return the response that was selected by one value of Accept-Language."""
    return response(name, body, selecting=Selecting(("accept-language",), (language,)))


async def content(stored: StoredResponse) -> bytes:
    return b"".join([bytes(piece) async for piece in stored.body.read(0, stored.body.size)])


def languages(found: tuple[StoredResponse, ...]) -> list[str | None]:
    return [stored.selecting.values[0] for stored in found]


def every_key(store: Walkable) -> list[CacheKey]:
    return [key for shard in range(store.shards) for key in store.keys_in(shard)]


class StoreContract:
    """Inherit, and provide the fixture ``store``."""

    async def test_an_empty_store_has_nothing(self, store: Store) -> None:
        assert await store.lookup(key("a")) == ()
        assert store.statistics().responses == 0

    async def test_what_is_put_is_found_as_it_was(self, store: Store) -> None:
        put = response(content_range=ContentRange(0, 4, 10), status=206)
        assert await store.put(put)
        (found,) = await store.lookup(put.key)
        assert replace(found, body=put.body) == put
        assert found.rendered == put.rendered
        assert await content(found) == b"hello"

    async def test_keys_do_not_mix(self, store: Store) -> None:
        await store.put(response("a", b"one"))
        await store.put(response("b", b"two"))
        assert [await content(r) for r in await store.lookup(key("a"))] == [b"one"]
        assert [await content(r) for r in await store.lookup(key("b"))] == [b"two"]

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 0), (0, 1), (3, 7), (0, 200_000), (199_999, 200_000), (65_530, 131_080)]
    )
    async def test_any_part_of_a_body_can_be_read(self, store: Store, start: int, stop: int) -> None:
        body = bytes(range(250)) * 800
        await store.put(response(body=body))
        (found,) = await store.lookup(key("a"))
        assert found.body.size == len(body)
        assert b"".join([bytes(piece) async for piece in found.body.read(start, stop)]) == body[start:stop]

    async def test_a_body_in_many_chunks_and_an_empty_one(self, store: Store) -> None:
        await store.put(response("many", body=b"", selecting=Selecting()))
        await store.put(replace(response("a"), body=MemoryBody((b"ab", b"", b"c", b"defg"))))
        (empty,) = await store.lookup(key("many"))
        (found,) = await store.lookup(key("a"))
        assert (empty.body.size, await content(empty)) == (0, b"")
        assert (found.body.size, await content(found)) == (7, b"abcdefg")

    async def test_bytes_that_a_body_does_not_have_are_an_error(self, store: Store) -> None:
        await store.put(response())
        (found,) = await store.lookup(key("a"))
        with pytest.raises(StoreError):
            [piece async for piece in found.body.read(3, 6)]

    async def test_equal_selecting_values_replace(self, store: Store) -> None:
        await store.put(variant("de", body=b"old"))
        await store.put(variant("de", body=b"new"))
        assert [await content(r) for r in await store.lookup(key("a"))] == [b"new"]
        assert store.statistics().responses == 1

    async def test_a_part_takes_the_place_of_a_part(self, store: Store) -> None:
        await store.put(response(status=206, content_range=ContentRange(0, 4, 10)))
        await store.put(response(status=206, content_range=ContentRange(5, 9, 10)))
        assert [r.content_range for r in await store.lookup(key("a"))] == [ContentRange(5, 9, 10)]

    async def test_different_selecting_values_stand_side_by_side_newest_first(self, store: Store) -> None:
        for language in ("de", "en", None):
            await store.put(variant(language))
        assert languages(await store.lookup(key("a"))) == [None, "en", "de"]
        await store.put(variant("de"))
        assert languages(await store.lookup(key("a"))) == ["de", None, "en"]

    async def test_an_absent_and_an_empty_selecting_value_differ(self, store: Store) -> None:
        await store.put(variant(None))
        await store.put(variant(""))
        assert languages(await store.lookup(key("a"))) == ["", None]

    async def test_variants_beyond_the_bound_are_evicted_oldest_first(self, store: Store) -> None:
        for number in range(VARIANTS + 2):
            await store.put(variant(f"l{number}"))
        assert languages(await store.lookup(key("a"))) == [f"l{number}" for number in range(VARIANTS + 1, 1, -1)]

    async def test_replace_swaps_the_head_and_keeps_the_body(self, store: Store) -> None:
        await store.put(variant("de"))
        await store.put(variant("en"))
        old = (await store.lookup(key("a")))[1]
        new = replace(old, freshness=Freshness(2000.0, 60.0), fields=(("X", "2"),))
        assert await store.replace(old, new)
        found = {r.selecting.values[0]: r for r in await store.lookup(key("a"))}
        assert found["de"].freshness == new.freshness
        assert found["de"].fields == new.fields
        assert await content(found["de"]) == b"hello"
        assert found["en"].freshness != new.freshness

    async def test_a_late_replace_brings_nothing_back(self, store: Store) -> None:
        await store.put(response())
        (old,) = await store.lookup(key("a"))
        new = replace(old, freshness=Freshness(2000.0, 60.0))
        await store.remove(old)
        assert not await store.replace(old, new)
        assert await store.lookup(key("a")) == ()

    async def test_a_late_replace_does_not_undo_a_newer_put(self, store: Store) -> None:
        await store.put(response(body=b"old"))
        (old,) = await store.lookup(key("a"))
        await store.put(response(body=b"new"))
        assert not await store.replace(old, replace(old, freshness=Freshness(2000.0, 60.0)))
        assert [await content(r) for r in await store.lookup(key("a"))] == [b"new"]

    async def test_a_replacement_with_the_selecting_values_of_a_third_takes_its_place_too(self, store: Store) -> None:
        await store.put(variant("de", body=b"de"))
        await store.put(variant("en", body=b"en"))
        old = (await store.lookup(key("a")))[1]
        assert await store.replace(old, replace(old, selecting=Selecting(("accept-language",), ("en",))))
        assert [await content(r) for r in await store.lookup(key("a"))] == [b"de"]

    async def test_remove_takes_one_response(self, store: Store) -> None:
        await store.put(variant("de"))
        await store.put(variant("en"))
        first, second = await store.lookup(key("a"))
        assert await store.remove(first)
        assert not await store.remove(first)
        assert languages(await store.lookup(key("a"))) == languages((second,))

    async def test_remove_key_takes_all_of_them_and_says_how_many(self, store: Store) -> None:
        await store.put(variant("de"))
        await store.put(variant("en"))
        await store.put(response("b"))
        assert await store.remove_key(key("a")) == 2
        assert await store.remove_key(key("a")) == 0
        assert await store.lookup(key("a")) == ()
        assert len(await store.lookup(key("b"))) == 1

    async def test_clear_removes_everything(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            await store.put(response(name))
        await store.clear()
        assert [await store.lookup(key(name)) for name in ("a", "b", "c")] == [(), (), ()]
        await store.put(response("a"))
        assert len(await store.lookup(key("a"))) == 1

    async def test_keys_are_any_text(self, store: Store) -> None:
        names = ["", "\x00\n\r", "\xff\xfe", "{tag}*[?", "a" * 8000, "%00", "a b", "é"]
        for name in names:
            await store.put(response(name, name.encode()))
        for name in names:
            assert [await content(r) for r in await store.lookup(key(name))] == [name.encode()]


REPLIES: Final = 100
"""What a slot's replies are charged with below, bytes."""


class Kept:
    """Something that was made of stored responses."""

    forgotten = False

    def forget(self) -> None:
        assert not self.forgotten
        self.forgotten = True


def with_replies(store: LocalStore, wanted: CacheKey) -> Slot:
    """Return the slot of a key, with something remembered about what is under it."""
    slot = store.slot_now(wanted)
    assert slot is not None
    slot.replies = [Kept()]
    assert store.charge(slot, REPLIES)
    return slot


def restated(stored: StoredResponse) -> StoredResponse:
    return replace(stored, freshness=Freshness(2000.0, 60.0))


CHANGES: Final[dict[str, Callable[[LocalStore, StoredResponse], object]]] = {
    "put another": lambda store, _: store.put_now(variant("en")),
    "put in its place": lambda store, _: store.put_now(variant("de")),
    "put what is refused": lambda store, _: store.put_now(variant("de", body=b"x" * BUDGET)),
    "replace": lambda store, stored: store.replace_now(stored, restated(stored)),
    "replace with what is refused": lambda store, stored: store.replace_now(
        stored, replace(stored, body=MemoryBody((b"x" * BUDGET,)))
    ),
    "remove": lambda store, stored: store.remove_now(stored),
    "remove the key": lambda store, stored: store.remove_key_now(stored.key),
}
"""Everything that changes what is under a key where ``variant("de")`` is."""


class LocalStoreContract(StoreContract):
    """Inherit, and provide the fixture ``store``."""

    async def test_now_is_the_same_as_later(self, store: LocalStore) -> None:
        assert store.put_now(variant("de"))
        (stored,) = await store.lookup(key("a"))
        assert store.lookup_now(key("a")) == (stored,)
        assert store.replace_now(stored, restated(stored))
        assert store.remove_now(restated(stored))
        assert store.lookup_now(key("a")) == ()

    async def test_a_slot_has_what_a_lookup_returns(self, store: LocalStore) -> None:
        assert store.slot_now(key("a")) is None
        store.put_now(variant("de"))
        store.put_now(variant("en"))
        slot = store.slot_now(key("a"))
        assert slot is not None
        assert languages(slot.responses) == ["en", "de"]
        assert slot.responses is store.lookup_now(key("a"))
        assert slot.replies is None
        assert store.slot_now(key("a")) is slot

    async def test_replies_stay_while_nothing_changes(self, store: LocalStore) -> None:
        store.put_now(variant("de"))
        slot = with_replies(store, key("a"))
        store.put_now(response("b"))
        store.lookup_now(key("a"))
        assert store.slot_now(key("a")) is slot
        assert slot.replies is not None
        assert [reply.forgotten for reply in slot.replies] == [False]

    @pytest.mark.parametrize("change", CHANGES)
    async def test_replies_are_gone_when_anything_changes(self, store: LocalStore, change: str) -> None:
        store.put_now(variant("de"))
        (stored,) = store.lookup_now(key("a"))
        old = with_replies(store, key("a"))
        (reply,) = old.replies or ()
        CHANGES[change](store, stored)
        slot = store.slot_now(key("a"))
        assert old.replies is None
        assert reply.forgotten
        assert slot is None or slot.replies is None
        store.remove_key_now(key("a"))
        assert store.statistics().bytes == 0

    async def test_a_charge_is_counted_while_there_are_replies(self, store: LocalStore) -> None:
        store.put_now(variant("de"))
        before = store.statistics().bytes
        slot = with_replies(store, key("a"))
        assert store.statistics().bytes == before + REPLIES
        assert store.charge(slot, REPLIES)
        assert store.statistics().bytes == before + 2 * REPLIES
        (stored,) = slot.responses
        store.replace_now(stored, restated(stored))
        assert store.statistics().bytes == before

    async def test_charging_evicts_what_does_not_fit(self, store: LocalStore) -> None:
        number = 0
        while not store.statistics().evictions:
            store.put_now(response(str(number)))
            number += 1
        evictions = store.statistics().evictions
        slot = store.slot_now(key(str(number - 1)))
        assert slot is not None
        slot.replies = []
        assert store.charge(slot, BUDGET // 4)
        assert store.statistics().bytes <= BUDGET
        assert store.statistics().evictions > evictions

    async def test_evicted_replies_are_gone(self, store: LocalStore) -> None:
        store.put_now(response())
        slot = with_replies(store, key("a"))
        number = 0
        while slot.responses:
            store.put_now(response(str(number)))
            number += 1
        assert slot.replies is None
        assert not store.charge(slot, REPLIES)
        await store.clear()
        assert store.statistics().bytes == 0

    async def test_replies_that_take_more_than_their_share_are_gone_at_once(self, store: LocalStore) -> None:
        store.put_now(response())
        before = store.statistics().bytes
        slot = with_replies(store, key("a"))
        assert not store.charge(slot, BUDGET)
        assert slot.replies is None
        assert store.statistics().bytes == before
        assert len(store.lookup_now(key("a"))) == 1

    async def test_nothing_can_be_charged_to_what_is_no_longer_stored(self, store: LocalStore) -> None:
        store.put_now(response())
        gone = with_replies(store, key("a"))
        await store.clear()
        assert (gone.responses, gone.replies) == ((), None)
        gone.replies = []
        assert not store.charge(gone, REPLIES)
        assert gone.replies is None
        assert store.statistics().bytes == 0
