"""Clients of Redis or Valkey, made from a URL: one server, a cluster, or whoever Sentinels say is the primary.

Theory
    The shared tier and the purge log live on the same servers and are two users of them: each says how many
    connections it takes, how long it waits for a free one, and whether a command may be sent again after a connection
    broke. Where the servers are is read from the URL, here alone.

    ======================================== ==============================================================
    ``redis://[USER:PASSWORD@]HOST:PORT/DB``  one server; ``rediss://`` the same with TLS
    ``unix://[USER:PASSWORD@]/PATH?db=DB``    one server, on this machine
    ``redis+cluster://HOST:PORT``             a cluster, of which this is any node; ``rediss+cluster://`` with TLS
    ``redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB``
                                              the primary of SERVICE, asked anew for each connection; USER:PASSWORD
                                              are those of the servers, Sentinels are asked without;
                                              ``rediss+sentinel://`` with TLS to both
    ======================================== ==============================================================

Invariants
    * Nothing is sent before the first use. Opening a connection takes no command but AUTH and SELECT (RESP2, and no
      names): it needs no permission beyond those for the data, and nothing is ever pushed into a conversation.
    * With ``retries=0`` nothing is carried out twice: only what a cluster's node refused to do is sent to the next.
    * An error does not quote the URL, which may hold a password.

After a failover
    With Sentinels and in a cluster the new primary is found by the next connection. An address that stays while the
    server behind it changes works too, once ``drop_idle_connections`` was called: on READONLY, or when nobody answers.

Called by ``stores.redis_link`` and ``purging.redis_log``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection, RedisSSLContext, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedSSLConnection
from redis.backoff import ExponentialBackoff
from redis.exceptions import MovedError

from edgecache.errors import ConfigError

__all__ = ["Ask", "Client", "ask", "connect", "conversation", "drop_idle_connections", "prepare", "subscription"]

_CONNECT: Final = 0.25
_ANSWER: Final = 0.5
"""Seconds to open a connection, and to wait for one answer: who waits for it has gone by then."""

_FOR_THE_MAP: Final = 4
"""Connections beyond those for conversations: a cluster's client needs some to learn who has which slot."""

_SENTINEL_PORT: Final = 26379

_CLUSTER: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_SENTINEL: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}

_Secure = TypeVar("_Secure", bound=SSLConnection)
Client: TypeAlias = Redis | RedisCluster
Ask: TypeAlias = Callable[..., Awaitable[Any]]
"""Takes the words of a command and returns its reply."""


def connect(url: str, *, connections: int, waiting: float, retries: int) -> Client:
    """Return a client; it connects when it is first used, and is closed with ``aclose``.

    Args:
        url: see above.
        connections: most connections to one server. Users of a cluster or of Sentinels must not begin more
            conversations at once; other clients let them wait.
        waiting: seconds to wait for a free connection.
        retries: how often a command is sent again after its connection broke.

    Raises:
        ConfigError: the URL cannot be understood.
    """
    scheme, _, place = url.partition("://")
    server = _CLUSTER.get(scheme) or _SENTINEL.get(scheme) or scheme
    settings: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": _ANSWER,
        "socket_connect_timeout": _CONNECT,
        "retry": Retry(ExponentialBackoff(cap=0.05, base=0.005), retries),
        "driver_info": None,
        "max_connections": connections,
    }
    try:
        if scheme in _CLUSTER:
            return _cluster(f"{server}://{place}", settings)
        if scheme in _SENTINEL:
            return _through_sentinels(server, place, settings)
        options, context = _parsed(url)
        if context is not None:
            options["connection_class"] = _sharing(context, SSLConnection)
        return Redis.from_pool(BlockingConnectionPool(**settings, **options, timeout=waiting))
    except OSError as error:
        raise ConfigError("the certificates in the URL of the Redis server cannot be read", hint=str(error)) from error
    except Exception as error:  # ValueError, TypeError and RedisClusterException, depending on the part
        raise ConfigError("the URL of the Redis server cannot be understood") from error


async def prepare(client: Client) -> None:
    """Get the map of a cluster, once; without it the client would say its first words to any node."""
    if isinstance(client, RedisCluster):
        await client.initialize()


async def ask(client: Client, *command: bytes | str | int) -> Any:
    """Return the reply to one command."""
    await prepare(client)
    return await client.execute_command(*command)


