"""One version of a file: read whole or not at all, whatever is done to it meanwhile; its descriptor closed once."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecache.errors import OriginError
from edgecache.origin.file_tree import Tree
from edgecache.origin.files import FileOrigin
from edgecache.origin.open_file import OpenFile
from tests.scenarios.composed import until

from .served import ask, open_files, put, read, request

CONTENT = bytes(range(256)) * 4096  # four pieces
OLD = 1_000_000_000.0


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return put(tmp_path / "film.mp4", CONTENT, written=OLD)


@pytest.fixture
def origin(path: Path) -> FileOrigin:
    return FileOrigin(str(path.parent))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    with Tree(str(path.parent)).reach([path.name]) as place:
        assert place is not None
        file = place.open()
    assert file is not None
    try:
        yield file
    finally:
        file.close()


@pytest.mark.parametrize(("first", "size"), [(0, 10), (5, 0), (0, len(CONTENT)), (300, 300_000), (len(CONTENT) - 1, 1)])
def test_exactly_what_is_asked_for_is_read(path: Path, first: int, size: int) -> None:
    with opened(path) as file:
        assert file.read(first, size) == CONTENT[first : first + size]


def test_less_than_what_is_asked_for_is_a_failure(path: Path) -> None:
    with opened(path) as file, pytest.raises(OriginError):
        file.read(1, len(CONTENT))


def write_into(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"new")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shorten(path: Path) -> None:
    os.truncate(path, 600_000)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    put(path, b"another file")


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    path.with_name("same").hardlink_to(path)


def protect(path: Path) -> None:
    path.chmod(0)


WRITES = [write_into, append, shorten, empty]
OTHERS = [replace, remove, link, protect]


@pytest.mark.parametrize("change", WRITES)
async def test_a_file_that_is_written_while_it_is_read_breaks_off(
    origin: FileOrigin, path: Path, change: Callable[[Path], None]
) -> None:
    response = await origin.send(request("/film.mp4"))
    assert response.content_length == len(CONTENT)
    chunks = response.chunks()
    received = await anext(chunks)
    change(path)

    async def the_rest() -> None:
        nonlocal received
        async for piece in chunks:
            received += piece

    with pytest.raises(OriginError):
        await the_rest()
    assert len(received) < len(CONTENT)
    assert CONTENT.startswith(received)


@pytest.mark.parametrize("change", OTHERS)
async def test_what_is_done_to_its_name_does_not_matter(
    origin: FileOrigin, path: Path, change: Callable[[Path], None]
) -> None:
    response = await origin.send(request("/film.mp4"))
    change(path)
    assert (await read(response)).body == CONTENT


@pytest.mark.parametrize("change", WRITES)
def test_nor_is_it_read_from_the_beginning(path: Path, change: Callable[[Path], None]) -> None:
    with opened(path) as file:
        change(path)
        with pytest.raises(OriginError):
            file.read(0, len(CONTENT))


async def test_a_tag_is_that_of_the_bytes_sent_though_the_name_leads_elsewhere_by_then(
    origin: FileOrigin, path: Path
) -> None:
    response = await origin.send(request("/film.mp4"))
    replace(path)
    old, new = await read(response), await ask(origin, "/film.mp4")
    assert (old.body, new.body) == (CONTENT, b"another file")
    put(path, CONTENT)
    assert (await ask(origin, "/film.mp4")).fields["etag"] == old.fields["etag"] != new.fields["etag"]


async def test_readers_that_leave_leave_nothing_open(origin: FileOrigin) -> None:
    before = open_files()
    for _ in range(20):
        response = await origin.send(request("/film.mp4"))
        reading = asyncio.ensure_future(read(response))
        await asyncio.sleep(0)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        abandoned = (await origin.send(request("/film.mp4"))).chunks()
        await anext(abandoned)
        await abandoned.aclose()
        (await origin.send(request("/film.mp4"))).close()
    await until(lambda: open_files() <= before)  # a thread may still be reading


async def test_who_leaves_while_the_tag_is_made_leaves_nothing_open(origin: FileOrigin) -> None:
    before = open_files()
    asking = asyncio.ensure_future(origin.send(request("/film.mp4")))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: open_files() <= before)


def test_a_descriptor_is_closed_when_its_last_reader_has_gone(path: Path) -> None:
    """As many times as it likes, and never under a reader."""
    before = open_files()
    with opened(path) as file:
        with file._in_use() as descriptor:  # as a thread does
            file.close()
            file.close()
            assert os.pread(descriptor, 4, 0) == CONTENT[:4]
            assert open_files() == before + 1
        assert open_files() == before
        with pytest.raises(OriginError):
            file.read(0, 1)


def test_a_file_that_cannot_be_read_is_a_failure_of_the_origin(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    file = OpenFile(descriptor, path.stat())
    with pytest.raises(OriginError):
        file.read(0, 1)  # EISDIR
    file.close()
