"""What the tools really build: every hashed file is listed and recognised, and no other one is.

``make builds`` runs these; they need npm, and install the tools the first time.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from edgecache.assets import Assets, Kind, asset_names, read_manifest_file
from edgecache.semantics.versioned import By, is_never_immutable, recognise, verifies
from tests.builds.building import COMMANDS, PUBLIC, TIMEOUT, built

NEEDS_NPM: Final = (
    pytest.mark.skipif("EDGECACHE_LONG" not in os.environ, reason="builds with npm's tools; set EDGECACHE_LONG"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm"),
    pytest.mark.timeout(2 * TIMEOUT),
)
pytestmark = list(NEEDS_NPM)

MANIFESTS: Final = [
    ("vite", ".vite/manifest.json", Kind.VITE),
    ("webpack", "asset-manifest.json", Kind.NAMES),
    ("webpack", "cra-manifest.json", Kind.WEBPACK_FILES),
    ("webpack", "assets-manifest.json", Kind.WEBPACK_ASSETS),
    ("webpack", "stats.json", Kind.WEBPACK_STATS),
    ("webpack-sha256", "asset-manifest.json", Kind.NAMES),
    ("esbuild", "meta.json", Kind.ESBUILD),
    ("parcel", "parcel-manifest.json", Kind.NAMES),
]

BY_NAME: Final = {
    "vite": (7, 13),
    "rollup": (6, 6),
    "webpack": (15, 15),
    "webpack-sha256": (10, 10),
    "esbuild": (13, 16),
    "parcel": (15, 15),
}
"""How many of the hashed files their names give away, as docs/assets.md tells it: some digests look like words."""

HASHED: Final = re.compile(
    r"[-.]?(?:[0-9a-f]{8}|[0-9a-f]{20}|(?<=-)[\w-]{8})\.(?:js|css|png|svg|woff2|wasm)(?:\.map)?\Z"
)


def files(dist: Path) -> tuple[set[str], set[str]]:
    """Return the paths of hashed files and of all others, told apart by what the site is known to consist of."""
    plain = {f"/{name}" for name in PUBLIC}
    found = {f"/{path.relative_to(dist)}" for path in dist.rglob("*") if path.is_file()}
    plain |= {path for path in found if path.endswith((".html", ".json"))}
    assert plain - found - {"/index.html"} == set()
    hashed = found - plain
    assert all(HASHED.search(path) for path in hashed)
    return hashed, plain


@pytest.mark.parametrize(("tool", "manifest", "kind"), MANIFESTS)
def test_a_manifest_lists_the_hashed_files_and_nothing_else(tool: str, manifest: str, kind: Kind) -> None:
    dist = built(tool)
    read = read_manifest_file(dist / manifest)
    names = asset_names([("/", read)])
    hashed, plain = files(dist)
    assert read.kind is kind
    assert not [path for path in plain if path in names]
    unlisted = {path for path in hashed if path not in names}
    # Parcel's reporter lists one file for each entry, and leaves out the style sheets of scripts.
    assert {path for path in unlisted if tool != "parcel" or not path.endswith((".css", ".css.map"))} == set()
    assert all(found.token in path for path, found in names.listed.items())


@pytest.mark.parametrize("tool", COMMANDS)
def test_the_name_alone_finds_no_file_that_is_not_hashed(tool: str) -> None:
    hashed, plain = files(built(tool))
    assert {path: recognise(path) for path in plain if recognise(path)} == {}
    assert (sum(recognise(path) is not None for path in hashed), len(hashed)) == BY_NAME[tool]


@pytest.mark.parametrize("tool", COMMANDS)
def test_only_digests_of_the_bytes_are_proven(tool: str) -> None:
    """webpack's default digest is MD4, the others' cover more than the file; with SHA-256 webpack's are proofs."""
    dist = built(tool)
    found = {path: recognise(path) for path in files(dist)[0]}
    verdicts = {
        verifies(versioned.token, [(dist / path[1:]).read_bytes()]) for path, versioned in found.items() if versioned
    }
    assert verdicts == ({True} if tool == "webpack-sha256" else {None})


@pytest.mark.parametrize(("tool", "manifest", "kind"), MANIFESTS)
def test_templates_get_urls_of_files_that_are_there(tool: str, manifest: str, kind: Kind) -> None:
    dist = built(tool)
    assets = Assets(dist / manifest, "/")
    names = read_manifest_file(dist / manifest).logical
    assert len(names) >= 6
    for name in names:
        path = assets.url(name)
        assert (dist / path.removeprefix("/")).is_file()
        assert recognise(path, asset_names([("/", read_manifest_file(dist / manifest))])) or is_never_immutable(path)


def test_the_manifest_of_vite_is_believed_where_the_name_says_nothing() -> None:
    dist = built("vite")
    names = asset_names([("/", read_manifest_file(dist / ".vite/manifest.json"))])
    unspoken = [path for path in names.listed if recognise(path) is None]
    assert all(found is not None and found.by is By.MANIFEST for found in (recognise(path, names) for path in unspoken))
