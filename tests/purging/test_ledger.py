from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgecache.purging.ledger import Ledger, Verdict
from edgecache.semantics.stored import Birth
from tests.semantics.build import request, response, store

VALID, INVALID = Verdict.VALID, Verdict.INVALID
URI = "http://example.com/a"

# ---------------------------------------------------------------------------------------------------- one by one


def test_nothing_purged_nothing_invalid() -> None:
    ledger = Ledger()
    assert ledger.sequence == 0
    assert ledger.verdict_of(ledger.birth(), URI, ["t"]) is VALID


@pytest.mark.parametrize(
    ("uris", "tags", "verdict"),
    [
        ([URI], [], INVALID),
        (["https://example.com/a"], [], INVALID),
        (["http://example.com/"], [], VALID),
        (["http://example.com/a?"], [], VALID),
        (["http://example.com/A"], [], VALID),
        (["http://example.com:8080/a"], [], VALID),
        ([], ["t"], INVALID),
        ([], ["x", "t"], INVALID),
        ([], ["x"], VALID),
        ([], ["T"], VALID),
        ([], [URI], VALID),
        (["http://t"], ["example.com/a"], VALID),
        ([], [], VALID),
    ],
)
def test_a_purge_hits_what_it_matches(uris: list[str], tags: list[str], verdict: Verdict) -> None:
    ledger = Ledger()
    born = ledger.birth()
    assert ledger.purge(uris, tags) == ledger.sequence == 1
    assert ledger.verdict_of(born, URI, ["s", "t"]) is verdict


def test_a_purge_does_not_hit_what_is_born_after_it() -> None:
    ledger = Ledger()
    ledger.purge([URI], ["t"])
    assert ledger.verdict_of(ledger.birth(), URI, ["t"]) is VALID


def test_a_response_on_its_way_is_hit_too() -> None:
    ledger = Ledger()
    born = ledger.birth()
    ledger.purge(["http://example.com/other"])
    ledger.purge([URI])
    ledger.purge(["http://example.com/other"])
    assert ledger.verdict_of(born, URI) is INVALID


def test_another_epoch_is_never_trusted() -> None:
    ledger, other = Ledger(), Ledger()
    assert ledger.birth().epoch != other.birth().epoch
    assert ledger.verdict_of(other.birth(), URI) is INVALID
    other.purge(tags=["x"])
    assert ledger.verdict_of(Birth(other.birth().epoch, 0), URI) is INVALID


def test_verdicts_about_stored_responses() -> None:
    ledger = Ledger()
    head = response("Cache-Control: max-age=60", 'Cache-Groups: "g"')
    stored = store(head, of=request(target="/a"), birth=ledger.birth())
    assert ledger.verdict(stored) is VALID
    ledger.purge(tags=["other"])
    assert ledger.verdict(stored) is VALID
    ledger.purge(tags=stored.tags)
    assert ledger.verdict(stored) is INVALID
    again = store(head, of=request(target="/a"), birth=ledger.birth())
    assert ledger.verdict(again) is VALID
    ledger.purge([again.uri])
    assert ledger.verdict(again) is INVALID


def test_of_a_query_every_content_is_purged() -> None:
    ledger = Ledger()
    stored = store(response(), of=request(target="/a", method="QUERY"), birth=ledger.birth())
    ledger.purge([URI])
    assert ledger.verdict(stored) is INVALID


# ------------------------------------------------------------------------------------------------ bounded memory


def test_what_was_forgotten_counts_as_purged() -> None:
    ledger = Ledger(capacity=2)
    births = [ledger.birth()]
    for tag in ("a", "b", "c"):
        ledger.purge(tags=[tag])
        births.append(ledger.birth())
    # "a" is forgotten, so whatever is older than its purge may have been hit by it,
    assert [ledger.verdict_of(born, URI, ["x"]) for born in births] == [INVALID, VALID, VALID, VALID]
    # and what is younger never was.
    assert [ledger.verdict_of(born, URI, ["a"]) for born in births] == [INVALID, VALID, VALID, VALID]


def test_purging_the_same_again_forgets_nothing() -> None:
    ledger = Ledger(capacity=2)
    born = ledger.birth()
    for _ in range(10):
        ledger.purge([URI], ["t"])
    assert ledger.verdict_of(born, "http://example.com/b", ["x"]) is VALID


