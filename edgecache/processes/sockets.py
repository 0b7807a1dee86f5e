"""Listening sockets that outlive workers, generations, and changes of the configuration.

Theory
    A connection that waits to be accepted belongs to a socket, and is lost with it. So the supervisor makes the
    sockets and keeps them; workers only poll them. On a TCP address each slot has a socket of its own
    (``SO_REUSEPORT``): the system spreads connections evenly over them, which it does not do over processes that
    poll the same one. While a slot's worker is being replaced, its connections wait.

    A new configuration takes over the sockets of every address that both name, slot by slot. What it does not name is
    closed last by the old generation, which accepts whoever waits there (``surplus``).

Invariants
    * An address that somebody else listens on is refused, although ``SO_REUSEPORT`` would let processes of one user
      share it without noticing.
    * Sockets of an unsuccessful ``listen`` are closed; those of ``held`` are untouched.

Called by the supervisor.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from edgecache.edges.listener import parse_listen, spelled, unlink_own
from edgecache.errors import ConfigError

__all__ = ["ADMIN_BACKLOG", "Listening", "listen"]

ADMIN_BACKLOG: Final = 128
"""Connections to the admin listener that the system keeps until they are accepted."""

_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_Address: TypeAlias = tuple[int, Any]
"""A family, and an address as it was asked for: with port 0 if the system was to choose."""


@dataclass(frozen=True)
class Listening:
    """The sockets of one listener.

    Attributes:
        by_address: for each address one socket per slot, or one for all.
        files: unix sockets' paths, with the inodes that are ours.
    """

    by_address: dict[_Address, list[socket.socket]] = field(default_factory=dict)
    files: dict[Path, int] = field(default_factory=dict)

    def of_slot(self, slot: int) -> tuple[socket.socket, ...]:
        """Return what a slot polls."""
        return tuple(group[slot % len(group)] for group in self.by_address.values())

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield every socket."""
        for group in self.by_address.values():
            yield from group

    @property
    def addresses(self) -> list[str]:
        """Where it listens, each as ``HOST:PORT`` or ``unix:PATH``."""
        return [spelled(group[0]) for group in self.by_address.values()]

    @property
    def names(self) -> list[object]:
        """The same as ``getsockname`` tells."""
        return [group[0].getsockname() for group in self.by_address.values()]

    def surplus(self, successor: Listening) -> list[socket.socket]:
        """Return the sockets that a successor does not take over."""
        kept = set(successor)
        return [one for one in self if one not in kept]

    def close(self, successor: Listening | None = None) -> None:
        """Close what a successor does not take over."""
        for one in self.surplus(successor or Listening()):
            one.close()
        for path, inode in self.files.items():
            if successor is None or path not in successor.files:
                unlink_own(path, inode)


def listen(
    address: str, *, slots: int = 1, shared: bool = True, backlog: int, held: Listening | None = None
) -> Listening:
    """Return sockets that listen; raise ``ConfigError`` when the address cannot be had.

    Args:
        address: as in the configuration.
        slots: how many sockets on each TCP address.
        shared: let them have siblings later, on the same address.
        backlog: connections the system keeps until they are accepted.
        held: what is listened on now, to be taken over where it is the same.
    """
    held = held or Listening()
    made = Listening()
    try:
        where = parse_listen(address)
        if isinstance(where, Path):
            _listen_on_file(made, where, held)
        else:
            _listen_on_port(made, where, slots, shared, held)
        for one in made:
            one.listen(backlog)
    except OSError as error:
        made.close(held)
        raise ConfigError(f"cannot listen on {address}: {error.strerror or error}") from None
    return made


def _listen_on_port(made: Listening, where: tuple[str, int], slots: int, shared: bool, held: Listening) -> None:
    host, port = where
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    absent: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        group = held.by_address.get((family, address), [])[:slots]
        target = group[0].getsockname() if group else (address[0], port, *address[2:])
        try:
            if shared and port and not group:
                _bound(family, target, shared=False).close()  # raises when a stranger listens there
            while len(group) < slots:
                group.append(_bound(family, target, shared=shared))
                target = group[0].getsockname()
        except OSError as error:
            if error.errno not in _NOT_HERE:
                made.by_address[family, address] = group
                raise
            absent = error  # localhost has an IPv6 address even where there is no IPv6
        else:
            made.by_address[family, address] = group
            port = target[1]
    if absent is not None and not made.by_address:
        raise absent


def _bound(family: int, address: Any, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def _listen_on_file(made: Listening, path: Path, held: Listening) -> None:
    asked = socket.AF_UNIX, str(path)
    if asked in held.by_address:
        made.by_address[asked] = held.by_address[asked]
        made.files.update(held.files)
        return
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):  # left behind by a process that was killed
            path.unlink()
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.by_address[asked] = [one]
    one.setblocking(False)
    one.bind(str(path))
    made.files[path] = path.stat().st_ino
