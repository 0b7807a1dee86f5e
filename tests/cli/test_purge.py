"""``edgecache purge`` against the real admin listener: what it sends, what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgecache.cli.main import main
from edgecache.edges.token_file import LocalToken
from edgecache.edges.tokens import Scope, Token, digest_of
from edgecache.errors import StoreError
from edgecache.purging.local import LocalLedger
from tests.edges.purging import EVERYTHING, SECRET, LostLog, Rests, SilentPeer, admin, erasing, purges, running
from tests.stores.contract import response

COMMAND = (sys.executable, "-m", "edgecache.cli.main")


def edgecache(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``edgecache purge``, run in this process."""
    nowhere = {"XDG_RUNTIME_DIR": "", "HOME": "", "EDGECACHE_ADMIN": "", "EDGECACHE_TOKEN": ""}
    result = CliRunner().invoke(main, ["purge", *arguments], env={**nowhere, **environ})
    return result.exit_code, result.stdout, result.stderr


def environ_for(addresses: list[object]) -> dict[str, str]:
    ((host, port, *_),) = addresses  # type: ignore[misc]
    return {"EDGECACHE_ADMIN": f"http://{host}:{port}", "EDGECACHE_TOKEN": SECRET}


@pytest.fixture(scope="module")
def environ() -> Iterator[dict[str, str]]:
    with running(admin()) as addresses:
        yield environ_for(addresses)


def test_a_purge_prints_what_matched_and_who_confirmed() -> None:
    with running(admin()) as addresses:
        code, output, errors = edgecache("--tag", "list", **environ_for(addresses))
    assert (code, errors) == (0, "")
    pattern = (
        r"confirmed: 2 stored responses matched here\n"
        r"  http://shop\.example/p/42\n"
        r"  http://shop\.example/p/43\?a=1\n"
        r"purge 1, id [0-9a-f]{16}, after 0 ms\n"
        r"  \S+:\d+  applied  0 ms\n"
    )
    assert re.fullmatch(pattern, output), output


@pytest.mark.parametrize(
    ("arguments", "matched"),
    [
        (("http://shop.example/p/42",), 1),
        (("http://shop.example/p/42", "https://blog.example"), 2),
        (("--tag", "product:42", "--tag", "post:1"), 2),
        (("--prefix", "/p"), 2),
        (("--prefix", "shop.example/p", "--host", "blog.example"), 3),
        (("--pattern", "/p/*"), 2),
        (("--regex", "^shop.*43"), 1),
        (("--expr", "list & !product:42"), 1),
        (("--all",), 3),
        (("--all", "--soft"), 3),
        (("--tag", "absent"), 0),
    ],
)
def test_what_is_meant(environ: dict[str, str], arguments: tuple[str, ...], matched: int) -> None:
    code, output, _ = edgecache("--dry-run", *arguments, **environ)
    assert code == 0
    assert output.startswith(f"dry run: {matched} stored response{'' if matched == 1 else 's'} matched here\n")


def test_a_soft_purge_is_soft() -> None:
    ledger = LocalLedger()
    with running(admin(ledger=ledger)) as addresses:
        before = ledger.birth()
        assert edgecache("--all", "--soft", **environ_for(addresses))[0] == 0
    assert ledger.verdict_of(before, "http://shop.example/").value == "stale"


def test_json_is_the_answer_itself(environ: dict[str, str]) -> None:
    code, output, errors = edgecache("--all", "--json", **environ)
    assert (code, errors) == (0, "")
    reply = json.loads(output)
    assert (reply["state"], reply["matched"], len(reply["workers"])) == ("confirmed", 3, 1)


def test_too_few_matched_is_a_failure(environ: dict[str, str]) -> None:
    code, output, errors = edgecache("--tag", "list", "--min-matched", "3", **environ)
    assert (code, errors) == (1, "edgecache: 2 matched, fewer than 3\n")
    assert output.startswith("confirmed: 2 ")
    assert edgecache("--tag", "list", "--min-matched", "2", **environ)[0] == 0
    assert edgecache("--tag", "list", "--min-matched", "3", "--dry-run", **environ)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "errors"),
    [
        ((), 4, "edgecache: not confirmed everywhere\n"),
        (("--wait", "3"), 5, "edgecache: not confirmed everywhere within 3 s\n"),
        (("--wait", "0"), 5, "edgecache: not confirmed everywhere within 0 s\n"),
        (("--min-matched", "9"), 4, "edgecache: not confirmed everywhere\n"),
    ],
)
def test_what_not_everybody_confirmed_is_no_success(arguments: tuple[str, ...], code: int, errors: str) -> None:
    with running(admin(ledger=SilentPeer())) as addresses:
        found, output, said = edgecache("--all", *arguments, **environ_for(addresses))
    assert (found, said) == (code, errors)
    assert output.splitlines()[-1].split() == ["far:1:ab", "MISSING"]


def test_what_is_not_in_the_log_is_not_confirmed() -> None:
    with running(admin(ledger=LostLog())) as addresses:
        code, output, errors = edgecache("--all", **environ_for(addresses))
    assert code == 4
    assert output.startswith("unconfirmed: 3 ")
    assert errors == "edgecache: not purged, as far as is known; purge again (the purge log cannot be used)\n"


