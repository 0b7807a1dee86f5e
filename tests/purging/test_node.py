"""The process's half of the protocol, step by step; ``test_protocol`` drives it through everything at once."""

from __future__ import annotations

import math

import pytest

from edgecache.purging.log import Activation, Member, Order, OrderReply
from edgecache.purging.node import Commitment, Node, Timing
from edgecache.purging.receipt import State
from edgecache.purging.release import Release
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth
from tests.purging.model import TIMING, ModelLog

TERM = TIMING.term()
URI = "http://h/1"
A, B = Selector.of("tag", "a"), Selector.of("tag", "b")
NOTHING = frozenset[str]()


def sync(node: Node, log: ModelLog, now: float = 0.0, *, heard: float | None = None) -> bool:
    begun = node.begin(now, census=True)
    return node.take(begun, log.sync(begun), now if heard is None else heard)


def purge(node: Node, log: ModelLog, *selectors: Selector, now: float = 0.0) -> Commitment:
    return node.commit(log.purge(Order(selectors or (A,), node.epoch, node.applied)), now)


def activate(node: Node, log: ModelLog, name: str, *, now: float = 0.0, held: bool = False) -> Commitment:
    reply = log.activate(Activation(name, held, node.epoch, node.applied, node.known))
    assert isinstance(reply, OrderReply)
    return node.activated(reply, now)


def joined(log: ModelLog, worker: str = "w", now: float = 0.0, *, extra: float = 0.0) -> Node:
    node = Node(worker, TIMING, extra=extra)
    while not sync(node, log, now):
        pass
    return node


def settled(log: ModelLog, node: Node) -> float:
    """Let the registry become complete; return the time."""
    assert sync(node, log, TERM)
    return TERM


# ----------------------------------------------------------------------------------------------- births and leases


def test_before_the_first_sync_nothing_is_known() -> None:
    node = Node("w", TIMING)
    assert not node.leased(0.0)
    assert node.verdict(node.birth(), URI, NOTHING) is Verdict.UNPROVEN


def test_i5_a_birth_is_never_ahead_of_the_log() -> None:
    log = ModelLog(capacity=100, page=2)
    node = joined(log)
    other = joined(log, "v")
    for _ in range(5):
        purge(other, log)
    while node.applied < log.sequence:
        assert node.birth().sequence <= log.sequence
        sync(node, log)
    assert node.birth() == Birth(log.epoch, log.sequence)


def test_i7_a_lease_begins_when_its_sync_was_sent() -> None:
    log = ModelLog()
    node = joined(log)
    sync(node, log, 50.0, heard=90.0)
    assert node.lease_until == 50.0 + TIMING.lease
    assert node.leased(149.9)
    assert not node.leased(150.0)


def test_i7_a_part_gives_no_lease() -> None:
    log = ModelLog(capacity=100, page=2)
    node, other = joined(log), joined(log, "v")
    for _ in range(3):
        purge(other, log)
    lease = node.lease_until
    assert not sync(node, log, 10.0)
    assert node.lease_until == lease
    assert not sync(node, log, 20.0)  # all is known, and not yet declared
    assert node.lease_until == 20.0 + TIMING.lease
    assert sync(node, log, 30.0)


def test_i7_no_reply_no_lease() -> None:
    log = ModelLog()
    node = joined(log)
    first = node.begin(10.0)
    second = node.begin(20.0)
    assert not node.take(first, log.sync(first), 30.0)
    assert node.lease_until == TIMING.lease
    assert node.take(second, log.sync(second), 30.0)
    assert node.lease_until == 20.0 + TIMING.lease


def test_what_was_purged_is_known_after_a_sync() -> None:
    log = ModelLog()
    node, other = joined(log), joined(log, "v")
    born = node.birth()
    purge(other, log)
    assert node.verdict(born, URI, frozenset("a")) is Verdict.VALID
    sync(node, log)
    assert node.verdict(born, URI, frozenset("a")) is Verdict.INVALID
    assert node.verdict(born, URI, frozenset("b")) is Verdict.VALID
    assert node.verdict(node.birth(), URI, frozenset("a")) is Verdict.VALID


def test_a_new_epoch_proves_nothing_of_the_old() -> None:
    log = ModelLog()
    node = joined(log)
    born = node.birth()
    log.flush()
    sync(node, log)
    assert node.verdict(born, URI, NOTHING) is Verdict.UNPROVEN
    assert node.verdict(node.birth(), URI, NOTHING) is Verdict.VALID


