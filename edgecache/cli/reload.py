"""``edgecache reload``: have a running edge read its configuration again, and say whether it took it.

Exit codes, beside those of every command
    0 the new configuration is in service · 1 it was refused, and the one before stays · 2 the command line or the file
    named to find the edge is wrong · 3 no edge of this user runs there.

A signal is sent (``SIGHUP``), and the outcome read from the file that the edge keeps for its user
(``processes.status_file``): whoever may read that file may also signal.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final, NoReturn

import click

from edgecache.edges.config_load import load
from edgecache.edges.token_file import ADMIN_PORT
from edgecache.processes.status_file import Watched, watched, watched_pid

__all__ = ["reload"]

FAILED: Final = 1
NOT_RUNNING: Final = 3

_ADMIN: Final = f"http://127.0.0.1:{ADMIN_PORT}"
_POLL_SECONDS: Final = 0.02
_PATIENCE: Final = 120.0
"""Seconds: longer than a supervisor gives its new workers to start, and its old ones to hand over, together."""


@click.command(epilog="Exit codes: 0 in service, 1 refused, 2 usage or configuration, 3 not running.")
@click.option("--pid", metavar="N", type=click.IntRange(1), help="The edge with this process.")
@click.option("-c", "--config", "path", metavar="FILE", help="The edge whose admin listener this file names.")
@click.option(
    "--admin", metavar="URL", envvar="EDGECACHE_ADMIN", default=_ADMIN, help=f"Its admin listener.  [{_ADMIN}]"
)
def reload(pid: int | None, path: str | None, admin: str) -> None:
    """Have the running edge read its configuration again; it goes on with the present one if the new one is wrong."""
    if pid is not None and path is not None:
        raise click.UsageError("--pid and --config both name an edge")
    if pid is not None:
        found, name = watched_pid(pid, os.environ), f"as process {pid}"
    else:
        admin = admin if path is None else _url(load(path, environ=os.environ).admin.listen)
        found, name = watched(admin, os.environ), f"with the admin listener {admin}"
    if found is None:
        _end(NOT_RUNNING, f"no edge of this user runs {name}")
    try:
        _reload(found)
    finally:
        found.close()


def _reload(edge: Watched) -> None:
    before = edge.report()
    wanted = before.begun + 1  # one that has begun already may have read what was there before
    os.kill(before.pid, signal.SIGHUP)
    deadline = time.monotonic() + _PATIENCE
    while (now := edge.report()).finished < wanted:
        if not edge.lives:
            _end(NOT_RUNNING, "the edge ended before it had reloaded")
        if time.monotonic() > deadline:
            _end(FAILED, f"the edge has not said within {_PATIENCE:.0f} s what became of it")
        time.sleep(_POLL_SECONDS)
    if now.error:
        click.echo(now.error, err=True)
        _end(FAILED, "not reloaded, the configuration before it stays in service")
    click.echo(f"reloaded: configuration {now.generation} is in service")


def _url(listen: str) -> str:
    """``HOST:PORT`` or ``unix:PATH`` as the configuration has it, as the URL of an admin listener."""
    if listen.startswith("unix:"):
        return listen
    if listen.endswith(":0"):
        raise click.UsageError(f"the system chose the port of {listen}: name the edge with --pid")
    return f"http://{listen.replace('*', '127.0.0.1', 1) if listen.startswith('*:') else listen}"


def _end(code: int, message: str) -> NoReturn:
    click.echo(f"edgecache: {message}", err=True)
    raise click.exceptions.Exit(code)
