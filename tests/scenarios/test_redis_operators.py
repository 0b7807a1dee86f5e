"""What ``docs/redis.md`` tells operators, on the composed program: permissions, TLS, clusters, secrets, namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from edgecache.purging.receipt import State
from edgecache.purging.selector import Selector
from tests.faults.redis_server import RedisServer
from tests.ports import free_port
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, Received, Reply, ScriptedOrigin, fetch
from tests.scenarios.shared import StartShared, SteadyClock, edges_sharing, written

ROOT = Path(__file__).parent.parent.parent
WORD = b"a-word-that-must-not-be-found"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def _tagged_pages(origin: ScriptedOrigin) -> None:
    def page(request: Received) -> Reply:
        fields = {"Cache-Control": "max-age=600", "Surrogate-Key": "page"}
        return Reply(200, fields, WORD + b" %d" % request.number)

    origin.script = page


@pytest.fixture
async def start(server: RedisServer, origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[StartShared]:
    async with edges_sharing(server, origin, clock, SteadyClock()) as start:
        yield start


async def fetched_and_shared(edge: RunningEdge) -> bytes:
    """Fetch ``/x`` and wait until its record is in Redis."""
    body = (await edge.fetch("/x")).body
    await written(edge)
    return body


def records(server: RedisServer) -> list[str]:
    """The keys of records."""
    return re.findall(r"ec:edgecache:o:[^\r]+", server.ask("KEYS", "ec:edgecache:o:*").decode())


async def everything_works(start: StartShared, origin: ScriptedOrigin, url: str) -> None:
    """Two edges share what is stored and what is purged."""
    one, other = await start(redis={"url": url}), await start(redis={"url": url})
    body = await fetched_and_shared(one)
    assert (await other.fetch("/x")).body == body
    assert len(origin.requests) == 1
    receipt = await one.parts.ledger.purge([Selector.of("tag", "page")])
    assert receipt.state is State.CONFIRMED
    assert len(receipt.workers) == 2
    assert (await other.fetch("/x")).body != body
    assert one.parts.counters.store_failures == other.parts.counters.store_failures == 0


def documented_users() -> list[list[str]]:
    """Users as the page defines them, each as the words after ``ACL SETUSER edge``."""
    text = (ROOT / "docs" / "redis.md").read_text("utf-8")
    return [found.split() for found in re.findall(r"^ACL SETUSER edge (.*)$", text, re.MULTILINE)]


# Where the server is, and as whom.


async def test_the_documented_user_may_do_what_an_edge_does(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer
) -> None:
    user, _ = documented_users()
    assert server.ask("ACL", "SETUSER", "edge", *user) == b"+OK\r\n"
    password = next(word for word in user if word.startswith(">"))[1:]
    await everything_works(start, origin, f"unix://edge:{password}@{server.socket}")
    denied = server.ask("ACL", "LOG")
    assert denied == b"*0\r\n", denied


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One node, which has every slot."""
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    server = RedisServer(tmp_path_factory.mktemp("cluster"), *options, port=free_port()).start()
    server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    while b"cluster_state:ok" not in server.ask("CLUSTER", "INFO"):
        time.sleep(0.02)
    yield server
    server.kill()


async def test_the_documented_user_of_a_cluster_may_too(
    cluster: RedisServer, start: StartShared, origin: ScriptedOrigin
) -> None:
    _, user = documented_users()
    assert cluster.ask("ACL", "SETUSER", "edge", *user) == b"+OK\r\n"
    password = next(word for word in user if word.startswith(">"))[1:]
    await everything_works(start, origin, f"redis+cluster://edge:{password}@127.0.0.1:{cluster.port}")
    denied = cluster.ask("ACL", "LOG")
    assert denied == b"*0\r\n", denied


