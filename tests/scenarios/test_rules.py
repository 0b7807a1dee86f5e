"""Rules as they are written, at work in the running edge: what clients get, and what the origin sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Protocol

import pytest

from edgecache.edges.config_text import Mistakes, parse_text
from edgecache.edges.rule_files import read_rule_file, read_rules
from edgecache.semantics.rules import Rule
from tests.scenarios.composed import edge_before, ordered
from tests.scenarios.rig import FakeClock, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge

HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}


class Ruled(Protocol):
    async def __call__(self, *sets: str, text: str = "") -> RunningEdge: ...


@pytest.fixture
async def ruled(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[Ruled]:
    """Start an edge with rules: those of a text, then those of shipped sets."""
    async with AsyncExitStack() as running:

        async def start(*sets: str, text: str = "") -> RunningEdge:
            return await running.enter_async_context(
                edge_before(origin.url, clock=clock, rules=rules(*sets, text=text))
            )

        yield start


def rules(*sets: str, text: str) -> list[Rule]:
    found = Mistakes()
    own = parse_text("mine.toml", text, found)
    assert own is not None
    files = [read_rules(own, found), *(read_rule_file(name, found) for name in sets)]
    assert not found.mistakes
    return [rule for file in files if file is not None for rule in file.rules]


async def test_a_marketing_parameter_is_no_part_of_a_page(ruled: Ruled, origin: ScriptedOrigin) -> None:
    edge = await ruled("default")
    origin.script = lambda request: Reply(200, {**HTML, "Cache-Control": "max-age=60"}, request.target.encode())
    bodies = [(await edge.fetch(target)).body for target in ("/a?b=1&utm_source=x", "/a?gclid=y&b=1", "/a?b=1")]
    assert bodies == [b"/a?b=1"] * 3
    assert [request.target for request in origin.requests] == ["/a?b=1"]


async def test_every_address_of_an_application_is_one_page(ruled: Ruled, origin: ScriptedOrigin) -> None:
    edge = await ruled("spa", "static-assets")
    origin.script = lambda request: Reply(200, {**HTML, "ETag": '"1"'}, b"page")
    for target in ("/", "/orders", "/orders/42?tab=1"):
        response = await edge.fetch(target, "GET", {"Accept": "text/html,*/*"})
        assert (response.status, response.fields["cache-control"]) == (200, "public, must-revalidate, max-age=0")
    assert [request.target for request in origin.requests] == ["/index.html"]
    missing = await edge.fetch("/assets/orders-5NXVKDXI.js", "GET", {"Accept": "*/*"})
    assert missing.fields["cache-control"] == "no-store"


async def test_a_file_of_a_build_outlives_its_deploy(ruled: Ruled, origin: ScriptedOrigin, clock: FakeClock) -> None:
    edge = await ruled("static-assets")
    origin.script = lambda request: Reply(200, {"Content-Type": "text/javascript"}, b"old")
    assert (await edge.fetch("/assets/app.3b1f2a9c.js")).fields["cache-control"] == "public, max-age=31536000"
    origin.script = lambda request: Reply(404, HTML, b"gone")
    clock.advance(366 * 86_400)
    kept = await edge.fetch("/assets/app.3b1f2a9c.js")
    assert (kept.status, kept.body) == (200, b"old")
    assert "retained" in kept.fields["cache-status"]
    clock.advance(31 * 86_400)
    assert (await edge.fetch("/assets/app.3b1f2a9c.js")).status == 404


async def test_who_is_logged_in_is_answered_by_the_origin(ruled: Ruled, origin: ScriptedOrigin) -> None:
    edge = await ruled("wordpress")
    origin.script = lambda request: Reply(200, HTML, request.fields.get("cookie", "visitor").encode())
    cookie = {"Cookie": "wordpress_logged_in_1=me"}
    assert (await edge.fetch("/hello/")).body == b"visitor"
    passed = await edge.fetch("/hello/", "GET", cookie)
    assert (passed.body, "rule-pass" in passed.fields["cache-status"]) == (b"wordpress_logged_in_1=me", True)
    assert "hit" in (await edge.fetch("/hello/")).fields["cache-status"]


async def test_what_a_rule_tags_is_purged_by_its_tag(ruled: Ruled, origin: ScriptedOrigin) -> None:
    edge = await ruled("api")
    origin.script = lambda request: Reply(200, {**JSON, "Cache-Control": "max-age=60"}, b"{}")
    await edge.fetch("/api/products/1")
    await edge.fetch("/api/orders/1")
    order = {"selectors": [{"kind": "tag", "value": "api:products"}]}
    assert (await ordered(edge, "/v1/purge", order))["matched"] == 1
    assert "hit" in (await edge.fetch("/api/orders/1")).fields["cache-status"]
    assert "fwd=" in (await edge.fetch("/api/products/1")).fields["cache-status"]


async def test_a_prediction_is_looked_up_by_what_is_asked(ruled: Ruled, origin: ScriptedOrigin) -> None:
    edge = await ruled("ml-inference")
    origin.script = lambda request: Reply(200, JSON, b"answer to " + request.body)
    asked = [(await edge.fetch("/models/a/predict", "QUERY", JSON, body)).body for body in (b"[1]", b"[2]", b"[1]")]
    assert asked == [b"answer to [1]", b"answer to [2]", b"answer to [1]"]
    assert origin.asked() == 2


async def test_a_part_of_the_key_tells_answers_apart(ruled: Ruled, origin: ScriptedOrigin) -> None:
    edge = await ruled(text='[[rule]]\nname = "a"\nset = { key_headers = "X-Country", key_cookies = "theme" }\n')
    origin.script = lambda request: Reply(200, {**HTML, "Cache-Control": "max-age=60"}, str(request.number).encode())
    asked = [
        {"X-Country": "de"},
        {"X-Country": "fr"},
        {"Cookie": "theme=a"},
        {"X-Country": "de"},
        {"Cookie": "theme=a"},
    ]
    assert [(await edge.fetch("/", "GET", fields)).body for fields in asked] == [b"1", b"2", b"3", b"1", b"3"]


async def test_a_rule_says_how_large_a_body_may_be_also_when_its_length_is_not_told(
    ruled: Ruled, origin: ScriptedOrigin
) -> None:
    small = '[[rule]]\nname = "small"\nmatch.path = "/small"\nset.max_object = 1000\n'
    large = '[[rule]]\nname = "large"\nset.max_object = "80MiB"\n'
    edge = await ruled(text=small + large)
    fresh = {**HTML, "Cache-Control": "max-age=60"}
    origin.script = lambda request: Reply(200, fresh, bytes(2000 if request.target == "/small" else 1000), chunked=True)
    for target in ("/small", "/small", "/large", "/large"):
        await edge.fetch(target)
    assert (origin.asked("/small"), origin.asked("/large")) == (2, 1)
    assert edge.parts.counters.not_storable["too-large"] == 2
