"""How refreshes of many responses that were stored at once are spread over time: a simulation of the real decisions.

Ten thousand objects are fetched within one second, as after a start or a purge of everything, and asked for ever after
by Poisson arrivals, the popular ones far more often than the others (Zipf). ``assess`` judges each fetch, ``decide``
each request; a fetch takes a time of its own, and there is one of an object at a time.

Each object is simulated by itself, since none makes another one wait. Requests that come so early that no luck could
make them refresh are not drawn: arrivals have no memory, so beginning later changes nothing.
"""

from __future__ import annotations

import functools
import math
import os
import random
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from msgspec import structs

from edgecache.semantics.freshness import assess, govern
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.reuse import Serve, ServeStale, decide
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.semantics.storing import luck_of
from tests.semantics.build import NOW, request, response, stored

LONG: Final = bool(os.environ.get("EDGECACHE_LONG"))
PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "freshness.md"

OBJECTS: Final = 10_000
REQUESTS: Final = 2_000.0
"""Each second, altogether."""
LIFETIME: Final = 600.0
ROUNDS: Final = 3
WINDOW: Final = LIFETIME / 100
"""Seconds. Some hundred refreshes fall into it on average: with fewer, chance alone would make peaks; and in a much
longer one a herd would not be seen, which the origin has to answer within seconds."""
FETCH: Final = 0.2
"""Seconds, in the median."""
BUSY: Final = 100
"""So many of the most popular objects have two requests or more in a second."""
MOST_LUCK: Final = 37.0
"""``expovariate`` makes its numbers of 53 random bits, and so none is larger."""

HEAD: Final = response()
TEMPLATE: Final = stored()
ASKED: Final = request()


@dataclass
class Load:
    """What the origin and the clients saw after the first fetches.

    Attributes:
        fetches: when the origin was asked.
        waited: clients that had to wait, on average, for a fetch of one of the busy objects.
    """

    fetches: list[float] = field(default_factory=list)
    waited: float = 0.0

    @property
    def mean(self) -> float:
        """Fetches in a window, over all rounds."""
        return len(self.fetches) * WINDOW / (ROUNDS * LIFETIME)

    @property
    def peak(self) -> float:
        """Fetches in the fullest window, wherever it begins, in terms of the mean."""
        self.fetches.sort()
        most = max(bisect_left(self.fetches, begin + WINDOW) - n for n, begin in enumerate(self.fetches))
        return most / self.mean


class Simulation:
    """One policy. The same seed gives the same load."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._dice = random.Random(1)
        self._load = Load()

    def run(self) -> Load:
        weights = [1 / rank**0.9 for rank in range(1, OBJECTS + 1)]
        scale = REQUESTS / sum(weights)
        for number, weight in enumerate(weights):
            self._ask_for(CacheKey(f"http://example.com/{number}"), weight * scale, is_busy=number < BUSY)
        return self._load

    def _ask_for(self, key: CacheKey, rate: float, *, is_busy: bool) -> None:
        """Let one object be asked for, ``rate`` times a second, until all rounds are over."""
        kept = self._fetched(key, NOW + self._dice.random())
        while (at := self._next_refresh(kept, rate)) < NOW + ROUNDS * LIFETIME:
            before, kept = kept, self._fetched(key, at)
            self._load.fetches.append(at)
            if is_busy and not isinstance(decide(ASKED, [before], DEFAULT, at, MOST_LUCK), ServeStale):
                self._load.waited += 1 + rate * (kept.response_time - at)

    def _next_refresh(self, kept: StoredResponse, rate: float) -> float:
        """Return when the first request comes that is not simply answered."""
        freshness, dice = kept.freshness, self._dice
        at = max(kept.response_time, freshness.generated_at + freshness.lifetime - MOST_LUCK * freshness.eager)
        while True:
            at += dice.expovariate(rate)
            if not isinstance(decide(ASKED, [kept], DEFAULT, at, dice.expovariate(1.0)), Serve):
                return at

    def _fetched(self, key: CacheKey, at: float) -> StoredResponse:
        """Return what a fetch that begins at ``at`` brings, as ``storing.make`` judges it."""
        came = at + self._dice.lognormvariate(math.log(FETCH), 0.5)
        governing, luck = govern(HEAD.fields, self._policy), luck_of(key, came)
        judged = assess(HEAD, governing, self._policy, request_time=at, response_time=came, luck=luck)
        return structs.replace(TEMPLATE, key=key, freshness=judged, response_time=came)


@functools.cache
def load(jitter: float, early: float) -> Load:
    return Simulation(Policy(default_ttl=LIFETIME, jitter=jitter, early=early)).run()


def rows() -> list[tuple[str, ...]]:
    """Return the table of the documentation: jitter, early, peak, waited."""
    text = PAGE.read_text("utf-8")
    return re.findall(r"^\| `([\d.]+)` \| `([\d.]+)` \| ([\d.]+) \| (\d+) \|$", text, re.MULTILINE)


def test_without_either_all_come_at_once() -> None:
    """A third of what there is, in the first hundredth of a lifetime."""
    herd = load(0.0, 0.0)
    assert herd.peak > 40
    assert herd.peak * herd.mean > OBJECTS / 3


def test_early_refreshes_keep_clients_from_waiting_and_spread_nothing() -> None:
    herd, early = load(0.0, 0.0), load(0.0, 1.0)
    assert early.waited < herd.waited / 3
    assert early.peak > 40


def test_jitter_and_early_refreshes_together_ask_three_times_as_much_at_most() -> None:
    spread = load(0.4, 1.0)
    assert spread.peak <= 3
    assert 80 < spread.mean < 120


def test_the_documentation_has_a_table() -> None:
    assert len(rows()) == 8


@pytest.mark.parametrize("row", rows(), ids=" ".join)
def test_the_documentation_has_the_figures(row: tuple[str, ...]) -> None:
    jitter, early, peak, waited = row
    if not LONG and jitter not in ("0", "0.4"):
        pytest.skip("at full length only")
    found = load(float(jitter), float(early))
    assert found.peak == pytest.approx(float(peak), rel=0.05)
    assert found.waited == pytest.approx(float(waited), rel=0.05)
