"""The contract of a server under measurement.

Each of them is one class over the same ``Setup``: what it is asked to be in this case. It is started pinned to cores,
says which processes are its own, what they have used, what they hold, and is stopped. What it cannot do, it says in
``LACKS``, and is left out of the cases that need it; where the program is not installed, ``missing`` says what to
install.

Whoever is measured here gets the settings with which it is cheapest in these cases, short of what nobody would run;
which these are, and why, stands where they are written down, and in ``docs/performance.md``.
"""

from __future__ import annotations

import contextlib
import enum
import http.client
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.processes import cpu_seconds, descendants, free_port, resident_bytes, running, wait_for_port

__all__ = ["Need", "Server", "Setup", "is_program"]

_MIB: Final = 1024 * 1024


class Need(enum.StrEnum):
    """What not everybody can do."""

    RANGE = "ranges of what is stored"
    TLS = "TLS"
    PURGE = "purges by tag"
    SECOND_TIER = "a second tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a server is asked to be.

    Attributes:
        origin: port of the origin on 127.0.0.1.
        directory: its own, in memory: configuration, logs, what is stored.
        core: cores it may use, as ``taskset`` takes them.
        workers: processes or threads that serve.
        certificate: PEM file with key and certificate; None speaks plain HTTP.
        access_log: whether each request is a line in a file.
        memory: for what is stored, bytes.
        largest: largest body that is stored, bytes.
        second_tier: whether there is Redis behind memory.
        conditional: whether clients ask with conditions.
    """

    origin: int
    directory: Path
    core: str = ""
    workers: int = 1
    certificate: Path | None = None
    access_log: bool = False
    memory: int = 1024 * _MIB
    largest: int = _MIB
    second_tier: bool = False
    conditional: bool = False


class Server:
    """A server under measurement; used with ``with running_server(...)``."""

    NAME: ClassVar[str]
    PACKAGE: ClassVar[str]
    LACKS: ClassVar[frozenset[Need]] = frozenset()
    GROWS: ClassVar[bool] = True
    """Whether it takes memory as it needs it, so that what objects take can be seen from outside."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.port = free_port()
        self.log = setup.directory / "output.log"
        self._roots: list[int] = []

    @classmethod
    def missing(cls) -> str:
        """Return what has to be installed; empty when it is there."""
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        """Return what the program says about itself, one line."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Write the configuration, and return the command that runs the server in the foreground."""
        raise NotImplementedError

    def companions(self) -> list[list[str]]:
        """Return commands of programs that belong to it, once it runs; theirs is its time."""
        return []

    def environ(self) -> dict[str, str]:
        """Return what its environment has beside ours."""
        return {}

    def purge(self, tag: str) -> None:
        """Purge what has a tag, and return when that is confirmed."""
        raise NotImplementedError

    def stored_bytes(self) -> int:
        """Return what it holds in files."""
        return 0

    @contextlib.contextmanager
    def started(self) -> Iterator[Server]:
        """Run it until the end of the block."""
        with contextlib.ExitStack() as stack:
            options = {"log": self.log, "core": self.setup.core, "environ": self.environ()}
            pid = stack.enter_context(running(self.command(), **options))  # type: ignore[arg-type]
            self._roots = [pid]
            wait_for_port(self.port, pid, self.log)
            for command in self.companions():
                self._roots.append(stack.enter_context(running(command, **options)))  # type: ignore[arg-type]
            yield self

    @property
    def pids(self) -> list[int]:
        """Return all its processes."""
        return [pid for root in self._roots for pid in descendants(root)]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far."""
        return cpu_seconds(self.pids)

    def memory(self) -> int:
        """Return what it holds in memory, files in memory included, bytes."""
        return resident_bytes(self.pids) + self.stored_bytes()


def is_program(name: str) -> bool:
    """Return whether a program is installed; servers are, where users seldom look."""
    return shutil.which(name, path=_PATH) is not None


_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def located(name: str) -> str:
    """Return the path of a program that is installed."""
    found = shutil.which(name, path=_PATH)
    assert found is not None, name
    return found


def first_line(*command: str) -> str:
    """Return the first line of what a command says, wherever it says it."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).strip().partition("\n")[0]


def exchange(port: int, method: str, target: str, fields: dict[str, str], body: str | None = None) -> int:
    """Send one request on a connection of its own, and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, target, body, fields)
        response = connection.getresponse()
        response.read()
        return response.status
