"""What is remembered of a connection's latest request changes nothing about the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import pytest
from aiohttp.http import RawRequestMessage

from edgecache.edges.forwarded import Peer
from edgecache.edges.inflow import Inflow
from edgecache.edges.request_head import ReceivedRequest, RequestReader, read_request
from edgecache.edges.settings import ServerSettings
from edgecache.errors import ClientError

REQUESTS: Final = (
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /b?c HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"HEAD /b HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /b HTTP/1.0\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /b HTTP/1.1\r\nHost: a.example\r\nCookie: y\r\n\r\n",
    b"GET /b HTTP/1.1\r\nhost: a.example\r\nCookie: y\r\n\r\n",
    b"GET /b HTTP/1.1\r\nHost: b.example\r\nCookie: x\r\n\r\n",
    b"GET http://c.example/ HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /a\\b HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nEdgecache-Debug: 1\r\n\r\n",
    b"GET /c HTTP/1.1\r\nHost: a.example\r\nConnection: cookie\r\nCookie: x\r\n\r\n",
)

SETTINGS: Final = ServerSettings(trusted_peers=("192.0.2.7",))
PEERS: Final = (Peer("192.0.2.7", False, "http"), Peer("192.0.2.7", True, "http"))

_Read: TypeAlias = Callable[[RawRequestMessage], ReceivedRequest]


async def message(request: bytes) -> RawRequestMessage:
    inflow = Inflow(cast("asyncio.Transport", _NoTransport()), SETTINGS, lambda: None)
    inflow.feed(request)
    incoming = inflow.pop()
    assert isinstance(incoming, tuple)
    return incoming[0]


class _NoTransport(asyncio.Transport):
    """Of a client that sends no content."""

    def is_closing(self) -> bool:
        return True


def outcome(read: _Read, received: RawRequestMessage) -> object:
    try:
        found = read(received)
    except ClientError as error:
        return error.status, error.reason
    head = found.head
    facts = (found.length, found.expects_continue, found.upgrade, found.debug)
    return head.method, head.target_uri, list(head.fields.items()), facts


@pytest.mark.parametrize("peer", PEERS, ids=("a_stranger", "a_trusted_peer"))
@pytest.mark.parametrize("first", REQUESTS)
@pytest.mark.parametrize("second", REQUESTS)
async def test_a_request_is_read_as_if_it_were_the_first(peer: Peer, first: bytes, second: bytes) -> None:
    def alone(received: RawRequestMessage) -> ReceivedRequest:
        return read_request(received, peer, SETTINGS)

    read = RequestReader(peer, SETTINGS).read
    for received in (await message(first), await message(second), await message(first)):
        assert outcome(read, received) == outcome(alone, received)


NEXT: Final = (
    *REQUESTS,
    b"GET //a HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /a#b HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /\xe4 HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /%zz?&&= HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET  /a HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"\r\nGET /a HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\nGET /b HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
    b"GET /" + b"a" * SETTINGS.max_target + b" HTTP/1.1\r\nHost: a.example\r\nCookie: x\r\n\r\n",
)


def taken(inflow: Inflow, *requests: bytes) -> list[object]:
    """Return what becomes of requests that are sent one after the other, each when the one before was answered."""
    found: list[object] = []
    for request in requests:
        inflow.feed(request)
        while (incoming := inflow.pop()) is not None:
            if isinstance(incoming, ClientError):
                return [*found, (incoming.status, incoming.reason)]
            message, content = incoming
            facts = (message.method, message.path, message.version, message.raw_headers, list(message.headers.items()))
            found.append((*facts, message.should_close, message.upgrade, message.chunked, content.is_eof()))
            inflow.consumed()
    return found


def new_inflow() -> Inflow:
    return Inflow(cast("asyncio.Transport", _NoTransport()), SETTINGS, lambda: None)


@pytest.mark.parametrize("first", REQUESTS)
@pytest.mark.parametrize("second", NEXT)
async def test_a_request_is_the_message_that_it_would_be_without_those_before(first: bytes, second: bytes) -> None:
    requests = (first, second, second, first)
    expected: list[object] = []
    for request in requests:
        alone = new_inflow()
        expected += taken(alone, request)
        if taken(alone, REQUESTS[0]) == []:  # after that one there is no other
            break
    assert taken(new_inflow(), *requests) == expected


async def test_what_is_sent_ahead_of_responses_keeps_its_place() -> None:
    inflow = new_inflow()
    taken(inflow, REQUESTS[0])
    for request in REQUESTS[:3]:
        inflow.feed(request)
    paths = []
    while (incoming := inflow.pop()) is not None:
        assert isinstance(incoming, tuple)
        paths.append(f"{incoming[0].method} {incoming[0].path}")
        inflow.consumed()
    assert paths == ["GET /a", "GET /b?c", "HEAD /b"]
    assert taken(inflow, *REQUESTS[:2]) == taken(new_inflow(), *REQUESTS[:2])
