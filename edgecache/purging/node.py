"""One process in the purge protocol: what it knows, whether it may serve, when a purge has come everywhere.

Theory
    A lease says "until then I may serve by what I know". It begins when a sync is *sent*, because that sync may have
    been answered at any time since: every purge committed before the answer is known here, every later one is
    answered for by the purger. The purger acknowledges when

    (a) the registry, complete, shows every process past the purge. What a process registers is what it had applied
        before the call, so its entry never runs ahead of what it does. Or
    (b) its own clock has gone on by ``term`` since the commit: every lease that was given before it has run out.
        ``term`` is longer than the lease by what the two clocks may disagree about. For a purge this needs no log any
        more: a lease from a log that lost it comes with a new epoch, in which nothing older is proven.

    After the log was lost, its successor's registry lists only those who have come back. It counts as complete once
    some process has known the epoch for a whole term: whoever has not come back by then has no lease.

The active release
    It is in force by the same lease: an activation has a sequence as a purge has, and whoever has applied it has
    switched. So as long as it has a lease a process knows every activation that was acknowledged.

    When the log was lost, its successor knows the newest release that anybody who came back has told it. It is *sure*
    of that once somebody told it who had a lease, and was sure, until the reply; once another is activated; or once
    the registry is complete. Until it is, whoever comes without a lease, and knows of a release or is told one, gets
    none: it may have missed an activation. Nobody else waits, so without releases nobody does.

    A lost activation, unlike a lost purge, is not made good by a new epoch: who had not heard of it goes on with the
    older release. So (b) holds for it only when the log that knows it still answers after that time; and when a new
    epoch begins meanwhile, from the moment at which its log was told of it by this process.

    A process without a lease goes on to look up and to store under the newest release that it knows, and serves
    nothing by it. What it stored under an older one is not looked up any more when it has caught up. It is when that
    release is rolled back to, and then it may be the newer release's: as may be whatever the origin answered between
    its own switch and the activation.

Invariants
    * ``lease_until`` <= sent_at of the last sync that brought everything, + lease (I7): neither a hint nor a part
      extends it.
    * ``applied`` never exceeds what the index knows, and a birth never what was applied (I5).
    * ``acknowledged`` is not None only by (a) or (b) (I9).
    * ``known`` only ever becomes newer, whatever order replies come in. ``release`` is the same, or what is being
      activated here and has not been answered yet, and then only until a newer one is heard of.
    * A process with an endless lease (it serves without the log for ever) is never taken for dead, and a purge that
      it has not applied is ``PARTIAL``.

Limits
    Right after the log was lost nothing is known of leases longer than this process's own, unless it had seen them
    before. So all processes of one namespace should be configured alike.

    An activation is forgotten with the last who knows it: when the log is lost and nobody who had heard of it comes
    back within a term. Whoever comes later has the newer one restored; so has, within a lease, a newcomer to a lost log
    to which nobody has come back yet. And the clocks of servers that take each other's place may disagree by no more
    than there is between two activations of which nobody knows both.

Pure: ``now`` is seconds on a clock of this process that neither jumps nor stops while the machine sleeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from edgecache.purging.index import CAPACITY, PurgeIndex
from edgecache.purging.log import Member, OrderReply, Sync, SyncReply
from edgecache.purging.receipt import State
from edgecache.purging.release import NO_RELEASE, Release
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics.stored import Birth

__all__ = ["Commitment", "Node", "Timing"]

_STRANGE_EPOCHS: Final = 64
"""Epochs of others' responses that are remembered as already asked about."""


_GETTING_WORSE: Final = tuple(Verdict)


@dataclass(frozen=True, slots=True)
class Timing:
    """``lease`` in seconds; ``clock_error`` is how wrong a clock's rate may be, as a fraction."""

    lease: float = 10.0
    clock_error: float = 1e-3

    def term(self, lease: float | None = None) -> float:
        """Seconds on any clock in which a lease of ``lease`` seconds runs out on every clock."""
        return (self.lease if lease is None else lease) * (1 + self.clock_error) / (1 - self.clock_error)

    @property
    def period(self) -> float:
        """Seconds between syncs: nine in a row may fail."""
        return self.lease / 10


