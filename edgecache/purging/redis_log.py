"""The shared purge log in Redis (7.0 or newer) or Valkey: one script per operation, in ``scripts/*.lua``.

Theory
    Everything that must hold is decided inside a script, which Redis runs alone. ``head.lua`` opens each that reads
    or writes the log and proves that the state is the one others went on from. Three control keys, without TTL, share
    one hash tag, so a cluster keeps them together; the channel ``wake`` only hints, and reaches every node of a
    cluster. ``flags=allow-oom``: a purge is committed also when Redis is full of responses.

Invariants
    * Nothing is carried out twice. A repeated script could begin the same epoch twice, so clients made here never
      retry, and one that is passed in must not. A script that the server does not know was not carried out.
    * Nothing but ``StoreError`` is raised, ``ClientError`` (422) for an idempotency key with other selectors aside.
    * Nobody waits longer than ``patience``, whatever the library or the server makes of being given up.

Another server in its place
    A replica that takes over has another identity: the epoch ends, whatever it knows of the log. Until it has, purges
    fail. With ``replicas`` a purge counts only when so many have it. What that cannot exclude is a former primary that
    is cut off and still answers some processes: ``min-replicas-to-write`` on the servers makes it refuse their syncs
    too, so that their leases end; ``min-replicas-max-lag`` must be shorter than a replica takes to be promoted.

The keys must not be evicted (``maxmemory-policy`` volatile-* or noeviction). If they are, the next script notices.
The user needs the commands of the scripts, ``eval`` and ``evalsha``, and ``wait`` for replicas. Without ``publish`` and
``subscribe`` there are no hints. In a cluster the client needs ``cluster|slots`` and ``command``.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from functools import partial
from importlib import resources
from typing import Any, Final, TypeAlias, TypeVar

from redis.exceptions import NoScriptError, ReadOnlyError

from edgecache import redis_client
from edgecache.errors import ClientError, EdgecacheError, StoreError
from edgecache.purging.index import CAPACITY
from edgecache.purging.log import Activation, Member, Order, OrderReply, Purge, Sync, SyncReply
from edgecache.purging.release import Release
from edgecache.purging.selector import Kind, Selector
from edgecache.redis_client import Ask, Client, ask, conversation, drop_idle_connections, subscription

__all__ = ["PAGE", "PATIENCE", "RedisLog", "connect"]

PAGE: Final = 1000
"""Entries that one sync brings at most."""

PATIENCE: Final = 1.0
"""Seconds for one operation, connecting included: a purge without Redis is answered well within 1.5 s."""

_FOR_REPLICAS: Final = 0.25
"""The part of it that replicas have to say that they have a purge."""

_PURGES: Final = 6
"""Purges at the same time; more wait for each other, within their patience."""

_CONNECTIONS: Final = _PURGES + 2
"""The others are one that syncs and one that listens: no number of purges keeps this process from being in step."""

_WAIT: Final = 0.5

_POLL: Final = 5.0
"""Seconds between looks at whether the subscription still stands."""

_AGAIN: Final = 0.1
"""Seconds until what was cancelled and goes on is cancelled again."""

_KINDS: Final = frozenset(kind.value for kind in Kind)

_NO_SELECTORS: Final = ("once", "release")
"""What else stands in an entry: the idempotency key, and for people the name that was activated."""

_T = TypeVar("_T")
_Argument: TypeAlias = bytes | str | int


def connect(url: str) -> Client:
    """Return a client that fails fast and never has anything carried out twice; raise ``ConfigError``."""
    return redis_client.connect(url, connections=_CONNECTIONS, waiting=_WAIT, retries=0)


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
        client: Client,
        namespace: str = "edgecache",
        *,
        capacity: int = CAPACITY,
        page: int = PAGE,
        replicas: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        self._client: Final = client
        self._ask: Final = partial(ask, client)
        self._keys: Final = [f"ec:{{{namespace}}}:{name}" for name in ("meta", "log", "once")]
        self._channel: Final = f"ec:{{{namespace}}}:wake"
        self._capacity: Final = capacity
        self._page: Final = page
        self._replicas: Final = replicas
        self._patience: Final = patience
        self._free: Final = asyncio.Semaphore(_PURGES)
        self._talks: set[asyncio.Task[Any]] = set()

    async def sync(self, sync: Sync) -> SyncReply:
        """As ``Log.sync``."""
        lease = "inf" if sync.lease == math.inf else str(math.ceil(sync.lease * 1000))
        said: list[_Argument] = [
            sync.epoch,
            sync.applied,
            str(sync.known),
            sync.worker,
            lease,
            int(sync.settled),
            int(sync.sure),
            self._page,
            int(sync.census),
        ]
        reply = await self._limited(_run(self._ask, _SYNC, self._keys, _nonce(), *said))
        with _believing():
            epoch, sequence, floor, release, settled, sure, entries, members = reply
            return SyncReply(
                bytes(epoch),
                int(sequence),
                int(floor),
                Release.parse(bytes(release).decode()),
                settled == b"1",
                sure == b"1",
                tuple(_purge_of(entry) for entry in entries),
                _members(members) if sync.census else None,
            )

    async def purge(self, order: Order) -> OrderReply:
        """As ``Log.purge``; fewer replicas than asked for are a failure too."""
        fields = [part for selector in order.selectors for part in _fields(selector)]
        digest = hashlib.blake2b(b"\0".join(fields), digest_size=16).hexdigest() if order.key else ""
        return await self._committed(_PURGE, order, order.key, digest, *fields)

    async def activate(self, activation: Activation) -> OrderReply:
        """As ``Log.activate``; fewer replicas than asked for are a failure too."""
        return await self._committed(_ACTIVATE, activation, activation.name, "held" if activation.held else "active")

    async def leave(self, worker: str, epoch: bytes, heartbeat: int | None = None) -> None:
        """As ``Log.leave``."""
        said: list[_Argument] = [epoch, worker, "" if heartbeat is None else heartbeat]
        await self._limited(_run(self._ask, _LEAVE, self._keys[:1], *said))

    async def advice(self) -> str:
        """Return what the operator should change on the server, empty if nothing."""
        memory = await self._limited(_run(self._ask, _MEMORY, self._keys[:1]))
        policy = _POLICY.search(memory) if isinstance(memory, bytes) else None
        if policy is None or not policy[1].startswith(b"allkeys"):
            return ""
        return (
            f"maxmemory-policy {policy[1].decode()} evicts the purge log, and all responses with it: use volatile-lfu"
        )

    async def listen(self, heard: Callable[[], None]) -> None:
        """As ``Log.listen``. Every confirmed subscription counts: what was published before it is lost."""
        await self._limited(self._heard(heard), math.inf)

    async def close(self) -> None:
        """End what goes on, and close the client."""
        while self._talks:
            for talk in self._talks:
                talk.cancel()
            await asyncio.wait(self._talks, timeout=_AGAIN)
        await self._client.aclose()

    async def _committed(self, script: _Script, order: Order | Activation, *what: _Argument) -> OrderReply:
        said: list[_Argument] = [order.epoch, order.applied, str(order.known), self._capacity, self._channel, *what]
        reply = await self._limited(self._written(script, said))
        with _believing():
            outcome, epoch, sequence, release, settled, members = reply
            if outcome == b"conflict":
                raise ClientError(422, "the idempotency key was used for other selectors; use a new one")
            active = Release.parse(bytes(release).decode())
            return OrderReply(bytes(epoch), int(sequence), active, settled == b"1", _members(members))

    async def _written(self, script: _Script, said: Sequence[_Argument]) -> Any:
        """Return the reply of the script, when the replicas have what it wrote."""
        async with self._free, self._speaking() as ask:
            reply = await _run(ask, script, self._keys, _nonce(), *said)
            if self._replicas:
                patience = int(self._patience * _FOR_REPLICAS * 1000)
                if int(await ask("WAIT", self._replicas, patience)) < self._replicas:
                    raise StoreError(f"the purge log has fewer than {self._replicas} replicas in step")
            return reply

    async def _heard(self, heard: Callable[[], None]) -> None:
        async with subscription(self._client, self._channel) as listening:
            while True:
                if await listening.get_message(timeout=_POLL) is not None:
                    heard()

    def _speaking(self) -> AbstractAsyncContextManager[Ask]:
        """Return a conversation; on one connection, if that is to be asked which replicas have what it was told."""
        if self._replicas:
            return conversation(self._client, self._keys[0])
        return nullcontext(self._ask)

    async def _limited(self, talk: Coroutine[Any, Any, _T], patience: float | None = None) -> _T:
        """Wait for a talk, which is a task of its own, and translate its errors.

        In Python 3.11 the library can swallow a cancellation (it writes by ``asyncio.wait_for``), so it is the waiting
        that ends in time, and with it, soon, the talk.
        """
        patience = self._patience if patience is None else patience
        task = asyncio.create_task(talk)
        self._talks.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait((task,), timeout=None if patience == math.inf else patience)
        finally:
            talking = task.cancel()
        if talking or task.cancelled():
            raise StoreError("the purge log does not answer in time, or is closed")
        try:
            return task.result()
        except EdgecacheError:
            raise
        except Exception as error:  # whatever a library makes of what a broken peer says
            if isinstance(error, ReadOnlyError):  # it was the primary once
                await drop_idle_connections(self._client)
            raise _unusable(error) from error

    def _ended(self, talk: asyncio.Task[Any]) -> None:
        self._talks.discard(talk)
        if not talk.cancelled():
            talk.exception()  # seen: whoever still waits for it gets it as well


@contextmanager
def _believing() -> Iterator[None]:
    """Translate the errors of taking an answer apart that makes no sense."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> StoreError:
    """Return what the rest of the program is told, short enough for a log line."""
    return StoreError(f"the purge log cannot be used: {type(error).__name__} {error}"[:200])


