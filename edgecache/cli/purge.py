"""``edgecache purge``: ask a running edge to purge, and believe only what was confirmed.

Exit codes, beside those of every command
    0 confirmed everywhere (or counted, with ``--dry-run``) · 1 refused, or fewer matched than ``--min-matched``, or the
    erasing failed · 2 the command line is wrong · 3 no edge answered · 4 some process did not confirm, or the log did
    not answer · 5 not confirmed, or not erased, within ``--wait`` seconds.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import click
import msgspec

from edgecache.cli.edge_client import (
    CONNECT_SECONDS,
    FAILED,
    POLL_SECONDS,
    TIMED_OUT,
    UNCONFIRMED,
    Edge,
    end,
    plain,
    with_edge,
    worker_lines,
)
from edgecache.edges.purge_messages import Erasure, ErasureState, Outcome, PurgeReply

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["purge"]

_KINDS: Final = {
    "urls": "url",
    "tags": "tag",
    "prefixes": "prefix",
    "hosts": "host",
    "patterns": "glob",
    "regexes": "regex",
    "expressions": "expr",
}


@click.command(epilog="Exit codes: 0 confirmed, 1 failed, 2 usage, 3 no edge answered, 4 not confirmed, 5 timed out.")
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Everything with this tag.")
@click.option("--prefix", "prefixes", metavar="[HOST]/PATH", multiple=True, help="A path and everything below it.")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="Everything of a host.")
@click.option("--pattern", "patterns", metavar="GLOB", multiple=True, help="As in '/img/**/*.png'.")
@click.option("--regex", "regexes", metavar="RE", multiple=True, help="RE2, searched for in host/path?query.")
@click.option("--expr", "expressions", metavar="EXPR", multiple=True, help="As in 'product:42 & !region:eu'.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--soft", is_flag=True, help="Make stale: may be served while it is validated.")
@click.option("--erase", is_flag=True, help="Take it out of Redis too, and wait until that is done.")
@click.option("--dry-run", is_flag=True, help="Only count what matches.")
@click.option("--min-matched", metavar="N", type=click.IntRange(0), default=0, help="Fail when fewer matched.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option(
    "--wait", metavar="SECONDS", type=click.IntRange(0, 600), help="For confirmation, and for erasing, at most."
)
@with_edge
def purge(
    everything: bool,
    soft: bool,
    erase: bool,
    dry_run: bool,
    min_matched: int,
    as_json: bool,
    wait: int | None,
    admin: str,
    token: str | None,
    **given: tuple[str, ...],
) -> None:
    """Purge URLs, tags, prefixes, hosts, patterns: whatever one of them matches."""
    selectors = [{"kind": _KINDS[name], "value": value} for name, values in given.items() for value in values]
    selectors += [{"kind": "all"}] if everything else []
    if not selectors:
        raise click.UsageError("nothing to purge is given; everything is --all")
    order = {"selectors": selectors, "soft": soft, "dry_run": dry_run, "min_matched": min_matched}
    order |= {"erase": True} if erase else {}
    edge = Edge.at(admin, token)
    content = edge.order("/v1/purge", json.dumps(order).encode(), wait, "whether it purged is not known")
    reply = edge.read(content, PurgeReply)
    if not as_json:
        click.echo("\n".join(_lines(reply)))
    erasure = _followed(edge, reply.erasure, wait) if reply.erasure else None
    if as_json:
        click.echo(_with_erasure(content, erasure))
    elif erasure is not None:
        click.echo(_erased(erasure))
    _judge(reply, min_matched, wait)
    if erasure is not None:
        _judge_erasure(erasure, wait)


def _judge(reply: PurgeReply, min_matched: int, wait: int | None) -> None:
    """End with the exit code that a receipt deserves."""
    match reply.state:
        case Outcome.UNCONFIRMED:
            end(UNCONFIRMED, f"not purged, as far as is known; purge again ({reply.detail})")
        case Outcome.PARTIAL if wait is not None and reply.waited_ms >= wait * 1000:
            end(TIMED_OUT, f"not confirmed everywhere within {wait} s")
        case Outcome.PARTIAL:
            end(UNCONFIRMED, "not confirmed everywhere")
    if reply.matched < min_matched:
        end(FAILED, f"{reply.matched} matched, fewer than {min_matched}")


def _judge_erasure(erasure: Erasure, wait: int | None) -> None:
    match erasure.state:
        case ErasureState.FAILED:
            end(FAILED, f"purged, but not erased: {erasure.detail}")
        case ErasureState.QUEUED | ErasureState.RUNNING:
            end(TIMED_OUT, f"purged, but not erased within {wait} s; it goes on")


# Following an erasure.


def _followed(edge: Edge, erasure: Erasure, wait: int | None) -> Erasure:
    """Ask how it stands until it has ended or ``wait`` seconds are over; show that on a terminal."""
    shows, began, widest = sys.stderr.isatty(), time.monotonic(), 0
    while erasure.state in (ErasureState.QUEUED, ErasureState.RUNNING):
        passed = time.monotonic() - began
        if wait is not None and passed >= wait:
            break
        if shows:
            line = f"{_counted(erasure)}, {passed:.0f} s  {plain(erasure.detail)}".rstrip()
            line = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps is not written over
            widest = max(widest, len(line))
            click.echo(f"\r{line:<{widest}}", nl=False, err=True)
        time.sleep(POLL_SECONDS)
        erasure = _now(edge, erasure)
    if widest:
        click.echo(f"\r{'':<{widest}}\r", nl=False, err=True)
    return erasure


def _now(edge: Edge, known: Erasure) -> Erasure:
    """Return how an erasure stands now; end when that cannot be found out."""
    unknown = "it purged, but whether it erased is not known"
    status, content = edge.ask("GET", f"/v1/erasures/{known.id}", CONNECT_SECONDS, unknown)
    # When some process did not say, that is no news.
    return known if status == HTTPStatus.SERVICE_UNAVAILABLE else edge.read(content, Erasure)


def _with_erasure(content: bytes, erasure: Erasure | None) -> str:
    """Return the answer with the erasure as it ended."""
    if erasure is None:
        return content.decode().strip()
    return json.dumps({**json.loads(content), "erasure": msgspec.to_builtins(erasure)}, separators=(",", ":"))


# Telling.


def _counted(erasure: Erasure) -> str:
    erased = f"{erasure.erased} response{'s' * (erasure.erased != 1)} erased"
    return f"erasing {erasure.state.value}: {erasure.scanned} keys looked at, {erased}"


def _erased(erasure: Erasure) -> str:
    dropped = f", and {erasure.dropped} that could not be read" if erasure.dropped else ""
    detail = f"\n  {plain(erasure.detail)}" if erasure.detail and erasure.state is ErasureState.DONE else ""
    return f"{_counted(erasure)}{dropped}{detail}"


def _lines(reply: PurgeReply) -> Iterator[str]:
    yield f"{reply.state.replace('_', ' ')}: {reply.matched} stored response{'s' * (reply.matched != 1)} matched here"
    yield from (f"  {plain(uri)}" for uri in reply.sample)
    if reply.matched > len(reply.sample) > 0:
        yield f"  and {reply.matched - len(reply.sample)} more"
    if reply.uncounted:
        yield f"not counted: {', '.join(map(plain, reply.uncounted))}"
    if reply.detail and reply.state in (Outcome.CONFIRMED, Outcome.DRY_RUN):
        yield plain(reply.detail)
    if reply.workers:
        yield f"purge {reply.sequence}, id {plain(reply.id)}, after {reply.waited_ms:.0f} ms"
    yield from worker_lines(reply.workers)