@dataclass(frozen=True, slots=True)
class Commitment:
    """A purge, or an activation, in the log that is waiting to be acknowledged.

    ``release`` is the activation's own sequence, which outlives the epoch; 0 for a purge.
    """

    epoch: bytes
    sequence: int
    committed_at: float
    release: int = 0


class Node:
    """The protocol's state in one process.

    Args:
        worker: name in the registry, never used before.
        timing: the namespace's; the same for all.
        extra: seconds for which some rule may go on serving without a lease; ``math.inf`` for ever.
        capacity: selectors remembered.
    """

    def __init__(
        self, worker: str, timing: Timing | None = None, *, extra: float = 0.0, capacity: int = CAPACITY
    ) -> None:
        self.worker: Final = worker
        self.timing: Final = timing or Timing()
        self.epoch = b""
        self.applied = 0
        self.lease_until = -math.inf
        self.release = self.known = NO_RELEASE
        self._born = Birth(b"", 0)
        self.members: Mapping[str, Member] = {}
        self._longest: Final = self.timing.lease + extra
        self._index: Final = PurgeIndex(capacity)
        self._running: Sync | None = None
        self._known_since = math.inf
        self._census_at = -math.inf
        self._members_settled = False
        self._sure = False
        self._heard_at = -math.inf
        self._entry = Commitment(b"", 0, math.inf)
        self._leases: dict[str, float] = {}
        self._beats: dict[str, tuple[int, float]] = {}
        self._strange: dict[bytes, None] = {}
        self._ordered: dict[PurgeIndex, Commitment | None] = {}
        self._rumour = 0

    # For the engine.

    def birth(self) -> Birth:
        """Return the position to stamp a response with, before its origin request is sent."""
        born = self._born
        if born.sequence != self.applied or born.epoch != self.epoch:
            born = self._born = Birth(self.epoch, self.applied)
        return born

    def leased(self, now: float, extra: float = 0.0) -> bool:
        """Whether what is known suffices to serve by; ``extra`` as a rule allows, at most what was declared."""
        return now < self.lease_until + min(extra, self._longest - self.timing.lease)

    @property
    def last_hard(self) -> int:
        """The last hard purge known here."""
        return self._index.last_hard

    def is_current(self, birth: Birth) -> bool:
        """Whether nothing was purged since ``birth``, and nothing is being purged, as far as is known here."""
        position = self.birth()
        return (birth is position or birth == position) and position.epoch != b"" and not self._ordered

    def verdict(self, birth: Birth, uri: str, tags: AbstractSet[str], checked: int = 0) -> Verdict:
        """Return whether a response survives the purges known here, lease or no lease.

        ``checked`` is where this node stood when it last found the response ``VALID``, 0 if never.
        """
        if birth.epoch != self.epoch or not birth.epoch:
            return Verdict.UNPROVEN
        known = self._index.verdict_since(checked, birth.sequence, uri, tags)
        ordered = (order.verdict(0, uri, tags) for order in self._ordered)
        return max(known, *ordered, key=_GETTING_WORSE.index) if self._ordered else known

    def order(self, selectors: Iterable[Selector]) -> PurgeIndex:
        """Let a purge that is being committed take effect here; nothing that it matches is served until it is known."""
        order = PurgeIndex()
        order.note(1, selectors)
        self._ordered[order] = None
        return order

    def withdraw(self, order: PurgeIndex) -> None:
        """The purge is not known to have been committed, and need have no effect."""
        self._ordered.pop(order, None)

    def intend(self, name: str, *, held: bool = False) -> Release:
        """Let a release that is being activated be in force here; raise ``ClientError`` (400) for its name."""
        self.release = self.known.then(name, held=held, sequence=self.known.sequence)
        return self.release

    def desist(self, intended: Release) -> None:
        """The release is not known to have been activated."""
        if self.release is intended:
            self.release = self.known

    def is_news(self, birth: Birth) -> bool:
        """Whether a response shows that the log has gone on: a sync is due. Said once of each."""
        if birth.epoch == self.epoch:
            if birth.sequence <= max(self.applied, self._rumour):
                return False
            self._rumour = birth.sequence
            return True
        if birth.epoch in self._strange or not birth.epoch:
            return False
        if len(self._strange) >= _STRANGE_EPOCHS:
            del self._strange[next(iter(self._strange))]
        self._strange[birth.epoch] = None
        return True

    # Syncing. One at a time: beginning another gives up the one before.

    def begin(self, now: float, *, census: bool = False) -> Sync:
        """Return what to send; ``now`` is before sending. ``census`` asks for the registry, due now and then anyway."""
        settled = now - self._known_since >= self.timing.term(self._longest_ending())
        census = census or now >= self._census_at
        sure = settled or self._sure
        self._running = Sync(
            self.worker, self.epoch, self.applied, self._longest, settled, census, now, self.known, sure
        )
        return self._running

    def take(self, sync: Sync, reply: SyncReply, now: float) -> bool:
        """Apply a reply; return whether all is known and declared, so that no sync need follow at once."""
        if sync is not self._running:
            return False
        self._running = None
        self._heard_at = sync.sent_at
        if reply.epoch != self.epoch:
            self._enter(reply, now)
        self.learn(reply.release)
        self._sure = self._sure or reply.sure
        if self._is_in_doubt():
            self.lease_until = min(self.lease_until, now)
        self.applied = max(self.applied, reply.floor)
        self._index.raise_floor(reply.floor)
        for purge in reply.purges:
            self._index.note(purge.sequence, purge.selectors)
            self.applied = max(self.applied, purge.sequence)
        self._drop_what_is_known()
        if reply.members is not None:
            self._count(reply.members, settled=reply.settled, now=now)
        if self.applied != reply.sequence:
            return False
        if not self._is_in_doubt():
            self.lease_until = sync.sent_at + self.timing.lease
        return (sync.epoch, sync.applied) == (self.epoch, self.applied)

    def learn(self, release: Release) -> None:
        """Somebody says which release is active; a word that comes late changes nothing."""
        if release != self.known and release.sequence >= self.known.sequence:
            self.release = self.known = release

    def _is_in_doubt(self) -> bool:
        """Whether an activation may have been acknowledged without this process."""
        return self.known.sequence > 0 and not self._sure

    def _enter(self, reply: SyncReply, now: float) -> None:
        if self.epoch:
            self._strange[self.epoch] = None
        self.epoch, self.applied = reply.epoch, reply.floor
        self._ordered = {order: purge for order, purge in self._ordered.items() if _is_of(purge, reply.epoch)}
        self._index.clear(reply.floor)
        self._known_since = now
        self._entry = Commitment(reply.epoch, reply.sequence, now, reply.release.sequence)
        self._sure = self._sure and now < self.lease_until
        self.members, self._members_settled = {}, False
        self._beats = {}
        self._rumour = 0

    def leave(self) -> None:
        """Stop serving, at once and for ever; only then may the registry's entry be removed."""
        self.lease_until = -math.inf
        self._running = None

    # The registry.

    def _count(self, members: Mapping[str, Member], *, settled: bool, now: float) -> None:
        for gone in self.members.keys() - members.keys():
            self._leases.pop(gone, None)
        self._remember_leases(members, settled=settled)
        self.members, self._members_settled = members, settled
        self._census_at = now + self.timing.term()
        last = self._beats
        self._beats = {}
        for worker, member in members.items():
            beat = last.get(worker)
            same = beat is not None and beat[0] == member.heartbeat
            self._beats[worker] = beat if beat is not None and same else (member.heartbeat, now)

    def _remember_leases(self, members: Mapping[str, Member], *, settled: bool) -> None:
        """Who is missing in a new registry may still have its old lease: until that is complete, or for ever."""
        kept = {worker: lease for worker, lease in self._leases.items() if lease == math.inf or not settled}
        self._leases = kept | {worker: member.lease for worker, member in members.items()}

    def forget(self, worker: str) -> None:
        """Expect nothing more of a worker: it was removed from the registry because it does not run any more."""
        self._leases.pop(worker, None)

    def dead(self, now: float) -> list[tuple[str, int]]:
        """Return workers to remove, with their last heartbeats: unchanged for three of their terms, by this clock."""
        return [
            (worker, heartbeat)
            for worker, (heartbeat, since) in self._beats.items()
            if worker != self.worker and now - since >= 3 * self.timing.term(self.members[worker].lease)
        ]

    # Acknowledging.

    def activated(self, reply: OrderReply, now: float) -> Commitment:
        """As ``commit``, for an activation."""
        self.learn(reply.release)
        return replace(self.commit(reply, now), release=reply.release.sequence)

    def commit(self, reply: OrderReply, now: float, order: PurgeIndex | None = None) -> Commitment:
        """Begin to wait; ``now`` is after the reply, hence after the commit. ``order`` is what was made for it."""
        self._remember_leases(reply.members, settled=reply.settled)
        commitment = Commitment(reply.epoch, reply.sequence, now)
        if order is not None:
            self._ordered[order] = commitment
            self._drop_what_is_known()
        return commitment

    def _drop_what_is_known(self) -> None:
        """An order has done its service when the index has its purge."""
        for order, purge in list(self._ordered.items()):
            if purge is not None and self.epoch == purge.epoch and self.applied >= purge.sequence:
                del self._ordered[order]

    def has_applied(self, worker: str, purge: Commitment) -> bool:
        """Whether the registry, as last seen, shows this worker past the purge."""
        member, place = self.members.get(worker), self._place(purge)
        return member is not None and self.epoch == place.epoch and member.applied >= place.sequence

    def _place(self, purge: Commitment) -> Commitment:
        """Where it is to be looked for: an activation is in every epoch that was told of it."""
        return self._entry if 0 < purge.release <= self._entry.release else purge

    def acknowledged(self, purge: Commitment, now: float) -> State | None:
        """Return ``CONFIRMED`` or ``PARTIAL`` as soon as it is true, None before."""
        endless = {worker for worker, lease in self._leases.items() if lease == math.inf}
        awaited = self.members.keys() | endless
        if self.members and self._members_settled and all(self.has_applied(worker, purge) for worker in awaited):
            return State.CONFIRMED
        if now < self.expires_at(purge):
            return None
        if not self._is_still_told(purge):
            return State.PARTIAL if now >= self.gives_up_at(purge) else None
        return State.CONFIRMED if all(self.has_applied(worker, purge) for worker in endless) else State.PARTIAL

    def _is_still_told(self, purge: Commitment) -> bool:
        """Whether all leases that were given since its commit were given by a log that knows it."""
        place = self._place(purge)
        return not purge.release or (self.epoch == place.epoch and self._heard_at >= self.expires_at(purge))

    def gives_up_at(self, purge: Commitment) -> float:
        """When nobody waits any longer for the log to say that it still knows an activation."""
        return self.expires_at(replace(purge, release=0)) + self.timing.term()

    def expires_at(self, purge: Commitment) -> float:
        """When every lease that ends at all, given before the purge, has run out."""
        longest = max(self._longest_ending(), *(lease for lease in self._leases.values() if lease != math.inf), 0.0)
        return self._place(purge).committed_at + self.timing.term(longest)

    def _longest_ending(self) -> float:
        return self.timing.lease if self._longest == math.inf else self._longest

    def workers(self, purge: Commitment) -> list[str]:
        """Return the names of everybody who has to apply the purge, sorted."""
        return sorted({self.worker, *self._leases, *self.members})


def _is_of(purge: Commitment | None, epoch: bytes) -> bool:
    """Whether the purge is of this epoch, or may yet be."""
    return purge is None or purge.epoch == epoch
