"""From a request target to the names of a file: strict, and without asking whether the file is there.

Theory
    A target is cut at its slashes first; then each piece is decoded, once, as UTF-8 (RFC 3986 §2.4). So no slash, and
    no dot segment, can appear by decoding. What could mean one thing here and another to a browser, to a cache
    before this one or to the file system (backslashes, empty segments, control characters) names no file at all.

Invariants
    * Each name is one that can stand in a directory: not empty, not ``.`` or ``..``, without slash, backslash or NUL.
    * No name begins with a dot, whatever lies there (``.git``, ``.env``): only ``/.well-known/`` is for everybody
      (RFC 8615).
    * A path that was accepted begins with exactly one slash, so that a redirect made of it leads to this host.

Called by ``files``. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["FilePath", "file_path", "with_slash"]

# Origin-form (RFC 9112 §3.2.1): a path, a query that is of no concern, nothing that is not ASCII, and no fragment.
_TARGET: Final = re.compile(r"(/[!\"$->@-~]*)(\?[!\"$-~]*)?")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NEVER_IN_A_NAME: Final = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")
_WELL_KNOWN: Final = ".well-known"


@dataclass(frozen=True, slots=True)
class FilePath:
    """Names to follow from the root, none for the root itself; ``is_directory`` when a slash is behind the last."""

    names: tuple[str, ...]
    is_directory: bool


def file_path(target: str) -> FilePath | None:
    """Return what an origin-form target names; None when it cannot be a file that is served."""
    match = _TARGET.fullmatch(target)
    if match is None:
        return None
    *pieces, last = match[1][1:].split("/")
    names = [_decoded(piece) for piece in ([*pieces, last] if last else pieces)]
    accepted = tuple(name for place, name in enumerate(names) if name is not None and _may_be_served(name, place))
    return FilePath(accepted, is_directory=not last) if len(accepted) == len(names) else None


def with_slash(target: str) -> str:
    """Return the reference to the same path as a directory, its query kept: ``/a?b`` -> ``/a/?b``."""
    path, question, query = target.partition("?")
    return f"{path}/{question}{query}"


def _decoded(piece: str) -> str | None:
    if "%" not in piece:
        return piece
    if _BROKEN_ESCAPE.search(piece):
        return None
    try:
        return unquote_to_bytes(piece).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _may_be_served(name: str, place: int) -> bool:
    if name.startswith("."):
        return name == _WELL_KNOWN and place == 0
    return name != "" and _NEVER_IN_A_NAME.search(name) is None
