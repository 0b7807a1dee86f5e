"""``edgecache run``: the edge as a configuration file says."""

from __future__ import annotations

import os

import click

from edgecache.cli.launch import launch
from edgecache.edges.config_load import load

__all__ = ["run"]


@click.command()
@click.option("-c", "--config", "path", metavar="FILE", default="edgecache.toml", show_default=True)
def run(path: str) -> None:
    """Run the edge as a configuration file says."""
    raise SystemExit(launch(lambda: load(path, environ=os.environ)))
