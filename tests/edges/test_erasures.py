"""Erasing what purges hit: what is taken and what stays, one after the other, twice, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from msgspec import structs

from edgecache.edges.erasures import LATE, Erasures
from edgecache.edges.purge_messages import Erasure
from edgecache.engine.counters import Counters
from edgecache.errors import ClientError, StoreError
from edgecache.purging.receipt import Receipt, State, WorkerReceipt
from edgecache.purging.selector import Selector
from edgecache.semantics.stored import Birth, StoredResponse
from edgecache.stores.redis_body import SHORT_LIFE
from tests.edges.purging import Patience, Rests, erasing
from tests.stores.contract import response

EPOCH = b"e" * 16
RECEIPT = Receipt(State.CONFIRMED, 7, EPOCH, (WorkerReceipt("here:1:ab", True, 0.0),), 0.0)
TAG = [Selector.of("tag", "gone")]


def stored(sequence: int = 6, *tags: str, epoch: bytes = EPOCH, name: str = "a") -> StoredResponse:
    return structs.replace(response(name, tags=frozenset(tags)), birth=Birth(epoch, sequence))


def begin(erasures: Erasures, id: str = "1", receipt: Receipt = RECEIPT) -> Erasure:
    return erasures.begin(id, "root", TAG, receipt)


async def ended(erasures: Erasures, id: str = "1") -> Erasure:
    while (said := erasures.find(id)) is not None and said.ended is None:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)
    assert said is not None
    return said


@pytest.mark.parametrize(
    ("held", "goes"),
    [
        (stored(6, "gone"), True),
        (stored(6, "kept"), False),
        (stored(7, "gone"), False),
        (stored(8, "gone"), False),
        (stored(9, "gone", epoch=b"another"), True),
        (stored(9, "kept", epoch=b"another"), False),
        (stored(0, "gone", epoch=b""), True),
    ],
)
async def test_what_goes_and_what_stays(held: StoredResponse, goes: bool) -> None:
    rests, counters = Rests(held), Counters()
    erasures = erasing(rests, counters=counters)
    begin(erasures)
    said = await ended(erasures)
    assert (said.state, said.erased, said.detail) == ("done", goes, "")
    assert (rests.left == []) is goes
    assert counters.purge_erased == goes


async def test_it_is_said_how_far_it_has_come() -> None:
    rests, patience = Rests(stored(6, "gone"), stored(6)), Patience()
    erasures = erasing(rests, patience)
    rests.go.clear()
    begun = begin(erasures)
    assert (begun.id, begun.who, begun.state, begun.ended) == ("1", "root", "running", None)
    assert begun.started == "2025-11-23T00:40:00.000+00:00"
    rests.go.set()
    await patience.asleep.wait()
    said = erasures.find("1")
    assert said is not None
    assert (said.state, said.scanned, said.erased, said.ended) == ("running", 2, 1, None)
    assert said.detail == "looks once more when nothing is being written"
    patience.awake.set()
    said = await ended(erasures)
    assert (said.state, said.scanned, said.erased) == ("done", 3, 1)
    assert said.ended == "2025-11-23T00:40:00.000+00:00"


async def test_what_was_being_written_goes_in_the_second_pass() -> None:
    rests, patience = Rests(stored(6, "gone")), Patience()
    erasures = erasing(rests, patience)
    begin(erasures)
    await patience.asleep.wait()
    rests.left.append(stored(6, "gone", name="late"))
    patience.awake.set()
    assert (await ended(erasures)).erased == 2
    assert (rests.left, rests.passes) == ([], 2)
    assert patience.at >= LATE > SHORT_LIFE


async def test_one_after_the_other_and_no_more_than_can_wait() -> None:
    rests = Rests(stored(6, "gone"))
    erasures = erasing(rests)
    rests.go.clear()
    states = []
    for number in range(17):
        with erasures.admitted():
            states.append(begin(erasures, str(number)).state)
        await asyncio.sleep(0)
    assert states == ["running", *["queued"] * 16]
    with pytest.raises(ClientError, match="nothing was purged") as caught, erasures.admitted():
        raise AssertionError
    assert caught.value.status == 429
    rests.go.set()
    assert [(await ended(erasures, str(number))).state for number in range(17)] == ["done"] * 17
    assert rests.passes == 34
    with erasures.admitted():
        assert begin(erasures, "more").state == "running"
    assert (await ended(erasures, "more")).state == "done"


async def test_places_that_are_asked_for_are_taken() -> None:
    erasures = Erasures()
    with contextlib.ExitStack() as places:
        for _ in range(16):
            places.enter_context(erasures.admitted())
        with pytest.raises(ClientError), erasures.admitted():
            raise AssertionError
    with erasures.admitted():
        pass


async def test_a_failure_is_said_and_the_next_one_is_tried() -> None:
    rests = Rests(stored(6, "gone"))
    rests.fails = StoreError("the server did not answer")
    erasures = erasing(rests)
    begin(erasures)
    said = await ended(erasures)
    assert (said.state, said.erased) == ("failed", 0)
    assert said.detail == "the server did not answer; purge again with erase"
    rests.fails = None
    begin(erasures, "2")
    assert (await ended(erasures, "2")).state == "done"
    assert rests.left == []


async def test_without_redis_it_is_done_at_once() -> None:
    erasures = Erasures()
    said = begin(erasures)
    assert (said.state, said.detail, said.ended is None) == ("done", "there is no Redis", False)
    assert erasures.find("1") == said
    assert erasures.find("2") is None


async def test_who_has_not_confirmed_is_named() -> None:
    workers = (*RECEIPT.workers, WorkerReceipt("far:1:ab", False))
    erasures = erasing(Rests())
    begin(erasures, receipt=replace(RECEIPT, state=State.PARTIAL, workers=workers))
    said = await ended(erasures)
    assert said.state == "done"
    assert said.detail.startswith("not confirmed by far:1:ab: what they still write may stay; purge again with erase")


async def test_it_ends_with_the_process() -> None:
    rests = Rests(stored(6, "gone"))
    rests.go.clear()
    erasures = erasing(rests)
    for id in "12":
        begin(erasures, id)
    await asyncio.sleep(0)
    await erasures.close()
    said = erasures.find("1")
    assert said is not None
    assert (said.state, said.detail) == ("failed", "the process stopped before it was done; purge again with erase")


async def test_what_is_remembered_is_bounded() -> None:
    erasures = Erasures()
    for number in range(201):
        begin(erasures, str(number))
    assert erasures.find("0") is None
    assert erasures.find("1") is not None
