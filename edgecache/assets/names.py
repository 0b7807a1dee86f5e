"""The manifests of a site as the paths of its requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, unquote

from edgecache.assets.manifests import Manifest
from edgecache.errors import ConfigError
from edgecache.semantics.versioned import AssetNames, By, Versioned

__all__ = ["asset_names", "below"]

_HAS_MAP: Final = re.compile(r"\.(?:js|mjs|cjs|css)\Z")
_DJANGOS: Final = "/~!*()'"
"""What Django leaves alone in a URL; it writes everything else as per cent and digits, ``@`` and ``+`` too."""


def asset_names(mounted: Iterable[tuple[str, Manifest]]) -> AssetNames:
    """Return the names of manifests, each with the base under which the site serves its build (``/static/``).

    The source map of a listed file is versioned too, whether it is listed or not: it has the digest of its file.
    A base that does not begin with a slash raises ``ConfigError``.
    """
    listed: dict[str, Versioned] = {}
    maps: dict[str, Versioned] = {}
    for base, manifest in mounted:
        for name, digest in manifest.digests.items():
            found = Versioned(By.MANIFEST, digest, manifest.hashes_content)
            for path in _spellings(below(base, name)):
                listed[path] = found
                if _HAS_MAP.search(path):
                    maps[path + ".map"] = Versioned(By.MANIFEST, digest)
    return AssetNames.of(maps | listed)


def below(base: str, name: str) -> str:
    """Return where a listed name is served."""
    if not base.startswith("/"):
        raise ConfigError(f"the base {base!r} of a manifest is not a path", hint='begin it with a slash: "/static/"')
    return name if name.startswith(("/", "http://", "https://")) else f"{base.rstrip('/')}/{name}"


def _spellings(path: str) -> Iterator[str]:
    yield path
    yield quote(unquote(path), safe=_DJANGOS)
