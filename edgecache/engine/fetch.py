"""Forwarding to the origin, and judging what comes back: one flight from its send to its last byte.

Theory
    A fetch runs in a task of its own, never in a client's: a client that leaves takes nothing with it. It resolves its
    flight as soon as the response's head is judged, and then, if the response is to be stored, pumps the body
    into the fill. One that has come with its head is stored before anybody reads it, and nobody has to follow it.
    What does not end as its framing said is never stored (``Reason.TRUNCATED``), and neither is a body that outgrew
    the largest that is kept.

    The ledger's position is taken when the flight is made, before the request is sent, and becomes the response's
    birth: a purge in between makes the response invalid the moment it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial

from msgspec.structs import replace

from edgecache.engine.collapse import KEPT_OUT, Collapse, Died, Elsewhere, Failed, Filled, Flight, Freshened, Unshared
from edgecache.engine.combine import completed
from edgecache.engine.counters import Counters
from edgecache.engine.exchange import Exchange
from edgecache.engine.fill import Fill
from edgecache.engine.finish import keep
from edgecache.engine.judgements import Judgements
from edgecache.engine.judging import Filling, Judgement, is_refused, judge, policy_of_update
from edgecache.engine.other_servers import OtherServers
from edgecache.engine.plan import Plan, forwarded
from edgecache.engine.telling import Marks, ends_what_is_stored, is_telling, is_update_for_one
from edgecache.engine.turns import Turn, Turns
from edgecache.errors import OriginError, OriginTimeout
from edgecache.http.message import RequestHead
from edgecache.origin.base import InterimHandler, Origin, OriginResponse, RequestBody
from edgecache.purging.base import Ledger
from edgecache.semantics import storing, validation
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Birth, StoredResponse
from edgecache.stores.base import Tiers
from edgecache.stores.body import MemoryBody

__all__ = ["Fetcher"]

_FINISH_BYTES = 1024 * 1024
"""A deserted fill is finished when no more than this is missing; else the origin is spared the rest."""


class Fetcher:
    """Runs flights. One per process."""

    def __init__(
        self,
        origin: Origin,
        store: Tiers,
        ledger: Ledger,
        collapse: Collapse,
        counters: Counters,
        policy: Policy,
        clock: Callable[[], float],
        judgements: Judgements,
        turns: Turns | None = None,
    ) -> None:
        self._origin = origin
        self._store = store
        self._ledger = ledger
        self._collapse = collapse
        self._counters = counters
        self._policy = policy
        self._clock = clock
        self._judgements = judgements
        self._turns = turns
        self._marks = Marks(collapse, counters, policy, clock)
        self._others = OtherServers(origin, clock)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How many fetches are on their way."""
        return len(self._tasks)

    def start(
        self,
        flight: Flight,
        plan: Plan,
        exchange: Exchange,
        on_interim: InterimHandler | None = None,
        turn: Turn | None = None,
    ) -> None:
        """Run a flight in the background, now or when its turn has come; ``turn`` is one that was taken already."""
        flight.is_personal = plan.is_personal
        flight.when_due(lambda: self._spawn(self._run(flight, plan, exchange, on_interim, turn)))

    def start_pump(self, flight: Flight, filling: Filling, response: OriginResponse) -> None:
        """Fill from a response that is already here, in the background."""
        self._spawn(self._pumped(flight, filling, response))

    async def _pumped(self, flight: Flight, filling: Filling, response: OriginResponse) -> None:
        try:
            await self.pump(flight, filling, response)
        finally:
            flight.resolve(Died())

    def _spawn(self, flying: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(flying)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is on its way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self, flight: Flight, plan: Plan, exchange: Exchange, on_interim: InterimHandler | None, turn: Turn | None
    ) -> None:
        try:
            if turn is None and self._turns is not None and plan.is_patient:
                turn = await self._turns.take(plan)
            if turn is not None and turn.is_needless:
                flight.resolve(Elsewhere())
            else:
                await self._fly(flight, plan.unpurged(self._ledger), exchange, on_interim)
        finally:
            self._collapse.end(flight)
            if flight.outcome is None:
                flight.resolve(Died())
        if self._turns is not None and turn is not None:
            await self._turns.give_back(turn)  # of one that failed or was cancelled time takes care

    async def _fly(self, flight: Flight, plan: Plan, exchange: Exchange, on_interim: InterimHandler | None) -> None:
        request_time = self._clock()
        try:
            response = await self._asked(plan, exchange, on_interim)
        except OriginError as error:
            flight.resolve(Failed(error))
            return
        try:
            await self._judge(flight, plan, exchange, response, request_time)
        except BaseException:
            response.close()
            raise

    async def _asked(self, plan: Plan, exchange: Exchange, on_interim: InterimHandler | None) -> OriginResponse:
        """Send what is planned, and ask other servers for an asset that the first has not."""
        outgoing = plan.outgoing()
        self._others.note_request()
        response = await self.send(outgoing, plan.content, exchange, on_interim, release=plan.release)
        if self._others.may_know_better(plan, response):
            again = partial(self.send, outgoing, plan.content, exchange, release=plan.release)
            response = await self._others.ask(plan, response, lambda tried: again(apart_from=tried))
        exchange.origin_status = response.head.status
        return response

    async def send(
        self,
        head: RequestHead,
        content: bytes | None,
        exchange: Exchange,
        on_interim: InterimHandler | None = None,
        body: RequestBody | None = None,
        upgrade: str | None = None,
        release: str = "",
        apart_from: Sequence[str] = (),
    ) -> OriginResponse:
        """Send a request, wanting a ``release`` if any, and count it. Raises ``OriginError``."""
        self._counters.origin_requests += 1
        head = forwarded(head, self._policy, release)
        if content is not None:
            body = RequestBody(_once(content), len(content))
        sent_at = self._clock()
        try:
            response = await self._origin.send(
                head, body, upgrade=upgrade, on_interim=on_interim, apart_from=apart_from
            )
        except OriginTimeout:
            self._counters.origin_timeouts += 1
            raise
        except OriginError:
            self._counters.origin_errors += 1
            raise
        if not validation.may_answer(response.head.status, head):
            response.close()
            self._counters.origin_errors += 1
            raise OriginError(f"{response.head.status} to a request that did not ask for it")
        exchange.origin_status = response.head.status
        exchange.origin_seconds = self._clock() - sent_at
        return response

    async def _judge(
        self, flight: Flight, plan: Plan, exchange: Exchange, response: OriginResponse, request_time: float
    ) -> None:
        now = self._clock()
        head = response.head
        if head.status == 304 and plan.validate is not None:
            self._freshen(flight, plan, response, request_time, now)
            return
        if head.status in (206, 416) and plan.complete is not None:
            await self._complete(flight, plan, exchange, response, request_time, now)
            return
        judged = judge(
            plan.head,
            plan.asked,
            response,
            request_time=request_time,
            response_time=now,
            instead=plan.validate,
            beside=self._store.lookup_now(plan.key) if head.status >= 400 else (),
        )
        self._judgements.note(plan, judged, _birth(flight), now)
        if judged.refusal is not None:
            self._unshared(flight, plan, response, judged)
            return
        prototype = storing.make(
            plan.head,
            judged.head,
            MemoryBody(()),
            judged.policy,
            key=plan.key,
            birth=_birth(flight),
            request_time=request_time,
            response_time=now,
            judged=judged.freshness,
        )
        await self.pump(flight, Filling(plan, judged.policy, judged.shown, prototype, exchange), response)

    def _freshen(self, flight: Flight, plan: Plan, response: OriginResponse, request_time: float, now: float) -> None:
        stored = plan.validate
        assert stored is not None
        freshened = validation.freshen(
            plan.head,
            stored,
            response.head,
            policy_of_update(plan.asked, stored, response.head),
            birth=_birth(flight),
            request_time=request_time,
            response_time=now,
        )
        response.close()
        self._counters.revalidated += 1
        if not is_update_for_one(plan, stored, freshened):
            self._restate(stored, freshened, now)
        self._marks.note(flight, freshened)
        flight.resolve(Freshened(freshened))

    def _restate(self, stored: StoredResponse, freshened: StoredResponse, now: float) -> None:
        if freshened.freshness.discard_at > now:
            self._store.replace_now(stored, freshened)
        else:
            self._store.remove_now(stored)

    def _unshared(self, flight: Flight, plan: Plan, response: OriginResponse, judged: Judgement) -> None:
        reason = judged.refusal
        assert reason is not None
        self._refused(reason)
        status = response.head.status
        if tells := is_telling(plan, status, reason):
            self._marks.mark(flight)
        is_kept = plan.unkept(response.head, self._ledger) is None
        if plan.validate is not None and is_kept and ends_what_is_stored(plan, status, reason):
            self._store.remove_now(plan.validate)
        self._collapse.end(flight)
        if flight.members == 0 or flight.deserted:
            response.close()
        flight.resolve(Unshared(response, judged.shown, reason, tells or status >= 500 or reason in KEPT_OUT))

    def _refused(self, reason: Reason, filling: Filling | None = None) -> None:
        if filling is not None:
            filling.exchange.unstored = reason
            self._judgements.refuse(filling.prototype.key, reason)
        self._counters.refused_storing += 1
        self._counters.not_storable[reason] += 1

    async def _complete(
        self, flight: Flight, plan: Plan, exchange: Exchange, response: OriginResponse, request_time: float, now: float
    ) -> None:
        """Combine a stored part with the missing bytes (RFC 9111 §3.4), or start again without it."""
        assert plan.complete is not None
        part, first, last = plan.complete
        merged = completed(part, first, last, response.head)
        local = part.body.local
        if merged is None or local is None or is_refused(plan.head, plan.asked, merged, response.head, now):
            response.close()
            if not plan.is_personal:
                self._store.remove_now(part)
            await self._fly(flight, replace(plan, complete=None), exchange, None)
            return
        policy = plan.asked.on(merged)
        prototype = storing.make(
            plan.head,
            merged,
            MemoryBody(()),
            policy,
            key=plan.key,
            birth=min(_birth(flight), part.birth, key=lambda birth: birth.sequence),
            request_time=request_time,
            response_time=now,
            selecting=part.selecting,
        )
        before, after = (local, ()) if first > 0 else ((), local)
        filling = Filling(plan, policy, prototype.shown(), prototype, exchange)
        await self.pump(flight, filling, response, before, after)

    # From head to last byte.

    async def pump(
        self,
        flight: Flight,
        filling: Filling,
        response: OriginResponse,
        before: tuple[bytes, ...] = (),
        after: tuple[bytes, ...] = (),
    ) -> None:
        """Resolve the flight with a fill and feed it to its end; store what came if it came whole."""
        fill, prototype = Fill(), filling.prototype
        held = sum(map(len, before)) + sum(map(len, after))
        length = None if response.content_length is None else response.content_length + held
        self._counters.fills += 1
        self._marks.note(flight, prototype)
        unkept = filling.plan.unkept(prototype, self._ledger)
        flight.resolve(Filled(filling.shown, fill, prototype, length, unkept))
        try:
            for chunk in before:
                fill.feed(chunk)
            await self._feed(flight, fill, response, length, filling.policy.max_object)
            for chunk in after:
                fill.feed(chunk)
            fill.on_deserted = None
            # Stored first: whoever sees the end of this body finds it, or still its fetch, when it comes again.
            await self._commit(flight, fill, filling)
        except OriginError as error:
            self._counters.fills_aborted += 1
            self._refused(Reason.TRUNCATED, filling)
            fill.fail(error)
        except BaseException:
            fill.fail(OriginError("the fill was abandoned"))
            raise
        else:
            fill.finish()
        finally:
            fill.on_deserted = None
            response.close()

    async def _feed(self, flight: Flight, fill: Fill, response: OriginResponse, length: int | None, most: int) -> None:
        body = response.arrived()
        if body is not None:
            self._take(flight, fill, body, most)
            return
        self._watch_desertion(flight, fill, length)
        async for chunk in response.chunks():
            self._take(flight, fill, chunk, most)
            if fill.spilled:
                await fill.room()

    def _take(self, flight: Flight, fill: Fill, chunk: bytes, most: int) -> None:
        if not chunk:
            return
        self._counters.bytes_from_origin += len(chunk)
        fill.feed(chunk)
        if not fill.spilled and fill.size > most:
            self._collapse.end(flight)
            self._marks.mark(flight)
            if flight.members == 0:  # else somebody is about to attach, who needs the beginning
                fill.spill()

    def _watch_desertion(self, flight: Flight, fill: Fill, length: int | None) -> None:
        task = asyncio.current_task()
        assert task is not None

        def on_deserted() -> None:
            missing = None if length is None else length - fill.size
            worth_it = missing is not None and missing <= _FINISH_BYTES and not fill.spilled
            if not (flight.wanted or flight.members or worth_it):
                self._counters.fills_abandoned += 1
                task.cancel()

        fill.on_deserted = on_deserted

    async def _commit(self, flight: Flight, fill: Fill, filling: Filling) -> None:
        kept = await keep(fill, filling, self._store, self._ledger, self._clock)
        if isinstance(kept, Reason):
            self._refused(kept, filling)
        else:
            self._counters.stored += 1
            if kept.freshness.is_fresh(self._clock()) and not kept.freshness.must_validate:
                self._collapse.unmark(flight.key)  # the whole may have more of a lifetime than its head


def _birth(flight: Flight) -> Birth:
    assert flight.birth is not None  # what is running has begun
    return flight.birth


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
