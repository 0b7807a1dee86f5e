"""``edgecache explain`` and ``edgecache scan`` against the real admin listener: what they print, and how they end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecache.cli.explained import WIDTH, lines
from edgecache.cli.main import main
from edgecache.edges.siblings import Siblings
from edgecache.edges.tokens import Scope, Token, digest_of
from edgecache.purging.local import LocalLedger
from edgecache.semantics.explanation import Explanation, Outlook, Step
from tests.edges.purging import SECRET, STARTED, LostLog, SilentPeer, admin, running
from tests.semantics.build import request, store
from tests.semantics.build import response as answer

URL = "http://shop.example/a.css"


def edgecache(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, run in this process."""
    nowhere = {"XDG_RUNTIME_DIR": "", "HOME": "", "EDGECACHE_ADMIN": "", "EDGECACHE_TOKEN": ""}
    result = CliRunner().invoke(main, arguments, env={**nowhere, **environ})
    return result.exit_code, result.stdout, result.stderr


def environ_for(addresses: list[object]) -> dict[str, str]:
    ((host, port, *_),) = addresses  # type: ignore[misc]
    return {"EDGECACHE_ADMIN": f"http://{host}:{port}", "EDGECACHE_TOKEN": SECRET}


def poison(target: str = "/a.js") -> object:
    head = answer("Cache-Control: max-age=60", "Content-Type: text/html")
    return store(head, of=request(target=target), at=STARTED)


@pytest.fixture(scope="module")
def environ() -> Iterator[dict[str, str]]:
    with running(admin()) as addresses:
        yield environ_for(addresses)


def test_it_tells_what_a_request_would_meet(environ: dict[str, str]) -> None:
    code, output, errors = edgecache("explain", URL, "-H", "Accept: text/css", **environ)
    assert (code, errors) == (0, "")
    assert output.startswith(f"GET {URL}\nat 2025-11-23T00:40:00Z, in process ")
    assert "\nnow       forwarded to the origin: uri-miss\n" in output


def test_json_is_the_answer_itself(environ: dict[str, str]) -> None:
    code, output, errors = edgecache("explain", URL, "-X", "HEAD", "--json", **environ)
    told = json.loads(output)
    assert (code, errors, told["method"], told["key"]) == (0, "", "HEAD", URL)


@pytest.mark.parametrize("command", [("explain", URL), ("scan", "--poisoned")])
def test_when_no_edge_answers(command: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, output, errors = edgecache(*command, "--admin", url)
    assert (code, output) == (3, "")
    assert errors == f"edgecache: no edge answers at {url}: Connection refused\n"


@pytest.mark.parametrize("command", [("explain", URL), ("scan", "--poisoned")])
def test_without_a_token_it_is_told_what_to_do(environ: dict[str, str], command: tuple[str, ...]) -> None:
    code, output, errors = edgecache(*command, **{**environ, "EDGECACHE_TOKEN": ""})
    assert (code, output) == (1, "")
    assert errors.startswith("edgecache: this needs a bearer token that is known here; set EDGECACHE_TOKEN, or ")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("explain", "shop.example/a"), 1, "edgecache: url: malformed request target; write http://example.com/path"),
        (("explain", URL, "-H", "nonsense"), 1, "edgecache: header: write Name: value"),
        (("explain",), 2, "Missing argument 'URL'"),
        (("explain", f"{URL}?{'x' * 9000}"), 2, "the URL and the fields are too long to be asked about"),
        (("scan",), 2, "what to look for is not given; there is --poisoned"),
    ],
)
def test_what_cannot_be_asked(environ: dict[str, str], command: tuple[str, ...], code: int, message: str) -> None:
    found, output, errors = edgecache(*command, **environ)
    assert (found, output) == (code, "")
    assert message in errors


@pytest.mark.parametrize(
    ("ledger", "arguments", "code", "says"),
    [
        (LocalLedger(), (), 1, ""),
        (LocalLedger(), ("--purge",), 0, ""),
        (SilentPeer(), ("--purge",), 4, "not purged everywhere, as far as is known; scan again (far:1:ab is silent)"),
        (LostLog(), ("--purge",), 4, "not purged everywhere, as far as is known; scan again (the purge log cannot"),
    ],
    ids=["found", "purged", "partial", "unconfirmed"],
)
def test_how_a_scan_ends(ledger: LocalLedger, arguments: tuple[str, ...], code: int, says: str) -> None:
    with running(admin(ledger=ledger, stored=[poison()])) as addresses:  # type: ignore[list-item]
        found, output, errors = edgecache("scan", "--poisoned", *arguments, **environ_for(addresses))
    assert (found, output.startswith("1 stored responses looked at, 1 suspected\n")) == (code, True)
    assert says in errors


def test_a_scan_of_more_than_one_purge_takes_is_no_success() -> None:
    many = [poison(f"/{number}.js") for number in range(1001)]
    with running(admin(stored=many)) as addresses:  # type: ignore[arg-type]
        code, output, errors = edgecache("scan", "--poisoned", "--purge", **environ_for(addresses))
        assert (code, errors) == (1, "edgecache: scan again: more was found than one purge takes\n")
        assert "and 1 more\n" in output
        assert edgecache("scan", "--poisoned", "--purge", **environ_for(addresses))[0] == 0


def test_what_nobody_looked_at_is_no_success(tmp_path: Path) -> None:
    siblings = Siblings(lambda: [tmp_path / "1-2.sock"])
    with running(admin(siblings=siblings)) as addresses:
        code, output, errors = edgecache("scan", "--poisoned", **environ_for(addresses))
    assert (code, errors) == (1, "edgecache: not everything was looked at\n")
    assert output == "0 stored responses looked at, 0 suspected\nnot looked at: 1-2\n"


def test_a_token_with_limits_is_told_them() -> None:
    limited = Token("ci", digest_of(SECRET), Scope(hosts=("blog.example",)))
    with running(admin(limited)) as addresses:
        code, _, errors = edgecache("explain", URL, **environ_for(addresses))
    assert (code, errors) == (1, "edgecache: the token ci may not look at shop.example\n")


def test_it_needs_no_server_to_be_imported() -> None:
    program = "import sys, edgecache.cli.main; print('aiohttp' in sys.modules, 'redis' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False False\n"


def test_a_terminal_obeys_nothing_and_no_line_is_too_long() -> None:
    outlook = Outlook(when="2027-01-15T08:00:00.000Z", action="forward", reason="uri-miss", explanation="word " * 60)
    told = Explanation(
        method="GET",
        url="http://shop.example/",
        now="2027-01-15T08:00:00.000Z",
        process=1,
        workers=2,
        key="k",
        steps=(Step(what="field", value="x: \x1b[2J", detail="long " * 60, source="a rule (shop.toml:1)"),),
        rules=(),
        unkeyed=(),
        stored=(),
        sequence=0,
        shared=True,
        latest=None,
        present=outlook,
        later=outlook,
        tested="",
        tests=(),
        reach=(),
        advice="advice " * 60,
    )
    text = list(lines(told))
    assert "\x1b" not in "".join(text)
    assert max(map(len, text)) <= WIDTH
    assert text[1] == (
        "at 2027-01-15T08:00:00Z, in process 1, 1 of 2 workers: the others may hold something else; Redis"
    )
