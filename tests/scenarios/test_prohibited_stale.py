"""A stale response that must not be served is not served, whatever happens to the origin (RFC 9111 §4.2.4)."""

from __future__ import annotations

import pytest

from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, Reply, ScriptedOrigin

PROHIBITING = ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"]


@pytest.fixture(params=PROHIBITING)
async def stale(request: pytest.FixtureRequest, edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    """The edge holds a stale response to ``/a``."""
    origin.script = lambda _: Reply(200, {"Cache-Control": f"max-age=2, {request.param}", "ETag": '"1"'}, b"stored")
    assert (await edge.fetch("/a")).body == b"stored"
    clock.advance(3)


@pytest.mark.usefixtures("stale")
async def test_when_the_origin_closes_the_connection(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(abort_at=-1)
    response = await edge.fetch("/a")
    assert response.status in (502, 504)
    assert response.body != b"stored"


@pytest.mark.usefixtures("stale")
async def test_when_the_origin_is_down(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    await origin.stop()
    response = await edge.fetch("/a")
    assert response.status in (502, 504)
    assert response.body != b"stored"


@pytest.mark.usefixtures("stale")
async def test_when_the_origin_fails(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(503, body=b"down")
    response = await edge.fetch("/a")
    assert (response.status, response.body) == (503, b"down")
