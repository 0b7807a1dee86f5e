"""The listening socket: where connections of the public server come from.

Theory
    A listener belongs to one address. It hands each connection to a protocol made by ``factory``: the server's
    own, or one that stands before it. To stop without refusing anybody who was already let in by the system, it
    accepts what is in the queue before it closes the socket.

    A worker is given ``sockets`` that its supervisor keeps open. Those it only polls: when it stops, what is in
    their queues is left to its successor, unless it is told that nobody else will come for it.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edgecache.edges.config_values import Unreadable, parse_address
from edgecache.edges.server import EdgeServer
from edgecache.edges.settings import ServerSettings
from edgecache.errors import ConfigError

__all__ = ["Listener", "parse_listen", "spelled", "unlink_own"]

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
        self,
        server: EdgeServer,
        settings: ServerSettings,
        factory: Callable[[], asyncio.Protocol] | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """Raise ``ConfigError`` for an address or a certificate that cannot be used.

        With ``sockets``, which already listen, ``settings.listen`` is not looked at. They are closed at the end.
        """
        self._server = server
        self._settings = settings
        self._factory = factory or server
        self._given = tuple(sockets)
        self._address = parse_listen(settings.listen)
        self._tls = tls_context(settings)
        self._listening: list[asyncio.Server] = []
        self._addresses: tuple[str, ...] = ()
        self._socket_file: tuple[Path, int] | None = None  # a unix socket's path, and the inode that is ours

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, each as ``HOST:PORT`` or ``unix:PATH``."""
        return self._addresses

    async def start(self) -> None:
        """Begin to accept; raise ``ConfigError`` when the address cannot be had."""
        try:
            if self._given:
                for given in self._given:
                    self._listening.append(await self._poll(given))
            else:
                self._listening.append(await self._listen())
        except OSError as error:
            raise ConfigError(f"cannot listen on {self._settings.listen}: {error.strerror or error}") from None
        self._addresses = tuple(spelled(one) for server in self._listening for one in server.sockets)

    async def _poll(self, given: socket.socket) -> asyncio.Server:
        # Of a copy: to stop polling a socket, an event loop closes it. Unix sockets go this way too, because
        # create_unix_server would remove the socket's file at the end.
        return await asyncio.get_running_loop().create_server(
            self._factory,
            sock=given.dup(),
            backlog=self._settings.backlog,
            ssl=self._tls,
            ssl_handshake_timeout=self._handshake_timeout,
        )

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if isinstance(self._address, Path):
            listening = await loop.create_unix_server(
                self._factory,
                str(self._address),
                backlog=self._settings.backlog,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout,
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
            ssl_handshake_timeout=self._handshake_timeout,
        )

    @property
    def _handshake_timeout(self) -> float | None:
        return self._settings.header_timeout if self._tls else None

    async def leave(self, *, last: bool = True) -> None:
        """Stop accepting. Unless this process is the ``last`` one to poll its sockets, leave their queues alone."""
        self._server.draining = True  # first, so that those let in last are told to leave
        await self._stop_accepting(last=last)

    async def drain(self, timeout: float | None = None) -> bool:
        """Stop accepting and let responses finish, in ``drain_timeout`` by default; return whether all did."""
        await self.leave()
        return await self._server.drain(self._settings.drain_timeout if timeout is None else timeout)

    async def force(self) -> None:
        """Stop accepting and reset every connection."""
        await self._stop_accepting(last=not self._given)
        await self._server.force()

    async def _stop_accepting(self, *, last: bool) -> None:
        listening, self._listening = self._listening, []
        given, self._given = self._given, ()
        if listening and last:
            await _let_in(listening)
        if listening:
            await _stop_polling(listening)
        for server in listening:
            server.close()
        for one in given:
            one.close()
        if listening:
            await _turns(_ROUNDS_TO_CONNECT)
        if self._socket_file is not None:
            unlink_own(*self._socket_file)


async def _let_in(listening: Sequence[asyncio.Server]) -> None:
    """Accept whoever waits."""
    for _ in range(_MOST_ROUNDS):
        if not _somebody_waits(listening):
            return
        await _turns(1)


async def _stop_polling(listening: Sequence[asyncio.Server]) -> None:
    """Accept nobody more; whoever was accepted gets a protocol, which a server that is closed would refuse."""
    loop = asyncio.get_running_loop()
    for one in listening:
        for sock in one.sockets:
            loop.remove_reader(sock.fileno())  # does nothing in uvloop, where a connection has its protocol at once
    await _turns(_ROUNDS_TO_CONNECT)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _somebody_waits(listening: Sequence[asyncio.Server]) -> bool:
    poll = select.poll()  # unlike select() it takes descriptors above 1023
    for one in listening:
        for sock in one.sockets:
            poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def unlink_own(path: Path, inode: int) -> None:
    """Remove a socket file, unless a successor has put its own in its place."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(found.st_mode) and found.st_ino == inode:
        path.unlink()


def spelled(listening: socket.socket) -> str:
    """Return where a socket listens: ``HOST:PORT`` or ``unix:PATH``."""
    name = listening.getsockname()
    if not isinstance(name, tuple):
        return f"{_UNIX_PREFIX}{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
