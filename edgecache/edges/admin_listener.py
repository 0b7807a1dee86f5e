"""Where operators are accepted: the admin application behind an address, or behind sockets that were given.

Theory
    A worker is given sockets that all workers of its edge poll: whichever is quicker answers. So that one of them can
    be asked in particular, it also answers on a unix socket of its ``own``.

Made by the composition root.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from edgecache.edges.listener import parse_listen
from edgecache.errors import ConfigError

__all__ = ["AdminListener"]


class AdminListener:
    """``start``, then perhaps ``leave``, then ``close``."""

    def __init__(
        self, app: web.Application, listen: str, sockets: Sequence[socket.socket] = (), own: Path | None = None
    ) -> None:
        """Raise ``ConfigError`` for an address that is none.

        With ``sockets``, which already listen, ``listen`` is not listened on. They are closed at the end.
        """
        self._runner: Final = web.AppRunner(app, access_log=None)
        self._address: Final = parse_listen(listen)
        self._given: Final = tuple(sockets)
        self._own: Final = own

    @property
    def addresses(self) -> list[object]:
        """Where it is bound, as ``getsockname`` tells."""
        return list(self._runner.addresses)

    async def start(self) -> None:
        """Begin to accept; raise ``ConfigError`` when an address cannot be had."""
        await self._runner.setup()
        try:
            for site in self._sites():
                await site.start()
        except OSError as error:
            raise ConfigError(f"the admin listener cannot start: {error.strerror or error}") from None

    async def leave(self) -> None:
        """Accept nobody any more, and let go of connections as soon as nothing is being answered on them."""
        for site in list(self._runner.sites):
            await site.stop()
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
        for one in self._given:
            one.close()
        if self._own is not None:
            self._own.unlink(missing_ok=True)

    async def close(self) -> None:
        """Release everything."""
        await self.leave()
        await self._runner.cleanup()

    def _sites(self) -> list[web.BaseSite]:
        if self._given:
            # Of copies: to stop polling a socket, an event loop closes it.
            sites: list[web.BaseSite] = [web.SockSite(self._runner, one.dup()) for one in self._given]
        elif isinstance(self._address, Path):
            sites = [web.UnixSite(self._runner, str(self._address))]
        else:
            host, port = self._address
            sites = [web.TCPSite(self._runner, host or None, port)]
        return sites if self._own is None else [*sites, web.UnixSite(self._runner, str(self._own))]
