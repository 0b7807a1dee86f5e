"""The shared purge log in Redis (7.0 or newer) or Valkey: one script per operation, in ``scripts/*.lua``.

Theory
    Everything that must hold is decided inside a script, which Redis runs alone. ``head.lua`` opens each that reads
    or writes the log and proves that the state is the one others went on from. Three control keys, without TTL, share
    one hash tag, so a cluster keeps them together; the channel ``wake`` only hints. ``flags=allow-oom``: a purge is
    committed also when Redis is full of responses.

Invariants
    * A command is sent once. A repeated script could begin the same epoch twice, so clients made here never retry,
      and one that is passed in must not.
    * Nothing but ``StoreError`` is raised, ``ClientError`` (422) for an idempotency key with other selectors aside.

The keys must not be evicted (``maxmemory-policy`` volatile-* or noeviction). If they are, the next script notices.
The user needs the commands of the scripts, ``evalsha``, ``script|load``, ``subscribe`` and ``unsubscribe``, and
``wait`` for replicas.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Final, TypeAlias

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from edgecache.errors import ClientError, StoreError
from edgecache.purging.index import CAPACITY
from edgecache.purging.log import Member, Order, OrderReply, Purge, Sync, SyncReply
from edgecache.purging.selector import Kind, Selector

__all__ = ["PAGE", "PATIENCE", "RedisLog", "connect"]

PAGE: Final = 1000
"""Entries that one sync brings at most."""

PATIENCE: Final = 1.0
"""Seconds for one operation, connecting included: a purge without Redis is answered well within 1.5 s."""

_CONNECT: Final = 0.25
_READ: Final = 0.5
_CONNECTIONS: Final = 8
"""One syncs, one listens; the others are for purges at the same time, which wait for each other."""

_POLL: Final = 5.0
"""Seconds between looks at whether the subscription still stands."""

_KINDS: Final = frozenset(kind.value for kind in Kind)

_Argument: TypeAlias = bytes | str | int


def connect(url: str) -> Redis:
    """Return a client that fails fast and never sends anything twice; for ``rediss://``, ``redis://`` and ``unix://``."""
    pool = BlockingConnectionPool.from_url(
        url,
        client_name="edgecache",
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=_CONNECT,
        socket_timeout=_READ,
        max_connections=_CONNECTIONS,
        timeout=_READ,
    )
    return Redis.from_pool(pool)


