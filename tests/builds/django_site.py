"""A Django site of static files: collect them with its storages, and tell what it and WhiteNoise then make of them.

``python -m tests.builds.django_site STORAGE DIRECTORY`` prints JSON: for each name in the sources the URL of
``{% static %}``, for each collected file the Cache-Control with which WhiteNoise serves it, and what becomes of our own
tag in a template. A process of its own, since Django's settings belong to the process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import django
from django.conf import settings
from django.core.management import call_command
from django.template import Context, Engine
from django.templatetags.static import static
from django.utils.encoding import filepath_to_uri
from whitenoise.middleware import WhiteNoiseMiddleware

from edgecache.assets import Assets, use
from tests.builds.building import write_binaries

STORAGES: Final = {
    "django": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
    "whitenoise": "whitenoise.storage.CompressedManifestStaticFilesStorage",
    "own": "tests.builds.django_storage.OwnStorage",
}

SOURCES: Final = {
    "css/base.css": '@import "print.css"; @font-face {src: url("../letters.woff2?#")} i {cursor: url("../photo.png")}',
    "css/print.css": "body { color: black }",
    "js/app.js": 'import "./part.js";\n//# sourceMappingURL=app.js.map\n',
    "js/app.js.map": '{"version": 3, "mappings": ""}',
    "js/part.js": "export const part = 1;",
    "js/user-settings.js": "",
    "js/jquery-3.7.1.min.js": "/* jQuery */",
    "img/a drawing, @ home + größer.svg": '<svg xmlns="http://www.w3.org/2000/svg"/>',
    "sw.js": "",
    "robots.txt": "User-agent: *",
    "site.webmanifest": "{}",
    "page.html": "<!doctype html>",
    "data.json": "{}",
}


def write_sources(to: Path) -> None:
    for name, text in SOURCES.items():
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_binaries(to)


def configure(storage: str, directory: Path, **more: object) -> None:
    """Make this process one of the site in a directory."""
    settings.configure(
        STATIC_URL="/static/",
        STATIC_ROOT=directory / "collected",
        STATICFILES_DIRS=[directory / "sources"],
        INSTALLED_APPS=["django.contrib.staticfiles"],
        STORAGES={"staticfiles": {"BACKEND": STORAGES[storage]}},
        **more,
    )
    django.setup()


def main(storage: str, directory: Path) -> None:
    write_sources(directory / "sources")
    configure(storage, directory)
    call_command("collectstatic", interactive=False, verbosity=0)
    names = [
        str(path.relative_to(directory / "sources")) for path in (directory / "sources").rglob("*") if path.is_file()
    ]
    urls = {name: static(name) for name in names}
    print(json.dumps({"urls": urls, "served": served(), "page": page(directory / "collected/staticfiles.json")}))


def served() -> dict[str, str]:
    """Return the Cache-Control of each file that WhiteNoise serves, by the path of its URL."""
    files = WhiteNoiseMiddleware(lambda request: None).files
    return {
        filepath_to_uri(path): dict(file.get_response("GET", {}).headers)["Cache-Control"]
        for path, file in files.items()
    }


def page(manifest: Path) -> str:
    """Return what a template becomes."""
    use(Assets(manifest, "/static/"))
    engine = Engine(libraries={"assets": "tests.builds.django_tags"})
    return engine.from_string('{% load assets %}{% static_url "css/print.css" %}').render(Context())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
