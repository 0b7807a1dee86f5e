"""The purge protocol, said a second time and as plainly as possible; and many ways to get it wrong.

``ModelLog`` is the shared log as a step machine that can be flushed, cut off, and put back to an older state.
``ReferenceNode`` is one process: it remembers every purge it was told of, and asks each one. Both take a set of
``Flaw``s; with none they are the protocol. A flaw that no history finds would mean that the histories prove nothing.
"""

from __future__ import annotations

import copy
import enum
import itertools
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from edgecache.purging.log import Activation, Member, Order, OrderReply, Purge, Sync, SyncReply
from edgecache.purging.node import Commitment, Timing
from edgecache.purging.receipt import State
from edgecache.purging.release import NO_RELEASE, Release
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth

TIMING: Final = Timing(lease=100.0, clock_error=0.05)

RESPONSES: Final = {"/1": frozenset({"a", "all"}), "/2": frozenset({"b", "all"}), "/3": frozenset({"a", "b"})}
"""Path -> tags, of everything there is to cache; the host is ``h``."""

TAGS: Final = {
    Selector.of("tag", "a"): frozenset({"/1", "/3"}),
    Selector.of("tag", "b"): frozenset({"/2", "/3"}),
    Selector.of("tag", "all"): frozenset({"/1", "/2"}),
}
SELECTORS: Final = TAGS | {
    Selector.of("url", "http://h/1"): frozenset({"/1"}),
    Selector.of("prefix", "/3"): frozenset({"/3"}),
    Selector.of("host", "h"): frozenset(RESPONSES),
    Selector.of("glob", "h/?"): frozenset(RESPONSES),
    Selector.of("expr", "b & !a"): frozenset({"/2"}),
    Selector.of("all"): frozenset(RESPONSES),
    Selector.of("tag", "b", soft=True): frozenset({"/2", "/3"}),
    Selector.of("glob", "/[1]", soft=True): frozenset(),
}
"""Selector -> the paths it means, written down by hand: neither side computes what the other checks."""


class Flaw(enum.Enum):
    """One way to get the protocol wrong."""

    LATE_TOKEN = "the birth is taken when the response arrives"
    NO_LEASE = "what is known is served for ever"
    ACK_AT_ONCE = "a purge is acknowledged when it is in the log"
    NO_ROTATION = "a restarted log goes on in its epoch"
    YOUNG_REGISTRY = "a registry is believed right after a rotation"
    LEASE_FROM_REPLY = "a lease begins when the reply arrives"
    DELETION = "purging deletes, reading believes what it finds"
    LATE_JOIN = "a request joins a fill that began before it, whatever happened since"
    NO_MARGIN = "a lease is waited for as if clocks were right"
    NO_FLOOR = "what was forgotten was never purged"
    SETTLED_EARLY = "the registry counts as complete as soon as somebody knows the epoch"
    UNTOLD_RELEASE = "nobody tells a log that begins anew which release is active"
    OLDER_RELEASE = "a log that begins anew goes on with the release that it finds, be it older"
    RENUMBERED_RELEASE = "activations are numbered as purges are, anew after a loss"
    FADED_RELEASE = "an activation is acknowledged by time alone, whether or not the log has lost it since"
    UNDOUBTED_RELEASE = "who comes without a lease believes what a lost log was told of the release"


OF_RELEASES: Final = tuple(flaw for flaw in Flaw if flaw.name.endswith("_RELEASE"))
"""What is wrong with these only shows when releases are activated."""


Flaws = frozenset[Flaw]


class Unreachable(Exception):
    """The log does not answer."""


class NodeLike(Protocol):
    """What a history needs of a process; ``edgecache.purging.node.Node`` is one."""

    epoch: bytes
    applied: int
    lease_until: float
    release: Release

    def birth(self) -> Birth: ...
    def leased(self, now: float) -> bool: ...
    def verdict(self, birth: Birth, uri: str, tags: AbstractSet[str]) -> Verdict: ...
    def begin(self, now: float, *, census: bool = False) -> Sync: ...
    def take(self, sync: Sync, reply: SyncReply, now: float) -> bool: ...
    def commit(self, reply: OrderReply, now: float) -> Commitment: ...
    def activated(self, reply: OrderReply, now: float) -> Commitment: ...
    def acknowledged(self, purge: Commitment, now: float) -> State | None: ...


