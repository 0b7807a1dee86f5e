"""Django and WhiteNoise, as they are: what they name, what they serve as immutable, and what we make of it."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import pytest

from edgecache.assets import Assets, Kind, Manifest, asset_names, read_manifest_file
from edgecache.semantics.versioned import By, Versioned, is_never_immutable, recognise, verifies

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DJANGOS: Final = ("django", "whitenoise")


class Collected:
    """A site after ``collectstatic``."""

    def __init__(self, storage: str, directory: Path) -> None:
        command = [sys.executable, "-m", "tests.builds.django_site", storage, str(directory)]
        found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
        self.urls: dict[str, str] = found["urls"]
        self.served: dict[str, str] = found["served"]
        self.page: str = found["page"]
        self.root = directory / "collected"
        self.manifest: Manifest = read_manifest_file(self.root / "staticfiles.json")
        self.names = asset_names([("/static/", self.manifest)])

    def body(self, path: str) -> bytes:
        return (self.root / unquote(path.removeprefix("/static/"))).read_bytes()


@pytest.fixture(scope="module", params=DJANGOS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Collected:
    return Collected(request.param, tmp_path_factory.mktemp("site"))


def test_the_manifest_is_known_for_what_it_is(site: Collected) -> None:
    assert site.manifest.kind is Kind.DJANGO
    assert site.manifest.hashes_content
    assert len(site.manifest.logical) == len(site.urls) > 15


def test_versioned_is_what_whitenoise_serves_as_immutable_but_for_what_never_is(site: Collected) -> None:
    immutable = {path for path, control in site.served.items() if "immutable" in control}
    recognised = {path for path in site.served if recognise(path, site.names)}
    assert len(recognised) > 12
    assert recognised == {path for path in immutable if not is_never_immutable(path)}
    assert {path.rpartition(".")[2] for path in immutable - recognised} == {"html", "webmanifest"}


def test_the_name_alone_finds_all_but_documents(site: Collected) -> None:
    listed = {path for path in site.served if recognise(path, site.names)}
    alone = {path for path in site.served if recognise(path)}
    assert alone <= listed
    assert {path.rpartition(".")[2] for path in listed - alone} == {"json", "txt"}


def test_every_listed_name_is_proven_by_its_bytes_and_no_other_bytes(site: Collected) -> None:
    for path in site.served:
        if found := recognise(path, site.names):
            assert found.by is By.MANIFEST
            assert verifies(found.token, [site.body(path)], hashes_content=found.hashes_content) is True
            assert verifies(found.token, [site.body(path), b" "], hashes_content=found.hashes_content) is False


def test_what_a_template_writes_is_recognised(site: Collected) -> None:
    """``{% static %}`` leaves it to browsers to spell a space and an umlaut."""
    assets = Assets(site.root / "staticfiles.json", "/static/")
    for name, url in site.urls.items():
        asked = quote(url, safe="/,@+%")
        assert assets.url(name) == asked
        assert urlsplit(asked).path == asked
        assert (recognise(asked, site.names) is None) is is_never_immutable(asked)


def test_our_tag_writes_what_djangos_does(site: Collected) -> None:
    assert site.page == site.urls["css/print.css"]


def test_the_documentation_shows_what_happens(site: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.root.parent)
    result = doctest.testfile(str(ROOT / "docs/assets.md"), module_relative=False)
    assert result.attempted > 6
    assert result.failed == 0


def test_the_documentation_shows_the_tag_that_is_tested() -> None:
    tag = (ROOT / "tests/builds/django_tags.py").read_text().partition("\n\n")[2]
    assert tag in (ROOT / "docs/assets.md").read_text()


def test_a_storage_with_names_of_its_own_promises_nothing(tmp_path: Path) -> None:
    own = Collected("own", tmp_path)
    assert not own.manifest.hashes_content
    path = "/static/js/app.20240101abcd.js"
    found = recognise(path, own.names)
    assert found == Versioned(By.MANIFEST, "20240101abcd")
    assert verifies(found.token, [own.body(path)], hashes_content=found.hashes_content) is None
