"""Without Redis the edge serves on, and says how it is."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.composed import edge_before, until
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import Reply, ScriptedOrigin, fetch


async def ask(edge: RunningEdge, path: str) -> tuple[int, str]:
    address = edge.parts.admin_addresses[0]
    assert isinstance(address, tuple)
    response = await fetch(address[1], path, fields={"Host": address[0]})
    return response.status, response.body.decode()


async def test_with_memory_alone_there_is_nothing_to_miss(edge: RunningEdge) -> None:
    assert await ask(edge, "/readyz?verbose") == (200, "ready\n[+] accepting\n")
    text = (await ask(edge, "/metrics"))[1]
    assert "edgecache_ledger_leased 1.0" in text
    assert 'tier="redis"' not in text


async def test_without_redis_it_is_ready_and_degraded(origin: ScriptedOrigin, tmp_path: Path) -> None:
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"x")
    async with edge_before(origin.url, redis={"url": f"unix://{tmp_path / 'nobody.sock'}"}) as edge:
        status, text = await ask(edge, "/readyz?verbose")
        assert (status, text.splitlines()[0], text.count("\n")) == (200, "degraded: purge log", 4)
        assert edge.parts.shared is not None
        for number in range(5):
            assert (await edge.fetch(f"/{number}")).status == 200
        await until(lambda: edge.parts.shared is not None and edge.parts.shared.link.breaker.is_open)
        status, text = await ask(edge, "/readyz")
        assert (status, text) == (200, "degraded: redis, purge log\n")
        metrics = (await ask(edge, "/metrics"))[1]
        assert 'edgecache_store_breaker_open{tier="redis"} 1.0' in metrics
        assert "edgecache_ledger_leased 0.0" in metrics
        assert "edgecache_ledger_failed 1.0" in metrics
