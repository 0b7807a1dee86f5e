"""One timer for many waits: who waits too long is told once, never too soon, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgecache.origin.patience import Patience


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock is moved by hand."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def pass_until(self, instant: float) -> None:
        """Let timers go off that are due at ``instant``."""
        self.now = instant
        self.call_soon(self.stop)
        self.run_forever()


def waiting(play: Callable[[Loop, Patience, list[float]], None]) -> list[float]:
    """Return when patience was lost."""
    loop, lost = Loop(), list[float]()
    try:
        play(loop, Patience(loop, lambda: lost.append(loop.now)), lost)
    finally:
        loop.close()
    return lost


def test_who_waits_too_long_is_told_once() -> None:
    def play(loop: Loop, patience: Patience, _: list[float]) -> None:
        patience.begin(10)
        for instant in (9, 10, 11, 30):
            loop.pass_until(instant)

    assert waiting(play) == [10]


def test_what_came_in_time_is_not_missed() -> None:
    def play(loop: Loop, patience: Patience, _: list[float]) -> None:
        patience.begin(10)
        patience.end()
        for instant in (10, 20):
            loop.pass_until(instant)

    assert waiting(play) == []


def test_the_next_wait_has_all_of_its_time() -> None:
    def play(loop: Loop, patience: Patience, _: list[float]) -> None:
        patience.begin(10)
        loop.pass_until(6)
        patience.end()
        patience.begin(10)
        for instant in (10, 15, 16, 17):
            loop.pass_until(instant)

    assert waiting(play) == [16]


def test_a_shorter_wait_is_not_held_up_by_a_longer_one_before_it() -> None:
    def play(loop: Loop, patience: Patience, _: list[float]) -> None:
        patience.begin(30)
        patience.end()
        patience.begin(5)
        for instant in (4, 5, 30):
            loop.pass_until(instant)

    assert waiting(play) == [5]


def test_another_wait_may_follow_one_that_was_lost() -> None:
    def play(loop: Loop, patience: Patience, _: list[float]) -> None:
        patience.begin(10)
        loop.pass_until(10)
        patience.begin(10)
        loop.pass_until(20)

    assert waiting(play) == [10, 20]


def test_after_the_end_nobody_is_told_anything() -> None:
    def play(loop: Loop, patience: Patience, _: list[float]) -> None:
        patience.begin(10)
        patience.close()
        loop.pass_until(20)
        patience.close()

    assert waiting(play) == []
