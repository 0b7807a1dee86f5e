"""What is stored under a key and survives time and purges: first in memory, then behind it.

Theory
    A response that was stored is a candidate until its last window has closed or a purge has hit it. Each lookup
    compares it with the purges since it was last looked at, and lets it begin anew from there, so that no purge is
    compared twice. One that was purged softly stays, stale from that moment.

    One of which the ledger cannot say whether it was purged (no lease, another epoch) stays as it is, but is handed
    out with its freshness taken away (``Freshness.unproven``): the origin can still confirm it, and when the
    ledger can say again it is as good as before. So is one that was received in the future: the clock it was stored
    by was wrong or is wrong now, and its age cannot be told. ``Found`` remembers which ones these are.

Invariants
    * ``now`` and ``found`` never wait; between them and what follows from them there is no ``await``.
    * What the shared tier has is judged like everything else before it is used, and again after each wait.
    * Nothing that a purge hit is brought into memory.

Called by ``engine.cache``, ``engine.turns`` and ``engine.explaining``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from edgecache.http.message import RequestHead
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics import reuse
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Complete, Decision, Forward, Serve, ServeStale, Validate
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.stores.base import Tiers

__all__ = ["CLOCK_ERROR", "Found", "Lookup", "may_look_behind"]

CLOCK_ERROR: Final = 1.0
"""Seconds by which the clocks of machines that share a store may differ without anybody's noticing."""

_Weighed: TypeAlias = tuple[StoredResponse | None, Reason | None]


class Found(msgspec.Struct, frozen=True):
    """Candidates for one request, newest first.

    Attributes:
        candidates: as they may be used.
        doubted: of each candidate whose freshness was taken away: itself, the response as it is stored, and why.
    """

    candidates: tuple[StoredResponse, ...] = ()
    doubted: tuple[tuple[StoredResponse, StoredResponse, Reason], ...] = ()

    def decide(
        self, head: RequestHead, policy: Policy, now: float, luck: float = 0.0, *, held: bool = False
    ) -> Decision:
        """Return what to do, in terms of what is stored."""
        decision = reuse.decide(head, self.candidates, policy, now, luck, held=held)
        if isinstance(decision, Validate | Complete):
            for candidate, stored, reason in self.doubted:
                if candidate is decision.response:
                    return msgspec.structs.replace(decision, response=stored, reason=reason)
        return decision


_NOTHING: Final = Found()


