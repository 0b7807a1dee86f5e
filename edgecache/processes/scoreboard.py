"""What all workers have counted, whichever of them is asked, and whatever became of those that counted it.

Theory
    Memory shared by the supervisor and its workers, divided into seats. A worker writes its numbers to its seat every
    second and whenever it is asked for a sum; the supervisor adds what an ended worker left to what is past, and
    gives the seat to another. A sum is: my own numbers, what the others' seats say, and what is past.

    A seat has two halves, written in turn, each with a number that grows and a checksum. So a writer that is killed in
    the middle loses nothing but what it was writing, and a reader never takes half of it for a whole.

Invariants
    * A seat has one writer: its worker while that lives, then the supervisor. The record of the supervisor has
      only that one.
    * Sums only grow, across deaths and reloads: whoever shows numbers has written them to its seat first.
    * Who is counted changes in one step: the record names the taken seats together with what is past.

Made by the supervisor before it forks; read by ``app`` in each worker.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final, TypeVar

import msgspec

from edgecache.edges.access_log import LogStatistics
from edgecache.edges.metrics import TIER_STATES
from edgecache.edges.supervision import Supervision
from edgecache.engine.counters import Statistics, merge
from edgecache.errors import EdgecacheError
from edgecache.stores.base import StoreStatistics

__all__ = ["SEATS", "Board", "Numbers", "Seat", "Shown", "total"]

SEATS: Final = 1024
"""Workers that can be there at once, those of earlier generations that still finish their responses included."""

_HALF: Final = 32 * 1024
_HEADER: Final = struct.Struct("<QII")  # number, length, checksum
_LONGEST_ERROR: Final = 4096
_READ_AGAIN: Final = 100

_Sizes = TypeVar("_Sizes", StoreStatistics, LogStatistics)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What one worker has to say, or the sum of several: counters, and how large its stores are now.

    ``tiers`` and ``ledger`` are those of ``edges.metrics.Sources``.
    """

    counters: Statistics
    stores: Mapping[str, StoreStatistics]
    in_flight: int = 0
    access_log: LogStatistics | None = None
    tiers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ledger: Mapping[str, int] = field(default_factory=dict)

    def ended(self) -> Numbers:
        """Return what is left of it when the process has ended: what was counted, nothing that is there now."""
        stores = {name: replace(one, responses=0, keys=0, bytes=0, max_bytes=0) for name, one in self.stores.items()}
        log = None if self.access_log is None else replace(self.access_log, waiting=0)
        tiers = {
            tier: {name: count for name, count in counts.items() if name not in TIER_STATES}
            for tier, counts in self.tiers.items()
        }
        return Numbers(self.counters, stores, 0, log, tiers)


def total(parts: Iterable[Numbers]) -> Numbers:
    """Return the sum."""
    parts = list(parts)
    logs = [part.access_log for part in parts if part.access_log is not None]
    stores: dict[str, StoreStatistics] = {}
    for part in parts:
        for name, one in part.stores.items():
            stores[name] = _added(stores[name], one) if name in stores else one
    return Numbers(
        counters=merge(part.counters for part in parts),
        stores=stores,
        in_flight=sum(part.in_flight for part in parts),
        access_log=_added(*logs) if logs else None,
        tiers=_by_tier(part.tiers for part in parts),
        ledger=_worst([part.ledger for part in parts if part.ledger]),
    )


@dataclass(frozen=True, slots=True)
class _Record:
    """What the supervisor says: the seats that are taken, and what those counted that left theirs."""

    taken: tuple[int, ...]
    past: Numbers
    supervision: Supervision


_numbers: Final = msgspec.msgpack.Decoder(Numbers)
_record: Final = msgspec.msgpack.Decoder(_Record)


class Seat:
    """A worker's place on the board."""

    def __init__(self, board: Board, index: int) -> None:
        self._board: Final = board
        self.index: Final = index

    def publish(self, numbers: Numbers) -> None:
        """Let the others know."""
        self._board.write(self.index, msgspec.msgpack.encode(numbers))

    def others(self) -> list[Numbers]:
        """Return the numbers of every other worker, and the past."""
        record, numbers = self._board.read(but=self.index)
        return [record.past, *numbers]

    def supervision(self) -> Supervision:
        """Return what the supervisor said last."""
        return self._board.read_record().supervision


