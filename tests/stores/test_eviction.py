"""Every order of eviction against a naive model of it, through the store that uses it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from msgspec.structs import replace

from edgecache.semantics.stored import CacheKey, Selecting, StoredResponse
from edgecache.stores.base import Eviction
from edgecache.stores.census import Census, Tally, authority_of
from edgecache.stores.compact import Compactor
from edgecache.stores.eviction import Ghosts, order_of
from edgecache.stores.memory import MAX_SHARE, MemoryStore
from edgecache.stores.weights import weigh
from tests.stores.contract import every_key, key, response, variant
from tests.stores.orders import MODELS

COMPACTOR = Compactor()


def weighed(stored: StoredResponse) -> int:
    """What it weighs once it is stored."""
    return weigh(COMPACTOR.compacted(stored))


SIZE = weighed(response("x"))
TAGGED = Census.most(response("x"))
NAMES = "0123456789abcdefghij"
ROOM = len(NAMES)
"""Responses that the stores below have room for."""


def full(eviction: Eviction) -> MemoryStore:
    """Return a store that has no room left, with one response of each of ``NAMES``, put in their order."""
    store = MemoryStore(ROOM * SIZE + TAGGED + 600, eviction=eviction)
    for name in NAMES:
        store.put_now(response(name))
    return store


def scan(store: MemoryStore, count: int) -> None:
    """Put so many that are never used."""
    for number in range(count):
        store.put_now(response(chr(0x100 + number)))


def has(store: MemoryStore, names: str) -> str:
    return "".join(name for name in names if store.peek(key(name)))


def use(store: MemoryStore, names: str) -> None:
    for name in names:
        assert store.slot_now(key(name)) is not None


@pytest.mark.parametrize(
    ("eviction", "used", "scanned", "left"),
    [
        # FIFO: no use keeps anything.
        (Eviction.FIFO, "000", 5, "56789"),
        # LRU: one use is as good as ten, and ends with a scan of everything's size.
        (Eviction.LRU, "0", 5, "06789"),
        (Eviction.LRU, "0000000000", ROOM, ""),
        # LFU: a use outlives one scan, many uses many.
        (Eviction.LFU, "0", ROOM, "0"),
        (Eviction.LFU, "0", 3 * ROOM, ""),
        (Eviction.LFU, "011111", 4 * ROOM, "1"),
        (Eviction.LFU, "011111", 9 * ROOM, ""),
        # S3-FIFO: what is used twice goes to the main queue, and a scan, however long, passes by it.
        (Eviction.S3FIFO, "0112222", 50 * ROOM, "12"),
    ],
)
def test_what_a_scan_leaves(eviction: Eviction, used: str, scanned: int, left: str) -> None:
    store = full(eviction)
    use(store, used)
    scan(store, scanned)
    assert has(store, "0123456789") == left


def test_what_was_evicted_too_soon_begins_in_the_main_queue() -> None:
    store = full(Eviction.S3FIFO)
    scan(store, 1)
    assert not has(store, "0")
    store.put_now(response("0"))
    scan(store, 50 * ROOM)
    assert has(store, "0") == "0"


def test_what_was_evicted_long_ago_is_new() -> None:
    store = full(Eviction.S3FIFO)
    scan(store, 2 * ROOM)
    store.put_now(response("0"))
    scan(store, ROOM)
    assert has(store, "0") == ""


@pytest.mark.parametrize("eviction", Eviction)
def test_a_victim_is_found_among_those_that_were_all_used(eviction: Eviction) -> None:
    store = MemoryStore(200 * SIZE, eviction=eviction)
    number = 0
    while not store.statistics().evictions:
        store.put_now(response(f"{number:04x}"))
        for name in (number, number // 2, number // 3):
            store.lookup_now(key(f"{name:04x}"))
        number += 1
    assert store.statistics().keys == number - 1


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 400))), st.integers(1, 1000))
def test_ghosts_are_remembered_for_so_many_bytes(evicted: list[tuple[str, int]], span: int) -> None:
    ghosts, clock = Ghosts(span, 1 << 16), 0
    naive: dict[int, tuple[str, int]] = {}
    for name, size in evicted:
        clock += size
        ghosts.add(CacheKey(name), size)
        naive[hash(name) % (1 << 16)] = name, clock
    for name in "abcdefgh":
        last, when = naive.get(hash(name) % (1 << 16), ("", 0))
        assert (CacheKey(name) in ghosts) == (last == name and clock - when < span)


async def test_no_slot_holds_another_after_it_is_gone() -> None:
    """Else what was removed would be garbage only to a collector of cycles, which rarely looks."""
    for eviction in Eviction:
        store = full(eviction)
        slots = [store.slot_now(each) for each in every_key(store)]
        scan(store, ROOM)
        await store.clear()
        assert len(slots) == ROOM
        assert not [slot for slot in slots if hasattr(slot, "older") or hasattr(slot, "newer")]


OFTEN = settings(max_examples=60, stateful_step_count=40, deadline=None)

TAGS = ("red", "green", "blue", "")


class Storing(RuleBasedStateMachine):
    """The store against a table of key and responses, newest first, and a naive order of the keys."""

    EVICTION: Eviction
    BUDGET = 20_000
    seen = Bundle("seen")

    @initialize(variants=st.integers(1, 4))
    def start(self, variants: int) -> None:
        self.variants = variants
        self.store = MemoryStore(self.BUDGET, max_variants=variants, eviction=self.EVICTION)
        self.model: dict[CacheKey, list[StoredResponse]] = {}
        self.order = MODELS[self.EVICTION](self.BUDGET)
        self.room = self.BUDGET - order_of(self.EVICTION, self.BUDGET).bytes
        self.charges: dict[CacheKey, int] = {}
        self.evictions = 0

    def under(self, wanted: CacheKey) -> list[StoredResponse]:
        return self.model.get(wanted, [])

    def change(self, k: CacheKey, responses: list[StoredResponse]) -> None:
        self.charges.pop(k, None)
        self.model[k] = responses

    def drop_if_empty(self, k: CacheKey) -> None:
        if k in self.model and not self.model[k]:
            del self.model[k]
            self.order.remove(k)

    def everything(self) -> list[StoredResponse]:
        return [r for responses in self.model.values() for r in responses]

    def weight(self, k: CacheKey) -> int:
        return sum(map(weighed, self.model[k])) + self.charges.get(k, 0)

    def shrink(self) -> None:
        while self.total() > self.room:
            victim = self.order.victim(self.weight)
            size = weighed(self.model[victim][-1])
            self.change(victim, self.model[victim][:-1])
            self.evictions += 1
            if not self.model[victim]:
                self.order.evicted(victim, size)
                del self.model[victim]

    def total(self) -> int:
        census = Census()
        for each in self.everything():
            census.add(each)
        return census.bytes + sum(map(weighed, self.everything())) + sum(self.charges.values())

    def model_put(self, new: StoredResponse) -> bool:
        is_there = new.key in self.model
        others = [r for r in self.under(new.key) if r.selecting != new.selecting]
        if is_there and others != self.under(new.key):
            self.change(new.key, others)
        if weighed(new) + Census.most(new) > self.BUDGET * MAX_SHARE:
            self.drop_if_empty(new.key)
            return False
        (self.order.renew if is_there else self.order.add)(new.key)
        self.evictions += max(0, len(others) + 1 - self.variants)
        self.change(new.key, [new, *others][: self.variants])
        self.shrink()
        return True

    @rule(
        target=seen,
        name=st.sampled_from("abcdefgh"),
        language=st.sampled_from(["de", "en", "fr", "it", None]),
        size=st.one_of(st.integers(0, 3_000), st.integers(0, 12_000)),
        tags=st.frozensets(st.sampled_from(TAGS), max_size=3),
        under_its_uri=st.booleans(),
    )
    def put(
        self, name: str, language: str | None, size: int, tags: frozenset[str], under_its_uri: bool
    ) -> StoredResponse:
        uri = str(key(name)) if under_its_uri else "http://another.example/"
        new = replace(variant(language, name, b"x" * size), tags=tags, uri=uri)
        assert self.store.put_now(new) == self.model_put(new)
        return new

    @rule(name=st.sampled_from("abcdefgh"))
    def lookup(self, name: str) -> None:
        expected = self.under(key(name))
        assert list(self.store.lookup_now(key(name))) == expected
        if expected:
            self.order.use(key(name))

    @rule(name=st.sampled_from("abcdefgh"), size=st.integers(1, 2_000))
    def charge(self, name: str, size: int) -> None:
        slot = self.store.slot_now(key(name))
        if slot is None:
            return
        self.order.use(key(name))
        self.charges[key(name)] = self.charges.get(key(name), 0) + size
        if self.charges[key(name)] > self.BUDGET * MAX_SHARE:
            del self.charges[key(name)]
        self.shrink()
        slot.replies = []
        assert self.store.charge(slot, size) == (key(name) in self.charges)

    @rule(target=seen, old=consumes(seen), language=st.sampled_from(["de", "en", None]), grows=st.booleans())
    def replace(self, old: StoredResponse, language: str | None, grows: bool) -> StoredResponse:
        fields = (*old.fields, ("Padding", "x" * 3_000)) if grows else old.fields
        new = replace(old, fields=fields, selecting=Selecting(("accept-language",), (language,)))
        present = old in self.under(old.key)
        if present:
            self.change(old.key, [r for r in self.under(old.key) if r != old])
        assert self.store.replace_now(old, new) == (present and self.model_put(new))
        return new

    @rule(gone=consumes(seen))
    def remove(self, gone: StoredResponse) -> None:
        under = self.under(gone.key)
        assert self.store.remove_now(gone) == (gone in under)
        if gone in under:
            self.change(gone.key, [r for r in under if r != gone])
            self.drop_if_empty(gone.key)

    @rule(name=st.sampled_from("abcdefgh"))
    def remove_key(self, name: str) -> None:
        assert self.store.remove_key_now(key(name)) == len(self.under(key(name)))
        if key(name) in self.model:
            self.change(key(name), [])
            self.drop_if_empty(key(name))

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "store"):
            return
        statistics = self.store.statistics()
        assert {k: list(self.store.peek(k)) for k in every_key(self.store)} == self.model
        assert statistics.bytes == self.total() <= self.room
        assert statistics.responses == len(self.everything())
        assert statistics.evictions == self.evictions

    @invariant()
    def same_tallies(self) -> None:
        if not hasattr(self, "store"):
            return
        there, count = self.everything(), self.is_tally
        count(self.store.tally_all(), there)
        for tag in TAGS:
            count(self.store.tally_tag(tag), [r for r in there if tag in r.tags])
        for uri in ("http://another.example/", *(str(key(name)) for name in "abcdefgh")):
            count(self.store.tally_uri(uri), [r for r in there if r.uri == uri])
            count(
                self.store.tally_authority(authority_of(uri)),
                [r for r in there if authority_of(r.uri) == authority_of(uri)],
            )

    @staticmethod
    def is_tally(tally: Tally, counted: list[StoredResponse]) -> None:
        count, example = tally
        assert count == len(counted)
        assert example is None or example in {r.key for r in counted}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for k in self.model:
                self.store.remove_key_now(k)
            assert self.store.statistics().bytes == 0
            asyncio.run(self.store.close())


class LeastRecentlyUsed(Storing):
    EVICTION = Eviction.LRU


class FirstIn(Storing):
    EVICTION = Eviction.FIFO


class LeastFrequentlyUsed(Storing):
    EVICTION = Eviction.LFU


class SmallAndMainQueue(Storing):
    EVICTION = Eviction.S3FIFO


class TestLeastRecentlyUsed(LeastRecentlyUsed.TestCase):
    settings = OFTEN


class TestFirstIn(FirstIn.TestCase):
    settings = OFTEN


class TestLeastFrequentlyUsed(LeastFrequentlyUsed.TestCase):
    settings = OFTEN


class TestSmallAndMainQueue(SmallAndMainQueue.TestCase):
    settings = OFTEN
