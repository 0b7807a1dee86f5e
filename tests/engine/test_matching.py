"""What selectors match in memory: tallied or looked for, the same numbers; and never in a long turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.engine.matching import PATIENCE, Matched, Matching, tally
from edgecache.engine.walk import TURN
from edgecache.purging.local import LocalLedger
from edgecache.purging.selector import Selector, target_of
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.memory import MemoryStore
from tests.stores.contract import every_key, response


class Work:
    """A clock that goes on by a tenth of a turn whenever it is looked at, and counts the pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.others = 0.0
        """Seconds that the event loop's other work takes in a pause."""

    def __call__(self) -> float:
        self.now += TURN / 10
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += self.others
        await asyncio.sleep(0)


def stored(uri: str, *tags: str, key: str = "") -> StoredResponse:
    return response(key=CacheKey(key or uri), uri=uri, tags=frozenset(tags))


SHOP = (
    stored("http://shop.example/p/42", "product:42", "list"),
    stored("https://shop.example/p/42", "product:42", "list"),
    stored("http://shop.example/p/43?a=1", "product:43", "list"),
    stored("http://shop.example:443/p/42", "list"),
    stored("http://shop.example:8080/p/42"),
    stored("https://blog.example/", "post:1"),
    stored("http://shop.example/p/42", "product:42", key="QUERY 5eed http://shop.example/p/42"),
)


def matching(held: Iterable[StoredResponse], ledger: LocalLedger | None = None) -> tuple[MemoryStore, Matching, Work]:
    store, ledger, work = MemoryStore(10_000_000), ledger or LocalLedger(), Work()
    for each in held:
        store.put_now(each)
    return store, Matching(store, ledger, clock=work, sleep=work.sleep), work


def of(*selectors: str) -> list[Selector]:
    return [Selector.parse(one) for one in selectors]


@pytest.mark.parametrize(
    ("selectors", "count"),
    [
        (["url:shop.example/p/42"], 4),
        (["url:https://shop.example:443/p/42"], 4),
        (["url:shop.example/p/43"], 0),
        (["url:shop.example:8080/p/42"], 1),
        (["host:shop.example"], 5),
        (["host:shop.example:8080"], 1),
        (["host:absent.example"], 0),
        (["tag:list"], 4),
        (["tag:List"], 0),
        (["~tag:list"], 4),
        (["all"], 7),
        (["prefix:/p/42"], 5),
        (["glob:blog.example/**"], 1),
        (["expr:list & !product:42"], 2),
        (["tag:list", "tag:product:42"], 7),
        (["tag:list", "~tag:list"], 4),
        (["tag:list", "prefix:/p", "expr:list"], 4 + 6 + 4),
        (["prefix:/p", "~prefix:/p"], 6),
    ],
)
async def test_how_much_matches(selectors: list[str], count: int) -> None:
    _, matched, _ = matching(SHOP)
    found = await matched(of(*selectors), 100)
    thorough = await matched(of(*selectors), 100, thorough=True)
    assert (found.count, found.complete) == (thorough.count, thorough.complete) == (count, True)
    meant = [one.matcher() for one in of(*selectors)]
    uris = {each.uri for each in SHOP if any(matches(target_of(each.uri), each.tags) for matches in meant)}
    assert set(found.sample) <= uris == set(thorough.sample)
    assert bool(found.sample) == bool(count)


NAMES = st.sampled_from(["a.example", "b.example", "a.example:80", "a.example:443", "a.example:8080", "[::1]:443"])
URIS = st.builds("{}://{}/{}".format, st.sampled_from(["http", "https"]), NAMES, st.sampled_from(["", "x", "x?y=/"]))