class RedisLog:
    """A ``Log`` in Redis.

    Args:
        client: as ``connect`` makes it; closed with the log.
        namespace: what the keys are named after; edges with one namespace share their purges.
        capacity: selectors that the log holds.
        replicas: how many replicas must have a purge before it counts as committed (``WAIT``).
        patience: seconds for one operation.
    """

    def __init__(
        self,
        client: Redis,
        namespace: str = "edgecache",
        *,
        capacity: int = CAPACITY,
        page: int = PAGE,
        replicas: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        self._client: Final = client
        self._keys: Final = [f"ec:{{{namespace}}}:{name}" for name in ("meta", "log", "once")]
        self._channel: Final = f"ec:{{{namespace}}}:wake"
        self._capacity: Final = capacity
        self._page: Final = page
        self._replicas: Final = replicas
        self._patience: Final = patience
        self._sync: Final = client.register_script(_script("head", "sync"))
        self._purge: Final = client.register_script(_script("head", "purge"))
        self._leave: Final = client.register_script(_script("leave"))

    async def sync(self, sync: Sync) -> SyncReply:
        """As ``Log.sync``."""
        lease = "inf" if sync.lease == math.inf else str(math.ceil(sync.lease * 1000))
        said: list[_Argument] = [
            sync.epoch,
            sync.applied,
            sync.worker,
            lease,
            int(sync.settled),
            self._page,
            int(sync.census),
        ]
        async with self._limited():
            reply = await self._sync(keys=self._keys, args=[_nonce(), *said])
            epoch, sequence, floor, settled, entries, members = reply
            return SyncReply(
                bytes(epoch),
                int(sequence),
                int(floor),
                settled == b"1",
                tuple(_purge_of(entry) for entry in entries),
                _members(members) if sync.census else None,
            )

    async def purge(self, order: Order) -> OrderReply:
        """As ``Log.purge``; fewer replicas than asked for are a failure too."""
        fields = [part for selector in order.selectors for part in _fields(selector)]
        digest = hashlib.blake2b(b"\0".join(fields), digest_size=16).hexdigest() if order.key else ""
        said: list[_Argument] = [order.epoch, order.applied, self._capacity, self._channel, order.key, digest]
        async with self._limited(), self._client.client() as connection:
            reply = await self._purge(keys=self._keys, args=[_nonce(), *said, *fields], client=connection)
            outcome, epoch, sequence, settled, members = reply
            if outcome == b"conflict":
                raise ClientError(422, "the idempotency key was used for other selectors; use a new one")
            if self._replicas and await connection.wait(self._replicas, int(self._patience * 250)) < self._replicas:
                raise StoreError(f"the purge log has fewer than {self._replicas} replicas in step")
            return OrderReply(bytes(epoch), int(sequence), settled == b"1", _members(members))

    async def leave(self, worker: str, epoch: bytes, heartbeat: int | None = None) -> None:
        """As ``Log.leave``."""
        async with self._limited():
            await self._leave(keys=self._keys[:1], args=[epoch, worker, "" if heartbeat is None else heartbeat])

    async def listen(self, heard: Callable[[], None]) -> None:
        """As ``Log.listen``. Every confirmed subscription counts: what was published before it is lost."""
        try:
            async with self._client.pubsub() as subscription:
                await subscription.subscribe(self._channel)
                while True:
                    if await subscription.get_message(timeout=_POLL) is not None:
                        heard()
        except (RedisError, OSError) as error:
            raise StoreError(f"the purge log cannot be listened to: {error}") from error

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Bound an operation in time, and translate its errors; also an answer that makes no sense."""
        try:
            async with asyncio.timeout(self._patience):
                yield
        except (RedisError, OSError, ValueError, TypeError) as error:
            raise StoreError(f"the purge log cannot be used: {str(error) or type(error).__name__}") from error


def _script(*names: str) -> str:
    scripts = resources.files("edgecache.purging") / "scripts"
    return "#!lua flags=allow-oom\n" + "".join((scripts / f"{name}.lua").read_text("utf-8") for name in names)


def _nonce() -> bytes:
    return secrets.token_bytes(16)


def _fields(selector: Selector) -> tuple[bytes, bytes]:
    """Return kind and value as they stand in an entry; a ``~`` before the kind says soft."""
    kind = f"~{selector.kind.value}" if selector.soft else selector.kind.value
    return kind.encode(), selector.value.encode("utf-8", "surrogatepass")


def _purge_of(entry: Sequence[Any]) -> Purge:
    fields = [bytes(field).decode("utf-8", "surrogatepass") for field in entry[1]]
    pairs = zip(fields[::2], fields[1::2], strict=True)
    selectors = tuple(_selector(kind, value) for kind, value in pairs if kind != "once")
    return Purge(int(bytes(entry[0]).partition(b"-")[0]), selectors)


def _selector(kind: str, value: str) -> Selector:
    """Return what an entry says; a kind that only a newer edge knows is taken for everything."""
    soft, name = kind.startswith("~"), kind.removeprefix("~")
    return Selector(Kind(name), value, soft) if name in _KINDS else Selector(Kind.ALL, "", soft)


def _members(flat: Sequence[Any]) -> dict[str, Member]:
    members = {}
    for worker, text in zip(flat[::2], flat[1::2], strict=True):
        applied, lease, heartbeat = bytes(text).split(b" ")
        seconds = math.inf if lease == b"inf" else int(lease) / 1000
        members[bytes(worker).decode()] = Member(int(applied), seconds, int(heartbeat))
    return members
