"""What the processes of an edge share through Redis, made from ``[redis]``: a tier of responses, a lock, a purge log.

A part of the composition root, beside ``app``: nothing is decided here. The modules behind it are imported only when
there is a server to talk to, since they take longer to import than everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from edgecache.edges.admin import Check
from edgecache.errors import StoreError
from edgecache.purging.distributed import DistributedLedger
from edgecache.purging.node import Timing
from edgecache.purging.verdict import Verdict
from edgecache.stores.record import RecordCodec
from edgecache.stores.write_behind import WriteBehind

if TYPE_CHECKING:
    from edgecache.edges.config import Config
    from edgecache.purging.redis_log import RedisLog
    from edgecache.semantics.stored import StoredResponse
    from edgecache.stores.redis import RedisStore
    from edgecache.stores.redis_link import RedisLink
    from edgecache.stores.redis_lock import FillLock

__all__ = ["Shared", "preload", "shared_by"]

_logger = logging.getLogger(__name__)

_NO_SECRET: Final = b"no secret is configured"
"""Keys the checks of records when the operator gives no secret: they then find damage, and no forger."""


@dataclass(frozen=True, slots=True)
class Shared:
    """One process's side of it."""

    link: RedisLink
    store: RedisStore
    behind: WriteBehind
    lock: FillLock
    log: RedisLog
    ledger: DistributedLedger

    async def advise(self) -> None:
        """Tell the operator what is wrong with the server's settings, as far as that can be asked."""
        try:
            if advice := await self.log.advice():
                _logger.warning("redis: %s", advice)
        except StoreError as error:
            _logger.info("redis: its settings cannot be asked for: %s", error)

    def counts(self) -> Mapping[str, int]:
        """Return what was counted, and what is so now."""
        breaker = self.link.breaker
        now = {"write_behind_bytes": self.behind.bytes, "store_breaker_open": int(breaker.is_open)}
        counted = asdict(self.store.counters) | asdict(self.behind.counters)
        return counted | {"breaker_opened": breaker.opened} | now

    def checks(self) -> list[Check]:
        """Return what works. Without any of it requests may still be sent here: the origin is then asked more often."""
        answers = not self.link.breaker.is_open
        return [
            Check("redis", answers, "" if answers else "it does not answer, and is asked now and then"),
            Check("purge log", not self.ledger.failure, self.ledger.failure),
        ]


def shared_by(config: Config, clock: Callable[[], float], steady: Callable[[], float]) -> Shared | None:
    """Return what the configuration wants to be shared; None without a server. Raise ``ConfigError``."""
    url = config.redis.url
    if url is None:
        return None
    from edgecache.purging.redis_log import RedisLog, connect
    from edgecache.stores.redis_link import RedisLink
    from edgecache.stores.redis_lock import FillLock

    redis = config.redis
    if redis.secret is None:
        _logger.warning("redis.secret is not set: records in Redis are safe from damage, not from forgery")
    secret = _NO_SECRET if redis.secret is None else redis.secret.encode()
    link = RedisLink(url, connections=redis.connections, budget=redis.budget)
    store = _store(config, link, secret, clock)
    log = RedisLog(connect(url), redis.namespace, replicas=redis.replicas)
    ledger = DistributedLedger(log, timing=Timing(lease=redis.lease), clock=steady)

    def wanted(response: StoredResponse) -> bool:
        return ledger.verdict(response) is not Verdict.INVALID

    return Shared(
        link=link,
        store=store,
        behind=WriteBehind(store, max_bytes=redis.write_behind, wanted=wanted),
        lock=FillLock(link, redis.namespace, secret),
        log=log,
        ledger=ledger,
    )


def preload(config: Config) -> None:
    """Import what ``shared_by`` will import.

    For whoever forks: it is in memory once then, and of the same version in every process, also after an upgrade.
    """
    if config.redis.url is not None:
        import edgecache.purging.redis_log
        import edgecache.stores.redis
        import edgecache.stores.redis_link
        import edgecache.stores.redis_lock  # noqa: F401


def _store(config: Config, link: RedisLink, secret: bytes, clock: Callable[[], float]) -> RedisStore:
    from edgecache.stores.redis import RedisStore

    codec = RecordCodec(config.redis.namespace, secret, [key.encode() for key in config.redis.encryption_keys])
    return RedisStore(
        link,
        codec,
        namespace=config.redis.namespace,
        max_variants=config.cache.max_variants,
        max_object=config.cache.max_object,
        now=clock,
    )
