"""Rule sets and manifests, as a configuration names them.

The sets that are shipped are TOML files, installed as the data of ``edgecache.rulesets``.

In the sources they are in ``rules/``, at the top. A set is known by its name, a file of the operator's own by its path.
"""

from __future__ import annotations

import difflib
from importlib import resources
from typing import Final

from edgecache.edges.config_values import Unreadable, kind_of_text

__all__ = ["MANIFEST", "RULES", "is_path", "mounted", "shipped", "text_of"]

_PACKAGE: Final = "edgecache.rulesets"
_ENDING: Final = ".toml"


def shipped() -> tuple[str, ...]:
    """Return the names of the shipped sets, in alphabetical order."""
    names = (file.name for file in resources.files(_PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING)))


def text_of(name: str) -> str:
    """Return the text of a shipped set."""
    return (resources.files(_PACKAGE) / f"{name}{_ENDING}").read_text("utf-8")


def is_path(word: str) -> bool:
    """Whether a word is the path of a file, and not the name of a set."""
    return "/" in word or word.endswith(_ENDING)


def _rules(text: str) -> str:
    if is_path(text):
        return text
    names = shipped()
    if text not in names:
        close = difflib.get_close_matches(text, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}, or the path of a file"
        raise Unreadable(f'"{text}" is no rule set', hint)
    return text


def mounted(word: str) -> tuple[str, str]:
    """Return the base and the path of a manifest written ``/static/=dist/manifest.json``; the base may be missing."""
    base, equals, path = word.partition("=")
    is_base = equals and base.startswith("/") and base.endswith("/")
    return (base, path) if is_base else ("/", word)


def _manifest(text: str) -> str:
    if not text or not text.isprintable() or not mounted(text)[1]:
        raise Unreadable(f'"{text}" is not the path of a manifest', 'write "/static/=dist/manifest.json"')
    return text


MANIFEST: Final = kind_of_text(_manifest, "a base and the path of a build manifest")
RULES: Final = kind_of_text(_rules, "the name of a rule set, or the path of a file")
