"""``edgecache purge``: ask a running edge to purge, and believe only what was confirmed.

Exit codes, beside those of every command
    0 confirmed everywhere (or counted, with ``--dry-run``) · 1 refused, or fewer matched than ``--min-matched``, or the
    erasing failed · 2 the command line is wrong · 3 no edge answered · 4 some process did not confirm, or the log did
    not answer · 5 not confirmed, or not erased, within ``--wait`` seconds.

It speaks to the admin listener with the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

import click
import msgspec

from edgecache.edges.purge_messages import Erasure, ErasureState, Outcome, Problem, PurgeReply
from edgecache.edges.token_file import ADMIN_PORT, local_secret
from edgecache.edges.tokens import VARIABLE, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["purge"]

FAILED: Final = 1
UNREACHABLE: Final = 3
UNCONFIRMED: Final = 4
TIMED_OUT: Final = 5

_ADMIN: Final = f"http://127.0.0.1:{ADMIN_PORT}"
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 35.0  # the edge itself waits for 30 unless told otherwise
_MARGIN_SECONDS: Final = 5.0  # for an answer that leaves the edge when the wait is over
_POLL_SECONDS: Final = 0.5
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
@click.option("--erase", is_flag=True, help="Take it out of Redis too, and wait until that is done.")
@click.option("--dry-run", is_flag=True, help="Only count what matches.")
@click.option("--min-matched", metavar="N", type=click.IntRange(0), default=0, help="Fail when fewer matched.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option(
    "--wait", metavar="SECONDS", type=click.IntRange(0, 600), help="For confirmation, and for erasing, at most."
)
@click.option(
    "--admin", metavar="URL", envvar="EDGECACHE_ADMIN", default=_ADMIN, help=f"The admin listener.  [{_ADMIN}]"
)
@click.option("--token", metavar="TOKEN", envvar=VARIABLE, help=f"Better given in {VARIABLE}.  [what the edge left]")
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
    edge = _Edge(_Address(admin), token or local_secret(admin, os.environ))
    if token and not is_secret(token):
        raise click.UsageError("the token holds characters that cannot be sent")
    content = edge.purge(json.dumps(order).encode(), wait)
    reply = edge.reply(content)
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
            _end(UNCONFIRMED, f"not purged, as far as is known; purge again ({reply.detail})")
        case Outcome.PARTIAL if wait is not None and reply.waited_ms >= wait * 1000:
            _end(TIMED_OUT, f"not confirmed everywhere within {wait} s")
        case Outcome.PARTIAL:
            _end(UNCONFIRMED, "not confirmed everywhere")
    if reply.matched < min_matched:
        _end(FAILED, f"{reply.matched} matched, fewer than {min_matched}")


def _judge_erasure(erasure: Erasure, wait: int | None) -> None:
    match erasure.state:
        case ErasureState.FAILED:
            _end(FAILED, f"purged, but not erased: {erasure.detail}")
        case ErasureState.QUEUED | ErasureState.RUNNING:
            _end(TIMED_OUT, f"purged, but not erased within {wait} s; it goes on")


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
        self.base: Final = url.path.rstrip("/")

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


@dataclass(frozen=True)
class _Edge:
    """An edge's admin listener, and what it is shown."""

    address: _Address
    secret: str | None

    def purge(self, order: bytes, wait: int | None) -> bytes:
        """Return the content of its answer; end when there is none."""
        fields = {"Content-Type": "application/json"} | ({} if wait is None else {"Prefer": f"wait={wait}"})
        patience = _ANSWER_SECONDS if wait is None else wait + _MARGIN_SECONDS
        return self._ask("POST", "/v1/purge", patience, "whether it purged is not known", order, fields)[1]

    def erasure(self, known: Erasure) -> Erasure:
        """Return how an erasure stands now; end when that cannot be found out."""
        unknown = "it purged, but whether it erased is not known"
        status, content = self._ask("GET", f"/v1/erasures/{known.id}", _CONNECT_SECONDS, unknown)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:  # some process did not say: that is no news
            return known
        with contextlib.suppress(*_UNREADABLE):
            return msgspec.json.decode(content, type=Erasure)
        return self.refused(content)

    def reply(self, content: bytes) -> PurgeReply:
        """Return the receipt that an answer is; end when it is none."""
        with contextlib.suppress(*_UNREADABLE):
            return msgspec.json.decode(content, type=PurgeReply)
        return self.refused(content)

    def refused(self, content: bytes) -> NoReturn:
        """End with what an answer says that is not what was asked for."""
        try:
            problem = msgspec.json.decode(content, type=Problem)
        except _UNREADABLE:
            _end(UNREACHABLE, f"{self.address.text} is not the admin listener of an edge")
        needed = "" if self.secret else f"; set {VARIABLE}, or purge as the user of the edge, on its machine"
        _end(FAILED, problem.detail + needed)

    def _ask(
        self,
        method: str,
        path: str,
        patience: float,
        unknown: str,
        content: bytes | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, bytes]:
        """Return the status and content of an answer; end when there is none, and say what is ``unknown`` then."""
        text, fields = self.address.text, {"Accept": "application/json", **more}
        fields |= {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        try:
            connection = self.address.connect()
        except OSError as error:
            _end(UNREACHABLE, f"no edge answers at {text}: {error.strerror or error}")
        try:
            connection.sock.settimeout(patience)
            connection.request(method, self.address.base + path, content, fields)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            _end(TIMED_OUT, f"{text} did not answer in time; {unknown}")
        except (OSError, http.client.HTTPException) as error:
            _end(UNREACHABLE, f"{text} broke off before it answered: {error}; {unknown}")
        finally:
            connection.close()


# Following an erasure.


def _followed(edge: _Edge, erasure: Erasure, wait: int | None) -> Erasure:
    """Ask how it stands until it has ended or ``wait`` seconds are over; show that on a terminal."""
    shows, began, widest = sys.stderr.isatty(), time.monotonic(), 0
    while erasure.state in (ErasureState.QUEUED, ErasureState.RUNNING):
        passed = time.monotonic() - began
        if wait is not None and passed >= wait:
            break
        if shows:
            line = f"{_counted(erasure)}, {passed:.0f} s  {_plain(erasure.detail)}".rstrip()
            line = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps is not written over
            widest = max(widest, len(line))
            click.echo(f"\r{line:<{widest}}", nl=False, err=True)
        time.sleep(_POLL_SECONDS)
        erasure = edge.erasure(erasure)
    if widest:
        click.echo(f"\r{'':<{widest}}\r", nl=False, err=True)
    return erasure


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
    detail = f"\n  {_plain(erasure.detail)}" if erasure.detail and erasure.state is ErasureState.DONE else ""
    return f"{_counted(erasure)}{dropped}{detail}"


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
