"""A worker as its supervisor sees it: a process, what it has said so far, and how it ended.

What is forked never returns into the supervisor's code: ``work`` is all it does.

Called by ``crew`` and the supervisor.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from edgecache.errors import ConfigError
from edgecache.processes.inheritance import Inheritance, Order, Status, refused
from edgecache.processes.worker import REFUSED, work

if TYPE_CHECKING:
    from edgecache.edges.config import Config
    from edgecache.processes.events import Events
    from edgecache.processes.scoreboard import Seat

__all__ = ["Worker", "fork"]

_CRASHED: Final = 70
"""Exit code of a worker that ended by an exception nobody expected (``EX_SOFTWARE``)."""


class Worker:
    """A child process. ``began`` is in seconds of the monotonic clock, ``drain_timeout`` in seconds."""

    def __init__(
        self, pid: int, slot: int, generation: int, channel: socket.socket, seat: Seat, drain_timeout: float
    ) -> None:
        self.pid: Final = pid
        self.slot: Final = slot
        self.generation: Final = generation
        self.channel: Final = channel
        self.seat: Final = seat
        self.drain_timeout: Final = drain_timeout
        self.began: Final = time.monotonic()
        self.is_open = False
        self.exit_code: int | None = None
        self._said = b""

    @property
    def is_ready(self) -> bool:
        """Whether it can be told to accept connections."""
        return self._said.startswith(Status.READY.value)

    @property
    def is_quiet(self) -> bool:
        """Whether it has nothing to do any more with requests that are still to come."""
        return self.exit_code is not None or self._said.endswith(Status.QUIET.value)

    @property
    def refusal(self) -> ConfigError | None:
        """Why it could not start, once that is known."""
        if self.exit_code != REFUSED or not self._said.startswith(Status.REFUSED.value):
            return None
        return refused(self._said[1:])

    @property
    def ending(self) -> str:
        """How it ended, for people."""
        code = self.exit_code or 0
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"

    def order(self, order: Order) -> None:
        """Tell it; whether it still lives is seen elsewhere."""
        with suppress(OSError):
            self.channel.send(order.value)
            self.is_open = self.is_open or order is Order.OPEN

    def hear(self) -> bool:
        """Take what it has said; return False when it will say nothing more."""
        while True:
            try:
                heard = self.channel.recv(4096)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not heard:
                return False
            self._said += heard

    def kill(self) -> None:
        """End it at once."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        """Look whether the process has ended."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.hear()
            self.exit_code = os.waitstatus_to_exitcode(status)
        return bool(pid)


def fork(config: Config, inheritance: Inheritance, events: Events, let_go: Callable[[], None]) -> int:
    """Return the process that runs a worker.

    Args:
        config: what it serves.
        inheritance: what it gets; its end of the channel stays open here.
        events: of the supervisor.
        let_go: called in the child: close what is the supervisor's alone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with events.held_back():
        pid = os.fork()
        if pid == 0:
            _run(config, inheritance, events, let_go)
    return pid


def _run(config: Config, inheritance: Inheritance, events: Events, let_go: Callable[[], None]) -> NoReturn:
    code = _CRASHED
    try:
        events.ignore()
        let_go()
        code = work(config, inheritance)
    except BaseException:  # nothing may get out of here: above is the supervisor
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
