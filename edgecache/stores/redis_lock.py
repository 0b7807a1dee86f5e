"""A lock per cache key that processes share, so that one of them fetches from the origin and the others wait.

Theory
    Within a process requests for one key are collapsed; between processes this does it, for a round trip per miss.
    It is a hint: when two fetch, nothing is wrong. So whatever fails means "not locked, go on", and what a process that
    died leaves behind ends by itself. Waiting is asking again, first soon and then less often: the one that fetches
    is seldom done within milliseconds, and a message might get lost.

Invariants
    * A lock has a time to live, always, and ends with it.
    * Only who has a lock gives it back: what another took after the time was over is left alone.
    * Nothing is raised. Nobody waits longer than was said, plus one round trip.
    * Names are keyed digests in the namespace: they give no URL away to who does not know the secret.

Made by the composition root; called by the engine, through ``stores.base.FillLock``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from edgecache.errors import StoreError
from edgecache.semantics.stored import CacheKey
from edgecache.stores.redis_body import milliseconds
from edgecache.stores.redis_link import RedisLink
from edgecache.stores.seal import derive

__all__ = ["FillLock", "Owner"]

_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1
"""Seconds between looks at a lock that another has: doubled from the first to the second."""

_TOKEN_SIZE: Final = 16

_ACQUIRE: Final = """
-- KEYS[1]: the lock. ARGV: token, milliseconds. Asking twice is as asking once: a reply can get lost on the way.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
"""

_RELEASE: Final = """
-- KEYS[1]: the lock. ARGV: token.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Proof of having a lock, or of not having been able to ask for it."""

    name: str
    token: bytes


class FillLock:
    """Locks in one namespace.

    Args:
        link: how to ask.
        namespace: as that of the store.
        secret: as that of the store.
        clock: monotonic seconds.
        sleep: waits for seconds of that clock.
        entropy: source of randomness.

    ``failures`` counts what could not be asked for.
    """

    def __init__(
        self,
        link: RedisLink,
        namespace: str,
        secret: bytes = b"",
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._link: Final = link
        self._prefix: Final = f"ec:{namespace}:f:"
        self._name_key: Final = derive(secret, b"ec lock names")
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._entropy: Final = entropy
        self.failures = 0

    async def acquire(self, key: CacheKey, seconds: float) -> Owner | None:
        """Return the proof of having the lock for at most ``seconds``; None when another has it."""
        owner = Owner(self._name(key), self._entropy(_TOKEN_SIZE))
        try:
            has_it = await self._link.script(_ACQUIRE, owner.name, owner.token, milliseconds(seconds))
        except StoreError:
            self.failures += 1
            return owner
        return None if has_it == 0 else owner

    async def release(self, owner: Owner) -> None:
        """Give the lock back; what another has by now stays. If that fails, its time ends it."""
        try:
            await self._link.script(_RELEASE, owner.name, owner.token)
        except StoreError:
            self.failures += 1

    async def released(self, key: CacheKey, seconds: float) -> bool:
        """Wait until nobody has the lock, at most ``seconds``; return False when somebody still has it then."""
        name, until, pause = self._name(key), self._clock() + seconds, _SHORTEST_PAUSE
        while await self._is_held(name):
            left = until - self._clock()
            if left <= 0:
                return False
            await self._sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return True

    async def _is_held(self, name: str) -> bool:
        try:
            return bool(await self._link.together("EXISTS", name) == 1)
        except StoreError:
            self.failures += 1
            return False

    def _name(self, key: CacheKey) -> str:
        content = str(key).encode("utf-8", "surrogatepass")
        return self._prefix + blake2b(content, key=self._name_key, digest_size=16).hexdigest()
