"""The shared tier: stored responses in Redis or Valkey, for all processes that share a namespace and a secret.

Theory
    A server that others write to, that forgets, lags and dies, in front of which nobody must wait: so everything that
    comes back is opened (``stores.record``) before it is believed, every round trip has a budget
    (``stores.redis_link``), and whatever goes wrong is a miss or a ``StoreError``.

    The list of a cache key (``stores.redis_layout``) holds heads and small bodies, so that a hit is one round trip;
    large bodies rest beside it (``stores.redis_body``). Reading is a plain command, changing is one script.

Invariants
    * A list lives until the last ``freshness.discard_at`` in it, at least ``_SHORTEST``; chunks a little longer.
    * ``replace`` and ``remove`` compare and change in one step on the server.
    * What a purge says about a response is not asked here; ``birth`` comes back as it was.
    * No command but UNLINK of one key at a time, after SCAN of the own namespace, serves ``clear`` and ``erase``.

Statistics count what this process added and took away: Redis does not say what it evicted or what ran out.

Called by the composition root, through the contract of ``stores.base``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from edgecache.errors import StoreError
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.stored import Body, CacheKey, StoredResponse
from edgecache.stores.base import StoreStatistics
from edgecache.stores.body import MemoryBody
from edgecache.stores.record import INLINE, Layout, Record, RecordCodec
from edgecache.stores.redis_body import Chunks, RedisBody
from edgecache.stores.redis_erase import Erased, erased
from edgecache.stores.redis_layout import MAX_LIST, Frame, Names, frames
from edgecache.stores.redis_link import Command, RedisLink, said
from edgecache.stores.redis_lists import Lists

__all__ = ["MAX_LIST", "RedisCounters", "RedisStore"]

_MAX_RECORD: Final = MAX_LIST // 2
"""Longest record: a small body and a head with as many fields as an origin may send."""

_SHORTEST: Final = 1.0
"""Seconds that a response is kept at least, so that requests waiting for it find it."""

_LONGEST: Final = 366 * 86400.0
"""Seconds that a response is kept at most: what nobody asks for in a year is not a cache's business."""

_SCAN_COUNT: Final = 512
"""Keys looked at in one step of ``clear``: well below a millisecond of the server's time."""


@dataclass(slots=True)
class RedisCounters:
    """What happened to lookups and leftovers.

    Attributes:
        hits: lookups that found something.
        misses: lookups that found nothing usable.
        broken: records that did not open: another secret, version or key, damage, forgery.
        oversized: lists longer than ``MAX_LIST``, not read.
        leftovers: chunks whose end could not be brought forward; their own time to live ends them.
    """

    hits: int = 0
    misses: int = 0
    broken: int = 0
    oversized: int = 0
    leftovers: int = 0


