from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from msgspec import structs

from edgecache.http.message import fields_of
from edgecache.semantics.stored import CacheKey, Freshness, StoredResponse
from edgecache.stores.base import Eviction, LocalStore
from edgecache.stores.body import MemoryBody
from edgecache.stores.census import Census
from edgecache.stores.compact import Compactor
from edgecache.stores.memory import MAX_SHARE, MemoryStore
from edgecache.stores.weights import weigh
from tests.stores.contract import BUDGET, VARIANTS, LocalStoreContract, every_key, key, languages, response, variant


def weighed(stored: StoredResponse) -> int:
    """What it weighs once it is stored."""
    return weigh(Compactor().compacted(stored))


WEIGHT = weighed(response("a"))
COUNTED = Census.most(response("a"))
"""What the census takes when all responses have the same tags and host."""


@pytest.mark.parametrize("eviction", Eviction)
class TestMemoryStore(LocalStoreContract):
    @pytest.fixture
    def store(self, eviction: Eviction) -> LocalStore:
        return MemoryStore(BUDGET, max_variants=VARIANTS, eviction=eviction)


def kept(store: MemoryStore, names: str) -> str:
    """Which of the keys are stored, looked at without using them."""
    return "".join(name for name in names if store.peek(key(name)))


def test_the_least_recently_used_key_is_evicted_first() -> None:
    store = MemoryStore(3 * WEIGHT + COUNTED)
    for name in "abc":
        store.put_now(response(name))
    store.lookup_now(key("a"))
    store.put_now(response("d"))
    assert kept(store, "abcd") == "acd"
    store.put_now(response("e"))
    assert kept(store, "abcde") == "ade"
    assert store.statistics().evictions == 2


def test_a_miss_is_not_a_use_and_a_replaced_head_is() -> None:
    store = MemoryStore(2 * (WEIGHT + COUNTED))
    a, b = response("a"), response("b")
    store.put_now(a)
    store.put_now(b)
    store.lookup_now(key("zzz"))
    assert store.replace_now(a, structs.replace(a, freshness=Freshness(5.0, 5.0)))
    store.put_now(response("c"))
    assert kept(store, "abc") == "ac"


def test_one_response_is_evicted_at_a_time_the_oldest_variant_of_the_oldest_key() -> None:
    weight = weighed(variant("de"))
    store = MemoryStore(3 * weight + WEIGHT - 1 + COUNTED)
    for language in ("de", "en", "fr"):
        store.put_now(variant(language))
    store.put_now(response("b"))
    assert languages(store.lookup_now(key("a"))) == ["fr", "en"]
    assert store.statistics() == replace(store.statistics(), responses=3, keys=2, evictions=1)


def test_variants_of_a_single_key_keep_within_the_budget() -> None:
    store = MemoryStore(3 * weighed(variant("l0")) + COUNTED, max_variants=64)
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
    assert not store.put_now(structs.replace(response(), body=Remote()))
    assert store.statistics().refused == 1


def test_a_shared_body_counts_once_while_its_head_is_replaced() -> None:
    old = response("b", b"x" * 10_000)
    store = MemoryStore(2 * (weighed(old) + COUNTED))
    store.put_now(response("a", b"x" * 10_000))
    store.put_now(old)
    new = structs.replace(old, freshness=Freshness(5.0, 5.0))
    assert new.body is old.body
    assert store.replace_now(old, new)
    assert kept(store, "ab") == "ab"
    assert store.statistics().bytes == 2 * weighed(old) + COUNTED


def test_a_lookup_returns_the_same_tuple_until_something_changes() -> None:
    store = MemoryStore(100_000)
    store.put_now(response())
    assert store.lookup_now(key("a")) is store.lookup_now(key("a"))


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
        structs.replace(response(), body=MemoryBody((b"he", b"llo"))),
        response(uri="http://example.com/another"),
        response(tags=frozenset({"product:1", "home", "third"})),
        response(rendered=response().rendered * 2),
        response(fields=(*response().fields, ("X", ""))),
        variant("de"),
        response("longer"),
    ],
)
def test_everything_weighs(heavier: StoredResponse) -> None:
    assert weighed(heavier) > WEIGHT


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
    assert weighed(crowded) < 100_000 < weighed(crowded) + Census.most(crowded)
    assert not store.put_now(crowded)


def test_no_table_of_tallies_becomes_so_large_that_its_growth_stops_everybody() -> None:
    store, tags = MemoryStore(10_000_000), 5_000
    for number in range(tags):
        store.put_now(response(str(number), tags=frozenset({f"product:{number}"})))
    parts = [len(part) for part in store._census._tags]
    assert sum(parts) == tags
    assert max(parts) < tags / 50


def test_walking_is_no_use_and_sees_what_is_there_when_it_comes_by() -> None:
    store = MemoryStore(100_000)
    for name in "abc":
        store.put_now(response(name))
    keys = every_key(store)
    store.remove_key_now(key("b"))
    store.put_now(response("d"))
    assert sorted(map(str, keys)) == [key(name) for name in "abc"]
    assert [len(store.peek(each)) for each in sorted(keys)] == [1, 0, 1]
    assert kept(store, "abcd") == "acd"
