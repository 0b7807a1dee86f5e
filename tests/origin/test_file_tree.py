"""A tree full of traps: what is below the root is found, and nothing else is ever opened."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecache.errors import ConfigError, OriginError
from edgecache.origin.file_tree import Tree
from edgecache.origin.files import FileOrigin

from .served import INSIDE, SECRET, Answer, ask, asked, open_files, planted, put


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("site"))


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("/", INSIDE["index.html"]),
        ("/index.html", INSIDE["index.html"]),
        ("/app.js?v=2", INSIDE["app.js"]),
        ("/deep/", INSIDE["deep/index.html"]),
        ("/deep/er/file.txt", INSIDE["deep/er/file.txt"]),
        ("/.well-known/security.txt", INSIDE[".well-known/security.txt"]),
        ("/a%20b.txt", INSIDE["a b.txt"]),
        ("/caf%C3%A9.txt", INSIDE["caf\u00e9.txt"]),
        ("/100%25.txt", INSIDE["100%.txt"]),
        ("/empty.css", b""),
        ("/no-ending", INSIDE["no-ending"]),
        # Links that stay inside.
        ("/link.js", INSIDE["app.js"]),
        ("/alias/", INSIDE["deep/index.html"]),
        ("/alias/er/file.txt", INSIDE["deep/er/file.txt"]),
        ("/around/file.txt", INSIDE["deep/er/file.txt"]),
        ("/self/", INSIDE["index.html"]),
        ("/self/self/app.js", INSIDE["app.js"]),
        ("/absolute/", INSIDE["deep/index.html"]),
        ("/detour.txt", INSIDE["app.js"]),
    ],
)
def test_what_is_there(dist: Path, target: str, content: bytes) -> None:
    answer = asked(dist, target)
    assert (answer.status, answer.body) == (200, content)


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "/nothing/",
        "/nothing/nothing/nothing",
        "/app.js/",
        "/app.js/x",
        "/app.js/index.html",
        "/deep/er/",
        "/odd/",
        "/App.js",
        "/" + "a" * 255,
        "/" + "a" * 256,
        "/a" * 3000,
        # What is there, and not for everybody.
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/deep/.htpasswd",
        "/deep/.well-known/x",
        "/.well-known/.key",
        "/fifo",
        "/socket",
        "/app.js.zst",
        # Links that do not stay inside.
        "/out",
        "/out/",
        "/out/secret.txt",
        "/out.txt",
        "/out.html",
        "/half.js.gz",
        "/sibling/secret.txt",
        "/sibling.js",
        "/self/out/secret.txt",
        "/root/etc/passwd",
        "/root/",
        "/loop",
        "/loop/x",
        "/dangling",
        # Ways around.
        "/../outside/secret.txt",
        "/%2e%2e/outside/secret.txt",
        "/..%2foutside%2fsecret.txt",
        "/deep/../../outside/secret.txt",
        "/..%5coutside%5csecret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/index.html%00.js",
    ],
)
def test_what_is_not_there(dist: Path, target: str) -> None:
    answer = asked(dist, target)
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/deep", "/deep/"),
        ("/deep?a=b&c", "/deep/?a=b&c"),
        ("/deep?", "/deep/?"),
        ("/deep?//evil.example", "/deep/?//evil.example"),
        ("/d%65ep/er", "/d%65ep/er/"),
        ("/alias", "/alias/"),
        ("/self", "/self/"),
        ("/.well-known", "/.well-known/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_directory_is_somewhere_else(dist: Path, target: str, location: str, method: str) -> None:
    answer = asked(dist, target, method=method)
    assert (answer.status, answer.fields["location"]) == (308, location)
    assert "etag" not in answer.fields


@pytest.mark.parametrize(
    "target", ["//evil.example/", "//evil.example", "/%2fevil.example", "/\\evil.example", "/%5cevil.example"]
)
def test_no_redirect_leads_to_another_host(tmp_path: Path, target: str) -> None:
    """Although there is a directory of that name."""
    (tmp_path / "evil.example").mkdir()
    assert asked(tmp_path, target).status == 404


# Nothing else is opened.

Opened = list[tuple[bytes, int]]
_watching: list[Opened] = []


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event == "open" and arguments[1] is None:
        path, _, flags = arguments
        _watching[-1].append((os.fsencode(path), int(str(flags))))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def _hook() -> None:
    sys.addaudithook(_watch)


@contextlib.contextmanager
def opened() -> Iterator[Opened]:
    """Record what is opened with ``os.open``."""
    _watching.append([])
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


NAMES = [
    *("index.html", "app.js", "deep", "er", "file.txt", "link.js", "alias", "around", "self", "absolute", "detour.txt"),
    *(
        "out",
        "out.txt",
        "sibling",
        "root",
        "loop",
        "dangling",
        "secret.txt",
        "outside",
        "dist",
        "dist2",
        "etc",
        "passwd",
    ),
    *(".env", ".git", "config", ".well-known", "security.txt", "fifo", "socket", "half.js", "..", ".", "", "%2e%2e"),
    *("%2e", "..%2f", "%00", "%5c..", "a%20b.txt", "caf%c3%a9.txt", "%63afé.txt", "\\", "tmp", "?", "#", "*"),
]
TARGETS = st.lists(st.sampled_from(NAMES) | st.text(max_size=3), max_size=7).map("/".join).map("/".__add__)
ACCEPTS = st.sampled_from(["", "gzip", "br, zstd", "*"])


@pytest.mark.usefixtures("_hook")
@settings(max_examples=400)
@given(TARGETS | st.text(), ACCEPTS)
def test_nothing_outside_is_ever_opened(dist: Path, target: str, accepted: str) -> None:
    """Every file is opened by its bare name, in a directory that was opened so before, down from the root, and never
    through a link. So whatever the target is, what is opened is below the root.
    """
    origin = FileOrigin(str(dist), clock=lambda: 0.0)
    with opened() as seen:
        answer: Answer = asyncio.run(ask(origin, target, ("Accept-Encoding", accepted)))
    for path, flags in seen:
        if path != os.fsencode(dist.resolve()):
            assert b"/" not in path
            assert path != b".."
            assert flags & os.O_NOFOLLOW
    assert SECRET not in answer.body
    assert answer.status in (200, 308, 404)
    assert answer.status != 200 or answer.body in {*INSIDE.values(), b"half"}


# Races.


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    dist = planted(tmp_path)
    with Tree(str(dist)).reach(["app.js"]) as place:
        assert place is not None
        (dist / "app.js").unlink()
        (dist / "app.js").symlink_to(tmp_path / "outside/secret.txt")
        assert place.open() is None
        (dist / "app.js").unlink()
        os.mkfifo(dist / "app.js")
        assert place.open() is None


def test_a_directory_that_becomes_a_link_is_still_the_directory(tmp_path: Path) -> None:
    dist = planted(tmp_path)
    with Tree(str(dist)).reach(["deep", "index.html"]) as place:
        assert place is not None
        (dist / "deep").rename(dist / "away")
        (dist / "deep").symlink_to(tmp_path / "outside")
        file = place.open()
        assert file is not None
        assert file.read(0, file.size) == INSIDE["deep/index.html"]
        file.close()


@pytest.mark.parametrize("links", [("inside", "../outside"), ("deep", "../outside")], ids=["changing", "resolved"])
def test_a_link_that_turns_all_the_time_never_leads_out(tmp_path: Path, links: tuple[str, str]) -> None:
    dist = planted(tmp_path)
    put(dist / "inside" / "index.html", b"inside")
    turned = threading.Event()

    def turn() -> None:
        while not turned.is_set():
            for to in links:
                (dist / "turning.new").symlink_to(to)
                (dist / "turning.new").replace(dist / "turning")

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        seen = {asked(dist, "/turning/").body for _ in range(300)}
    finally:
        turned.set()
        thread.join()
    assert seen <= {b"inside", INSIDE["deep/index.html"], b"404 Not Found\n"}


# The root.


def test_a_root_that_is_a_link_may_be_turned_to_another_release(tmp_path: Path) -> None:
    put(tmp_path / "1/index.html", b"one")
    put(tmp_path / "2/index.html", b"two")
    (tmp_path / "2/link.html").symlink_to("index.html")
    (tmp_path / "current").symlink_to("1")
    origin = FileOrigin(str(tmp_path / "current"))
    assert asyncio.run(ask(origin, "/")).body == b"one"
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(tmp_path / "current")
    assert asyncio.run(ask(origin, "/")).body == b"two"
    assert asyncio.run(ask(origin, "/link.html")).body == b"two"


@pytest.mark.parametrize("path", ["nothing", "index.html", "dangling"])
def test_a_root_that_is_no_directory_is_refused_at_once(dist: Path, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FileOrigin(str(dist / path))
    assert str(dist / path) in caught.value.message
    assert "file:///srv/dist" in caught.value.hint


def test_a_root_that_is_gone_is_a_failure_and_not_an_empty_site(tmp_path: Path) -> None:
    put(tmp_path / "dist/index.html", b"home")
    origin = FileOrigin(str(tmp_path / "dist"))
    (tmp_path / "dist").rename(tmp_path / "elsewhere")
    with pytest.raises(OriginError):
        asyncio.run(ask(origin, "/"))
    (tmp_path / "elsewhere").rename(tmp_path / "dist")
    assert asyncio.run(ask(origin, "/")).body == b"home"


# What the file system says.


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """Root may read everything; be somebody else meanwhile."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_not_there() -> None:
    with tempfile.TemporaryDirectory(prefix="edgecache-") as directory:  # pytest's own are closed to others
        dist = Path(directory)
        dist.chmod(0o755)
        put(dist / "closed/file.txt", SECRET)
        put(dist / "closed.txt", SECRET).chmod(0)
        put(dist / "open.txt", b"open")
        put(dist / "open.txt.gz", SECRET).chmod(0)
        (dist / "closed").chmod(0)
        with as_somebody():
            for target in ("/closed/file.txt", "/closed/", "/closed.txt"):
                assert asked(dist, target).status == 404
            answer = asked(dist, "/open.txt", ("Accept-Encoding", "gzip"))
            assert (answer.status, answer.body) == (200, b"open")
            with pytest.raises(ConfigError):
                FileOrigin(str(dist / "closed"))
        (dist / "closed").chmod(0o755)


@contextlib.contextmanager
def descriptors(free: int) -> Iterator[None]:
    """Leave this process so many descriptors to open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 20, before[1]))
    held: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        for _ in range(free):
            os.close(held.pop())
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("free", [0, 1])
async def test_without_descriptors_it_is_the_origin_that_failed(dist: Path, free: int) -> None:
    """And not the file that is missing."""
    origin = FileOrigin(str(dist))
    with descriptors(free), pytest.raises(OriginError) as caught:
        await ask(origin, "/deep/er/file.txt")
    assert os.strerror(errno.EMFILE) in str(caught.value)
    with descriptors(2):
        assert (await ask(origin, "/deep/er/file.txt")).status == 200
