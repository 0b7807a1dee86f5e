"""Cache-Status (RFC 9211): what this cache did with a request, as one member of a structured list.

Theory
    The member is written by hand, since every response carries one: only the name, ``key`` and ``detail`` hold
    text that needs looking at. The tests read it back with a structured-field parser.

Invariants
    * Whatever is given, the member is a valid structured-field item.
    * Members of caches nearer to the origin come first (§2): ours is appended.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final

from edgecache.http.memo import memoised

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fwd", "append", "member"]


class Fwd(enum.StrEnum):
    """Why a request went forward (RFC 9211 §2.2)."""

    __hash__ = str.__hash__  # as what it is equal to, and without a call of Python's for each count

    BYPASS = "bypass"  # configured not to handle it
    METHOD = "method"  # its method's semantics require it
    URI_MISS = "uri-miss"  # nothing is stored for the URI
    VARY_MISS = "vary-miss"  # something is, but nothing its selecting fields select
    MISS = "miss"  # nothing could be used, and it is not told why
    REQUEST = "request"  # a fresh response was there, but the request's directives forbade it
    STALE = "stale"  # a response was there, but stale
    PARTIAL = "partial"  # a part was there, but not all that is needed


def member(
    name: str,
    *,
    hit: bool = False,
    fwd: Fwd | None = None,
    fwd_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: str | None = None,
    detail: str | None = None,
) -> str:
    """Return ``edgecache; hit; ttl=30``.

    ``ttl`` is in seconds, negative when stale (§2.4). A hit is not forwarded, so ``fwd`` is not written beside
    ``hit`` (§2.1). ``fwd_status`` is the status of the forwarded request's response.
    """
    rendered = _token_or_string(name)
    if hit:
        rendered += "; hit"
    elif fwd is not None:
        rendered += f"; fwd={fwd.value}"
    if fwd_status is not None:
        rendered += f"; fwd-status={fwd_status}"
    if ttl is not None:
        rendered += f"; ttl={ttl}"
    if stored:
        rendered += "; stored"
    if collapsed:
        rendered += "; collapsed"
    if key is not None:
        rendered += f"; key={_string(key)}"
    if detail is not None:
        rendered += f"; detail={_token_or_string(detail)}"
    return rendered


def append(existing: Sequence[str], member: str) -> str:
    """Return the field's value: what caches nearer to the origin wrote, then ``member``."""
    return ", ".join([*(line for line in existing if line.strip()), member])


# sf-token and sf-string (RFC 9651 §3.3.4, §3.3.3)
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_PLAIN: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*")
_NOT_PLAIN: Final = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


@memoised
def _token_or_string(text: str) -> str:
    return text if _TOKEN.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    return f'"{text}"' if _PLAIN.fullmatch(text) else f'"{_NOT_PLAIN.sub(_escaped, text)}"'


def _escaped(match: re.Match[str]) -> str:
    """A backslash before quote and backslash; percent-encoding for what an sf-string cannot hold."""
    character = match[0]
    if character in '"\\':
        return "\\" + character
    # Up to U+00FF a character stands for one byte of a field value; others come from our own text.
    octets = character.encode("latin-1" if character <= "\xff" else "utf-8", "surrogatepass")
    return "".join(f"%{octet:02X}" for octet in octets)
