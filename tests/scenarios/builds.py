"""A site that is built and released again and again: its pages name their release and the assets of its build.

The names of the assets have a digest of their content, so any page says what each of its assets has to contain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from edgecache.http.glob import Glob
from edgecache.semantics.rules import Match, Rule
from tests.scenarios.rig import Received, Reply

__all__ = ["DAY", "PAGES", "RULES", "Build", "Site", "assets_of", "is_whole", "release_of"]

DAY: Final = 86_400.0
PAGES: Final = ("/", "/cart", "/list")

RULES: Final = (
    Rule(
        name="assets",
        match=Match(paths=(Glob("/assets/**"),)),
        settings={"retain": 7 * DAY},
    ),
    Rule(
        name="pages",
        match=Match(extensions=frozenset({"", "html"})),
        settings={"by_release": True, "retain": 7 * DAY},
    ),
)
"""Assets outlive their release by a week, pages are switched with it."""


@dataclass(frozen=True)
class Build:
    """What a release consists of."""

    release: str
    assets: int = 2

    def content(self, number: int) -> bytes:
        return f"// asset {number} of {self.release}\n".encode() * 50

    def names(self) -> dict[str, bytes]:
        """The path of each asset, and what it contains."""
        contents = map(self.content, range(self.assets))
        return {f"/assets/app-{hashlib.sha256(one).hexdigest()[:12]}.js": one for one in contents}

    def page(self, path: str) -> bytes:
        scripts = "".join(f'<script src="{name}"></script>' for name in self.names())
        return f"<!doctype html><title>{self.release}</title>{path}{scripts}".encode()


@dataclass
class Site:
    """An origin's script: the release that it runs, and the builds whose assets it has.

    ``names_release`` is whether it says of which release a page is, ``cache_control`` and ``of_assets`` what it says of
    pages and of assets.
    """

    build: Build
    kept: list[Build] = field(default_factory=list)
    names_release: bool = False
    cache_control: str = "max-age=60"
    of_assets: str = "max-age=60"
    missing: set[str] = field(default_factory=set)

    def __call__(self, request: Received) -> Reply:
        path = request.target
        assets = {name: content for build in (self.build, *self.kept) for name, content in build.names().items()}
        if path in assets and path not in self.missing:
            fields = {"Cache-Control": self.of_assets, "Content-Type": "text/javascript"}
            return Reply(200, fields, assets[path])
        if path in PAGES and path not in self.missing:
            return Reply(200, self._fields(), self.build.page(path))
        return Reply(404, {"Content-Type": "text/plain"}, b"not found")

    def _fields(self) -> dict[str, str]:
        named = {"Edgecache-Release": self.build.release} if self.names_release else {}
        etag = f'"{self.build.release}"'
        return {"Cache-Control": self.cache_control, "Content-Type": "text/html", "ETag": etag, **named}

    def switch(self, build: Build, *kept: Build) -> None:
        """Run another release, with the assets of those ``kept`` beside its own."""
        self.build, self.kept = build, list(kept)


def release_of(page: bytes) -> str:
    """Return the release that a page is of."""
    found = re.search(rb"<title>(.*?)</title>", page)
    assert found, page[:100]
    return found[1].decode()


def assets_of(page: bytes) -> list[str]:
    """Return the assets that a page refers to."""
    return [name.decode() for name in re.findall(rb'src="(.*?)"', page)]


def is_whole(assets: Iterable[tuple[str, int, bytes]]) -> bool:
    """Whether each asset (its name, status and content) is what its name says."""
    return all(status == 200 and hashlib.sha256(body).hexdigest()[:12] in name for name, status, body in assets)
