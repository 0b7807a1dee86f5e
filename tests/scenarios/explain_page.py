"""What ``docs/explain.md`` shows, made by the program: ``python -m tests.scenarios.explain_page`` writes it there anew.

Each block of the page stands behind the name of its case, in a comment. A case is some requests to an edge and a
command. The clock is the story's; what differs from run to run (processes, identifiers, milliseconds) is made the same.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from edgecache.http.glob import Glob
from edgecache.purging.selector import Selector
from edgecache.semantics.policy import QueryKey
from edgecache.semantics.rules import Match, Rule
from edgecache.semantics.versioned import By
from tests.scenarios.asking import command
from tests.scenarios.composed import edge_before, settled
from tests.scenarios.rig import FakeClock, FieldsLike, Received, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge

__all__ = ["BLOCK", "CASES", "PAGE", "shown", "written"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "explain.md"
BLOCK: Final = re.compile(r"<!-- ([a-z ]+) -->\n```\n(.*?)```\n", re.DOTALL)
_DIFFERENT: Final = ((r"process \d+", "process 4711"), (r"id [0-9a-f]{16}", "id 29de9ad8bfcc77fc"))

RULES: Final = (
    Rule(
        name="marketing",
        source="shop.toml:4",
        settings={"query": QueryKey(drop=("utm_*", "gclid"))},
    ),
    Rule(
        name="versioned assets",
        source="shop.toml:9",
        match=Match(versioned=frozenset(By)),
        settings={"edge_ttl": 2_592_000.0, "retain": 604_800.0},
    ),
    Rule(
        name="news",
        source="shop.toml:17",
        match=Match(paths=(Glob("/news/**"),)),
        settings={"edge_ttl": 300.0, "jitter": 0.1, "tags": ("news", "news:{2}")},
    ),
    Rule(
        name="the rest",
        source="shop.toml:26",
        settings={"edge_ttl": 60.0, "grace": 30.0},
        match=Match(paths=(Glob("/news/**"),)),
    ),
    Rule(
        name="legacy",
        source="shop.toml:31",
        match=Match(paths=(Glob("/legacy/**"),)),
        settings={"unsafe_ignore_content_type": True},
    ),
)

_CSS: Final = {"Content-Type": "text/css", "Cache-Control": "max-age=600", "ETag": '"v3"', "Cache-Tag": "theme"}
_PAGE: Final = {"Content-Type": "text/html", "Cache-Control": "max-age=60"}
_REPLIES: Final = {
    "/theme.css": Reply(200, _CSS, b"body { color: teal }"),
    "/login": Reply(200, {**_PAGE, "Set-Cookie": "session=Z9hL4; Path=/; HttpOnly"}, b"<form>"),
    "/prices": Reply(200, {**_PAGE, "Cache-Control": "max-age=60, stale-while-revalidate=30"}, b"<table>"),
    "/hello": Reply(200, {**_PAGE, "Vary": "Accept-Language"}, b"hallo"),
    "/news/2027/snow": Reply(200, _PAGE, b"<article>"),
    "/app.js": Reply(200, _PAGE, b"<!doctype html>"),
    "/legacy/menu.js": Reply(200, _PAGE, b"<!doctype html>"),
    "/api": Reply(200, {"Cache-Control": "max-age=60"}, b"{}"),
    "/app.3f2a9c1e.js": Reply(200, {"Content-Type": "text/javascript"}, b"main()"),
}


def _origin(request: Received) -> Reply:
    return _REPLIES[request.target.partition("?")[0]]


async def _get(edge: RunningEdge, target: str, fields: FieldsLike = ()) -> None:
    await edge.fetch(target, fields=(("Host", "shop.example"), *_pairs(fields)))
    await settled(edge)


def _pairs(fields: FieldsLike) -> tuple[tuple[str, str], ...]:
    return fields if isinstance(fields, tuple) else tuple(fields.items())


Story = Callable[[RunningEdge, FakeClock], Awaitable[None]]


class Case(NamedTuple):
    """What happens, and what is asked then."""

    story: Story
    command: str


def _asked(target: str, later: float, fields: FieldsLike = (), purge: str = "") -> Story:
    """One request, some seconds, perhaps a purge."""

    async def story(edge: RunningEdge, clock: FakeClock) -> None:
        await _get(edge, target, fields)
        clock.advance(later)
        if purge:
            await edge.parts.ledger.purge([Selector.parse(purge)])
            await edge.parts.memory.clear()  # as the sweep does, soon

    return story


async def _nothing(edge: RunningEdge, clock: FakeClock) -> None:
    pass


async def _poison(edge: RunningEdge, clock: FakeClock) -> None:
    await _get(edge, "/theme.css")
    await _get(edge, "/legacy/menu.js")
    clock.advance(20)


URL: Final = "http://shop.example"
CASES: Final = {
    "hit": Case(_asked("/theme.css", 20), f"edgecache explain '{URL}/theme.css?utm_source=mail'"),
    "miss": Case(_asked("/theme.css", 20), "edgecache explain https://shop.example/theme.css"),
    "set cookie": Case(_asked("/login", 4), f"edgecache explain {URL}/login"),
    "grace": Case(_asked("/prices", 75), f"edgecache explain {URL}/prices"),
    "purged": Case(_asked("/theme.css", 20, purge="tag:theme"), f"edgecache explain {URL}/theme.css"),
    "variant": Case(
        _asked("/hello", 5, {"Accept-Language": "de"}), f"edgecache explain {URL}/hello -H 'Accept-Language: fr'"
    ),
    "rule": Case(_asked("/news/2027/snow", 20), f"edgecache explain {URL}/news/2027/snow"),
    "type mismatch": Case(_asked("/app.js", 3), f"edgecache explain {URL}/app.js"),
    "unkeyed": Case(_asked("/api", 3, {"X-Tenant": "acme"}), f"edgecache explain {URL}/api -H 'X-Tenant: acme'"),
    "versioned": Case(_asked("/app.3f2a9c1e.js", 86_400), f"edgecache explain {URL}/app.3f2a9c1e.js"),
    "scan": Case(_poison, "edgecache scan --poisoned"),
}


async def shown(case: str) -> str:
    """Return the command of a case and what it prints."""
    clock, (story, line) = FakeClock(), CASES[case]
    async with ScriptedOrigin(_origin) as origin, edge_before(origin.url, clock=clock, rules=RULES) as edge:
        await story(edge, clock)
        asked = len(origin.requests)
        result = await command(edge, *shlex.split(line)[1:])
        assert (result.exit_code, len(origin.requests)) == (0, asked), result.output
    output = result.stdout
    for pattern, same in _DIFFERENT:
        output = re.sub(pattern, same, output)
    return f"$ {line}\n{output}"


async def written(page: str) -> str:
    """Return a page with every block as the program shows it now."""
    for case, block in BLOCK.findall(page):
        page = page.replace(f"<!-- {case} -->\n```\n{block}```\n", f"<!-- {case} -->\n```\n{await shown(case)}```\n")
    return page


if __name__ == "__main__":
    PAGE.write_text(asyncio.run(written(PAGE.read_text("utf-8"))), "utf-8")
