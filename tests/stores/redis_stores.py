"""Redis stores for tests: made as the composition root makes them, with a clock that stands still."""

from __future__ import annotations

import itertools
from typing import Any, Final

from redis.asyncio import Redis

from edgecache.stores.record import RecordCodec
from edgecache.stores.redis import RedisStore
from edgecache.stores.redis_link import RedisLink
from tests.stores.contract import VARIANTS

__all__ = ["NOW", "PATIENT", "SECRET", "chunks_of", "keys_of", "list_of", "raw", "redis_store", "unused_namespace"]

NOW: Final = 1000.0
"""The responses of the contract were generated at 1000.5."""

SECRET: Final = b"a secret that all processes share"

PATIENT: Final = 30.0
"""Seconds: a budget that no test uses up, for tests that are about something else."""

_numbers = itertools.count()


def unused_namespace() -> str:
    return f"test{next(_numbers)}"


def redis_store(url: str, *, namespace: str | None = None, **settings: Any) -> RedisStore:
    namespace = unused_namespace() if namespace is None else namespace
    link = {name: settings.pop(name) for name in ("connections", "budget", "clock") if name in settings}
    codec = RecordCodec(namespace, settings.pop("secret", SECRET), settings.pop("encryption_keys", ()))
    settings = {"max_variants": VARIANTS, "now": lambda: NOW, **settings}
    return RedisStore(RedisLink(url, **{"budget": PATIENT, **link}), codec, namespace=namespace, **settings)


async def keys_of(client: Redis, store: RedisStore) -> list[bytes]:
    return sorted([name async for name in client.scan_iter(match=store._names.pattern)])


async def list_of(client: Redis, store: RedisStore) -> bytes:
    """The name of the only list."""
    (name,) = [name for name in await keys_of(client, store) if name.endswith(b"}")]
    return name


async def chunks_of(client: Redis, store: RedisStore) -> list[bytes]:
    return [name for name in await keys_of(client, store) if not name.endswith(b"}")]


async def raw(client: Redis, name: bytes) -> bytes:
    """The value of a key."""
    value = await client.get(name)
    assert isinstance(value, bytes)
    return value
