"""Carrying out purges: counted, ordered, remembered and audited, whichever way they were asked for.

Theory
    What a purge matches is counted just before it, in the memory of this process and of its siblings, the other
    workers of the machine. It says whether a selector is spelled right and how much it hit there; processes elsewhere
    may hold other responses, and what two processes hold counts twice. So nothing is decided by that number.

Invariants
    * One line in the log ``edgecache.audit`` for each purge. A count that a sibling asked for is its purge's, not
      another.
    * A purge that is sent again with its key shows what matched the first time.
    * Memory: ``_REMEMBERED`` records of bounded size.

Called by ``edges.purge_api`` and ``edges.purge_method``; made by the composition root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from edgecache.edges.erasures import Erasures
from edgecache.edges.purge_messages import Erasure, Outcome, PurgeRecord, PurgeReply, PurgeReport, WorkerReply
from edgecache.edges.siblings import Siblings
from edgecache.engine.counters import Counters
from edgecache.purging.receipt import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgecache.edges.tokens import Tokens
    from edgecache.engine.matching import Matched
    from edgecache.purging.base import Ledger
    from edgecache.purging.receipt import Receipt
    from edgecache.purging.selector import Selector

__all__ = ["PATIENCE", "SAMPLE", "Match", "Purges", "Purging", "Wish", "status_of"]

PATIENCE: Final = 30.0
"""Seconds a purge is waited for, unless somebody says otherwise."""

SAMPLE: Final = 10
"""URIs that an answer shows of those matched."""

_REMEMBERED: Final = 1000
_SELECTORS_KEPT: Final = 20
_SELECTOR_KEPT: Final = 256  # characters
_CUT_SHORT: Final = "counting took too long: more may have matched"

_audit = logging.getLogger("edgecache.audit")


class Match(Protocol):
    """``engine.matching.Matching``."""

    async def __call__(self, selectors: Sequence[Selector], limit: int, *, thorough: bool = False) -> Matched:
        """Count what selectors match in this process now, and name up to ``limit`` URIs of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Purging:
    """What purging needs.

    Attributes:
        ledger: where purges are ordered.
        matching: counts what selectors match.
        tokens: who may.
        siblings: the other workers of this machine.
        counters: where it is counted what was purged.
        erasures: erases what was purged from Redis, if that is wanted.
        now: the clock, POSIX seconds.
    """

    ledger: Ledger
    matching: Match
    tokens: Tokens
    siblings: Siblings = field(default_factory=Siblings)
    counters: Counters = field(default_factory=Counters)
    erasures: Erasures = field(default_factory=Erasures)
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A purge that somebody may have.

    Attributes:
        who: the token's name, or what stands for it.
        peer: where it came from.
        authorization: what was shown, to be shown to siblings; empty when nothing was.
        key: its idempotency key, different for each who; empty without one.
        patience: seconds to wait for confirmation.
        dry_run: only count.
        erase: take what was purged out of Redis too; of hard purges only.
        alone: only count in this process.
    """

    selectors: Sequence[Selector]
    who: str
    peer: str
    authorization: str = ""
    key: str = ""
    patience: float = PATIENCE
    dry_run: bool = False
    erase: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class _Counted:
    """What matched, who did not say, and what is to be said about it."""

    matched: int
    sample: list[str]
    uncounted: list[str]
    detail: str


class Purges:
    """Carries out purges, and remembers them."""

    def __init__(self, purging: Purging) -> None:
        self.tokens: Final = purging.tokens
        self.counters: Final = purging.counters
        self.now: Final = purging.now
        self._ledger: Final = purging.ledger
        self._matching: Final = purging.matching
        self._siblings: Final = purging.siblings
        self._erasures: Final = purging.erasures
        self._records: Final[deque[PurgeRecord]] = deque(maxlen=_REMEMBERED)
        self._counted: Final[OrderedDict[str, _Counted]] = OrderedDict()

    async def carry_out(self, wish: Wish) -> PurgeReply:
        """Purge, or only count; raise ``ClientError`` for selectors or a key that the ledger cannot accept.

        Erasing begins when the purge is in the log; 429 and no purge when too many erasures wait.
        """
        with self._erasures.admitted() if wish.erase else contextlib.nullcontext():
            return await self._carry_out(wish)

    async def _carry_out(self, wish: Wish) -> PurgeReply:
        counted = await self._count(wish)
        reply = PurgeReply(
            id=secrets.token_hex(8),
            state=Outcome.DRY_RUN,
            sequence=self._ledger.sequence,
            matched=counted.matched,
            sample=counted.sample,
            workers=[],
            waited_ms=0.0,
            detail=counted.detail,
            uncounted=counted.uncounted,
        )
        if not wish.dry_run:
            receipt = await self._ledger.purge(wish.selectors, idempotency_key=wish.key, patience=wish.patience)
            reply = self._erasing(wish, _with_receipt(reply, receipt), receipt)
            self._add_up(wish.selectors, reply, receipt)
        if not (wish.dry_run and wish.alone):
            self._note(wish, reply)
        return reply

    def _erasing(self, wish: Wish, reply: PurgeReply, receipt: Receipt) -> PurgeReply:
        """Begin to erase, if that is wanted and the purge is in the log."""
        if not wish.erase or receipt.state is State.UNCONFIRMED:
            return reply
        erasure = self._erasures.begin(reply.id, wish.who, wish.selectors, receipt)
        return msgspec.structs.replace(reply, erasure=erasure)

    async def erasure(
        self, id: str, sees: Callable[[str], bool], authorization: str, *, alone: bool
    ) -> tuple[Erasure | None, list[str]]:
        """Return how an erasure stands, here or at a sibling, if the asker ``sees`` whose it is.

        Without it, name the siblings that did not say whether they have it.
        """
        here = self._erasures.find(id)
        if here is not None:
            return (here if sees(here.who) else None), []
        return (None, []) if alone else await self._siblings.erasure(id, authorization)

    async def report(self, sees: Callable[[str], bool], authorization: str, *, alone: bool) -> PurgeReport:
        """Return the latest purges, here and at siblings, of everybody whom the asker ``sees``, the newest first."""
        records, missing = list(reversed(self._records)), list[str]()
        if not alone:
            reports, missing = await self._siblings.purges(authorization)
            records += [record for report in reports for record in report.purges]
        seen = [record for record in records if sees(record.who)]
        # RFC 3339 in one time zone sorts as it is.
        return PurgeReport(sorted(seen, key=lambda one: one.when, reverse=True)[:_REMEMBERED], missing)

    # Counting.

    async def _count(self, wish: Wish) -> _Counted:
        """Count what matches now; for a purge that is sent again, what matched the first time."""
        key = "" if wish.dry_run else wish.key
        if key in self._counted:
            return self._counted[key]
        counted = await self._count_now(wish)
        if key:
            self._counted[key] = counted
            if len(self._counted) > _REMEMBERED:
                self._counted.popitem(last=False)
        return counted

    async def _count_now(self, wish: Wish) -> _Counted:
        thorough = wish.dry_run and not wish.alone
        counting = self._matching(wish.selectors, SAMPLE, thorough=thorough)
        if wish.alone:
            return _counted(await counting, [], [])
        here, (there, missing) = await asyncio.gather(
            counting, self._siblings.count(wish.selectors, wish.authorization)
        )
        return _counted(here, there, missing)

    def _add_up(self, selectors: Sequence[Selector], reply: PurgeReply, receipt: Receipt) -> None:
        counters, state = self.counters, receipt.state
        counters.purges[state] += 1
        counters.purge_matched += reply.matched
        counters.purge_seconds.observe(receipt.waited)
        for one in selectors:
            counters.purge_selectors[f"{one.kind} {'soft' if one.soft else 'hard'} {state}"] += 1

    # Remembering.

    def _note(self, wish: Wish, reply: PurgeReply) -> None:
        shown = [_shortened(str(one)) for one in wish.selectors[:_SELECTORS_KEPT]]
        total = len(wish.selectors)
        _audit.info(
            "purge id=%s token=%s peer=%s state=%s sequence=%d matched=%d selectors=%s of %d%s",
            *(reply.id, wish.who, wish.peer, reply.state, reply.sequence, reply.matched, json.dumps(shown), total),
            " erase" if wish.erase else "",
        )
        if reply.state is not Outcome.DRY_RUN:
            when = datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds")
            self._records.append(
                PurgeRecord(reply.id, when, wish.who, shown, total, reply.state, reply.sequence, reply.matched)
            )


def status_of(reply: PurgeReply) -> int:
    """Return the HTTP status code for what became of a purge."""
    return 200 if reply.state is Outcome.DRY_RUN else State(reply.state).status


def _counted(here: Matched, there: Sequence[PurgeReply], missing: list[str]) -> _Counted:
    samples = [here.sample, *(reply.sample for reply in there)]
    sample = list(dict.fromkeys(uri for uris in samples for uri in uris))[:SAMPLE]
    is_short = not here.complete or any(reply.detail for reply in there)
    matched = here.count + sum(reply.matched for reply in there)
    return _Counted(matched, sample, missing, _CUT_SHORT if is_short else "")


def _with_receipt(counted: PurgeReply, receipt: Receipt) -> PurgeReply:
    return msgspec.structs.replace(
        counted,
        state=Outcome(receipt.state),
        sequence=receipt.sequence,
        workers=[WorkerReply(one.worker, one.applied, _rounded(one.milliseconds)) for one in receipt.workers],
        waited_ms=round(receipt.waited * 1000, 3),
        detail="; ".join(filter(None, (receipt.detail, counted.detail))),
    )


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _shortened(text: str) -> str:
    return text if len(text) <= _SELECTOR_KEPT else f"{text[: _SELECTOR_KEPT - 3]}..."
