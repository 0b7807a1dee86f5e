"""What should not be stored is found and purged, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import structs

from edgecache.http.glob import Glob
from edgecache.purging.selector import Selector
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.rules import Match, Rule
from tests.scenarios.asking import command
from tests.scenarios.composed import edge_before, ordered
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FakeClock, Reply, ScriptedOrigin
from tests.semantics.build import request, store
from tests.semantics.build import response as answer

YEAR = "Cache-Control: max-age=31536000, immutable"
ASSET = "/app.3f2a9c1e.js"
ALLOWING = Rule(
    name="legacy",
    source="shop.toml:3",
    match=Match(paths=(Glob("/legacy/*"),)),
    settings={"unsafe_ignore_content_type": True},
)


def put(edge: RunningEdge, target: str, *lines: str, status: int = 200) -> None:
    """Put a response into the store past every guard, as an edge of an earlier release might have."""
    asked = request(target=target)
    made = store(answer(*lines, status=status), of=asked, at=FakeClock().now)
    assert edge.parts.memory.put_now(structs.replace(made, birth=edge.parts.ledger.birth()))


async def scan(edge: RunningEdge, *, purge: bool = False) -> dict[str, Any]:
    return await ordered(edge, "/v1/scan", {"poisoned": True, "purge": purge})


def urls(report: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return sorted((one["url"], [why["reason"] for why in one["why"]]) for one in report["found"])


async def poisoned(edge: RunningEdge) -> None:
    put(edge, "/good.js", YEAR, "Content-Type: text/javascript")
    put(edge, ASSET, YEAR, "Content-Type: text/html", "Vary: Accept")
    put(edge, "/app.aaaa1111.js", YEAR, status=404)
    put(edge, "/account;x.css", "Cache-Control: max-age=60", "Content-Type: text/html")
    put(edge, "/login", "Cache-Control: max-age=60", "Set-Cookie: session=canary")


async def test_poison_is_found_and_nothing_else(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    await poisoned(edge)
    report = await scan(edge)
    assert (report["looked_at"], report["more"], report["complete"], report["missing"]) == (5, 0, True, [])
    assert urls(report) == [
        ("http://example.com/account;x.css", ["type-mismatch"]),
        ("http://example.com/app.3f2a9c1e.js", ["type-mismatch"]),
        ("http://example.com/app.aaaa1111.js", ["immutable-failure", "missing-asset"]),
        ("http://example.com/login", ["set-cookie"]),
    ]
    assert "purge" not in report
    assert edge.parts.ledger.sequence == 0
    assert "canary" not in repr(report)
    assert origin.requests == []


async def test_what_was_found_is_purged_and_is_not_found_again(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"clean")
    await poisoned(edge)
    report = await scan(edge, purge=True)
    assert (report["purge"]["state"], report["purge"]["matched"], len(report["found"])) == ("confirmed", 4, 4)
    assert urls(await scan(edge)) == []
    assert (await edge.fetch("/login")).body == b"clean"
    assert (await edge.fetch("/good.js")).cache_status.startswith("edgecache; hit")
    report = await scan(edge, purge=True)
    assert "purge" not in report  # there was nothing to purge
    assert edge.parts.ledger.sequence == 1


async def test_what_a_rule_lets_in_is_told_and_stays(origin: ScriptedOrigin, clock: FakeClock) -> None:
    """Poison that an origin really served: a page under the name of a script."""
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60", "Content-Type": "text/html"}, b"<html>")
    async with edge_before(origin.url, clock=clock, rules=[ALLOWING]) as edge:
        for target in ("/legacy/a.js", "/a.js"):
            await edge.fetch(target)
        report = await scan(edge, purge=True)
        assert [(one["url"], one["size"], one["content_type"]) for one in report["found"]] == [
            ("http://example.com/legacy/a.js", 6, "text/html")
        ]
        assert report["found"][0]["why"][0]["allowed_by"] == "legacy (shop.toml:3)"
        assert "purge" not in report
        result = await command(edge, "scan", "--poisoned", "--purge")
        assert (result.exit_code, edge.parts.ledger.sequence) == (0, 0)
        assert "type-mismatch: the content is not of the type that the name says" in result.stdout
        assert result.stdout.endswith("\n      allowed by legacy (shop.toml:3)\n")


async def test_what_was_purged_already_is_no_finding(edge: RunningEdge, clock: FakeClock) -> None:
    put(edge, "/a.js", "Cache-Control: max-age=60", "Content-Type: text/html")
    put(edge, "/b.js", "Cache-Control: max-age=60", "Content-Type: text/html")
    await edge.parts.ledger.purge([Selector.of("url", "http://example.com/a.js")])
    assert [one["url"] for one in (await scan(edge))["found"]] == ["http://example.com/b.js"]
    clock.advance(60 + DEFAULT.if_unreachable)  # it has no validator, and is of no use from now on
    assert (await scan(edge))["found"] == []


async def test_more_than_one_purge_takes_is_counted_and_found_again(edge: RunningEdge) -> None:
    for number in range(1003):
        put(edge, f"/{number}.js", "Cache-Control: max-age=60", "Content-Type: text/html")
    first = await scan(edge, purge=True)
    assert (len(first["found"]), first["more"], first["purge"]["state"]) == (1000, 3, "confirmed")
    second = await scan(edge, purge=True)
    assert (len(second["found"]), second["more"]) == (3, 0)
    assert (await scan(edge))["found"] == []


# The command.


async def test_the_command_tells_what_was_found_and_fails(edge: RunningEdge) -> None:
    put(edge, ASSET, YEAR, "Content-Type: text/html")
    result = await command(edge, "scan", "--poisoned")
    assert result.exit_code == 1
    first, blank, url, what, why = result.stdout.splitlines()
    assert (first, blank, url) == ("1 stored responses looked at, 1 suspected", "", f"http://example.com{ASSET}")
    assert what.startswith("  200, text/html, 10 bytes, 0 s old, in process ")
    assert why == "    type-mismatch: the content is not of the type that the name says (cache deception)"


async def test_the_command_purges_and_is_content(edge: RunningEdge) -> None:
    put(edge, ASSET, YEAR, "Content-Type: text/html")
    result = await command(edge, "scan", "--poisoned", "--purge")
    assert result.exit_code == 0
    assert "purge 1 confirmed, id " in result.stdout
    result = await command(edge, "scan", "--poisoned", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["found"], report["complete"]) == (0, [], True)


@pytest.mark.parametrize("arguments", [(), ("--purge",)])
async def test_what_to_look_for_has_to_be_said(edge: RunningEdge, arguments: tuple[str, ...]) -> None:
    result = await command(edge, "scan", *arguments)
    assert (result.exit_code, "--poisoned" in result.stderr) == (2, True)
