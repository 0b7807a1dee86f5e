"""Files as an origin answers them: fields, codings, conditions, ranges, methods. As tables."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecache.errors import ConfigError
from edgecache.http.fields import parse_http_date
from edgecache.http.message import Pair
from edgecache.origin.base import Framing
from edgecache.origin.choice import origin_of
from edgecache.origin.files import FileOrigin
from edgecache.origin.settings import OriginSettings
from edgecache.origin.upstreams import Upstreams

from .scripted import content as request_content
from .served import ask, asked, open_files, put, read, request

NOW = 1_800_000_000.0
SCRIPT = b"export const answer = 42;\n" * 20
LARGE = bytes(range(256)) * 1024
PACKED = {"br": (".br", b"as brotli"), "zstd": (".zst", b"as zstd"), "gzip": (".gz", gzip.compress(SCRIPT))}


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    put(tmp_path / "app.js", SCRIPT)
    put(tmp_path / "film.mp4", LARGE)
    put(tmp_path / "empty.txt", b"")
    return tmp_path


@pytest.fixture
def packed(dist: Path) -> Path:
    """The same, with ``app.js`` in each coding."""
    for suffix, content in PACKED.values():
        put(dist / f"app.js{suffix}", content)
    return dist


def test_what_is_said_of_a_file(dist: Path) -> None:
    answer = asked(dist, "/app.js", clock=lambda: NOW)
    assert answer.status == 200
    assert answer.body == SCRIPT
    assert dict(answer.fields) == {
        "Date": "Fri, 15 Jan 2027 08:00:00 GMT",
        "Content-Type": "text/javascript; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "ETag": answer.fields["etag"],
        "Accept-Ranges": "bytes",
        "Content-Length": str(len(SCRIPT)),
    }


def test_nothing_is_said_that_a_cache_could_make_a_lifetime_of(packed: Path) -> None:
    for target in ("/app.js", "/film.mp4", "/", "/nothing"):
        for accepted in ("gzip", "identity"):
            fields = asked(packed, target, ("Accept-Encoding", accepted)).fields
            assert not {"cache-control", "expires", "last-modified"} & {name.lower() for name in fields}


@pytest.mark.parametrize("target", ["/app.js", "/film.mp4", "/empty.txt", "/nothing"])
def test_head_says_what_get_says(packed: Path, target: str) -> None:
    get, head = (asked(packed, target, ("Accept-Encoding", "br"), method=method) for method in ("GET", "HEAD"))
    assert (head.status, head.fields, head.body) == (get.status, get.fields, b"")
    assert get.fields["content-length"] == str(len(get.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "get", "PROPFIND"])
@pytest.mark.parametrize("target", ["/app.js", "/nothing"])
async def test_other_methods_are_refused(dist: Path, method: str, target: str) -> None:
    response = await FileOrigin(str(dist)).send(request(target, method=method), request_content(b"x"))
    answer = await read(response)
    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    assert (dist / "app.js").read_bytes() == SCRIPT


async def test_an_upgrade_is_ignored(dist: Path) -> None:
    response = await FileOrigin(str(dist)).send(request("/app.js"), upgrade="websocket")
    assert response.tunnel is None
    assert (await read(response)).body == SCRIPT


@pytest.mark.parametrize(
    ("method", "target", "given", "framing", "length"),
    [
        ("GET", "/app.js", (), Framing.LENGTH, len(SCRIPT)),
        ("GET", "/film.mp4", (), Framing.LENGTH, len(LARGE)),
        ("GET", "/film.mp4", (("Range", "bytes=1-200000"),), Framing.LENGTH, 200_000),
        ("GET", "/film.mp4", (("Range", "bytes=9999999-"),), Framing.LENGTH, 0),
        ("GET", "/empty.txt", (), Framing.LENGTH, 0),
        ("GET", "/nothing", (), Framing.LENGTH, 14),
        ("HEAD", "/film.mp4", (), Framing.NONE, 0),
        ("HEAD", "/nothing", (), Framing.NONE, 0),
        ("GET", "/app.js", (("If-None-Match", "*"),), Framing.NONE, 0),
    ],
)
async def test_the_end_of_a_body_is_known(
    dist: Path, method: str, target: str, given: tuple[Pair, ...], framing: Framing, length: int
) -> None:
    response = await FileOrigin(str(dist)).send(request(target, *given, method=method))
    assert (response.framing, response.content_length) == (framing, length)
    assert len((await read(response)).body) == length


# Codings.


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("zstd, gzip", "zstd"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0.5, zstd;q=0.9, gzip;q=0.8", "zstd"),
        ("br;q=0, gzip;q=0.1", "gzip"),
        ("*", "br"),
        ("*;q=0.1, br;q=0", "zstd"),
        ("gzip;q=0.5, identity", None),
        ("gzip, identity;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("deflate", None),
        ("identity;q=0", None),
        ("gzip;q=0, *;q=0", None),
        ("gzip;q=nonsense", None),
    ],
)
def test_the_coding_that_is_liked_best(packed: Path, accepted: str | None, coding: str | None) -> None:
    answer = asked(packed, "/app.js", *(() if accepted is None else (("Accept-Encoding", accepted),)))
    assert answer.status == 200
    assert answer.fields.get("content-encoding") == coding
    assert answer.body == (SCRIPT if coding is None else PACKED[coding][1])
    assert answer.fields["content-type"] == "text/javascript; charset=utf-8"
    assert answer.fields["vary"] == "Accept-Encoding"


def test_several_lines_are_one_list(packed: Path) -> None:
    answer = asked(packed, "/app.js", ("Accept-Encoding", "br;q=0"), ("Accept-Encoding", "gzip"))
    assert answer.fields["content-encoding"] == "gzip"


def test_each_coding_has_a_tag_of_its_own(packed: Path) -> None:
    tags = {asked(packed, "/app.js", ("Accept-Encoding", coding)).fields["etag"] for coding in ("identity", *PACKED)}
    assert len(tags) == 4


def test_what_has_no_neighbour_does_not_vary(dist: Path) -> None:
    answer = asked(dist, "/app.js", ("Accept-Encoding", "br, gzip"))
    assert (answer.body, answer.fields.get("vary"), answer.fields.get("content-encoding")) == (SCRIPT, None, None)


@pytest.mark.parametrize(
    ("suffix", "media"),
    [(".br", "application/octet-stream"), (".gz", "application/gzip"), (".zst", "application/zstd")],
)
def test_a_neighbour_asked_for_by_name_is_a_file_like_others(packed: Path, suffix: str, media: str) -> None:
    answer = asked(packed, f"/app.js{suffix}", ("Accept-Encoding", "br, gzip, zstd"))
    assert answer.body == dict(PACKED.values())[suffix]
    assert answer.fields["content-type"] == media
    assert "content-encoding" not in answer.fields
    assert "vary" not in answer.fields


def test_an_index_has_neighbours_too(dist: Path) -> None:
    put(dist / "index.html", b"home")
    put(dist / "index.html.gz", b"packed home")
    answer = asked(dist, "/", ("Accept-Encoding", "gzip"))
    assert (answer.body, answer.fields["content-type"]) == (b"packed home", "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("original", "neighbour", "used"),
    [
        (1000.0, 1000.0, True),
        (1000.0, 1000.001, True),
        (1000.0, 5000.0, True),
        (1000.0, 999.0, False),
        (1000.0, 999.999, False),
        (1000.75, 1000.75, True),
        (1000.75, 1000.7, False),
        (1000.75, 1000.0, True),  # the time of the original, copied by a tool that knows whole seconds
        (1000.7500003, 1000.7500001, True),  # or fractions of a second as floating point has them
        (1000.75, 1000.749998, False),
        (1001.75, 1000.0, False),
    ],
)
def test_a_neighbour_older_than_its_original_is_not_used(
    tmp_path: Path, original: float, neighbour: float, used: bool
) -> None:
    put(tmp_path / "app.js", SCRIPT, written=original)
    put(tmp_path / "app.js.gz", b"packed", written=neighbour)
    answer = asked(tmp_path, "/app.js", ("Accept-Encoding", "gzip"))
    assert answer.body == (b"packed" if used else SCRIPT)
    assert ("vary" in answer.fields) is used


@pytest.mark.parametrize("kind", ["directory", "link", "dangling"])
def test_a_neighbour_is_a_file(dist: Path, kind: str) -> None:
    neighbour = dist / "app.js.gz"
    if kind == "directory":
        neighbour.mkdir()
    else:
        neighbour.symlink_to("film.mp4" if kind == "link" else "nothing")
    answer = asked(dist, "/app.js", ("Accept-Encoding", "gzip"))
    assert (answer.body, answer.fields.get("vary")) == (SCRIPT, None)


# Conditions and ranges.

CURRENT = "current"  # stands for the tag that the file has


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ((("If-None-Match", CURRENT),), 304),
        ((("If-None-Match", f'"other", W/{CURRENT}'),), 304),
        ((("If-None-Match", '"other"'), ("If-None-Match", CURRENT)), 304),
        ((("If-None-Match", "*"),), 304),
        ((("If-None-Match", '"other"'),), 200),
        ((("If-None-Match", '"other"'), ("If-Modified-Since", "Fri, 15 Jan 2038 08:00:00 GMT")), 200),
        # Without a date of modification a condition with a date is none.
        ((("If-Modified-Since", "Fri, 15 Jan 2038 08:00:00 GMT"),), 200),
        ((("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),), 200),
        ((("If-Match", CURRENT),), 200),
        ((("If-Match", "*"),), 200),
        ((("If-Match", f'"other", {CURRENT}'),), 200),
        ((("If-Match", '"other"'),), 412),
        ((("If-Match", f"W/{CURRENT}"),), 412),
        ((("If-Match", ""),), 412),
        ((("If-Match", '"other"'), ("If-None-Match", CURRENT)), 412),
        ((("If-Match", CURRENT), ("If-None-Match", CURRENT)), 304),
        ((("Range", "bytes=0-9"), ("If-None-Match", CURRENT)), 304),
        ((("Range", "bytes=0-9"), ("If-Match", '"other"')), 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/app.js", "/film.mp4"])
def test_conditions(dist: Path, given: tuple[Pair, ...], status: int, method: str, target: str) -> None:
    current = asked(dist, target).fields["etag"]
    asking = [(name, value.replace(CURRENT, current)) for name, value in given]
    answer = asked(dist, target, *asking, method=method)
    assert answer.status == status
    if status == 304:
        assert dict(answer.fields) == {
            "Date": "Thu, 01 Jan 1970 00:00:00 GMT",
            "X-Content-Type-Options": "nosniff",
            "ETag": current,
            "Accept-Ranges": "bytes",
        }


def test_a_304_is_about_the_representation_that_would_be_sent(packed: Path) -> None:
    plain = asked(packed, "/app.js").fields["etag"]
    for accepted, status in [("identity", 304), ("br", 200)]:
        answer = asked(packed, "/app.js", ("Accept-Encoding", accepted), ("If-None-Match", plain))
        assert (answer.status, answer.fields["vary"]) == (status, "Accept-Encoding")


def test_conditions_of_what_is_not_there_are_not_looked_at(dist: Path) -> None:
    for field in ("If-Match", "If-None-Match"):
        assert asked(dist, "/nothing", (field, "*")).status == 404


@pytest.mark.parametrize(
    ("value", "status", "first", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=0-99", 206, 0, 100),
        ("bytes=100-", 206, 100, None),
        ("bytes=-5", 206, -5, None),
        ("bytes=-99999999", 206, 0, None),
        ("bytes=5-99999999", 206, 5, None),
        ("BYTES=0-9", 206, 0, 10),
        ("bytes=99999999-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        # Odd, or several: the whole.
        ("bytes=9-5", 200, 0, None),
        ("bytes=a-b", 200, 0, None),
        ("bytes=", 200, 0, None),
        ("bytes 0-9", 200, 0, None),
        ("lines=0-9", 200, 0, None),
        ("bytes=0-1, 5-6", 200, 0, None),
    ],
)
@pytest.mark.parametrize(("target", "content"), [("/app.js", SCRIPT), ("/film.mp4", LARGE)])
def test_ranges(dist: Path, target: str, content: bytes, value: str, status: int, first: int, stop: int | None) -> None:
    answer = asked(dist, target, ("Range", value))
    assert answer.status == status
    assert answer.body == content[first:stop]
    assert answer.fields["content-length"] == str(len(answer.body))
    begin = first % len(content)
    part = {206: f"bytes {begin}-{begin + len(answer.body) - 1}/{len(content)}", 416: f"bytes */{len(content)}"}
    assert answer.fields.get("content-range") == part.get(status)
    assert asked(dist, target, ("Range", value), method="HEAD").status == 200


def test_an_empty_file_has_no_ranges(dist: Path) -> None:
    assert asked(dist, "/empty.txt", ("Range", "bytes=0-")).status == 200


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        (CURRENT, 206),
        ('"other"', 200),
        (f"W/{CURRENT}", 200),
        ("Fri, 15 Jan 2038 08:00:00 GMT", 200),
        ("nonsense", 200),
    ],
)
def test_if_range(dist: Path, if_range: str, status: int) -> None:
    current = asked(dist, "/film.mp4").fields["etag"]
    answer = asked(dist, "/film.mp4", ("Range", "bytes=70000-"), ("If-Range", if_range.replace(CURRENT, current)))
    assert answer.status == status
    assert answer.body == (LARGE[70000:] if status == 206 else LARGE)


def test_a_range_is_one_of_the_chosen_representation(packed: Path) -> None:
    answer = asked(packed, "/app.js", ("Range", "bytes=3-5"), ("Accept-Encoding", "br"))
    assert (answer.status, answer.body) == (206, b"bro")
    assert (answer.fields["content-range"], answer.fields["content-encoding"]) == ("bytes 3-5/9", "br")


# A file that changes.


@pytest.mark.parametrize("content", [b"one", b"a" * 100_000])
async def test_a_changed_file_is_seen_at_once(dist: Path, content: bytes) -> None:
    origin = FileOrigin(str(dist))
    put(dist / "page.html", content)
    first = await ask(origin, "/page.html")
    unchanged = ("If-None-Match", first.fields["etag"])
    assert (await ask(origin, "/page.html", unchanged)).status == 304
    (dist / "page.html").write_bytes(content.upper())  # in place, and of the same size
    second = await ask(origin, "/page.html", unchanged)
    assert (second.status, second.body) == (200, content.upper())
    put(dist / "page.html", content)
    assert (await ask(origin, "/page.html", unchanged)).status == 304
    (dist / "page.html").unlink()
    assert (await ask(origin, "/page.html", unchanged)).status == 404


async def test_a_file_is_what_it_was_when_it_was_touched(dist: Path) -> None:
    origin = FileOrigin(str(dist))
    before = await ask(origin, "/app.js")
    os.utime(dist / "app.js", (1, 1))
    assert (await ask(origin, "/app.js", ("If-None-Match", before.fields["etag"]))).status == 304


def test_dates_are_those_of_the_clock(dist: Path) -> None:
    for target in ("/app.js", "/nothing"):
        assert parse_http_date(asked(dist, target, clock=lambda: NOW).fields["date"], NOW) == NOW


# Which origin it is.


def test_a_directory_or_servers(dist: Path) -> None:
    files = origin_of(OriginSettings(urls=(dist.as_uri(),), host="a b"), clock=lambda: NOW)
    assert isinstance(files, FileOrigin)
    assert asyncio.run(ask(files, "/app.js")).fields["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    asyncio.run(files.close())
    assert isinstance(origin_of(OriginSettings(urls=("http://a", "http://b"))), Upstreams)


def test_what_is_neither(dist: Path) -> None:
    for urls in ((dist.as_uri(), "http://a"), (dist.as_uri(), dist.as_uri()), (f"{dist.as_uri()}/nothing",)):
        with pytest.raises(ConfigError) as caught:
            origin_of(OriginSettings(urls=urls))
        assert caught.value.hint
