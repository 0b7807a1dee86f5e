"""The admin listener of a running edge, as commands speak to it, and how they end when that fails.

With the standard library alone, so that commands start at once. Whoever asks says what is not known when no answer
comes: the difference between "it was not done" and "nobody can say" is what pipelines live by.

Called by the commands that ask an edge.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

import click
import msgspec

from edgecache.edges.purge_messages import Problem, WorkerReply
from edgecache.edges.token_file import ADMIN_PORT, local_secret
from edgecache.edges.tokens import VARIABLE, is_secret

__all__ = [
    "ANSWER_SECONDS",
    "CONNECT_SECONDS",
    "FAILED",
    "MARGIN_SECONDS",
    "POLL_SECONDS",
    "TIMED_OUT",
    "UNCONFIRMED",
    "UNREACHABLE",
    "Address",
    "Edge",
    "end",
    "plain",
    "with_edge",
    "worker_lines",
]

FAILED: Final = 1
UNREACHABLE: Final = 3
UNCONFIRMED: Final = 4
TIMED_OUT: Final = 5

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 35.0
"""The edge itself waits for 30 unless told otherwise."""
MARGIN_SECONDS: Final = 5.0
"""For an answer that leaves the edge when the wait is over."""
POLL_SECONDS: Final = 0.5

_ADMIN: Final = f"http://127.0.0.1:{ADMIN_PORT}"
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})

_Answer = TypeVar("_Answer")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def end(code: int, message: str) -> NoReturn:
    """End the command with a word about why."""
    click.echo(f"edgecache: {plain(message)}", err=True)
    raise click.exceptions.Exit(code)


def plain(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def worker_lines(workers: Iterable[WorkerReply]) -> Iterator[str]:
    """Yield what each process said about an order, one below the other."""
    workers = list(workers)
    width = max((len(plain(one.worker)) for one in workers), default=0)
    for one in workers:
        when = "" if one.milliseconds is None else f"{one.milliseconds:.0f} ms"
        yield f"  {plain(one.worker):<{width}}  {'applied' if one.applied else 'MISSING'}  {when}".rstrip()


def with_edge(command: _Command) -> _Command:
    """Give a command the options that say which edge, and what it is shown; for ``Edge.at``."""
    token = click.option(
        "--token", metavar="TOKEN", envvar=VARIABLE, help=f"Better given in {VARIABLE}.  [what the edge left]"
    )
    admin = click.option(
        "--admin", metavar="URL", envvar="EDGECACHE_ADMIN", default=_ADMIN, help=f"The admin listener.  [{_ADMIN}]"
    )
    return admin(token(command))


class Address:
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
            made = http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        else:
            made = http.client.HTTPConnection(self._host, self._port or ADMIN_PORT, timeout=CONNECT_SECONDS)
        if self._path:
            made.sock = _connected(self._path)
        else:
            made.connect()
        return made


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(CONNECT_SECONDS)
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


@dataclass(frozen=True)
class Edge:
    """An edge's admin listener, and what it is shown."""

    address: Address
    secret: str | None

    @classmethod
    def at(cls, admin: str, token: str | None) -> Edge:
        """Return the edge that the options of a command mean; raise ``click.UsageError`` when they mean none."""
        edge = cls(Address(admin), token or local_secret(admin, os.environ))
        if token and not is_secret(token):
            raise click.UsageError("the token holds characters that cannot be sent")
        return edge

    def order(self, path: str, content: bytes, wait: int | None, unknown: str) -> bytes:
        """Return the content of the answer to a POST that is waited for; end when there is none."""
        fields = {"Content-Type": "application/json"} | ({} if wait is None else {"Prefer": f"wait={wait}"})
        patience = ANSWER_SECONDS if wait is None else wait + MARGIN_SECONDS
        return self.ask("POST", path, patience, unknown, content, fields)[1]

    def read(self, content: bytes, answer: type[_Answer]) -> _Answer:
        """Return the answer that a content is; end when it is none."""
        with contextlib.suppress(*_UNREADABLE):
            return msgspec.json.decode(content, type=answer)
        return self.refused(content)

    def refused(self, content: bytes) -> NoReturn:
        """End with what an answer says that is not what was asked for."""
        try:
            problem = msgspec.json.decode(content, type=Problem)
        except _UNREADABLE:
            end(UNREACHABLE, f"{self.address.text} is not the admin listener of an edge")
        needed = "" if self.secret else f"; set {VARIABLE}, or ask as the user of the edge, on its machine"
        end(FAILED, problem.detail + needed)

    def ask(
        self,
        method: str,
        path: str,
        patience: float,
        unknown: str,
        content: bytes | None = None,
        more: Mapping[str, str] = _NO_FIELDS,
    ) -> tuple[int, bytes]:
        """Return the status and content of an answer; end when there is none, and say what is ``unknown`` then."""
        text, fields = self.address.text, {"Accept": "application/json", **more}
        fields |= {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        try:
            connection = self.address.connect()
        except OSError as error:
            end(UNREACHABLE, f"no edge answers at {text}: {error.strerror or error}")
        try:
            connection.sock.settimeout(patience)
            connection.request(method, self.address.base + path, content, fields)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            end(TIMED_OUT, f"{text} did not answer in time; {unknown}")
        except (OSError, http.client.HTTPException) as error:
            end(UNREACHABLE, f"{text} broke off before it answered: {error}; {unknown}")
        finally:
            connection.close()
