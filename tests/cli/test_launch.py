"""The program as people start it: the banner, a request, and how it ends. Real processes, ephemeral ports."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-m", "edgecache.cli.main")
ANYWHERE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the edge; yield its process and its public URL, read from the banner."""
    with subprocess.Popen((*COMMAND, *arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            found = re.match(r"edgecache \S+: (\S+) in front of ", process.stderr.readline())
            assert found
            yield process, found[1]
        finally:
            process.kill()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_starts_answers_and_stops_with_its_site(told: signal.Signals) -> None:
    with started("demo", *ANYWHERE) as (process, url):
        with urlopen(f"{url}/lang") as response:
            assert response.status == 200
            assert response.headers["Cache-Status"].startswith("edgecache;")
        process.send_signal(told)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert '"GET /lang HTTP/1.1" 200' in output


def test_proxy_stands_in_front_of_an_origin(origin: str) -> None:
    with started("proxy", "--to", origin, "--access-log", "off", *ANYWHERE) as (_, url), urlopen(f"{url}/") as response:
        assert (response.read(), response.headers["Via"]) == (b"hello", "1.1 edgecache")


def test_proxy_serves_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "index.html").write_bytes(b"home")
    to = (tmp_path / "a b").as_uri()
    with started("proxy", "--to", to, "--access-log", "off", *ANYWHERE) as (_, url), urlopen(f"{url}/") as response:
        assert (response.read(), response.headers["Content-Type"]) == (b"home", "text/html; charset=utf-8")


def test_a_directory_that_is_not_there_is_told_plainly_and_exits_1(tmp_path: Path) -> None:
    command = (*COMMAND, "proxy", "--to", (tmp_path / "dist").as_uri(), *ANYWHERE)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"edgecache: {tmp_path}/dist: No such file or directory\n"
        "  fix: name a directory that this user may read, as in file:///srv/dist\n"
    )


def test_run_does_what_the_file_says(origin: str, tmp_path: Path) -> None:
    path = tmp_path / "edgecache.toml"
    path.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "127.0.0.1:0"\n[origin]\nurls = ["{origin}"]\n'
        '[cache]\nname = "near"\n'
    )
    with started("run", "-c", str(path)) as (_, url), urlopen(f"{url}/") as response:
        assert response.headers["Cache-Status"].startswith("near;")


def test_a_port_in_use_is_told_plainly_and_exits_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = (*COMMAND, "proxy", "--to", "http://127.0.0.1:1", "--listen", listen, "--admin", "127.0.0.1:0")
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert listen in done.stderr
    assert "Traceback" not in done.stderr
