from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from edgecache.http.message import fields_of
from edgecache.semantics.stored import CacheKey, Freshness, Selecting, StoredResponse
from edgecache.stores.base import LocalStore
from edgecache.stores.body import MemoryBody
from edgecache.stores.census import Census, Tally, authority_of
from edgecache.stores.memory import MAX_SHARE, MemoryStore, weigh
from tests.stores.contract import BUDGET, VARIANTS, LocalStoreContract, key, languages, response, variant

WEIGHT = weigh(response("a"))
COUNTED = Census.most(response("a"))
"""What the census takes when all responses have the same tags and host."""


class TestMemoryStore(LocalStoreContract):
    @pytest.fixture
    def store(self) -> LocalStore:
        return MemoryStore(BUDGET, max_variants=VARIANTS)


def kept(store: MemoryStore, names: str) -> str:
    """Which of the keys are stored, looked at without using them: oldest use first."""
    return "".join(str(k)[-1] for k in store._slots if str(k)[-1] in names)


def test_the_least_recently_used_key_is_evicted_first() -> None:
    store = MemoryStore(3 * WEIGHT + COUNTED)
    for name in "abc":
        store.put_now(response(name))
    store.lookup_now(key("a"))
    store.put_now(response("d"))
    assert kept(store, "abcd") == "cad"
    store.put_now(response("e"))
    assert kept(store, "abcde") == "ade"
    assert store.statistics().evictions == 2


def test_a_miss_is_not_a_use_and_a_replaced_head_is() -> None:
    store = MemoryStore(2 * (WEIGHT + COUNTED))
    a, b = response("a"), response("b")
    store.put_now(a)
    store.put_now(b)
    store.lookup_now(key("zzz"))
    assert store.replace_now(a, replace(a, freshness=Freshness(5.0, 5.0)))
    assert kept(store, "ab") == "ba"


def test_one_response_is_evicted_at_a_time_the_oldest_variant_of_the_oldest_key() -> None:
    weight = weigh(variant("de"))
    store = MemoryStore(3 * weight + WEIGHT - 1 + COUNTED)
    for language in ("de", "en", "fr"):
        store.put_now(variant(language))
    store.put_now(response("b"))
    assert languages(store.lookup_now(key("a"))) == ["fr", "en"]
    assert store.statistics() == replace(store.statistics(), responses=3, keys=2, evictions=1)


def test_variants_of_a_single_key_keep_within_the_budget() -> None:
    store = MemoryStore(3 * weigh(variant("l0")) + COUNTED, max_variants=64)
    for number in range(9):
        store.put_now(variant(f"l{number}"))
    assert languages(store.lookup_now(key("a"))) == ["l8", "l7", "l6"]
    assert store.statistics().keys == 1


def test_what_is_larger_than_its_share_is_refused_and_ends_its_predecessor() -> None:
    store = MemoryStore(100_000)
    assert store.put_now(response("a", b"x" * 10))
    assert not store.put_now(response("a", b"x" * int(100_000 * MAX_SHARE)))
    assert store.lookup_now(key("a")) == ()
    assert store.statistics() == replace(store.statistics(), responses=0, keys=0, bytes=0, refused=1, evictions=0)


def test_the_share_is_exact() -> None:
    store = MemoryStore(2 * (WEIGHT + COUNTED))
    assert store.put_now(response("a"))
    assert not store.put_now(response("a", b"hello!"))


