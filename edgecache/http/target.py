"""Targets of requests (RFC 9112 §3.2) and authorities, by a grammar narrower than the RFCs'.

A cache that reads a target differently from its origin can be made to store the wrong thing. What does not pass is a
``ClientError``; nothing is repaired, decoded or normalised.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

from edgecache.errors import ClientError

__all__ = ["parse_authority", "parse_target"]

_TARGET: Final = re.compile(r"[!-~]+")
_ABSOLUTE: Final = re.compile(r"(https?)://([^/?]*)(.*)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(?:([a-z0-9._~-]{1,255})|\[([0-9a-f:.]{2,45})\])(?::([1-9][0-9]{0,4}))?")
"""Narrower than RFC 3986 §3.2.2: no percent-encoding, no sub-delims. No host on the web has them, attacks do."""
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def parse_target(method: str, target: str) -> tuple[str, str, str]:
    """Return scheme, authority and origin-form of a request target (RFC 9112 §3.2).

    Scheme and authority are empty unless it was in absolute-form. Raises ``ClientError`` (400).
    """
    if not _TARGET.fullmatch(target) or "#" in target or "\\" in target:
        raise ClientError(400, "malformed request target")
    if target[0] == "/":
        return "", "", target
    if target == "*" and method == "OPTIONS":
        return "", "", target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not absolute[2]:
        raise ClientError(400, "malformed request target")
    scheme, authority, rest = absolute[1].lower(), absolute[2], absolute[3]
    if not rest:
        # RFC 9112 §3.2.4: an OPTIONS for a bare authority means the server as a whole.
        return scheme, authority, "*" if method == "OPTIONS" else "/"
    return scheme, authority, rest if rest[0] == "/" else f"/{rest}"


@lru_cache(maxsize=1024)
def parse_authority(text: str, scheme: str) -> str:
    """Return a host and port in lower case, without the scheme's default port; raise ``ClientError`` (400)."""
    match = _AUTHORITY.fullmatch(text.lower()) if text.isascii() else None
    if match is None or (match[2] is not None and not _is_ipv6(match[2])):
        raise ClientError(400, "malformed host")
    host, port = match[1] or f"[{match[2]}]", match[3]
    if port is None or port == _DEFAULT_PORTS[scheme]:
        return host
    if int(port) > 65535:
        raise ClientError(400, "malformed host")
    return f"{host}:{port}"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
