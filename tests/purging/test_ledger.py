from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgecache.errors import ClientError
from edgecache.purging.local import LocalLedger
from edgecache.purging.receipt import State
from edgecache.purging.selector import Kind, Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth
from tests.semantics.build import request, response, store

VALID, INVALID, UNPROVEN = Verdict.VALID, Verdict.INVALID, Verdict.UNPROVEN
GONE = (INVALID, UNPROVEN)
"""Not to be served: a purge matches, or one may have matched that is forgotten."""

URI = "http://example.com/a"


class Ledger(LocalLedger):
    """The ledger of one process, told of purges in short."""

    def order(self, uris: Iterable[str] = (), tags: Iterable[str] = ()) -> int:
        """Purge URLs and tags, hard; return the sequence."""
        urls = [Selector.of(Kind.URL, uri) for uri in uris]
        return self.purge_now([*urls, *(Selector.of(Kind.TAG, tag) for tag in tags)]).sequence


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
    ],
)
def test_a_purge_hits_what_it_matches(uris: list[str], tags: list[str], verdict: Verdict) -> None:
    ledger = Ledger()
    born = ledger.birth()
    assert ledger.order(uris, tags) == ledger.sequence == 1
    assert ledger.verdict_of(born, URI, ["s", "t"]) is verdict


def test_a_purge_does_not_hit_what_is_born_after_it() -> None:
    ledger = Ledger()
    ledger.order([URI], ["t"])
    assert ledger.verdict_of(ledger.birth(), URI, ["t"]) is VALID


def test_a_response_on_its_way_is_hit_too() -> None:
    ledger = Ledger()
    born = ledger.birth()
    ledger.order(["http://example.com/other"])
    ledger.order([URI])
    ledger.order(["http://example.com/other"])
    assert ledger.verdict_of(born, URI) is INVALID


def test_another_epoch_is_never_trusted() -> None:
    ledger, other = Ledger(), Ledger()
    assert ledger.birth().epoch != other.birth().epoch
    assert ledger.verdict_of(other.birth(), URI) is UNPROVEN
    other.order(tags=["x"])
    assert ledger.verdict_of(Birth(other.birth().epoch, 0), URI) is UNPROVEN


def test_who_is_replaced_vouches_for_nothing() -> None:
    """The successor's purges are not heard here, and ours are not heard there."""
    ledger = Ledger()
    birth = ledger.birth()
    stored = store(response("Cache-Control: max-age=60"), of=request(), birth=birth)
    assert ledger.verdict(stored) is VALID
    ledger.retire()
    assert ledger.verdict(stored) is UNPROVEN
    assert ledger.verdict_of(ledger.birth(), URI) is UNPROVEN
    receipt = ledger.purge_now([Selector.of(Kind.URL, URI)])
    assert (receipt.state, receipt.state.status) == (State.UNCONFIRMED, 503)


def test_verdicts_about_stored_responses() -> None:
    ledger = Ledger()
    head = response("Cache-Control: max-age=60", 'Cache-Groups: "g"')
    stored = store(head, of=request(target="/a"), birth=ledger.birth())
    assert ledger.verdict(stored) is VALID
    ledger.order(tags=["other"])
    assert ledger.verdict(stored) is VALID
    ledger.order(tags=stored.tags)
    assert ledger.verdict(stored) is INVALID
    again = store(head, of=request(target="/a"), birth=ledger.birth())
    assert ledger.verdict(again) is VALID
    ledger.order([again.uri])
    assert ledger.verdict(again) is INVALID


def test_of_a_query_every_content_is_purged() -> None:
    ledger = Ledger()
    stored = store(response(), of=request(target="/a", method="QUERY"), birth=ledger.birth())
    ledger.order([URI])
    assert ledger.verdict(stored) is INVALID


# ------------------------------------------------------------------------------------------------ bounded memory


def test_what_was_forgotten_counts_as_purged() -> None:
    ledger = Ledger(capacity=2)
    births = [ledger.birth()]
    for tag in ("a", "b", "c"):
        ledger.order(tags=[tag])
        births.append(ledger.birth())
    # "a" is forgotten, so whatever is older than its purge may have been hit by it,
    assert [ledger.verdict_of(born, URI, ["x"]) for born in births] == [UNPROVEN, VALID, VALID, VALID]
    # and what is younger never was.
    assert [ledger.verdict_of(born, URI, ["a"]) for born in births] == [UNPROVEN, VALID, VALID, VALID]


