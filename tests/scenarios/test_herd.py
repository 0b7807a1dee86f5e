"""A herd: very many clients at once, for what can be shared and for what cannot.

``EDGECACHE_LONG=1`` makes the first herd larger and its object a large one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tests
from tests.scenarios.composed import requested
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.herd_origin import BLOCK, digest
from tests.scenarios.rig import Hold, Received, Reply, ScriptedOrigin, fetch

LONG = os.environ.get("EDGECACHE_LONG") == "1"
CLIENTS = 500 if LONG else 100
SIZE = (50 if LONG else 5) * 1_000_000 // len(BLOCK) * len(BLOCK)
MOST_GROWTH = 120 * 1024 * 1024
"""Bytes: the object once, and for each client a head and what its sockets hold."""

ROOT = Path(tests.__file__).parents[1]


@contextmanager
def process(*args: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python module until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", *args],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.terminate()


@contextmanager
def edge_process(origin: str) -> Iterator[tuple[int, int]]:
    """Run ``edgecache proxy``; yield its port and its process id."""
    args = ("edgecache.cli.main", "proxy", "--to", origin, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with process(*args, "--access-log", "off") as running:
        assert running.stderr is not None
        banner = running.stderr.readline()
        port = re.search(r"http://127\.0\.0\.1:(\d+) in front of", banner)
        assert port is not None, banner + running.stderr.read()
        yield int(port[1]), running.pid


@contextmanager
def origin_process(size: int) -> Iterator[str]:
    """Run the origin of one object; yield its URL."""
    with process("tests.scenarios.herd_origin", str(size)) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()


def memory(pid: int, line: str) -> int:
    """Bytes that /proc says on ``line``: VmRSS for now, VmHWM for the most there ever was."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{line}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class Reader:
    """A client that keeps nothing of what it reads but the digest."""

    def __init__(self) -> None:
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._left = SIZE

    async def begin(self, port: int) -> None:
        """Ask, and return when the first byte is here."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(b"GET /object HTTP/1.1\r\nHost: example.com\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Length: %d\r\n" % SIZE in head
        self._take(await self._reader.read(1))

    def _take(self, piece: bytes) -> None:
        assert piece, "broken off"
        self._sha1.update(piece)
        self._left -= len(piece)

    async def rest(self) -> str:
        """Return the digest of everything."""
        while self._left:
            self._take(await self._reader.read(min(self._left, 1 << 18)))
        self._writer.close()
        await self._writer.wait_closed()
        return self._sha1.hexdigest()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(1200)
async def test_a_cold_object_that_everybody_wants_at_once() -> None:
    with origin_process(SIZE) as origin, edge_process(origin) as (port, pid):
        origin_port = int(origin.rpartition(":")[2])
        assert (await fetch(port, "/asked")).body == b"0"
        before = memory(pid, "VmRSS")
        began = time.monotonic()
        readers = [Reader() for _ in range(CLIENTS)]
        await asyncio.gather(*(reader.begin(port) for reader in readers))  # while the origin is held
        assert (await fetch(origin_port, "/asked")).body == b"1"
        await fetch(origin_port, "/release")
        digests = await asyncio.gather(*(reader.rest() for reader in readers))
        growth = memory(pid, "VmHWM") - before
        print(f"{CLIENTS} clients, {SIZE} bytes each: {time.monotonic() - began:.1f} s, +{growth / 1e6:.0f} MB")
        assert set(digests) == {digest(SIZE)}
        assert (await fetch(origin_port, "/asked")).body == b"1"
        assert growth < MOST_GROWTH


async def test_a_herd_for_what_cannot_be_shared_takes_two_rounds(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    """One finds out, and then all the others are at the origin at the same time."""
    everybody_waits, all_are_there = Hold(), asyncio.Event()
    at_origin = most = 0

    async def script(request: Received) -> Reply:
        nonlocal at_origin, most
        at_origin += 1
        most = max(most, at_origin)
        if request.number == 1:
            await everybody_waits.wait()
        else:
            if at_origin == 99:
                all_are_there.set()
            await all_are_there.wait()
        await asyncio.sleep(0.1)  # the origin's work
        at_origin -= 1
        return Reply(200, {"Cache-Control": "no-store"}, str(request.number).encode())

    origin.script = script
    clients = [asyncio.create_task(edge.fetch("/a")) for _ in range(100)]
    await requested(edge, 100)
    began = time.monotonic()
    everybody_waits.release()
    responses = await asyncio.gather(*clients)
    print(f"100 clients, 100 ms each: {time.monotonic() - began:.3f} s")
    assert {int(response.body) for response in responses} == set(range(1, 101))
    assert origin.asked() == 100
    assert most == 99
