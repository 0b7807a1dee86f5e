"""``edgecache demo``: the bundled site in a process of its own, and the edge in front of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import click

from edgecache.cli.launch import launch
from edgecache.edges.config_load import load
from edgecache.errors import EdgecacheError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgecache.edges.config_load import Flags

__all__ = ["demo"]

_STOP_SECONDS: Final = 5.0


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where clients connect.  [127.0.0.1:8080]")
@click.option("--admin", metavar="HOST:PORT", help="Where operators connect.  [127.0.0.1:8081]")
@click.option("--rules", metavar="NAME|FILE", multiple=True, help="A shipped rule set, or a file of rules; repeat.")
def demo(listen: str | None, admin: str | None, rules: tuple[str, ...]) -> None:
    """Try it: a small site that explains itself, and the edge in front of it."""
    with _site() as url:
        flags: Flags = {("origin", "urls"): ("--to", url)}
        if listen is not None:
            flags["server", "listen"] = ("--listen", listen)
        if admin is not None:
            flags["admin", "listen"] = ("--admin", admin)
        if rules:
            flags["rules", "use"] = ("--rules", rules)
        code = launch(
            lambda: load(environ=os.environ, flags=flags), page="/slow", note="and open the site in a browser"
        )
    raise SystemExit(code)


@contextlib.contextmanager
def _site() -> Iterator[str]:
    """Run the demo site; yield its URL. It ends with the pipe to its standard input, however this process ends.

    It gets a session of its own, so that Ctrl-C stops the edge first and the edge stops the site.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "edgecache.demo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise EdgecacheError("the demo site did not start")
        try:
            yield url
        finally:
            process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
