"""``edgecache check``: is a configuration right, and what does it amount to."""

from __future__ import annotations

import os

import click

from edgecache.edges.config import dump
from edgecache.edges.config_load import load

__all__ = ["check"]


@click.command()
@click.option("-c", "--config", "path", metavar="FILE", default="edgecache.toml", show_default=True)
@click.option("--dump", "dumped", is_flag=True, help="Print every setting, and where its value comes from.")
def check(path: str, dumped: bool) -> None:
    """Check a configuration file and the environment; exit 2 and show every mistake when there are any."""
    config = load(path, environ=os.environ)
    click.echo(dump(config), nl=False) if dumped else click.echo(f"{path}: ok")
