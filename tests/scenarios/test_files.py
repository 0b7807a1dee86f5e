"""An edge in front of a directory: what clients get of the files in it, and of everything else nothing."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgecache.errors import ConfigError
from tests.origin.served import INSIDE, SECRET, planted, put
from tests.scenarios.composed import edge_before
from tests.scenarios.rig import ClientResponse, FakeClock, FieldsLike
from tests.scenarios.running import RunningEdge

SCRIPT = b"export const answer = 42;\n" * 100
PACKED = gzip.compress(SCRIPT)
FILM = bytes(range(256)) * 4096

MISS = "edgecache; fwd=uri-miss; stored"
VALIDATED = "edgecache; fwd=stale; fwd-status=304; ttl=0; stored; detail=validated"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """The directory, with traps in it."""
    dist = planted(tmp_path)
    put(dist / "app.js", SCRIPT)
    put(dist / "film.mp4", FILM)
    return dist


@pytest.fixture
async def edge(dist: Path, clock: FakeClock) -> AsyncIterator[RunningEdge]:
    async with edge_before(dist.as_uri(), clock=clock) as edge:
        yield edge


def accepting(*codings: str) -> FieldsLike:
    return {"Accept-Encoding": ", ".join(codings)}


async def test_a_miss_and_then_a_304_for_everybody_who_asks(edge: RunningEdge) -> None:
    miss = await edge.fetch("/film.mp4")
    assert (miss.status, miss.body, miss.cache_status) == (200, FILM, MISS)
    assert miss.fields["content-type"] == "video/mp4"
    received = edge.parts.counters.bytes_from_origin
    for _ in range(3):
        again = await edge.fetch("/film.mp4")
        assert (again.status, again.body, again.cache_status) == (200, FILM, VALIDATED)
        assert again.fields["content-type"] == "video/mp4"
    assert edge.parts.counters.bytes_from_origin == received
    unchanged = await edge.fetch("/film.mp4", fields={"If-None-Match": miss.fields["etag"]})
    assert (unchanged.status, unchanged.body) == (304, b"")


async def test_a_changed_file_is_seen_at_once(edge: RunningEdge, dist: Path) -> None:
    for content in (b"one", b"two", b"three", b"one"):
        put(dist / "page.html", content)
        for _ in range(2):
            assert (await edge.fetch("/page.html")).body == content
    (dist / "page.html").unlink()
    assert (await edge.fetch("/page.html")).status == 404
    put(dist / "page.html", b"back")
    assert (await edge.fetch("/page.html")).body == b"back"


async def test_each_client_gets_the_coding_it_can_read(edge: RunningEdge, dist: Path) -> None:
    put(dist / "app.js.gz", PACKED)
    put(dist / "app.js.br", b"as brotli")

    async def story(cache_status: str) -> None:
        for fields, coding, body in [
            (accepting("gzip"), "gzip", PACKED),
            (accepting("gzip", "deflate", "br", "zstd"), "br", b"as brotli"),
            (accepting("identity"), None, SCRIPT),
            ((), None, SCRIPT),
        ]:
            answer = await edge.fetch("/app.js", fields=fields)
            assert (answer.fields.get("content-encoding"), answer.body) == (coding, body)
            assert answer.fields["content-type"] == "text/javascript; charset=utf-8"
            assert answer.fields["vary"] == "Accept-Encoding"
            assert cache_status in answer.cache_status

    await story("; stored")
    await story("fwd-status=304")
    put(dist / "app.js.gz", PACKED + PACKED)
    assert (await edge.fetch("/app.js", fields=accepting("gzip"))).body == PACKED + PACKED
    assert (await edge.fetch("/app.js")).body == SCRIPT
    put(dist / "app.js", b"new", written=4_000_000_000.0)  # its neighbours are those of an older one now
    for fields in (accepting("gzip"), accepting("br"), ()):
        answer = await edge.fetch("/app.js", fields=fields)
        assert (answer.body, answer.fields.get("content-encoding")) == (b"new", None)


@pytest.mark.parametrize("stored_before", [False, True])
async def test_ranges(edge: RunningEdge, stored_before: bool) -> None:
    etag = (await edge.fetch("/film.mp4", method="GET" if stored_before else "HEAD")).fields["etag"]
    for value, part in [("1000-200999", FILM[1000:201_000]), ("-5", FILM[-5:]), ("1048570-", FILM[1_048_570:])]:
        answer = await edge.fetch("/film.mp4", fields={"Range": f"bytes={value}", "If-Range": etag})
        assert (answer.status, answer.body) == (206, part)
        assert answer.fields["content-range"].endswith(f"/{len(FILM)}")
    assert (await edge.fetch("/film.mp4", fields={"Range": "bytes=2000000-"})).status == 416
    other = await edge.fetch("/film.mp4", fields={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (other.status, other.body) == (200, FILM)


async def test_a_file_that_is_written_while_it_is_sent_is_not_taken_for_whole(dist: Path, clock: FakeClock) -> None:
    size = 80_000_000  # more than this client and the sockets hold, so that the edge has to wait
    put(dist / "large.bin", b"", written=1e9)
    os.truncate(dist / "large.bin", size)
    async with edge_before(dist.as_uri(), clock=clock, cache={"max_object": 2**20}) as edge:
        download = await edge.download("/large.bin")
        await download.read(1)
        os.truncate(dist / "large.bin", size + 1)
        answer = await download.rest()
        assert int(answer.fields["content-length"]) == size
        assert not answer.complete
        assert len(answer.body) < size
        assert (await edge.fetch("/large.bin", fields={"Range": "bytes=-1"})).body == b"\0"


async def test_methods(edge: RunningEdge, dist: Path) -> None:
    head = await edge.fetch("/app.js", method="HEAD")
    assert (head.status, head.fields["content-length"]) == (200, str(len(SCRIPT)))
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "QUERY"):
        answer = await edge.fetch("/app.js", method=method, body=b"x" * 100_000)
        assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    assert (dist / "app.js").read_bytes() == SCRIPT
    stale = await edge.fetch("/app.js", fields={"If-Match": '"another"'})
    assert stale.status == 412


async def test_a_directory_is_somewhere_else(edge: RunningEdge) -> None:
    answer = await edge.fetch("/deep?lang=de")
    assert (answer.status, answer.fields["location"]) == (308, "/deep/?lang=de")
    assert (await edge.fetch("/deep/?lang=de")).body == INSIDE["deep/index.html"]


async def test_a_cookie_changes_no_file(edge: RunningEdge) -> None:
    for cache_status in (MISS, VALIDATED):
        answer = await edge.fetch("/app.js", fields={"Cookie": "session=1"})
        assert (answer.body, answer.cache_status) == (SCRIPT, cache_status)
    assert (await edge.fetch("/app.js")).cache_status == VALIDATED


TRAVERSALS = [
    "/../outside/secret.txt",
    "/./../outside/secret.txt",
    "/deep/../../outside/secret.txt",
    "/%2e%2e/outside/secret.txt",
    "/%2E%2E%2Foutside%2Fsecret.txt",
    "/..%2foutside/secret.txt",
    "/..%5coutside%5csecret.txt",
    "/..\\outside\\secret.txt",
    "/%252e%252e/outside/secret.txt",
    "/%c0%ae%c0%ae/outside/secret.txt",
    "/.../outside/secret.txt",
    "/..;/outside/secret.txt",
    "//outside/secret.txt",
    "//evil.example/..%2foutside",
    "///etc/passwd",
    "/%2fetc/passwd",
    "/file:///etc/passwd",
    "/etc/passwd",
    "/out/secret.txt",
    "/out.txt",
    "/sibling/secret.txt",
    "/root/etc/passwd",
    "/.env",
    "/%2eenv",
    "/.git/config",
    "/.git%2fconfig",
    "/deep/.htpasswd",
    "/fifo",
    "/socket",
    "/index.html%00.txt",
    "/app.js%0d%0aX-Evil:%201",
    "http://example.com/../outside/secret.txt",
    "http://example.com//evil.example/",
    "http://example.com/.env",
]


@pytest.mark.parametrize("target", TRAVERSALS)
async def test_no_way_leads_out(edge: RunningEdge, target: str) -> None:
    """The target goes over the socket as it stands here."""
    answer: ClientResponse = await edge.fetch(target)
    assert answer.status in (400, 404)
    assert SECRET not in answer.body
    assert "location" not in answer.fields
    assert "x-evil" not in answer.fields


async def test_a_herd_gets_the_file_and_leaves(edge: RunningEdge) -> None:
    answers = await asyncio.gather(*(edge.fetch("/film.mp4") for _ in range(20)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, FILM)}


async def test_a_directory_that_is_away_is_not_a_site_without_files(edge: RunningEdge, dist: Path) -> None:
    """The origin failed, so what is stored is kept; a 404 would have been the end of it."""
    await edge.fetch("/app.js")
    os.rename(dist, f"{dist}.away")
    assert (await edge.fetch("/app.js")).status == 502
    os.rename(f"{dist}.away", dist)
    assert (await edge.fetch("/app.js")).cache_status == VALIDATED


async def test_no_edge_starts_without_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        async with edge_before((tmp_path / "nothing").as_uri()):
            pass
