"""Both users of Redis, the shared tier with its lock and the purge log, on everything that a URL can lead to."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis.exceptions
import trustme
from msgspec import structs
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from edgecache import redis_client
from edgecache.errors import ConfigError, StoreError
from edgecache.purging.redis_log import RedisLog
from edgecache.purging.redis_log import connect as connect_log
from edgecache.redis_client import Client
from edgecache.stores.record import CHUNK
from edgecache.stores.redis_link import RedisLink
from edgecache.stores.redis_lock import FillLock
from tests.faults.proxy import FaultProxy
from tests.faults.redis_server import RedisServer, Sentinel
from tests.ports import free_port
from tests.purging.redis_words import ordering, syncing
from tests.purging.world import World
from tests.stores.contract import content, key, response
from tests.stores.redis_stores import PATIENT, redis_store

LARGE: Final = bytes(range(256)) * (2 * CHUNK // 256) + b"the end"
"""A body of three chunks."""

PERMISSIONS: Final = re.findall(
    r"^ACL SETUSER edge on >PASSWORD (.*)$", (Path(__file__).parents[1] / "docs/redis.md").read_text(), re.MULTILINE
)
"""What operators are told that an edge needs, on a server and in a cluster."""

WITHOUT_HINTS: Final = "resetkeys ~ec:* resetchannels -@all +@read +@write +@scripting -@dangerous +info +wait"
"""Less than that; a purge then comes to the other processes with their next sync."""


def connect(url: str) -> Client:
    return redis_client.connect(url, connections=7, waiting=0.1, retries=0)


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:1",
        "http://h",
        "redis://h:port",
        "redis+cluster://h:1/7",
        "redis+cluster://",
        "redis+sentinel://",
        "redis+sentinel://h:1",
        "redis+sentinel://h:1/",
        "redis+sentinel:///service",
        "redis+sentinel://h:1,/service",
        "redis+sentinel://h:port/service",
        "redis+sentinel://h:1/service/db",
        "redis+sentinel://h:1/service/0/1",
        "redis+sentinel+unix://h:1/service",
    ],
)
def test_a_url_that_cannot_be_understood_is_an_error_that_does_not_quote_it(url: str) -> None:
    for using in (connect, connect_log, RedisLink):
        with pytest.raises(ConfigError) as raised:
            using(url)
        assert "h:" not in raised.value.message


@pytest.mark.parametrize(
    ("url", "sentinels", "service", "settings"),
    [
        ("redis+sentinel://h/main", [("h", 26379)], "main", {"db": 0}),
        ("redis+sentinel://h:1,[::1]:2,g/main/3", [("h", 1), ("::1", 2), ("g", 26379)], "main", {"db": 3}),
        (
            "redis+sentinel://u%40x:p%3Aw@h:1,g:2/the.main-1",
            [("h", 1), ("g", 2)],
            "the.main-1",
            {"username": "u@x", "password": "p:w"},
        ),
    ],
)
def test_urls_of_sentinels(
    url: str, sentinels: list[tuple[str, int]], service: str, settings: dict[str, object]
) -> None:
    pool = pool_of(url)
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == sentinels
    assert all("password" not in each or each["password"] is None for each in asked)
    assert pool.service_name == service
    assert {name: pool.connection_kwargs[name] for name in settings} == settings


def pool_of(url: str) -> SentinelConnectionPool:
    client = connect(url)
    assert isinstance(client, Redis)
    assert isinstance(client.connection_pool, SentinelConnectionPool)
    return client.connection_pool


async def test_tls_is_talked_with_sentinels_and_servers(root: Path) -> None:
    """A Sentinel, as any server, that does not present the certificate is no Sentinel."""
    context, trusted = certificate(directory(root, "tls"))
    async with FaultProxy(("127.0.0.1", 1), ssl=context) as proxy:
        pool = pool_of(f"rediss+sentinel://127.0.0.1:{proxy.port}/main?ssl_ca_certs={trusted}")
        (sentinel,) = pool.sentinel_manager.sentinels
        for each in (pool, sentinel.connection_pool):
            connection = each.make_connection()
            assert isinstance(connection, SSLConnection)
            assert connection.ssl_context.get() is pool.make_connection().ssl_context.get()
            assert connection.ssl_context.ca_certs == str(trusted)
        with pytest.raises(redis.exceptions.ConnectionError, match="No master found"):
            await pool.get_master_address()
        assert proxy.accepted == 1
        await pool.aclose()


@pytest.mark.parametrize("scheme", ["rediss://h:1", "rediss+cluster://h:1", "rediss+sentinel://h:1/main"])
def test_certificates_that_are_not_there_are_an_error_at_once(scheme: str) -> None:
    with pytest.raises(ConfigError, match="certificates"):
        connect(f"{scheme}?ssl_ca_certs=/nowhere/ca.pem")


def certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server presents, and the file with which clients trust it."""
    authority, context, trusted = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), directory / "ca.pem"
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(trusted)
    return context, trusted