def test_one_purge_of_more_than_is_remembered() -> None:
    ledger = Ledger(capacity=2)
    born = ledger.birth()
    ledger.purge(tags=[str(n) for n in range(10)])
    assert ledger.verdict_of(born, URI, ["x"]) is INVALID
    assert ledger.verdict_of(ledger.birth(), URI, ["0"]) is VALID


def test_a_ledger_that_remembers_nothing_is_still_right() -> None:
    ledger = Ledger(capacity=0)
    born = ledger.birth()
    ledger.purge(tags=["t"])
    assert ledger.verdict_of(born, URI) is INVALID
    assert ledger.verdict_of(ledger.birth(), URI) is VALID


# ------------------------------------------------------------------- against a model that remembers everything


class Remembering:
    """Every purge there was, looked through one by one."""

    def __init__(self) -> None:
        self.purges: list[tuple[frozenset[str], frozenset[str]]] = []

    def verdict_of(self, born: int, uri: str, tags: Iterable[str]) -> Verdict:
        """Whether one of the purges since then matches."""
        bare = uri.removeprefix("https://").removeprefix("http://")
        hit = any(bare in uris or not tagged.isdisjoint(tags) for uris, tagged in self.purges[born:])
        return INVALID if hit else VALID


uris = st.sampled_from([f"{scheme}://h/{path}" for scheme in ("http", "https") for path in "abcd"])
tags = st.sampled_from(["r", "s", "t", "h/a"])


class LedgerMachine(RuleBasedStateMachine):
    """Births and purges in any order; three capacities beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Remembering()
        self.ledgers = [Ledger(capacity) for capacity in (0, 3, 100)]
        self.born: list[tuple[list[Birth], int, str, frozenset[str]]] = []
        self.invalid: set[tuple[int, int]] = set()

    @rule(uri=uris, labels=st.frozensets(tags, max_size=2))
    def send(self, uri: str, labels: frozenset[str]) -> None:
        births = [ledger.birth() for ledger in self.ledgers]
        self.born.append((births, len(self.model.purges), uri, labels))

    @rule(named=st.lists(uris, max_size=3), labels=st.lists(tags, max_size=2))
    def purge(self, named: list[str], labels: list[str]) -> None:
        bare = frozenset(uri.partition("://")[2] for uri in named)
        self.model.purges.append((bare, frozenset(labels)))
        for ledger in self.ledgers:
            assert ledger.purge(named, labels) == len(self.model.purges)

    @invariant()
    def nothing_purged_is_ever_valid(self) -> None:
        for number, (births, born, uri, labels) in enumerate(self.born):
            truth = self.model.verdict_of(born, uri, labels)
            small, medium, large = (
                ledger.verdict_of(birth, uri, labels) for ledger, birth in zip(self.ledgers, births, strict=True)
            )
            assert large is truth
            if truth is INVALID:
                assert (small, medium) == (INVALID, INVALID)
            if born == len(self.model.purges):
                assert (small, medium, large) == (VALID, VALID, VALID)
            for which, verdict in enumerate((small, medium, large)):
                # Antitone: once invalid, always invalid.
                assert verdict is INVALID or (number, which) not in self.invalid
                if verdict is INVALID:
                    self.invalid.add((number, which))

    @invariant()
    def memory_is_bounded(self) -> None:
        for ledger, capacity in zip(self.ledgers, (0, 3, 100), strict=True):
            assert ledger.remembered <= capacity


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestLedger = LedgerMachine.TestCase


@given(
    before=st.lists(tags, max_size=5),
    after=st.lists(tags, max_size=5),
    labels=st.frozensets(tags, max_size=3),
    capacity=st.integers(0, 6),
)
def test_exactly_what_was_born_before_and_matches(
    before: list[str], after: list[str], labels: frozenset[str], capacity: int
) -> None:
    ledger = Ledger(capacity)
    for tag in before:
        ledger.purge(tags=[tag])
    born = ledger.birth()
    assert ledger.verdict_of(born, URI, labels) is VALID
    for tag in after:
        ledger.purge(tags=[tag])
    verdict = ledger.verdict_of(born, URI, labels)
    if not labels.isdisjoint(after):
        assert verdict is INVALID
    elif len({*before, *after}) <= capacity:
        assert verdict is VALID
