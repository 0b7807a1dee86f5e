"""Starting the edge from a command: the banner, and the program behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgecache import __version__
from edgecache.cli.mistakes import described, show_warnings
from edgecache.edges.config_redis import without_password
from edgecache.edges.config_values import format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecache.edges.config import Config

__all__ = ["banner", "launch"]


def launch(load: Callable[[], Config], *, page: str = "/", note: str = "") -> int:
    """Run the edge until it is told to stop; return the exit code.

    Args:
        load: returns what to run, now and whenever it is told to reload.
        page: path to suggest to whoever wants to try it.
        note: one more line for the banner.
    """
    config = load()
    show_warnings(config.warnings)

    from edgecache.processes.supervisor import supervise

    def announce(public: str) -> None:
        click.echo(banner(config, public, page, note), err=True)

    return supervise(config, load=load, announce=announce, describe=described)


def banner(config: Config, public: str, page: str, note: str = "") -> str:
    """Return at most ten lines: what listens where, what is behind it, and what to try.

    ``public`` is the URL of the public listener, or ``unix:PATH``.
    """
    socket = public.removeprefix("unix:") if public.startswith("unix:") else ""
    curl = f"curl -i --unix-socket {socket} http://localhost{page}" if socket else f"curl -i {public}{page}"
    workers, redis = config.server.workers, config.redis.url
    lines = [
        f"edgecache {__version__}: {public} in front of {', '.join(config.origin.urls)}",
        f"  memory  {format_size(config.cache.memory)}{' each' if workers > 1 else ''}",
        *([f"  rules   {len(config.rules)}"] if config.rules else []),
        *([f"  redis   {without_password(redis)}"] if redis else []),
        *([f"  workers {workers}"] if workers > 1 else []),
        f"  admin   {config.admin.listen}",
        f"  try     {curl}",
        "          the same again, and look at Cache-Status and Age",
        *([f"          {note}"] if note else []),
        "  stop    Ctrl-C",
    ]
    return "\n".join(lines)
