"""Raw bytes both ways after a 101 (RFC 9110 §7.8): a tunnel knows nothing of what it carries.

Theory
    Either side is read only as fast as the other takes it. When one side ends, for whatever reason, the other
    is told by closing; protocols that live here (WebSocket) say goodbye inside the tunnel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from edgecache.edges.delivery import Wire
from edgecache.edges.transaction import Transaction
from edgecache.errors import OriginError
from edgecache.http.message import FieldsView, render_fields, render_status_line
from edgecache.origin.base import Tunnel

__all__ = ["Inlet", "relay", "switching_head"]

_MOST_HELD: Final = 64 * 1024
"""Bytes from the client that may wait for the origin before the client is held back."""


class Inlet:
    """What the client has sent into a tunnel and nobody has taken yet. ``hold`` pauses and resumes its socket."""

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._held = bytearray()
        self._ended = False
        self._news = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self._held += data
        self._hold(len(self._held) > _MOST_HELD)
        self._news.set()

    def end(self) -> None:
        """Note that nothing more will come."""
        self._ended = True
        self._news.set()

    async def read(self) -> bytes:
        """Return what has come, waiting for something; empty at the end."""
        while not self._held and not self._ended:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._held)
        self._held.clear()
        self._hold(False)
        return data


def switching_head(fields: FieldsView, upgrade: str) -> bytes:
    """Return the head of a 101 as bytes, with the fields that are this connection's own."""
    own = [("Connection", "Upgrade")]
    if "Upgrade" not in fields:
        own.append(("Upgrade", upgrade))
    return render_status_line(101) + render_fields((*fields.items(), *own)) + b"\r\n"


async def relay(inlet: Inlet, wire: Wire, tunnel: Tunnel, transaction: Transaction) -> None:
    """Carry bytes until either side ends. The origin's side is left to be closed by its owner."""
    pumps = (asyncio.create_task(_to_origin(inlet, tunnel)), asyncio.create_task(_to_client(tunnel, wire, transaction)))
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        results = await asyncio.gather(*pumps, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _to_origin(inlet: Inlet, tunnel: Tunnel) -> None:
    with suppress(OriginError):  # the end of the origin's side is the end of the tunnel, however it comes
        while data := await inlet.read():
            await tunnel.write(data)


async def _to_client(tunnel: Tunnel, wire: Wire, transaction: Transaction) -> None:
    with suppress(OriginError):
        while data := await tunnel.read():
            await wire.drained()
            transaction.sent += len(data)
            wire.write(data)
