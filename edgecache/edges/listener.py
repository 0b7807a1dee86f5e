"""The listening socket: where connections of the public server come from.

Theory
    A listener belongs to one address. It hands each connection to a protocol made by ``factory``: the server's
    own, or one that stands before it. To stop without refusing anybody who was already let in by the system, it
    accepts what is in the queue before it closes the socket.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgecache.edges.config_values import Unreadable, parse_address
from edgecache.edges.server import EdgeServer
from edgecache.edges.settings import ServerSettings
from edgecache.errors import ConfigError

__all__ = ["Listener", "parse_listen"]

_UNIX_PREFIX: Final = "unix:"
_MOST_ROUNDS: Final = 100
"""Turns of the loop, each of which accepts a whole backlog, before clients that keep coming are turned away."""
_ROUNDS_TO_CONNECT: Final = 5
"""Turns of the loop after which an accepted connection has its protocol and is known to the server."""


def parse_listen(listen: str) -> tuple[str, int] | Path:
    """Return host and port, or the path of a unix socket; raise ``ConfigError``. The host of ``*:80`` is empty."""
    if listen.startswith(_UNIX_PREFIX) and len(listen) > len(_UNIX_PREFIX):
        return Path(listen[len(_UNIX_PREFIX) :])
    try:
        return parse_address(listen)
    except Unreadable as error:
        raise ConfigError(
            f"cannot listen on {listen!r}: {error}", hint=error.hint or "write HOST:PORT, [IPv6]:PORT or unix:PATH"
        ) from None


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """Return what TLS connections are made with, None without a certificate; raise ``ConfigError``."""
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the certificate {settings.tls_cert}: {error}") from None
    return context


class Listener:
    """One address on which ``server`` is reached."""

    def __init__(
        self, server: EdgeServer, settings: ServerSettings, factory: Callable[[], asyncio.Protocol] | None = None
    ) -> None:
        """Raise ``ConfigError`` for an address or a certificate that cannot be used."""
        self._server = server
        self._settings = settings
        self._factory = factory or server
        self._address = parse_listen(settings.listen)
        self._tls = tls_context(settings)
        self._listening: asyncio.Server | None = None
        self._addresses: tuple[str, ...] = ()
        self._socket_file: tuple[Path, int] | None = None  # a unix socket's path, and the inode that is ours

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, each as ``HOST:PORT`` or ``unix:PATH``."""
        return self._addresses

    async def start(self) -> None:
        """Begin to accept; raise ``ConfigError`` when the address cannot be had."""
        try:
            self._listening = await self._listen()
        except OSError as error:
            raise ConfigError(f"cannot listen on {self._settings.listen}: {error.strerror or error}") from None
        self._addresses = tuple(_spelled(listening) for listening in self._listening.sockets)

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        handshake = self._settings.header_timeout if self._tls else None
        if isinstance(self._address, Path):
            listening = await loop.create_unix_server(
                self._factory,
                str(self._address),
                backlog=self._settings.backlog,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
            )
            self._socket_file = self._address, self._address.stat().st_ino
            return listening
        host, port = self._address
        return await loop.create_server(
            self._factory,
            host or None,
            port,
            backlog=self._settings.backlog,
            reuse_port=self._settings.reuse_port or None,
            ssl=self._tls,
            ssl_handshake_timeout=handshake,
        )

    async def drain(self, timeout: float | None = None) -> bool:
        """Stop accepting and let responses finish, in ``drain_timeout`` by default; return whether all did."""
        self._server.draining = True  # first, so that those let in last are told to leave
        await self._stop_accepting()
        return await self._server.drain(self._settings.drain_timeout if timeout is None else timeout)

    async def force(self) -> None:
        """Stop accepting and reset every connection."""
        await self._stop_accepting()
        await self._server.force()

    async def _stop_accepting(self) -> None:
        listening, self._listening = self._listening, None
        if listening is None:
            return
        for _ in range(_MOST_ROUNDS):
            if not _somebody_waits(listening):
                break
            await asyncio.sleep(0)
        listening.close()
        for _ in range(_ROUNDS_TO_CONNECT):
            await asyncio.sleep(0)
        if self._socket_file is not None:
            _unlink_own(*self._socket_file)


def _somebody_waits(listening: asyncio.Server) -> bool:
    poll = select.poll()  # unlike select() it takes descriptors above 1023
    for sock in listening.sockets:
        poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _unlink_own(path: Path, inode: int) -> None:
    """Remove a socket file, unless a successor has put its own in its place."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(found.st_mode) and found.st_ino == inode:
        path.unlink()


def _spelled(listening: socket.socket) -> str:
    name = listening.getsockname()
    if not isinstance(name, tuple):
        return f"{_UNIX_PREFIX}{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
