"""What a worker gets from its supervisor, and the few bytes the two say to one another.

Theory
    They are joined by a pair of stream sockets, and each byte on it means something by itself (``Order``, ``Status``).
    A worker is never told anything by a signal, so that what a terminal or a service manager sends to all
    processes at once is heard by the supervisor alone. The end of the stream means that the other is gone.

        supervisor  fork ──────────── OPEN ─── ... ─── RETIRE, LEAVE or STOP ──────────── (FORCE)
        worker            READY                                                QUIET  ...          exit 0 or 1
                          or REFUSED and why

    Between READY and OPEN a worker has done everything that can fail, and accepts nobody. QUIET means that it accepts
    nobody any more, on no listener, and answers nothing from its store: from then on a purge that a successor
    acknowledges cannot be missed here.

Called by ``processes`` on both sides, and by ``app`` for what is inherited.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edgecache.edges.token_file import LocalToken
from edgecache.errors import ConfigError
from edgecache.processes.scoreboard import Seat

__all__ = ["Inheritance", "Order", "Status", "own_socket", "refusal", "refused"]


class Order(Enum):
    """What a supervisor tells a worker."""

    OPEN = b"o"
    """Accept connections."""
    RETIRE = b"r"
    """A successor polls the same sockets from now on: leave their queues to it, say QUIET, finish, end."""
    LEAVE = b"l"
    """The same, but nobody else comes for the queues of the public sockets: accept who waits there."""
    STOP = b"s"
    """There is no successor: as LEAVE, but operators are answered until the end."""
    FORCE = b"f"
    """Cut off what still runs."""
    REOPEN = b"g"
    """Open the access log anew."""


class Status(Enum):
    """What a worker tells its supervisor."""

    READY = b"R"
    QUIET = b"Q"
    REFUSED = b"E"
    """It cannot start; what follows, until the stream ends, is ``refusal``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """What a worker is given.

    Attributes:
        slot: its number among the workers of its generation, from 0.
        generation: which configuration it serves, counted from 1.
        public: the sockets of this slot, on which it accepts clients.
        admin: the sockets on which any worker accepts operators.
        seat: its place on the scoreboard.
        token: the machine's token; its file is the supervisor's.
        run_dir: a directory that only this user can enter.
        channel: the worker's end of the pair.
    """

    slot: int
    generation: int
    public: tuple[socket.socket, ...]
    admin: tuple[socket.socket, ...]
    seat: Seat
    token: LocalToken
    run_dir: Path
    channel: socket.socket

    @property
    def own_socket(self) -> Path:
        """Where this very worker answers operators, and the other workers."""
        return own_socket(self.run_dir, self.generation, self.slot)

    def siblings(self) -> list[Path]:
        """Return where the other workers answer that serve now."""
        return sorted(path for path in self.run_dir.glob("*-*.sock") if path != self.own_socket)


def own_socket(run_dir: Path, generation: int, slot: int) -> Path:
    """Return ``Inheritance.own_socket``."""
    return run_dir / f"{generation}-{slot}.sock"


def refusal(error: ConfigError) -> bytes:
    """Return an error as it is sent after ``REFUSED``."""
    return json.dumps([error.message, error.where, error.line, error.hint]).encode()


def refused(data: bytes) -> ConfigError:
    """Return the error that was sent."""
    message, where, line, hint = json.loads(data)
    return ConfigError(message, where=where, line=line, hint=hint)
