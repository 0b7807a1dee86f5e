"""What a process without an event loop waits for: signals, and bytes on sockets. One thread, no callbacks in handlers.

Theory
    A handler in Python only notes the signal; its number also wakes ``wait`` through a socket, so that none is
    missed between looking and waiting. What a signal means is decided afterwards, in the open.

Called by the supervisor.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Final

__all__ = ["Events", "has_terminal"]


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, whose end would be told by ``SIGHUP``."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Events:
    """Signals and sockets of this process, from its making until ``close``."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._signals: list[signal.Signals] = []
        self._selector: Final = selectors.PollSelector()  # no descriptor that children could share, as epoll's
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._empty)
        self._numbers: Final = tuple(numbers)
        self._before: Final[dict[signal.Signals, Any]] = {
            number: signal.signal(number, self._note) for number in self._numbers
        }
        self._wakeup_before: Final = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def watch(self, source: socket.socket, heard: Callable[[], None]) -> None:
        """Call ``heard`` from ``wait`` whenever there is something to read."""
        self._selector.register(source, selectors.EVENT_READ, heard)

    def forget(self, source: socket.socket) -> None:
        """Undo ``watch``, if it was watched."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(source)

    def wait(self, seconds: float | None) -> None:
        """Wait until something happens, ``seconds`` at most, and call whoever watches for it."""
        for key, _ in self._selector.select(None if seconds is None else max(0.0, seconds)):
            key.data()

    def signals(self) -> list[signal.Signals]:
        """Return the signals that came since it was asked last."""
        seen, self._signals[:] = list(self._signals), []
        return seen

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Let signals wait, for instance while forking: a child must not take them for its own."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)

    def ignore(self) -> None:
        """In a child: be deaf to these signals from now on, and let go of what belongs to the parent."""
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)
        self._let_go()

    def close(self) -> None:
        """Give the signals back to whom they belonged before."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._let_go()

    def _let_go(self) -> None:
        self._selector.close()
        self._woken.close()
        self._wake.close()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(signal.Signals(number))

    def _empty(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
