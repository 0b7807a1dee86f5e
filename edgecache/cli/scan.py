"""``edgecache scan``: look through what a running edge has stored, for what should not be there.

Exit codes
    0 nothing was found, or all of it was purged, confirmed · 1 something was found, or it was refused · 2 the
    command line is wrong · 3 no edge answered · 4 the purge is not confirmed · 5 it did not answer in time.

What rules allow (``unsafe_ignore_content_type``) is shown, but is no failure, and is not purged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import click

from edgecache.cli.edge_client import FAILED, UNCONFIRMED, Edge, end, plain, with_edge
from edgecache.edges.purge_messages import Outcome
from edgecache.edges.scan_messages import Finding, ScanReport

__all__ = ["scan"]

_SCAN_SECONDS = 90.0  # the scan itself, that of the other workers, and a purge
_MORE = "scan again: more was found than one purge takes"


@click.command(
    epilog="Exit codes: 0 clean, 1 found or failed, 2 usage, 3 no edge answered, 4 unconfirmed, 5 timed out."
)
@click.option("--poisoned", is_flag=True, help="What today's guards and rules would not store.")
@click.option("--purge", is_flag=True, help="Purge the URLs of what is found.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@with_edge
def scan(poisoned: bool, purge: bool, as_json: bool, admin: str, token: str | None) -> None:
    """Look through what is stored in the memory of a running edge."""
    if not poisoned:
        raise click.UsageError("what to look for is not given; there is --poisoned")
    edge = Edge.at(admin, token)
    order = json.dumps({"poisoned": True, "purge": purge}).encode()
    unknown = "whether it purged is not known" if purge else "nothing was changed"
    _, content = edge.ask("POST", "/v1/scan", _SCAN_SECONDS, unknown, order, {"Content-Type": "application/json"})
    report = edge.read(content, ScanReport)
    click.echo(content.decode().strip() if as_json else "\n".join(map(plain, _lines(report))))
    _judge(report)


def _judge(report: ScanReport) -> None:
    """End with the exit code that a report deserves."""
    if report.purge and report.purge.state is not Outcome.CONFIRMED:
        end(UNCONFIRMED, f"not purged everywhere, as far as is known; scan again ({report.purge.detail})")
    if report.more:
        end(FAILED, _MORE)
    if not report.complete or report.missing:
        end(FAILED, "not everything was looked at")
    if not report.purge and any(not one.is_allowed for one in report.found):
        raise click.exceptions.Exit(FAILED)


def _lines(report: ScanReport) -> Iterator[str]:
    count = len(report.found) + report.more
    yield f"{report.looked_at} stored responses looked at, {count} suspected"
    for url, found in _by_url(report.found):
        yield ""
        yield url
        yield from _shown(found)
    if report.more:
        yield f"and {report.more} more"
    if report.missing:
        yield f"not looked at: {', '.join(report.missing)}"
    if report.purge:
        receipt = report.purge
        yield ""
        yield f"purge {receipt.sequence} {receipt.state}, id {receipt.id}: {receipt.matched} responses matched"


def _by_url(found: Iterable[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    urls: dict[str, list[Finding]] = {}
    for one in found:
        urls.setdefault(one.url, []).append(one)
    return iter(urls.items())


def _shown(found: Iterable[Finding]) -> Iterator[str]:
    for one in found:
        what = one.content_type or "no Content-Type"
        yield f"  {one.status}, {what}, {one.size} bytes, {one.age:.0f} s old, in process {one.process}"
        for why in one.why:
            yield f"    {why.reason}: {why.explanation}"
            if why.allowed_by:
                yield f"      allowed by {why.allowed_by}"