@given(
    st.lists(st.tuples(URIS, st.frozensets(st.sampled_from("abc")), st.sampled_from(["", "QUERY 1 ", "QUERY 2 "]))),
    st.one_of(
        st.builds(Selector.of, st.just("url"), URIS),
        st.builds(Selector.of, st.just("host"), NAMES),
        st.builds(Selector.of, st.just("tag"), st.sampled_from("abcd")),
        st.just(Selector.of("all")),
    ),
)
def test_a_tally_is_what_looking_would_have_counted(
    held: list[tuple[str, frozenset[str], str]], selector: Selector
) -> None:
    store, _, _ = matching(stored(uri, *tags, key=more + uri) for uri, tags, more in held)
    matches, there = selector.matcher(), [each for key in every_key(store) for each in store.peek(key)]
    found = tally(store, selector)
    assert found is not None
    assert found[0] == sum(matches(target_of(each.uri), each.tags) for each in there)
    assert found[1] is None or found[1] in {each.key for each in there}


async def test_what_is_tallied_needs_no_look_and_shows_the_latest() -> None:
    _, matched, work = matching(stored(f"http://h.example/{number}", "t") for number in range(100))
    assert await matched(of("tag:t", "host:h.example"), 1) == Matched(200, ["http://h.example/99"])
    assert work.now == 0


async def test_a_thorough_count_shows_as_many_as_wanted_and_looks_no_further() -> None:
    _, matched, work = matching(stored(f"http://h.example/{number}", "t") for number in range(1000))
    found = await matched(of("tag:t"), 10, thorough=True)
    assert (found.count, len(found.sample)) == (1000, 10)
    assert work.now < 20 * TURN
    assert await matched(of("tag:absent"), 10, thorough=True) == Matched(0, [])


async def test_others_have_their_turn_while_it_looks() -> None:
    _, matched, work = matching(stored(f"http://h.example/{number}") for number in range(1000))
    assert (await matched(of("prefix:/9"), 3)).count == 1
    assert set(work.pauses) == {0}
    assert len(work.pauses) > 100


async def test_what_changes_meanwhile_disturbs_nothing() -> None:
    store, matched, work = matching(stored(f"http://h.example/{number}") for number in range(1000))
    looking = asyncio.create_task(matched(of("glob:h.example/*"), 3))
    while not work.pauses:  # noqa: ASYNC110 - the clock has no event for its first pause
        await asyncio.sleep(0)
    for number in range(500, 1500):
        store.remove_key_now(CacheKey(f"http://h.example/{number}"))
        store.put_now(stored(f"http://h.example/new/{number}"))
    found = await looking
    assert found.complete
    assert 500 <= found.count <= 500 + 1000 + 10  # what stayed, perhaps what came, and some that went later


async def test_what_was_purged_is_not_looked_for_nor_shown() -> None:
    ledger = LocalLedger()
    held = [stored(f"http://h.example/{name}", name, "t") for name in "ab"]
    store, matched, _ = matching((), ledger)
    for each in held:
        store.put_now(response(key=each.key, uri=each.uri, tags=each.tags, birth=ledger.birth()))
    ledger.purge_now(of("tag:b"))
    assert await matched(of("prefix:/"), 9) == Matched(1, ["http://h.example/a"])
    assert await matched(of("tag:t"), 9, thorough=True) == Matched(2, ["http://h.example/a"])
    assert await matched(of("tag:b"), 9) == Matched(1, [])
    ledger.purge_now(of("~all"))
    assert await matched(of("prefix:/"), 9) == Matched(1, ["http://h.example/a"])


async def test_patience_ends_and_the_count_says_so() -> None:
    _, matched, work = matching(stored(f"http://h.example/{number}", "t") for number in range(1000))
    work.others = PATIENCE / 4
    found = await matched(of("prefix:/", "tag:t"), 0)
    assert not found.complete
    assert 1000 < found.count < 1100
    assert found.sample == []
    shown = await matched(of("tag:t"), 500, thorough=True)
    assert (shown.count, shown.complete) == (1000, True)
    assert 1 < len(shown.sample) < 100
