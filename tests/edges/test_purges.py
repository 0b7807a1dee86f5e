"""Carrying out purges: what is counted where, with siblings on real sockets that answer, hang, refuse or are gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web

from edgecache.edges.purge_messages import PurgeReply
from edgecache.edges.purges import Purges, Wish
from edgecache.edges.siblings import ALONE, Siblings
from edgecache.edges.tokens import Scope, Token, digest_of
from edgecache.engine.counters import Counters
from edgecache.purging.local import LocalLedger
from edgecache.purging.selector import Selector
from tests.edges.purging import EVERYTHING, SECRET, STARTED, LostLog, SilentPeer, Stored, admin, purges

BEARER = f"Bearer {SECRET}"
LIST = Selector.of("tag", "list")

Serve: TypeAlias = Callable[[str, web.Application], Awaitable[Path]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Let an application answer on a unix socket of this name."""
    async with contextlib.AsyncExitStack() as running:

        async def start(name: str, app: web.Application) -> Path:
            runner, path = web.AppRunner(app, shutdown_timeout=0.1), tmp_path / f"{name}.sock"
            await runner.setup()
            running.push_async_callback(runner.cleanup)
            await web.UnixSite(runner, str(path)).start()
            return path

        yield start


def wish(*selectors: Selector, **more: Any) -> Wish:
    return Wish(selectors=selectors or (LIST,), who="root", peer="192.0.2.1", **{"authorization": BEARER, **more})


def among(*paths: Path, **more: Any) -> Siblings:
    return Siblings(lambda: paths, **more)


# Counting.


async def test_what_siblings_hold_is_added_up(serve: Serve) -> None:
    one, two = await serve("1-0", admin()), await serve("1-1", admin())
    reply = await purges(siblings=among(one, two)).carry_out(wish())
    assert (reply.matched, reply.uncounted, reply.detail) == (6, [], "")
    assert reply.sample == ["http://shop.example/p/42", "http://shop.example/p/43?a=1"]


