"""An admin listener with something to purge behind it, and a thread to run one in for clients that block."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from aiohttp import web

from edgecache.edges.admin import AdminState, make_admin
from edgecache.edges.purges import Purges, Purging
from edgecache.edges.siblings import Siblings
from edgecache.edges.tokens import Scope, Token, Tokens, digest_of
from edgecache.engine.counters import Counters
from edgecache.engine.matching import Matched
from edgecache.purging.local import LocalLedger
from edgecache.purging.receipt import Receipt, State, WorkerReceipt
from edgecache.purging.selector import Selector, target_of

if TYPE_CHECKING:
    from pathlib import Path

STARTED: Final = 1_763_858_400.0  # 2025-11-23 00:40:00 UTC
SECRET: Final = "canary-7f3a91"
EVERYTHING: Final = Token("root", digest_of(SECRET), Scope(all=True))

STORED: Final[Mapping[str, frozenset[str]]] = {
    "http://shop.example/p/42": frozenset({"product:42", "list"}),
    "http://shop.example/p/43?a=1": frozenset({"product:43", "list"}),
    "https://blog.example/": frozenset({"post:1"}),
}


class Stored:
    """What ``STORED`` has of selectors; ``asked`` tells how thoroughly that was wanted."""

    def __init__(self, *, complete: bool = True) -> None:
        self.complete = complete
        self.asked: list[bool] = []

    async def __call__(self, selectors: Sequence[Selector], limit: int, *, thorough: bool = False) -> Matched:
        self.asked.append(thorough)
        matchers = [one.matcher() for one in selectors]
        uris = [uri for uri, tags in STORED.items() for matcher in matchers if matcher(target_of(uri), tags)]
        return Matched(len(uris), list(dict.fromkeys(uris))[:limit], self.complete)


class SilentPeer(LocalLedger):
    """The ledger of a process whose only peer never says anything."""

    async def purge(
        self, selectors: Sequence[Selector], *, idempotency_key: str = "", patience: float | None = None
    ) -> Receipt:
        receipt = await super().purge(selectors, idempotency_key=idempotency_key)
        workers = (*receipt.workers, WorkerReceipt("far:1:ab", False))
        return Receipt(State.PARTIAL, receipt.sequence, receipt.epoch, workers, patience or 0.0, "far:1:ab is silent")


class LostLog(LocalLedger):
    """The ledger of a process that cannot reach the log."""

    async def purge(
        self, selectors: Sequence[Selector], *, idempotency_key: str = "", patience: float | None = None
    ) -> Receipt:
        return Receipt(State.UNCONFIRMED, 0, b"", (), 0.25, "the purge log cannot be used")


def purges(
    *tokens: Token,
    ledger: LocalLedger | None = None,
    clock: float = 0.0,
    siblings: Siblings | None = None,
    matching: Stored | None = None,
    counters: Counters | None = None,
    now: float = STARTED,
) -> Purges:
    """The real thing over what ``STORED`` says; its clocks stand still."""
    return Purges(
        Purging(
            ledger=ledger or LocalLedger(),
            matching=matching or Stored(),
            tokens=Tokens(tokens or (EVERYTHING,), lambda: clock),
            siblings=siblings or Siblings(),
            counters=counters or Counters(),
            now=lambda: now,
        )
    )


def admin(
    *tokens: Token, ledger: LocalLedger | None = None, clock: float = 0.0, made: Purges | None = None
) -> web.Application:
    """The real application; its clocks stand still."""
    made = made or purges(*tokens, ledger=ledger, clock=clock)
    state = AdminState(
        version="1.2.3",
        counters=made.counters,
        store_statistics=dict,
        in_flight=lambda: 0,
        ready=lambda: (True, []),
        started=STARTED,
        now=lambda: STARTED,
    )
    return make_admin(state, purges=made)


@contextlib.contextmanager
def running(app: web.Application, socket: Path | None = None) -> Iterator[list[object]]:
    """Run the application in a thread of its own; yield the addresses it is bound to."""
    loop, runner = asyncio.new_event_loop(), web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield list(runner.addresses)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
