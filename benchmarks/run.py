"""CPU time that one hit costs edgecache: ``make bench``, or ``python benchmarks/run.py [REQUESTS]``.

Three processes on the loopback interface: an origin that answers 1 KiB once, ``edgecache proxy`` with its access
log off, and this one, which asks for the same URL over a few keep-alive connections, one request in flight on each.
What is measured is user and system time of the edge's process, from ``/proc/<pid>/stat``, so a slow client or
a busy machine changes the result little. Nothing else runs beside it yet, so this is a number to compare
with itself, before and after a change, on one machine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY = b"x" * 1024
CONNECTIONS = 16
ROUNDS = 3
FIELDS = (
    "GET /object HTTP/1.1", "Host: bench.example", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd", "Referer: http://bench.example/", "Cookie: session=0123456789abcdef",
    "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin", "Priority: u=0, i",
)  # fmt: skip
REQUEST = "".join(f"{line}\r\n" for line in (*FIELDS, "")).encode()


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def edge(to: str, port: int) -> Iterator[int]:
    """Start the edge; yield its process id once it answers."""
    command = [sys.executable, "-m", "edgecache.cli.main", "proxy", "--to", to, "--access-log", "off"]
    command += ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield process.pid
        finally:
            process.terminate()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"the edge ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    sys.exit("the edge does not answer")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(connections: list[socket.socket]) -> int:
    """One request on each connection, then one response from each; return how many were hits."""
    for connection in connections:
        connection.sendall(REQUEST)
    return sum(is_hit(connection) for connection in connections)


def is_hit(connection: socket.socket) -> bool:
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0 or len(received) < end + 4 + len(BODY):
        piece = connection.recv(65_536)
        if not piece:
            sys.exit("the edge closed a connection")
        received += piece
    return b"; hit" in received[:end]


def main(requests: int) -> None:
    port, turns = free_port(), requests // CONNECTIONS
    with origin() as to, edge(to, port) as pid, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CONNECTIONS)]
        for _ in range(200):
            ask(connections)
        rounds = []
        for _ in range(ROUNDS):
            before = cpu_seconds(pid)
            hits = sum(ask(connections) for _ in range(turns))
            rounds.append((cpu_seconds(pid) - before) / (turns * CONNECTIONS) * 1e6)
            print(f"{rounds[-1]:6.1f} us CPU per request, {hits} hits of {turns * CONNECTIONS}")
        print(f"{statistics.median(rounds):6.1f} us, the median of {ROUNDS} rounds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
