"""Asking again, apart from the servers that have answered already."""

from __future__ import annotations

import asyncio

from .scripted import OK, ScriptedOrigin, answering, fetch, request, scripted, upstreams


async def test_each_other_server_is_asked_once() -> None:
    async with (
        scripted(answering(OK)) as a,
        scripted(answering(OK)) as b,
        scripted(answering(OK)) as c,
        upstreams(a, b, c) as client,
    ):
        tried: list[str] = []
        while client.has_other(tried):
            response = await client.send(request(), apart_from=tried)
            assert b"".join([chunk async for chunk in response.chunks()]) == b"good"
            tried.append(response.server)
        assert sorted(tried) == sorted([a.url, b.url, c.url])


async def test_a_server_that_rests_is_no_other(nobody: str) -> None:
    async with scripted(answering(OK)) as a, upstreams(a, nobody) as client:
        assert client.has_other([a.url])
        for _ in range(6):
            await fetch(client)
        assert not client.servers[1].health.is_up()
        assert not client.has_other([a.url])


def ports(origin: ScriptedOrigin) -> list[int]:
    return [peer.writer.get_extra_info("peername")[1] for peer in origin.peers]


async def test_behind_one_name_it_goes_over_another_connection() -> None:
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        tried: list[str] = []
        while client.has_other(tried):
            response = await client.send(request(), apart_from=tried)
            tried.append(response.server)
            assert [chunk async for chunk in response.chunks()] == [b"good"]
        assert tried == [origin.url] * 6
        assert len(ports(origin)) == 6


async def test_the_connection_that_found_it_is_used_again() -> None:
    """A balancer of connections led it to where the newer assets are."""
    async with scripted(answering(OK)) as origin, upstreams(origin) as client:
        await asyncio.gather(*(fetch(client) for _ in range(3)))
        response = await client.send(request(), apart_from=[origin.url])
        assert [chunk async for chunk in response.chunks()] == [b"good"]
        before = len(origin.peers)
        await fetch(client)
        assert len(origin.peers) == before
        await origin.peers[0].gone()  # the oldest made room for it
        assert [b"GET" in head for head in origin.requests] == [True] * 5
