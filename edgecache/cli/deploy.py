"""``edgecache deploy``: warm a release, switch to it everywhere at once, and go back.

Exit codes, beside those of every command
    0 warmed whole, or confirmed everywhere · 1 refused, or something is missing · 2 the command line is wrong · 3 no
    edge answered · 4 some process did not confirm, or the log did not answer · 5 not warmed, or not confirmed, within
    ``--wait`` seconds.

Manifests are read here; the edge is told URLs.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click
import msgspec

from edgecache.assets.manifests import read_manifest_file
from edgecache.assets.names import below
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
from edgecache.edges.deploy_messages import ActiveRelease, Deploy, DeployReport, DeployState, ReleaseReply, State
from edgecache.errors import ConfigError

__all__ = ["deploy"]

_CODES: Final = "Exit codes: 0 done, 1 failed, 2 usage, 3 no edge answered, 4 not confirmed, 5 timed out."

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _with_answer(what: str) -> Callable[[_Command], _Command]:
    """Give a command the options that every answer is asked for with."""
    waits = click.option("--wait", metavar="SECONDS", type=click.IntRange(0, 600), help=f"For {what}, at most.")
    shows = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
    return lambda command: shows(waits(with_edge(command)))


@click.group(epilog=_CODES)
def deploy() -> None:
    """Releases: begin, hold, activate, rollback, status. docs/deploys.md tells the order."""


# Warming.


@deploy.command(epilog=_CODES)
@click.argument("name")
@click.option("--url", metavar="URL", required=True, help="Where clients ask, as in https://www.example.org.")
@click.option("--manifest", "manifests", metavar="FILE", multiple=True, help="What the build wrote; its assets.")
@click.option("--base", metavar="PATH", default="/static/", show_default=True, help="Where the build is served.")
@click.option("--asset", "assets", metavar="PATH", multiple=True, help="Another asset, or its URL.")
@click.option("--page", "pages", metavar="PATH", multiple=True, help="A page, from an origin that names its release.")
@_with_answer("warming")
def begin(
    name: str,
    url: str,
    manifests: tuple[str, ...],
    base: str,
    assets: tuple[str, ...],
    pages: tuple[str, ...],
    wait: int | None,
    as_json: bool,
    admin: str,
    token: str | None,
) -> None:
    """Warm the assets of a release before it is active, and wait until all of them are there."""
    listed = [below(base, asset) for manifest in manifests for asset in _names(manifest)]
    wanted = list(dict.fromkeys([*listed, *assets]))
    if not wanted and not pages:
        raise click.UsageError("nothing to warm is given: --manifest, --asset or --page")
    order = {"site": url.rstrip("/"), "assets": wanted, "pages": pages}
    edge = Edge.at(admin, token)
    content = edge.order(_at(name), json.dumps(order).encode(), None, "whether it warms is not known")
    _tell(_followed(edge, edge.read(content, Deploy), wait), wait, as_json=as_json)


def _names(path: str) -> list[str]:
    names = sorted(read_manifest_file(path).names)
    if not names:
        raise ConfigError("lists no versioned names, so there is nothing to warm", where=path)
    return names


def _at(name: str, what: str = "") -> str:
    return f"/v1/deploys/{quote(name, safe='')}{what}"


def _tell(deploy: Deploy, wait: int | None, *, as_json: bool) -> None:
    """Tell how the warming of a release stands, and end as that deserves."""
    click.echo(msgspec.json.encode(deploy) if as_json else "\n".join(_deploy_lines(deploy)))
    if deploy.state is DeployState.WARMING and wait is not None:
        end(TIMED_OUT, f"{deploy.name} is not warmed within {wait} s; it goes on")
    if deploy.state is DeployState.FAILED:
        end(FAILED, deploy.detail or f"{deploy.failed} of {deploy.total} are not there for {deploy.name}")


def _followed(edge: Edge, deploy: Deploy, wait: int | None) -> Deploy:
    """Ask how it stands until it has ended or ``wait`` seconds are over; show that."""
    began = time.monotonic()
    with _shown(deploy) as show:
        while deploy.ended is None and (wait is None or time.monotonic() - began < wait):
            time.sleep(POLL_SECONDS)
            deploy = _now(edge, deploy)
            show(deploy)
    return deploy


def _now(edge: Edge, known: Deploy) -> Deploy:
    unknown = "it goes on warming, as far as is known"
    status, content = edge.ask("GET", _at(known.name), CONNECT_SECONDS, unknown)
    # When some process did not say, that is no news.
    return known if status == HTTPStatus.SERVICE_UNAVAILABLE else edge.read(content, Deploy)


@contextlib.contextmanager
def _shown(deploy: Deploy) -> Iterator[Callable[[Deploy], None]]:
    """Show how far it is: a bar on a terminal; elsewhere a line when there is something to say."""
    if not sys.stderr.isatty():
        told = [deploy.detail]

        def tell(now: Deploy) -> None:
            if now.ended is None and now.detail not in ("", told[-1]):
                told.append(now.detail)
                click.echo(f"{plain(now.name)}: {plain(now.detail)}", err=True)

        yield tell
        return
    with click.progressbar(
        length=deploy.total, label=plain(deploy.name), file=sys.stderr, item_show_func=_detail, update_min_steps=0
    ) as bar:
        yield lambda now: bar.update(now.stored + now.present - bar.pos, now)


def _detail(deploy: Deploy | None) -> str:
    return "" if deploy is None else plain(deploy.detail)


def _deploy_lines(deploy: Deploy) -> Iterator[str]:
    counts = f"{deploy.stored} stored, {deploy.present} stored before, {deploy.failed} missing"
    yield f"{plain(deploy.name)} {deploy.state.value}: {deploy.total} URL{'s' * (deploy.total != 1)}, {counts}"
    yield from (f"  {plain(one.url)}  {one.status}  {plain(one.reason)}" for one in deploy.failures)
    if deploy.failed > len(deploy.failures) > 0:
        yield f"  and {deploy.failed - len(deploy.failures)} more"


# Switching.


@deploy.command(epilog=_CODES)
@click.argument("name")
@click.option("--force", is_flag=True, help="Even if it was not begun, or is not warmed whole.")
@_with_answer("confirmation")
def activate(name: str, force: bool, wait: int | None, as_json: bool, admin: str, token: str | None) -> None:
    """Switch every page of every process to a release."""
    _switch(Edge.at(admin, token), _at(name, "/activate"), {"force": force}, wait, as_json=as_json)


@deploy.command(epilog=_CODES)
@click.argument("name")
@_with_answer("confirmation")
def hold(name: str, wait: int | None, as_json: bool, admin: str, token: str | None) -> None:
    """Keep what is stored of the active release as it is until this one is activated."""
    _switch(Edge.at(admin, token), _at(name, "/hold"), {}, wait, as_json=as_json)


@deploy.command(epilog=_CODES)
@click.argument("name")
@click.option("--to", metavar="NAME", default="", help="The release to go back to.  [the one before]")
@_with_answer("confirmation")
def rollback(name: str, to: str, wait: int | None, as_json: bool, admin: str, token: str | None) -> None:
    """Leave a release for the one before it, without asking the origin; if it is not active, nothing changes."""
    _switch(Edge.at(admin, token), _at(name, "/rollback"), {"to": to}, wait, as_json=as_json)


def _switch(edge: Edge, path: str, order: dict[str, object], wait: int | None, *, as_json: bool) -> None:
    content = edge.order(path, json.dumps(order).encode(), wait, "which release is active is not known")
    reply = edge.read(content, ReleaseReply)
    click.echo(content.decode().strip() if as_json else "\n".join(_release_lines(reply)))
    match reply.state:
        case State.UNCONFIRMED:
            end(UNCONFIRMED, f"nothing was switched, as far as is known; try again ({reply.detail})")
        case State.PARTIAL if wait is not None and reply.waited_ms >= wait * 1000:
            end(TIMED_OUT, f"not confirmed everywhere within {wait} s")
        case State.PARTIAL:
            end(UNCONFIRMED, "not confirmed everywhere")


def _release_lines(reply: ReleaseReply) -> Iterator[str]:
    yield f"{reply.state.value}: {_active(reply.release)}"
    if reply.workers:
        yield f"activation {reply.sequence}, after {reply.waited_ms:.0f} ms"
    yield from worker_lines(reply.workers)


def _active(release: ActiveRelease) -> str:
    if not release.name:
        return "no release is active"
    before = f"; before it: {plain(release.previous)}" if release.previous else ""
    return f"{plain(release.name)} is active{' and held' * release.held}{before}"


# Asking.


@deploy.command(epilog=_CODES)
@click.argument("name", required=False)
@_with_answer("warming")
def status(name: str | None, wait: int | None, as_json: bool, admin: str, token: str | None) -> None:
    """Show which release is active and what was warmed; of one release, whether it is warmed whole."""
    edge = Edge.at(admin, token)
    content = edge.ask("GET", _at(name) if name else "/v1/deploys", CONNECT_SECONDS, "nothing was changed")[1]
    if name:
        _tell(_followed(edge, edge.read(content, Deploy), wait or 0), wait, as_json=as_json)
        return
    report = edge.read(content, DeployReport)
    if as_json:
        click.echo(content.decode().strip())
        return
    click.echo(_active(report.release))
    for each in report.deploys:
        click.echo("\n".join(_deploy_lines(each)))
    if report.missing:
        click.echo(f"not asked: {', '.join(map(plain, report.missing))}")
