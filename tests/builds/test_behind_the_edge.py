"""Real builds behind the running edge: each hashed file is kept for a year, whatever its type, and no other file is.

The edge is told what docs/assets.md tells people to tell it: a configuration with the shipped set ``static-assets``
and the manifest of the build. Clients ask as browsers do, with a cookie.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import pytest

from edgecache.app import compose
from edgecache.edges.config_load import load
from edgecache.http.cache_control import parse_response
from edgecache.origin.media_types import media_type
from edgecache.semantics.policy import Strategy
from edgecache.semantics.versioned import AssetNames, By, is_never_immutable, recognise, verifies
from tests.builds.building import built
from tests.builds.test_builds import MANIFESTS, NEEDS_NPM, files
from tests.builds.test_django import ROOT, Collected
from tests.scenarios.composed import settled
from tests.scenarios.rig import ClientResponse, FakeClock, Reply, ScriptedOrigin
from tests.scenarios.running import RunningEdge

DAY: Final = 86_400
YEAR: Final = 365 * DAY
AT_ONCE: Final = 8
BROWSER: Final = {
    "Cookie": "sessionid=3b1f2a9c0d4e; theme=dark; _ga=GA1.1.5",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://example.com/orders",
    "Sec-Fetch-Dest": "script",
    "Sec-Fetch-Mode": "no-cors",
    "Sec-Fetch-Site": "same-origin",
}
WHITENOISE_SAYS: Final = "max-age=315360000, public, immutable"


@dataclass(frozen=True)
class Site:
    """A build as it is served: where from, its manifests as a configuration has them, and the paths of its files."""

    origin: str
    manifests: tuple[str, ...]
    hashed: frozenset[str]
    plain: frozenset[str]


@dataclass(frozen=True)
class Kept:
    """What the edge made of a file: the first answer, the second, and the seconds that it is fresh here."""

    first: ClientResponse
    again: ClientResponse

    @property
    def lifetime(self) -> int:
        found = re.search(r"; hit; ttl=(\d+)", self.again.cache_status)
        return int(found[1]) if found else 0

    @property
    def says(self) -> list[str]:
        return [answer.fields.get("cache-control", "") for answer in (self.first, self.again)]

    @property
    def is_for_long(self) -> bool:
        """Whether it is kept for days, here or by a browser."""
        promised = [parse_response(answer.fields) for answer in (self.first, self.again)]
        return self.lifetime > DAY or any(one.immutable or (one.max_age or 0) > DAY for one in promised)


@contextlib.asynccontextmanager
async def edge_for(
    directory: Path, origin: str, manifests: Iterable[str] = ()
) -> AsyncIterator[tuple[RunningEdge, AssetNames]]:
    """Run an edge with a configuration from a file; yield it and the names that it knows from manifests."""
    path = directory / "edgecache.toml"
    listed = ", ".join(f'"{each}"' for each in manifests)
    path.write_text(
        '[server]\nlisten = "127.0.0.1:0"\ndrain_timeout = 0\n[admin]\nlisten = "127.0.0.1:0"\n[log]\naccess = "off"\n'
        f'[origin]\nurls = ["{origin}"]\n[rules]\nuse = ["static-assets", "default"]\nmanifests = [{listed}]\n'
    )
    config = load(str(path), environ={})
    parts = await compose(config, clock=FakeClock(float(int(time.time()))))
    try:
        edge = RunningEdge(parts, int(parts.public.addresses[0].rpartition(":")[2]))
        yield edge, config.assets or AssetNames()
    finally:
        await parts.close()


async def asked(edge: RunningEdge, paths: Iterable[str], fields: dict[str, str] = BROWSER) -> dict[str, Kept]:
    """Ask for each path twice."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(path: str) -> tuple[str, ClientResponse]:
        async with turn:
            return path, await edge.fetch(path, fields=fields)

    ordered = sorted(paths)
    rounds = []
    for _ in range(2):
        rounds.append(dict(await asyncio.gather(*map(one, ordered))))
        await settled(edge)
    return {path: Kept(rounds[0][path], rounds[1][path]) for path in ordered}


def expected(path: str, names: AssetNames, kept: Kept, body: bytes) -> list[str]:
    """What a browser is told of a hashed file, by the first answer and by the second, where its origin says nothing.

    ``body`` is the content without coding; of one in Brotli's nothing is concluded.
    """
    found = recognise(path, names)
    assert found is not None
    if found.by is By.MANIFEST:
        return [Strategy.IMMUTABLE.cache_control] * 2
    proven = verifies(found.token, [body]) is True and kept.again.fields.get("content-encoding") != "br"
    return [one.cache_control for one in (Strategy.VERSIONED, Strategy.IMMUTABLE if proven else Strategy.VERSIONED)]


