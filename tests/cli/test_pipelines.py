"""Purging as people and pipelines do it: the real program, its own command, and the examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar, Final
from urllib.request import urlopen

import pytest

from tests.cli.conftest import served
from tests.cli.test_launch import COMMAND, started
from tests.ports import free_port
from tests.scenarios.builds import Build, release_of

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


# Deploying.


class Application(BaseHTTPRequestHandler):
    """A site that runs the release in one file, and has the assets of those that another one lists."""

    directory: ClassVar[Path]

    def do_GET(self) -> None:
        build = Build((self.directory / "runs").read_text().strip())
        assets: dict[str, bytes] = {}
        for uploaded in (self.directory / "uploaded").read_text().split():
            assets |= Build(uploaded).names()
        if self.path in assets:
            self._answer(200, "text/javascript", assets[self.path])
        elif self.path == "/":
            self._answer(200, "text/html", build.page("/"), build.release)
        else:
            self._answer(404, "text/plain", b"")

    def _answer(self, status: int, media_type: str, body: bytes, release: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Cache-Control", "max-age=600")
        if release:
            self.send_header("Edgecache-Release", release)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def deployed(tmp_path: Path, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A site of release v41 behind an edge, and the environment of a pipeline that deploys v42 to it."""
    for name in ("runs", "uploaded"):
        (tmp_path / name).write_text("v41")
    manifest = {name: {"file": name[1:], "src": name} for name in Build("v42").names()}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    handler = type("Here", (Application,), {"directory": tmp_path})
    admin = f"127.0.0.1:{free_port()}"
    with served(handler) as origin:
        (tmp_path / "edgecache.toml").write_text(
            f'[server]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "{admin}"\n[origin]\nurls = ["{origin}"]\n'
            '[log]\naccess = "off"\n[[rule]]\nname = "pages"\nmatch = { extension = "" }\n'
            'set = { release = true, retain = "7d" }\n'
        )
        with started("run", "-c", str(tmp_path / "edgecache.toml")) as (_, url):
            given = {**environ, "EDGECACHE_ADMIN": f"http://{admin}", "SITE": url, "BASE": "/"}
            run(*COMMAND, "deploy", "activate", "v41", "--force", **given)
            given["UPLOAD"] = f'printf " $RELEASE" >> {tmp_path}/uploaded'
            given["SWITCH"] = f'printf "$RELEASE" > {tmp_path}/runs'
            given["RESTORE"] = f'printf "v41" > {tmp_path}/runs'
            yield given


def deploying(directory: Path, environ: Mapping[str, str], **more: str) -> tuple[int, str, str]:
    return run(str(SCRIPT.parent / "deploy.sh"), "v42", str(directory / "manifest.json"), **{**environ, **more})


def page(url: str) -> tuple[str, bool]:
    """Request the page; return the release it is of, and whether it came from the store."""
    with urlopen(f"{url}/") as response:
        return release_of(response.read()), "hit" in response.headers["Cache-Status"]


def status(environ: Mapping[str, str]) -> str:
    return run(*COMMAND, "deploy", "status", **environ)[1].splitlines()[0]


def test_a_release_is_deployed(tmp_path: Path, deployed: dict[str, str]) -> None:
    assert page(deployed["SITE"]) == ("v41", False)
    code, output, errors = deploying(tmp_path, deployed)
    assert (code, errors) == (0, "")
    told = [line for line in output.splitlines() if not line.startswith(("activation", "  "))]
    assert told == [
        "v42 ready: 2 URLs, 2 stored, 0 stored before, 0 missing",
        "confirmed: v41 is active and held",
        "v42 ready: 3 URLs, 1 stored, 2 stored before, 0 missing",
        "confirmed: v42 is active; before it: v41",
        "deploy.sh: v42 is deployed",
    ]
    assert page(deployed["SITE"]) == ("v42", True)


@pytest.mark.parametrize(
    ("broken", "code"),
    [({"VERIFY": "exit 9"}, 9), ({"SWITCH": "exit 8"}, 8), ({"PAGES": "/ /absent", "EDGECACHE_WAIT": "1"}, 5)],
)
def test_what_fails_is_gone_back_from(
    tmp_path: Path, deployed: dict[str, str], broken: dict[str, str], code: int
) -> None:
    assert page(deployed["SITE"]) == ("v41", False)
    found, _, errors = deploying(tmp_path, deployed, **broken)
    assert found == code
    assert "deploy.sh: going back from v42" in errors
    assert status(deployed).startswith("v41 is active")
    assert "held" not in status(deployed)
    assert page(deployed["SITE"]) == ("v41", True)


def test_an_origin_that_cannot_be_restored_leaves_the_release_held(tmp_path: Path, deployed: dict[str, str]) -> None:
    page(deployed["SITE"])
    code, _, errors = deploying(tmp_path, deployed, VERIFY="exit 9", RESTORE="exit 1")
    assert (code, "v41 stays held" in errors) == (9, True)
    assert status(deployed) == "v41 is active and held; before it: v42"
    assert page(deployed["SITE"]) == ("v41", True)


def test_what_is_not_there_changes_nothing(tmp_path: Path, deployed: dict[str, str]) -> None:
    code, output, errors = deploying(tmp_path, deployed, UPLOAD="true", EDGECACHE_WAIT="1")
    assert (code, "going back" in errors, "2 missing" in output) == (5, False, True)
    assert status(deployed) == "v41 is active"
    assert run(str(SCRIPT.parent / "deploy.sh"), "v42", **deployed)[0] == 2
