"""Cache keys tell what others asked for: only a trusted peer that asks sees them (RFC 9211 §2.7)."""

from __future__ import annotations

import pytest

from edgecache.app import compose
from edgecache.edges.config import Admin, Config, Log, Origin, Server
from tests.scenarios.rig import Reply, ScriptedOrigin, fetch

ASKING = {"Edgecache-Debug": "1"}


@pytest.mark.parametrize(
    ("trusted", "fields", "shown"),
    [
        (("127.0.0.1",), ASKING, True),
        (("127.0.0.1",), {}, False),
        (("127.0.0.1",), {"Edgecache-Debug": "yes"}, False),
        ((), ASKING, False),
    ],
)
async def test_who_sees_keys(
    origin: ScriptedOrigin, trusted: tuple[str, ...], fields: dict[str, str], shown: bool
) -> None:
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"x")
    edge = await compose(
        Config(
            origin=Origin(urls=(origin.url,)),
            server=Server(listen="127.0.0.1:0", drain_timeout=0.0, trusted_peers=trusted),
            admin=Admin(listen="127.0.0.1:0"),
            log=Log(access="off"),
        )
    )
    port = int(edge.public.addresses[0].rpartition(":")[2])
    try:
        responses = [await fetch(port, "/a?b", fields=fields) for _ in range(2)]
    finally:
        await edge.close()
    assert [("key=" in response.cache_status) for response in responses] == [shown, shown]
    if shown:
        assert 'key="http://example.com/a?b"' in responses[1].cache_status
    assert "edgecache-debug" not in origin.requests[0].fields
