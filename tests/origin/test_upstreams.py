"""Several servers: choice, health, retries; and the ways to reach one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from edgecache.errors import ClientError, OriginError, OriginTimeout

from .scripted import OK, Clock, Peer, answering, content, fetch, request, scripted, upstreams

if TYPE_CHECKING:
    from pathlib import Path


async def one_each_then_reset(peer: Peer) -> None:
    """Answer the first request of a connection, read the second and reset."""
    await peer.request()
    peer.write(OK)
    await peer.request()
    peer.reset()


# ---------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"])
async def test_a_kept_connection_that_breaks_is_replaced_once(method: str) -> None:
    async with scripted(one_each_then_reset) as origin, upstreams(origin) as client:
        await fetch(client)
        response = await client.send(request(method))
        response.close()
        assert (len(origin.requests), len(origin.peers)) == (3, 2)


async def test_the_siblings_of_a_broken_connection_are_dropped() -> None:
    async with scripted(one_each_then_reset) as origin, upstreams(origin) as client:
        await asyncio.gather(fetch(client), fetch(client))
        assert len(origin.peers) == 2
        assert await fetch(client) == b"good"
        assert len(origin.peers) == 3
        assert len(origin.requests) == 4
        for peer in origin.peers[:2]:
            await peer.gone()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "FOO"])
async def test_what_may_not_be_repeated_is_not(method: str) -> None:
    async with scripted(one_each_then_reset) as origin, upstreams(origin) as client:
        await fetch(client)
        with pytest.raises(OriginError):
            await client.send(request(method))
        assert len(origin.requests) == 2


async def test_content_and_upgrades_are_not_repeated() -> None:
    async with scripted(one_each_then_reset) as origin, upstreams(origin) as client:
        await fetch(client)
        with pytest.raises(OriginError):
            await client.send(request("QUERY"), content(b"a", length=1))
        await fetch(client)
        with pytest.raises(OriginError):
            await client.send(request("GET"), upgrade="websocket")
        assert len(origin.requests) == 4


async def test_a_fresh_connection_that_breaks_is_an_error() -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with scripted(reset) as origin, upstreams(origin) as client:
        with pytest.raises(OriginError):
            await fetch(client)
        assert len(origin.requests) == 1


async def test_a_second_attempt_that_breaks_is_the_last() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if len(origin.requests) == 1:
            peer.write(OK)
            await peer.request()
        peer.reset()

    async with scripted(script) as origin, upstreams(origin) as client:
        await fetch(client)
        with pytest.raises(OriginError):
            await fetch(client)
        assert len(origin.requests) == 3


@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 103 x\r\n\r\n"])
async def test_an_answer_that_has_begun_is_not_asked_for_again(beginning: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(OK)
        await peer.request()
        peer.write(beginning)

    async with scripted(script) as origin, upstreams(origin) as client:
        await fetch(client)
        with pytest.raises(OriginError):
            await fetch(client)
        assert len(origin.requests) == 2


async def test_retries_stay_within_a_budget() -> None:
    """Three in reserve and a tenth of the requests: ``failed`` is the first one that was not repeated."""
    clock, failed = Clock(), 0
    async with scripted(one_each_then_reset) as origin, upstreams(origin, time=clock) as client:
        await fetch(client)
        for number in range(1, 20):
            before = len(origin.requests)
            try:
                await fetch(client)
            except OriginError:
                failed = number
                assert len(origin.requests) == before + 1
                break
    assert failed == 4


async def test_another_server_is_tried_when_one_cannot_be_reached(nobody: str) -> None:
    async with scripted(answering(OK)) as origin, upstreams(nobody, origin) as client:
        posts = (client.send(request("POST")) for _ in range(2))
        results = await asyncio.gather(*posts, return_exceptions=True)
        assert sum(isinstance(result, OriginError) for result in results) == 1
        for _ in range(4):
            assert await fetch(client) == b"good"


async def test_another_server_costs_a_retry_too(nobody: str) -> None:
    """Eight at once, half of them to nobody: three in reserve and eight tenths make three retries."""
    async with scripted(answering(OK)) as origin, upstreams(nobody, origin, time=Clock()) as client:
        results = await asyncio.gather(*(fetch(client) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(result, OriginError) for result in results) == 1


async def test_nobody_listens(nobody: str) -> None:
    async with upstreams(nobody) as client:
        with pytest.raises(OriginError) as caught:
            await fetch(client)
        assert caught.value.status == 502


async def test_no_such_name() -> None:
    async with upstreams("http://no-such-name.invalid") as client:
        with pytest.raises(OriginError):
            await fetch(client)


async def test_connecting_takes_too_long() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        queued = [socket.socket() for _ in range(4)]
        for sock in queued:
            sock.setblocking(False)
            sock.connect_ex(address)
        async with upstreams(f"http://127.0.0.1:{address[1]}", connect_timeout=0.05) as client:
            with pytest.raises(OriginTimeout) as caught:
                await fetch(client)
            assert caught.value.status == 504
        for sock in queued:
            sock.close()


# ----------------------------------------------------------------------------------------------------- choice


async def test_equal_servers_take_turns() -> None:
    async with (
        scripted(answering(OK)) as first,
        scripted(answering(OK)) as second,
        upstreams(first, second) as client,
    ):
        for _ in range(10):
            await fetch(client)
        assert len(first.requests) == len(second.requests) == 5


async def test_the_least_busy_server_is_asked() -> None:
    endless = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
    async with scripted(endless) as slow, scripted(answering(OK)) as quick, upstreams(slow, quick) as client:
        held = []
        while not slow.requests:
            response = await client.send(request())
            held += [response] if response.content_length == 9 else []
        before = len(quick.requests)
        for _ in range(6):
            await fetch(client)
        assert len(quick.requests) == before + 6
        for response in held:
            response.close()


async def test_a_failing_server_rests_and_is_probed() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if healthy:
            peer.write(OK)

    clock, healthy = Clock(), False
    async with (
        scripted(script) as flaky,
        scripted(answering(OK)) as steady,
        upstreams(flaky, steady, time=clock) as client,
    ):

        async def failures(number: int) -> int:
            results = await asyncio.gather(*(fetch(client) for _ in range(number)), return_exceptions=True)
            return sum(isinstance(result, OriginError) for result in results)

        assert await failures(6) == 3
        assert not client.servers[0].health.is_up()
        assert await failures(10) == 0
        assert len(flaky.requests) == 3

        clock.now += 1.0
        assert await failures(10) == 1, "one probe"
        assert await failures(10) == 0

        healthy = True
        clock.now += 2.0
        assert await failures(10) == 0
        assert len(flaky.requests) == 5
        assert client.servers[0].health.is_up()
        assert await failures(10) == 0
        assert len(flaky.requests) > 5


async def test_with_every_server_down_requests_are_still_tried(nobody: str) -> None:
    async with upstreams(nobody, nobody, time=Clock()) as client:
        for _ in range(10):
            with pytest.raises(OriginError):
                await fetch(client)
        assert not any(server.health.is_up() for server in client.servers)


async def test_a_closed_kept_connection_says_nothing_about_health() -> None:
    async with scripted(one_each_then_reset) as origin, upstreams(origin, time=Clock()) as client:
        await fetch(client)
        for _ in range(3):
            await fetch(client)
        for _ in range(5):
            with pytest.raises(OriginError):
                await client.send(request("POST"))
            await fetch(client)
        assert client.servers[0].health.is_up()


async def test_a_5xx_is_an_answer() -> None:
    error = b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answering(error)) as origin, upstreams(origin) as client:
        for _ in range(5):
            assert (await client.send(request())).head.status == 503
        assert client.servers[0].health.is_up()


# ------------------------------------------------------------------------------------------------------ reach


async def test_host_is_kept_or_rewritten() -> None:
    async with scripted(answering(OK)) as origin:
        async with upstreams(origin) as client:
            await fetch(client)
        async with upstreams(origin, host="app.internal:81") as client:
            await fetch(client)
        assert b"Host: site.example\r\n" in origin.requests[0]
        assert b"Host: app.internal:81\r\n" in origin.requests[1]


async def test_a_request_that_is_not_one_reaches_no_server() -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        with pytest.raises(ClientError):
            await client.send(request("GET", "/", ("X", "a\r\n\r\nGET /evil HTTP/1.1")))
        assert not origin.peers


async def test_a_unix_socket(tmp_path: Path) -> None:
    async with scripted(answering(OK), path=str(tmp_path / "app.sock")) as origin, upstreams(origin) as client:
        assert await fetch(client) == await fetch(client) == b"good"
        assert len(origin.peers) == 1
        assert b"Host: site.example\r\n" in origin.requests[0]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def test_tls_with_a_trusted_authority(authority: trustme.CA, ca_file: str) -> None:
    tls = serving(authority, "127.0.0.1")
    async with scripted(answering(OK), tls=tls) as origin, upstreams(origin, ca_file=ca_file) as client:
        for _ in range(3):
            assert await fetch(client) == b"good"
        assert len(origin.peers) == 1


async def test_tls_with_a_large_body(authority: trustme.CA, ca_file: str) -> None:
    body = bytes(range(256)) * 16384
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    tls = serving(authority, "127.0.0.1")
    async with scripted(answering(answer), tls=tls) as origin, upstreams(origin, ca_file=ca_file) as client:
        assert await fetch(client) == await fetch(client) == body
        assert len(origin.peers) == 1


async def test_late_bytes_under_tls_answer_nobody(authority: trustme.CA, ca_file: str) -> None:
    tls = serving(authority, "127.0.0.1")
    async with scripted(answering(OK), tls=tls) as origin, upstreams(origin, ca_file=ca_file) as client:
        for number in range(1, 6):
            assert await fetch(client) == b"good"
            assert len(origin.peers) == number
            origin.peers[-1].write(OK.replace(b"good", b"evil"))


async def test_a_name_that_is_not_in_the_certificate(authority: trustme.CA, ca_file: str) -> None:
    tls = serving(authority, "other.example")
    async with scripted(answering(OK), tls=tls) as origin:
        async with upstreams(origin, ca_file=ca_file) as client:
            with pytest.raises(OriginError):
                await fetch(client)
        async with upstreams(origin, unsafe_tls_no_verify=True) as client:
            assert await fetch(client) == b"good"


async def test_an_authority_that_nobody_trusts(authority: trustme.CA) -> None:
    async with scripted(answering(OK), tls=serving(authority, "127.0.0.1")) as origin, upstreams(origin) as client:
        with pytest.raises(OriginError):
            await fetch(client)


async def test_a_certificate_of_our_own(authority: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    tls = serving(authority, "127.0.0.1")
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    mine = tmp_path / "client.pem"
    authority.issue_cert("edge.example").private_key_and_cert_chain_pem.write_to_path(str(mine))
    async with scripted(answering(OK), tls=tls) as origin:
        async with upstreams(origin, ca_file=ca_file, cert_file=str(mine)) as client:
            assert await fetch(client) == b"good"
        async with upstreams(origin, ca_file=ca_file) as client:
            with pytest.raises(OriginError):
                await fetch(client)
