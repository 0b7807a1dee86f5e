"""With several workers one of them explains itself, and says so; a scan is of all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.processes.conftest import Start
from tests.processes.rig import LOCALHOST, Program
from tests.processes.test_purging import SHARED, until_held
from tests.scenarios.rig import Received, Reply, ScriptedOrigin, fetch

SECRET = "canary-5d1f"
FIELDS = {**LOCALHOST, "Authorization": f"Bearer {SECRET}"}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECACHE_TOKEN", SECRET)


async def explained(program: Program, path: str) -> dict[str, Any]:
    response = await fetch(program.admin, f"/v1/explain?url=http://example.com{path}", fields=FIELDS)
    return json.loads(response.body)  # type: ignore[no-any-return]


async def scan(program: Program, **order: bool) -> dict[str, Any]:
    content = json.dumps({"poisoned": True, **order}).encode()
    fields = {**FIELDS, "Content-Type": "application/json", "Content-Length": str(len(content))}
    return json.loads((await fetch(program.admin, "/v1/scan", "POST", fields, content)).body)  # type: ignore[no-any-return]


def pages(request: Received) -> Reply:
    """An immutable failure for whoever asks for ``/bad…``."""
    status = 404 if request.target.startswith("/bad") else 200
    return Reply(status, {"Cache-Control": "public, max-age=600, immutable"}, b"x")


async def test_who_answers_says_so_and_a_scan_is_of_all(start: Start, origin: ScriptedOrigin) -> None:
    origin.script = pages
    program = await start(workers=2, more=SHARED)
    for number in range(20):
        assert (await program.fetch(f"/bad{number}")).status == 404
        assert (await program.fetch(f"/good{number}")).status == 200
    held = await until_held(program, lambda held: held >= 40)
    served = set[int]()
    while len(served) < 2:  # what one does not have in memory is in Redis, soon
        told = await explained(program, "/bad0")
        assert told["workers"] == 2
        if told["present"]["action"] == "serve":
            served.add(told["process"])
    assert served <= set(program.children)
    report = await scan(program)
    assert (report["looked_at"], report["missing"], report["complete"]) == (held, [], True)
    assert {one["url"] for one in report["found"]} == {f"http://example.com/bad{number}" for number in range(20)}
    assert {one["process"] for one in report["found"]} <= set(program.children)
    report = await scan(program, purge=True)
    assert report["purge"]["state"] == "confirmed"
    assert (await scan(program))["found"] == []
    assert origin.asked() == 40
