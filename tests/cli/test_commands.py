"""The command line: what is printed where, and the exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from edgecache import __version__
from edgecache.cli.launch import banner
from edgecache.cli.main import main
from edgecache.edges.config import Config, Origin, Server
from edgecache.edges.config_load import load
from edgecache.semantics.rules import Rule

SMALL = '[origin]\nurls = ["http://127.0.0.1:8000"]\n'
COMMAND = (sys.executable, "-m", "edgecache.cli.main")


def edgecache(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command, run in this process."""
    result = CliRunner().invoke(main, arguments, env=environ)
    return result.exit_code, result.stdout, result.stderr


def written(directory: Path, text: str) -> str:
    path = directory / "edgecache.toml"
    path.write_text(text, "utf-8")
    return str(path)


def test_check_says_ok(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    assert edgecache("check", "-c", path) == (0, f"{path}: ok\n", "")


def test_check_shows_every_mistake_with_its_line_and_its_remedy_and_exits_2(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL + '[cache]\n\tmemroy = "1GiB"\ngrace = "soon"\n')
    code, output, errors = edgecache("check", "-c", path)
    assert (code, output) == (2, "")
    assert errors == (
        f"{path}:4:2: unknown key memroy in [cache]\n"
        '    \tmemroy = "1GiB"\n'
        "    \t^^^^^^\n"
        "  fix: did you mean memory?\n"
        "\n"
        f'{path}:5:9: grace: "soon" is not a duration\n'
        '    grace = "soon"\n'
        "            ^^^^^^\n"
        '  fix: units are ms s m h d w, as in 30s or 1h30m; a bare number is seconds; an example: grace = "30s"\n'
    )


def test_check_reads_the_environment_too(tmp_path: Path) -> None:
    code, _, errors = edgecache("check", "-c", written(tmp_path, SMALL), EDGECACHE_CACHE_KEEP="long")
    assert code == 2
    assert errors.startswith("environment variable EDGECACHE_CACHE_KEEP: ")


def test_a_dump_is_a_configuration(tmp_path: Path) -> None:
    code, output, _ = edgecache("check", "--dump", "-c", written(tmp_path, SMALL), EDGECACHE_CACHE_KEEP="1d")
    assert code == 0
    assert load(written(tmp_path, output)).cache.keep == 86_400
    assert "# EDGECACHE_CACHE_KEEP\n" in output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("proxy",), "Missing option '--to'"),
        (("proxy", "--to", "localhost:8000"), "--to: urls: "),
        (("proxy", "--to", "http://a", "--listen", "8080"), '--listen: listen: "8080" is not HOST:PORT'),
        (("proxy", "--to", "http://a", "--memory", "much"), "--memory: memory: "),
        (("proxy", "--to", "http://a", "--host", "a b"), "--host: host: "),
        (("proxy", "--to", "http://a", "--grace", "x"), "--grace: grace: "),
        (("proxy", "--to", "http://a", "--access-log", "x"), "--access-log: access: "),
        (("proxy", "--to", "http://a", "--admin", "127.0.0.1:8080"), "--admin: [server] and [admin] both listen"),
        (("proxy", "--to", "http://a", "--redis", "http://b"), "--redis: url: not the URL of a Redis server\n"),
        (("proxy", "--to", "http://a", "--workers", "many"), '--workers: workers: "many" is not a whole number'),
        (("demo", "--listen", "x"), "--listen: listen: "),
        (("run", "-c", "absent.toml"), "absent.toml: cannot be read: No such file or directory"),
        (("prxy",), "No such command 'prxy'"),
    ],
)
def test_what_is_wrong_on_the_command_line_exits_2(arguments: tuple[str, ...], error: str) -> None:
    code, output, errors = edgecache(*arguments)
    assert (code, output) == (2, "")
    assert error in errors


def test_several_workers_without_redis_are_told_what_to_add() -> None:
    assert edgecache("proxy", "--to", "http://a", "--workers", "4") == (
        2,
        "",
        "--workers: several workers need a Redis server to share purges\n"
        '  fix: write url = "embedded" under [redis], or start with --redis embedded or --redis URL\n',
    )


