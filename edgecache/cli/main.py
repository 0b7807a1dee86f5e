"""The ``edgecache`` command: its subcommands, how errors are shown, and what the exit codes mean.

Exit codes
    0 it worked · 1 it failed, or something was found · 2 the command line or the configuration is wrong · 3 no edge
    answered · 4 some processes did not confirm · 5 the wait for them timed out.

Rules of this floor
    * One file per command; what a command prints for people goes to standard error, what it was asked for
      to standard output.
    * ``edgecache --version`` and ``edgecache check`` answer at once: the program itself (``edgecache.app``,
      and with it aiohttp) is imported only by the command that starts it.
"""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from typing import Any, Final

import click

from edgecache import __version__
from edgecache.cli.check import check
from edgecache.cli.demo import demo
from edgecache.cli.deploy import deploy
from edgecache.cli.explain import explain
from edgecache.cli.mistakes import described
from edgecache.cli.proxy import proxy
from edgecache.cli.purge import purge
from edgecache.cli.reload import reload
from edgecache.cli.rules import rules
from edgecache.cli.run import run
from edgecache.cli.scan import scan
from edgecache.edges.config_load import ConfigMistakes
from edgecache.errors import EdgecacheError

__all__ = ["main"]

_FAILED: Final = 1
_MISUSED: Final = 2


class _Commands(click.Group):
    """A group that shows our own errors, each with the place and the remedy it carries."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgecacheError as error:
            click.echo(described(error), err=True)
            ctx.exit(_MISUSED if isinstance(error, ConfigMistakes) else _FAILED)


def _compiled() -> str:
    """Return what to say when the modules that can be compiled are; the hit lane is one of them."""
    lane = find_spec("edgecache.edges.lane")
    return ", compiled" if lane is not None and isinstance(lane.loader, ExtensionFileLoader) else ""


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"edgecache %(version)s{_compiled()}")
def main() -> None:
    """A reverse proxy that caches. Start with: edgecache proxy --to http://127.0.0.1:8000"""


for _command in (proxy, run, check, reload, purge, deploy, explain, scan, rules, demo):
    main.add_command(_command)

if __name__ == "__main__":
    main()