# Erasing.


def erased(*arguments: str, rests: Rests, **more: Any) -> tuple[int, str, str]:
    with running(admin(made=purges(erasures=erasing(rests), **more))) as addresses:
        return edgecache("--host", "shop.example", "--erase", *arguments, **environ_for(addresses))


def test_erasing_is_waited_for() -> None:
    rests = Rests(response(uri="http://shop.example/"), response(uri="http://blog.example/"))
    code, output, errors = erased(rests=rests)
    assert (code, errors) == (0, "")
    assert output.splitlines()[-1] == "erasing done: 3 keys looked at, 1 response erased"
    assert [one.uri for one in rests.left] == ["http://blog.example/"]


def test_json_has_the_erasure_as_it_ended() -> None:
    code, output, errors = erased("--json", rests=Rests(response(uri="http://shop.example/")))
    assert (code, errors) == (0, "")
    reply = json.loads(output)
    assert (reply["state"], reply["erasure"]["state"], reply["erasure"]["erased"]) == ("confirmed", "done", 1)
    assert reply["erasure"]["id"] == reply["id"]


def test_where_there_is_no_redis_it_is_said(environ: dict[str, str]) -> None:
    code, output, _ = edgecache("--all", "--erase", **environ)
    assert code == 0
    assert output.splitlines()[-2:] == ["erasing done: 0 keys looked at, 0 responses erased", "  there is no Redis"]


def test_what_was_purged_and_not_erased_is_a_failure() -> None:
    rests = Rests(response())
    rests.fails = StoreError("the server is away")
    code, output, errors = erased(rests=rests)
    assert (code, output.splitlines()[-1][:14]) == (1, "erasing failed")
    assert errors == "edgecache: purged, but not erased: the server is away; purge again with erase\n"


def test_an_erasure_that_takes_longer_than_is_waited_goes_on() -> None:
    rests = Rests(response())
    rests.go.clear()
    code, output, errors = erased("--wait", "0", rests=rests)
    assert (code, errors) == (5, "edgecache: purged, but not erased within 0 s; it goes on\n")
    assert output.splitlines()[-1].startswith("erasing running: 0 keys looked at")


def test_what_is_not_confirmed_is_told_after_the_erasing() -> None:
    code, output, errors = erased(rests=Rests(response()), ledger=SilentPeer())
    assert (code, errors) == (4, "edgecache: not confirmed everywhere\n")
    assert "  not confirmed by far:1:ab: what they still write may stay" in output


@pytest.mark.parametrize(("option", "error"), [("--soft", "hard purges only"), ("--dry-run", "erases nothing")])
def test_what_cannot_be_erased(environ: dict[str, str], option: str, error: str) -> None:
    code, output, errors = edgecache("--all", "--erase", option, **environ)
    assert (code, output) == (1, "")
    assert error in errors


# Who may.


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_without_a_token_it_is_told_what_to_do(environ: dict[str, str], arguments: tuple[str, ...]) -> None:
    code, output, errors = edgecache("--all", *arguments, **{**environ, "EDGECACHE_TOKEN": ""})
    assert (code, output) == (1, "")
    assert errors == (
        "edgecache: this needs a bearer token that is known here; set EDGECACHE_TOKEN, or ask as the user of the "
        "edge, on its machine\n"
    )


def test_a_wrong_token_is_refused_and_not_repeated(environ: dict[str, str]) -> None:
    code, output, errors = edgecache("--all", "--token", "wrong", **environ)
    assert (code, output, errors) == (1, "", "edgecache: this needs a bearer token that is known here\n")


def test_an_option_goes_before_the_environment(environ: dict[str, str]) -> None:
    assert edgecache("--all", "--token", SECRET, **{**environ, "EDGECACHE_TOKEN": "wrong"})[0] == 0
    elsewhere = {**environ, "EDGECACHE_ADMIN": "http://127.0.0.1:1"}
    assert edgecache("--all", "--admin", environ["EDGECACHE_ADMIN"], **elsewhere)[0] == 0


def test_a_token_with_limits_is_told_them() -> None:
    blog = Token("blog", digest_of("b"), Scope(hosts=("blog.example",)))
    with running(admin(EVERYTHING, blog)) as addresses:
        environ = {**environ_for(addresses), "EDGECACHE_TOKEN": "b"}
        assert edgecache("http://blog.example/", **environ)[0] == 0
        code, _, errors = edgecache("http://blog.example/", "http://shop.example/", **environ)
    assert code == 1
    assert errors == "edgecache: the token blog may not purge url:shop.example/: its hosts are blog.example\n"


def test_on_the_edge_s_machine_its_user_needs_no_token(tmp_path: Path) -> None:
    local = LocalToken({"HOME": str(tmp_path)})
    with running(admin(local.token)) as addresses:
        environ = {**environ_for(addresses), "EDGECACHE_TOKEN": "", "HOME": str(tmp_path)}
        assert edgecache("--all", **environ)[0] == 1
        local.write(addresses)
        assert edgecache("--all", **environ)[0] == 0
        local.remove()
        assert edgecache("--all", **environ)[0] == 1


