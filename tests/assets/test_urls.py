from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecache.assets import Assets, static_url, urls, use
from edgecache.errors import AssetError, ConfigError


def write(path: Path, document: Any, at: int) -> Path:
    """Write a manifest as if at another second, so that no test depends on the clock."""
    path.write_text(json.dumps(document))
    os.utime(path, (at, at))
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    names = {"app.js": "app.9a9c897c.js", "css/a b.css": "css/a b.9a9c897c.css", "whole.js": "/build/whole.9a9c897c.js"}
    return write(tmp_path / "manifest.json", {**names, "far.js": "https://cdn.example/far.9a9c897c.js"}, 1)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files" / "css").mkdir(parents=True)
    (tmp_path / "files" / "css" / "a b.css").write_bytes(b"body{}")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return tmp_path / "files"


@pytest.fixture
def nothing_in_use() -> Iterator[None]:
    before = list(urls._in_use)
    urls._in_use.clear()
    yield
    urls._in_use[:] = before


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("app.js", "/static/app.9a9c897c.js"),
        ("/app.js", "/static/app.9a9c897c.js"),
        ("css/a b.css", "/static/css/a%20b.9a9c897c.css"),
        ("whole.js", "/build/whole.9a9c897c.js"),
        ("far.js", "https://cdn.example/far.9a9c897c.js"),
    ],
)
def test_a_name_of_the_sources_becomes_the_url_of_what_was_built(manifest: Path, name: str, url: str) -> None:
    assert Assets(manifest).url(name) == url


def test_the_base_is_where_the_build_is_served(manifest: Path) -> None:
    assert Assets(str(manifest), "/s").url("app.js") == "/s/app.9a9c897c.js"


def test_a_manifest_may_have_the_slash_that_the_template_leaves_out(tmp_path: Path) -> None:
    mix = write(tmp_path / "mix-manifest.json", {"/js/app.js": "/js/app.js?id=0c8c"}, 1)
    assert Assets(mix).url("js/app.js") == "/js/app.js?id=0c8c"


def test_a_file_without_a_version_in_its_name_gets_its_digest_as_query(files: Path) -> None:
    digest = hashlib.sha256(b"body{}").hexdigest()[:10]
    assert Assets(files).url("css/a b.css") == f"/static/css/a%20b.css?v={digest}"
    assert Assets(files, "/").url("/css/a b.css") == f"/css/a%20b.css?v={digest}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whale.js", "manifest.json lists no 'whale.js'; did you mean 'whole.js'?"),
        ("css/a_b.css", "manifest.json lists no 'css/a_b.css'; did you mean 'css/a b.css'?"),
        ("zzzzzz", "manifest.json lists no 'zzzzzz'"),
        ("", "manifest.json lists no ''"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_are_like_it(manifest: Path, name: str, message: str) -> None:
    with pytest.raises(AssetError) as caught:
        Assets(manifest).url(name)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize("name", ["css/ab.css", "css", "", "../secret.txt", "/../secret.txt", "css/../../secret.txt"])
def test_a_name_that_is_no_file_of_the_directory_is_unknown(files: Path, name: str) -> None:
    with pytest.raises(AssetError, match="files has no"):
        Assets(files).url(name)


def test_an_unknown_file_is_told_with_those_that_are_like_it(files: Path) -> None:
    with pytest.raises(AssetError, match=r"did you mean 'css/a b\.css'"):
        Assets(files).url("css/ab.css")


@pytest.mark.parametrize(
    ("auto_reload", "then"), [(False, "/static/app.9a9c897c.js"), (True, "/static/app.00aa11bb.js")]
)
def test_a_manifest_is_read_again_only_when_asked_for(manifest: Path, auto_reload: bool, then: str) -> None:
    assets = Assets(manifest, auto_reload=auto_reload)
    assert assets.url("app.js") == "/static/app.9a9c897c.js"
    write(manifest, {"app.js": "app.00aa11bb.js"}, 2)
    assert assets.url("app.js") == then


@pytest.mark.parametrize("auto_reload", [False, True])
def test_a_file_is_read_again_only_when_asked_for(files: Path, auto_reload: bool) -> None:
    assets = Assets(files, auto_reload=auto_reload)
    before = assets.url("css/a b.css")
    (files / "css" / "a b.css").write_bytes(b"i{}")
    os.utime(files / "css" / "a b.css", (2, 2))
    assert (assets.url("css/a b.css") != before) is auto_reload


def test_a_manifest_that_breaks_or_vanishes_is_an_error_of_configuration(manifest: Path) -> None:
    assets = Assets(manifest, auto_reload=True)
    manifest.write_text("{")
    os.utime(manifest, (3, 3))
    with pytest.raises(ConfigError, match="is not JSON"):
        assets.url("app.js")
    manifest.unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        assets.url("app.js")


def test_what_is_not_there_is_an_error_where_the_application_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Assets(tmp_path / "manifest.json")
    with pytest.raises(ConfigError, match="is not a path"):
        Assets(tmp_path, "static/")


@pytest.mark.usefixtures("nothing_in_use")
def test_static_url_takes_the_assets_in_use(manifest: Path) -> None:
    with pytest.raises(AssetError, match="no assets are in use"):
        static_url("app.js")
    use(Assets(manifest))
    assert static_url("app.js") == "/static/app.9a9c897c.js"
    use(Assets(manifest, "/other/"))
    assert static_url("app.js") == "/other/app.9a9c897c.js"


def test_an_application_imports_no_event_loop() -> None:
    """What Django or Flask loads for the sake of a template tag."""
    code = "import edgecache.assets, sys; print(sorted({'aiohttp', 'asyncio', 'redis'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
