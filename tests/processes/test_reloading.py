"""Reloading: a whole new generation or nothing, and nobody notices which."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.conftest import Start
from tests.processes.rig import LONG, Crowd, Program, configure, files_of, is_running, until
from tests.scenarios.rig import Hold, Reply, ScriptedOrigin, download, fetch

RELOADS = 100 if LONG else 20


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A socket that listens where an edge would like to."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


def spoil(program: Program, origin: str, taken: socket.socket, kind: int) -> str:
    """Write a configuration that cannot be put into service; return what has to be said about it."""
    path, name = program.config, "never"
    ports = {"port": program.port, "admin": program.admin}
    match kind % 5:
        case 0:
            configure(path, origin, **ports, name=name, more="[server\n")
            return "not TOML"
        case 1:
            configure(path, origin, **ports, name=name, more="memroy = 1\n")
            return "did you mean memory?"
        case 2:
            configure(path, origin, port=taken.getsockname()[1], admin=program.admin, name=name)
            return "cannot listen on"
        case 3:
            configure(path, origin, port=program.port, admin=taken.getsockname()[1], name=name)
            return "cannot listen on"
        case _:
            configure(path, origin, **ports, name=name)
            text = path.read_text().replace("[admin]", 'tls_cert = "none.pem"\n[admin]')
            path.write_text(text)
            return "none.pem"


async def test_many_reloads_half_of_them_wrong_and_no_request_fails(
    start: Start, origin: ScriptedOrigin, taken: socket.socket
) -> None:
    program, name = await start(workers=2), "first"
    ports = {"port": program.port, "admin": program.admin}
    async with Crowd(program.port, clients=16 if LONG else 6) as crowd:
        await crowd.more(20)
        for number in range(RELOADS):
            if number % 2:
                said = spoil(program, origin.url, taken, number // 2)
                known = await program.reload()
                assert not known["last_reload_ok"]
                assert said in known["last_reload_error"]
            else:
                name = f"edge{number}"
                configure(program.config, origin.url, **ports, name=name)
                known = await program.reload()
                assert known["last_reload_ok"], known
            assert (await program.fetch("/0")).cache_status.startswith(f"{name};")
            await crowd.more(20)
    assert crowd.failures == []
    assert crowd.served["never"] == 0
    metrics = await program.metrics()
    assert metrics['edgecache_config_reloads_total{outcome="ok"}'] == RELOADS / 2
    assert metrics['edgecache_config_reloads_total{outcome="refused"}'] == RELOADS / 2
    assert metrics["edgecache_config_last_reload_successful"] == 0
    assert metrics["edgecache_worker_restarts_total"] == 0
    while (await program.metrics())["edgecache_requests_received_total"] < crowd.total:
        pass  # those who were not asked have not published for up to a second
    await program.until(workers_draining=0, workers=2)


async def test_rule_files_are_read_again_and_an_example_that_is_not_met_changes_nothing(
    start: Start, origin: ScriptedOrigin
) -> None:
    program = await start(workers=1)
    rules, ports = program.config.with_name("mine.toml"), {"port": program.port, "admin": program.admin}

    def write(max_age: int, promised: int) -> None:
        rules.write_text(
            f'[[rule]]\nname = "mine"\nset.browser_ttl = {max_age}\n'
            '[[example]]\nname = "shown"\nrequest = "GET https://h/"\nresponse_headers.Cache-Control = "max-age=9"\n'
            f'expect.browser = "max-age={promised}"\n'
        )

    write(7, 7)
    configure(program.config, origin.url, **ports, more='[rules]\nuse = ["mine.toml"]\n')
    assert (await program.reload())["last_reload_ok"]
    assert (await program.fetch("/7")).fields["cache-control"].endswith("max-age=7")
    write(8, 9)
    known = await program.reload()
    assert not known["last_reload_ok"]
    assert '"shown": browser is "max-age=8", expected "max-age=9"' in known["last_reload_error"]
    assert (await program.fetch("/8")).fields["cache-control"].endswith("max-age=7")
    write(8, 8)
    assert (await program.reload())["last_reload_ok"]
    assert (await program.fetch("/9")).fields["cache-control"].endswith("max-age=8")


async def test_manifests_are_read_again_and_one_that_is_none_changes_nothing(
    start: Start, origin: ScriptedOrigin
) -> None:
    """The names alone say nothing of these files."""
    program = await start(workers=1)
    manifest, ports = program.config.with_name("manifest.json"), {"port": program.port, "admin": program.admin}
    origin.script = lambda _: Reply(200, {"Content-Type": "text/javascript"}, b"//")
    immutable = "public, max-age=31536000, immutable"

    async def says(digest: str) -> str | None:
        return (await program.fetch(f"/s/assets/main-{digest}.js")).fields.get("cache-control")

    def write(digest: str) -> None:
        manifest.write_text(f'{{"src/main.js": {{"file": "assets/main-{digest}.js"}}}}')

    write("Bfirst1x")
    rules = f'[rules]\nuse = ["static-assets"]\nmanifests = ["/s/={manifest.name}"]\n'
    configure(program.config, origin.url, **ports, more=rules)
    assert (await program.reload())["last_reload_ok"]
    assert (await says("Bfirst1x"), await says("Cnext_1x")) == (immutable, None)
    write("Cnext_1x")
    assert await says("Cnext_1x") is None
    assert (await program.reload())["last_reload_ok"]
    assert (await says("Bfirst1x"), await says("Cnext_1x")) == (None, immutable)
    manifest.write_text("[]")
    known = await program.reload()
    assert not known["last_reload_ok"]
    assert "is not a build manifest" in known["last_reload_error"]
    assert await says("Cnext_1x") == immutable


async def test_what_was_wrong_is_told_as_check_tells_it(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=1)
    with program.config.open("a") as file:
        file.write("memroy = 1\n")
    await program.reload()
    check = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgecache.cli.main", "check", "-c", str(program.config)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await check.communicate()
    assert check.returncode == 2
    assert told.decode().strip() in "".join(program.errors)


async def test_a_running_response_is_finished_by_those_who_began_it(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=1)
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"x" * 4096, hold_at={1024: hold})
    running = await download(program.port, "/slow")
    await running.read(512)
    (old,) = program.children
    known = await program.reload()
    assert (known["generation"], known["workers"], known["workers_draining"]) == (2, 1, 1)
    assert is_running(old)
    hold.release()
    response = await running.rest()
    assert response.complete
    await program.until(workers_draining=0)
    assert not is_running(old)


async def test_numbers_grow_over_reloads(start: Start) -> None:
    program, seen = await start(workers=2), []
    async with Crowd(program.port, clients=4) as crowd:
        for _ in range(3):
            await crowd.more(20)
            seen.append((await program.metrics())["edgecache_requests_received_total"])
            await program.reload()
            seen.append((await program.metrics())["edgecache_requests_received_total"])
    assert all(before <= after for before, after in itertools.pairwise(seen))


async def test_another_address_is_listened_on_and_the_old_one_is_left(
    start: Start, origin: ScriptedOrigin, unused_tcp_port_factory: Callable[[], int]
) -> None:
    program = await start(workers=2)
    old, program.port = program.port, unused_tcp_port_factory()
    waiting = [await download(old, f"/{number}") for number in range(10)]
    configure(program.config, origin.url, port=program.port, admin=program.admin)
    assert (await program.reload())["last_reload_ok"]
    assert all([(await one.rest()).complete for one in waiting])
    assert (await program.fetch()).status == 200
    with pytest.raises(ConnectionRefusedError):
        await fetch(old)


async def test_operators_follow_to_another_address(
    start: Start, origin: ScriptedOrigin, unused_tcp_port_factory: Callable[[], int], tmp_path: Path
) -> None:
    program = await start(workers=1)
    old, program.admin = program.admin, unused_tcp_port_factory()
    configure(program.config, origin.url, port=program.port, admin=program.admin)
    program.process.send_signal(signal.SIGHUP)
    await program.until(generation=2)
    files = {f"127.0.0.1:{program.admin}.token", f"127.0.0.1:{program.admin}.pid"}
    await until(lambda: {path.name for path in (tmp_path / "edgecache").iterdir()} == files)
    with pytest.raises(ConnectionRefusedError):
        await fetch(old)


async def test_more_workers_and_fewer(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=None, more='[redis]\nurl = "embedded"\n')
    server = set(program.children)
    text = program.config.read_text()
    async with Crowd(program.port, clients=4) as crowd:
        for count in (3, 2):
            program.config.write_text(text.replace("[server]", f"[server]\nworkers = {count}"))
            known = await program.reload()
            assert (known["workers_wanted"], known["workers"]) == (count, count)
            await program.until(workers_draining=0)
            assert len(program.children) == count + 1
            await crowd.more(50)
    assert len(server & set(program.children)) == 1  # the embedded server, and what it stores, outlive all of them
    assert (await program.fetch("/0")).cache_status.startswith("first; hit")


async def test_a_log_is_opened_anew_by_every_worker(start: Start, tmp_path: Path) -> None:
    log, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    program = await start(workers=2)
    text = program.config.read_text().replace('access = "off"', f'access = "common"\nfile = "{log}"')
    program.config.write_text(text)
    await program.reload()
    await program.fetch("/before")
    await until(lambda: "/before" in log.read_text())
    log.rename(rotated)
    program.process.send_signal(signal.SIGUSR1)
    await until(lambda: all(str(log) in files_of(worker) for worker in program.children))
    async with Crowd(program.port) as crowd:
        await crowd.more(100)
    total = crowd.total
    await until(lambda: log.read_text().count("\n") >= total)
    assert rotated.read_text().count("\n") == 1


async def test_what_was_stored_before_is_not_served_after_a_purge(start: Start, origin: ScriptedOrigin) -> None:
    answers = itertools.count()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, b"%d" % next(answers))
    program = await start(workers=1)
    secret = next((program.config.parent / "edgecache").glob("*.token")).read_text()
    fields = {"Host": "localhost", "Authorization": f"Bearer {secret}"}
    for _ in range(5):
        before = int((await program.fetch("/a")).body)
        await program.reload()
        purged = await fetch(program.admin, "/v1/purge", "POST", fields, b'{"selectors": [{"kind": "all"}]}')
        assert (purged.status, json.loads(purged.body)["state"]) == (200, "confirmed")
        assert int((await program.fetch("/a")).body) > before


async def test_a_reload_that_is_told_to_stop_stops(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=2)
    program.process.send_signal(signal.SIGHUP)
    program.process.send_signal(signal.SIGTERM)
    assert await program.process.wait() == 0


async def test_signals_that_come_together_end_in_the_latest_configuration(start: Start, origin: ScriptedOrigin) -> None:
    program = await start(workers=1)
    for name in ("second", "third", "fourth"):
        configure(program.config, origin.url, port=program.port, admin=program.admin, name=name)
        program.process.send_signal(signal.SIGHUP)
    while not (await program.fetch("/0")).cache_status.startswith("fourth;"):
        pass
    while not (reloads := (await program.supervision())["reloads"]):
        pass  # what counts them is the end of it
    assert reloads <= 3