class Remote:
    """A body that is somewhere else."""

    size = 5
    local = None

    def read(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        raise NotImplementedError


def test_a_body_that_is_not_in_memory_is_refused() -> None:
    store = MemoryStore(100_000)
    assert not store.put_now(replace(response(), body=Remote()))
    assert store.statistics().refused == 1


def test_a_shared_body_counts_once_while_its_head_is_replaced() -> None:
    old = response("b", b"x" * 10_000)
    store = MemoryStore(2 * (weigh(old) + COUNTED))
    store.put_now(response("a", b"x" * 10_000))
    store.put_now(old)
    new = replace(old, freshness=Freshness(5.0, 5.0))
    assert new.body is old.body
    assert store.replace_now(old, new)
    assert kept(store, "ab") == "ab"
    assert store.statistics().bytes == 2 * weigh(old) + COUNTED


def test_a_lookup_returns_the_same_tuple_until_something_changes() -> None:
    store = MemoryStore(100_000)
    store.put_now(response())
    assert store.lookup_now(key("a")) is store.lookup_now(key("a"))


def test_field_names_and_tags_are_kept_once() -> None:
    store = MemoryStore(100_000)
    for name in "ab":
        pairs = tuple(fields_of([("".join(["X-", "Thing"]), name)]).items())
        store.put_now(response(name, fields=pairs, tags=frozenset({"".join(["product", ":1"])})))
    (a,), (b,) = store.lookup_now(key("a")), store.lookup_now(key("b"))
    assert type(a.fields[0][0]) is str
    assert a.fields[0][0] is b.fields[0][0]
    assert min(a.tags) is min(b.tags)


def test_what_was_put_can_be_removed_by_the_value_it_was_put_as() -> None:
    store = MemoryStore(100_000)
    put = response(fields=tuple(fields_of([("X-Thing", "1")]).items()))
    store.put_now(put)
    assert store.remove_now(put)
    assert store.statistics().bytes == 0


@pytest.mark.parametrize(
    "heavier",
    [
        response(body=b"hello, world"),
        replace(response(), body=MemoryBody((b"he", b"llo"))),
        response(uri="http://example.com/another"),
        response(tags=frozenset({"product:1", "home", "third"})),
        response(rendered=response().rendered * 2),
        response(fields=(*response().fields, ("X", ""))),
        variant("de"),
        response("longer"),
    ],
)
def test_everything_weighs(heavier: StoredResponse) -> None:
    assert weigh(heavier) > WEIGHT


# Tallies.


def query(number: int, uri: str) -> StoredResponse:
    """Return a response stored under more than its URI."""
    return response(key=CacheKey(f"QUERY {number} {uri}"), uri=uri, tags=frozenset())


def test_what_is_stored_is_counted_by_tag_host_and_uri() -> None:
    store = MemoryStore(1_000_000)
    for number in range(3):
        store.put_now(query(number, str(key("a"))))
    for stored in (variant("de"), variant("en"), response("b", tags=frozenset({"home", "b"}))):
        store.put_now(stored)
    store.put_now(response("c", uri="http://EXAMPLE.com:8080/c"))
    assert store.tally_all() == (7, key("c"))
    assert store.tally_tag("home") == (4, key("c"))
    assert store.tally_tag("b") == (1, key("b"))
    assert store.tally_tag("Home") == (0, None)
    assert store.tally_authority("example.com") == (6, key("b"))
    assert store.tally_authority("EXAMPLE.com:8080") == (1, key("c"))
    assert store.tally_uri(str(key("a"))) == (5, key("a"))
    assert store.tally_uri(str(key("c"))) == (0, None)
    assert store.tally_uri("http://EXAMPLE.com:8080/c") == (1, key("c"))


def test_an_example_is_given_while_it_is_there() -> None:
    store = MemoryStore(100_000)
    old, new = response("old"), response("new")
    store.put_now(old)
    store.put_now(new)
    assert store.tally_tag("home") == (2, key("new"))
    store.remove_now(new)
    assert store.tally_tag("home") == (1, None)
    store.remove_now(old)
    assert store.tally_tag("home") == (0, None)
    assert store.statistics().bytes == 0


async def test_clearing_ends_every_tally() -> None:
    store = MemoryStore(100_000)
    store.put_now(response())
    await store.clear()
    assert (store.tally_all(), store.tally_tag("home"), store.statistics().bytes) == ((0, None), (0, None), 0)
    store.put_now(response())
    assert store.tally_tag("home") == (1, key("a"))


def test_tags_that_never_repeat_keep_within_the_budget() -> None:
    """The census of what is stored may weigh more than what is stored."""
    store = MemoryStore(200_000)
    for number in range(200):
        store.put_now(response(str(number), tags=frozenset({f"{number}:{tag}" for tag in range(32)})))
        assert store.statistics().bytes <= 200_000
    assert 5 < store.statistics().responses < 50
    crowded = response("crowded", tags=frozenset({f"{tag}" for tag in range(400)}))
    assert weigh(crowded) < 100_000 < weigh(crowded) + Census.most(crowded)
    assert not store.put_now(crowded)


def test_walking_is_no_use_and_sees_what_is_there_when_it_comes_by() -> None:
    store = MemoryStore(100_000)
    for name in "abc":
        store.put_now(response(name))
    keys = store.every_key()
    store.remove_key_now(key("b"))
    store.put_now(response("d"))
    assert sorted(map(str, keys)) == [key(name) for name in "abc"]
    assert [len(store.peek(each)) for each in sorted(keys)] == [1, 0, 1]
    assert kept(store, "abcd") == "acd"


TAGS = ("red", "green", "blue", "")


class LeastRecentlyUsed(RuleBasedStateMachine):
    """The store against a model that is a list of (key, [responses newest first]), oldest use first."""

    BUDGET = 20_000
    seen = Bundle("seen")

    @initialize(variants=st.integers(1, 4))
    def start(self, variants: int) -> None:
        self.variants = variants
        self.store = MemoryStore(self.BUDGET, max_variants=variants)
        self.model: list[tuple[CacheKey, list[StoredResponse]]] = []
        self.evictions = 0

    def under(self, wanted: CacheKey) -> list[StoredResponse]:
        return next((responses for k, responses in self.model if k == wanted), [])

    def assign(self, k: CacheKey, responses: list[StoredResponse], *, use: bool) -> None:
        at = next((i for i, (other, _) in enumerate(self.model) if other == k), len(self.model))
        self.model[at : at + 1] = []
        if responses:
            self.model.insert(len(self.model) if use else at, (k, responses))

    def everything(self) -> list[StoredResponse]:
        return [r for _, responses in self.model for r in responses]

    def total(self) -> int:
        census = Census()
        for each in self.everything():
            census.add(each)
        return census.bytes + sum(map(weigh, self.everything()))

    def model_put(self, new: StoredResponse) -> bool:
        others = [r for r in self.under(new.key) if r.selecting != new.selecting]
        if weigh(new) + Census.most(new) > self.BUDGET * MAX_SHARE:
            self.assign(new.key, others, use=False)
            return False
        self.evictions += max(0, len(others) + 1 - self.variants)
        self.assign(new.key, [new, *others][: self.variants], use=True)
        while self.total() > self.BUDGET:
            oldest, responses = self.model[0]
            self.assign(oldest, responses[:-1], use=False)
            self.evictions += 1
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
        self.assign(key(name), expected, use=True)

    @rule(target=seen, old=consumes(seen), language=st.sampled_from(["de", "en", None]), grows=st.booleans())
    def replace(self, old: StoredResponse, language: str | None, grows: bool) -> StoredResponse:
        fields = (*old.fields, ("Padding", "x" * 3_000)) if grows else old.fields
        new = replace(old, fields=fields, selecting=Selecting(("accept-language",), (language,)))
        present = old in self.under(old.key)
        if present:
            self.assign(old.key, [r for r in self.under(old.key) if r != old], use=False)
        assert self.store.replace_now(old, new) == (present and self.model_put(new))
        return new

    @rule(gone=consumes(seen))
    def remove(self, gone: StoredResponse) -> None:
        under = self.under(gone.key)
        assert self.store.remove_now(gone) == (gone in under)
        self.assign(gone.key, [r for r in under if r != gone], use=False)

    @rule(name=st.sampled_from("abcdefgh"))
    def remove_key(self, name: str) -> None:
        assert self.store.remove_key_now(key(name)) == len(self.under(key(name)))
        self.assign(key(name), [], use=False)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "store"):
            return
        statistics = self.store.statistics()
        assert [(k, list(slot.responses)) for k, slot in self.store._slots.items()] == self.model
        assert statistics.bytes == self.total() <= self.BUDGET
        assert statistics.responses == sum(len(responses) for _, responses in self.model)
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
            for k, _ in list(self.model):
                self.store.remove_key_now(k)
            assert self.store.statistics().bytes == 0
            asyncio.run(self.store.close())


LeastRecentlyUsed.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLeastRecentlyUsed = LeastRecentlyUsed.TestCase
