"""``edgecache deploy`` against the real admin listener: what it reads, sends, prints, and how it ends."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgecache.cli import deploy as command
from edgecache.cli.edge_client import FAILED, TIMED_OUT, UNCONFIRMED, UNREACHABLE
from edgecache.cli.main import main
from edgecache.edges.config_load import load
from edgecache.edges.tokens import Tokens
from edgecache.purging.local import LocalLedger
from edgecache.purging.receipt import Receipt, State, WorkerReceipt
from tests.edges.deploying import SITE, Engine, Out
from tests.edges.purging import EVERYTHING, SECRET, admin, deploys, running
from tests.ports import free_port

VITE = {
    "main.js": {"file": "assets/main-Dh9alFxD.js", "isEntry": True, "css": ["assets/main-B2a71xQz.css"]},
    "lazy.js": {"file": "assets/lazy-Du6otGov.js"},
}


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "POLL_SECONDS", 0.01)


def edgecache(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``edgecache deploy``, run in this process."""
    nowhere = {"XDG_RUNTIME_DIR": "", "HOME": "", "EDGECACHE_ADMIN": "", "EDGECACHE_TOKEN": ""}
    result = CliRunner().invoke(main, ["deploy", *arguments], env={**nowhere, **environ})
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def listening(engine: Engine | None = None, ledger: LocalLedger | None = None) -> Iterator[dict[str, str]]:
    """Run an admin listener; yield the environment that leads to it."""
    made = deploys(Tokens([EVERYTHING]), ledger or LocalLedger(), (engine or Engine()).handle)
    with running(admin(deploying=made)) as addresses:
        ((host, port, *_),) = addresses  # type: ignore[misc]
        yield {"EDGECACHE_ADMIN": f"http://{host}:{port}", "EDGECACHE_TOKEN": SECRET}


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(VITE), "utf-8")
    return str(path)


# Warming.


def test_what_a_manifest_lists_is_warmed(manifest: str) -> None:
    engine = Engine()
    with listening(engine) as environ:
        more = ("--asset", "/robots.txt", "--page", "/", "--page", "/shop")
        found = edgecache(
            "begin", "v42", "--manifest", manifest, "--base", "/build/", "--url", f"{SITE}/", *more, **environ
        )
    assert found == (0, "v42 ready: 6 URLs, 6 stored, 0 stored before, 0 missing\n", "")
    assert sorted(engine.targets) == [
        "/",
        "/build/assets/lazy-Du6otGov.js",
        "/build/assets/main-B2a71xQz.css",
        "/build/assets/main-Dh9alFxD.js",
        "/robots.txt",
        "/shop",
    ]
    assert {request.head.authority for request in engine.asked} == {"www.example.org"}


def test_what_is_missing_is_a_failure_and_named(manifest: str) -> None:
    with listening(Engine("/static/assets/main-Dh9alFxD.js")) as environ:
        code, output, errors = edgecache("begin", "v42", "--manifest", manifest, "--url", SITE, **environ)
        assert code == 1
        assert output == (
            "v42 failed: 3 URLs, 2 stored, 0 stored before, 1 missing\n"
            f"  {SITE}/static/assets/main-Dh9alFxD.js  404  status\n"
        )
        assert errors.endswith("edgecache: 1 of 3 are not there for v42\n")
        assert edgecache("status", "v42", **environ)[0] == 1
        code, _, errors = edgecache("activate", "v42", **environ)
        assert (code, errors.startswith("edgecache: 1 of 3 are not there for v42, such as")) == (1, True)
        assert edgecache("activate", "v42", "--force", **environ)[0] == 0


def test_of_many_that_are_missing_some_are_named() -> None:
    names = [f"/{number}.js" for number in range(120)]
    with listening(Engine(*names)) as environ:
        assets = [word for name in names for word in ("--asset", name)]
        code, output, _ = edgecache("begin", "v42", "--url", SITE, *assets, **environ)
    assert (code, output.count("status"), output.endswith("  and 20 more\n")) == (1, 100, True)


def test_json_is_what_the_edge_says(manifest: str) -> None:
    with listening() as environ:
        code, output, errors = edgecache("begin", "v42", "--manifest", manifest, "--url", SITE, "--json", **environ)
        assert (code, errors) == (0, "")
        said = json.loads(output)
        assert (said["state"], said["total"], said["failures"]) == ("ready", 3, [])
        assert json.loads(edgecache("status", "v42", "--json", **environ)[1]) == said
        assert json.loads(edgecache("status", "--json", **environ)[1])["deploys"] == [said]
        assert json.loads(edgecache("activate", "v42", "--json", **environ)[1])["release"]["name"] == "v42"


def test_it_goes_on_when_the_wait_is_over(manifest: str) -> None:
    engine = Engine()
    engine.go.clear()
    with listening(engine) as environ:
        begun = ("begin", "v42", "--manifest", manifest, "--url", SITE, "--wait", "0")
        code, output, errors = edgecache(*begun, **environ)
        assert (code, output.split(":")[0]) == (5, "v42 warming")
        assert errors == "edgecache: v42 is not warmed within 0 s; it goes on\n"
        code, output, _ = edgecache("status", "v42", **environ)
        assert (code, output) == (0, "v42 warming: 3 URLs, 0 stored, 0 stored before, 0 missing\n")
        assert edgecache("status", "v42", "--wait", "0", **environ)[0] == 5


