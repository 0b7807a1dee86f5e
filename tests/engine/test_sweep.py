"""The sweeper against a real store and a ledger, with a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest

from edgecache.engine.sweep import PACE, PERIOD, POLL, SHARE, Sweeper
from edgecache.engine.walk import TURN
from edgecache.purging.local import LocalLedger
from edgecache.purging.selector import Selector
from edgecache.semantics.stored import Birth, CacheKey
from edgecache.stores.memory import MemoryStore
from tests.purging.cluster import Clock
from tests.stores.contract import every_key, response


class Working(Clock):
    """Time that also passes when somebody looks at it: ``work`` seconds each time."""

    def __init__(self) -> None:
        super().__init__()
        self.work = 0.0
        self.looks = 0
        self.latest = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        self.now = self.latest = self.now + self.work
        self.looks += 1
        return self.now

    async def advance(self, seconds: float) -> None:
        await super().advance(seconds)
        self.now = max(self.now, self.latest)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await super().sleep(seconds)


class Scene:
    """A store, its ledger, and the sweeper between them."""

    def __init__(self) -> None:
        self.clock = Working()
        self.store = MemoryStore(10_000_000)
        self.ledger = LocalLedger()
        self.sweeper = Sweeper(self.store, self.ledger, clock=self.clock, sleep=self.clock.sleep)

    def hold(self, names: Iterable[object], *tags: str, birth: Birth | None = None) -> None:
        for name in names:
            held = response(str(name), tags=frozenset(tags), birth=birth or self.ledger.birth())
            assert self.store.put_now(held)

    def purge(self, *selectors: str) -> None:
        self.ledger.purge_now([Selector.parse(one) for one in selectors])

    @property
    def held(self) -> str:
        return "".join(sorted(key[-1] for key in every_key(self.store)))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    scene.sweeper.start()
    yield scene
    await scene.sweeper.close()


async def test_what_was_purged_is_gone_without_being_asked_for(scene: Scene) -> None:
    scene.hold("abc", "t")
    scene.hold("d", "u")
    await scene.clock.advance(1)
    scene.purge("tag:t")
    assert scene.held == "abcd"
    await scene.clock.advance(POLL)
    assert scene.held == "d"
    assert scene.sweeper.swept == 3
    assert scene.store.statistics().evictions == 0


async def test_only_what_a_hard_purge_hit_is_removed(scene: Scene) -> None:
    scene.hold("a")
    scene.hold("b", birth=Birth(b"of another life", 0))
    scene.purge("~all")
    scene.hold("c")
    await scene.clock.advance(1)
    assert scene.held == "abc"
    scene.purge("all")
    await scene.clock.advance(1)
    assert scene.held == "b"


async def test_nothing_runs_when_nothing_was_purged_hard(scene: Scene) -> None:
    scene.purge("all")
    await scene.clock.advance(1)
    looks, scene.clock.pauses = scene.clock.looks, []
    await scene.clock.advance(5)
    scene.purge("~all")
    await scene.clock.advance(5)
    assert scene.clock.looks == looks
    assert set(scene.clock.pauses) == {POLL}


async def test_what_was_purged_before_it_starts_is_left_to_the_lookup() -> None:
    scene = Scene()
    scene.hold("a")
    scene.purge("all")
    scene.sweeper.start()
    await scene.clock.advance(5)
    assert (scene.held, scene.clock.looks) == ("a", 0)
    await scene.sweeper.close()


async def test_one_walk_is_for_all_purges_before_it(scene: Scene) -> None:
    scene.hold("abcdef", "t")
    await scene.clock.advance(POLL / 2)
    for name in "abc":
        scene.purge(f"url:example.com/{name}")
    await scene.clock.advance(POLL)
    first = scene.clock.looks
    assert scene.held == "def"
    for name in "de":  # each after the walk before it
        scene.purge(f"url:example.com/{name}")
        await scene.clock.advance(PERIOD / 10)
    assert (scene.held, scene.clock.looks) == ("def", first)
    await scene.clock.advance(PERIOD)
    assert scene.held == "f"


async def test_others_have_their_turn_and_may_change_what_is_stored(scene: Scene) -> None:
    scene.hold(range(1000, 2000), "t")
    scene.clock.work = TURN / 10
    scene.purge("tag:t")
    await scene.clock.advance(POLL + PACE / 4)
    assert 200 < scene.sweeper.swept < 300
    gone = [scene.store.remove_key_now(CacheKey(f"https://example.com/{number}")) for number in range(1500, 2000)]
    scene.hold(range(2000, 2010), "t")
    await scene.clock.advance(PACE)
    assert {str(key)[-4:-1] for key in every_key(scene.store)} == {"200"}
    assert scene.sweeper.swept == 1000 - sum(gone)


@pytest.mark.parametrize("count", [1, 30, 1000])
async def test_a_body_is_gone_within_a_second_and_not_much_sooner(scene: Scene, count: int) -> None:
    scene.hold(range(count), "t")
    scene.clock.work = TURN / 4
    scene.purge("tag:t")
    await scene.clock.advance(POLL + PACE / 2)
    assert count == 1 or 0.4 < scene.sweeper.swept / count < 0.7
    await scene.clock.advance(1 - POLL - PACE / 2)
    assert scene.sweeper.swept == count


async def test_after_much_work_there_is_a_long_rest(scene: Scene) -> None:
    scene.hold(range(1000), "t")
    scene.clock.work = TURN
    scene.purge("tag:absent")
    rest = 1000 * TURN / SHARE  # each key is a turn
    await scene.clock.advance(rest / 2)
    scene.purge("tag:t")
    await scene.clock.advance(rest / 2 - POLL)
    assert scene.sweeper.swept == 0
    await scene.clock.advance(rest / 2)
    assert scene.sweeper.swept == 1000


async def test_it_can_be_stopped_in_the_middle_and_before_it_began() -> None:
    scene = Scene()
    await scene.sweeper.close()
    scene.hold(range(1000), "t")
    scene.sweeper.start()
    await scene.clock.settle()
    scene.clock.work = TURN
    scene.purge("all")
    await scene.clock.advance(POLL)
    await scene.sweeper.close()
    assert 0 < scene.sweeper.swept < 1000
    swept = scene.sweeper.swept
    await scene.clock.advance(9)
    assert scene.sweeper.swept == swept
