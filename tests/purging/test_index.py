from __future__ import annotations

from collections.abc import Set as AbstractSet

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.purging.index import PurgeIndex
from edgecache.purging.selector import Selector, target_of
from edgecache.purging.verdict import Verdict

VALID, STALE, UNPROVEN, INVALID = Verdict.VALID, Verdict.STALE, Verdict.UNPROVEN, Verdict.INVALID
SERVABLE = {VALID: 2, STALE: 1, UNPROVEN: 0, INVALID: 0}

hard = st.builds(
    Selector.of,
    st.just("tag"),
    st.sampled_from(["a", "b", "c"]),
) | st.sampled_from(
    [
        Selector.of("url", "h/a/b"),
        Selector.of("url", "h/a/b?q"),
        Selector.of("prefix", "/a"),
        Selector.of("prefix", "/a/"),
        Selector.of("prefix", "h/a/b"),
        Selector.of("prefix", "g"),
        Selector.of("prefix", "/"),
        Selector.of("host", "h"),
        Selector.of("glob", "/*"),
        Selector.of("glob", "h/**b"),
        Selector.of("expr", "a & !b"),
        Selector.of("expr", "!a"),
        Selector.of("all"),
    ]
)
selectors = st.builds(lambda one, soft: Selector(one.kind, one.value, soft), hard, st.booleans())
purges = st.lists(st.lists(selectors, min_size=1, max_size=3), max_size=8)
uris = st.sampled_from(
    ["http://h/", "http://h/a", "https://h/a/b", "http://h/a/b?q", "http://g/ab", "http://g/a/?q=/a"]
)
tags = st.frozensets(st.sampled_from(["a", "b", "c"]))
capacities = st.integers(0, 12)


def index_of(history: list[list[Selector]], capacity: int = 1000, max_patterns: int = 1000) -> PurgeIndex:
    index = PurgeIndex(capacity, max_patterns)
    for sequence, purge in enumerate(history, 1):
        index.note(sequence, purge)
    return index


def truth(history: list[list[Selector]], born: int, uri: str, labels: AbstractSet[str]) -> Verdict:
    """Every purge since, asked one by one."""
    newer = [one for purge in history[born:] for one in purge if one.matcher()(target_of(uri), labels)]
    if any(not one.soft for one in newer):
        return INVALID
    return STALE if newer else VALID


@given(purges, st.integers(0, 8), uris, tags)
def test_the_index_is_the_list_of_all_purges(
    history: list[list[Selector]], born: int, uri: str, labels: frozenset[str]
) -> None:
    assert index_of(history).verdict(born, uri, labels) is truth(history, born, uri, labels)


@given(purges, st.integers(0, 8), uris, tags, capacities, st.integers(0, 3))
def test_a_bounded_index_never_says_better(
    history: list[list[Selector]], born: int, uri: str, labels: frozenset[str], capacity: int, max_patterns: int
) -> None:
    index = index_of(history, capacity, max_patterns)
    found, true = index.verdict(born, uri, labels), truth(history, born, uri, labels)
    assert SERVABLE[found] <= SERVABLE[true]
    assert index.remembered <= 2 * capacity
    if born >= len(history):
        assert found is VALID


@given(purges, uris, tags, capacities)
def test_i4_what_may_be_served_only_becomes_less(
    history: list[list[Selector]], uri: str, labels: frozenset[str], capacity: int
) -> None:
    index = PurgeIndex(capacity)
    last = dict.fromkeys(range(len(history) + 1), VALID)
    for sequence, purge in enumerate(history, 1):
        index.note(sequence, purge)
        for born in range(sequence):
            now = index.verdict(born, uri, labels)
            assert SERVABLE[now] <= SERVABLE[last[born]]
            last[born] = now


@given(purges, st.integers(0, 8), st.integers(0, 8), uris, tags, capacities)
def test_i6_the_shortcut_says_the_same(
    history: list[list[Selector]], born: int, checked: int, uri: str, labels: frozenset[str], capacity: int
) -> None:
    checked = min(checked, len(history))
    then, now = index_of(history[:checked], capacity), index_of(history, capacity)
    if then.verdict(born, uri, labels) is not VALID:
        return
    found = now.verdict_since(checked, born, uri, labels)
    if max(born, checked) >= now.floor:
        # As if nothing was forgotten, soft purges aside; and exactly the same where nothing was.
        assert (found is INVALID) is (truth(history, born, uri, labels) is INVALID)
    if capacity >= 24:
        assert found is now.verdict(born, uri, labels)


@given(purges, st.integers(0, 8), st.integers(0, 8), uris, tags)
def test_i6_the_shortcut_says_the_same_of_an_index_that_forgot_nothing(
    history: list[list[Selector]], born: int, checked: int, uri: str, labels: frozenset[str]
) -> None:
    checked = min(checked, len(history))
    if index_of(history[:checked]).verdict(born, uri, labels) is VALID:
        index = index_of(history)
        assert index.verdict_since(checked, born, uri, labels) is index.verdict(born, uri, labels)


