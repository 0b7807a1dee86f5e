"""Asking other servers for an asset that one of them has not: deploys, while they are under way.

Theory
    A page and its assets are answered by any of an origin's servers, and while a new release goes from one to the next
    they are of two releases. That one of them has no asset of a versioned name, or sends the page of a single-page
    application in its place, says only that this one has not got it yet, or not any more. So each of the others is
    asked once, as they are for a page when the first says that its page is of another release; where one name stands
    for all of them, over new connections, a few times. That is done for one asset after the other: balancers take
    turns, and assets that ask at once would take each other's.

    Whoever asks for names that nobody has must not have them multiplied. Attempts that found nothing stay within a
    tenth of the traffic and a reserve, which is as large as a page needs that is all new. Names that build manifests
    list have a budget of their own, which made-up names cannot use up.

Invariants
    * What one server said is not lost because another cannot be reached.

Called by ``engine.fetch``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from edgecache.engine.plan import Plan
from edgecache.errors import OriginError
from edgecache.origin.base import Origin, OriginResponse
from edgecache.origin.retry_budget import RetryBudget
from edgecache.semantics import releases
from edgecache.semantics.guards import type_contradicts
from edgecache.semantics.versioned import By

__all__ = ["OtherServers"]

_RESERVE: Final = 30.0
"""Attempts that a quiet edge can make at once: 30 assets of one page, each asked for twice; refills in ten seconds."""

_PATIENCE: Final = 5.0
"""Seconds after a 404 in which another attempt is begun: an origin that is slow to say no must not hold up others."""

Send: TypeAlias = Callable[[Sequence[str]], Awaitable[OriginResponse]]
"""Sends the request to a server apart from those that were tried; raises ``OriginError``."""


class OtherServers:
    """Knows when to ask another. One per process; ``clock`` gives POSIX seconds."""

    def __init__(self, origin: Origin, clock: Callable[[], float]) -> None:
        self._origin = origin
        self._clock = clock
        self._turn: Final = asyncio.Lock()
        self._budgets: Final = {by: RetryBudget(clock(), _RESERVE) for by in By}
        self._requests = 0  # that no budget knows of yet

    def note_request(self) -> None:
        """Count a request to the origin that is no such attempt."""
        self._requests += 1

    def may_know_better(self, plan: Plan, first: OriginResponse) -> bool:
        """Whether to ``ask``; nearly always not."""
        return plan.release != "" or _is_missing(plan, first)

    async def ask(self, plan: Plan, first: OriginResponse, send: Send) -> OriginResponse:
        """Return the first answer that has the asset, else what the first server said; close the others."""
        is_missing = _is_missing(plan, first)
        versioned = plan.asked.versioned
        if not (is_missing if versioned else _is_of_another_release(plan, first)):
            return first
        now = self._clock()
        for each in self._budgets.values():
            each.note_request(now, self._requests)
        self._requests = 0
        budget, until = self._budgets[versioned.by if versioned else By.PATTERN], now + _PATIENCE
        try:
            async with self._turn if self._origin.is_one_name else contextlib.nullcontext():
                found = await self._found(plan, [first.server], budget, send, until)
        except BaseException:
            first.close()
            raise
        if found is None:
            return first
        first.close()
        return found

    async def _found(
        self, plan: Plan, tried: list[str], budget: RetryBudget, send: Send, until: float
    ) -> OriginResponse | None:
        while self._clock() < until and self._origin.has_other(tried) and budget.spend():
            try:
                other = await send(tried)
            except OriginError:
                return None
            if not (_is_missing(plan, other) or _is_of_another_release(plan, other)):
                budget.give_back()
                return other
            other.close()
            tried.append(other.server)
        return None


def _is_missing(plan: Plan, response: OriginResponse) -> bool:
    return response.head.status in (404, 410) or type_contradicts(plan.head, response.head)


def _is_of_another_release(plan: Plan, response: OriginResponse) -> bool:
    return plan.release != "" and releases.contradicts(response.head.fields, plan.release)
