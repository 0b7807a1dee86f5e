"""Purging as people and pipelines do it: the real program, its own command, and the examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest

from tests.cli.test_launch import COMMAND, started
from tests.ports import free_port

SCRIPT: Final = Path(__file__).parents[2] / "examples" / "pipelines" / "purge-after-deploy.sh"


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """An environment with the command on its path and a home of its own; the edge gets the same home."""
    command = tmp_path / "bin" / "edgecache"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgecache.cli.main "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_RUNTIME_DIR", "EDGECACHE_ADMIN", "EDGECACHE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "EDGECACHE_TRIES": "1"}


@pytest.fixture
def edge(environ: Mapping[str, str], origin: str) -> Iterator[tuple[str, str]]:
    """A running edge: its public URL and that of its admin listener."""
    admin = f"127.0.0.1:{free_port()}"
    arguments = ("--access-log", "off", "--listen", "127.0.0.1:0", "--admin", admin)
    with started("proxy", "--to", origin, *arguments) as (_, url):
        yield url, f"http://{admin}"


def run(*command: str, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environ)
    return done.returncode, done.stdout, done.stderr


def is_hit(url: str) -> bool:
    """Request a page; return whether it came from the store."""
    with urlopen(url) as response:
        return "hit" in response.headers["Cache-Status"]


def test_the_command_purges_a_running_edge_without_being_told_a_token(
    edge: tuple[str, str], environ: Mapping[str, str]
) -> None:
    url, admin = edge
    assert [is_hit(f"{url}/a"), is_hit(f"{url}/a")] == [False, True]
    code, output, errors = run(*COMMAND, "purge", f"{url}/a", "--admin", admin, **environ)
    assert (code, errors) == (0, "")
    assert output.startswith(f"confirmed: 1 stored response matched here\n  {url}/a\npurge 1, id ")
    assert not is_hit(f"{url}/a")


def test_the_script_ends_as_the_purge_did(edge: tuple[str, str], environ: Mapping[str, str]) -> None:
    url, admin = edge
    is_hit(f"{url}/a")
    with_admin = {**environ, "EDGECACHE_ADMIN": admin}
    code, output, _ = run(str(SCRIPT), "--prefix", "/a", **with_admin)
    assert (code, output.partition(":")[0]) == (0, "confirmed")
    assert not is_hit(f"{url}/a")
    code, _, errors = run(str(SCRIPT), "--tag", "absent", **with_admin)
    assert (code, errors) == (1, "edgecache: 0 matched, fewer than 1\n")
    assert run(str(SCRIPT), "--tag", "absent", **with_admin, EDGECACHE_MIN_MATCHED="0")[0] == 0
    assert run(str(SCRIPT), "--tag", "a", **with_admin, EDGECACHE_TOKEN="wrong")[0] == 1
    assert run(str(SCRIPT), **with_admin)[0] == 2
    assert run(str(SCRIPT), "--tga", "a", **with_admin)[0] == 2


def test_the_script_fails_when_no_edge_answers(environ: Mapping[str, str]) -> None:
    code, output, errors = run(str(SCRIPT), "--all", **environ, EDGECACHE_ADMIN=f"http://127.0.0.1:{free_port()}")
    assert (code, output) == (3, "")
    assert "no edge answers" in errors


def test_what_the_action_is_given_reaches_the_command_as_it_is(
    edge: tuple[str, str], environ: Mapping[str, str]
) -> None:
    action = (SCRIPT.parent / "github-action" / "action.yml").read_text("utf-8")
    found = re.search(r"run: \|\n((?: {8}.*\n)+)\Z", action)
    assert found
    step = re.sub(r"^ {8}", "", found[1], flags=re.MULTILINE)
    given = {"EDGECACHE_ADMIN": edge[1], "EDGECACHE_MIN_MATCHED": "0", "EDGECACHE_WAIT": "9"}
    what = {
        "WHAT": "--tag\nan $(exit 7) odd; tag\n\n--dry-run\n",
        "GITHUB_ACTION_PATH": str(SCRIPT.parent / "github-action"),
    }
    code, output, errors = run("bash", "-e", "-o", "pipefail", "-c", step, **{**environ, **given, **what})
    assert (code, output, errors) == (0, "dry run: 0 stored responses matched here\n", "")
    assert run("bash", "-e", "-c", step, **{**environ, **given, **what, "WHAT": ""})[0] == 2


def test_the_token_is_gone_with_the_edge(tmp_path: Path, environ: Mapping[str, str], origin: str) -> None:
    admin = f"127.0.0.1:{free_port()}"
    with started("proxy", "--to", origin, "--listen", "127.0.0.1:0", "--admin", admin) as (process, _):
        (token,) = (tmp_path / ".cache" / "edgecache").glob("*.token")
        assert token.name == f"{admin}.token"
        secret = token.read_text()
        run(*COMMAND, "purge", "--all", **environ, EDGECACHE_ADMIN=f"http://{admin}")
        process.terminate()
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "edgecache.audit: purge id=" in errors
    assert secret not in output + errors
    assert not token.exists()
