"""PURGE on the public port: who may, what is meant, and what everybody else is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.purge_method import PurgeMethod, selectors_of
from edgecache.edges.siblings import Siblings
from edgecache.engine.counters import Counters
from edgecache.errors import ClientError
from edgecache.http.message import RequestHead, fields_of
from edgecache.purging.local import LocalLedger
from edgecache.purging.receipt import State
from edgecache.purging.selector import target_of
from tests.edges.purging import LostLog, SilentPeer, purges
from tests.edges.wire import Client, Site, site

ALLOW = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"


def message(*fields: str, target: str = "/p/42", method: str = "PURGE", body: str = "") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", *fields]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode("latin-1")


@contextlib.asynccontextmanager
async def edge(
    *purge_from: str, ledger: LocalLedger | None = None, counters: Counters | None = None, **settings: Any
) -> AsyncIterator[Site]:
    made = purges(ledger=ledger, counters=counters)
    async with site(purger=PurgeMethod(made), purge_from=purge_from, **settings) as running:
        yield running


async def answer(client: Client, *fields: str, **more: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    client.send(message(*fields, **more))
    status, received, content = await client.response()
    return status, received, json.loads(content)


# Who may.

FORGED = (
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-For: 10.0.0.1, 127.0.0.1",
    "Forwarded: for=127.0.0.1",
    "X-Real-IP: 127.0.0.1",
    "X-Original-Method: PURGE",
    "Authorization: Bearer x",
    "Edgecache-Alone: 1",
)


@pytest.mark.parametrize("tags", [(), ("Surrogate-Key: list",), ("xkey: list", "Soft-Purge: 1")])
@pytest.mark.parametrize("forged", [(), *((one,) for one in FORGED)])
@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",)])
@pytest.mark.parametrize(
    ("purge_from", "may"),
    [
        ((), False),
        (("10.0.0.0/8",), False),
        (("unix",), False),
        (("::1",), False),
        (("127.0.0.1",), True),
        (("10.0.0.7", "127.0.0.0/8"), True),
        (("0.0.0.0/0",), True),
    ],
)
async def test_who_may_is_said_by_the_connection_alone(
    purge_from: tuple[str, ...], may: bool, trusted: tuple[str, ...], forged: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    ledger = LocalLedger()
    async with edge(*purge_from, ledger=ledger, trusted_peers=trusted) as running:
        client = await running.connect()
        client.send(message(*tags, *forged))
        status, fields, content = await client.response()
        assert running.engine.seen == []
        if may:
            assert (status, ledger.sequence) == (200, 1)
            return
        assert (status, fields["allow"], ledger.sequence) == (405, ALLOW, 0)
        assert content == b"405 Method Not Allowed: method not allowed\n"
        assert await client.rest() == b""


async def test_without_anybody_to_purge_it_is_refused() -> None:
    async with site(purge_from=("127.0.0.1",)) as running:
        assert b" 405 " in await running.ask(message())
        assert running.engine.seen == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "purge", "BAN", "Purge"])
async def test_it_is_this_method_and_no_other(method: str) -> None:
    ledger = LocalLedger()
    async with edge("127.0.0.1", ledger=ledger) as running:
        assert (await running.ask(message(method=method))).split(b" ")[1] in (b"400", b"405")
        assert (running.engine.seen, ledger.sequence) == ([], 0)


async def test_who_comes_by_a_unix_socket_is_called_unix(tmp_path: Path) -> None:
    path = str(tmp_path / "public.sock")
    for purge_from, status in ((("unix",), 200), (("127.0.0.1", "0.0.0.0/0", "::/0"), 405)):
        async with edge(*purge_from, listen=f"unix:{path}") as running:
            client = Client(*await asyncio.open_unix_connection(path))
            running.clients.append(client)
            client.send(message())
            assert (await client.response())[0] == status


# What is meant.


@pytest.mark.parametrize(
    ("fields", "target", "meant"),
    [
        ((), "/p/42", "url:shop.example/p/42"),
        ((), "/p/43?a=1", "url:shop.example/p/43?a=1"),
        ((), "http://blog.example:80/", "url:blog.example/"),
        (("Soft-Purge: 1",), "/", "~url:shop.example/"),
        (("Fastly-Soft-Purge: 1",), "/", "~url:shop.example/"),
        (("Soft-Purge: 0",), "/", "url:shop.example/"),
        (("Soft-Purge: 0", "Fastly-Soft-Purge: 1"), "/", "~url:shop.example/"),
        (("Surrogate-Key: list",), "/", "tag:list"),
        (("surrogate-key:  a  product:42 ", "xkey: b,c"), "/p", "tag:a tag:product:42 tag:b tag:c"),
        (("xkey: list", "Soft-Purge: 1"), "/", "~tag:list"),
    ],
)
async def test_what_is_meant(fields: tuple[str, ...], target: str, meant: str) -> None:
    made = purges()
    async with site(purger=PurgeMethod(made), purge_from=("127.0.0.1",)) as running:
        status, received, reply = await answer(await running.connect(), *fields, target=target)
    assert (status, reply["state"]) == (200, "confirmed")
    assert received["cache-control"] == "no-store"
    assert received["content-type"] == "application/json"
    (record,) = (await made.report(lambda _: True, "", alone=True)).purges
    assert (" ".join(record.selectors), record.who, record.id) == (meant, "(PURGE)", reply["id"])


@pytest.mark.parametrize(
    "fields",
    [
        ("Surrogate-Key: ",),
        ("xkey: , ",),
        ("Soft-Purge: yes",),
        ("Soft-Purge: ",),
        ("Soft-Purge: 1, 1",),
        ("Fastly-Soft-Purge: true", "Soft-Purge: 1"),
        (f"xkey: {'x' * 1025}",),
        (f"xkey: {' '.join(f't{number}' for number in range(1001))}",),
    ],
)
async def test_what_cannot_be_understood_purges_nothing(fields: tuple[str, ...]) -> None:
    ledger = LocalLedger()
    async with edge("127.0.0.1", ledger=ledger) as running:
        client = await running.connect()
        status, received, problem = await answer(client, *fields)
        assert (status, problem["status"], ledger.sequence) == (400, 400, 0)
        assert received["content-type"] == "application/problem+json"
        assert problem["detail"]
        assert (await answer(client))[0] == 200  # the connection goes on


PATHS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#\\"), max_size=20)


@given(PATHS, st.sampled_from(["h.example", "h.example:443", "[::1]:80", "h.example:8080"]), st.booleans())
def test_a_url_is_the_one_that_a_get_would_be_stored_under(path: str, authority: str, soft: bool) -> None:
    fields = fields_of([("Soft-Purge", "1")] if soft else [])
    (selector,) = selectors_of(RequestHead("PURGE", "https", authority, f"/{path}", fields))
    stored = RequestHead("GET", "http", authority, f"/{path}", fields_of([])).target_uri
    assert selector.matcher()(target_of(stored), frozenset())
    assert selector.soft is soft


@given(st.lists(st.tuples(st.sampled_from(["Surrogate-Key", "xkey", "Soft-Purge"]), st.text(max_size=9))))
def test_any_fields_mean_something_or_are_a_client_error(pairs: list[tuple[str, str]]) -> None:
    with contextlib.suppress(ClientError):
        assert selectors_of(RequestHead("PURGE", "http", "h", "/", fields_of(pairs)))


# How it is answered.


@pytest.mark.parametrize(
    ("ledger", "status", "state"),
    [
        (LocalLedger(), 200, State.CONFIRMED),
        (SilentPeer(), 202, State.PARTIAL),
        (LostLog(), 503, State.UNCONFIRMED),
    ],
)
async def test_the_answer_is_the_receipt(ledger: LocalLedger, status: int, state: State) -> None:
    counters = Counters()
    async with edge("127.0.0.1", ledger=ledger, counters=counters) as running:
        client = await running.connect()
        answered, fields, reply = await answer(client, "Surrogate-Key: list")
        assert (answered, reply["state"], reply["matched"]) == (status, state, 2)
        assert fields.get("retry-after") == ("1" if status == 503 else None)
        (finished,) = await running.until_finished(1)
    assert (finished.method, finished.status, finished.peer) == ("PURGE", status, "127.0.0.1")
    assert finished.exchange is not None
    assert finished.exchange.result == "synth"
    assert (counters.requests, counters.synthesized, counters.purges) == (1, 1, {state: 1})


async def test_it_is_audited_and_a_refusal_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgecache.audit")
    async with edge("127.0.0.1") as running:
        reply = (await answer(await running.connect()))[2]
    async with edge() as running:
        await running.ask(message())
    assert [record.getMessage() for record in caplog.records] == [
        f"purge id={reply['id']} token=(PURGE) peer=127.0.0.1 state=confirmed sequence=1 matched=1 "
        'selectors=["url:shop.example/p/42"] of 1'
    ]


async def test_requests_before_and_after_it_have_their_turn() -> None:
    async with edge("127.0.0.1") as running:
        client = await running.connect()
        get = message(method="GET", target="/a")
        client.send(get + message("Content-Length: 3", body="abc") + get)
        answers = [await client.response() for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 200]
        assert [answers[0][2], answers[2][2]] == [b"GET /a ", b"GET /a "]
        assert running.engine.targets == ["/a", "/a"]


async def test_siblings_are_asked_with_what_the_processes_of_one_edge_show(tmp_path: Path) -> None:
    gone = Siblings(lambda: [tmp_path / "1-1.sock"], authorization="Bearer own")
    made = purges(siblings=gone)
    async with site(purger=PurgeMethod(made), purge_from=("127.0.0.1",)) as running:
        status, _, reply = await answer(await running.connect())
    assert (status, reply["uncounted"]) == (200, ["1-1"])