@asynccontextmanager
async def conversation(client: Client, key: str) -> AsyncIterator[Ask]:
    """Say several things on one connection, to the server that has ``key``.

    A cluster's node that no longer has it is an error, ``MovedError``; the next conversation is with the one that has.
    """
    async with _connection(client, key) as connection:

        async def say(*command: bytes | str | int) -> Any:
            await connection.send_command(*command)
            return await connection.read_response()

        yield say


@asynccontextmanager
async def _connection(client: Client, key: str) -> AsyncIterator[AbstractConnection]:
    if isinstance(client, Redis):
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            yield connection
        finally:
            await client.connection_pool.release(connection)
        return
    await client.initialize()
    node = client.get_node_from_key(key)
    if node is None:
        raise ConnectionError("no node of the cluster has the key")
    connection = node.acquire_connection()
    try:
        yield connection
    except MovedError as error:
        await client.nodes_manager.move_slot(error)
        raise
    finally:
        node.release(connection)


@asynccontextmanager
async def subscription(client: Client, channel: str) -> AsyncIterator[PubSub]:
    """Hear a channel, on a connection of its own; in a cluster it does not matter on which node somebody says it."""
    await prepare(client)
    async with client.pubsub() as listening:
        await listening.subscribe(channel)
        yield listening


async def drop_idle_connections(client: Client) -> None:
    """Have new conversations begin on new connections; in a cluster all of them, with a new map of it."""
    if isinstance(client, RedisCluster):
        await client.aclose()
    else:
        await client.connection_pool.disconnect(inuse_connections=False)


class _PrimaryPool(SentinelConnectionPool):
    """Connections to the primary of a service; those to its Sentinels are closed with them."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def _parsed(url: str) -> tuple[dict[str, Any], RedisSSLContext | None]:
    """Return what a URL says as arguments of connections, and their TLS context."""
    options: dict[str, Any] = {**parse_url(url)}
    if options.get("connection_class") is not SSLConnection:
        return options, None
    del options["connection_class"]
    context = SSLConnection(**{name: options[name] for name in options if name.startswith("ssl_")}).ssl_context
    context.get()  # now: it takes a tenth of a second to read every certificate that the system trusts
    return options, context


def _sharing(context: RedisSSLContext, kind: type[_Secure]) -> type[_Secure]:
    """Return a kind of connections that have one TLS context instead of making one each."""

    class Connection(kind):  # type: ignore[misc, valid-type]
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.ssl_context = context

    return Connection


def _cluster(url: str, settings: dict[str, Any]) -> RedisCluster:
    _, context = _parsed(url)
    settings = {**settings, "max_connections": settings["max_connections"] + _FOR_THE_MAP}
    # A slot that moved is noted; a new map at every fifth of them would break off all conversations.
    cluster = RedisCluster.from_url(url, require_full_coverage=False, reinitialize_steps=0, **settings)
    if context is not None:
        cluster.connection_kwargs["connection_class"] = kind = _sharing(context, SSLConnection)
        for node in cluster.startup_nodes:
            node.connection_class = kind
    return cluster


def _through_sentinels(scheme: str, place: str, settings: dict[str, Any]) -> Redis:
    """Return a client of the primary; ``scheme`` is how to talk to all of them."""
    place, _, query = place.partition("?")
    authority, _, path = place.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    service, _, database = path.partition("/")
    if not service:
        raise ValueError("not the name of a service")
    options, context = _parsed(f"{scheme}://{credentials}{at}?{query}")
    options["db"] = int(database or "0")
    shared = {name: settings[name] for name in ("protocol", "socket_timeout", "socket_connect_timeout")}
    shared["retry"] = Retry(ExponentialBackoff(), 0)
    sentinels = Sentinel([_address(host) for host in hosts.split(",")], sentinel_kwargs=shared)  # type: ignore[no-untyped-call]
    if context is not None:
        options["connection_class"] = _sharing(context, SentinelManagedSSLConnection)
        for sentinel in sentinels.sentinels:
            sentinel.connection_pool.connection_class = _sharing(context, SSLConnection)
    return Redis.from_pool(_PrimaryPool(service, sentinels, **settings, **options))  # type: ignore[no-untyped-call]


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a Sentinel without a name")
    return parts.hostname, parts.port or _SENTINEL_PORT
