"""The clients that people have: each gets through the edge what it gets from the origin, on a miss and on a hit."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
from aiohttp import ETag, web

from edgecache.demo.site import make_site
from tests.scenarios.composed import edge_before
from tests.scenarios.conftest import RunningEdge

TEXT = b"".join(b"line %d of a text that is long enough to be worth a range\n" % number for number in range(5000))
BODIES = {
    "/text": TEXT,
    "/binary": bytes(range(256)) * 1000,
    "/gzip": gzip.compress(TEXT, mtime=0),
    "/chunked": TEXT,
    "/empty": b"",
    "/no-store": b"never stored",
}
STORED = [target for target in BODIES if target != "/no-store"]


@asynccontextmanager
async def serving(site: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(site, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def answer(request: web.Request) -> web.StreamResponse:
    body = BODIES[request.path]
    fields = {"Cache-Control": "no-store" if request.path == "/no-store" else "max-age=60"}
    if request.path == "/gzip":
        fields |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    response = web.Response(body=body, headers=fields)
    response.etag = ETag(f"tag-of-{request.path[1:]}")
    response.last_modified = time.time() - 86_400
    if request.path == "/chunked":
        response.enable_chunked_encoding()
    return response


@pytest.fixture
async def origin_url() -> AsyncIterator[str]:
    site = web.Application()
    for target in BODIES:
        site.router.add_get(target, answer)
    async with serving(site) as url:
        yield url


@pytest.fixture
async def near(origin_url: str) -> AsyncIterator[RunningEdge]:
    async with edge_before(origin_url) as edge:
        yield edge


def url_of(edge: RunningEdge, target: str) -> str:
    return f"http://127.0.0.1:{edge.port}{target}"


async def run(name: str, *args: str, fine: tuple[int, ...] = (0,)) -> bytes:
    """Run a client and return its standard output; skip when it is not installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program, *args, stdout=pipe, stderr=pipe)
    output, errors = await process.communicate()
    assert process.returncode in fine, errors.decode()
    return output


async def curl(*args: str) -> bytes:
    return await run("curl", "--silent", "--show-error", "--noproxy", "*", *args)


# Each fetches a URL and returns its content as it came, without undoing its coding.


async def by_curl(url: str) -> bytes:
    return await curl(url)


async def by_wget(url: str) -> bytes:
    return await run("wget", "--quiet", "--no-proxy", "--output-document=-", url)


async def by_requests(url: str) -> bytes:
    def get() -> bytes:
        with requests.Session() as session:
            session.trust_env = False
            with session.get(url, stream=True, timeout=30) as response:
                return bytes(response.raw.read(decode_content=False))

    return await asyncio.to_thread(get)


async def by_httpx(url: str) -> bytes:
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        return b"".join([piece async for piece in response.aiter_raw()])


async def by_aiohttp(url: str) -> bytes:
    async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(url) as response:
        return await response.read()


CLIENTS: list[Callable[[str], Awaitable[bytes]]] = [by_curl, by_wget, by_requests, by_httpx, by_aiohttp]


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_gets_the_same_bytes_from_the_edge(
    near: RunningEdge, origin_url: str, client: Callable[[str], Awaitable[bytes]]
) -> None:
    for target, body in BODIES.items():
        assert await client(origin_url + target) == body
        for _ in range(2):
            assert await client(url_of(near, target)) == body, target
    assert near.parts.counters.hits == len(STORED)
    assert near.parts.memory.statistics().responses == len(STORED)


async def test_clients_that_undo_the_coding_can(near: RunningEdge) -> None:
    url = url_of(near, "/gzip")
    for _ in range(2):
        assert await curl("--compressed", url) == TEXT
        assert (await asyncio.to_thread(requests.get, url, timeout=30)).content == TEXT
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(url)).content == TEXT
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert await response.read() == TEXT


async def test_connections_are_kept(near: RunningEdge) -> None:
    target = url_of(near, "/text")
    connected = await curl(*("--output", "/dev/null") * 5, "--write-out", "%{num_connects} ", *(target,) * 5)
    assert connected.split() == [b"1", b"0", b"0", b"0", b"0"]

    def ask_often() -> None:
        with requests.Session() as session:
            for path in (*BODIES, *BODIES):
                assert session.get(url_of(near, path), timeout=30).status_code == 200

    before = near.parts.counters.connections
    await asyncio.to_thread(ask_often)
    assert near.parts.counters.connections - before <= 1
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in (*BODIES, *BODIES):
            assert (await client.get(url_of(near, path))).status_code == 200