@contextlib.asynccontextmanager
async def behind_tls(server: RedisServer, authority: trustme.CA, *names: str) -> AsyncIterator[int]:
    """Yield a port where TLS is spoken, by a server with a certificate for ``names`` to clients with one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    connections: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        inner_reader, inner_writer = await asyncio.open_unix_connection(server.socket)
        pumps = [asyncio.ensure_future(pump(*ends)) for ends in ((reader, inner_writer), (inner_reader, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)  # one end has closed
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for one in (writer, inner_writer):
            one.transport.abort()

    async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.gather(*connections)


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[trustme.CA, str]:
    """An authority, and the options of a URL with its file and those of a client."""
    authority = trustme.CA()
    client = authority.issue_cert("edge.example")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "edge.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "edge.key"))
    files = f"ssl_ca_certs={tmp_path}/ca.pem&ssl_certfile={tmp_path}/edge.pem&ssl_keyfile={tmp_path}/edge.key"
    return authority, files


async def test_tls(
    origin: ScriptedOrigin, server: RedisServer, clock: FakeClock, certificates: tuple[trustme.CA, str]
) -> None:
    authority, files = certificates
    async with (
        behind_tls(server, authority, "127.0.0.1") as port,
        edges_sharing(server, origin, clock, SteadyClock()) as start,
    ):
        await everything_works(start, origin, f"rediss://127.0.0.1:{port}?{files}")


async def test_tls_with_a_certificate_for_another_name_is_refused(
    origin: ScriptedOrigin, server: RedisServer, clock: FakeClock, certificates: tuple[trustme.CA, str]
) -> None:
    authority, files = certificates
    async with (
        behind_tls(server, authority, "other.example") as port,
        edges_sharing(server, origin, clock, SteadyClock()) as start,
    ):
        edge = await start(redis={"url": f"rediss://127.0.0.1:{port}?{files}"})
        assert (await edge.fetch("/x")).status == 200
        receipt = await edge.parts.ledger.purge([Selector.of("tag", "page")])
        assert receipt.state is State.UNCONFIRMED


# Secrets and names.


async def test_what_is_stored_outlives_the_edge(origin: ScriptedOrigin, server: RedisServer, clock: FakeClock) -> None:
    bodies = []
    for _ in range(2):
        async with edges_sharing(server, origin, clock, SteadyClock()) as start:
            bodies.append(await fetched_and_shared(await start()))
    assert bodies[0] == bodies[1]


async def test_a_record_of_another_secret_is_not_there(start: StartShared) -> None:
    one, other = await start(), await start(redis={"secret": "a secret of other edges"})
    body = await fetched_and_shared(one)
    assert (await other.fetch("/x")).body != body


async def test_namespaces_do_not_meet(start: StartShared) -> None:
    shop, blog = await start(redis={"namespace": "shop"}), await start(redis={"namespace": "blog"})
    body = await fetched_and_shared(shop)
    assert (await blog.fetch("/x")).body != body
    receipt = await blog.parts.ledger.purge([Selector.of("all", "")])
    assert len(receipt.workers) == 1
    assert (await shop.fetch("/x")).body == body


async def test_without_a_secret_there_is_a_warning(start: StartShared, caplog: pytest.LogCaptureFixture) -> None:
    one, other = await start(redis={"secret": None}), await start(redis={"secret": None})
    body = await fetched_and_shared(one)
    assert (await other.fetch("/x")).body == body
    assert "redis.secret is not set" in caplog.text


async def test_encryption_keys_can_be_rotated_without_emptying_the_store(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer
) -> None:
    old, new = "the key of last year", "the key of this year"
    steps: list[tuple[str, ...]] = [(), (old,), (new, old), (new,)]
    plain, before, rotating, after = [await start(redis={"encryption_keys": keys}) for keys in steps]
    body = await fetched_and_shared(before)
    assert WORD not in server.ask("GET", *records(server))
    assert (await rotating.fetch("/x")).body == body
    assert (await after.fetch("/x")).body != body, "its key is gone, and what it encrypted with it"
    server.ask("UNLINK", *records(server))
    await plain.fetch("/y")
    await written(plain)
    assert WORD in server.ask("GET", *records(server))
    asked = len(origin.requests)
    await rotating.fetch("/y")
    assert len(origin.requests) == asked, "what was stored before there was a key is still used"


async def test_secrets_are_told_to_nobody(
    start: StartShared, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    word = "hunter2-hunter2-hunter2"
    url = f"unix://edge:{word}@{server.socket}"  # the server knows no such user
    edge = await start(redis={"url": url, "secret": word, "encryption_keys": (word,)})
    assert (await edge.fetch("/x")).status == 200
    receipt = await edge.parts.ledger.purge([Selector.of("all", "")])
    assert receipt.state is State.UNCONFIRMED
    address: Any = edge.parts.admin_addresses[0]
    said = [(await fetch(address[1], target)).body for target in ("/metrics", "/v1/stats", "/readyz", "/livez")]
    assert all(said)
    assert word not in f"{caplog.text} {receipt}"
    assert word.encode() not in b"".join(said)
