"""The purge API over real sockets: receipts, refusals, limits, the audit log, and its own description of itself."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import schemathesis
from aiohttp import web
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from edgecache.edges.openapi import describe
from edgecache.edges.purge_messages import MAX_CONTENT, PurgeReply, read_order
from edgecache.edges.purges import Wish
from edgecache.edges.siblings import Siblings
from edgecache.edges.tokens import Scope, Token, digest_of
from edgecache.errors import ClientError
from edgecache.purging.local import LocalLedger
from edgecache.purging.selector import Kind, Selector
from edgecache.purging.verdict import Verdict
from tests.edges.purging import EVERYTHING, SECRET, STORED, LostLog, Rests, SilentPeer, admin, erasing, purges, running
from tests.stores.contract import response

if TYPE_CHECKING:
    from pytest_aiohttp import AiohttpClient

Client: TypeAlias = TestClient[Any, web.Application]
Answer: TypeAlias = tuple[int, dict[str, Any]]

BEARER = {"Authorization": f"Bearer {SECRET}"}
TAG = {"kind": "tag", "value": "list"}


async def purge(client: Client, order: object, **fields: str) -> Answer:
    headers = {**BEARER, **{name.replace("_", "-"): value for name, value in fields.items()}}
    content = order if isinstance(order, str | bytes) else json.dumps(order)
    async with client.post("/v1/purge", data=content, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        return response.status, await response.json(content_type=None)


def outcome(ledger: LocalLedger, *births: object) -> list[Verdict]:
    (birth,) = births
    return [ledger.verdict_of(birth, uri, tags) for uri, tags in STORED.items()]  # type: ignore[arg-type]


# What is purged.


async def test_a_purge_is_carried_out_and_confirmed(aiohttp_client: AiohttpClient) -> None:
    ledger = LocalLedger()
    client, before = await aiohttp_client(admin(ledger=ledger)), ledger.birth()
    status, reply = await purge(client, {"selectors": [TAG]})
    assert status == 200
    (worker,) = reply.pop("workers")
    assert (worker["applied"], worker["milliseconds"]) == (True, 0.0)
    assert len(reply.pop("id")) == 16
    assert reply == {
        "state": "confirmed",
        "sequence": 1,
        "matched": 2,
        "sample": ["http://shop.example/p/42", "http://shop.example/p/43?a=1"],
        "waited_ms": 0.0,
        "detail": "",
        "uncounted": [],
    }
    assert outcome(ledger, before) == [Verdict.INVALID, Verdict.INVALID, Verdict.VALID]


@pytest.mark.parametrize(
    ("order", "verdicts"),
    [
        ({"selectors": [{**TAG, "soft": True}]}, "stale stale valid"),
        ({"selectors": [TAG], "soft": True}, "stale stale valid"),
        ({"selectors": [{**TAG, "soft": False}], "soft": True}, "invalid invalid valid"),
        ({"selectors": [TAG, {"kind": "host", "value": "blog.example", "soft": True}]}, "invalid invalid stale"),
        ({"selectors": [{"kind": "all"}]}, "invalid invalid invalid"),
        ({"selectors": [{"kind": "expr", "value": "list & !product:43"}]}, "invalid valid valid"),
        ({"selectors": [TAG], "dry_run": True}, "valid valid valid"),
        ({"selectors": [{"kind": "tag", "value": "absent"}]}, "valid valid valid"),
    ],
)
async def test_what_a_purge_does(aiohttp_client: AiohttpClient, order: object, verdicts: str) -> None:
    ledger = LocalLedger()
    client, before = await aiohttp_client(admin(ledger=ledger)), ledger.birth()
    status, _ = await purge(client, order)
    assert status == 200
    assert " ".join(verdict.value for verdict in outcome(ledger, before)) == verdicts


async def test_a_dry_run_counts_and_changes_nothing(aiohttp_client: AiohttpClient) -> None:
    ledger = LocalLedger()
    client = await aiohttp_client(admin(ledger=ledger))
    status, reply = await purge(client, {"selectors": [TAG], "dry_run": True})
    assert (status, reply["state"], reply["matched"], reply["workers"]) == (200, "dry_run", 2, [])
    assert ledger.sequence == 0


@pytest.mark.parametrize(("wanted", "status"), [(0, 200), (2, 200), (3, 409)])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_too_few_matched_is_a_status_and_no_reason_not_to_purge(
    aiohttp_client: AiohttpClient, wanted: int, status: int, dry_run: bool
) -> None:
    ledger = LocalLedger()
    client = await aiohttp_client(admin(ledger=ledger))
    answer, reply = await purge(client, {"selectors": [TAG], "min_matched": wanted, "dry_run": dry_run})
    assert (answer, reply["matched"], ledger.sequence) == (status, 2, 0 if dry_run else 1)


async def test_a_purge_that_not_everybody_confirmed_says_who_is_missing(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin(ledger=SilentPeer()))
    status, reply = await purge(client, {"selectors": [TAG], "min_matched": 9}, Prefer="respond-async, wait=2")
    assert (status, reply["state"], reply["waited_ms"]) == (202, "partial", 2000)
    assert reply["workers"][1] == {"worker": "far:1:ab", "applied": False, "milliseconds": None}
    assert reply["detail"] == "far:1:ab is silent"


@pytest.mark.parametrize(
    ("prefer", "applied", "waited"),
    [
        ("wait=0", "wait=0", 0),
        ("wait=100000", "wait=600", 600_000),
        ('foo; a=b, Wait="7"', "wait=7", 7000),
        ("wait=soon", None, 30_000),
        ("await=3", None, 30_000),
        ("wait=1.5", None, 30_000),
        ("", None, 30_000),
    ],
)
async def test_how_long_to_wait_is_a_preference(
    aiohttp_client: AiohttpClient, prefer: str, applied: str | None, waited: int
) -> None:
    client = await aiohttp_client(admin(ledger=SilentPeer()))
    async with client.post("/v1/purge", json={"selectors": [TAG]}, headers={**BEARER, "Prefer": prefer}) as response:
        assert response.headers.get("Preference-Applied") == applied
        assert (await response.json())["waited_ms"] == waited


async def test_a_purge_that_is_not_in_the_log_may_be_sent_again(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin(ledger=LostLog()))
    async with client.post("/v1/purge", json={"selectors": [TAG]}, headers=BEARER) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        reply = await response.json()
    assert (reply["state"], reply["sequence"], reply["workers"]) == ("unconfirmed", 0, [])
    assert reply["detail"] == "the purge log cannot be used"


async def test_a_key_makes_a_purge_happen_once(aiohttp_client: AiohttpClient) -> None:
    ledger = LocalLedger()
    client = await aiohttp_client(admin(ledger=ledger))
    replies = [await purge(client, {"selectors": [TAG], "min_matched": 1}, Idempotency_Key="deploy-7") for _ in "ab"]
    assert [(status, reply["sequence"], reply["matched"]) for status, reply in replies] == [(200, 1, 2), (200, 1, 2)]
    assert ledger.sequence == 1
    status, problem = await purge(client, {"selectors": [{"kind": "all"}]}, Idempotency_Key="deploy-7")
    assert (status, problem["detail"]) == (422, "this idempotency key was used for other selectors")


async def test_a_key_belongs_to_its_token(aiohttp_client: AiohttpClient) -> None:
    ledger, other = LocalLedger(), Token("other", digest_of("other"), Scope(tag_prefixes=("list",)))
    client = await aiohttp_client(admin(EVERYTHING, other, ledger=ledger))
    for secret in ("other", SECRET):
        status, _ = await purge(client, {"selectors": [TAG]}, Idempotency_Key="k", Authorization=f"Bearer {secret}")
        assert status == 200
    assert ledger.sequence == 2


async def test_a_dry_run_uses_up_no_key(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin())
    await purge(client, {"selectors": [{"kind": "all"}], "dry_run": True}, Idempotency_Key="k")
    status, reply = await purge(client, {"selectors": [TAG]}, Idempotency_Key="k")
    assert (status, reply["matched"]) == (200, 2)


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "Application/JSON; charset=utf-8", "application/x+json"]
)
async def test_json_goes_with_its_name_or_without(aiohttp_client: AiohttpClient, content_type: str | None) -> None:
    client = await aiohttp_client(admin())
    fields = {"Content_Type": content_type} if content_type else {}
    assert (await purge(client, {"selectors": [TAG]}, **fields))[0] == 200


# What is refused.


def selectors(*given: dict[str, Any], **more: Any) -> str:
    return json.dumps({"selectors": given, **more})


REFUSED = [
    ("", {}, 400, "Input data was truncated"),
    ("{", {}, 400, "truncated"),
    ("[]", {}, 400, "Expected `object`, got `array`"),
    ("{}", {}, 400, "missing required field `selectors`"),
    (b"\xff", {}, 400, "malformed"),
    (b'{"selectors": [{"kind": "tag", "value": "\xff"}]}', {}, 400, "utf-8"),
    ("[" * 100_000, {}, 400, "Expected `object`"),
    (selectors(), {}, 400, "length >= 1 - at `$.selectors`"),
    (selectors(*[TAG] * 1001), {}, 400, "length <= 1000 - at `$.selectors`"),
    (selectors(TAG, dryrun=True), {}, 400, "unknown field `dryrun`"),
    (selectors({**TAG, "sof": True}), {}, 400, "unknown field `sof` - at `$.selectors[0]`"),
    (selectors(TAG, {"kind": "tags", "value": "a"}), {}, 400, "'tags' - at `$.selectors[1].kind`"),
    (selectors(TAG, {"kind": "tag", "value": 5}), {}, 400, "got `int` - at `$.selectors[1].value`"),
    (selectors(TAG, soft="yes"), {}, 400, "at `$.soft`"),
    (selectors(TAG, dry_run=1), {}, 400, "at `$.dry_run`"),
    (selectors(TAG, min_matched=-1), {}, 400, "at `$.min_matched`"),
    (selectors(TAG, {"kind": "url", "value": "/a"}), {}, 400, "write http://example.com/path, or a prefix"),
    (selectors(TAG, {"kind": "url", "value": "/a"}), {}, 400, "at `$.selectors[1]`"),
    (selectors({"kind": "tag"}), {}, 400, "a tag has at least one character"),
    (selectors({"kind": "all", "value": "x"}), {}, 400, "all means all"),
    (selectors({"kind": "tag", "value": "a\nb"}), {}, 400, "a control character"),
    (selectors({"kind": "url", "value": "a" * 8193}), {}, 400, "length <= 8192"),
    (selectors(TAG), {"Idempotency_Key": ""}, 400, "Idempotency-Key: "),
    (selectors(TAG), {"Idempotency_Key": "a b"}, 400, "Idempotency-Key: "),
    (selectors(TAG), {"Idempotency_Key": "k" * 129}, 400, "Idempotency-Key: "),
    (selectors(TAG), {"Content_Type": "text/plain"}, 415, "application/json"),
    (selectors(TAG), {"Content_Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
    ("x" * (MAX_CONTENT + 1), {}, 413, "1048576 bytes"),
    (selectors(TAG), {"Authorization": ""}, 401, "bearer token"),
    (selectors(TAG), {"Authorization": "Bearer wrong"}, 401, "bearer token"),
    (selectors(TAG), {"Authorization": f"Basic {SECRET}"}, 401, "bearer token"),
    (selectors(TAG, dry_run=True), {"Authorization": ""}, 401, "bearer token"),
    (selectors(TAG), {"Host": "evil.example"}, 421, ""),
]


@pytest.mark.parametrize(("content", "fields", "status", "detail"), REFUSED)
async def test_what_is_refused_says_why_and_purges_nothing(
    aiohttp_client: AiohttpClient, content: str | bytes, fields: dict[str, str], status: int, detail: str
) -> None:
    ledger = LocalLedger()
    client = await aiohttp_client(admin(ledger=ledger))
    headers = {**BEARER, **{name.replace("_", "-"): value for name, value in fields.items()}}
    data = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    async with client.post("/v1/purge", data=data, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        text = await response.text()
        assert response.status == status
        assert response.headers["Cache-Control"] == "no-store"
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]
        if status != 421:
            assert response.content_type == "application/problem+json"
            assert json.loads(text)["status"] == status
            assert detail.lower() in json.loads(text)["detail"].lower()
        if status == 401:
            assert response.headers["WWW-Authenticate"].startswith('Bearer realm="edgecache"')
        assert SECRET not in text
    assert ledger.sequence == 0


async def test_two_authorizations_are_none(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin())
    fields = [("Authorization", f"Bearer {SECRET}"), ("Authorization", "Bearer other")]
    async with client.post("/v1/purge", json={"selectors": [TAG]}, headers=fields) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].endswith('error="invalid_token"')


async def test_without_any_token_nobody_purges(aiohttp_client: AiohttpClient) -> None:
    nobody = Token("nobody", digest_of("x") + " ", Scope(all=True))
    client = await aiohttp_client(admin(nobody))
    assert (await purge(client, {"selectors": [TAG]}))[0] == 401


async def test_a_scope_is_told_and_kept(aiohttp_client: AiohttpClient) -> None:
    ledger, blog = LocalLedger(), Token("blog", digest_of("b"), Scope(tag_prefixes=("post:",), soft_only=True))
    client = await aiohttp_client(admin(EVERYTHING, blog, ledger=ledger))
    order = {"selectors": [{"kind": "tag", "value": "post:1"}, TAG], "soft": True}
    async with client.post("/v1/purge", json=order, headers={"Authorization": "Bearer b"}) as response:
        assert response.status == 403
        assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]
        assert "the token blog may not purge ~tag:list: its tags begin with post:" in await response.text()
    status, _ = await purge(client, {"selectors": order["selectors"][:1]}, Authorization="Bearer b")  # type: ignore[index]
    assert (status, ledger.sequence) == (403, 0)
    status, _ = await purge(
        client, {**order, "selectors": [{"kind": "tag", "value": "post:1"}]}, Authorization="Bearer b"
    )
    assert (status, ledger.sequence) == (200, 1)


async def test_a_rate_is_kept_dry_runs_included(aiohttp_client: AiohttpClient) -> None:
    slow = Token("slow", digest_of("s"), Scope(all=True, rate=2))
    client = await aiohttp_client(admin(slow))
    order = {"selectors": [TAG], "dry_run": True}
    for _ in range(2):
        assert (await purge(client, order, Authorization="Bearer s"))[0] == 200
    async with client.post("/v1/purge", json=order, headers={"Authorization": "Bearer s"}) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "30")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"])
async def test_only_post_purges(aiohttp_client: AiohttpClient, method: str) -> None:
    ledger = LocalLedger()
    client = await aiohttp_client(admin(ledger=ledger))
    async with client.request(method, "/v1/purge", data=selectors(TAG), headers=BEARER) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert ledger.sequence == 0


@given(st.binary() | st.text().map(str.encode))
def test_any_content_is_an_order_or_a_client_error(content: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        read_order(content)
    assert caught.value.status == 400


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.text(max_size=20), st.none() | st.booleans()), min_size=1))
def test_what_is_read_is_what_the_selectors_themselves_take(wishes: list[tuple[Kind, str, bool | None]]) -> None:
    content = json.dumps({"selectors": [{"kind": k, "value": v, "soft": s} for k, v, s in wishes], "soft": True})
    try:
        expected = [Selector.of(k, v, soft=s is not False) for k, v, s in wishes]
    except ClientError:
        with pytest.raises(ClientError, match=r"at `\$\.selectors"):
            read_order(content.encode())
    else:
        assert read_order(content.encode())[1] == expected


# Erasing.


async def erasure(client: Client, id: str, secret: str = SECRET, **fields: str) -> Answer:
    headers = {"Authorization": f"Bearer {secret}", **{name.replace("_", "-"): value for name, value in fields.items()}}
    async with client.get(f"/v1/erasures/{id}", headers=headers) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize(
    ("order", "detail"),
    [
        ({"soft": True}, "erase with hard purges only - at `$.erase`"),
        ({"selectors": [TAG, {**TAG, "soft": True}]}, "erase with hard purges only - at `$.erase`"),
        ({"dry_run": True}, "a dry run erases nothing"),
        ({"erase": "yes"}, "Expected `bool`, got `str` - at `$.erase`"),
    ],
)
async def test_only_what_is_purged_hard_is_erased(
    aiohttp_client: AiohttpClient, order: dict[str, Any], detail: str
) -> None:
    ledger = LocalLedger()
    client = await aiohttp_client(admin(ledger=ledger))
    status, problem = await purge(client, {"selectors": [TAG], "erase": True, **order})
    assert (status, ledger.sequence) == (400, 0)
    assert detail in problem["detail"]


async def test_without_redis_there_is_nothing_to_erase(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin())
    status, reply = await purge(client, {"selectors": [{**TAG, "soft": False}], "soft": True, "erase": True})
    assert (status, reply["state"]) == (200, "confirmed")
    assert reply["erasure"] == {
        "id": reply["id"],
        "who": "root",
        "state": "done",
        "scanned": 0,
        "erased": 0,
        "dropped": 0,
        "started": "2025-11-23T00:40:00.000+00:00",
        "ended": "2025-11-23T00:40:00.000+00:00",
        "detail": "there is no Redis",
    }
    assert await erasure(client, reply["id"]) == (200, reply["erasure"])


@pytest.mark.parametrize(("ledger", "status", "state"), [(LocalLedger, 200, "confirmed"), (SilentPeer, 202, "partial")])
async def test_what_is_in_the_log_is_erased(
    aiohttp_client: AiohttpClient, ledger: type[LocalLedger], status: int, state: str
) -> None:
    rests = Rests(response(uri="http://shop.example/p/42"), response("b", uri="http://shop.example/q"))
    rests.go.clear()
    client = await aiohttp_client(admin(made=purges(ledger=ledger(), erasures=erasing(rests))))
    order = {"selectors": [{"kind": "prefix", "value": "/p"}], "erase": True, "min_matched": 2 if status == 200 else 9}
    answer, reply = await purge(client, order)
    assert (answer, reply["state"], reply["erasure"]["state"]) == (status, state, "running")
    rests.go.set()
    while (said := (await erasure(client, reply["id"]))[1])["ended"] is None:
        pass
    assert (said["state"], said["scanned"], said["erased"]) == ("done", 3, 1)
    assert ("far:1:ab" in said["detail"]) is (status == 202)
    assert [one.uri for one in rests.left] == ["http://shop.example/q"]


async def test_what_is_not_in_the_log_is_not_erased(aiohttp_client: AiohttpClient) -> None:
    rests = Rests(response())
    client = await aiohttp_client(admin(made=purges(ledger=LostLog(), erasures=erasing(rests))))
    status, reply = await purge(client, {"selectors": [{"kind": "all"}], "erase": True})
    assert (status, "erasure" in reply, rests.passes) == (503, False, 0)
    assert (await erasure(client, reply["id"]))[0] == 404


async def test_when_too_many_erasures_wait_nothing_is_purged(aiohttp_client: AiohttpClient) -> None:
    ledger, rests = LocalLedger(), Rests(response())
    rests.go.clear()
    erasures = erasing(rests)
    client = await aiohttp_client(admin(made=purges(ledger=ledger, erasures=erasures)))
    order = {"selectors": [TAG], "erase": True}
    replies = [await purge(client, order) for _ in range(18)]
    assert [reply["erasure"]["state"] for _, reply in replies[:17]] == ["running", *["queued"] * 16]
    assert (replies[17][0], ledger.sequence) == (429, 17)
    assert (await purge(client, {"selectors": [TAG]}))[0] == 200
    await erasures.close()


async def test_who_sees_an_erasure(aiohttp_client: AiohttpClient) -> None:
    limited, other = (Token(name, digest_of(name), Scope(tag_prefixes=("list",))) for name in ("ci", "other"))
    client = await aiohttp_client(admin(EVERYTHING, limited, other))
    _, reply = await purge(client, {"selectors": [TAG], "erase": True}, Authorization="Bearer ci")
    seen = [(await erasure(client, reply["id"], secret))[0] for secret in ("ci", SECRET, "other", "nobody")]
    assert seen == [200, 200, 404, 401]
    for unknown in ("0" * 16, "..%2Fpurges", "x", "%00"):
        status, problem = await erasure(client, unknown)
        assert (status, problem["title"]) == (404, "Not Found")


async def test_siblings_are_asked_for_an_erasure(aiohttp_client: AiohttpClient, tmp_path: Path) -> None:
    theirs = purges()
    with running(admin(made=theirs), tmp_path / "1-0.sock"), running(admin(), tmp_path / "1-1.sock"):
        asked = await theirs.carry_out(Wish(selectors=[Selector.of("all")], who="root", peer="", erase=True))
        paths = [tmp_path / "1-0.sock", tmp_path / "1-1.sock"]
        client = await aiohttp_client(admin(made=purges(siblings=Siblings(lambda: paths))))
        status, said = await erasure(client, asked.id)
        assert (status, said["id"]) == (200, asked.id)
        assert (await erasure(client, asked.id, Edgecache_Alone="1"))[0] == 404
        assert (await erasure(client, "0" * 16))[0] == 404
        paths.append(tmp_path / "gone.sock")
        assert (await erasure(client, asked.id))[0] == 200
        status, problem = await erasure(client, "0" * 16)
        assert (status, problem["detail"]) == (503, "not known here, and gone did not say")


# What is remembered.


async def test_the_latest_purges_the_newest_first(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin())
    first = (await purge(client, {"selectors": [TAG], "soft": True}))[1]
    second = (await purge(client, {"selectors": [{"kind": "all"}]}))[1]
    await purge(client, {"selectors": [TAG], "dry_run": True})
    async with client.get("/v1/purges", headers=BEARER) as response:
        purges = (await response.json())["purges"]
    assert [one["id"] for one in purges] == [second["id"], first["id"]]
    assert purges[1] == {
        "id": first["id"],
        "when": "2025-11-23T00:40:00.000+00:00",
        "who": "root",
        "selectors": ["~tag:list"],
        "selectors_total": 1,
        "state": "confirmed",
        "sequence": 1,
        "matched": 2,
    }


async def test_a_token_with_limits_sees_its_own_purges(aiohttp_client: AiohttpClient) -> None:
    limited = Token("ci", digest_of("ci"), Scope(tag_prefixes=("list",)))
    client = await aiohttp_client(admin(EVERYTHING, limited))
    await purge(client, {"selectors": [TAG]})
    await purge(client, {"selectors": [TAG]}, Authorization="Bearer ci")
    for secret, seen in ((SECRET, ["ci", "root"]), ("ci", ["ci"])):
        async with client.get("/v1/purges", headers={"Authorization": f"Bearer {secret}"}) as response:
            assert [one["who"] for one in (await response.json())["purges"]] == seen
    async with client.get("/v1/purges") as response:
        assert (response.status, response.content_type) == (401, "application/problem+json")


async def test_what_is_remembered_is_bounded(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin())
    many = [{"kind": "url", "value": f"h/{'a' * 500}{index}"} for index in range(1000)]
    await purge(client, {"selectors": many})
    async with client.get("/v1/purges", headers=BEARER) as response:
        (record,) = (await response.json())["purges"]
    assert (len(record["selectors"]), record["selectors_total"]) == (20, 1000)
    assert {len(one) for one in record["selectors"]} == {256}


async def test_each_purge_is_one_line_in_the_audit_log(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgecache.audit")
    client = await aiohttp_client(admin())
    reply = (await purge(client, {"selectors": [{"kind": "tag", "value": 'a "\u2028\u202e\x85 b'}]}))[1]
    (record,) = [one for one in caplog.records if one.name == "edgecache.audit"]
    assert (record.levelname, record.getMessage()) == (
        "INFO",
        f"purge id={reply['id']} token=root peer=127.0.0.1 state=confirmed sequence=1 matched=0 "
        'selectors=["tag:a \\"\\u2028\\u202e\\u0085 b"] of 1',
    )


async def test_refusals_are_audited_and_no_secret_is_logged(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    limited = Token("ci", digest_of("canary-ci"), Scope(tag_prefixes=("x",), rate=1))
    client = await aiohttp_client(admin(limited))
    for secret in ("canary-wrong", "canary-ci", "canary-ci"):
        await purge(client, {"selectors": [TAG]}, Authorization=f"Bearer {secret}")
    assert [one.getMessage() for one in caplog.records if one.name == "edgecache.audit"] == [
        "purge refused status=401 token=- peer=127.0.0.1",
        "purge refused status=403 token=ci peer=127.0.0.1",
        "purge refused status=429 token=ci peer=127.0.0.1",
    ]
    assert "canary" not in caplog.text
    assert limited.digest not in caplog.text


async def test_no_answer_shows_a_token(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(admin())
    await purge(client, {"selectors": [TAG]})
    explained = "/v1/explain?url=http://a.example/&header=Authorization:%20Bearer%20x"
    for path in (explained, "/v1/purges", "/v1/stats", "/metrics", "/readyz?verbose", "/openapi.json"):
        async with client.get(path, headers=BEARER) as response:
            text = await response.text()
            assert response.status == 200
            assert SECRET not in text
            assert EVERYTHING.digest not in text


# Its own description.


API = schemathesis.openapi.from_dict(json.loads(describe("1.2.3")))
_REJECTION = API.config.checks.negative_data_rejection
_REJECTION.expected_statuses = [*_REJECTION.expected_statuses, "413"]  # too long comes before wrong
OPERATIONS = {operation.label: operation for operation in (found.ok() for found in API.get_all_operations())}
BREAKABLE = [
    "POST /v1/purge",
    "GET /v1/purges",
    "GET /v1/erasures/{id}",
    "POST /v1/deploys/{name}",
    "GET /v1/deploys/{name}",
    "POST /v1/deploys/{name}/activate",
    "POST /v1/deploys/{name}/hold",
    "POST /v1/deploys/{name}/rollback",
    "GET /v1/explain",
    "POST /v1/scan",
    "GET /readyz",
]  # the others take nothing that could be wrong
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(admin()) as addresses:
        ((host, port, *_),) = addresses  # type: ignore[misc]
        yield f"http://{host}:{port}"


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        *((label, GenerationMode.POSITIVE) for label in OPERATIONS),
        *((label, GenerationMode.NEGATIVE) for label in BREAKABLE),
    ],
)
def test_it_does_what_its_description_says(label: str, mode: GenerationMode, url: str) -> None:
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(OPERATIONS[label].as_strategy(generation_mode=mode))
    def conforms(case: schemathesis.Case) -> None:
        case.validate_response(case.call(base_url=url, headers=BEARER), checks=CHECKS)

    conforms()


async def test_the_description_is_complete(aiohttp_client: AiohttpClient) -> None:
    app = admin()
    client = await aiohttp_client(app)
    async with client.get("/openapi.json") as response:
        document = await response.json()
    served = {resource.canonical for resource in app.router.resources()} - {"/openapi.json"}
    assert (document["openapi"], set(document["paths"])) == ("3.1.0", served)
    assert document["info"]["version"] == "1.2.3"
    properties = document["components"]["schemas"]["PurgeReply"]["properties"]
    assert set(properties) == set(PurgeReply.__struct_fields__)
    assert document["components"]["schemas"]["PurgeOrder"]["additionalProperties"] is False
