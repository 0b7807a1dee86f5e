from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgecache.edges.access_log import LogStatistics
from edgecache.edges.admin import AdminState, Check, make_admin
from edgecache.engine.counters import BOUNDS, COUNTERS, Counters, Statistics
from edgecache.stores.base import StoreStatistics

STARTED = 1_763_858_400.0  # 2025-11-23 00:40:00 UTC
PATHS = ("/livez", "/readyz", "/metrics", "/v1/stats")
UP = Check("origin", True)
NO_REDIS = Check("redis", False, "connection refused")


@pytest.fixture
def state() -> AdminState:
    return AdminState(
        version="1.2.3",
        counters=Counters(),
        store_statistics=lambda: {"memory": StoreStatistics(3, 2, 4096, 1 << 20, 5, 1)},
        in_flight=lambda: 7,
        access_log=lambda: LogStatistics(100, 2, 3, 4),
        ready=lambda: (True, [UP]),
        started=STARTED,
        now=lambda: STARTED + 90.5,
    )


@pytest.fixture
def client_for(aiohttp_client):
    """Start an admin listener on a socket of its own; return a client of it."""

    async def start(state, **options):
        return await aiohttp_client(make_admin(state, **options))

    return start


async def test_alive(client_for, state):
    client = await client_for(state)
    response = await client.get("/livez")
    assert (response.status, await response.text()) == (200, "alive\n")


@pytest.mark.parametrize(
    ("ready", "checks", "status", "text"),
    [
        (True, [UP], 200, "ready\n"),
        (True, [], 200, "ready\n"),
        (True, [UP, NO_REDIS], 200, "degraded: redis\n"),
        (False, [UP, Check("draining", False)], 503, "not ready: draining\n"),
        (False, [], 503, "not ready\n"),
    ],
)
async def test_readiness(client_for, state, ready, checks, status, text):
    client = await client_for(replace(state, ready=lambda: (ready, checks)))
    response = await client.get("/readyz")
    assert (response.status, await response.text()) == (status, text)


async def test_verbose_readiness_lists_the_checks(client_for, state):
    client = await client_for(replace(state, ready=lambda: (True, [UP, NO_REDIS])))
    response = await client.get("/readyz?verbose")
    assert await response.text() == "degraded: redis\n[+] origin\n[-] redis connection refused\n"


async def test_metrics_are_prometheus_text_with_every_counter(client_for, state):
    client = await client_for(state)
    response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(await response.text())}
    elsewhere = {
        "edgecache_requests": "edgecache_requests_received",
        "edgecache_origin_timeouts": "edgecache_origin_errors",
    }
    for row in COUNTERS:
        name = f"edgecache_{row.name}"
        assert elsewhere.get(name, name) in names


async def test_openmetrics_is_negotiated(client_for, state):
    client = await client_for(state)
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4"
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert (await response.text()).endswith("# EOF\n")


async def test_a_scrape_shows_the_present(client_for, state):
    client = await client_for(state)
    assert "edgecache_hits_total 0.0" in await (await client.get("/metrics")).text()
    state.counters.hits += 1
    assert "edgecache_hits_total 1.0" in await (await client.get("/metrics")).text()


async def test_statistics(client_for, state):
    state.counters.hits += 42
    state.counters.not_storable["no-store"] += 1
    state.counters.request_seconds["hit"].observe(0.01)
    shared = {
        "tiers": lambda: {"redis": {"hits": 3, "breaker_open": 1}},
        "ledger": lambda: {"leased": 1, "sequence": 5, "failed": 0},
    }
    client = await client_for(replace(state, ready=lambda: (True, [NO_REDIS]), **shared))
    response = await client.get("/v1/stats")
    assert response.headers["Content-Type"] == "application/json"
    stats = await response.json()
    assert msgspec.convert(stats.pop("counters"), Statistics) == state.counters.statistics()
    assert stats == {
        "version": "1.2.3",
        "started": "2025-11-23T00:40:00+00:00",
        "uptime_seconds": 90.5,
        "ready": True,
        "checks": [{"name": "redis", "ok": False, "detail": "connection refused"}],
        "in_flight": 7,
        "bounds_seconds": list(BOUNDS),
        "stores": {
            "memory": {"responses": 3, "keys": 2, "bytes": 4096, "max_bytes": 1 << 20, "evictions": 5, "refused": 1}
        },
        "tiers": {"redis": {"hits": 3, "breaker_open": 1}},
        "ledger": {"leased": 1, "sequence": 5, "failed": 0},
        "access_log": {"written": 100, "waiting": 2, "dropped_full": 3, "dropped_failed": 4},
        "supervision": None,
    }


async def test_statistics_without_an_access_log(client_for, state):
    client = await client_for(replace(state, access_log=None))
    assert (await (await client.get("/v1/stats")).json())["access_log"] is None


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_content(client_for, state, path):
    client = await client_for(state)
    response = await client.head(path)
    assert response.status == 200
    assert await response.read() == b""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"])
async def test_nothing_can_be_changed(client_for, state, path, method):
    client = await client_for(state)
    response = await client.request(method, path)
    assert response.status == 405
    assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/livez", "localhost", 200),
        ("GET", "/", "localhost", 404),
        ("GET", "/v1/purge", "localhost", 404),
        ("POST", "/metrics", "localhost", 405),
        ("GET", "/metrics", "evil.example", 421),
    ],
)
async def test_every_answer_is_kept_from_caches_frames_and_other_origins(client_for, state, method, path, host, status):
    client = await client_for(state)
    response = await client.request(method, path, headers={"Host": host, "Origin": "http://evil.example"})
    assert response.status == status
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert response.headers["Server"] == "edgecache"
    assert not [name for name in response.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8081", 200),
        ("127.0.0.1:8081", 200),
        ("192.0.2.7", 200),
        ("[::1]:8081", 200),
        ("edge-1.internal:8081", 200),
        ("EDGE-1.internal", 200),
        ("evil.example", 421),
        ("evil.example:8081", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("[evil.example]", 421),
        ("[localhost]", 421),
        ("::1", 421),
        ("", 421),
        ("localhost:", 200),
        ("localhost:x", 421),
    ],
)
async def test_a_name_that_somebody_else_may_have_chosen_is_not_served(client_for, state, host, status):
    client = await client_for(state, names=["Edge-1.internal"])
    response = await client.get("/livez", headers={"Host": host})
    assert response.status == status


@pytest.mark.parametrize(
    ("request_line", "fields", "status"),
    [
        ("GET /livez HTTP/1.0", "", 200),
        ("GET /livez HTTP/1.1", "", 400),
        ("GET http://localhost/livez HTTP/1.1", "Host: localhost\r\n", 421),
        ("GET http://evil.example/livez HTTP/1.1", "Host: localhost\r\n", 421),
        ("OPTIONS * HTTP/1.1", "Host: localhost\r\n", 421),
        ("GET //evil.example/livez HTTP/1.1", "Host: localhost\r\n", 404),
    ],
)
async def test_other_forms_of_requests(client_for, state, request_line, fields, status):
    client = await client_for(state)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(f"{request_line}\r\n{fields}Connection: close\r\n\r\n".encode())
    status_line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert int(status_line.split()[1]) == status
