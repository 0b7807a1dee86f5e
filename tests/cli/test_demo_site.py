"""The demo site as an origin: what each resource says about caching, over real sockets."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any, TypeAlias
from urllib.request import urlopen

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from edgecache.demo.site import BIG_BYTES, make_site

Client: TypeAlias = TestClient[Any, web.Application]


@pytest.fixture
async def site(aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_site(slow_seconds=0, event_seconds=0))


@pytest.mark.parametrize(
    ("path", "cache_control"),
    [
        ("/", "no-cache"),
        ("/api/time", "max-age=5, stale-while-revalidate=30"),
        ("/slow", "max-age=60"),
        ("/private", "no-store"),
        ("/lang", "max-age=60"),
        ("/big", "max-age=300"),
        ("/assets/absent.css", "no-store"),
    ],
)
async def test_what_each_resource_says(site: Client, path: str, cache_control: str) -> None:
    async with site.get(path) as response:
        assert response.headers["Cache-Control"] == cache_control


async def test_the_page_is_validated_with_its_entity_tag(site: Client) -> None:
    async with site.get("/") as response:
        tag = response.headers["ETag"]
    async with site.get("/", headers={"If-None-Match": f'"other", {tag}'}) as response:
        assert (response.status, response.headers["ETag"], await response.read()) == (304, tag, b"")


async def test_everything_the_page_refers_to_is_there(site: Client) -> None:
    async with site.get("/") as response:
        page = await response.text()
    paths = set(re.findall(r'(?:src|href|data-url|data-stream)="([^"]+)"', page))
    assert len([path for path in paths if path.startswith("/assets/")]) == 3
    for path in paths:
        async with site.get(path) as response:
            assert response.status == 200
            assert ("immutable" in response.headers["Cache-Control"]) == path.startswith("/assets/")


async def test_it_works_without_the_rest_of_the_web(site: Client) -> None:
    for path in ("/", *re.findall(r'"(/assets/[^"]+)"', await (await site.get("/")).text())):
        async with site.get(path) as response:
            assert set(re.findall(r"https?://[^\s\"'<>)]+", await response.text())) <= {"http://www.w3.org/2000/svg"}


async def test_languages_vary(site: Client) -> None:
    greetings = set()
    for language in ("de-AT,de;q=0.9", "en", "tlh"):
        async with site.get("/lang", headers={"Accept-Language": language}) as response:
            assert response.headers["Vary"] == "Accept-Language"
            greetings.add((await response.json())["greeting"])
    assert greetings == {"Guten Morgen", "Good morning"}


async def test_what_is_made_is_counted_and_private_sets_a_cookie(site: Client) -> None:
    made = []
    for _ in range(2):
        async with site.get("/private") as response:
            assert "visitor=" in response.headers["Set-Cookie"]
            made.append((await response.json())["made"])
    assert made == [1, 2]


async def test_the_big_one_is_as_big_as_it_says(site: Client) -> None:
    async with site.get("/big") as response:
        assert len(await response.read()) == BIG_BYTES == response.content_length


async def test_the_stream_ends_after_its_events(site: Client) -> None:
    async with site.get("/stream") as response:
        assert response.content_type == "text/event-stream"
        assert (await response.text()).count("data: event ") == 20


def test_the_site_ends_with_its_standard_input() -> None:
    command = [sys.executable, "-m", "edgecache.demo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        url = process.stdout.readline().strip()
        with urlopen(f"{url}/") as response:
            assert response.status == 200
        process.stdin.close()
        assert process.wait(20) == 0