def test_purging_the_same_again_forgets_nothing() -> None:
    ledger = Ledger(capacity=2)
    born = ledger.birth()
    for _ in range(10):
        ledger.order([URI], ["t"])
    assert ledger.verdict_of(born, "http://example.com/b", ["x"]) is VALID


def test_one_purge_of_more_than_is_remembered() -> None:
    ledger = Ledger(capacity=2)
    born = ledger.birth()
    ledger.order(tags=[str(n) for n in range(10)])
    assert ledger.verdict_of(born, URI, ["x"]) in GONE
    assert ledger.verdict_of(ledger.birth(), URI, ["0"]) is VALID


def test_a_ledger_that_remembers_nothing_is_still_right() -> None:
    ledger = Ledger(capacity=0)
    born = ledger.birth()
    ledger.order(tags=["t"])
    assert ledger.verdict_of(born, URI) in GONE
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
        if not named and not labels:
            return
        bare = frozenset(uri.partition("://")[2] for uri in named)
        self.model.purges.append((bare, frozenset(labels)))
        for ledger in self.ledgers:
            assert ledger.order(named, labels) == len(self.model.purges)

    @invariant()
    def nothing_purged_is_ever_valid(self) -> None:
        for number, (births, born, uri, labels) in enumerate(self.born):
            truth = self.model.verdict_of(born, uri, labels)
            small, medium, large = (
                ledger.verdict_of(birth, uri, labels) for ledger, birth in zip(self.ledgers, births, strict=True)
            )
            assert large is truth
            if truth is INVALID:
                assert small in GONE
                assert medium in GONE
            if born == len(self.model.purges):
                assert (small, medium, large) == (VALID, VALID, VALID)
            for which, verdict in enumerate((small, medium, large)):
                # Antitone: once gone, always gone.
                assert verdict in GONE or (number, which) not in self.invalid
                if verdict in GONE:
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
        ledger.order(tags=[tag])
    born = ledger.birth()
    assert ledger.verdict_of(born, URI, labels) is VALID
    for tag in after:
        ledger.order(tags=[tag])
    verdict = ledger.verdict_of(born, URI, labels)
    if not labels.isdisjoint(after):
        assert verdict in GONE
    elif len({*before, *after}) <= capacity:
        assert verdict is VALID


# ------------------------------------------------------------------------------------------- orders and receipts


def test_a_receipt_confirms_at_once() -> None:
    ledger = Ledger()
    receipt = ledger.purge_now([Selector.of(Kind.TAG, "a"), Selector.of(Kind.TAG, "a")])
    assert (receipt.state.status, receipt.sequence, receipt.missing) == (200, 1, ())


def test_an_order_repeated_with_its_key_is_one_purge() -> None:
    ledger = Ledger()
    selectors = [Selector.of(Kind.TAG, "a")]
    first = ledger.purge_now(selectors, idempotency_key="k")
    born = ledger.birth()
    assert ledger.purge_now(selectors, idempotency_key="k").sequence == first.sequence == ledger.sequence
    assert ledger.verdict_of(born, URI, ["a"]) is VALID
    with pytest.raises(ClientError) as raised:
        ledger.purge_now([Selector.of(Kind.TAG, "b")], idempotency_key="k")
    assert raised.value.status == 422


@pytest.mark.parametrize("count", [0, 1001])
def test_too_few_and_too_many(count: int) -> None:
    with pytest.raises(ClientError) as raised:
        Ledger().purge_now([Selector.of(Kind.TAG, str(n)) for n in range(count)])
    assert raised.value.status == 400


def test_a_soft_purge_makes_stale_and_nothing_worse() -> None:
    ledger = Ledger()
    born = ledger.birth()
    ledger.purge_now([Selector.of(Kind.TAG, "a", soft=True)])
    assert ledger.verdict_of(born, URI, ["a"]) is Verdict.STALE
    ledger.purge_now([Selector.of(Kind.TAG, "a")])
    assert ledger.verdict_of(born, URI, ["a"]) is INVALID