def test_over_a_socket_in_the_file_system_too(tmp_path: Path) -> None:
    local, path = LocalToken({"HOME": str(tmp_path)}), tmp_path / "admin.sock"
    with running(admin(local.token), path) as addresses:
        local.write(addresses)
        code, output, errors = edgecache("--all", EDGECACHE_ADMIN=f"unix:{path}", HOME=str(tmp_path))
    assert (code, errors) == (0, "")
    assert output.startswith("confirmed: 3 ")


# What goes wrong.


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "nothing to purge is given; everything is --all"),
        (("--soft",), "nothing to purge is given"),
        (("--all", "--wait", "601"), "--wait"),
        (("--all", "--wait", "-1"), "--wait"),
        (("--all", "--min-matched", "x"), "--min-matched"),
        (("--all", "--admin", "127.0.0.1:8081"), "is not http://HOST:PORT"),
        (("--all", "--admin", "ftp://a"), "is not http://HOST:PORT"),
        (("--all", "--admin", "http://"), "is not http://HOST:PORT"),
        (("--all", "--admin", "http://a:b"), "Port could not be cast"),
        (("--all", "--admin", "unix:sock"), "is not http://HOST:PORT"),
        (("--all", "--token", "two words"), "the token holds characters that cannot be sent"),
        (("--all", "--tga", "x"), "No such option"),
    ],
)
def test_what_is_wrong_on_the_command_line_exits_2(arguments: tuple[str, ...], error: str) -> None:
    code, output, errors = edgecache(*arguments)
    assert (code, output) == (2, "")
    assert error in errors
    assert "two words" not in errors


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("http://shop.example/#top",), "url, character 21: a fragment; leave it out"),
        (("--tag", ""), "a tag has at least one character"),
        (("--host", "/a"), "at `$.selectors[0]`"),
    ],
)
def test_what_the_edge_cannot_read_is_told_with_a_hint(
    environ: dict[str, str], arguments: tuple[str, ...], error: str
) -> None:
    code, output, errors = edgecache(*arguments, **environ)
    assert (code, output) == (1, "")
    assert error in errors


def test_where_no_edge_answers_it_exits_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for address in (f"http://127.0.0.1:{port}", f"unix:{tmp_path}/absent"):
        code, output, errors = edgecache("--all", EDGECACHE_ADMIN=address)
        assert (code, output) == (3, "")
        assert errors.startswith(f"edgecache: no edge answers at {address}: ")


ANSWERS = [
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", 3, "is not the admin listener of an edge"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 3, "is not the admin listener of an edge"),
    (b"HTTP/1.1 200 OK\r\n\r\n" + b'{"x":' + b"[" * 100_000, 3, "is not the admin listener of an edge"),
    (b"HTTP/1.1 200 OK\r\n\r\n\xff", 3, "is not the admin listener of an edge"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", 3, "broke off before it answered"),
    (b"220 smtp.example ESMTP\r\n", 3, "broke off before it answered"),
    (b"", 3, "broke off before it answered"),
]


@pytest.mark.parametrize(("answer", "code", "error"), ANSWERS)
def test_what_is_no_edge_is_told_apart(answer: bytes, code: int, error: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as request:
                length = 0
                for line in iter(request.readline, b"\r\n"):
                    length = int(line.partition(b":")[2]) if line.lower().startswith(b"content-length") else length
                request.read(length)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        found, output, errors = edgecache("--all", EDGECACHE_ADMIN=f"http://127.0.0.1:{port}")
        thread.join()
    assert (found, output) == (code, "")
    assert error in errors


class Hostile(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        reply = {
            "id": "\x1b[2J",
            "state": "confirmed",
            "sequence": 1,
            "matched": 12,
            "sample": ["http://h/\x1b]0;owned\x07"],
            "workers": [{"worker": "a\nb", "applied": True, "milliseconds": None}],
            "waited_ms": 0,
            "detail": "cut\tshort",
            "uncounted": ["1-0", "\x1b[1m"],
            "unknown": [],
        }
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    with HTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        code, output, _ = edgecache("--all", EDGECACHE_ADMIN=f"http://127.0.0.1:{server.server_port}/edge/")
        thread.join()
    assert code == 0
    assert output.splitlines() == [
        "confirmed: 12 stored responses matched here",
        "  http://h/\\x1b]0;owned\\x07",
        "  and 11 more",
        "not counted: 1-0, \\x1b[1m",
        "cut\\x09short",
        "purge 1, id \\x1b[2J, after 0 ms",
        "  a\\x0ab  applied",
    ]


def test_it_needs_no_server_to_be_imported(environ: dict[str, str]) -> None:
    program = (
        "import sys, edgecache.cli.main as cli\n"
        "try: cli.main(['purge', '--all', '--json'])\n"
        "except SystemExit as end: sys.exit('aiohttp' in sys.modules or end.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, env={**environ, "PATH": "/bin"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["state"] == "confirmed"
