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
