"""A scan gives way to requests, comes to an end, and says how far it came."""

from __future__ import annotations

from msgspec.structs import replace

from edgecache.engine.scanning import PATIENCE, Scanning
from edgecache.engine.walk import TURN
from edgecache.purging.local import LocalLedger
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.rules import RuleSet
from edgecache.stores.memory import MemoryStore
from tests.semantics.build import NOW, request, stored


class Slow:
    """A clock on which every look takes some seconds; who sleeps by it is counted."""

    def __init__(self, step: float) -> None:
        self.at = 0.0
        self.step = step
        self.slept = 0

    def __call__(self) -> float:
        self.at += self.step
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept += 1


def scanning(count: int, clock: Slow) -> Scanning:
    """Of a store with so many pages under names of scripts."""
    store, ledger = MemoryStore(1 << 24), LocalLedger()
    for number in range(count):
        one = stored("Cache-Control: max-age=60", "Content-Type: text/html", of=request(target=f"/{number}.js"))
        assert store.put_now(replace(one, birth=ledger.birth()))
    return Scanning(store, ledger, RuleSet(DEFAULT), lambda: NOW, clock=clock, sleep=clock.sleep)


async def test_it_gives_way_between_turns() -> None:
    clock = Slow(TURN)
    scanned = await scanning(10, clock)(lambda _: True, 100)
    assert (scanned.looked_at, len(scanned.suspected), scanned.complete) == (10, 10, True)
    assert clock.slept >= 9


async def test_it_ends_when_it_takes_too_long_and_says_so() -> None:
    scanned = await scanning(10, Slow(PATIENCE / 4))(lambda _: True, 100)
    assert scanned.complete is False
    assert 0 < scanned.looked_at < 10


async def test_what_is_more_than_was_wanted_is_counted() -> None:
    scanned = await scanning(10, Slow(0.0))(lambda uri: "1" not in uri, 4)
    assert (len(scanned.suspected), scanned.more, scanned.complete) == (4, 5, True)