class RedisStore:
    """A ``Store`` on a Redis or Valkey server, 7.0 or later, or a cluster of them.

    Args:
        link: how to ask it.
        codec: how responses become bytes; of the same namespace.
        namespace: letters, digits, ``_``, ``.`` and ``-``.
        max_variants: responses kept under one key.
        max_object: largest body that is stored, bytes.
        now: POSIX seconds.

    Raises:
        ConfigError: the namespace is not a name.
    """

    def __init__(
        self,
        link: RedisLink,
        codec: RecordCodec,
        *,
        namespace: str,
        max_variants: int = DEFAULT.max_variants,
        max_object: int = DEFAULT.max_object,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._link = link
        self._codec = codec
        self._names = Names(namespace)
        self._chunks = Chunks(link, codec, self._names)
        self._lists = Lists(link, self._names)
        self._max_variants = max_variants
        self._max_object = max_object
        self._now = now
        self._evictions = self._refused = 0
        self.counters: Final = RedisCounters()

    async def lookup(self, key: CacheKey) -> tuple[StoredResponse, ...]:
        """Return the responses under ``key``, newest first; those that do not open are left out."""
        held = await self._held(key)
        now = self._now()
        found = [record.response(self._body(record)) for _, record in self._opened(held, key)]
        usable = tuple(each for each in found if now < each.freshness.discard_at + _SHORTEST)
        if usable:
            self.counters.hits += 1
        else:
            self.counters.misses += 1
        return usable

    async def put(self, response: StoredResponse) -> bool:
        """Store ``response`` in place of the one with equal selecting values; False when it is refused.

        Refused is what is too large, or lost a chunk while it was written; it still ends the life of the one it would
        have replaced.
        """
        record = None if response.body.size > self._max_object else await self._written(response)
        return await self._stored(response, record)

    async def replace(self, old: StoredResponse, new: StoredResponse) -> bool:
        """Put ``new`` in the place of ``old``; False when ``old`` is no longer stored, or ``new`` is too large."""
        was = await self._marker(old)
        opened = self._opened(await self._held(old.key), old.key)
        record = next((record for frame, record in opened if frame.slot + frame.identity == was), None)
        if record is None:
            return False
        return await self._stored(new, await self._renewed(record, new), was)

    async def remove(self, response: StoredResponse) -> bool:
        """Remove ``response``; False when it is no longer stored."""
        return await self._swap(response.key, was=await self._marker(response)) is not None

    async def remove_key(self, key: CacheKey) -> int:
        """Remove every response under ``key``; return how many there were."""
        return await self._swap(key, most=0) or 0

    async def clear(self) -> None:
        """Remove everything in the namespace, and nothing else."""
        unlinks: list[Command] = []
        async for name in self._link.names(self._names.pattern, _SCAN_COUNT):
            unlinks.append(("UNLINK", name))
            if len(unlinks) == _SCAN_COUNT:
                await self._all(unlinks)
                unlinks = []
        await self._all(unlinks)
        self._lists.forget()

    def erase(self, matches: Callable[[StoredResponse], bool]) -> AsyncIterator[Erased]:
        """Remove what matches from the server, body and all, a step at a time; see ``stores.redis_erase``.

        What is put while it goes on may stay. Raises ``StoreError`` when a step fails; it can be begun again.
        """
        return erased(self._lists, self._codec, matches, self._max_object)

    async def close(self) -> None:
        """Close the connections; what is stored stays."""
        await self._link.close()

    def statistics(self) -> StoreStatistics:
        """Return what this process added and took away; ``max_bytes`` is 0: the bound is the server's own."""
        return StoreStatistics(
            responses=max(self._lists.responses, 0),
            keys=max(self._lists.keys, 0),
            bytes=max(self._lists.size, 0),
            max_bytes=0,
            evictions=self._evictions,
            refused=self._refused,
        )

    async def _held(self, key: CacheKey) -> bytes:
        """Return the list under ``key``, empty when there is none; one that is too long is not read."""
        held = await self._lists.read(self._codec.name(key))
        if held is None:
            self.counters.oversized += 1
        return held or b""

    def _opened(self, held: bytes, key: CacheKey) -> list[tuple[Frame, Record]]:
        """Return what can be believed of a list."""
        opened = []
        for frame in frames(held):
            try:
                opened.append((frame, self._codec.decode(frame.record, key)))
            except StoreError:
                self.counters.broken += 1
        return opened

    def _body(self, record: Record) -> Body:
        if record.layout.body_id:
            return RedisBody(self._chunks, CacheKey(record.head.key), record.layout)
        return MemoryBody((record.inline,))

    async def _marker(self, response: StoredResponse) -> bytes:
        """Return what a list calls ``response``: its slot and its identity."""
        digest = await self._chunks.digest(response.body)
        return self._codec.slot(response.selecting) + self._codec.identity(response, digest)

    async def _written(self, response: StoredResponse) -> Record | None:
        """Return the record of a response whose body, if it is large, has been written; None when chunks got lost."""
        body = response.body
        if body.size > INLINE:
            layout = await self._chunks.write(response.key, body)
            return await self._prolonged(response, layout)
        inline = b"".join([bytes(piece) async for piece in body.read(0, body.size)])
        content = self._codec.content()
        content.update(inline)
        return self._codec.record(response, Layout(content.size, content.digest()), inline)

    async def _renewed(self, was: Record, new: StoredResponse) -> Record | None:
        """As ``_written``, for a response that takes the place of one with often the same body."""
        if new.body.size > self._max_object:
            return None
        if new.body.size != was.layout.size or await self._chunks.digest(new.body) != was.layout.digest:
            return await self._written(new)
        if was.layout.body_id:
            return await self._prolonged(new, was.layout)
        return self._codec.record(new, was.layout, was.inline)

    async def _prolonged(self, response: StoredResponse, layout: Layout) -> Record | None:
        if await self._chunks.prolong(response.key, layout, self._lifetime(response)):
            return self._codec.record(response, layout)
        return None

    async def _stored(self, response: StoredResponse, record: Record | None, was: bytes = b"") -> bool:
        """Let the list name ``record``, in the place of ``was`` if given; without a record only take out."""
        slot = self._codec.slot(response.selecting)
        sealed = b"" if record is None else self._codec.encode(record)
        if record is None or len(sealed) > _MAX_RECORD:
            self._refused += 1
            await self._swap(response.key, was=was, slot=slot)
            return False
        layout = record.layout
        frame = Frame(slot, self._codec.identity(response, layout.digest), layout.body_id, layout.size, sealed)
        return (
            await self._swap(response.key, was=was, slot=slot, frame=frame, lifetime=self._lifetime(response))
            is not None
        )

    async def _swap(
        self,
        key: CacheKey,
        *,
        was: bytes = b"",
        slot: bytes = b"",
        frame: Frame | None = None,
        lifetime: float = 0.0,
        most: int | None = None,
    ) -> int | None:
        """Change the list under ``key`` in one step; return how many responses went, None when ``was`` is not there."""
        went = await self._lists.swap(
            self._codec.name(key),
            was=was,
            slot=slot,
            frame=frame,
            lifetime=lifetime,
            most=self._max_variants if most is None else most,
        )
        if went is None:
            return None
        self._evictions += sum(each.slot not in (slot, was[: len(each.slot)]) for each in went) if frame else 0
        await self._retire(key, went, keep=frame.body_id if frame else b"")
        return len(went)

    async def _retire(self, key: CacheKey, went: list[Frame], keep: bytes) -> None:
        """Let the chunks of what went end soon. If that fails they end later: with their own time to live."""
        for frame in went:
            if not frame.body_id or frame.body_id == keep or frame.body_size > self._max_object:
                continue
            try:
                await self._chunks.retire(key, Layout(frame.body_size, b"", frame.body_id))
            except StoreError:
                self.counters.leftovers += 1

    async def _all(self, commands: list[Command]) -> None:
        for reply in await self._link.each(commands) if commands else ():
            said(reply)

    def _lifetime(self, response: StoredResponse) -> float:
        """Seconds from now for which the response can be of use, within bounds."""
        return max(_SHORTEST, min(response.freshness.discard_at - self._now(), _LONGEST))
