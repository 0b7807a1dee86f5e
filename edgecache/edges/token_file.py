"""The token of the machine: how ``edgecache purge`` works without being told a secret.

Theory
    Whoever may read a file of the edge's user may purge. At start the edge makes up a secret and writes it to a file
    that only its user can read, named after the address of the admin listener; at stop it removes it. A command
    that is told no token looks there.

    ``$XDG_RUNTIME_DIR/edgecache/127.0.0.1:8081.token``, or ``~/.cache/edgecache/…`` where there is no such
    directory. Every interface is ``*``, a socket ``unix:`` and its path, percent-encoded.

Invariants
    * The secret lives as long as the process; it is in no log and in no other file.
    * A command never sends it elsewhere: the file's name is the address it is sent to. A listener on every interface
      gets it over loopback only.

Called by the supervisor, or by the composition root where there is none (``LocalToken``), and by commands
(``local_secret``). What else an edge leaves for commands of its user stands beside it (``place``).
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from edgecache.edges.tokens import Scope, Token, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["ADMIN_PORT", "LocalToken", "every_place", "local_secret", "place", "places"]

ADMIN_PORT: Final = 8081

_logger = logging.getLogger(__name__)
_SUFFIX: Final = ".token"
_BYTES: Final = 32
_PRIVATE_DIRECTORY: Final = 0o700
_PRIVATE_FILE: Final = 0o600


class LocalToken:
    """The secret of one process, and the files it is in. ``token`` is what the admin listener accepts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ: Final = environ
        self._secret: Final = secrets.token_urlsafe(_BYTES)
        self._paths: list[Path] = []
        self.token: Final = Token("(local)", digest_of(self._secret), Scope(all=True, deploy=True))

    @property
    def authorization(self) -> str:
        """What the processes of one edge show to each other (RFC 6750 §2.1)."""
        return f"Bearer {self._secret}"

    def write(self, bound: Iterable[object]) -> None:
        """Write a file for each address the admin listener is bound to, as ``getsockname`` tells them.

        Where that is impossible a warning is logged, and commands have to be told a token.
        """
        for address in bound:
            try:
                path = place(address, self._environ, _SUFFIX)
                _write_privately(path, self._secret)
            except OSError as error:
                _logger.warning("edgecache purge needs a token here, none can be left for it: %s", error)
            else:
                self._paths.append(path)

    def remove(self) -> None:
        """Remove what ``write`` wrote, unless a later process has put its own there."""
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                if path.read_text("ascii") == self._secret:
                    path.unlink()
        self._paths.clear()


def local_secret(admin: str, environ: Mapping[str, str]) -> str | None:
    """Return the secret that an edge of this user and machine left for the admin URL; None when there is none."""
    for path in places(admin, environ, _SUFFIX):
        with contextlib.suppress(OSError, UnicodeDecodeError):  # absent, or not ours to read: the same to us
            return path.read_text("ascii").strip()
    return None


def place(bound: object, environ: Mapping[str, str], suffix: str) -> Path:
    """Return where an edge leaves something for commands, in a directory that is made for it; raise ``OSError``.

    ``bound`` is an address of its admin listener, as ``getsockname`` tells it.
    """
    directory = next(_directories(environ), None)
    if directory is None:
        raise FileNotFoundError("neither XDG_RUNTIME_DIR nor HOME is set")
    directory.mkdir(_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    return directory / _file_name(_name_of(bound), suffix)


def places(admin: str, environ: Mapping[str, str], suffix: str) -> list[Path]:
    """Return where an edge may have left something whose admin listener has this URL."""
    names = _names_for(admin)
    return [directory / _file_name(name, suffix) for directory in _directories(environ) for name in names]


def every_place(environ: Mapping[str, str], suffix: str) -> list[Path]:
    """Return where an edge has left something, whatever its address."""
    return [path for directory in _directories(environ) for path in sorted(directory.glob(f"*{suffix}"))]


def _directories(environ: Mapping[str, str]) -> Iterator[Path]:
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "edgecache")
    if home := environ.get("HOME"):
        yield Path(home, ".cache", "edgecache")


def _file_name(name: str, suffix: str) -> str:
    return quote(name, safe=":[]*") + suffix


def _write_privately(path: Path, secret: str) -> None:
    """Put a file in place in one step; nobody else can read it at any time."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret)
    draft.replace(path)


def _name_of(address: object) -> str:
    """``("127.0.0.1", 8081)`` -> ``127.0.0.1:8081``; the path of a socket -> ``unix:/path``."""
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host, port = str(address[0]), address[1]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return f"*:{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _names_for(admin: str) -> list[str]:
    """The names under which an edge at this URL may have left its secret."""
    if admin.startswith("unix:"):
        return [f"unix:{admin.removeprefix('unix:')}"]
    url = urlsplit(admin)
    host, port = url.hostname or "", url.port or ADMIN_PORT
    if host == "localhost":
        return [f"127.0.0.1:{port}", f"[::1]:{port}", f"*:{port}"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    return [_name_of((str(address), port)), *([f"*:{port}"] if address.is_loopback else [])]
