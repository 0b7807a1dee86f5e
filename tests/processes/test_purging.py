"""Operators reach one worker and mean all: what is stored, what was purged, and how the ledger stands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.processes.conftest import Start
from tests.processes.rig import LOCALHOST, Program
from tests.scenarios.rig import fetch

SECRET = "canary-5d1f"
FIELDS = {**LOCALHOST, "Authorization": f"Bearer {SECRET}"}
SHARED = '[redis]\nurl = "embedded"\nlease = "1s"\n'  # for as long the first purge has to wait


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECACHE_TOKEN", SECRET)


async def purge(program: Program, **more: Any) -> dict[str, Any]:
    order = {"selectors": [{"kind": "host", "value": "example.com"}], **more}
    fields = {**FIELDS, "Content-Type": "application/json", "Content-Length": str(len(json.dumps(order)))}
    response = await fetch(program.admin, "/v1/purge", "POST", fields, json.dumps(order).encode())
    return json.loads(response.body)  # type: ignore[no-any-return]


async def until_held(program: Program, holds: Callable[[int], bool]) -> int:
    """Wait until the workers together hold so much; each says every second how much it is."""
    while True:
        held: int = (await program.stats())["stores"]["memory"]["responses"]
        if holds(held):
            return held
        await asyncio.sleep(0.05)


async def until_shown(program: Program, name: str, value: float) -> dict[str, float]:
    """Wait until the metrics say so: each worker says every second what it has counted."""
    while True:
        metrics = await program.metrics()
        if metrics.get(name) == value:
            return metrics
        await asyncio.sleep(0.05)


async def test_a_purge_counts_what_all_workers_hold(start: Start) -> None:
    program = await start(workers=2, more=SHARED)
    for number in range(40):
        assert (await program.fetch(f"/{number}")).status == 200
    everything = await until_held(program, lambda held: held >= 40)
    for _ in range(6):  # whichever worker answers
        reply = await purge(program, dry_run=True)
        assert (reply["matched"], len(reply["sample"]), reply["uncounted"]) == (everything, 10, [])
    reply = await purge(program)
    assert (reply["state"], reply["matched"], len(reply["workers"])) == ("confirmed", everything, 2)
    for _ in range(6):
        response = await fetch(program.admin, "/v1/purges", fields=FIELDS)
        report = json.loads(response.body)
        assert ([one["id"] for one in report["purges"]], report["missing"]) == ([reply["id"]], [])
    metrics = await until_shown(program, 'edgecache_purges_total{state="confirmed"}', 1)
    assert metrics['edgecache_purge_selectors_total{kind="host",mode="hard",state="confirmed"}'] == 1
    assert metrics["edgecache_purge_matched_total"] == everything
    assert (metrics["edgecache_ledger_leased"], metrics["edgecache_ledger_failed"]) == (1, 0)
    assert metrics["edgecache_ledger_sequence"] > 0
    assert metrics['edgecache_store_lookups_total{result="miss",tier="redis"}'] >= 40
    assert metrics['edgecache_store_breaker_open{tier="redis"}'] == 0


async def test_what_was_purged_leaves_every_worker_without_being_asked_for(start: Start) -> None:
    program = await start(workers=2, more=SHARED)
    for number in range(20):
        await program.fetch(f"/{number}")
    assert (await purge(program))["matched"] >= 20
    await until_held(program, lambda held: held == 0)
    assert (await purge(program, dry_run=True))["matched"] == 0


async def test_a_worker_that_hangs_is_named(start: Start) -> None:
    program = await start(workers=2)
    hanging = program.children[0]
    os.kill(hanging, signal.SIGSTOP)
    try:
        reply = await purge(program, dry_run=True)
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert reply["uncounted"] in (["1-0"], ["1-1"])
