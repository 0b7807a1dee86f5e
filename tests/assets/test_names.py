from __future__ import annotations

import json

import pytest

from edgecache.assets import Manifest, asset_names, read_manifest
from edgecache.errors import ConfigError
from edgecache.semantics.versioned import By, Versioned, recognise


def manifest(**names: str) -> Manifest:
    return read_manifest(json.dumps({key.replace("_", "."): name for key, name in names.items()}).encode())


@pytest.mark.parametrize(
    ("base", "name", "path"),
    [
        ("/static/", "app.12345678.js", "/static/app.12345678.js"),
        ("/static", "app.12345678.js", "/static/app.12345678.js"),
        ("/", "assets/app.12345678.js", "/assets/app.12345678.js"),
        ("/a/b/", "app.12345678.js", "/a/b/app.12345678.js"),
        ("/static/", "/build/app.12345678.js", "/build/app.12345678.js"),
        ("/static/", "https://cdn.example/build/app.12345678.js", "/build/app.12345678.js"),
    ],
)
def test_a_listed_name_is_recognised_where_it_is_served(base: str, name: str, path: str) -> None:
    names = asset_names([(base, manifest(app_js=name))])
    assert recognise(path, names) == Versioned(By.MANIFEST, "12345678")
    assert recognise(path + ".map", names) == Versioned(By.MANIFEST, "12345678")
    assert set(names.listed) == {path, path + ".map"}


def test_only_code_has_a_map() -> None:
    names = asset_names([("/", manifest(a_png="a.12345678.png", b_css="b.12345678.css"))])
    assert set(names.listed) == {"/a.12345678.png", "/b.12345678.css", "/b.12345678.css.map"}


def test_both_spellings_of_a_name_are_recognised() -> None:
    names = asset_names([("/", manifest(**{"é @home.png": "é @home.12345678.png"}))])
    assert set(names.listed) == {"/%C3%A9%20@home.12345678.png", "/%C3%A9%20%40home.12345678.png"}


def test_what_is_never_immutable_stays_so() -> None:
    names = asset_names([("/", manifest(index_html="index.12345678.html", app_js="app.12345678.js"))])
    assert "/index.12345678.html" not in names
    assert "/app.12345678.js" in names


def test_manifests_of_several_builds_are_one_set() -> None:
    builds = [("/a/", manifest(app_js="app.12345678.js")), ("/b/", manifest(app_js="app.12345678.js"))]
    assert {path for path in asset_names(builds).listed if path.endswith("js")} == {
        "/a/app.12345678.js",
        "/b/app.12345678.js",
    }
    assert len(asset_names([])) == 0


def test_a_map_that_is_listed_keeps_its_own_digest() -> None:
    django = {"paths": {"a.js": "a.3b1f2a9c0d4e.js", "b.js.map": "a.3b1f2a9c0d4e.js.map"}, "version": "1.1"}
    names = asset_names([("/", read_manifest(json.dumps(django).encode()))])
    assert len(names) == 2


@pytest.mark.parametrize("base", ["", "static/", "https://cdn.example/"])
def test_a_base_is_a_path(base: str) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        asset_names([(base, manifest(app_js="app.12345678.js"))])
