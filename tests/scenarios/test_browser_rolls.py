"""A browser, and a release that goes from server to server: pages break, and before the edge none does.

One page frames the site again and again, and each time the site tells it whether style, script and what that imports
came, and were of one release. Meanwhile first one server gets the new release and then the other.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from edgecache.semantics.rules import Match, Rule
from edgecache.semantics.versioned import By
from tests.scenarios.balancer import Balancer
from tests.scenarios.composed import edge_before
from tests.scenarios.releases import Release, Server
from tests.scenarios.rig import Received, Reply, ScriptedOrigin
from tests.scenarios.test_real_clients import FLAGS, run

LOADS: Final = 24
OLD: Final = Release("old", "s-maxage=600")
NEW: Final = Release("new", "s-maxage=600")
"""Browsers have to ask for their assets each time."""

RULES: Final = (Rule(name="assets", match=Match(versioned=frozenset(By)), settings={"retain": 86_400.0}),)

FRAMES: Final = """<!doctype html><title>framing</title><pre></pre>
<script>
const load = number => new Promise(done => {
  const frame = document.createElement("iframe");
  const end = word => {
    removeEventListener("message", told);
    clearTimeout(timer);
    frame.remove();
    done(word);
  };
  const told = event => event.source === frame.contentWindow && end(event.data);
  const timer = setTimeout(end, 20000, "broken: nothing was heard of it");
  addEventListener("message", told);
  frame.src = `BASE/?${number}`;
  document.body.append(frame);
});
const words = [];
for (let number = 1; number <= LOADS; number++) words.push(await load(number));
document.querySelector("pre").textContent = JSON.stringify(words);
</script>
""".replace("<script>", '<script type="module">').replace("LOADS", str(LOADS))


class Roll:
    """Two servers; the second has the new release after a quarter of all pages, the first after three quarters."""

    def __init__(self) -> None:
        self._servers = Server(OLD), Server(OLD)
        self._pages = 0

    def first(self, request: Received) -> Reply:
        return self._answer(0, request)

    def second(self, request: Received) -> Reply:
        return self._answer(1, request)

    def in_turn(self, request: Received) -> Reply:
        """As a balancer of requests has it."""
        return self._answer(request.number % 2, request)

    def _answer(self, server: int, request: Received) -> Reply:
        if request.target.startswith("/?"):
            self._pages += 1
        self._servers[1].release = NEW if self._pages > LOADS // 4 else OLD
        self._servers[0].release = NEW if self._pages > 3 * LOADS // 4 else OLD
        return self._servers[server](request)


@asynccontextmanager
async def two_addresses() -> AsyncIterator[list[str]]:
    roll = Roll()
    async with ScriptedOrigin(roll.first) as first, ScriptedOrigin(roll.second) as second:
        yield [first.url, second.url]


@asynccontextmanager
async def a_balancer_of_connections() -> AsyncIterator[list[str]]:
    async with two_addresses() as urls, Balancer(*(int(url.rpartition(":")[2]) for url in urls)) as balancer:
        yield [balancer.url]


@asynccontextmanager
async def a_balancer_of_requests() -> AsyncIterator[list[str]]:
    async with ScriptedOrigin(Roll().in_turn) as balancer:
        yield [balancer.url]


Servers: TypeAlias = Callable[[], AbstractAsyncContextManager[list[str]]]
BALANCERS: Final[tuple[Servers, ...]] = (a_balancer_of_connections, a_balancer_of_requests)


@pytest.fixture
def browser() -> str:
    found = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
    if found is None:
        pytest.skip("no browser is installed")
    return found


async def words_of(browser: str, url: str, profile: Path) -> list[str]:
    """Let a browser load the site again and again; return what each page said of itself."""
    text = FRAMES.replace("BASE", url).encode()
    page = Reply(200, {"Content-Type": "text/html"}, text)
    async with ScriptedOrigin(lambda request: page if request.target == "/" else Reply(404)) as framing:
        flags = (*FLAGS, "--virtual-time-budget=600000", f"--user-data-dir={profile}", "--dump-dom")
        found = re.search(rb"<pre>(.*?)</pre>", await run(browser, *flags, f"{framing.url}/"))
    assert found is not None
    words: list[str] = json.loads(found[1])
    assert len(words) == LOADS
    return words


@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", BALANCERS)
async def test_without_an_edge_pages_break(browser: str, tmp_path: Path, servers: Servers) -> None:
    async with servers() as (url,):
        words = await words_of(browser, url, tmp_path)
    assert "whole" in words
    assert any(word.startswith("broken") for word in words), words


@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", [two_addresses, *BALANCERS])
async def test_before_an_edge_none_does(browser: str, tmp_path: Path, servers: Servers) -> None:
    async with servers() as urls, edge_before(*urls, rules=RULES) as edge:
        words = await words_of(browser, f"http://127.0.0.1:{edge.port}", tmp_path)
    assert words == ["whole"] * LOADS
