"""The workers that live: started, listened to, buried.

Theory
    A generation is a configuration with the sockets it is served on, and a slot for each of its workers. A worker that
    dies leaves its slot empty; when that may be filled again depends on how its predecessors fared.

Invariants
    * A child lets go of everything that is only the supervisor's. Else a socket would stay open, and be waited at by
      connections that nobody accepts, for as long as that child lives.
    * What a worker has counted is kept before its seat is given to another.

Called by the supervisor.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecache.processes.child import Worker, fork
from edgecache.processes.events import Events
from edgecache.processes.inheritance import Inheritance, Order, own_socket
from edgecache.processes.scoreboard import Board
from edgecache.processes.sockets import Listening
from edgecache.processes.status_file import StatusFile

if TYPE_CHECKING:
    from edgecache.edges.config import Config
    from edgecache.edges.token_file import LocalToken

__all__ = ["LONGEST_PAUSE", "Crew", "Generation", "Slot"]

YOUNG_SECONDS: Final = 1.0
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""A worker that dies younger than that is one of a series; the pauses in it begin with none and the shortest, and each
is twice the one before."""


@dataclass(slots=True)
class Slot:
    """Where one worker of a generation belongs: how many died young in a row, and when there may be the next one."""

    deaths: int = 0
    again_at: float = 0.0

    def mourn(self, age: float, now: float) -> float:
        """Note that a worker died at this age; return how long to wait for the next one. All in seconds."""
        self.deaths = self.deaths + 1 if age < YOUNG_SECONDS else 0
        pause = min(SHORTEST_PAUSE * 2 ** (self.deaths - 2), LONGEST_PAUSE) if self.deaths > 1 else 0.0
        self.again_at = now + pause
        return pause


@dataclass(eq=False)
class Generation:
    """A configuration, and what its workers share. ``is_open`` when they are told to accept connections."""

    number: int
    config: Config
    public: Listening
    admin: Listening
    is_open: bool = False
    slots: list[Slot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots = [Slot() for _ in range(self.config.server.workers)]

    @property
    def url(self) -> str:
        """Where clients reach it: a URL, or ``unix:PATH``."""
        address = self.public.addresses[0]
        scheme = "https://" if self.config.server.tls_cert else "http://"
        return address if address.startswith("unix:") else scheme + address

    def close(self, successor: Generation | None = None) -> None:
        """Close the sockets that a successor does not take over."""
        self.public.close(successor.public if successor else None)
        self.admin.close(successor.admin if successor else None)


class Crew:
    """All workers, of any generation."""

    def __init__(self, events: Events, board: Board, run_dir: Path, token: LocalToken, status: StatusFile) -> None:
        self._events: Final = events
        self._board: Final = board
        self._run_dir: Final = run_dir
        self._token: Final = token
        self._status: Final = status
        self.workers: Final[list[Worker]] = []

    def of(self, generation: Generation | None) -> list[Worker]:
        """Return the workers of a generation."""
        return [worker for worker in self.workers if generation and worker.generation == generation.number]

    def vacant(self, generation: Generation | None) -> dict[int, Slot]:
        """Return the slots of a generation that have no worker."""
        filled = {worker.slot for worker in self.of(generation)}
        slots = generation.slots if generation else []
        return {number: slot for number, slot in enumerate(slots) if number not in filled}

    def tell(self, workers: Iterable[Worker], order: Order) -> None:
        """Give each of them an order."""
        for worker in workers:
            worker.order(order)

    def start(
        self, generation: Generation, slot: int, others: Iterable[Generation | None], heard: Callable[[Worker], None]
    ) -> Worker:
        """Start a worker; raise ``EdgecacheError`` or ``OSError`` when that cannot be.

        Args:
            generation: to which it belongs.
            slot: its place there.
            others: generations whose sockets are open here.
            heard: called when it has said something.
        """
        seat = self._board.take()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        inheritance = Inheritance(
            slot=slot,
            generation=generation.number,
            public=generation.public.of_slot(slot),
            admin=tuple(generation.admin),
            seat=seat,
            token=self._token,
            run_dir=self._run_dir,
            channel=theirs,
        )
        open_here = {one for each in (generation, *others) if each for one in (*each.public, *each.admin)}
        foreign = {ours, *open_here} - {*inheritance.public, *inheritance.admin}
        try:
            pid = fork(generation.config, inheritance, self._events, lambda: self._let_go(foreign))
        except OSError:
            ours.close()
            self._board.vacate(seat)
            raise
        finally:
            theirs.close()
        worker = Worker(pid, slot, generation.number, ours, seat, generation.config.server.drain_timeout)
        self.workers.append(worker)
        self._events.watch(ours, lambda: self._hear(worker, heard))
        return worker

    def bury(self) -> list[Worker]:
        """Return the workers that have ended since, with nothing left of them."""
        ended = [worker for worker in self.workers if worker.has_ended()]
        for worker in ended:
            self.workers.remove(worker)
            self._events.forget(worker.channel)
            worker.channel.close()
            own_socket(self._run_dir, worker.generation, worker.slot).unlink(missing_ok=True)
            self._board.vacate(worker.seat)
        return ended

    def _hear(self, worker: Worker, heard: Callable[[Worker], None]) -> None:
        if not worker.hear():
            self._events.forget(worker.channel)
        heard(worker)

    def _let_go(self, foreign: Iterable[socket.socket]) -> None:
        for one in foreign:
            one.close()
        for worker in self.workers:
            worker.channel.close()
        self._status.let_go()
