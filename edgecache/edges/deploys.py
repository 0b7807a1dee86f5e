"""Deploys: a release is warmed, activated, held, and gone back to.

Theory
    What a release *is* stands in the ledger, one word that every process knows; activating and going back are one write
    each, and need nothing that is kept here. What is kept here is how warming goes: the process that was asked fetches
    what the order names, through its own engine; the others find it in the shared tier. Its siblings on the machine ask
    it how far it is. It ends with the process, and to begin again is cheap: what is stored is stored.

    The new origin may still be coming up while it is warmed, so what is not there is asked for again, in rounds with
    pauses between them (``_PAUSES``), whatever is stored of the answer before. What cannot be stored is told at once.

    A release is activated when it has been warmed whole, or has been active before: then it is known to work. Whoever
    wants it all the same says so (``force``).

Invariants
    * One deploy is warmed at a time, ``_AT_ONCE`` requests of it; ``_REMEMBERED`` are remembered.
    * A deploy ends, whatever happens; what was not warmed is named.
    * Going back goes to the release that was active before, and holds it: the origin may run the newer one still. When
      the one to be left is not active, nothing changes, and that is confirmed.
    * Each order is a line in the log ``edgecache.audit``.

Made and closed by the composition root; called by ``edges.deploy_api``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from edgecache.edges.deploy_messages import ActiveRelease, Deploy, DeployReport, DeployState, Failure, ReleaseReply
from edgecache.edges.purge_messages import WorkerReply
from edgecache.edges.siblings import Siblings
from edgecache.engine.warming import Handle, Outcome, Warmed, warm
from edgecache.errors import ClientError
from edgecache.http.message import RequestHead, fields_of
from edgecache.purging.release import NO_RELEASE, Release

if TYPE_CHECKING:
    from edgecache.edges.tokens import Tokens
    from edgecache.purging.base import Ledger
    from edgecache.purging.receipt import Receipt

__all__ = ["PATIENCE", "Deploying", "Deploys", "Orderer", "checked"]

PATIENCE: Final = 30.0
"""Seconds a change of the active release is waited for, unless somebody says otherwise."""

_AT_ONCE: Final = 8
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each further round: half a minute for an origin to come up."""

_REMEMBERED: Final = 20
_FAILURES_SHOWN: Final = 100
_NEWEST: Final = 2**53
"""No activation has such a sequence: who waits for it has asked for news."""

_audit = logging.getLogger("edgecache.audit")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploying:
    """What deploying needs.

    Attributes:
        ledger: where the active release stands.
        handle: answers requests, as a client's.
        tokens: who may.
        siblings: the other workers of this machine.
        now: the clock, POSIX seconds.
        sleep: waits for seconds.
    """

    ledger: Ledger
    handle: Handle
    tokens: Tokens
    siblings: Siblings = field(default_factory=Siblings)
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Orderer:
    """Who orders something: the token's name, where from, and what was shown, to be shown to siblings."""

    who: str
    peer: str
    authorization: str


@dataclass(slots=True, eq=False)
class _Warming:
    """A deploy on its way: its requests by URI, and those that have not succeeded, with what became of the last try."""

    said: Deploy
    requests: Mapping[str, RequestHead]
    left: dict[str, Warmed | None]

    def say(self, **changes: object) -> None:
        self.said = msgspec.structs.replace(self.said, **changes)

    def note(self, uri: str, warmed: Warmed) -> None:
        """Count what became of a request."""
        if self.left[uri] is not None:
            self.say(failed=self.said.failed - 1)
        match warmed.outcome:
            case Outcome.FAILED:
                self.left[uri] = warmed
                self.say(failed=self.said.failed + 1)
                return
            case Outcome.STORED:
                self.say(stored=self.said.stored + 1)
            case Outcome.PRESENT:
                self.say(present=self.said.present + 1)
        del self.left[uri]

    def failures(self) -> list[Failure]:
        """Return some of those that failed the last time."""
        failed = [(uri, warmed) for uri, warmed in self.left.items() if warmed is not None]
        return [Failure(uri, warmed.status, warmed.reason) for uri, warmed in failed[:_FAILURES_SHOWN]]


