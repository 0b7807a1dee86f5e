"""``edgecache purge``: ask a running edge to purge, and believe only what was confirmed.

Exit codes, beside those of every command
    0 confirmed everywhere (or counted, with ``--dry-run``) · 1 refused, or fewer matched than ``--min-matched`` · 2 the
    command line is wrong · 3 no edge answered · 4 some process did not confirm, or the log did not answer · 5 not
    confirmed within ``--wait`` seconds.

It speaks to the admin listener with the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

import click
import msgspec

from edgecache.edges.purge_messages import Outcome, Problem, PurgeReply
from edgecache.edges.token_file import ADMIN_PORT, local_secret
from edgecache.edges.tokens import VARIABLE, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["purge"]

FAILED: Final = 1
UNREACHABLE: Final = 3
UNCONFIRMED: Final = 4
TIMED_OUT: Final = 5

_ADMIN: Final = f"http://127.0.0.1:{ADMIN_PORT}"
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 35.0  # the edge itself waits for 30 unless told otherwise
_MARGIN_SECONDS: Final = 5.0  # for an answer that leaves the edge when the wait is over
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
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
@click.option("--dry-run", is_flag=True, help="Only count what matches.")
@click.option("--min-matched", metavar="N", type=click.IntRange(0), default=0, help="Fail when fewer matched.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option("--wait", metavar="SECONDS", type=click.IntRange(0, 600), help="For confirmation, at most.  [30]")
@click.option(
    "--admin", metavar="URL", envvar="EDGECACHE_ADMIN", default=_ADMIN, help=f"The admin listener.  [{_ADMIN}]"
)
@click.option("--token", metavar="TOKEN", envvar=VARIABLE, help=f"Better given in {VARIABLE}.  [what the edge left]")
def purge(
    everything: bool,
    soft: bool,
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
    address, secret = _Address(admin), token or local_secret(admin, os.environ)
    if token and not is_secret(token):
        raise click.UsageError("the token holds characters that cannot be sent")
    content = _ask(address, json.dumps(order).encode(), secret, wait)
    reply = _reply(address, content, secret)
    click.echo(content.decode().strip() if as_json else "\n".join(_lines(reply)))
    _judge(reply, min_matched, wait)


def _judge(reply: PurgeReply, min_matched: int, wait: int | None) -> None:
    """End with the exit code that a receipt deserves."""
    match reply.state:
        case Outcome.UNCONFIRMED:
            _end(UNCONFIRMED, f"not purged, as far as is known; purge again ({reply.detail})")
        case Outcome.PARTIAL if wait is not None and reply.waited_ms >= wait * 1000:
            _end(TIMED_OUT, f"not confirmed everywhere within {wait} s")
        case Outcome.PARTIAL:
            _end(UNCONFIRMED, "not confirmed everywhere")
    if reply.matched < min_matched:
        _end(FAILED, f"{reply.matched} matched, fewer than {min_matched}")


def _end(code: int, message: str) -> NoReturn:
    click.echo(f"edgecache: {_plain(message)}", err=True)
    raise click.exceptions.Exit(code)


# Asking.


class _Address:
    """Where the admin listener is: ``http://host:port``, ``https://``, or ``unix:/path``."""

    def __init__(self, text: str) -> None:
        """Raise ``click.UsageError`` when it is none of these."""
        self.text: Final = text
        self._path = text.removeprefix("unix:") if text.startswith("unix:/") else ""
        try:
            url = urlsplit("http://localhost" if self._path else text)
            self._host, self._port = url.hostname or "", url.port
        except ValueError as error:
            raise click.UsageError(f"--admin: {text!r}: {error}") from None
        if url.scheme not in ("http", "https") or not self._host:
            raise click.UsageError(f"--admin: {text!r} is not http://HOST:PORT, https://HOST:PORT or unix:/PATH")
        self._secure = url.scheme == "https"
        self.target: Final = f"{url.path.rstrip('/')}/v1/purge"

    def connect(self) -> http.client.HTTPConnection:
        """Return an open connection; raise ``OSError``."""
        made: http.client.HTTPConnection
        if self._secure:
            made = http.client.HTTPSConnection(self._host, self._port, timeout=_CONNECT_SECONDS)
        else:
            made = http.client.HTTPConnection(self._host, self._port or ADMIN_PORT, timeout=_CONNECT_SECONDS)
        if self._path:
            made.sock = _connected(self._path)
        else:
            made.connect()
        return made


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(_CONNECT_SECONDS)
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def _ask(address: _Address, order: bytes, secret: str | None, wait: int | None) -> bytes:
    """Return the content of the edge's answer; end when there is none."""
    fields = {"Content-Type": "application/json", "Accept": "application/json"}
    fields |= {"Authorization": f"Bearer {secret}"} if secret else {}
    fields |= {} if wait is None else {"Prefer": f"wait={wait}"}
    try:
        connection = address.connect()
    except OSError as error:
        _end(UNREACHABLE, f"no edge answers at {address.text}: {error.strerror or error}")
    try:
        connection.sock.settimeout(_ANSWER_SECONDS if wait is None else wait + _MARGIN_SECONDS)
        connection.request("POST", address.target, order, fields)
        return connection.getresponse().read()
    except TimeoutError:
        _end(TIMED_OUT, f"{address.text} did not answer in time; whether it purged is not known")
    except (OSError, http.client.HTTPException) as error:
        _end(UNREACHABLE, f"{address.text} broke off before it answered: {error}; whether it purged is not known")
    finally:
        connection.close()


def _reply(address: _Address, content: bytes, secret: str | None) -> PurgeReply:
    """Return the receipt that an answer is; end when it is none."""
    with contextlib.suppress(*_UNREADABLE):
        return msgspec.json.decode(content, type=PurgeReply)
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except _UNREADABLE:
        _end(UNREACHABLE, f"{address.text} is not the admin listener of an edge")
    remedy = "" if secret else f"; set {VARIABLE}, or purge as the user of the edge, on its machine"
    _end(FAILED, problem.detail + remedy)


# Telling.


def _lines(reply: PurgeReply) -> Iterator[str]:
    yield f"{reply.state.replace('_', ' ')}: {reply.matched} stored response{'s' * (reply.matched != 1)} matched here"
    yield from (f"  {_plain(uri)}" for uri in reply.sample)
    if reply.matched > len(reply.sample) > 0:
        yield f"  and {reply.matched - len(reply.sample)} more"
    if reply.uncounted:
        yield f"not counted: {', '.join(map(_plain, reply.uncounted))}"
    if reply.detail and reply.state in (Outcome.CONFIRMED, Outcome.DRY_RUN):
        yield _plain(reply.detail)
    if reply.workers:
        yield f"purge {reply.sequence}, id {_plain(reply.id)}, after {reply.waited_ms:.0f} ms"
    width = max((len(_plain(one.worker)) for one in reply.workers), default=0)
    for one in reply.workers:
        when = "" if one.milliseconds is None else f"{one.milliseconds:.0f} ms"
        yield f"  {_plain(one.worker):<{width}}  {'applied' if one.applied else 'MISSING'}  {when}".rstrip()


def _plain(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
