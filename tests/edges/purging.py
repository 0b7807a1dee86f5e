"""An admin listener with something to purge behind it, and a thread to run one in for clients that block."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web
from msgspec import structs

from edgecache.edges.admin import AdminState, make_admin
from edgecache.edges.deploys import Deploying, Deploys
from edgecache.edges.erasures import Erasures, Progress
from edgecache.edges.explain_api import ExplainApi
from edgecache.edges.purges import Purges, Purging
from edgecache.edges.scan_api import ScanApi
from edgecache.edges.siblings import Siblings
from edgecache.edges.tokens import Scope, Token, Tokens, digest_of
from edgecache.engine.cache import Cache
from edgecache.engine.counters import Counters
from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.engine.matching import Matched
from edgecache.engine.scanning import Scanning
from edgecache.engine.warming import Handle
from edgecache.http.message import ResponseHead, fields_of
from edgecache.origin.settings import OriginSettings
from edgecache.origin.upstreams import Upstreams
from edgecache.purging.local import LocalLedger
from edgecache.purging.receipt import Receipt, State, WorkerReceipt
from edgecache.purging.selector import Selector, target_of
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import RuleSet
from edgecache.stores.memory import MemoryStore
from edgecache.stores.tiered import TieredStore

if TYPE_CHECKING:
    from pathlib import Path

    from edgecache.semantics.stored import StoredResponse

STARTED: Final = 1_763_858_400.0  # 2025-11-23 00:40:00 UTC
SECRET: Final = "canary-7f3a91"
EVERYTHING: Final = Token("root", digest_of(SECRET), Scope(all=True, deploy=True))

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


@dataclass(frozen=True)
class Step:
    """``stores.redis_erase.Erased``."""

    scanned: int = 0
    erased: int = 0
    dropped: int = 0


class Rests:
    """What rests in Redis, taken out one response a step; ``go`` is what a step waits for, ``fails`` what it raises."""

    def __init__(self, *responses: StoredResponse) -> None:
        self.left = list(responses)
        self.go = asyncio.Event()
        self.go.set()
        self.fails: Exception | None = None
        self.passes = 0

    async def erase(self, matches: Callable[[StoredResponse], bool]) -> AsyncIterator[Progress]:
        self.passes += 1
        erased = 0
        for scanned, response in enumerate(self.left.copy(), start=1):
            await self.go.wait()
            if self.fails is not None:
                raise self.fails
            if matches(response):
                self.left.remove(response)
                erased += 1
            yield Step(scanned, erased)


@dataclass
class Patience:
    """A clock that goes on when somebody sleeps by it; ``asleep`` is set when somebody does."""

    at: float = 0.0
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    asleep: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self.awake.wait()
        self.at += seconds


def erasing(rests: Rests, patience: Patience | None = None, counters: Counters | None = None) -> Erasures:
    """Erasures of what rests; without a ``patience`` nothing is waited for."""
    if patience is None:
        patience = Patience()
        patience.awake.set()
    return Erasures(rests.erase, counters=counters, now=lambda: STARTED, steady=patience, sleep=patience.sleep)


def purges(
    *tokens: Token,
    ledger: LocalLedger | None = None,
    clock: float = 0.0,
    siblings: Siblings | None = None,
    matching: Stored | None = None,
    counters: Counters | None = None,
    erasures: Erasures | None = None,
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
            erasures=erasures or Erasures(now=lambda: now),
            now=lambda: now,
        )
    )


async def no_origin(request: Request) -> Delivery:
    """What an engine answers whose origin is down."""
    exchange = Exchange(request, STARTED, result="error", reason=Reason.ORIGIN_ERROR)
    return Delivery(ResponseHead(502, fields_of(())), 0, exchange, pieces=())


def deploys(
    tokens: Tokens, ledger: LocalLedger | None = None, handle: Handle = no_origin, siblings: Siblings | None = None
) -> Deploys:
    """The real thing, which never pauses; its clock stands still."""
    return Deploys(
        Deploying(
            ledger=ledger or LocalLedger(),
            handle=handle,
            tokens=tokens,
            siblings=siblings or Siblings(),
            now=lambda: STARTED,
            sleep=lambda seconds: asyncio.sleep(0),
        )
    )


def admin(
    *tokens: Token,
    ledger: LocalLedger | None = None,
    clock: float = 0.0,
    made: Purges | None = None,
    deploying: Deploys | None = None,
    stored: Iterable[StoredResponse] = (),
    siblings: Siblings | None = None,
) -> web.Application:
    """The real application; its clocks stand still. What is ``stored`` can be explained and scanned."""
    ledger = ledger or LocalLedger()
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
    memory = MemoryStore(1 << 24)
    for one in stored:
        memory.put_now(structs.replace(one, birth=ledger.birth()))
    rules = RuleSet(DEFAULT)
    origin = Upstreams(OriginSettings(urls=("http://127.0.0.1:9",)))  # that nobody asks
    cache = Cache(origin, TieredStore(memory), ledger, made.counters, rules, lambda: STARTED)
    return make_admin(
        state,
        purges=made,
        deploys=deploying or deploys(made.tokens, ledger),
        explaining=ExplainApi(cache.explainer(memory, {}), made.tokens),
        scanning=ScanApi(Scanning(memory, ledger, rules, lambda: STARTED), made, siblings or Siblings()),
    )


@contextlib.contextmanager
def running(app: web.Application, socket: Path | None = None) -> Iterator[list[object]]:
    """Run the application in a thread of its own; yield the addresses it is bound to."""
    loop, runner = asyncio.new_event_loop(), web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()

    async def stop() -> None:
        await runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:  # erasures that nobody waited for
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield list(runner.addresses)
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
