"""Invalidation (RFC 9111 §4.4) and cache groups (RFC 9875).

An unsafe method that succeeded makes what is stored under its target URI unusable, and under the URIs in Location and
Content-Location when they have the same origin. Groups label responses of one origin; a response to an unsafe
method may name groups to invalidate. A group's label includes its origin, so that no site can reach
another's (RFC 9875 §2).
"""

from __future__ import annotations

from typing import Final, cast
from urllib.parse import urljoin, urlsplit

import http_sf

from edgecache.http.fields import combined
from edgecache.http.message import FieldsView, RequestHead, ResponseHead

__all__ = ["MAX_GROUPS", "MAX_GROUP_LENGTH", "SAFE_METHODS", "group_tags", "invalidated_groups", "invalidated_uris"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""RFC 9110 §9.2.1 and RFC 10008; a method that is not known is taken for unsafe."""

MAX_GROUPS: Final = 128
MAX_GROUP_LENGTH: Final = 128
"""Well above the 32 members of 32 characters that RFC 9875 §2.1 asks for."""


def invalidated_uris(request: RequestHead, head: ResponseHead) -> tuple[str, ...]:
    """Return target URIs whose stored responses the exchange makes invalid; empty for safe or failed requests."""
    if request.method in SAFE_METHODS or not 200 <= head.status < 400:
        return ()
    uris = [request.target_uri]
    for name in ("location", "content-location"):
        value = head.fields.get(name)
        uri = None if value is None else _same_origin(request, value)
        if uri is not None and uri not in uris:
            uris.append(uri)
    return tuple(uris)


def _same_origin(request: RequestHead, reference: str) -> str | None:
    """Resolve a URI reference; None when it is unusable or of another origin (RFC 9111 §4.4)."""
    try:
        uri = urljoin(request.target_uri, reference)
        parts = urlsplit(uri)
    except ValueError:
        return None
    authority = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    if (parts.scheme, authority) != (request.scheme, request.authority):
        return None
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{authority}{parts.path or '/'}{query}"


def group_tags(request: RequestHead, head: ResponseHead) -> frozenset[str] | None:
    """Return the labels under which Cache-Groups puts the response (RFC 9875 §2); None when there are too many.

    More than are kept cannot be cut short: the response would survive an invalidation that names it.
    """
    if "cache-groups" not in head.fields:
        return frozenset()
    groups = _groups(head.fields, "cache-groups")
    if len(groups) > MAX_GROUPS or any(len(group) > MAX_GROUP_LENGTH for group in groups):
        return None
    return _labels(request, groups)


def invalidated_groups(request: RequestHead, head: ResponseHead) -> frozenset[str]:
    """Return the labels that Cache-Group-Invalidation names; only unsafe methods count (RFC 9875 §3)."""
    if request.method in SAFE_METHODS:
        return frozenset()
    return _labels(request, _groups(head.fields, "cache-group-invalidation"))


def _groups(fields: FieldsView, name: str) -> list[str]:
    """Return the strings of a structured-field List; a list that does not parse, or other members, are ignored."""
    value = combined(fields, name)
    if value is None:
        return []
    try:
        members = cast("list[tuple[object, object]]", http_sf.parse(value.encode("latin-1"), tltype="list"))
    except (http_sf.StructuredFieldError, ValueError):
        return []
    return [item for item, _ in members if type(item) is str and item]


def _labels(request: RequestHead, groups: list[str]) -> frozenset[str]:
    # An authority has no slash, so no group can spell another origin's label; and a tag has no space, so
    # nobody can spell any group's.
    return frozenset(f"group {request.scheme}://{request.authority}/{group}" for group in groups)
