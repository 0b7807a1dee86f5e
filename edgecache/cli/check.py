"""``edgecache check``: is a configuration right, do rules do what their examples say, and what does it amount to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from edgecache.cli.mistakes import show_warnings
from edgecache.edges.config import dump
from edgecache.edges.config_load import ConfigMistakes, load
from edgecache.edges.config_text import Mistakes
from edgecache.edges.rule_files import read_named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgecache.edges.config import Config

__all__ = ["check"]

_DEFAULT: Final = "edgecache.toml"


@click.command()
@click.argument("rules", metavar="[RULES]...", nargs=-1)
@click.option("-c", "--config", "path", metavar="FILE", help=f"  [{_DEFAULT}, unless RULES are given]")
@click.option("--dump", "dumped", is_flag=True, help="Print every setting, and where its value comes from.")
def check(rules: tuple[str, ...], path: str | None, dumped: bool) -> None:
    """Check a configuration file and the environment, or RULES: shipped sets by name, files by path.

    Examples are tried. Exit 2 and show every mistake when there are any.
    """
    if rules:
        _check_rules(rules)
    if path is not None or not rules:
        path = path or _DEFAULT
        config = load(path, environ=os.environ)
        show_warnings(config.warnings)
        click.echo(dump(config), nl=False) if dumped else click.echo(f"{path}: {_summary(config)}")


def _check_rules(words: Iterable[str]) -> None:
    found = Mistakes()
    for word, file in read_named(words, found):
        click.echo(f"{word}: ok, {_counted(len(file.rules), len(file.examples))}")
    show_warnings(found.warnings)
    if found.mistakes:
        raise ConfigMistakes(found.mistakes)


def _summary(config: Config) -> str:
    if not config.rules:
        return "ok"
    return f"ok, {_counted(len(config.rules), len(config.inline.get('example', ())))}"


def _counted(rules: int, examples: int) -> str:
    return f"{rules} rule{'s' * (rules != 1)}, {examples} example{'s' * (examples != 1)}"