class Board:
    """The shared memory. The supervisor alone calls ``take``, ``vacate`` and ``tell``."""

    def __init__(self, seats: int = SEATS) -> None:
        self._memory: Final = mmap.mmap(-1, (1 + seats) * 2 * _HALF)
        self._free: Final = list(range(seats, 0, -1))
        self._said = _Record((), total(()), Supervision())
        self._say()

    def take(self) -> Seat:
        """Return a free seat for a new worker; raise ``EdgecacheError`` when there is none."""
        if not self._free:
            raise EdgecacheError("too many workers of earlier configurations still finish their responses")
        index = self._free.pop()
        self._said = replace(self._said, taken=(*self._said.taken, index))
        self._say()
        return Seat(self, index)

    def vacate(self, seat: Seat) -> None:
        """Keep what an ended worker has counted, and free its seat."""
        left = self._numbers(seat.index)
        past = self._said.past if left is None else total((self._said.past, left.ended()))
        taken = tuple(index for index in self._said.taken if index != seat.index)
        self._said = replace(self._said, taken=taken, past=past)
        self._say()
        for start in self._halves(seat.index):
            _HEADER.pack_into(self._memory, start, 0, 0, 0)
        self._free.append(seat.index)

    def tell(self, supervision: Supervision) -> None:
        """Publish what the supervisor knows."""
        supervision = replace(supervision, last_reload_error=supervision.last_reload_error[:_LONGEST_ERROR])
        self._said = replace(self._said, supervision=supervision)
        self._say()

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def read(self, but: int = 0) -> tuple[_Record, list[Numbers]]:
        """Return the record and the numbers of every taken seat, ``but`` one, of one moment."""
        record = self.read_record()
        for _ in range(_READ_AGAIN):
            found = [self._numbers(index) for index in record.taken if index != but]
            before, record = record, self.read_record()
            if before == record:
                break
        return before, [one for one in found if one is not None]

    def read_record(self) -> _Record:
        """Return what the supervisor said last."""
        data = self._read(0)
        assert data is not None, "said before anybody could ask"
        return _record.decode(data)

    def write(self, index: int, data: bytes) -> None:
        """Replace what is written at a place; raise ``ValueError`` for more than there is room for."""
        if len(data) > _HALF - _HEADER.size:
            raise ValueError(f"{len(data)} bytes do not fit into a seat")
        number = 1 + max(found[0] for found in map(self._header, self._halves(index)))
        start = self._halves(index)[number % 2]
        self._memory[start + _HEADER.size : start + _HEADER.size + len(data)] = data
        self._memory[start : start + _HEADER.size] = _HEADER.pack(number, len(data), _checksum(number, data))

    def _say(self) -> None:
        self.write(0, msgspec.msgpack.encode(self._said))

    def _numbers(self, index: int) -> Numbers | None:
        data = self._read(index)
        return None if data is None else _numbers.decode(data)

    def _read(self, index: int) -> bytes | None:
        """Return what was written last at a place; None when nothing was."""
        for start in sorted(self._halves(index), key=self._header, reverse=True):
            number, length, checksum = self._header(start)
            data = self._memory[start + _HEADER.size : start + _HEADER.size + length]
            if number and checksum == _checksum(number, data):
                return data
        return None

    def _header(self, start: int) -> tuple[int, int, int]:
        number, length, checksum = _HEADER.unpack_from(self._memory, start)
        return number, length, checksum

    def _halves(self, index: int) -> tuple[int, int]:
        return 2 * index * _HALF, (2 * index + 1) * _HALF


class Shown:
    """What one process shows to operators: the sum over the workers, or, without a ``seat``, its own numbers."""

    def __init__(self, own: Callable[[], Numbers], seat: Seat | None = None) -> None:
        self._own: Final = own
        self._seat: Final = seat

    def publish(self) -> None:
        """Let the other workers know this one's numbers."""
        if self._seat is not None:
            self._seat.publish(self._own())

    def numbers(self) -> Numbers:
        """Return the sum."""
        own = self._own()
        if self._seat is None:
            return own
        self._seat.publish(own)
        return total((own, *self._seat.others()))

    def statistics(self) -> Statistics:
        """Return its counters."""
        return self.numbers().counters

    def stores(self) -> Mapping[str, StoreStatistics]:
        """Return the sizes of the stores, by tier."""
        return self.numbers().stores

    def in_flight(self) -> int:
        """Return how many requests are being answered."""
        return self.numbers().in_flight

    def access_log(self) -> LogStatistics:
        """Return what became of the lines of the access log."""
        return self.numbers().access_log or LogStatistics(0, 0, 0, 0)

    def tiers(self) -> Mapping[str, Mapping[str, int]]:
        """Return what the shared tiers have counted."""
        return self.numbers().tiers

    def ledger(self) -> Mapping[str, int]:
        """Return how the ledgers stand."""
        return self.numbers().ledger

    def supervision(self) -> Supervision | None:
        """Return what the supervisor knows; None when there is none."""
        return None if self._seat is None else self._seat.supervision()


def _checksum(number: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_HEADER.pack(number, len(data), 0)))


def _by_tier(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    tiers: dict[str, dict[str, int]] = {}
    for part in parts:
        for tier, counts in part.items():
            sums = tiers.setdefault(tier, {})
            for name, count in counts.items():
                sums[name] = sums.get(name, 0) + count
    return tiers


def _worst(ledgers: list[Mapping[str, int]]) -> dict[str, int]:
    """Return of each state the worst: of ``failed`` the largest, of how far one has come the smallest."""
    names = dict.fromkeys(name for each in ledgers for name in each)
    return {name: (max if name == "failed" else min)(each[name] for each in ledgers if name in each) for name in names}


def _added(first: _Sizes, *others: _Sizes) -> _Sizes:
    """Add field by field."""
    parts = [first, *others]
    return type(first)(*(sum(getattr(part, each.name) for part in parts) for each in fields(first)))