def checked(name: str) -> str:
    """Return the name of a release; raise ``ClientError`` (400) when it cannot be one."""
    return NO_RELEASE.then(name, sequence=0).name


class Deploys:
    """Carries out deploys, and remembers how they were warmed."""

    def __init__(self, deploying: Deploying) -> None:
        self.tokens: Final = deploying.tokens
        self._ledger: Final = deploying.ledger
        self._handle: Final = deploying.handle
        self._siblings: Final = deploying.siblings
        self._now: Final = deploying.now
        self._sleep: Final = deploying.sleep
        self._known: Final[OrderedDict[str, _Warming]] = OrderedDict()
        self._working: asyncio.Task[None] | None = None

    # Warming.

    async def begin(self, name: str, requests: Iterable[RequestHead], by: Orderer) -> Deploy:
        """Warm a release in the background; the same order again is the same deploy.

        Raises ``ClientError``: 400 for what cannot be a name, 409 while another is being warmed.
        """
        checked(name)
        wanted = {head.target_uri: head for head in requests}
        report = await self.report(by.authorization)
        own = self._known.get(name)
        if own is not None and own.said.state is DeployState.WARMING and own.requests == wanted:
            return own.said
        for other in report.deploys:
            if other.state is DeployState.WARMING:
                raise ClientError(409, f"{other.name} is being warmed: wait until it has ended")
        deploy = Deploy(name, by.who, DeployState.WARMING, len(wanted), started=self._when())
        warming = _Warming(deploy, wanted, dict.fromkeys(wanted))
        self._known[name] = warming
        self._known.move_to_end(name)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        _audit.info("deploy begin=%s token=%s peer=%s urls=%d", name, by.who, by.peer, len(wanted))
        self._working = asyncio.get_running_loop().create_task(self._work(warming))
        return deploy

    async def close(self) -> None:
        """Stop, wherever it is."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    async def _work(self, warming: _Warming) -> None:
        failure = "it stopped before it was done; begin again"
        try:
            await self._rounds(warming)
            failure = ""
        except Exception:
            _logger.exception("warming %s", warming.said.name)
        finally:
            is_ready = not (failure or warming.left)
            state = DeployState.READY if is_ready else DeployState.FAILED
            warming.say(state=state, ended=self._when(), detail=failure, failures=warming.failures())
            said = warming.said
            counts = (said.total, said.stored, said.present, said.failed)
            _audit.info("deploy warmed=%s state=%s urls=%d stored=%d present=%d failed=%d", said.name, state, *counts)

    async def _rounds(self, warming: _Warming) -> None:
        await self._round(warming, list(warming.left))
        for pause in _PAUSES:
            again = [uri for uri, warmed in warming.left.items() if warmed is not None and warmed.may_change]
            if not again:
                return
            warming.say(detail=f"{len(again)} not there yet: asks again in {pause:g} s", failures=warming.failures())
            await self._sleep(pause)
            await self._round(warming, again, _anew)

    async def _round(
        self, warming: _Warming, uris: Sequence[str], asked: Callable[[RequestHead], RequestHead] = lambda head: head
    ) -> None:
        """Ask for each once, a few at a time."""
        waiting = iter(uris)

        async def ask() -> None:
            for uri in waiting:
                warming.note(uri, await warm(self._handle, asked(warming.requests[uri]), warming.said.name))

        async with asyncio.TaskGroup() as asking:
            for _ in range(min(_AT_ONCE, len(uris))):
                asking.create_task(ask())

    # Asking.

    async def find(self, name: str, authorization: str, *, alone: bool = False) -> tuple[Deploy | None, list[str]]:
        """Return how a deploy stands at whichever worker began it last, and the workers that did not say."""
        report = await self.report(authorization, alone=alone)
        return next((each for each in report.deploys if each.name == name), None), report.missing

    async def report(self, authorization: str, *, alone: bool = False) -> DeployReport:
        """Return what is active and what was warmed: by all workers, or by this one ``alone``."""
        reports, missing = ([], []) if alone else await self._siblings.deploys(authorization)
        known = [warming.said for warming in reversed(self._known.values())]
        known += (deploy for report in reports for deploy in report.deploys)
        known.sort(key=lambda deploy: deploy.started, reverse=True)
        return DeployReport(_shown(self._ledger.release), known, missing)

    # Switching.

    async def activate(self, name: str, by: Orderer, patience: float, *, force: bool = False) -> ReleaseReply:
        """Let a release be the active one; raise ``ClientError``: 400 for its name, 409 when it is not ready."""
        checked(name)
        await self._ledger.catch_up(_NEWEST)
        if not force and (objection := await self._objection(name, by)):
            raise ClientError(409, objection)
        return await self._switched("activate", name, by, patience, held=False)

    async def hold(self, name: str, by: Orderer, patience: float) -> ReleaseReply:
        """Keep what is stored of the active release as it is until ``name`` is activated; 409 when it is already."""
        checked(name)
        await self._ledger.catch_up(_NEWEST)
        active = self._ledger.release
        if active.name in ("", name):
            reason = f"{name} is active already" if active.name else "no release is active that could be held"
            raise ClientError(409, reason)
        return await self._switched("hold", active.name, by, patience, held=True)

    async def rollback(self, name: str, by: Orderer, patience: float, *, to: str = "") -> ReleaseReply:
        """Leave a release for the one before it, or for another.

        Raises ``ClientError``: 400 for what cannot be a name, 409 when there is nothing to go back to.
        """
        checked(name)
        await self._ledger.catch_up(_NEWEST)
        active = self._ledger.release
        if active.name and active.name != name:
            return await self._switched("rollback", active.name, by, patience, held=active.held)
        target = checked(to) if to else active.previous
        if not active.name or not target or target == name:
            raise ClientError(409, f"there is no release to go back to from {name}")
        return await self._switched("rollback", target, by, patience, held=True)

    async def _objection(self, name: str, by: Orderer) -> str | None:
        """Return why a release should not be activated, for people; None when nothing speaks against it."""
        deploy, missing = await self.find(name, by.authorization)
        active = self._ledger.release
        if deploy is None:
            if name in (active.name, active.previous):
                return None
            who = f" ({', '.join(missing)} did not say)" if missing else ""
            return f"{name} was not begun here{who}: begin it, or force the activation"
        match deploy.state:
            case DeployState.READY:
                return None
            case DeployState.WARMING:
                done = deploy.stored + deploy.present
                return f"{name} is still being warmed, {done} of {deploy.total}: wait, or force the activation"
            case DeployState.FAILED:
                return f"{_amiss(deploy)}: begin it again, or force the activation"

    async def _switched(self, what: str, name: str, by: Orderer, patience: float, *, held: bool) -> ReleaseReply:
        receipt = await self._ledger.activate(name, held=held, patience=patience)
        _audit.info(
            "release %s=%s held=%s token=%s peer=%s state=%s sequence=%d",
            *(what, name, str(held).lower(), by.who, by.peer, receipt.state, receipt.sequence),
        )
        return _reply(self._ledger.release, receipt)

    def _when(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")


def _anew(head: RequestHead) -> RequestHead:
    """Return the request as the origin has to answer it, whatever is stored."""
    return replace(head, fields=fields_of([*head.fields.items(), ("Cache-Control", "no-cache")]))


def _amiss(deploy: Deploy) -> str:
    if not deploy.failures:
        return f"{deploy.name} was not warmed whole"
    first = deploy.failures[0]
    return f"{deploy.failed} of {deploy.total} are not there for {deploy.name}, such as {first.url} ({first.reason})"


def _shown(release: Release) -> ActiveRelease:
    return ActiveRelease(release.name, release.held, release.previous)


def _reply(release: Release, receipt: Receipt) -> ReleaseReply:
    return ReleaseReply(
        release=_shown(release),
        state=receipt.state,
        sequence=receipt.sequence,
        workers=[WorkerReply(one.worker, one.applied, one.milliseconds) for one in receipt.workers],
        waited_ms=round(receipt.waited * 1000, 3),
        detail=receipt.detail,
    )
