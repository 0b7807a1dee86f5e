"""The deploy API over real sockets: what is begun, refused, switched and remembered, by whom, and with siblings."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from edgecache.edges.deploys import Deploys
from edgecache.edges.siblings import Siblings
from edgecache.edges.tokens import Scope, Token, Tokens, digest_of
from edgecache.engine.exchange import Delivery, Request
from edgecache.purging.local import LocalLedger
from tests.edges.deploying import SITE, Engine, Out
from tests.edges.purging import EVERYTHING, SECRET, admin, deploys, running

if TYPE_CHECKING:
    from pytest_aiohttp import AiohttpClient

ORDER: Final = {"site": SITE, "assets": ["/a.js", "/b.js"], "pages": ["/"]}
TOKENS: Final = Tokens([EVERYTHING])


class Api:
    """The admin listener, and what it orders."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __call__(
        self, method: str, path: str = "", order: object = None, secret: str = SECRET, **fields: str
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {secret}", **{name.replace("_", "-"): one for name, one in fields.items()}}
        content = None if order is None else json.dumps(order)
        headers |= {} if order is None else {"Content-Type": "application/json"}
        async with self._client.request(method, f"/v1/deploys{path}", data=content, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def ended(self, name: str) -> dict[str, Any]:
        """Wait until a deploy is warmed, or is not."""
        while True:
            _, said = await self("GET", f"/{name}")
            if said["ended"] is not None:
                return said  # type: ignore[no-any-return]

    async def warmed(self, name: str, order: object = ORDER) -> dict[str, Any]:
        assert (await self("POST", f"/{name}", order))[0] == 202
        return await self.ended(name)

    async def active(self) -> tuple[str, bool, str]:
        _, report = await self("GET")
        release = report["release"]
        return release["name"], release["held"], release["previous"]


async def api(
    aiohttp_client: AiohttpClient,
    engine: Engine | None = None,
    *tokens: Token,
    ledger: LocalLedger | None = None,
    made: Deploys | None = None,
) -> Api:
    ledger, handle = ledger or LocalLedger(), (engine or Engine()).handle
    made = made or deploys(Tokens(tokens or (EVERYTHING,)), ledger, handle)
    return Api(await aiohttp_client(admin(deploying=made)))


# Warming.


async def test_what_an_order_names_is_warmed(aiohttp_client: AiohttpClient) -> None:
    engine = Engine()
    ask = await api(aiohttp_client, engine)
    engine.go.clear()
    status, begun = await ask("POST", "/v42", ORDER)
    assert (status, begun["state"], begun["total"]) == (202, "warming", 3)
    engine.go.set()
    assert await ask.ended("v42") == {
        "name": "v42",
        "who": "root",
        "state": "ready",
        "total": 3,
        "stored": 3,
        "present": 0,
        "failed": 0,
        "failures": [],
        "started": "2025-11-23T00:40:00.000+00:00",
        "ended": "2025-11-23T00:40:00.000+00:00",
        "detail": "",
    }
    assert sorted(engine.targets) == ["/", "/a.js", "/b.js"]
    asked = {request.head.target: request for request in engine.asked}
    assert {request.warms for request in engine.asked} == {"v42"}
    fields = asked["/"].head.fields
    assert (asked["/"].head.target_uri, fields["host"]) == (f"{SITE}/", "www.example.org")
    assert fields["x-forwarded-proto"] == "https"
    assert [asked[target].head.fields.get("cache-control") for target in ("/", "/a.js")] == ["no-cache", None]


async def test_urls_may_be_of_other_hosts_and_are_asked_for_once(aiohttp_client: AiohttpClient) -> None:
    engine = Engine()
    ask = await api(aiohttp_client, engine)
    order = {"site": "HTTP://Shop.example:80", "assets": ["/a?b", "https://cdn.example:8443/c", "/a?b"]}
    assert (await ask.warmed("v42", order))["total"] == 2
    uris = {request.head.target_uri for request in engine.asked}
    assert uris == {"http://shop.example/a?b", "https://cdn.example:8443/c"}


async def test_few_are_asked_for_at_once(aiohttp_client: AiohttpClient) -> None:
    engine = Engine()
    ask = await api(aiohttp_client, engine)
    engine.go.clear()
    await ask("POST", "/v42", {"site": SITE, "assets": [f"/{number}.js" for number in range(100)]})
    while engine.at_once < 8:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    engine.go.set()
    assert (await ask.ended("v42"))["stored"] == 100
    assert engine.most_at_once == 8


async def test_what_is_missing_is_asked_for_again_and_then_named(aiohttp_client: AiohttpClient) -> None:
    engine = Engine("/b.js")
    ask = await api(aiohttp_client, engine)
    said = await ask.warmed("v42")
    assert (said["state"], said["stored"], said["failed"]) == ("failed", 2, 1)
    assert said["failures"] == [{"url": f"{SITE}/b.js", "status": 404, "reason": "status"}]
    tries = [request.head.fields.get("cache-control") for request in engine.asked if request.head.target == "/b.js"]
    assert tries == [None, *["no-cache"] * 6]
    assert engine.targets.count("/a.js") == 1


async def test_to_begin_again_is_to_look_again(aiohttp_client: AiohttpClient) -> None:
    engine = Engine("/b.js")
    ask = await api(aiohttp_client, engine)
    assert (await ask.warmed("v42"))["state"] == "failed"
    engine.missing.clear()
    said = await ask.warmed("v42")
    assert (said["state"], said["stored"], said["failed"], said["failures"]) == ("ready", 3, 0, [])


async def test_one_deploy_is_warmed_at_a_time(aiohttp_client: AiohttpClient) -> None:
    engine = Engine()
    ask = await api(aiohttp_client, engine)
    engine.go.clear()
    await ask("POST", "/v42", ORDER)
    assert (await ask("POST", "/v42", ORDER))[0] == 202
    for name, order in (("v42", {**ORDER, "pages": []}), ("v43", ORDER)):
        status, problem = await ask("POST", f"/{name}", order)
        assert (status, problem["detail"]) == (409, "v42 is being warmed: wait until it has ended")
    engine.go.set()
    assert (await ask.ended("v42"))["state"] == "ready"
    assert len(engine.asked) == 3
    assert (await ask.warmed("v43"))["state"] == "ready"


async def test_what_breaks_ends_a_deploy_and_is_no_success(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(request: Request) -> Delivery:
        raise RuntimeError("a defect")

    ask = await api(aiohttp_client, made=deploys(TOKENS, handle=breaks))
    said = await ask.warmed("v42")
    assert (said["state"], said["detail"]) == ("failed", "it stopped before it was done; begin again")
    assert "a defect" in caplog.text


async def test_what_stops_is_no_success(aiohttp_client: AiohttpClient) -> None:
    engine = Engine()
    made = deploys(TOKENS, handle=engine.handle)
    ask = await api(aiohttp_client, made=made)
    engine.go.clear()
    await ask("POST", "/v42", ORDER)
    await made.close()
    assert (await ask.ended("v42"))["state"] == "failed"


@pytest.mark.parametrize(
    ("order", "detail"),
    [
        ({}, "Object missing required field `site`"),
        ({"site": "www.example.org"}, "malformed request target - at `$.site`"),
        ({"site": f"{SITE}/shop"}, "a scheme and a host, such as https://www.example.org - at `$.site`"),
        ({"site": "ftp://example.org"}, "malformed request target - at `$.site`"),
        ({"site": "https://a@b"}, "malformed host - at `$.site`"),
        ({"site": SITE, "assets": ["/a", "b"]}, "malformed request target - at `$.assets[1]`"),
        ({"site": SITE, "assets": ["/ü"]}, "malformed request target - at `$.assets[0]`"),
        ({"site": SITE, "assets": ["/a b"]}, "malformed request target - at `$.assets[0]`"),
        ({"site": SITE, "pages": ["https://*/"]}, "malformed host - at `$.pages[0]`"),
        ({"site": SITE, "asset": ["/a"]}, "Object contains unknown field `asset`"),
        ({"site": SITE, "assets": [""]}, "Expected `str` of length >= 1 - at `$.assets[0]`"),
    ],
)
async def test_an_order_is_read_strictly(aiohttp_client: AiohttpClient, order: object, detail: str) -> None:
    ask = await api(aiohttp_client)
    status, problem = await ask("POST", "/v42", order)
    assert (status, problem["detail"]) == (400, detail)
    assert (await ask("GET", "/v42"))[0] == 404


@pytest.mark.parametrize("name", [".v42", "v 42", "v42%2F", "-", "v" * 65, "%00"])
@pytest.mark.parametrize("what", ["", "/activate", "/hold", "/rollback"])
async def test_a_name_is_checked(aiohttp_client: AiohttpClient, name: str, what: str) -> None:
    ask = await api(aiohttp_client)
    status, problem = await ask("POST", f"/{name}{what}", {**ORDER} if not what else {})
    assert status == 400
    assert "is not the name of a release" in problem["detail"]


# Switching.


async def test_what_was_warmed_is_activated(aiohttp_client: AiohttpClient) -> None:
    ask = await api(aiohttp_client)
    await ask.warmed("v42")
    status, receipt = await ask("POST", "/v42/activate", {}, Prefer="wait=9")
    (worker,) = receipt.pop("workers")
    assert (status, worker["applied"]) == (200, True)
    assert receipt == {
        "release": {"name": "v42", "held": False, "previous": ""},
        "state": "confirmed",
        "sequence": 1,
        "waited_ms": 0.0,
        "detail": "",
    }
    assert (await ask("POST", "/v42/activate"))[0] == 200
    assert await ask.active() == ("v42", False, "")


async def test_what_was_not_warmed_is_not_activated_unless_forced(aiohttp_client: AiohttpClient) -> None:
    engine = Engine("/b.js")
    ask = await api(aiohttp_client, engine)
    answers = [await ask("POST", "/v42/activate")]
    engine.go.clear()
    await ask("POST", "/v42", ORDER)
    answers.append(await ask("POST", "/v42/activate"))
    engine.go.set()
    await ask.ended("v42")
    answers.append(await ask("POST", "/v42/activate"))
    assert [(status, problem["detail"]) for status, problem in answers] == [
        (409, "v42 was not begun here: begin it, or force the activation"),
        (409, "v42 is still being warmed, 0 of 3: wait, or force the activation"),
        (
            409,
            f"1 of 3 are not there for v42, such as {SITE}/b.js (status): begin it again, or force the activation",
        ),
    ]
    assert await ask.active() == ("", False, "")
    assert (await ask("POST", "/v42/activate", {"force": True}))[0] == 200
    assert await ask.active() == ("v42", False, "")


async def forward(ask: Api, *names: str) -> None:
    for name in names:
        assert (await ask("POST", f"/{name}/activate", {"force": True}))[0] == 200


async def test_what_has_been_active_needs_no_warming(aiohttp_client: AiohttpClient) -> None:
    ask = await api(aiohttp_client)
    await forward(ask, "v40", "v41", "v42")
    assert (await ask("POST", "/v41/activate"))[0] == 200
    assert (await ask("POST", "/v41/activate"))[0] == 200
    assert (await ask("POST", "/v40/activate"))[0] == 409


async def test_a_release_that_was_warmed_in_vain_is_not_activated_because_it_was_active(
    aiohttp_client: AiohttpClient,
) -> None:
    ask = await api(aiohttp_client, Engine("/b.js"))
    await forward(ask, "v42")
    await ask.warmed("v42")
    assert (await ask("POST", "/v42/activate"))[0] == 409


async def test_going_back_goes_to_the_one_before_and_holds_it(aiohttp_client: AiohttpClient) -> None:
    ask = await api(aiohttp_client)
    await forward(ask, "v41", "v42")
    status, receipt = await ask("POST", "/v42/rollback")
    assert (status, receipt["release"]) == (200, {"name": "v41", "held": True, "previous": "v42"})
    # Again it changes nothing, and is confirmed.
    status, receipt = await ask("POST", "/v42/rollback")
    assert (status, receipt["release"]) == (200, {"name": "v41", "held": True, "previous": "v42"})
    # Back to normal.
    assert (await ask("POST", "/v41/activate"))[0] == 200
    assert await ask.active() == ("v41", False, "v42")


async def test_going_back_from_what_is_not_active_changes_nothing(aiohttp_client: AiohttpClient) -> None:
    ask = await api(aiohttp_client)
    await forward(ask, "v41")
    status, receipt = await ask("POST", "/v42/rollback")
    assert (status, receipt["release"]) == (200, {"name": "v41", "held": False, "previous": ""})


async def test_going_back_further(aiohttp_client: AiohttpClient) -> None:
    ask = await api(aiohttp_client)
    await forward(ask, "v40", "v41", "v42")
    assert (await ask("POST", "/v42/rollback", {"to": "v40"}))[0] == 200
    assert await ask.active() == ("v40", True, "v42")


@pytest.mark.parametrize(
    ("names", "order"), [((), {}), (("v42",), {}), (("v41", "v42"), {"to": "v42"}), ((), {"to": "v41"})]
)
async def test_there_may_be_nothing_to_go_back_to(
    aiohttp_client: AiohttpClient, names: tuple[str, ...], order: object
) -> None:
    ask = await api(aiohttp_client)
    await forward(ask, *names)
    before = await ask.active()
    status, problem = await ask("POST", "/v42/rollback", order)
    assert (status, problem["detail"]) == (409, "there is no release to go back to from v42")
    assert await ask.active() == before


async def test_the_active_release_is_held_until_the_next_is_activated(aiohttp_client: AiohttpClient) -> None:
    ask = await api(aiohttp_client)
    await forward(ask, "v41")
    status, receipt = await ask("POST", "/v42/hold")
    assert (status, receipt["release"]) == (200, {"name": "v41", "held": True, "previous": ""})
    await forward(ask, "v42")
    assert await ask.active() == ("v42", False, "v41")


@pytest.mark.parametrize(
    ("names", "detail"),
    [((), "no release is active that could be held"), (("v41", "v42"), "v42 is active already")],
)
async def test_there_may_be_nothing_to_hold(aiohttp_client: AiohttpClient, names: tuple[str, ...], detail: str) -> None:
    ask = await api(aiohttp_client)
    await forward(ask, *names)
    status, problem = await ask("POST", "/v42/hold")
    assert (status, problem["detail"]) == (409, detail)


@pytest.mark.parametrize("what", ["activate", "rollback", "hold"])
async def test_what_is_not_known_to_be_in_the_log_is_no_success(aiohttp_client: AiohttpClient, what: str) -> None:
    ledger = Out()
    ask = await api(aiohttp_client, ledger=ledger)
    ledger.release = ledger.release.then("v41", sequence=1).then("v42", sequence=2)
    name = "v43" if what == "hold" else "v42"
    status, receipt = await ask("POST", f"/{name}/{what}")
    assert (status, receipt["state"], receipt["detail"]) == (503, "unconfirmed", "the purge log cannot be used")
    assert receipt["release"]["name"] == "v42"


# Who may.


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [
        (Scope(all=True), [403, 403, 403]),
        (Scope(hosts=("www.example.org",)), [403, 403, 403]),
        (Scope(deploy=True), [403, 200, 200]),
        (Scope(deploy=True, hosts=("www.example.org",)), [202, 200, 200]),
        (Scope(deploy=True, hosts=("*.example.com",)), [403, 200, 200]),
        (Scope(deploy=True, all=True), [202, 200, 200]),
    ],
)
async def test_who_may_what(aiohttp_client: AiohttpClient, scope: Scope, statuses: list[int]) -> None:
    ask = await api(aiohttp_client, Engine(), Token("ci", digest_of("ci"), scope))
    order = {"force": True}
    found = [
        (await ask("POST", "/v42", ORDER, secret="ci"))[0],
        (await ask("POST", "/v42/activate", order, secret="ci"))[0],
        (await ask("GET", secret="ci"))[0],
    ]
    assert found == statuses
    assert (await ask("GET", secret="nobody"))[0] == 401


async def test_each_order_is_a_line_in_the_audit_log(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgecache.audit")
    ask = await api(aiohttp_client)
    await ask.warmed("v42")
    await ask("POST", "/v42/activate")
    await ask("POST", "/v43/hold")
    await ask("POST", "/v42/activate", secret="wrong")
    assert [record.getMessage() for record in caplog.records if record.name == "edgecache.audit"] == [
        "deploy begin=v42 token=root peer=127.0.0.1 urls=3",
        "deploy warmed=v42 state=ready urls=3 stored=3 present=0 failed=0",
        "release activate=v42 held=false token=root peer=127.0.0.1 state=confirmed sequence=1",
        "release hold=v42 held=true token=root peer=127.0.0.1 state=confirmed sequence=2",
        "deploy refused status=401 token=- peer=127.0.0.1",
    ]


# Several workers.


async def test_siblings_are_asked_how_a_deploy_stands(aiohttp_client: AiohttpClient, tmp_path: Path) -> None:
    path = tmp_path / "1-0.sock"
    with running(admin(deploying=deploys(TOKENS, handle=Engine().handle)), path):
        paths = [path]
        ours = deploys(TOKENS, handle=Engine().handle, siblings=Siblings(lambda: paths))
        ask = await api(aiohttp_client, made=ours)
        assert (await ask("GET", "/v42"))[0] == 404
        async with aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(path))) as theirs:
            assert (await Api(theirs)("POST", "/v42", ORDER))[0] == 202
        assert (await ask.ended("v42"))["state"] == "ready"
        assert (await ask("GET", "/v42", Edgecache_Alone="1"))[0] == 404
        assert (await ask("POST", "/v42/activate"))[0] == 200
        _, report = await ask("GET")
        assert [deploy["name"] for deploy in report["deploys"]] == ["v42"]
        paths.append(tmp_path / "gone.sock")
        assert (await ask("GET", "/v42"))[0] == 200
        status, problem = await ask("GET", "/v43")
        assert (status, problem["detail"]) == (503, "not known here, and gone did not say")
        _, problem = await ask("POST", "/v43/activate")
        assert problem["detail"] == "v43 was not begun here (gone did not say): begin it, or force the activation"
        _, report = await ask("GET")
        assert report["missing"] == ["gone"]