@given(purges, st.data(), capacities, st.integers(0, 3))
def test_i8_neither_order_nor_repetition_matters(
    history: list[list[Selector]], data: st.DataObject, capacity: int, max_patterns: int
) -> None:
    entries = list(enumerate(history, 1))
    shuffled = data.draw(
        st.permutations(entries + data.draw(st.lists(st.sampled_from(entries)) if entries else st.just([])))
    )
    straight, crooked = index_of(history, capacity, max_patterns), PurgeIndex(capacity, max_patterns)
    for sequence, purge in shuffled:
        crooked.note(sequence, purge)
    assert crooked.floor == straight.floor
    for born in range(len(history) + 1):
        for uri in ("http://h/a/b", "http://g/ab"):
            for labels in (frozenset[str](), frozenset({"a"}), frozenset({"b", "c"})):
                assert crooked.verdict(born, uri, labels) is straight.verdict(born, uri, labels)


@given(purges, st.integers(0, 8), uris, tags, capacities)
def test_i11_soft_is_never_invalid_and_hard_is_never_stale(
    history: list[list[Selector]], born: int, uri: str, labels: frozenset[str], capacity: int
) -> None:
    softened = [[Selector(one.kind, one.value, soft=True) for one in purge] for purge in history]
    hardened = [[Selector(one.kind, one.value) for one in purge] for purge in history]
    assert index_of(softened, capacity).verdict(born, uri, labels) in (VALID, STALE)
    assert index_of(hardened, capacity).verdict(born, uri, labels) in (VALID, UNPROVEN, INVALID)


def test_below_a_risen_floor_nothing_is_proven() -> None:
    index = index_of([[Selector.of("tag", "a")], [Selector.of("tag", "b")]])
    index.raise_floor(1)
    assert index.verdict(0, "http://h/", frozenset()) is UNPROVEN
    assert index.verdict(0, "http://h/", frozenset({"b"})) is INVALID
    assert index.verdict(1, "http://h/", frozenset({"a"})) is VALID
    index.raise_floor(0)
    assert index.floor == 1


def test_a_response_looked_up_often_outlives_the_floor() -> None:
    index = index_of([[Selector.of("tag", str(n))] for n in range(5)], capacity=2)
    assert index.verdict(0, "http://h/", frozenset({"x"})) is UNPROVEN
    assert index.verdict_since(4, 0, "http://h/", frozenset({"x"})) is VALID


def test_a_new_epoch_knows_nothing_of_the_old() -> None:
    index = index_of([[Selector.of("tag", "a"), Selector.of("glob", "/*")]])
    index.clear(7)
    assert (index.floor, index.remembered) == (7, 0)
    assert index.verdict(7, "http://h/", frozenset({"a"})) is VALID


def test_the_same_selectors_again_and_again_take_no_memory() -> None:
    index = PurgeIndex(capacity=4, max_patterns=2)
    for sequence in range(1, 1000):
        index.note(sequence, [Selector.of("tag", "a"), Selector.of("glob", "/*"), Selector.of("prefix", "/a")])
    assert index.remembered == 3
    assert index.floor == 0
    assert len(index._hard._ages) <= 2 * 4 + 17


def test_patterns_are_bounded_on_their_own() -> None:
    index = PurgeIndex(capacity=100, max_patterns=2)
    for sequence, path in enumerate("abc", 1):
        index.note(sequence, [Selector.of("glob", f"/{path}*")])
    assert index.floor == 1
    assert index.verdict(0, "http://h/x", frozenset()) is UNPROVEN
    assert index.verdict(1, "http://h/bb", frozenset()) is INVALID


@pytest.mark.parametrize("uri", ["http://h" + "/a" * 5000, "http://h/" + "a" * 10_000 + "?" + "b" * 10_000])
def test_a_long_target_costs_no_more_than_its_length(uri: str) -> None:
    index = index_of([[Selector.of("prefix", "/a/b/c"), Selector.of("glob", "/**a*a*c"), Selector.of("tag", "t")]])
    assert index.verdict(0, uri, frozenset()) is VALID


def test_the_last_hard_purge_is_told_from_soft_ones() -> None:
    index, seen = PurgeIndex(), []
    for sequence, soft in enumerate((True, False, True, False, True), start=1):
        index.note(sequence, [Selector.of("tag", "a", soft=soft), Selector.of("tag", "b", soft=True)])
        seen.append(index.last_hard)
    assert seen == [0, 2, 2, 4, 4]
    index.note(3, [Selector.of("all")])  # heard of late
    assert index.last_hard == 4
    index.clear(9)
    assert index.last_hard == 0