async def figures(directory: Path, site: Site, *, with_manifest: bool) -> tuple[int, int]:
    """Return how many hashed files are kept for a year, and how many others are kept for long; check each answer."""
    async with edge_for(directory, site.origin, site.manifests if with_manifest else ()) as (edge, names):
        hashed, plain = await asked(edge, site.hashed), await asked(edge, site.plain)
        plainly = await asked(edge, site.hashed, {**BROWSER, "Accept-Encoding": "identity"})
    for path, kept in hashed.items():
        assert kept.first.status == kept.again.status == 200
        assert kept.first.body == kept.again.body
        if recognise(path, names):
            assert kept.lifetime == plainly[path].lifetime == YEAR, path
            says = expected(path, names, kept, plainly[path].again.body)
            assert kept.says in (says, [WHITENOISE_SAYS] * 2)
    return sum(kept.lifetime == YEAR for kept in hashed.values()), sum(kept.is_for_long for kept in plain.values())


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |".replace("  ", " ")


def told() -> str:
    return (ROOT / "docs" / "assets.md").read_text("utf-8")


@pytest.fixture
async def origin() -> AsyncIterator[ScriptedOrigin]:
    async with ScriptedOrigin() as origin:
        yield origin


# -------------------------------------------------------------------------------------------------- npm's build tools

TITLES: Final = {
    "vite": "Vite",
    "rollup": "Rollup",
    "webpack": "webpack",
    "webpack-sha256": "webpack, SHA-256",
    "esbuild": "esbuild",
    "parcel": "Parcel",
}


def site_of(tool: str, manifest: str | None) -> Site:
    dist = built(tool)
    hashed, plain = files(dist)
    mounted = () if manifest is None else (f"/={dist / manifest}",)
    return Site(dist.as_uri(), mounted, frozenset(hashed), frozenset(plain | {"/", "/index.html", "/orders/42"}))


@pytest.mark.parametrize(
    ("tool", "manifest"), [pytest.param(tool, manifest, marks=NEEDS_NPM) for tool, manifest, _ in MANIFESTS]
)
async def test_each_hashed_file_of_a_build_gets_a_year_with_its_manifest(
    tool: str, manifest: str, tmp_path: Path
) -> None:
    site = site_of(tool, manifest)
    assert await figures(tmp_path, site, with_manifest=True) == (len(site.hashed), 0)


@pytest.mark.parametrize("tool", [pytest.param(tool, marks=NEEDS_NPM) for tool in TITLES])
async def test_the_documentation_tells_how_many_get_it(tool: str, tmp_path: Path) -> None:
    manifest = next((manifest for name, manifest, _ in MANIFESTS if name == tool), None)
    site = site_of(tool, manifest)
    listed, wrong = await figures(tmp_path, site, with_manifest=True) if manifest else ("", 0)
    alone, also_wrong = await figures(tmp_path, site, with_manifest=False)
    word = f'`"/=dist/{manifest}"`' if manifest else ""
    assert row(TITLES[tool], word, len(site.hashed), listed, alone, len(site.plain), wrong + also_wrong) in told()


# ------------------------------------------------------------------------------------------------------------- Django