def test_who_was_away_while_the_log_forgot_proves_less() -> None:
    log = ModelLog(capacity=2)
    node, other = joined(log), joined(log, "v")
    born = node.birth()
    for _ in range(4):
        purge(other, log, B)
    sync(node, log)
    assert node.verdict(born, URI, frozenset("a")) is Verdict.UNPROVEN
    assert node.birth().sequence == log.sequence


def test_a_rule_may_serve_on_as_long_as_was_declared() -> None:
    log = ModelLog()
    node = joined(log, extra=50.0)
    assert log.members["w"].lease == TIMING.lease + 50.0
    assert node.leased(149.0, extra=50.0)
    assert not node.leased(149.0)
    assert not node.leased(151.0, extra=1000.0)
    assert joined(log, "v", extra=math.inf).leased(1e9, extra=math.inf)


def test_leaving_ends_the_lease_for_ever() -> None:
    log = ModelLog()
    node = joined(log)
    under_way = node.begin(1.0)
    node.leave()
    node.take(under_way, log.sync(under_way), 1.0)
    assert not node.leased(1.0)


# ---------------------------------------------------------------------------------------------------- orders and news


def test_a_purge_takes_effect_here_before_it_is_committed() -> None:
    log = ModelLog()
    node = joined(log)
    born = node.birth()
    order = node.order([A])
    soft = node.order([Selector.of("tag", "b", soft=True)])
    assert node.verdict(born, URI, frozenset("a")) is Verdict.INVALID
    assert node.verdict(born, URI, frozenset("b")) is Verdict.STALE
    assert node.verdict(born, URI, frozenset("ab")) is Verdict.INVALID
    assert node.verdict(born, URI, frozenset("c")) is Verdict.VALID
    node.withdraw(soft)
    assert node.verdict(born, URI, frozenset("b")) is Verdict.VALID
    node.commit(log.purge(Order((A,), node.epoch, node.applied)), 0.0, order)
    assert node.verdict(node.birth(), URI, frozenset("a")) is Verdict.INVALID
    sync(node, log)
    assert node.verdict(born, URI, frozenset("a")) is Verdict.INVALID
    assert node.verdict(node.birth(), URI, frozenset("a")) is Verdict.VALID


def test_an_order_that_began_an_epoch_ends_with_it() -> None:
    log = ModelLog()
    node = joined(log)
    order = node.order([A])
    log.flush()
    node.commit(log.purge(Order((A,), node.epoch, node.applied)), 0.0, order)
    log.flush()
    sync(node, log)
    assert node.verdict(node.birth(), URI, frozenset("a")) is Verdict.VALID


def test_news_are_told_once() -> None:
    log = ModelLog()
    node = joined(log)
    assert not node.is_news(node.birth())
    ahead = Birth(node.epoch, node.applied + 1)
    assert [node.is_news(ahead), node.is_news(ahead)] == [True, False]
    strange = Birth(b"strange", 1)
    assert [node.is_news(strange), node.is_news(strange)] == [True, False]
    assert not node.is_news(Birth(b"", 0))
    old = node.birth()
    log.flush()
    sync(node, log)
    assert not node.is_news(old)
    for number in range(100):
        assert node.is_news(Birth(b"%d" % number, 0))


# ------------------------------------------------------------------------------------------------- acknowledgements


def test_i9_by_the_registry() -> None:
    log = ModelLog()
    node, other = joined(log), joined(log, "v")
    now = settled(log, node)
    purged = purge(node, log, now=now)
    assert node.acknowledged(purged, now) is None
    sync(node, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now) is None  # v has not applied it
    sync(other, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now) is None  # v has applied it, and not declared it
    assert not node.has_applied("v", purged)
    sync(other, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now) is State.CONFIRMED
    assert node.has_applied("v", purged)


def test_i9_by_time() -> None:
    log = ModelLog()
    node = joined(log)
    joined(log, "silent")
    purged = purge(node, log, now=7.0)
    assert node.expires_at(purged) == 7.0 + TERM
    assert node.acknowledged(purged, 7.0 + TERM - 0.1) is None
    assert node.acknowledged(purged, 7.0 + TERM) is State.CONFIRMED


