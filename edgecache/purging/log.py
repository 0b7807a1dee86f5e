"""The shared purge log as a node sees it: what is said to it and what it answers. ``redis_log`` is the real one.

Contract of a log
    * Each operation is one atomic step. Before anything else the log proves that it is still the one that gave out
      its epoch and sequences; when it cannot, or when the caller has applied more than it knows, it begins a new
      epoch, which was never used before, with an empty log and an empty registry.
    * Within an epoch a purge gets the next sequence. The log holds exactly the purges in ``(floor, sequence]``.
    * ``sync`` answers with the purges after ``applied``, or after the floor when the epoch differs or ``applied`` is
      below it: the oldest first, perhaps not all of them. It registers what the caller had applied *before* the call.
    * An activation is an entry without selectors, and changes the active release, which every answer tells as it is
      then: whoever has applied the entry has heard of it. Its ``sequence`` is higher than any that the log or the
      caller knew. Nothing else changes the release within an epoch: a caller who knows a newer one begins another.
    * A new epoch begins with the newest release that the caller, or what is left of the log, knows of.
    * An operation that fails raises ``StoreError``; whether it was carried out is then unknown. None is ever sent
      twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from edgecache.purging.release import NO_RELEASE, Release
from edgecache.purging.selector import Selector

__all__ = ["MAX_SELECTORS", "Activation", "Log", "Member", "Order", "OrderReply", "Purge", "Sync", "SyncReply"]

MAX_SELECTORS: Final = 1000
"""Selectors of one purge: all or nothing."""


class Purge(NamedTuple):
    """One entry of the log. Without selectors it is an activation."""

    sequence: int
    selectors: tuple[Selector, ...]


class Member(NamedTuple):
    """A process in the registry. ``lease`` is the longest it may serve without the log, seconds, perhaps infinite."""

    applied: int
    lease: float
    heartbeat: int


@dataclass(frozen=True, slots=True, eq=False)
class Sync:
    """What a node says.

    Attributes:
        settled, sure: as in the reply; whether the node can tell by itself.
        sent_at: its own clock before sending, seconds; stays with it.
        known: the newest release that it has heard of.
    """

    worker: str
    epoch: bytes
    applied: int
    lease: float
    settled: bool
    census: bool
    sent_at: float
    known: Release = NO_RELEASE
    sure: bool = False


@dataclass(frozen=True, slots=True)
class SyncReply:
    """What the log answers.

    Attributes:
        release: the active one.
        settled: whether the registry is known to be complete since the epoch began.
        sure: whether no newer release can have been acknowledged before the epoch began.
        members: the registry after this call, the caller included; None unless asked for by ``census``.
    """

    epoch: bytes
    sequence: int
    floor: int
    release: Release
    settled: bool
    sure: bool
    purges: tuple[Purge, ...]
    members: Mapping[str, Member] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A purge to be committed. ``key`` makes it happen once however often it is sent; empty: each time."""

    selectors: tuple[Selector, ...]
    epoch: bytes
    applied: int
    key: str = ""
    known: Release = NO_RELEASE


@dataclass(frozen=True, slots=True)
class Activation:
    """A release that is to be the active one."""

    name: str
    held: bool
    epoch: bytes
    applied: int
    known: Release


@dataclass(frozen=True, slots=True)
class OrderReply:
    """The place in the log of a purge or an activation, the active release after it, and the registry."""

    epoch: bytes
    sequence: int
    release: Release
    settled: bool
    members: Mapping[str, Member]


class Log(Protocol):
    """The operations. All but ``listen`` end within a second or so."""

    async def sync(self, sync: Sync) -> SyncReply:
        """Register, and return what is new."""
        ...

    async def purge(self, order: Order) -> OrderReply:
        """Commit a purge; raise ``ClientError`` (422) when its key stands for other selectors already."""
        ...

    async def activate(self, activation: Activation) -> OrderReply:
        """Commit an activation."""
        ...

    async def leave(self, worker: str, epoch: bytes, heartbeat: int | None = None) -> None:
        """Remove a process from the registry of ``epoch``; with a heartbeat, only if that is still its last."""
        ...

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call ``heard`` whenever there may be something new; raise ``StoreError`` when hearing is lost."""
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...
