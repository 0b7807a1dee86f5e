"""Which release is active, at many processes: over a model of the log and a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from edgecache.errors import ClientError
from edgecache.purging.distributed import DistributedLedger
from edgecache.purging.receipt import State
from edgecache.purging.release import NO_RELEASE
from edgecache.purging.verdict import Verdict
from tests.purging.cluster import TIMING, A, Cluster, SharedLog

URI = "http://example.com/a"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    yield cluster
    await cluster.close()


def active(cluster: Cluster) -> list[str]:
    return [ledger.release.name for ledger in cluster.ledgers]


async def lose(cluster: Cluster, *, parted: tuple[int, ...] = ()) -> None:
    """Everything is gone; whoever is cut off does not hear of it."""
    for number, log in enumerate(cluster.logs):
        log.parted = number in parted
    cluster.model.flush()
    await cluster.clock.advance(TIMING.period)


# ------------------------------------------------------------------------------------------------------- the promise


async def test_an_activation_is_confirmed_by_everybody(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    born = two.birth()
    receipt = await cluster.activate(one, "v1")
    assert receipt.state is State.CONFIRMED
    assert (receipt.epoch, receipt.sequence) == (cluster.model.epoch, cluster.model.sequence)
    assert [(worker.worker, worker.applied) for worker in receipt.workers] == [("w1", True), ("w2", True)]
    assert receipt.waited < 1.0
    assert one.release == two.release == cluster.model.release
    assert two.sequence == receipt.sequence
    assert two.verdict_of(born, URI, ["a"]) is Verdict.VALID  # nothing was purged


async def test_it_is_in_force_here_before_anything_is_waited_for(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    activating = asyncio.create_task(one.activate("v1"))
    await asyncio.sleep(0)
    assert active(cluster) == ["v1", ""]
    await cluster.clock.advance(TIMING.term() + 1)
    assert (await activating).state is State.CONFIRMED
    assert one.release == two.release
    assert one.release.sequence > 0


async def test_what_cannot_be_committed_is_not_in_force_here_either(cluster: Cluster) -> None:
    one = await cluster.join()
    cluster.model.up = False
    receipt = await cluster.activate(one, "v1")
    assert (receipt.state, receipt.state.status, receipt.sequence) == (State.UNCONFIRMED, 503, 0)
    assert one.release == NO_RELEASE


async def test_who_is_not_in_step_activates_nothing(cluster: Cluster) -> None:
    one = DistributedLedger(SharedLog(cluster.model), clock=cluster.clock, sleep=cluster.clock.sleep)
    assert (await one.activate("v1")).state is State.UNCONFIRMED
    assert one.release == NO_RELEASE


async def test_who_gives_up_leaves_the_log_to_say_what_is_in_force(cluster: Cluster) -> None:
    one = await cluster.join()
    activating = asyncio.create_task(one.activate("v1"))
    await asyncio.sleep(0)
    activating.cancel()
    await asyncio.wait([activating])
    assert one.release.name == cluster.model.release.name == ""


@pytest.mark.parametrize("name", ["", "-", "v/1", "v" * 65])
async def test_what_is_not_a_name(cluster: Cluster, name: str) -> None:
    one = await cluster.join()
    with pytest.raises(ClientError) as raised:
        await one.activate(name)
    assert raised.value.status == 400
    assert one.release == NO_RELEASE


async def test_a_silent_process_costs_one_term_and_serves_nothing_after_it(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    born = two.birth()
    cluster.logs[1].parted = True
    activating = asyncio.create_task(one.activate("v1"))
    await cluster.clock.advance(TIMING.term() - 0.1)
    assert not activating.done()
    await cluster.clock.advance(0.3)
    receipt = await activating
    assert (receipt.state, receipt.missing) == (State.CONFIRMED, ("w2",))
    assert (two.release, two.leased()) == (NO_RELEASE, False)
    assert two.verdict_of(born, URI) is Verdict.UNPROVEN
    cluster.logs[1].parted = False
    await cluster.clock.advance(TIMING.period)
    assert (two.release, two.leased()) == (one.release, True)


async def test_patience_ends_and_the_activation_goes_on(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    cluster.logs[1].parted = True
    receipt = await cluster.activate(one, "v1", within=2.0)
    assert (receipt.state, receipt.missing) == (State.PARTIAL, ("w2",))
    cluster.logs[1].parted = False
    await cluster.clock.advance(TIMING.period)
    assert two.release == one.release


async def test_whoever_may_serve_for_ever_is_named(cluster: Cluster) -> None:
    one, _ = await cluster.join(), await cluster.join(extra=math.inf)
    await cluster.settle()
    cluster.logs[1].parted = True
    receipt = await cluster.activate(one, "v1", within=TIMING.term() + 0.3)
    assert (receipt.state, receipt.missing) == (State.PARTIAL, ("w2",))


async def test_a_rollback_and_the_same_again(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    for name, held in (("v1", False), ("v2", False), ("v2", False), ("v1", True), ("v1", True)):
        before = one.release
        assert (await cluster.activate(one, name, held=held)).state is State.CONFIRMED
        assert one.release.sequence > before.sequence
    assert (two.release.name, two.release.held, two.release.previous) == ("v1", True, "v2")
    await cluster.activate(two, "v1")
    assert (one.release.name, one.release.held, one.release.previous) == ("v1", False, "v2")


async def test_of_two_at_the_same_time_the_later_counts_everywhere(cluster: Cluster) -> None:
    one, two, three = [await cluster.join() for _ in range(3)]
    await cluster.settle()
    activating = [asyncio.create_task(ledger.activate(name)) for ledger, name in ((one, "v1"), (two, "v2"))]
    await asyncio.sleep(0)
    assert active(cluster) == ["v1", "v2", ""]
    await cluster.clock.advance(1.0)
    first, second = [await task for task in activating]
    assert first.state is second.state is State.CONFIRMED
    assert first.sequence < second.sequence
    assert one.release == two.release == three.release
    assert (one.release.name, one.release.previous) == ("v2", "v1")


async def test_many_at_once_in_one_process(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    activating = [asyncio.create_task(one.activate(f"v{number}")) for number in range(10)]
    await cluster.clock.advance(1.0)
    receipts = [await task for task in activating]
    assert {receipt.state for receipt in receipts} == {State.CONFIRMED}
    last = max(range(10), key=lambda number: receipts[number].sequence)
    assert one.release == two.release
    assert one.release.name == f"v{last}"


async def test_it_goes_beside_purges(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    born = two.birth()
    activating = asyncio.create_task(one.activate("v1"))
    assert (await cluster.purge(two)).state is State.CONFIRMED
    assert (await activating).state is State.CONFIRMED
    assert [ledger.verdict_of(born, URI, ["a"]) for ledger in (one, two)] == [Verdict.INVALID] * 2
    assert active(cluster) == ["v1", "v1"]


# --------------------------------------------------------------------------------------------------- the log is lost


async def test_who_has_a_lease_tells_the_new_log_and_goes_on(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    await cluster.activate(one, "v1")
    await lose(cluster)
    assert active(cluster) == ["v1", "v1"]
    assert one.leased()
    assert two.leased()
    newcomer = await cluster.join()
    assert (newcomer.release, newcomer.leased()) == (one.release, True)


async def test_late_joiners_learn_it_when_its_entry_is_gone(cluster: Cluster) -> None:
    one = await cluster.join()
    await cluster.settle()
    receipt = await cluster.activate(one, "v1")
    for _ in range(101):
        await one.invalidate([A])
        await cluster.clock.settle()
    assert cluster.model.floor >= receipt.sequence
    assert (await cluster.join()).release == one.release


async def test_who_missed_it_and_comes_first_to_a_lost_log_gets_no_lease(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    await cluster.activate(one, "v1")
    cluster.logs[1].parted = True
    await cluster.activate(one, "v2", within=TIMING.term() + 0.3)
    await lose(cluster, parted=(0,))
    assert (two.release.name, two.leased()) == ("v1", False)
    assert cluster.model.release.name == "v1"
    cluster.logs[0].parted = False
    await cluster.clock.advance(2 * TIMING.period)
    assert active(cluster) == ["v2", "v2"]
    assert one.leased()
    assert two.leased()


async def test_what_nobody_who_is_there_has_heard_of_is_waited_for_one_term(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    await cluster.activate(one, "v1")
    cluster.logs[1].parted = True
    await cluster.activate(one, "v2", within=TIMING.term() + 0.3)
    await lose(cluster, parted=(0,))
    await cluster.clock.advance(TIMING.term() - 2 * TIMING.period)
    assert not two.leased()
    await cluster.clock.advance(3 * TIMING.period)
    assert (two.release.name, two.leased()) == ("v1", True)
    cluster.logs[0].parted = False  # it is better informed
    await cluster.clock.advance(2 * TIMING.period)
    assert active(cluster) == ["v2", "v2"]


async def test_without_releases_nobody_waits(cluster: Cluster) -> None:
    one = await cluster.join()
    assert one.leased()
    cluster.logs[0].parted = True
    await cluster.clock.advance(TIMING.term() + 1)
    assert not one.leased()
    await lose(cluster)
    assert one.leased()


async def test_the_later_counts_although_the_log_has_forgotten_how_late_it_is(cluster: Cluster) -> None:
    """After a loss the sequences of a log begin again; whoever knows the older release comes back last."""
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    for number in range(5):
        await cluster.activate(one, f"v{number}")
    await lose(cluster, parted=(0, 1))
    newcomer = await cluster.join()
    receipt = await cluster.activate(newcomer, "v9", within=TIMING.term() + 0.3)
    assert receipt.state is State.CONFIRMED
    assert receipt.sequence < 5
    cluster.logs[0].parted = cluster.logs[1].parted = False
    await cluster.clock.advance(TIMING.period)
    assert {ledger.release.name for ledger in (one, two, newcomer)} == {"v9"}


async def test_an_activation_that_the_log_lost_is_confirmed_when_the_next_log_knows_it(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    cluster.logs[1].parted = True
    activating = asyncio.create_task(one.activate("v1"))
    await cluster.clock.advance(1.0)
    cluster.model.flush()
    cluster.logs[0].parted, cluster.logs[1].parted = True, False
    await cluster.clock.advance(2 * TIMING.period)
    assert (two.release, two.leased()) == (NO_RELEASE, True)  # it had a lease, and never heard of it
    await cluster.clock.advance(TIMING.term() - 4 * TIMING.period)
    cluster.logs[0].parted = False
    await cluster.clock.advance(2 * TIMING.period)
    assert not activating.done()  # the term is over; what two knew was worth a lease until now
    assert two.release == one.release
    await cluster.clock.advance(TIMING.term() + 0.2)
    receipt = await activating
    assert (receipt.state, receipt.missing) == (State.CONFIRMED, ())


async def test_an_activation_that_the_log_may_have_lost_is_not_confirmed(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    activating = asyncio.create_task(one.activate("v1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cluster.model.up = False
    await cluster.clock.advance(2 * TIMING.term() - 0.1)
    assert not activating.done()
    await cluster.clock.advance(TIMING.period)
    assert (await activating).state is State.PARTIAL
    cluster.model.up = True
    await cluster.clock.advance(TIMING.period)
    assert one.release == two.release
    assert one.release.name == "v1"


async def test_what_was_given_up_and_arrives_late_replaces_nothing(cluster: Cluster) -> None:
    one, two = await cluster.join(), await cluster.join()
    await cluster.settle()
    held_back = cluster.logs[0].hold()
    assert (await cluster.activate(one, "v1")).state is State.UNCONFIRMED
    assert (await cluster.activate(two, "v2")).state is State.CONFIRMED
    await held_back()
    await cluster.clock.advance(TIMING.period)
    assert active(cluster) == ["v2", "v2"]


async def test_what_was_given_up_and_arrives_late_is_in_force_if_nothing_else_is(cluster: Cluster) -> None:
    one, _ = await cluster.join(), await cluster.join()
    await cluster.settle()
    held_back = cluster.logs[0].hold()
    assert (await cluster.activate(one, "v1")).state is State.UNCONFIRMED
    assert active(cluster) == ["", ""]
    await held_back()
    await cluster.clock.advance(TIMING.period)
    assert active(cluster) == ["v1", "v1"]