async def test_siblings_only_count(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgecache.audit")
    theirs, stored = LocalLedger(), Stored()
    made = purges(ledger=theirs, matching=stored)
    ours = purges(siblings=among(await serve("1-0", admin(made=made))))
    assert (await ours.carry_out(wish())).matched == 4
    assert (await ours.carry_out(wish(dry_run=True))).matched == 4
    assert (theirs.sequence, stored.asked) == (0, [False, False])
    assert len(caplog.records) == 2
    assert (await made.report(lambda _: True, BEARER, alone=True)).purges == []


async def test_who_does_not_answer_is_named_and_not_waited_for(serve: Serve, tmp_path: Path) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def talk(_: web.Request) -> web.Response:
        return web.Response(text="[]")

    async def lie(_: web.Request) -> web.Response:
        return web.json_response({"matched": "many"})

    def odd(handler: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        return app

    stranger = Token("stranger", digest_of("other"), Scope(all=True))
    paths = [
        await serve("1-0", admin()),
        await serve("hanging", odd(hang)),
        await serve("talking", odd(talk)),
        await serve("lying", odd(lie)),
        await serve("refusing", admin(stranger)),
        tmp_path / "gone.sock",
    ]
    asked = purges(siblings=among(*paths, patience=0.2))
    silent = ["hanging", "talking", "lying", "refusing", "gone"]
    reply = await asked.carry_out(wish())
    assert (reply.state, reply.matched, reply.uncounted) == ("confirmed", 4, silent)
    report = await asked.report(lambda _: True, BEARER, alone=False)
    assert (len(report.purges), report.missing) == (1, silent)


async def test_nobody_is_asked_twice(serve: Serve, tmp_path: Path) -> None:
    first = tmp_path / "1-0.sock"
    second = await serve("1-1", admin(made=purges(siblings=among(first))))
    await serve("1-0", admin(made=purges(siblings=among(second))))
    reply = await purges(siblings=among(first)).carry_out(wish())
    assert (reply.matched, reply.uncounted) == (4, [])


async def test_siblings_see_the_token_that_was_shown(serve: Serve) -> None:
    limited = Token("ci", digest_of("ci"), Scope(tag_prefixes=("list",), soft_only=True))
    path = await serve("1-0", admin(EVERYTHING, limited))
    asking = purges(siblings=among(path, authorization=BEARER))
    soft = Selector.of("tag", "list", soft=True)
    for selector, authorization, uncounted in (
        (soft, "Bearer ci", []),
        (LIST, "Bearer ci", ["1-0"]),
        (LIST, "", []),
        (LIST, "Bearer wrong", ["1-0"]),
    ):
        reply = await asking.carry_out(wish(selector, authorization=authorization))
        assert reply.uncounted == uncounted
    assert (await purges(siblings=among(path)).carry_out(wish(authorization=""))).uncounted == ["1-0"]


async def test_the_field_makes_the_api_answer_for_one_process(aiohttp_client: Any, serve: Serve) -> None:
    client = await aiohttp_client(admin(made=purges(siblings=among(await serve("1-0", admin())))))
    order = {"selectors": [{"kind": "tag", "value": "list"}]}
    for fields, matched in (({}, 4), ({ALONE: "1"}, 2)):
        async with client.post("/v1/purge", json=order, headers={"Authorization": BEARER, **fields}) as response:
            assert (await response.json())["matched"] == matched


async def test_a_purge_sent_again_is_not_counted_again(serve: Serve) -> None:
    stored = Stored()
    asked = purges(siblings=among(await serve("1-0", admin())), matching=stored)
    replies = [await asked.carry_out(wish(key="root k")) for _ in range(2)]
    assert [(one.matched, one.sequence) for one in replies] == [(4, 1), (4, 1)]
    assert stored.asked == [False]


async def test_a_count_that_was_cut_short_says_so(serve: Serve) -> None:
    short = purges(matching=Stored(complete=False))
    for asked in (short, purges(siblings=among(await serve("1-0", admin(made=short))))):
        for dry_run in (False, True):
            assert (await asked.carry_out(wish(dry_run=dry_run))).detail.startswith("counting took too long")
    detail = (await purges(ledger=SilentPeer(), matching=Stored(complete=False)).carry_out(wish())).detail
    assert detail == "far:1:ab is silent; counting took too long: more may have matched"


async def test_only_a_dry_run_is_thorough() -> None:
    stored = Stored()
    asked = purges(matching=stored)
    for more in ({}, {"dry_run": True}, {"dry_run": True, "alone": True}):
        await asked.carry_out(wish(**more))
    assert stored.asked == [False, True, False]


# Remembering.


async def at(second: float, **more: Any) -> tuple[Purges, PurgeReply]:
    made = purges(now=STARTED + second, **more)
    return made, await made.carry_out(wish())


async def test_the_purges_of_all_are_told_by_time(serve: Serve) -> None:
    old, first = await at(-3)
    new, last = await at(5)
    paths = [await serve("1-0", admin(made=old)), await serve("1-1", admin(made=new))]
    own, middle = await at(1, siblings=among(*paths))
    again = await own.carry_out(wish())
    report = await own.report(lambda _: True, BEARER, alone=False)
    assert [one.id for one in report.purges] == [last.id, again.id, middle.id, first.id]
    assert [one.id for one in (await own.report(lambda _: True, BEARER, alone=True)).purges] == [again.id, middle.id]


async def test_a_limited_token_sees_its_own_everywhere(aiohttp_client: Any, serve: Serve) -> None:
    limited = Token("ci", digest_of("ci"), Scope(tag_prefixes=("list",)))
    there = purges(EVERYTHING, limited)
    for who in ("ci", "root"):
        await there.carry_out(Wish(selectors=[LIST], who=who, peer=""))
    path = await serve("1-0", admin(made=there))
    client = await aiohttp_client(admin(made=purges(EVERYTHING, limited, siblings=among(path))))
    for secret, seen in ((SECRET, {"ci", "root"}), ("ci", {"ci"})):
        async with client.get("/v1/purges", headers={"Authorization": f"Bearer {secret}"}) as response:
            report = await response.json()
            assert ({one["who"] for one in report["purges"]}, report["missing"]) == (seen, [])


async def test_the_audit_line_tells_the_sum(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgecache.audit")
    reply = await purges(siblings=among(await serve("1-0", admin()))).carry_out(wish())
    assert [record.getMessage() for record in caplog.records] == [
        f"purge id={reply.id} token=root peer=192.0.2.1 state=confirmed sequence=1 matched=4 "
        f"selectors={json.dumps(['tag:list'])} of 1"
    ]


# Counters.


async def test_purges_are_counted_by_what_became_of_them() -> None:
    counters = Counters()
    mixed = (LIST, Selector.of("url", "shop.example/p/42", soft=True), Selector.of("url", "h/"))
    await purges(counters=counters).carry_out(wish(*mixed))
    await purges(counters=counters, ledger=SilentPeer()).carry_out(wish(patience=2.0))
    await purges(counters=counters, ledger=LostLog()).carry_out(wish())
    await purges(counters=counters).carry_out(wish(dry_run=True))
    counted = counters.statistics()
    assert counted.purges == {"confirmed": 1, "partial": 1, "unconfirmed": 1}
    assert counted.purge_selectors == {
        "tag hard confirmed": 1,
        "url soft confirmed": 1,
        "url hard confirmed": 1,
        "tag hard partial": 1,
        "tag hard unconfirmed": 1,
    }
    assert counted.counts["purge_matched"] == 3 + 2 + 2
    assert (counted.purge_seconds.count, counted.purge_seconds.total) == (3, 2.25)
