"""``edgecache proxy``: a cache in front of an origin, without a configuration file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from edgecache.cli.launch import launch
from edgecache.edges.config_load import load

if TYPE_CHECKING:
    from edgecache.edges.config_load import Flags, Name

__all__ = ["proxy"]

_OPTIONS: dict[str, tuple[Name, str]] = {
    "to": (("origin", "urls"), "--to"),
    "listen": (("server", "listen"), "--listen"),
    "admin": (("admin", "listen"), "--admin"),
    "memory": (("cache", "memory"), "--memory"),
    "host": (("origin", "host"), "--host"),
    "grace": (("cache", "grace"), "--grace"),
    "access_log": (("log", "access"), "--access-log"),
    "redis": (("redis", "url"), "--redis"),
    "rules": (("rules", "use"), "--rules"),
    "workers": (("server", "workers"), "--workers"),
    "no_lane": (("server", "lane"), "--no-lane"),
}
"""Parameter -> the setting it overrides and the option it stands for."""


@click.command(epilog="Every setting of the configuration can also be given as EDGECACHE_<TABLE>_<KEY>.")
@click.option("--to", metavar="URL", multiple=True, required=True, help="The origin, several alike, or file:///DIR.")
@click.option("--listen", metavar="HOST:PORT", help="Where clients connect.  [127.0.0.1:8080]")
@click.option("--admin", metavar="HOST:PORT", help="Where operators connect.  [127.0.0.1:8081]")
@click.option("--memory", metavar="SIZE", help="For stored responses, all counted.  [256MiB]")
@click.option("--host", metavar="NAME", help="Host sent to the origin: keep, origin, or a name.  [keep]")
@click.option("--grace", metavar="DURATION", help="Serve stale this long while validating.  [0s]")
@click.option("--access-log", metavar="FORMAT", help="common, combined, extended, json or off.  [combined]")
@click.option("--rules", metavar="NAME|FILE", multiple=True, help="A shipped rule set, or a file of rules; repeat.")
@click.option("--redis", metavar="URL", help="Share what is stored and purged over a Redis server, or: embedded.")
@click.option("--workers", metavar="N", help="Processes that serve; several need --redis.  [1]")
@click.option("--no-lane", flag_value="false", help="Think about each hit anew: slower, and the same answers.")
def proxy(**given: str | tuple[str, ...] | None) -> None:
    """Put a cache in front of an origin; needs no configuration file."""
    raise SystemExit(launch(lambda: load(environ=os.environ, flags=_flags(given))))


def _flags(given: dict[str, str | tuple[str, ...] | None]) -> Flags:
    return {_OPTIONS[name][0]: (_OPTIONS[name][1], value) for name, value in given.items() if value not in (None, ())}