# Of curl and wget, what a cache has a part in.


async def test_curl_ranges(near: RunningEdge) -> None:
    url = url_of(near, "/text")
    await curl(url)
    assert await curl("--range", "0-99", url) == TEXT[:100]
    assert await curl("--range", "1000-", url) == TEXT[1000:]
    assert await curl("--range", "-50", url) == TEXT[-50:]
    parts = await curl("--range", "0-9,100-109", url)
    assert TEXT[:10] in parts
    assert TEXT[100:110] in parts
    assert near.parts.counters.hits == 4


async def test_curl_goes_on_where_it_was_broken_off(near: RunningEdge, tmp_path: Path) -> None:
    url = url_of(near, "/text")
    for warm in (False, True):
        file = tmp_path / f"text-{warm}"
        file.write_bytes(TEXT[:70_000])
        await curl("--continue-at", "-", "--output", str(file), url)
        assert file.read_bytes() == TEXT
        await curl(url)


async def test_wget_goes_on_where_it_was_broken_off(near: RunningEdge, tmp_path: Path) -> None:
    url = url_of(near, "/text")
    for warm in (False, True):
        file = tmp_path / f"text-{warm}"
        file.write_bytes(TEXT[:70_000])
        await run("wget", "--quiet", "--no-proxy", "--continue", f"--output-document={file}", url)
        assert file.read_bytes() == TEXT
        await curl(url)


async def test_curl_head(near: RunningEdge) -> None:
    url = url_of(near, "/text")
    for _ in range(2):
        head = await curl("--head", url)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Length: %d\r\n" % len(TEXT) in head
        assert await curl(url) == TEXT
    assert near.parts.counters.hits == 2


async def test_curl_conditions(near: RunningEdge, tmp_path: Path) -> None:
    url, file, tag = url_of(near, "/text"), tmp_path / "text", tmp_path / "tag"
    status = ("--output", str(file), "--write-out", "%{http_code}")
    assert await curl("--etag-save", str(tag), "--remote-time", *status, url) == b"200"
    assert tag.read_text().strip() == '"tag-of-text"'
    kept = file.read_bytes()
    assert await curl("--etag-compare", str(tag), *status, url) == b"304"
    assert await curl("--time-cond", str(file), "--output", str(tmp_path / "new"), *status[2:], url) == b"304"
    tag.write_text('"another"\n')
    assert await curl("--etag-compare", str(tag), *status, url) == b"200"
    assert kept == file.read_bytes() == TEXT
    assert near.parts.counters.hits == 3


async def test_curl_uploads(origin_url: str, tmp_path: Path) -> None:
    """With ``Expect: 100-continue``, as curl does it for what is large."""
    file = tmp_path / "large"
    file.write_bytes(TEXT * 5)

    async def length(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    site = web.Application(client_max_size=1 << 30)
    site.router.add_route("*", "/up", length)
    async with serving(site) as url, edge_before(url) as edge:
        target = url_of(edge, "/up")
        expected = str(len(TEXT) * 5).encode()
        assert await curl("--upload-file", str(file), target) == expected
        assert await curl("--data-binary", f"@{file}", target) == expected
        assert await curl("--header", "Transfer-Encoding: chunked", "--data-binary", f"@{file}", target) == expected


# A browser.


FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--timeout=10000",
)


@pytest.mark.timeout(180)
async def test_a_browser_loads_the_demo_site(tmp_path: Path) -> None:
    browser = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
    if browser is None:
        pytest.skip("no browser is installed")
    async with serving(make_site()) as url, edge_before(url) as edge:
        counters = edge.parts.counters
        for load in ("first", "second"):
            # A profile of its own, so that nothing comes from the browser's own cache.
            profile = f"--user-data-dir={tmp_path / load}"
            shot = tmp_path / f"{load}.png"
            page = await run(browser, *FLAGS, profile, f"--screenshot={shot}", "--dump-dom", url_of(edge, "/"))
            assert b"<title>edgecache demo</title>" in page
            assert shot.stat().st_size > 10_000
            if load == "first":
                fetched, asked = counters.stored, counters.requests
                assert fetched >= 4, "the page and its three assets"
        assert counters.stored == fetched, "nothing was fetched again"
        assert counters.requests >= asked + 4
        assert counters.hits >= 3, "the assets"
        assert counters.revalidated >= 1, "the page"