# What there is behind them


@dataclass
class Place:
    """``url`` has room for ``edge:pw@``; ``servers`` are those that know the user."""

    url: str
    servers: list[RedisServer]
    permissions: str


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("places")


def directory(root: Path, name: str) -> Path:
    made = root / name
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def single(root: Path) -> Iterator[RedisServer]:
    server = RedisServer(directory(root, "single"), port=free_port()).start()
    yield server
    server.kill()


def clustered(directory: Path) -> tuple[RedisServer, str]:
    """A node without slots, and its port for other nodes."""
    bus = str(free_port())
    return RedisServer(directory, "--cluster-enabled", "yes", "--cluster-port", bus, port=free_port()).start(), bus


@pytest.fixture(scope="module")
def cluster(root: Path) -> Iterator[list[RedisServer]]:
    """Three primaries with a third of the slots each."""
    made = [clustered(directory(root, f"node{number}")) for number in range(3)]
    nodes, bus = [node for node, _ in made], made[0][1]
    for number, node in enumerate(nodes):
        node.ask("CLUSTER", "ADDSLOTSRANGE", str(5462 * number), str(min(5462 * (number + 1), 16384) - 1))
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        node.ask("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), bus)
    while not all(
        b"cluster_state:ok" in (told := node.ask("CLUSTER", "INFO")) and b"known_nodes:3" in told for node in nodes
    ):
        time.sleep(0.02)
    yield nodes
    for node in nodes:
        node.kill()


@pytest.fixture(scope="module")
def sentinel(root: Path, single: RedisServer) -> Iterator[Sentinel]:
    """With a name that does not answer before its own."""
    watching = Sentinel(directory(root, "sentinel"), single.port)
    RedisServer.start(watching)
    yield watching
    watching.kill()


@pytest.fixture
async def tls(single: RedisServer, tmp_path: Path) -> AsyncIterator[str]:
    context, trusted = certificate(tmp_path)
    async with FaultProxy(single.socket, ssl=context) as proxy:
        yield f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={trusted}"


@pytest.fixture(params=["unix", "tcp", "tls", "sentinel", "cluster"])
def place(request: pytest.FixtureRequest, root: Path) -> Place:
    """Where a URL leads."""

    def made(name: str) -> Any:
        return request.getfixturevalue(name)

    single, port = PERMISSIONS[0], free_port()
    match request.param:
        case "unix":
            return Place(made("single").url, [made("single")], single)
        case "tcp":
            return Place(f"redis://127.0.0.1:{made('single').port}", [made("single")], single)
        case "tls":
            return Place(made("tls"), [made("single")], single)
        case "sentinel":
            url = f"redis+sentinel://127.0.0.1:{port},127.0.0.1:{made('sentinel').port}/main"
            return Place(url, [made("single")], single)
        case _:
            nodes = made("cluster")
            return Place(f"redis+cluster://127.0.0.1:{nodes[0].port}", nodes, PERMISSIONS[1])


def signed_in(place: Place, permissions: str) -> str:
    for server in place.servers:
        server.ask("ACL", "DELUSER", "edge")
        assert server.ask("ACL", "SETUSER", "edge", "on", ">pw", *permissions.split()) == b"+OK\r\n"
    return place.url.replace("://", "://edge:pw@")


async def use_the_store(url: str) -> None:
    store = redis_store(url)
    await asyncio.gather(*(store.put(response(str(number), b"%d" % number)) for number in range(20)))
    found = await asyncio.gather(*(store.lookup(key(str(number))) for number in range(20)))
    assert [await content(one) for (one,) in found] == [b"%d" % number for number in range(20)]
    stored = response(body=LARGE)
    assert await store.put(stored)
    assert await store.replace(stored, new := structs.replace(stored, status=203))
    (held,) = await store.lookup(key("a"))
    assert (held.status, await content(held)) == (203, LARGE)
    assert await store.remove(new)
    steps = [step async for step in store.erase(lambda each: each.key in (key("1"), key("2")))]
    assert (steps[-1].erased, steps[-1].dropped) == (2, 0)
    assert await store.remove_key(key("3")) == 1
    await store.clear()
    assert await store.lookup(key("4")) == ()
    await store.close()


async def use_the_lock(url: str) -> None:
    link = RedisLink(url, budget=PATIENT)
    lock = FillLock(link, "places")
    owner = await lock.acquire(key("a"), 60.0)
    assert owner is not None
    assert await lock.acquire(key("a"), 60.0) is None
    await lock.release(owner)
    assert await lock.released(key("a"), 60.0)
    assert lock.failures == 0
    await link.close()


async def use_the_log(url: str, *, hints: bool = True) -> None:
    log = RedisLog(connect_log(url), "places", capacity=2)
    first = await log.sync(syncing())
    replies = await asyncio.gather(*(log.purge(ordering(key=f"k{number}")) for number in range(20)))
    assert len({reply.sequence for reply in replies}) == 20
    reply = await log.sync(syncing(epoch=first.epoch, applied=replies[0].sequence))
    assert len(reply.purges) == 2
    assert await log.advice() == ""
    await log.leave("w", first.epoch)
    heard: asyncio.Queue[None] = asyncio.Queue()
    listening = asyncio.create_task(log.listen(lambda: heard.put_nowait(None)))
    if hints:
        await heard.get()  # the subscription
        await log.purge(ordering())
        await heard.get()
    else:
        with pytest.raises(StoreError):
            await listening
    demanding = RedisLog(connect_log(url), "places", replicas=1, patience=0.5)
    with pytest.raises(StoreError, match="fewer than 1 replicas"):
        await demanding.purge(ordering())
    await demanding.close()
    await log.close()
    if hints:
        with pytest.raises(StoreError):
            await listening


async def test_everything_works_everywhere(place: Place) -> None:
    await use_the_store(place.url)
    await use_the_lock(place.url)
    await use_the_log(place.url)


async def test_the_permissions_that_operators_are_told_are_enough(place: Place) -> None:
    url = signed_in(place, place.permissions)
    await use_the_store(url)
    await use_the_lock(url)
    await use_the_log(url)


async def test_hints_need_a_permission_that_is_not_needed(single: RedisServer) -> None:
    url = signed_in(Place(single.url, [single], ""), WITHOUT_HINTS)
    await use_the_store(url)
    await use_the_lock(url)
    await use_the_log(url, hints=False)


async def test_a_purge_meant_for_another_node_of_the_cluster_finds_the_right_one(cluster: list[RedisServer]) -> None:
    """A map of the cluster may be old: the first purge is refused, by a node that did nothing, or led on."""
    log = RedisLog(connect_log(f"redis+cluster://127.0.0.1:{cluster[0].port}"), "moved", replicas=1, patience=0.5)
    client: Any = log._client
    await log.sync(syncing())
    slot, right = client.keyslot(log._keys[0]), client.get_node_from_key(log._keys[0])
    wrong = next(node for node in client.get_nodes() if node != right)
    client.nodes_manager.slots_cache[slot] = [wrong]
    with pytest.raises(StoreError, match="Moved"):
        await log.purge(ordering())
    with pytest.raises(StoreError, match="fewer than 1 replicas"):
        await log.purge(ordering())
    client.nodes_manager.slots_cache[slot] = [wrong]
    assert len((await log.sync(syncing())).purges) == 1
    await log.close()


async def test_what_is_confirmed_in_a_cluster_stays_purged(cluster: list[RedisServer]) -> None:
    async with World([f"redis+cluster://127.0.0.1:{node.port}" for node in cluster[:2]]).living() as world:
        await world.until()
        epoch = world.processes[0].ledger.epoch
        for node in cluster:
            node.ask("FLUSHALL")
        await world.until()
        assert world.processes[0].ledger.epoch != epoch
        assert world.stale == 0


async def test_an_address_behind_which_nobody_has_the_keys_is_an_error(root: Path) -> None:
    server, _ = clustered(directory(root, "alone"))
    log = RedisLog(connect_log(f"redis+cluster://127.0.0.1:{server.port}"), "test", replicas=1)
    for operation in (log.purge(ordering()), log.sync(syncing()), log.listen(print)):
        with pytest.raises(StoreError):
            await operation
    await log.close()
    server.kill()


async def test_sentinels_that_know_no_primary_are_an_error(sentinel: Sentinel) -> None:
    log = RedisLog(connect_log(f"redis+sentinel://127.0.0.1:{sentinel.port}/other"), "test")
    for operation in (log.purge(ordering()), log.sync(syncing()), log.listen(print)):
        with pytest.raises(StoreError, match="No master found"):
            await operation
    await log.close()
