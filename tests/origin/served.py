"""A directory with everything in it that may be served and everything that may not, and the words to ask for it."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecache.http.message import FieldsView, RequestHead, fields_of
from edgecache.origin.files import FileOrigin

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecache.http.message import Pair
    from edgecache.origin.base import OriginResponse

SECRET = b"not for you"
INSIDE = {
    "index.html": b"<!doctype html>home",
    "app.js": b"export const a = 1;",
    "deep/index.html": b"<!doctype html>deep",
    "deep/er/file.txt": b"at the bottom",
    ".well-known/security.txt": b"Contact: mailto:root@example.com",
    "a b.txt": b"spaced",
    "caf\u00e9.txt": b"accented",
    "100%.txt": b"all of it",
    "empty.css": b"",
    "no-ending": b"what is it",
}
"""What may be served; no two of them have the same content."""


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    fields: FieldsView
    body: bytes


def put(path: Path, content: bytes, *, written: float | None = None) -> Path:
    """Have a file with this content, as a deploy does it: in one step. ``written`` is its time, in POSIX seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    if written is not None:
        os.utime(new, ns=(0, round(written * 1e9)))
    new.replace(path)
    return path


def planted(directory: Path) -> Path:
    """Make ``dist`` with its traps, and what they lead to, below ``directory``; return ``dist``."""
    dist, outside = directory / "dist", directory / "outside"
    for name, content in INSIDE.items():
        put(dist / name, content)
    for hidden in (".env", ".git/config", "deep/.htpasswd", "deep/.well-known/x", ".well-known/.key"):
        put(dist / hidden, SECRET)
    put(outside / "secret.txt", SECRET)
    put(outside / "index.html", SECRET)
    put(directory / "dist2" / "secret.txt", SECRET)
    put(directory / "dist2" / "app.js", SECRET)
    put(dist / "half.js", b"half")
    (dist / "odd" / "index.html").mkdir(parents=True)
    for link, to in {
        "link.js": "app.js",
        "alias": "deep",
        "around": "deep/../deep/er",
        "self": ".",
        "absolute": str(dist / "deep"),
        "out": "../outside",
        "out.txt": "../outside/secret.txt",
        "out.html": "../outside/index.html",
        "half.js.gz": "../outside/secret.txt",
        "sibling": "../dist2",
        "sibling.js": "../dist2/app.js",
        "root": "/",
        "loop": "loop",
        "dangling": "nowhere",
        "detour.txt": "../outside/../dist/app.js",
    }.items():
        (dist / link).symlink_to(to)
    os.mkfifo(dist / "fifo")
    os.mkfifo(dist / "app.js.zst")
    with socket.socket(socket.AF_UNIX) as unix:
        there = Path.cwd()
        os.chdir(dist)  # a socket's path is short
        unix.bind("socket")
        os.chdir(there)
    return dist


def request(target: str, *fields: Pair, method: str = "GET") -> RequestHead:
    return RequestHead(method, "https", "site.example", target, fields_of(fields))


async def read(response: OriginResponse) -> Answer:
    body = b"".join([piece async for piece in response.chunks()])
    response.close()
    return Answer(response.head.status, response.head.fields, body)


async def ask(origin: FileOrigin, target: str, *fields: Pair, method: str = "GET") -> Answer:
    return await read(await origin.send(request(target, *fields, method=method)))


def asked(
    dist: Path, target: str, *fields: Pair, method: str = "GET", clock: Callable[[], float] = lambda: 0.0
) -> Answer:
    """The same, of an origin of its own."""
    return asyncio.run(ask(FileOrigin(str(dist), clock=clock), target, *fields, method=method))


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))
