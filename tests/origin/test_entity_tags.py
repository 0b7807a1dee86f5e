"""Tags of files: strong, of the content alone, made once per version, and never remembered too early."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecache.errors import OriginError
from edgecache.http.fields import EntityTag, parse_entity_tag
from edgecache.origin.entity_tags import EntityTags
from edgecache.origin.file_tree import Tree
from edgecache.origin.open_file import OpenFile

from .served import put
from .test_open_file import append

LARGE = b"x" * 2_500_000


class Clock:
    """Seconds since a file was last changed."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.now = path.stat().st_ctime_ns / 1e9 + seconds

    def __call__(self) -> float:
        return self.now


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


def bytes_read() -> int:
    """How many bytes this process has ever read."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


async def test_a_tag_is_strong_and_of_the_content_alone(tmp_path: Path) -> None:
    tags = EntityTags(lambda: 0.0)
    seen = set()
    for name, content in [("a.js", b"1"), ("b.css", b"1"), ("c.js", b"2"), ("d", b""), ("e", LARGE), ("f", LARGE)]:
        with opened(put(tmp_path / name, content, written=len(seen))) as file:
            tag, whole = tags.read(file)
            assert whole == content
            assert tag == await tags.of(file)
            seen.add(tag)
    assert len(seen) == 4
    for tag in seen:
        parsed = parse_entity_tag(tag)
        assert parsed == EntityTag(weak=False, opaque=tag.strip('"'))
        assert len(parsed.opaque) == 24


@pytest.mark.parametrize("content", [b"small", LARGE])
@pytest.mark.parametrize(("seconds", "remembered"), [(-5, False), (0, False), (1.9, False), (2.1, True), (1e6, True)])
async def test_the_tag_of_a_file_just_written_is_not_remembered(
    tmp_path: Path, content: bytes, seconds: float, remembered: bool
) -> None:
    path = put(tmp_path / "a", content)
    clock = Clock(path, seconds)
    for made in (lambda tags, file: tags.read(file)[0], lambda tags, file: asyncio.ensure_future(tags.of(file))):
        tags = EntityTags(clock)
        with opened(path) as file:
            tag = made(tags, file)
            tag = tag if isinstance(tag, str) else await tag
            assert tags.known(file.version) == (tag if remembered else None)


async def test_a_file_must_have_been_old_enough_before_it_was_read(tmp_path: Path) -> None:
    path = put(tmp_path / "a", LARGE)
    clock = Clock(path, 1.0)
    tags = EntityTags(clock)
    with opened(path) as file:
        making = asyncio.ensure_future(tags.of(file))
        await asyncio.sleep(0)
        clock.now += 60
        await making
        assert tags.known(file.version) is None
        await tags.of(file)
        assert tags.known(file.version) is not None


async def test_what_was_written_is_another_version(tmp_path: Path) -> None:
    path = put(tmp_path / "a", b"one", written=1e9)
    tags = EntityTags(Clock(path, 60.0))
    with opened(path) as file:
        tags.read(file)
        version = file.version
    path.write_bytes(b"two")  # in place, and made to look as before
    os.utime(path, ns=(0, version.mtime_ns))
    with opened(path) as file:
        assert file.version[:4] == version[:4]
        assert tags.known(file.version) is None


async def test_the_ones_used_last_are_remembered(tmp_path: Path) -> None:
    tags = EntityTags(lambda: 1e11, capacity=2)
    versions = {}
    for name in "abac":
        with opened(put(tmp_path / name, name.encode()) if name not in versions else tmp_path / name) as file:
            versions[name] = file.version
            if tags.known(file.version) is None:
                tags.read(file)
    assert [name for name in "abc" if tags.known(versions[name])] == ["a", "c"]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what was read, which only Linux tells")
async def test_a_herd_has_a_file_read_once(tmp_path: Path) -> None:
    tags = EntityTags(lambda: 1e11)
    path = put(tmp_path / "a", LARGE)
    with contextlib.ExitStack() as held:
        files = [held.enter_context(opened(path)) for _ in range(20)]
        before = bytes_read()
        made = await asyncio.gather(*(tags.of(file) for file in files))
        assert len(set(made)) == 1
        assert len(LARGE) <= bytes_read() - before < 2 * len(LARGE)


async def test_who_leaves_lets_the_next_one_make_it(tmp_path: Path) -> None:
    tags = EntityTags(lambda: 1e11)
    with opened(put(tmp_path / "a", LARGE)) as file:
        first, second = (asyncio.ensure_future(tags.of(file)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == tags.known(file.version)
        assert first.cancelled()


async def test_no_tag_is_made_of_two_versions(tmp_path: Path) -> None:
    tags = EntityTags(lambda: 1e11)
    path = put(tmp_path / "a", LARGE, written=1e9)
    with opened(path) as file:
        making = asyncio.ensure_future(tags.of(file))
        append(path)
        with pytest.raises(OriginError):
            await making
        assert tags.known(file.version) is None
        with pytest.raises(OriginError):
            tags.read(file)