class ModelLog:
    """The log, and the responses that rest beside it."""

    def __init__(self, flaws: Flaws = frozenset(), *, capacity: int = 4, page: int = 1000) -> None:
        self._flaws = flaws
        self._capacity, self._page = capacity, page
        self._names = itertools.count(1)
        self._saved: dict[str, object] | None = None
        self._run = next(self._names)
        self._clock = itertools.count(1)
        self.up = True
        self.epochs: list[bytes] = []
        self.flush()

    def flush(self) -> None:
        """Lose everything; the process goes on."""
        self.epoch, self.ident = b"", 0
        self.sequence = self.floor = 0
        self.purges: list[Purge] = []
        self.members: dict[str, Member] = {}
        self.release = NO_RELEASE
        self.settled = self.sure = False
        self.responses: dict[str, object] = {}

    def save(self) -> None:
        """Write a snapshot."""
        names = ("epoch", "ident", "sequence", "floor", "purges", "members", "release", "settled", "sure", "responses")
        self._saved = copy.deepcopy({name: getattr(self, name) for name in names})

    def restart(self) -> None:
        """Come up as another process, with what the last snapshot has."""
        self._run, self.up = next(self._names), True
        if self._saved is None:
            self.flush()
        else:
            self.__dict__.update(copy.deepcopy(self._saved))

    def _head(self, epoch: bytes, applied: int, release: Release) -> None:
        if not self.up:
            raise Unreachable
        if Flaw.UNTOLD_RELEASE in self._flaws or (Flaw.OLDER_RELEASE in self._flaws and self.release.name):
            release = NO_RELEASE
        known = applied if epoch == self.epoch else 0
        newest = max(self.release, release, key=lambda one: one.sequence)
        same = self.ident == self._run and known <= self.sequence and newest == self.release
        if self.epoch and (same or Flaw.NO_ROTATION in self._flaws):
            return
        start = max(self.sequence, known) + 1
        responses = self.responses
        self.flush()
        self.responses = responses
        self.epoch, self.ident = next(self._names).to_bytes(4), self._run
        self.sequence = self.floor = start
        self.release = newest
        self.epochs.append(self.epoch)

    def sync(self, sync: Sync) -> SyncReply:
        """As ``Log.sync``."""
        self._head(sync.epoch, sync.applied, sync.known)
        same = sync.epoch == self.epoch
        applied = sync.applied if same else 0
        self.settled |= same and sync.settled
        self.sure |= same and sync.sure
        last = self.members.get(sync.worker)
        self.members[sync.worker] = Member(applied, sync.lease, last.heartbeat + 1 if last else 1)
        new = [purge for purge in self.purges if purge.sequence > max(applied, self.floor)]
        page = tuple(new[: self._page])
        told = (self.epoch, self.sequence, self.floor, self.release, self.settled, self.sure)
        return SyncReply(*told, page, dict(self.members))

    def purge(self, order: Order) -> OrderReply:
        """As ``Log.purge``; without idempotency keys."""
        self._head(order.epoch, order.applied, order.known)
        return self._append(order.selectors)

    def activate(self, activation: Activation) -> OrderReply:
        """As ``Log.activate``."""
        self._head(activation.epoch, activation.applied, activation.known)
        now = self.sequence + 1 if Flaw.RENUMBERED_RELEASE in self._flaws else next(self._clock)
        later = max(now, self.release.sequence + 1)
        self.release = self.release.then(activation.name, held=activation.held, sequence=later)
        self.sure = True
        return self._append(())

    def _append(self, selectors: tuple[Selector, ...]) -> OrderReply:
        self.sequence += 1
        self.purges.append(Purge(self.sequence, selectors))
        if len(self.purges) > self._capacity:
            del self.purges[: -self._capacity]
            self.floor = self.purges[0].sequence - 1
        return OrderReply(self.epoch, self.sequence, self.release, self.settled, dict(self.members))