def test_i9_a_young_registry_is_not_believed() -> None:
    log = ModelLog()
    node = joined(log)
    purged = purge(node, log)
    sync(node, log)
    sync(node, log)
    assert node.acknowledged(purged, 0.0) is None
    settled(log, node)
    assert node.acknowledged(purge(node, log, now=TERM), TERM) is None
    sync(node, log, TERM)
    assert not node.begin(TERM - 1).settled
    assert node.begin(TERM).settled


def test_i9_another_epoch_s_registry_acknowledges_nothing() -> None:
    log = ModelLog()
    node = joined(log)
    now = settled(log, node)
    purged = purge(node, log, now=now)
    log.flush()
    for _ in range(3):
        sync(node, log, now)
    now += TERM - 1
    sync(node, log, now)
    assert node.acknowledged(purged, now) is None


def test_i9_the_longest_lease_is_waited_for() -> None:
    log = ModelLog()
    node = joined(log)
    joined(log, "long", extra=200.0)
    purged = purge(node, log)
    assert node.expires_at(purged) == TIMING.term(300.0)


def test_a_lease_is_remembered_over_a_lost_registry() -> None:
    log = ModelLog()
    node = joined(log)
    joined(log, "long", extra=200.0)
    sync(node, log)
    log.flush()
    sync(node, log)
    assert node.expires_at(purge(node, log)) == TIMING.term(300.0)
    sync(node, log, TERM + 1)  # complete again, and the long one has not come back
    assert node.expires_at(purge(node, log, now=TERM + 1)) == TERM + 1 + TERM


def test_an_endless_lease_is_partial_until_it_is_declared() -> None:
    log = ModelLog()
    node = joined(log)
    endless = joined(log, "endless", extra=math.inf)
    now = settled(log, node)
    purged = purge(node, log, now=now)
    sync(node, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now) is None
    assert node.acknowledged(purged, now + TERM) is State.PARTIAL
    sync(endless, log, now)
    sync(endless, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now) is State.CONFIRMED


def test_an_endless_lease_is_never_forgotten_unless_told() -> None:
    log = ModelLog()
    node = joined(log)
    joined(log, "endless", extra=math.inf)
    sync(node, log)
    log.flush()
    sync(node, log)
    now = TERM + 1
    sync(node, log, now)
    purged = purge(node, log, now=now)
    sync(node, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now + TERM) is State.PARTIAL
    assert node.workers(purged) == ["endless", "w"]
    node.forget("endless")
    assert node.acknowledged(purged, now) is State.CONFIRMED


def test_who_left_is_not_waited_for() -> None:
    log = ModelLog()
    node = joined(log)
    joined(log, "v", extra=math.inf)
    now = settled(log, node)
    del log.members["v"]
    purged = purge(node, log, now=now)
    sync(node, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now) is State.CONFIRMED


# ----------------------------------------------------------------------------------------------- the active release


def test_a_release_is_in_force_here_when_it_is_ordered() -> None:
    log = ModelLog()
    node = joined(log)
    activate(node, log, "v1")
    intended = node.intend("v2", held=True)
    assert node.release == intended == Release("v2", True, "v1", node.known.sequence)
    sync(node, log)
    assert node.release is intended  # the log says nothing new
    node.desist(intended)
    assert node.release == node.known == log.release
    node.intend("v3")
    activate(joined(log, "v"), log, "v4")
    sync(node, log)
    assert node.release.name == "v4"  # somebody else's came in between
    node.desist(intended)
    assert node.release.name == "v4"


def test_a_late_word_changes_nothing() -> None:
    log = ModelLog()
    node = joined(log)
    under_way = node.begin(0.0)
    reply = log.sync(under_way)
    activate(node, log, "v1")
    node.take(under_way, reply, 0.0)
    assert node.release == node.known == log.release
    assert node.known.name == "v1"


def test_a_release_is_known_before_all_that_was_purged_is() -> None:
    log = ModelLog(capacity=100, page=1)
    node, other = joined(log), joined(log, "v")
    purge(other, log)
    activate(other, log, "v1")
    assert not sync(node, log, 10.0)
    assert node.applied < log.sequence
    assert (node.release, node.lease_until) == (log.release, TIMING.lease)


def test_who_has_a_lease_vouches_for_what_it_tells_a_lost_log() -> None:
    log = ModelLog()
    node, other = joined(log), joined(log, "v")
    activate(node, log, "v1")
    sync(node, log)
    log.flush()
    sync(node, log, 10.0)
    assert node.lease_until == 10.0 + TIMING.lease
    assert not log.sure
    sync(other, log, TERM)
    assert (other.release, other.leased(TERM)) == (log.release, False)
    sync(node, log, 20.0)
    assert log.sure
    sync(other, log, TERM)
    assert other.leased(TERM)


