"""Load as fast as it is answered: ``wrk`` with a script of ours, and a client of our own that fills caches.

wrk asks on every connection again as soon as it is answered (closed loop): right for what a request costs, wrong for
how long it takes, for which there is ``open_loop``. It is stopped by a signal: its own durations are whole seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.processes import Failed
from benchmarks.workload import Workload

__all__ = ["Wrk", "WrkResult", "fill", "missing", "origin_requests", "probe"]

_AT_ONCE: Final = 32
_PATIENCE: Final = 30.0
"""Seconds after which wrk ends by itself, whatever happens."""

_SCRIPT: Final = """
local before, after, script = %(before)s, %(after)s, {}
for line in io.lines(%(draws)s) do script[#script + 1] = line end
local turn, mark = %(turn)d, %(mark)d
local fresh = %(fresh)s

function request()
  turn = turn + 1
  if %(endless)s then return before .. "n" .. mark .. "-" .. turn .. after end
  if turn > #script then turn = 1 end
  if fresh == nil then return before .. script[turn] .. after end
  mark = mark + 1
  return before .. script[turn] .. (string.gsub(fresh, "@", mark))
end

if fresh == nil and not %(endless)s then  -- made once: the generator should not be what is measured
  local made = {}
  for index, number in ipairs(script) do
    made[number] = made[number] or before .. number .. after
    script[index] = made[number]
  end
  request = function()
    turn = turn + 1
    if turn > #script then turn = 1 end
    return script[turn]
  end
end

function done(summary)
  local errors = summary.errors
  io.write(string.format("\\nRESULT %%d %%d %%d %%d\\n", summary.requests, summary.bytes, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
"""


def missing() -> str:
    """Return what has to be installed; empty when wrk is there."""
    return "" if shutil.which("wrk") else "apt install wrk"


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What wrk says: requests answered, bytes received, seconds taken, and how many went wrong."""

    requests: int
    bytes: int
    seconds: float
    errors: int


class Wrk:
    """A load generator for one workload, on one core."""

    def __init__(self, workload: Workload, directory: Path, core: str, connections: int, *, tls: bool = False) -> None:
        """``directory`` is where its script and the draws are written."""
        self._workload = workload
        self._draws = directory / "draws.txt"
        self._script = directory / "load.lua"
        self._options = ("-t", "1", "-c", str(connections), "--timeout", f"{int(_PATIENCE)}s")
        self._command = ("taskset", "-c", core, "wrk")
        self._scheme = "https" if tls else "http"
        self._round = 0
        self._draws.write_text("\n".join(map(str, workload.draws() if workload.objects else ())))

    def run(self, port: int, seconds: float) -> WrkResult:
        """Ask the server on ``port`` for so long."""
        self._round += 1
        self._script.write_text(self._written())
        url = f"{self._scheme}://127.0.0.1:{port}/"
        bound = f"{int(seconds + _PATIENCE)}s"
        command = [*self._command, *self._options, "-d", bound, "-s", str(self._script), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            _wait_until_it_can_be_stopped(process)
            time.sleep(seconds)
            said = _stopped(process)
        found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+)$", said, re.MULTILINE)
        if found is None:
            raise Failed(f"wrk said nothing that can be read:\n{said}")
        requests, received, microseconds, errors = map(int, found.groups())
        return WrkResult(requests, received, microseconds / 1e6, errors)

    def _written(self) -> str:
        workload = self._workload
        head = workload.head("@NUMBER@", mark="@")
        before, _, after = head.partition("@NUMBER@")
        return _SCRIPT % {
            "before": _quoted(before),
            "after": _quoted(after),
            "draws": _quoted(str(self._draws)),
            "fresh": _quoted(after) if workload.fresh_fields else "nil",
            "endless": "false" if workload.objects else "true",
            "turn": 0,
            "mark": int(time.time() * 1000) % 10_000_000 * 1000 + self._round,
        }


def _wait_until_it_can_be_stopped(process: subprocess.Popen[str]) -> None:
    """wrk takes the signal for its end only once it has begun; before that it would die of it."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        if caught is not None and int(caught[1], 16) & 1 << (signal.SIGINT - 1):
            return
        time.sleep(0.01)


def _stopped(process: subprocess.Popen[str]) -> str:
    """End wrk, and return what it says. One signal could come just before it begins to sleep, and be missed."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    return process.stdout.read() if process.stdout is not None else ""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n") + '"'


def fill(port: int, workload: Workload, *, tls: bool = False) -> None:
    """Ask for every object once."""
    uvloop.run(_fill(port, [workload.head(number).encode() for number in range(workload.objects)], tls=tls))


async def _fill(port: int, requests: Iterable[bytes], *, tls: bool) -> None:
    context = _trusting() if tls else None
    waiting = iter(requests)

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=2**20)
        for request in waiting:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await _read_body(reader, head)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> None:
    if b" 304 " in head.partition(b"\r\n")[0]:
        return
    if (found := re.search(rb"\r\ncontent-length: *(\d+)", head)) is not None:
        await reader.readexactly(int(found[1]))
        return
    while (size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)) > 0:
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def probe(port: int, workload: Workload, *, tls: bool = False) -> None:
    """Ask once, and raise ``Failed`` unless the answer is what the workload expects."""
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=_trusting())
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    )
    lines = workload.head(0, mark="0").strip().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    with contextlib.closing(connection):
        connection.request("GET", lines[0].split(" ")[1], headers=fields)
        response = connection.getresponse()
        length = len(response.read())
    coding = response.getheader("Content-Encoding", "")
    if response.status != workload.status or (workload.kind == "gzip") != (coding == "gzip"):
        raise Failed(f"answered {response.status}, {coding or 'identity'}, {length} bytes: {response.getheaders()}")


def origin_requests(port: int) -> int:
    """Return how many objects the origin has been asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/count")
        return int(connection.getresponse().read())
