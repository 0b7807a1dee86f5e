"""A deploy that one worker warms is known to all of them, and whichever is asked switches all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.processes.conftest import Start
from tests.processes.rig import LOCALHOST, Program
from tests.scenarios.rig import fetch

SECRET = "canary-7b2e"
ORDER = {"site": "http://example.com", "assets": [f"/asset{number}" for number in range(20)]}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECACHE_TOKEN", SECRET)


async def ask(program: Program, path: str, order: object = None) -> tuple[int, dict[str, Any]]:
    content = b"" if order is None else json.dumps(order).encode()
    fields = {**LOCALHOST, "Authorization": f"Bearer {SECRET}", "Content-Length": str(len(content))}
    response = await fetch(program.admin, f"/v1/deploys{path}", "GET" if order is None else "POST", fields, content)
    return response.status, json.loads(response.body)


async def test_whichever_worker_is_asked(start: Start) -> None:
    program = await start(workers=2, more='[redis]\nurl = "embedded"\nlease = "1s"\n')
    status, deploy = await ask(program, "/v42", ORDER)
    assert (status, deploy["total"]) == (202, 20)
    while deploy["ended"] is None:
        _, deploy = await ask(program, "/v42")
    assert (deploy["state"], deploy["stored"]) == ("ready", 20)
    for _ in range(6):
        assert (await ask(program, "/v42"))[1] == deploy
        assert (await ask(program, "/v43/activate", {}))[0] == 409
        status, receipt = await ask(program, "/v42/activate", {})
        assert (status, len(receipt["workers"]), receipt["release"]["name"]) == (200, 2, "v42")
        status, receipt = await ask(program, "/v43/hold", {})
        assert (status, receipt["release"]["held"]) == (200, True)
        _, report = await ask(program, "")
        assert report["release"] == {"name": "v42", "held": True, "previous": ""}
        assert (len(report["deploys"]), report["missing"]) == (1, [])
