"""An explanation is what happens: it is compared with what the edge does next; and the origin is not asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgecache.edges.explain_api import read_request_head
from edgecache.engine.parts import FWD
from edgecache.http.glob import Glob, Wildcard
from edgecache.purging.selector import Selector
from edgecache.semantics.policy import QueryKey
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import Match, Rule
from edgecache.stores.memory import MemoryStore
from tests.faults.redis_server import RedisServer
from tests.scenarios.answers import FRESH, TAGGED, numbered, representation, validating
from tests.scenarios.asking import explained
from tests.scenarios.composed import edge_before, settled
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import FakeClock, Reply, Script, ScriptedOrigin
from tests.scenarios.shared import StartShared, SteadyClock, confirmed, written
from tests.stores.contract import every_key

URL = "http://example.com/a"
FOR_A_MINUTE = numbered(*FRESH.items())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


@dataclass(frozen=True)
class Case:
    """A request after some others, and what is said about it."""

    action: str
    reason: Reason
    script: Script = FOR_A_MINUTE
    before: tuple[dict[str, str], ...] = ({},)
    later: float = 0.0
    purge: Selector | None = None
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] = ()


CASES = {
    "never seen": Case("forward", Reason.URI_MISS, before=()),
    "fresh": Case("serve", Reason.FRESH, later=59),
    "stale": Case("validate", Reason.STALE, later=60),
    "in grace": Case(
        "serve-stale",
        Reason.GRACE,
        numbered(("Cache-Control", "max-age=60, stale-while-revalidate=9")),
        later=61,
    ),
    "without validation never": Case("validate", Reason.NO_CACHE, validating(("Cache-Control", "no-cache"))),
    "another variant": Case(
        "forward",
        Reason.VARY_MISS,
        numbered(*FRESH.items(), ("Vary", "Accept")),
        before=({"Accept": "a"},),
        fields=(("Accept", "b"),),
    ),
    "this variant": Case(
        "serve",
        Reason.FRESH,
        numbered(*FRESH.items(), ("Vary", "Accept")),
        before=({"Accept": "a"}, {"Accept": "b"}),
        fields=(("Accept", "a"),),
    ),
    "reload": Case("validate", Reason.RELOAD, fields=(("Cache-Control", "no-cache"),)),
    "max-stale": Case("serve", Reason.MAX_STALE, later=70, fields=(("Cache-Control", "max-stale=20"),)),
    "only if cached": Case("refuse", Reason.ONLY_IF_CACHED, before=(), fields=(("Cache-Control", "only-if-cached"),)),
    "precondition": Case("forward", Reason.PRECONDITION, fields=(("If-Match", '"1"'),)),
    "other method": Case("pass", Reason.METHOD, method="POST"),
    "head": Case("serve", Reason.FRESH, method="HEAD"),
    "part": Case("complete", Reason.PARTIAL, representation(), before=({"Range": "bytes=0-9"},)),
    "not stored": Case("forward", Reason.URI_MISS, numbered(*FRESH.items(), ("Set-Cookie", "a=b"))),
    "purged": Case("forward", Reason.URI_MISS, purge=Selector.of("url", URL)),
    "softly purged": Case("validate", Reason.STALE, purge=Selector.of("url", URL, soft=True)),
    "softly purged in grace": Case(
        "serve-stale",
        Reason.GRACE,
        numbered(("Cache-Control", "max-age=60, stale-while-revalidate=9")),
        purge=Selector.of("url", URL, soft=True),
    ),
    "passed by a rule": Case("pass", Reason.RULE_PASS, rules=(Rule(name="no", settings={"passes": True}),)),
    "kept longer by a rule": Case(
        "serve", Reason.FRESH, later=99, rules=(Rule(name="longer", settings={"edge_ttl": 100.0}),)
    ),
    "with a field that counts for nothing": Case("serve", Reason.FRESH, fields=(("X-Debug", "1"),)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_is_explained_is_what_happens(origin: ScriptedOrigin, clock: FakeClock, case: Case) -> None:
    origin.script = case.script
    async with edge_before(origin.url, clock=clock, rules=case.rules) as edge:
        for fields in case.before:
            await edge.fetch("/a", fields=fields)
        await settled(edge)
        clock.advance(case.later)
        if case.purge is not None:
            await edge.parts.ledger.purge([case.purge])
        asked, statistics = len(origin.requests), edge.parts.memory.statistics()
        told = await explained(edge, URL, case.method, **dict(case.fields))
        assert (told["present"]["action"], told["present"]["reason"]) == (case.action, case.reason)
        assert (len(origin.requests), edge.parts.memory.statistics()) == (asked, statistics)
        answer = await edge.fetch("/a", case.method, case.fields)
    assert _outcome(answer.cache_status) == _expected(case)


def _outcome(cache_status: str) -> str:
    return next(part for part in cache_status.split("; ")[1:] if part == "hit" or part.startswith("fwd="))


def _expected(case: Case) -> str:
    if case.action in ("serve", "serve-stale"):
        return "hit"
    return "fwd=request" if case.action == "refuse" else f"fwd={FWD[case.reason]}"


async def test_a_look_is_no_use(start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    """Neither is what is stored brought forward for it, nor is anything removed, restated or prolonged."""
    origin.script = numbered(*FRESH.items())
    edge = await start_edge()
    for target in ("/a", "/b"):
        await edge.fetch(target)
    await edge.parts.ledger.purge([Selector.of("url", "http://example.com/b", soft=True)])
    memory = edge.parts.memory
    assert isinstance(memory, MemoryStore)
    before, order = {key: memory.peek(key) for key in every_key(memory)}, memory.tally_all()
    for url in (URL, "http://example.com/b"):
        await explained(edge, url)
    assert {key: memory.peek(key) for key in every_key(memory)} == before
    assert all(one is other for key, old in before.items() for one, other in zip(memory.peek(key), old, strict=True))
    assert memory.tally_all() == order


# The key.


async def test_the_key_is_that_of_the_request(origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = numbered(*FRESH.items())
    rules = [
        Rule(name="marketing", source="shop.toml:4", settings={"query": QueryKey(drop=("utm_*",), sort=True)}),
        Rule(name="themes", source="shop.toml:9", settings={"key_cookies": ("theme",), "key_fields": ("x-device",)}),
    ]
    fields = {"Cookie": "id=7; theme=dark", "X-Device": "phone"}
    async with edge_before(origin.url, clock=clock, rules=rules) as edge:
        await edge.fetch("/a?utm_x=1&b=2&a=1", fields=fields)
        told = await explained(edge, f"{URL}?utm_x=9&b=2&a=1", **fields)
        assert told["key"] == every_key(edge.parts.memory)[0]
    assert told["present"]["action"] == "serve"
    assert [(step["what"], step["value"], step["source"]) for step in told["steps"]] == [
        ("target", f"{URL}?utm_x=9&b=2&a=1", ""),
        ("query", "/a?a=1&b=2", "marketing (shop.toml:4)"),
        ("field", "x-device: phone", "themes (shop.toml:9)"),
        ("cookie", "theme=dark", "themes (shop.toml:9)"),
        ("key", "+field.x-device=phone&cookie.theme=dark http://example.com/a?a=1&b=2", ""),
    ]


async def test_what_is_looked_for_may_be_elsewhere(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items())
    await edge.fetch("/a")
    told = await explained(edge, "https://example.com/a?b")
    assert told["elsewhere"] == []
    told = await explained(edge, "https://example.com/a")
    assert told["elsewhere"] == [{"url": URL, "what": "the other scheme", "matched": 1}]
    assert told["advice"] == f"something is stored under {URL} (the other scheme): is that what is meant?"
    told = await explained(edge, f"{URL}?b")
    assert told["elsewhere"] == [{"url": URL, "what": "without its query", "matched": 1}]


# Rules.


async def test_rules_are_told_in_order_and_what_each_decides(origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = numbered(("Content-Type", "text/css"))
    rules = [
        Rule(name="all", source="a.toml:9", settings={"edge_ttl": 60.0, "tags": ("all",)}),
        Rule(
            name="css",
            source="a.toml:1",
            match=Match(content_types=(Wildcard("text/css"),)),
            settings={"edge_ttl": 600.0},
            priority=1,
        ),
        Rule(name="other hosts", match=Match(hosts=(Glob("other.example"),)), settings={"edge_ttl": 1.0}),
    ]
    async with edge_before(origin.url, clock=clock, rules=rules) as edge:
        told = await explained(edge, URL)
        assert [rule["name"] for rule in told["rules"]] == ["all"]  # what looks at a response is not known yet
        await edge.fetch("/a")
        told = await explained(edge, URL)
    assert [(rule["name"], rule["decides"], rule["overruled"]) for rule in told["rules"]] == [
        ("css", {"edge_ttl": "600 s"}, []),
        ("all", {"tags": "all"}, ["edge_ttl"]),
    ]
    (copy,) = told["stored"]
    assert copy["lifetime"]["terms"] == [{"seconds": 600.0, "what": "edge_ttl", "source": "css (a.toml:1)"}]
    assert copy["tags"] == ["all"]


async def test_settings_of_the_configuration_have_their_place(origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = numbered(*FRESH.items())
    async with edge_before(origin.url, clock=clock, cache={"grace": 30.0}) as edge:
        await edge.fetch("/a")
        explainer = edge.parts.cache.explainer(edge.parts.memory, {"cache.grace": "edgecache.toml:12"})
        told = await explainer.explain(read_request_head(URL, "GET", []), process=1)
    sources = {window.name: window.source for window in told.stored[0].windows}
    assert sources["grace"] == "grace in [cache] (edgecache.toml:12)"
    assert sources["keep"] == "default"


# Why it was not stored.


@pytest.mark.parametrize(
    ("target", "reply", "fields", "failed", "advised"),
    [
        ("/a", Reply(200, {**FRESH, "Set-Cookie": "id=canary"}), {}, ["set-cookie"], "set no cookie"),
        ("/a", Reply(200, {"ETag": '"1"'}), {"Cookie": "id=canary"}, ["request-cookie"], "a Cookie (id)"),
        ("/a.js", Reply(200, {**FRESH, "Content-Type": "text/html"}), {}, ["type-mismatch"], "answer 404"),
        ("/a", Reply(200, FRESH), {"X_Debug": "canary"}, ["unkeyed-field"], "x-debug may change"),
        ("/a", Reply(200, {"Cache-Control": "private"}), {}, ["private", "no-freshness"], "public"),
        ("/a", Reply(200, {"Cache-Control": "no-store"}), {}, ["no-store", "no-freshness"], "public"),
        ("/a", Reply(200, {**FRESH, "Vary": "*"}), {}, ["vary-star"], "Vary"),
        ("/a", Reply(200, FRESH), {"Authorization": "Basic canary"}, ["authorization"], "whoever asks"),
        ("/a", Reply(200), {}, ["no-freshness"], "max-age"),
        ("/a", Reply(302), {}, ["status", "no-freshness"], "lifetime of its own"),
        ("/a", Reply(200, {**FRESH, "Cache-Groups": f'"{"x" * 129}"'}), {}, ["too-many-tags"], "fewer tags"),
        ("/a", Reply(200, FRESH, b"x", close_delimited=True), {}, [], "Content-Length"),
        ("/a", Reply(200, FRESH, b"xxxx", abort_at=2), {}, [], "broke off"),
        (
            "/a",
            Reply(206, {**FRESH, "Content-Range": "bytes 0-8/9"}, b"x"),
            {"Range": "bytes=0-8"},
            [],
            "Content-Range",
        ),
    ],
)
async def test_why_it_was_not_stored(
    edge: RunningEdge,
    origin: ScriptedOrigin,
    target: str,
    reply: Reply,
    fields: dict[str, str],
    failed: list[str],
    advised: str,
) -> None:
    origin.script = lambda _: reply
    await edge.fetch(target, fields={name.replace("_", "-"): value for name, value in fields.items()})
    await settled(edge)
    asked = len(origin.requests)
    told = await explained(edge, f"http://example.com{target}")
    latest = told["latest"]
    assert (latest["status"], latest["stored"], told["tested"], told["stored"]) == (reply.status, False, "latest", [])
    assert [test["reason"] for test in told["tests"] if not test["passed"]] == failed
    assert latest["reason"] in (failed or [Reason.CLOSE_DELIMITED, Reason.TRUNCATED, Reason.CONTENT_RANGE])
    assert advised in told["advice"]
    assert "canary" not in repr(told)
    assert len(origin.requests) == asked


async def test_a_body_that_is_too_large_is_told(start_edge: StartEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(200, FRESH, (b"x" * 60, b"x" * 60), chunked=True)
    edge = await start_edge(max_object=100)
    await edge.fetch("/a")
    await settled(edge)
    told = await explained(edge, URL)
    assert (told["latest"]["reason"], told["advice"]) == ("too-large", "raise max_object in [cache], or memory")


async def test_what_came_last_is_told_beside_what_is_stored(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda request: (
        Reply(200, {"Cache-Control": "max-age=60, stale-if-error=600"}) if request.number == 1 else Reply(503)
    )
    await edge.fetch("/a")
    clock.advance(60)
    await edge.fetch("/a")
    told = await explained(edge, URL)
    assert (told["latest"]["status"], told["latest"]["reason"], told["tested"]) == (503, "error-kept-out", "stored")
    assert told["present"]["action"] == "validate"
    assert told["advice"] == "the origin answers with errors: look at its log"


@pytest.mark.parametrize(
    ("purge", "since"),
    [(Selector.of("tag", "a"), "invalid"), (Selector.of("tag", "b"), "valid"), (None, "valid")],
)
async def test_where_it_has_gone(edge: RunningEdge, origin: ScriptedOrigin, purge: Selector | None, since: str) -> None:
    origin.script = numbered(*FRESH.items(), ("Cache-Tag", "a"))
    await edge.fetch("/a")
    if purge is not None:
        await edge.parts.ledger.purge([purge])
    await edge.parts.memory.clear()  # or swept, or evicted
    told = await explained(edge, URL)
    assert (told["stored"], told["latest"]["stored"], told["latest"]["since"]) == ([], True, since)


# Purges, time, tiers.


async def test_a_soft_purge_is_told_before_and_after_a_lookup(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = validating(*FRESH.items())
    await edge.fetch("/a")
    clock.advance(10)
    await edge.parts.ledger.purge([Selector.of("url", URL, soft=True)])

    async def told() -> tuple[str, float, str]:
        (copy,) = (await explained(edge, URL))["stored"]
        return copy["verdict"], copy["lifetime"]["ttl"], copy["lifetime"]["terms"][-1]["what"]

    assert await told() == ("stale", 0.0, "ended by a soft purge")
    await edge.fetch("/a", fields={"Cache-Control": "only-if-cached"})  # looked up, and not validated
    assert await told() == ("valid", 0.0, "ended by a soft purge")


async def test_what_will_be_in_an_hour(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = numbered(("Cache-Control", "max-age=3700"))
    await edge.fetch("/a")
    told = await explained(edge, URL)
    assert (told["present"]["action"], told["later"]["action"]) == ("serve", "serve")
    clock.advance(101)
    told = await explained(edge, URL)
    assert (told["present"]["action"], told["later"]["action"]) == ("serve", "validate")
    assert told["later"]["when"] == "2027-01-15T09:01:41.000Z"


async def test_what_would_purge_it_and_what_is_the_narrowest(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items(), ("Cache-Tag", "shop"), ("Vary", "Accept"))
    for accept in ("a", "b"):
        await edge.fetch("/x/y?z=1", fields={"Accept": accept})
    await edge.fetch("/other")
    told = await explained(edge, "http://example.com/x/y?z=1", Accept="a")
    assert [(one["selector"], one["matched"], one["narrowest"]) for one in told["reach"]] == [
        ("url:example.com/x/y?z=1", 2, True),
        ("tag:shop", 3, False),
        ("prefix:example.com/x/y", None, False),
        ("prefix:example.com/x", None, False),
        ("host:example.com", 3, False),
        ("all", 3, False),
    ]


async def test_variants_are_told_apart_and_no_cookie_is_shown(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(("Cache-Control", "public, max-age=60"), ("Vary", "Accept, Cookie"))
    await edge.fetch("/a", fields={"Accept": "a", "Cookie": "id=canary"})
    told = await explained(edge, URL, Accept="b")
    (copy,) = told["stored"]
    assert copy["selected"] is False
    assert copy["selecting"] == [
        {"name": "accept", "stored": "a", "presented": "b", "matches": False},
        {"name": "cookie", "stored": "…", "presented": None, "matches": False},
    ]
    assert "cookie" in told["advice"]
    assert "canary" not in repr(told)


async def test_what_is_in_redis_is_found_there(start: StartShared, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*TAGGED.items())
    one, other = await start(), await start()
    await one.fetch("/a")
    await written(one)
    asked = len(origin.requests)
    for edge, tiers, tier in ((one, ["memory", "redis"], "memory"), (other, ["redis"], "redis")):
        told = await explained(edge, URL)
        assert [copy["tier"] for copy in told["stored"]] == tiers
        assert (told["present"]["action"], told["present"]["tier"], told["shared"]) == ("serve", tier, True)
    assert other.parts.memory.statistics().responses == 0  # it was not brought there
    assert len(origin.requests) == asked
    await confirmed(one, "url", URL)
    told = await explained(other, URL)
    assert [(copy["verdict"], copy["usable"]) for copy in told["stored"]] == [("invalid", False)]
    assert told["present"]["reason"] == "uri-miss"


async def test_what_cannot_be_proven_is_told(
    start: StartShared, origin: ScriptedOrigin, server: RedisServer, steady: SteadyClock
) -> None:
    origin.script = numbered(*TAGGED.items())
    edge = await start()
    await edge.fetch("/a")
    await written(edge)
    server.kill()
    steady.advance(60)  # the lease is over
    told = await explained(edge, URL)
    assert (told["present"]["action"], told["present"]["reason"]) == ("validate", "unproven")
    assert [copy["verdict"] for copy in told["stored"]] == ["unproven"]
    assert "/readyz?verbose" in told["advice"]


async def test_a_wrong_clock_is_told(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = validating(*FRESH.items())
    await edge.fetch("/a")
    clock.advance(-600)
    told = await explained(edge, URL)
    assert (told["present"]["action"], told["present"]["reason"]) == ("validate", "clock")
    assert told["advice"].startswith("a clock is wrong")


async def test_a_guess_is_told_as_one(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(("Last-Modified", "Fri, 01 Jan 2027 00:00:00 GMT"))
    await edge.fetch("/a")
    told = await explained(edge, URL)
    assert (told["present"]["action"], told["stored"][0]["lifetime"]["basis"]) == ("serve", "heuristic")
    assert "a guess from Last-Modified" in told["advice"]


async def test_an_explanation_says_who_gives_it(edge: RunningEdge) -> None:
    told: dict[str, Any] = await explained(edge, URL)
    assert (told["process"], told["workers"], told["shared"]) == (os.getpid(), 1, False)
