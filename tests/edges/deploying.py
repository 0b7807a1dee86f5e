"""What the deploy API has behind it in its own tests: an engine that stores whatever it is told to, and a lost log."""

from __future__ import annotations

import asyncio
from typing import Final

from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.http.message import ResponseHead, fields_of
from edgecache.purging.local import LocalLedger
from edgecache.purging.receipt import Receipt, State
from edgecache.semantics.reason import Reason
from tests.edges.purging import STARTED

__all__ = ["SITE", "Engine", "Out"]

SITE: Final = "https://www.example.org"


class Engine:
    """Stores whatever is asked for, but for ``missing`` targets; waits until it may ``go`` on."""

    def __init__(self, *missing: str) -> None:
        self.missing = set(missing)
        self.asked: list[Request] = []
        self.go = asyncio.Event()
        self.go.set()
        self.at_once = self.most_at_once = 0

    async def handle(self, request: Request) -> Delivery:
        self.asked.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.go.wait()
        self.at_once -= 1
        exchange = Exchange(request, STARTED)
        if request.head.target in self.missing:
            exchange.reason = Reason.STATUS
            return Delivery(ResponseHead(404, fields_of(())), 0, exchange, pieces=())
        exchange.record("store")
        return Delivery(ResponseHead(200, fields_of(())), 0, exchange, pieces=())

    @property
    def targets(self) -> list[str]:
        return [request.head.target for request in self.asked]


class Out(LocalLedger):
    """The ledger of a process that cannot reach the log."""

    async def activate(self, name: str, *, held: bool = False, patience: float | None = None) -> Receipt:
        return Receipt(State.UNCONFIRMED, 0, b"", (), 0.25, "the purge log cannot be used")