def test_who_has_none_waits_until_somebody_vouches_or_a_term_is_over() -> None:
    log = ModelLog()
    node = joined(log)
    activate(node, log, "v1")
    sync(node, log)
    log.flush()
    sync(node, log, TERM)
    assert not node.leased(TERM)
    assert sync(node, log, TERM)  # all is known and declared: no reason to ask again at once
    sync(node, log, 2 * TERM - 1)
    assert not node.leased(2 * TERM - 1)
    sync(node, log, 2 * TERM)
    assert node.leased(2 * TERM)
    assert log.sure


def test_another_activation_ends_the_doubt() -> None:
    log = ModelLog()
    node = joined(log)
    activate(node, log, "v1")
    log.flush()
    sync(node, log, TERM)
    activate(node, log, "v2", now=TERM)
    sync(node, log, TERM)
    assert node.leased(TERM)


def test_a_lease_ends_when_a_lost_log_tells_of_a_release() -> None:
    """A newcomer had it because nobody had told of any."""
    log = ModelLog()
    missed = joined(log)
    activate(missed, log, "v1")
    log.flush()
    newcomer = joined(log, "newcomer", TERM)
    assert newcomer.leased(TERM + 1)
    sync(missed, log, TERM)  # it has no lease, and may have missed another
    sync(newcomer, log, TERM + 1)
    assert newcomer.release == missed.release
    assert not newcomer.leased(TERM + 1)


def test_i9_an_activation_by_time_needs_a_log_that_still_knows_it() -> None:
    log = ModelLog()
    node = joined(log)
    joined(log, "silent")
    activated = activate(node, log, "v1")
    sync(node, log, TERM - 1)
    assert node.acknowledged(activated, TERM) is None
    assert node.expires_at(activated) == TERM
    assert node.gives_up_at(activated) == 2 * TERM
    assert node.acknowledged(activated, 2 * TERM) is State.PARTIAL
    sync(node, log, TERM)
    assert node.acknowledged(activated, TERM) is State.CONFIRMED


def test_i9_an_activation_goes_on_in_the_next_epoch() -> None:
    log = ModelLog()
    node = joined(log)
    activated = activate(node, log, "v1")
    log.flush()
    sync(node, log, 50.0)
    assert node.expires_at(activated) == 50.0 + TERM
    assert node.acknowledged(activated, TERM) is None
    sync(node, log, 50.0 + TERM)
    assert node.has_applied("w", activated)
    assert node.acknowledged(activated, 50.0 + TERM) is State.CONFIRMED


# ----------------------------------------------------------------------------------------------------- the registry


def test_the_dead_are_those_who_give_no_sign_for_three_terms() -> None:
    log = ModelLog()
    node, other = joined(log), joined(log, "v")
    log.members["endless"] = Member(0, math.inf, 1)
    sync(node, log)
    sync(other, log, TERM)
    sync(node, log, TERM)
    sync(node, log, 3.9 * TERM)
    assert node.dead(3.9 * TERM) == []
    sync(node, log, 4 * TERM)
    assert node.dead(4 * TERM) == [("v", log.members["v"].heartbeat)]
    sync(other, log, 4 * TERM)
    sync(node, log, 4 * TERM)
    assert node.dead(5 * TERM) == []


def test_the_registry_is_asked_for_once_in_a_while() -> None:
    log = ModelLog()
    node = joined(log)
    assert not node.begin(TERM - 1).census
    assert node.begin(TERM).census


def test_i12_after_a_loss_all_is_served_and_acknowledged_again() -> None:
    log = ModelLog()
    node = joined(log)
    settled(log, node)
    log.flush()
    now = TERM + 1
    sync(node, log, now)
    assert node.leased(now)
    now += TERM
    sync(node, log, now)
    purged = purge(node, log, now=now)
    sync(node, log, now)
    sync(node, log, now)
    assert node.acknowledged(purged, now) is State.CONFIRMED


@pytest.mark.parametrize(("lease", "error", "term"), [(10.0, 1e-3, 10.02), (10.0, 0.0, 10.0), (3.0, 0.05, 3.3158)])
def test_the_term(lease: float, error: float, term: float) -> None:
    assert Timing(lease, error).term() == pytest.approx(term, abs=1e-3)
    assert Timing(lease, error).period == lease / 10