class _Script:
    """What runs alone on the server; ``digest`` is how it calls it."""

    def __init__(self, *names: str) -> None:
        scripts = resources.files("edgecache.purging") / "scripts"
        parts = [(scripts / f"{name}.lua").read_text("utf-8") for name in names]
        self.source: Final = "#!lua flags=allow-oom\n" + "".join(parts)
        self.digest: Final = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


_SYNC: Final = _Script("head", "sync")
_PURGE: Final = _Script("head", "append", "purge")
_ACTIVATE: Final = _Script("head", "append", "activate")
_LEAVE: Final = _Script("leave")
_MEMORY: Final = _Script("memory")
_POLICY: Final = re.compile(rb"^maxmemory_policy:(\S+)", re.MULTILINE)


async def _run(ask: Ask, script: _Script, keys: Sequence[str], *arguments: _Argument) -> Any:
    """Return the reply of a script; a server that does not know it gets its source, and has done nothing before."""
    try:
        return await ask("EVALSHA", script.digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return await ask("EVAL", script.source, len(keys), *keys, *arguments)


def _nonce() -> bytes:
    return secrets.token_bytes(16)


def _fields(selector: Selector) -> tuple[bytes, bytes]:
    """Return kind and value as they stand in an entry; a ``~`` before the kind says soft."""
    kind = f"~{selector.kind.value}" if selector.soft else selector.kind.value
    return kind.encode(), selector.value.encode("utf-8", "surrogatepass")


def _purge_of(entry: Sequence[Any]) -> Purge:
    fields = [bytes(field).decode("utf-8", "surrogatepass") for field in entry[1]]
    pairs = zip(fields[::2], fields[1::2], strict=True)
    selectors = tuple(_selector(kind, value) for kind, value in pairs if kind not in _NO_SELECTORS)
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