class Lookup:
    """Finds candidates in both tiers. One per process."""

    def __init__(self, store: Tiers, ledger: Ledger, policy: Policy, clock: Callable[[], float]) -> None:
        self._store: Final = store
        self._ledger: Final = ledger
        self._policy: Final = policy
        self._clock: Final = clock

    @property
    def can_look_behind(self) -> bool:
        """Whether there is a second tier."""
        return self._store.has_shared

    def now(self, key: CacheKey, now: float) -> tuple[StoredResponse, ...]:
        """Return the candidates in memory."""
        candidates, ledger = self._store.lookup_now(key), self._ledger
        for stored in candidates:
            if (
                stored.birth.sequence != ledger.sequence
                or stored.response_time > now + CLOCK_ERROR
                or stored.freshness.discard_at <= now
                or ledger.verdict(stored) is not Verdict.VALID
            ):
                return self.found(key, now).candidates
        return candidates

    def found(self, key: CacheKey, now: float) -> Found:
        """As ``now``, with what is known about them."""
        return self._judged(self._store.lookup_now(key), now)

    async def behind(self, head: RequestHead, key: CacheKey) -> Found:
        """Return the candidates of both tiers, those that were behind now being in memory, if it takes them.

        Of large bodies only the one is brought that this request is about.
        """
        remote = await self._remote(key)
        chosen = self._chosen(head, key, remote)
        if chosen is None:
            return self.found(key, self._clock())
        brought = await self._store.brought(chosen)
        if brought is None or self._has_newer(brought) or self._store.keep_now(brought):
            return self.found(key, self._clock())
        now = self._clock()
        return self._judged((brought, *self._store.lookup_now(key)), now)  # larger than memory keeps

    async def _remote(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Keep what came with its body, and return the others: those that are newer than what is in memory."""
        remote = []
        for stored in reversed(await self._store.behind(key)):
            is_dead = stored.freshness.discard_at <= self._clock() or self._ledger.verdict(stored) is Verdict.INVALID
            if is_dead or self._has_newer(stored):
                continue
            if stored.body.local is None:
                remote.append(stored)
            else:
                self._store.keep_now(stored)
        return tuple(remote)

    def _chosen(self, head: RequestHead, key: CacheKey, remote: tuple[StoredResponse, ...]) -> StoredResponse | None:
        """Return the one of ``remote`` that the request would be answered from, or validate."""
        if not remote:
            return None
        now = self._clock()
        found = self._judged((*remote, *self._store.lookup_now(key)), now)
        decision = found.decide(head, self._policy, now)
        if isinstance(decision, Serve | ServeStale | Validate | Complete):
            return next((each for each in remote if each.body is decision.response.body), None)
        return None

    def _has_newer(self, remote: StoredResponse) -> bool:
        """Whether memory has what would be replaced, and it is newer."""
        return any(
            stored.selecting == remote.selecting and stored.response_time >= remote.response_time
            for stored in self._store.lookup_now(remote.key)
        )

    def seen(self, stored: Iterable[StoredResponse], now: float) -> Found:
        """Return what of these responses would be candidates, and change nothing."""
        return _found((each, self._weighed(each, now)) for each in stored)

    def _judged(self, stored: tuple[StoredResponse, ...], now: float) -> Found:
        if not stored:
            return _NOTHING
        weighed = [(each, self._weighed(each, now)) for each in stored]
        for each, (usable, doubt) in weighed:
            if usable is None:
                self._store.forget_now(each)
            elif doubt is None and usable is not each:
                self._store.restate_now(each, usable)
        return _found(weighed)

    def _weighed(self, stored: StoredResponse, now: float) -> _Weighed:
        """Return a stored response as it may be used, if at all, and why its freshness was taken away, if it was."""
        verdict = self._ledger.verdict(stored)
        if verdict is Verdict.INVALID or stored.freshness.discard_at <= now:
            return None, None
        doubt = _doubt(stored, verdict, now)
        if doubt is None:
            return self._restated(stored, verdict, now), None
        return replace(stored, freshness=stored.freshness.unproven()), doubt

    def _restated(self, stored: StoredResponse, verdict: Verdict, now: float) -> StoredResponse:
        """Let a response that survived begin anew from the last purge; one that was purged softly is stale now.

        One that another process has stored may be from after a purge that is not known here yet.
        """
        if verdict is Verdict.VALID and stored.birth.sequence >= self._ledger.sequence:
            return stored
        freshness = stored.freshness if verdict is Verdict.VALID else stored.freshness.ended(now)
        return replace(stored, freshness=freshness, birth=self._ledger.birth())


def _found(weighed: Iterable[tuple[StoredResponse, _Weighed]]) -> Found:
    usable = [(each, as_used, doubt) for each, (as_used, doubt) in weighed if as_used is not None]
    doubted = [(as_used, each, doubt) for each, as_used, doubt in usable if doubt is not None]
    return Found(tuple(as_used for _, as_used, _ in usable), tuple(doubted))


def may_look_behind(decision: Decision) -> bool:
    """Whether another tier can change what is done: not when memory answers, or the origin has to anyway."""
    match decision:
        case Serve() | ServeStale() | Forward(Reason.PRECONDITION) | Validate(_, Reason.RELOAD):
            return False
        case _:
            return True


def _doubt(stored: StoredResponse, verdict: Verdict, now: float) -> Reason | None:
    if verdict is Verdict.UNPROVEN:
        return Reason.UNPROVEN
    return Reason.CLOCK if stored.response_time > now + CLOCK_ERROR else None
