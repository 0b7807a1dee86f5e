"""Which part of a listed name is the digest.

Theory
    A manifest lists unhashed files too: a build whose hashes are switched off, an icon that is only copied. A name is
    versioned if it says more than the name in the sources does, and what it says more could be a digest: with the two
    names side by side much less than ``semantics.versioned`` asks for is enough. Where there is no other name, or it
    has nothing in common, the name is judged as one in a build's directory is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import Final

from edgecache.semantics.versioned import recognise

__all__ = ["digest_in", "stems"]

_DIGEST: Final = re.compile(
    r"(?:[0-9a-f]{6,128}|[A-Z2-7]{8}"
    r"|(?=.*[0-9_-].*[A-Za-z]|.*[A-Za-z].*[0-9_-]|.+[A-Z].*[a-z]|.*[a-z].*[A-Z])[\w-]{6,44})\Z",
    re.ASCII,
)
"""Hexadecimal, esbuild's, or letters of both cases, or letters and something else."""

_WHOLE_NAME: Final = re.compile(r"([0-9a-f]{16,128})\.\w+\Z")

_LONGEST: Final = 255
"""Characters of a file's name."""

_EXTENSIONS: Final = 3


def stems(logical: Iterable[str]) -> frozenset[str]:
    """Return the last segments of names in the sources, without their last extension, without the last two …"""
    found = set()
    for name in logical:
        stem = name.rpartition("/")[2][-_LONGEST:]
        for _ in range(_EXTENSIONS):
            stem, dot, _ = stem.rpartition(".")
            if dot and stem:
                found.add(stem)
    return frozenset(found)


def digest_in(name: str, known: Set[str]) -> str:
    """Return the digest in a written name, given the stems of the sources; empty if it has none."""
    last = name.rpartition("/")[2]
    if len(last) > _LONGEST:
        return ""
    for cut, char in enumerate(last):
        if char in ".-_" and last[:cut] in known:
            for word in last[cut + 1 :].split(".")[:-1]:
                if _DIGEST.match(word):
                    return word
    if whole := _WHOLE_NAME.match(last):
        return whole[1]
    found = recognise(f"/assets/{last}")
    return "" if found is None else found.token
