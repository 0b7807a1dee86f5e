"""Refreshing in the background: within grace, or ahead of the end of a lifetime, with no client waiting.

Theory
    One request in a while is found eager (``reuse.decide``), or is served stale within grace; it gets its answer from
    the store, and what is stored is validated behind its back, once for everybody. Between processes a lock in the
    shared store says whose turn it is: each of them would come to the same conclusion at about the same time. Who does
    not get it lets the other one fetch, waits until that is done, and takes what came into its memory.

    What is sent is the request as anybody would have made it: a GET without conditions, without what this client
    alone asked for, and without credentials that would make the answer its own, since it is for those who come.

Invariants
    * No client waits for a lock. A refresh that waits for its turn is no flight yet, so a request that needs the origin
      meanwhile begins its own.
    * At most one refresh of a key is under way in a process; without a lock, or without an answer to the question whose
      turn it is, that is all there is.

Called by ``engine.serve``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from edgecache.engine.collapse import Collapse
from edgecache.engine.counters import Counters
from edgecache.engine.exchange import Exchange, Request
from edgecache.engine.fetch import Fetcher
from edgecache.engine.plan import Plan
from edgecache.engine.turns import Turn, Turns
from edgecache.http.message import RequestHead, fields_of
from edgecache.semantics import storing, validation
from edgecache.semantics.normalising import without_other_cookies
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import CacheKey
from edgecache.semantics.unkeyed import doubtful

__all__ = ["Refresher"]

_OF_THE_CLIENT: Final = frozenset({"cache-control", "pragma"})
"""What one client wants of caches. Its ``no-store`` must not cost others what is stored."""


class Refresher:
    """Begins refreshes. One per process."""

    def __init__(
        self,
        collapse: Collapse,
        fetcher: Fetcher,
        counters: Counters,
        clock: Callable[[], float],
        turns: Turns | None,
    ) -> None:
        self._collapse: Final = collapse
        self._fetcher: Final = fetcher
        self._counters: Final = counters
        self._clock: Final = clock
        self._turns: Final = turns
        self._waiting: Final[dict[CacheKey, asyncio.Task[None]]] = {}

    @property
    def waiting(self) -> int:
        """How many refreshes wait for their turn, or for another process."""
        return len(self._waiting)

    def begin(self, plan: Plan, reason: Reason) -> bool:
        """Refresh what ``plan`` validates; False when somebody is fetching or refreshing it already."""
        if plan.key in self._waiting or self._collapse.is_flying(plan.key):
            return False
        plan = replace(plan, head=_of_everybody(plan))
        if self._turns is None:
            self._fly(plan, reason, None)
        else:
            task = asyncio.get_running_loop().create_task(self._in_turn(self._turns, plan, reason))
            self._waiting[plan.key] = task
            task.add_done_callback(lambda _: self._waiting.pop(plan.key))
        return True

    async def close(self) -> None:
        """Give up those that are waiting."""
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(self, turns: Turns, plan: Plan, reason: Reason) -> None:
        turn = await turns.take_refresh(plan)
        if turn.is_needless:
            self._counters.refreshes_elsewhere += 1
        elif self._collapse.is_flying(plan.key) or not self._fly(plan, reason, turn):
            await turns.give_back(turn)

    def _fly(self, plan: Plan, reason: Reason, turn: Turn | None) -> bool:
        """Fetch, as the first passenger of a flight that nobody waits for; False when another one leads it."""
        flight, leads = self._collapse.join(plan.key, plan.head.target_uri)
        flight.members -= 1
        flight.wanted = True
        if not leads:
            return False
        self._counters.refreshes += 1
        self._counters.refreshes_early += reason is Reason.EARLY
        flight.deserted = True
        background = Exchange(Request(plan.head), self._clock(), plan.key)
        self._fetcher.start(flight, plan, background, turn=turn)
        return True


def _of_everybody(plan: Plan) -> RequestHead:
    """Return the request as it refreshes what is stored: a GET, without fields that are this client's alone.

    Cookies are such, but for those that select the response; else it could often not be stored again.
    """
    stored, policy = plan.validate, plan.asked.policy
    assert stored is not None  # else there is nothing to refresh
    head = storing.as_others_ask(plan.head, stored, plan.asked.on(stored.head()))
    selecting = (*policy.key_fields, *stored.selecting.names)
    left_out = _OF_THE_CLIENT.union(doubtful(head, policy, selecting))
    fields = fields_of(pair for pair in head.fields.items() if pair[0].lower() not in left_out)
    if "cookie" in fields and "cookie" not in selecting:
        fields = without_other_cookies(fields, policy.key_cookies)
    method = "GET" if head.method == "HEAD" else head.method
    return validation.unconditional(RequestHead(method, head.scheme, head.authority, head.target, fields))
