"""``/v1/explain`` and ``/v1/scan`` over real sockets: who may ask, what is accepted, and what a refusal says."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.explain_api import read_request_head
from edgecache.edges.scan_messages import ScanReport, read_scan
from edgecache.edges.siblings import ALONE, Siblings
from edgecache.edges.tokens import Scope, Token, digest_of
from edgecache.errors import ClientError
from edgecache.purging.selector import Kind
from edgecache.semantics.explanation import Explanation
from tests.edges.purging import STARTED, LostLog, admin, running
from tests.semantics.build import request, store
from tests.semantics.build import response as answer

if TYPE_CHECKING:
    from pytest_aiohttp import AiohttpClient

Client: TypeAlias = TestClient[Any, web.Application]

BEARER = {"Authorization": "Bearer canary-7f3a91"}
URL = "http://shop.example/a.css"
PAGES = {"Cache-Control": "max-age=60", "Content-Type": "text/html"}


def pages(*authorities: str) -> list[Any]:
    """A page under the name of a script, on each host."""
    lines = [f"{name}: {value}" for name, value in PAGES.items()]
    return [store(answer(*lines), of=request(target="/a.js", authority=host), at=STARTED) for host in authorities]


async def explain(client: Client, *query: tuple[str, str], **fields: str) -> tuple[int, dict[str, Any], Any]:
    async with client.get("/v1/explain", params=query, headers={**BEARER, **fields}) as response:
        return response.status, await response.json(content_type=None), response.headers


async def scan(client: Client, order: object, **fields: str) -> tuple[int, dict[str, Any]]:
    content = order if isinstance(order, str) else json.dumps(order)
    headers = {**BEARER, **fields}
    async with client.post("/v1/scan", data=content, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        return response.status, await response.json(content_type=None)


# What is accepted.


async def test_the_answer_is_what_the_command_reads(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin())
    query = {"url": URL, "method": "HEAD", "header": "Accept: text/css"}
    async with client.get("/v1/explain", params=query, headers=BEARER) as response:
        told = msgspec.json.decode(await response.read(), type=Explanation, strict=True)
    assert (told.url, told.method, told.key, told.present.action) == (URL, "HEAD", URL, "forward")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ([], "one url is needed, and one method at most"),
        ([("url", URL), ("url", URL)], "one url is needed, and one method at most"),
        ([("url", URL), ("method", "GET"), ("method", "GET")], "one url is needed, and one method at most"),
        ([("url", URL), ("heder", "A: b")], "there is no parameter 'heder'; there are url, method and header"),
        ([("url", "shop.example/a")], "url: malformed request target; write http://"),
        ([("url", "/a")], "url: not absolute; write http://"),
        ([("url", "ftp://shop.example/a")], "url: malformed request target; write http://"),
        ([("url", "http://shop.example/a#b")], "url: malformed request target; write http://"),
        ([("url", "http://shop.example/ä")], "url: malformed request target; write http://"),
        ([("url", "http://shop_example:99999/")], "url: malformed host; write http://"),
        ([("url", URL), ("method", "GE T")], "method: one word, as in GET"),
        ([("url", URL), ("header", "Accept")], "header: write Name: value"),
        ([("url", URL), ("header", "A b: c")], "header: write Name: value"),
        ([("url", URL), ("header", "A: b\r\nC: d")], "header: write Name: value"),
        ([("url", URL), *[("header", "A: b")] * 65], "header: at most 64"),
    ],
)
async def test_what_is_no_request_is_refused(
    aiohttp_client: AiohttpClient, query: list[tuple[str, str]], detail: str
) -> None:
    client = await aiohttp_client(admin())
    status, problem, _ = await explain(client, *query)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert problem["detail"].startswith(detail)


def test_a_request_is_read_as_a_stranger_s() -> None:
    lines = ["Host: evil.example", "X-Forwarded-For: 1.2.3.4", "Connection: close, X-Own", "X-Own: 1", "X-Name: ä"]
    head = read_request_head("HTTP://Shop.Example:80/a?b", "GET", lines)
    assert head.target_uri == "http://shop.example/a?b"
    assert list(head.fields.items()) == [
        ("Host", "shop.example"),
        ("X-Name", "\xc3\xa4"),
        ("Forwarded", "for=unknown;host=shop.example;proto=http"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "shop.example"),
    ]


@given(url=st.text(), method=st.text(), lines=st.lists(st.text()))
def test_anything_gives_a_request_or_a_refusal(url: str, method: str, lines: list[str]) -> None:
    with contextlib.suppress(ClientError):
        assert read_request_head(url, method, lines).target.startswith(("/", "*"))


@given(st.binary() | st.text().map(str.encode))
def test_anything_gives_an_order_or_a_refusal(content: bytes) -> None:
    with contextlib.suppress(ClientError):
        assert read_scan(content).poisoned


@pytest.mark.parametrize(
    ("order", "detail"),
    [
        ("", "Input data was truncated"),
        ({}, "Object missing required field `poisoned`"),
        ({"poisoned": False}, "there is nothing else to look for; let it be true - at `$.poisoned`"),
        ({"poisoned": True, "purged": True}, "Object contains unknown field `purged`"),
    ],
)
async def test_what_is_no_order_is_refused(aiohttp_client: AiohttpClient, order: object, detail: str) -> None:
    status, problem = await scan(await aiohttp_client(admin()), order)
    assert (status, problem["detail"]) == (400, detail)


# Who may ask.


SCOPES = {
    "everything": (Scope(all=True), 200),
    "its host": (Scope(hosts=("shop.example",), soft_only=True, kinds=frozenset({Kind.TAG})), 200),
    "another host": (Scope(hosts=("blog.example",)), 403),
    "tags alone": (Scope(tag_prefixes=("a",)), 403),
    "nothing": (Scope(), 403),
}


@pytest.mark.parametrize(("scope", "status"), SCOPES.values(), ids=SCOPES)
async def test_a_token_sees_what_its_hosts_contain(aiohttp_client: AiohttpClient, scope: Scope, status: int) -> None:
    client = await aiohttp_client(admin(Token("ci", digest_of("canary-ci"), scope)))
    found, told, _ = await explain(client, ("url", URL), Authorization="Bearer canary-ci")
    assert found == status
    if status == 403:
        assert told["detail"] == "the token ci may not look at shop.example"


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic canary-7f3a91"])
async def test_without_a_known_token_nothing_is_said(
    aiohttp_client: AiohttpClient, authorization: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgecache.audit")
    client = await aiohttp_client(admin())
    fields = {} if authorization is None else {"Authorization": authorization}
    async with client.get("/v1/explain", params={"url": "nonsense"}, headers=fields) as response:
        assert (response.status, response.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
    async with client.post("/v1/scan", data=b"nonsense", headers=fields) as response:
        assert (response.status, response.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
    assert [one.getMessage().partition(" ")[0] for one in caplog.records if one.name == "edgecache.audit"] == [
        "explain",
        "scan",
    ]


async def test_a_scan_shows_and_purges_what_the_token_may(aiohttp_client: AiohttpClient) -> None:
    stored = pages("shop.example", "blog.example")
    token = Token("ci", digest_of("canary-ci"), Scope(hosts=("shop.example",)))
    client = await aiohttp_client(admin(token, stored=stored))
    fields = {"Authorization": "Bearer canary-ci"}
    status, report = await scan(client, {"poisoned": True, "purge": True}, **fields)
    assert (status, [one["url"] for one in report["found"]]) == (200, ["http://shop.example/a.js"])
    assert report["purge"]["state"] == "confirmed"


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        (Scope(hosts=("shop.example",), soft_only=True), "it may purge softly only"),
        (Scope(hosts=("shop.example",), kinds=frozenset({Kind.TAG})), "it may purge by tag only"),
    ],
)
async def test_who_may_look_need_not_be_allowed_to_purge(
    aiohttp_client: AiohttpClient, scope: Scope, reason: str
) -> None:
    app = admin(Token("ci", digest_of("canary-ci"), scope), stored=pages("shop.example"))
    client, fields = await aiohttp_client(app), {"Authorization": "Bearer canary-ci"}
    status, report = await scan(client, {"poisoned": True}, **fields)
    assert (status, len(report["found"])) == (200, 1)
    status, problem = await scan(client, {"poisoned": True, "purge": True}, **fields)
    assert (status, reason in problem["detail"]) == (403, True)


async def test_a_scan_that_purges_counts_as_a_purge(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin(Token("ci", digest_of("canary-ci"), Scope(all=True, rate=1))))
    fields = {"Authorization": "Bearer canary-ci"}
    statuses = [(await scan(client, {"poisoned": True, "purge": True}, **fields))[0] for _ in range(2)]
    assert statuses == [200, 429]
    assert (await scan(client, {"poisoned": True}, **fields))[0] == 200


async def test_a_scan_is_of_every_worker(aiohttp_client: AiohttpClient, tmp_path: Path) -> None:
    there, nowhere = tmp_path / "1-1.sock", tmp_path / "1-2.sock"
    with running(admin(stored=pages("blog.example")), there):
        siblings = Siblings(lambda: [there, nowhere])
        client = await aiohttp_client(admin(stored=pages("shop.example"), siblings=siblings))
        status, report = await scan(client, {"poisoned": True})
        assert (status, report["looked_at"], report["missing"]) == (200, 2, ["1-2"])
        assert [one["url"] for one in report["found"]] == ["http://shop.example/a.js", "http://blog.example/a.js"]
        alone = await scan(client, {"poisoned": True}, **{ALONE: "1"})
    assert [one["url"] for one in alone[1]["found"]] == ["http://shop.example/a.js"]


async def test_a_purge_that_is_not_known_to_be_in_the_log_is_no_success(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin(ledger=LostLog(), stored=pages("shop.example")))
    status, report = await scan(client, {"poisoned": True, "purge": True})
    assert (status, ScanReport(**report).found != []) == (503, True)