def test_check_covers_redis_and_repeats_no_secret(tmp_path: Path) -> None:
    text = (
        '[server]\nworkers = 2\n[redis]\nurl = "redis://:hunter2@a/b"\nsecret = "hunter2"\n'
        'encryption_keys = ["hunter2"]\nlease = "2m"\nurls = "redis://:hunter2@a"\n'
    )
    path = written(tmp_path, SMALL + text)
    code, output, errors = edgecache("check", "-c", path)
    assert (code, output) == (2, "")
    assert errors == (
        f"{path}:6:7: url: not a URL of the form redis://HOST:PORT, redis://USER:PASSWORD@HOST:PORT/DB\n"
        '  fix: in a password, / is written %2F, @ %40, ? %3F, # %23, % %25; an example: url = "embedded"\n'
        "\n"
        f"{path}:7:10: secret: fewer than 16 bytes\n"
        '  fix: this prints a good one: openssl rand -base64 32; an example: secret = "at least 16 bytes"\n'
        "\n"
        f"{path}:8:20: encryption_keys: fewer than 16 bytes\n"
        "  fix: this prints a good one: openssl rand -base64 32; "
        'an example: encryption_keys = ["at least 16 bytes"]\n'
        "\n"
        f'{path}:9:9: lease: "2m" is more than "1m"\n'
        '    lease = "2m"\n'
        "            ^^^^\n"
        '  fix: expected a duration; an example: lease = "10s"\n'
        "\n"
        f"{path}:10:1: unknown key urls in [redis]\n"
        "  fix: did you mean url?\n"
    )


def test_a_dump_has_stars_for_secrets(tmp_path: Path) -> None:
    secrets = {"EDGECACHE_REDIS_URL": "redis://me:hunter2@a", "EDGECACHE_REDIS_SECRET": "hunter2-hunter2-hunter2"}
    code, output, _ = edgecache("check", "--dump", "-c", written(tmp_path, SMALL), **secrets)
    assert code == 0
    assert "hunter2" not in output
    lines = [line.split("#")[0].rstrip() for line in output.splitlines()]
    assert 'url = "redis://me:***@a"' in lines
    assert 'secret = "***"' in lines


def test_the_banner_is_short_and_says_what_to_try() -> None:
    config = Config(origin=Origin(urls=("http://a:1", "http://b:2")), server=Server(listen="127.0.0.1:0"))
    text = banner(config, "http://127.0.0.1:4711", "/slow", "one more line")
    assert len(text.splitlines()) <= 8
    for fact in ("http://a:1, http://b:2", "256MiB", "127.0.0.1:8081", "curl -i http://127.0.0.1:4711/slow"):
        assert fact in text
    assert "curl -i --unix-socket /run/edge http://localhost/" in banner(config, "unix:/run/edge", "/")
    ruled = msgspec.structs.replace(config, rules=(Rule(name="a", settings={}),))
    assert "  rules   1\n" in banner(ruled, "http://127.0.0.1:4711", "/")


def test_the_banner_names_the_directory_that_is_served() -> None:
    config = Config(origin=Origin(urls=("file:///srv/my%20dist",)), server=Server(listen="127.0.0.1:0"))
    first, *others = banner(config, "http://127.0.0.1:4711", "/").splitlines()
    assert first == f"edgecache {__version__}: http://127.0.0.1:4711 in front of the files in /srv/my dist"
    assert "          the same again, and look at Cache-Status; a file that changes is seen at once" in others


def test_the_version_needs_no_server_to_be_imported() -> None:
    program = "import sys, edgecache.cli.main as cli; print('aiohttp' in sys.modules); cli.main(['--version'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    compiled = ", compiled" if os.environ.get("EDGECACHE_COMPILE") == "1" else ""
    assert done.stdout == f"False\nedgecache {__version__}{compiled}\n"


def test_check_works_as_a_program(tmp_path: Path) -> None:
    path = str(tmp_path / "absent.toml")
    done = subprocess.run([*COMMAND, "check", "-c", path], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{path}: cannot be read: No such file or directory\n  fix: edgecache proxy --to URL needs no file\n"
    )
