"""``edgecache explain``: ask a running edge what it would do with a request, and why. The origin is not asked.

Exit codes
    0 explained · 1 refused · 2 the command line is wrong · 3 no edge answered · 5 it did not answer in time.
"""

from __future__ import annotations

from urllib.parse import urlencode

import click

from edgecache.cli.edge_client import ANSWER_SECONDS, Edge, with_edge
from edgecache.cli.explained import lines
from edgecache.semantics.explanation import Explanation

__all__ = ["explain"]

_MOST = 8000  # characters, of which the listener takes hardly more in a request's target


@click.command(epilog="Exit codes: 0 explained, 1 refused, 2 usage, 3 no edge answered, 5 timed out.")
@click.argument("url", metavar="URL")
@click.option("-X", "--request", "method", metavar="METHOD", default="GET", help="The method.  [GET]")
@click.option("-H", "--header", "fields", metavar="'NAME: VALUE'", multiple=True, help="A field of the request.")
@click.option("-v", "--verbose", is_flag=True, help="Leave out less: every field, test and window.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, which has everything.")
@with_edge
def explain(
    url: str, method: str, fields: tuple[str, ...], verbose: bool, as_json: bool, admin: str, token: str | None
) -> None:
    """Explain what a running edge would do with a request: its key, the rules, what is stored, and how long."""
    edge = Edge.at(admin, token)
    query = urlencode([("url", url), ("method", method), *(("header", field) for field in fields)])
    if len(query) > _MOST:
        raise click.UsageError("the URL and the fields are too long to be asked about")
    _, content = edge.ask("GET", f"/v1/explain?{query}", ANSWER_SECONDS, "nothing was changed")
    told = edge.read(content, Explanation)
    click.echo(content.decode().strip() if as_json else "\n".join(lines(told, verbose=verbose)))