@contextlib.contextmanager
def whitenoise(storage: str, directory: Path) -> Iterator[str]:
    """Serve a collected site by Django and WhiteNoise; yield its URL."""
    command = [sys.executable, "-m", "tests.builds.django_server", storage, str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


@contextlib.contextmanager
def django_site(storage: str, by: str, directory: Path) -> Iterator[Site]:
    """A site of Django, served as a directory or by WhiteNoise. What is never immutable is none of its assets."""
    collected = Collected(storage, directory)
    hashed = {quote(url, safe="/,@+%") for url in collected.urls.values()}
    plain = {path for path in collected.served if unquote(path) not in {unquote(each) for each in hashed}}
    assert len(plain) == len(hashed) + 1 > 12  # the manifest
    hashed -= {path for path in hashed if is_never_immutable(path)}
    manifests = (f"/static/={collected.root / 'staticfiles.json'}",)
    with contextlib.ExitStack() as running:
        if by == "whitenoise":
            origin = running.enter_context(whitenoise(storage, directory))
        else:
            shutil.copytree(collected.root, directory / "www" / "static")
            origin = (directory / "www").as_uri()
        yield Site(origin, manifests, frozenset(hashed), frozenset(plain | {"/"}))


@pytest.mark.parametrize("by", ["a directory", "whitenoise"])
@pytest.mark.parametrize(("storage", "title"), [("django", "Django's storage"), ("whitenoise", "WhiteNoise's storage")])
async def test_django(storage: str, title: str, by: str, tmp_path: Path) -> None:
    with django_site(storage, by, tmp_path) as site:
        listed, wrong = await figures(tmp_path, site, with_manifest=True)
        alone, also_wrong = await figures(tmp_path, site, with_manifest=False)
    assert (listed, wrong, also_wrong) == (len(site.hashed), 0, 0)
    word = '`"/static/=static/staticfiles.json"`'
    assert row(title, word, len(site.hashed), listed, alone, len(site.plain), wrong + also_wrong) in told()
    assert {path.rpartition(".")[2] for path in site.hashed} >= {
        "css",
        "js",
        "json",
        "map",
        "svg",
        "txt",
        "wasm",
        "woff2",
    }


async def test_what_whitenoise_says_of_its_files_is_what_browsers_hear(tmp_path: Path) -> None:
    with django_site("whitenoise", "whitenoise", tmp_path) as site:
        async with edge_for(tmp_path, site.origin, site.manifests) as (edge, _):
            hashed, plain = await asked(edge, site.hashed), await asked(edge, site.plain - {"/"})
            missing = await edge.fetch("/static/js/app.0123456789ab.js", fields=BROWSER)
    assert {says for kept in hashed.values() for says in kept.says} == {WHITENOISE_SAYS}
    assert {kept.again.fields.get("content-encoding") for kept in hashed.values()} > {None}
    assert plain["/static/sw.js"].says == plain["/static/site.webmanifest"].says == ["public, max-age=0"] * 2
    assert plain["/static/js/user-settings.js"].says == ["max-age=60, public"] * 2
    assert (missing.status, missing.fields["cache-control"]) == (404, "private, max-age=2")


async def test_other_bytes_under_a_name_of_django_are_not_kept(tmp_path: Path) -> None:
    with django_site("django", "a directory", tmp_path) as site:
        path = next(path for path in site.hashed if path.startswith("/static/js/part."))
        file = tmp_path / "www" / path[1:]
        right = file.read_bytes()
        file.write_bytes(b"export const part = 0;")
        async with edge_for(tmp_path, site.origin, site.manifests) as (edge, _):
            wrong = (await asked(edge, [path]))[path]
            assert (wrong.again.body, wrong.lifetime) == (b"export const part = 0;", 0)
            assert edge.parts.counters.statistics().not_storable == {"digest-mismatch": 2}
            file.write_bytes(right)
            mended = (await asked(edge, [path]))[path]
            assert (mended.again.body, mended.lifetime) == (right, YEAR)


async def test_a_name_that_its_content_proves_needs_no_manifest(tmp_path: Path) -> None:
    with django_site("django", "a directory", tmp_path) as site:
        async with edge_for(tmp_path, site.origin) as (edge, names):
            found = await asked(edge, [path for path in site.hashed if recognise(path)])
    assert len(names) == 0
    immutable = {path for path, kept in found.items() if kept.says[1] == Strategy.IMMUTABLE.cache_control}
    assert immutable == set(found)


# ------------------------------------------------------------------------------------------- names that say it or not

SILENT: Final = "/assets/index-Dh9alFxD.js"


async def test_a_cookie_keeps_a_name_from_being_stored_until_a_manifest_or_the_origin_vouches_for_it(
    tmp_path: Path, origin: ScriptedOrigin
) -> None:
    """A server that looks at cookies may have looked at this one."""
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"src/index.js": {"file": "assets/index-Dh9alFxD.js"}}')
    said = {"Content-Type": "text/javascript"}
    cases = [((), said, 0), ((f"/={manifest}",), said, YEAR), ((), {**said, "Cache-Control": "max-age=60"}, YEAR)]
    for manifests, fields, lifetime in cases:
        origin.script = lambda _, fields=fields: Reply(200, fields, b"//")  # type: ignore[misc]
        async with edge_for(tmp_path, origin.url, manifests) as (edge, _):
            assert (await asked(edge, [SILENT]))[SILENT].lifetime == lifetime


# ----------------------------------------------------------------------------------------------------- ordinary names


async def test_no_ordinary_name_is_kept_for_long(tmp_path: Path, origin: ScriptedOrigin) -> None:
    """The origin says nothing, and nobody has a cookie, so that nothing but its name is why a file is not kept."""
    text = (ROOT / "tests/semantics/ordinary_names.txt").read_text("utf-8")
    names = [line for line in text.splitlines() if line.startswith("/")]
    assert len(set(names)) > 500
    origin.script = lambda request: Reply(200, typed(request.target), request.target.encode())
    async with edge_for(tmp_path, origin.url) as (edge, _):
        found = await asked(edge, names, {})
    assert {path for path, kept in found.items() if kept.is_for_long} == set()
    assert sum(kept.lifetime > 0 for kept in found.values()) > 400


def typed(target: str) -> dict[str, str]:
    return {"Content-Type": media_type(target.partition("?")[0])}