class ReferenceNode:
    """One process, without an index: a list of all purges."""

    def __init__(self, worker: str, flaws: Flaws = frozenset()) -> None:
        self._flaws = flaws
        self._worker = worker
        self.epoch, self.applied, self._floor = b"", 0, 0
        self.lease_until = -1.0
        self.release = NO_RELEASE
        self._sure = False
        self._heard_at = -1.0
        self._entry, self._entered_with = Commitment(b"", 0, 0.0), NO_RELEASE
        self._purges: list[Purge] = []
        self._known_since = float("inf")
        self._registry: Mapping[str, Member] = {}
        self._settled = False
        self._term = TIMING.lease if Flaw.NO_MARGIN in flaws else TIMING.term()

    def birth(self) -> Birth:
        return Birth(self.epoch, self.applied)

    def leased(self, now: float) -> bool:
        return Flaw.NO_LEASE in self._flaws or now < self.lease_until

    def verdict(self, birth: Birth, uri: str, tags: AbstractSet[str]) -> Verdict:
        if Flaw.DELETION in self._flaws:
            return Verdict.VALID
        known = birth.epoch == self.epoch and (birth.sequence >= self._floor or Flaw.NO_FLOOR in self._flaws)
        return Verdict.INVALID if not known or self._is_purged(birth, uri) else Verdict.VALID

    def _is_purged(self, birth: Birth, uri: str) -> bool:
        path = uri.removeprefix("http://h")
        newer = (purge for purge in self._purges if purge.sequence > birth.sequence)
        return any(path in SELECTORS[selector] for purge in newer for selector in purge.selectors)

    def begin(self, now: float, *, census: bool = False) -> Sync:
        waited = now - self._known_since >= self._term
        settled = waited or (Flaw.SETTLED_EARLY in self._flaws and bool(self.epoch))
        sure = settled or self._sure
        return Sync(self._worker, self.epoch, self.applied, TIMING.lease, settled, census, now, self.release, sure)

    def take(self, sync: Sync, reply: SyncReply, now: float) -> bool:
        self._heard_at = sync.sent_at
        if reply.epoch != self.epoch:
            self.epoch, self.applied, self._purges = reply.epoch, reply.floor, []
            self._known_since = now
            self._entry = Commitment(reply.epoch, reply.sequence, now)
            self._entered_with = reply.release
            self._sure = self._sure and now < self.lease_until
        self._learn(reply.release)
        self._sure = self._sure or reply.sure
        doubtful = self.release.name and not self._sure and Flaw.UNDOUBTED_RELEASE not in self._flaws
        if doubtful:
            self.lease_until = min(self.lease_until, now)
        self._floor = reply.floor
        self.applied = max(self.applied, reply.floor, *(purge.sequence for purge in reply.purges), 0)
        self._purges.extend(reply.purges)
        self._registry, self._settled = reply.members or {}, reply.settled
        if self.applied == reply.sequence and not doubtful:
            self.lease_until = TIMING.lease + (now if Flaw.LEASE_FROM_REPLY in self._flaws else sync.sent_at)
        return (sync.epoch, sync.applied) == (reply.epoch, reply.sequence)

    def _learn(self, release: Release) -> None:
        if release.sequence > self.release.sequence:
            self.release = release

    def commit(self, reply: OrderReply, now: float) -> Commitment:
        return Commitment(reply.epoch, reply.sequence, now)

    def activated(self, reply: OrderReply, now: float) -> Commitment:
        self._learn(reply.release)
        return Commitment(reply.epoch, reply.sequence, now, reply.release.sequence)

    def acknowledged(self, purge: Commitment, now: float) -> State | None:
        told = bool(purge.release) and self._entered_with.sequence >= purge.release
        place = self._entry if told else purge
        complete = self._settled or Flaw.YOUNG_REGISTRY in self._flaws
        applied = (member.applied >= place.sequence for member in self._registry.values())
        if self.epoch == place.epoch and complete and self._registry and all(applied):
            return State.CONFIRMED
        if not purge.release or Flaw.FADED_RELEASE in self._flaws:
            return State.CONFIRMED if now - purge.committed_at >= self._term else None
        if self.epoch == place.epoch and self._heard_at >= place.committed_at + self._term:
            return State.CONFIRMED
        return State.PARTIAL if now - purge.committed_at >= 2 * self._term else None
