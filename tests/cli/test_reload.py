"""``edgecache reload`` against edges that run as people run them: what it says, and its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_launch import COMMAND, started


def reload(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Return exit code, output, and errors."""
    done = subprocess.run(
        (*COMMAND, "reload", *arguments), capture_output=True, text=True, timeout=30, env={**os.environ, **environ}
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def config(origin: str, tmp_path: Path, unused_tcp_port: int) -> Path:
    path = tmp_path / "edgecache.toml"
    path.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "127.0.0.1:{unused_tcp_port}"\n'
        f'[origin]\nurls = ["{origin}"]\n[log]\naccess = "off"\n[cache]\nname = "near"\n'
    )
    return path


def test_it_says_what_became_of_it(config: Path, unused_tcp_port: int) -> None:
    admin = f"http://127.0.0.1:{unused_tcp_port}"
    with started("run", "-c", str(config)) as (process, _):
        taken = (0, "reloaded: configuration 2 is in service\n", "")
        assert reload("--admin", admin) == taken
        assert reload("-c", str(config))[:2] == (0, "reloaded: configuration 3 is in service\n")
        assert reload("--pid", str(process.pid))[:2] == (0, "reloaded: configuration 4 is in service\n")
        assert reload(EDGECACHE_ADMIN=admin)[:2] == (0, "reloaded: configuration 5 is in service\n")
        config.write_text(config.read_text() + "memroy = 1\n")
        code, output, errors = reload("--admin", admin)
        assert (code, output) == (1, "")
        assert "did you mean memory?" in errors
        assert errors.endswith("not reloaded, the configuration before it stays in service\n")
        assert reload("-c", str(config))[0] == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert reload("--admin", admin)[0] == 3
    assert reload("--pid", str(process.pid))[0] == 3


def test_nobody_is_signalled_who_is_no_edge() -> None:
    with subprocess.Popen(("sleep", "60")) as bystander:
        code, output, errors = reload("--pid", str(bystander.pid))
        assert bystander.poll() is None
        bystander.kill()
    assert (code, output) == (3, "")
    assert errors == f"edgecache: no edge of this user runs as process {bystander.pid}\n"


@pytest.mark.parametrize(
    "arguments",
    [("--pid", "0"), ("--pid", "1", "-c", "x.toml"), ("-c", "no-such-file.toml"), ("surplus",)],
)
def test_misuse(arguments: tuple[str, ...]) -> None:
    assert reload(*arguments)[0] == 2


def test_a_port_that_the_system_chose_cannot_be_looked_up(config: Path, unused_tcp_port: int) -> None:
    config.write_text(config.read_text().replace(f":{unused_tcp_port}", ":0"))
    code, _, errors = reload("-c", str(config))
    assert code == 2
    assert "--pid" in errors


def test_proxy_reads_its_options_again(origin: str) -> None:
    arguments = ("proxy", "--to", origin, "--access-log", "off", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with started(*arguments) as (process, _):
        assert reload("--pid", str(process.pid))[:2] == (0, "reloaded: configuration 2 is in service\n")
