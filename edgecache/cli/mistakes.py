"""How errors are told to people: where, what, the line with its carets, and what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgecache.edges.config_load import ConfigMistakes
from edgecache.errors import ConfigError, EdgecacheError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["described", "show_warnings"]


def show_warnings(warnings: Iterable[ConfigError]) -> None:
    """Tell of what works and is hardly meant."""
    for warning in warnings:
        click.echo(f"warning: {described(warning)}", err=True)


def described(error: EdgecacheError) -> str:
    """Return what is shown of an error: of several mistakes each, with an empty line between."""
    if isinstance(error, ConfigMistakes):
        return "\n\n".join(map(described, error.mistakes))
    if not isinstance(error, ConfigError):
        return f"edgecache: {error}"
    lines = [f"{error.where or 'edgecache'}: {error.message}"]
    lines += [f"    {line}" for line in error.line.splitlines()]
    lines += [f"  why: {error.why}"] if error.why else []
    lines += [f"  fix: {error.hint}"] if error.hint else []
    return "\n".join(lines)