def test_a_terminal_sees_a_bar(manifest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as environ, CliRunner().isolation(env={"XDG_RUNTIME_DIR": "", **environ}) as (output, errors, _):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        with pytest.raises(SystemExit) as ended:
            main(["deploy", "begin", "v42", "--manifest", manifest, "--url", SITE])
        shown, told = errors.getvalue().decode(), output.getvalue().decode()
    assert (ended.value.code, told) == (0, "v42 ready: 3 URLs, 3 stored, 0 stored before, 0 missing\n")
    assert "v42  [" in shown
    assert "100%" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("begin", "v42", "--url", SITE), 2, "nothing to warm is given"),
        (("begin", "v42", "--page", "/"), 2, "Missing option '--url'"),
        (("begin", "v42", "--url", SITE, "--manifest", "absent.json"), 1, "absent.json: cannot be read"),
        (("begin", "v42", "--url", "www.example.org", "--page", "/"), 1, "malformed request target - at `$.site`"),
        (("begin", "v 42", "--url", SITE, "--page", "/"), 1, "'v 42' is not the name of a release"),
        (("activate", "../purge"), 1, "'../purge' is not the name of a release"),
        (("status", "v43"), 1, "v43 was not begun here"),
        (("activate", "v43"), 1, "v43 was not begun here: begin it, or force the activation"),
        (("rollback", "v43"), 1, "there is no release to go back to from v43"),
        (("hold", "v43"), 1, "no release is active that could be held"),
        (("activate",), 2, "Missing argument 'NAME'"),
        (("activate", "v42", "--wait", "-1"), 2, "--wait"),
        (("activate", "v42", "--token", "a b"), 2, "the token holds characters that cannot be sent"),
        (("activate", "v42", "--token", "wrong"), 1, "this needs a bearer token that is known here"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], code: int, says: str) -> None:
    with listening() as environ:
        found, output, errors = edgecache(*arguments, **environ)
    assert (found, output) == (code, "")
    assert says in errors


@pytest.mark.parametrize(
    ("content", "says"),
    [("{}", "is not a build manifest: an empty object"), ('{"a.js": "a.js"}', "lists no versioned names")],
)
def test_a_manifest_that_names_nothing(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content, "utf-8")
    code, _, errors = edgecache("begin", "v42", "--manifest", str(path), "--url", SITE)
    assert (code, says in errors) == (1, True), errors


def test_no_edge() -> None:
    code, _, errors = edgecache("activate", "v42", EDGECACHE_ADMIN=f"http://127.0.0.1:{free_port()}")
    assert (code, "no edge answers" in errors) == (3, True)


# Switching.


def test_forward_and_back() -> None:
    with listening() as environ:

        def told(*arguments: str) -> list[str]:
            code, output, errors = edgecache(*arguments, **environ)
            assert (code, errors) == (0, "")
            return output.splitlines()

        assert told("status") == ["no release is active"]
        receipt = told("activate", "v41", "--force")
        assert receipt[0] == "confirmed: v41 is active"
        assert receipt[1] == "activation 1, after 0 ms"
        assert re.fullmatch(r"  \S+:\d+  applied  0 ms", receipt[2])
        assert told("hold", "v42")[0] == "confirmed: v41 is active and held"
        assert told("activate", "v42", "--force")[0] == "confirmed: v42 is active; before it: v41"
        assert told("rollback", "v42")[0] == "confirmed: v41 is active and held; before it: v42"
        assert told("rollback", "v42")[0] == "confirmed: v41 is active and held; before it: v42"
        assert told("activate", "v41")[0] == "confirmed: v41 is active; before it: v42"
        assert told("rollback", "v41", "--to", "v40")[0] == "confirmed: v40 is active and held; before it: v41"
        assert told("begin", "v43", "--url", SITE, "--page", "/")[0].startswith("v43 ready")
        assert told("status") == [
            "v40 is active and held; before it: v41",
            "v43 ready: 1 URL, 1 stored, 0 stored before, 0 missing",
        ]


class Silent(LocalLedger):
    """The ledger of a process whose only peer never says anything."""

    async def activate(self, name: str, *, held: bool = False, patience: float | None = None) -> Receipt:
        receipt = await super().activate(name, held=held)
        workers = (*receipt.workers, WorkerReceipt("far:1:ab", False))
        return Receipt(State.PARTIAL, receipt.sequence, receipt.epoch, workers, patience or 0.0, "far:1:ab is silent")


@pytest.mark.parametrize(
    ("ledger", "arguments", "code", "says"),
    [
        (Silent(), (), 4, "edgecache: not confirmed everywhere\n"),
        (Silent(), ("--wait", "3"), 5, "edgecache: not confirmed everywhere within 3 s\n"),
        (
            Out(),
            (),
            4,
            "edgecache: nothing was switched, as far as is known; try again (the purge log cannot be used)\n",
        ),
    ],
)
def test_what_is_not_confirmed(ledger: Any, arguments: tuple[str, ...], code: int, says: str) -> None:
    with listening(ledger=ledger) as environ:
        found, output, errors = edgecache("activate", "v42", "--force", *arguments, **environ)
    assert (found, errors) == (code, says)
    assert ("MISSING" in output) is isinstance(ledger, Silent)


# What is documented.


def test_the_documented_configuration_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deploys.md").read_text("utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "edgecache.toml"
    path.write_text(f'[origin]\nurls = ["http://127.0.0.1:8000"]\n{text}', "utf-8")
    config = load(str(path), environ={})
    (pages,) = (rule for rule in config.rules if rule.name == "pages")
    assert pages.settings == {"by_release": True, "retain": 7 * 86_400.0}


def test_the_documented_codes_are_those_of_the_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "deploys.md").read_text("utf-8")
    table = page.partition("| code | of `edgecache deploy` |")[2]
    codes = [int(code) for code in re.findall(r"^\| ([0-9]) \|", table, re.MULTILINE)]
    assert codes == [0, FAILED, 2, UNREACHABLE, UNCONFIRMED, TIMED_OUT]
