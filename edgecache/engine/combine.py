"""Combining parts of a representation (RFC 9111 §3.4).

Bytes from two responses are put together only when both carry the same strong entity tag and say the same complete
length; then they are parts of one sequence of bytes. Everything else is left as it was: the newer part replaces
the older. The combined response has the newer one's head and the older one's birth, so that a purge of either
is a purge of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from edgecache.http.message import Pair, ResponseHead, fields_of, render_fields, render_status_line
from edgecache.http.ranges import OF_THESE_BYTES, ContentRange, parse_content_range, render_content_range
from edgecache.semantics.stored import StoredResponse
from edgecache.semantics.validation import merge
from edgecache.stores.body import MemoryBody, slices

__all__ = ["combine", "completed", "whole"]


def completed(part: StoredResponse, first: int, last: int | None, answer: ResponseHead) -> ResponseHead | None:
    """Return the head of the whole when ``answer`` brings exactly the missing bytes of ``part``, else None."""
    held = part.content_range
    new = parse_content_range(answer.fields.get("content-range", ""))
    if held is None or new is None or not _same_representation(part, answer) or new.first != first:
        return None
    ends_at = last if last is not None else (new.complete or 0) - 1
    if new.last != ends_at or (held.complete is not None and new.complete != held.complete):
        return None
    fields = [pair for pair in merge(part.fields, answer) if pair[0].lower() not in OF_THESE_BYTES]
    return ResponseHead(200, fields_of(fields))


def combine(older: StoredResponse, newer: StoredResponse) -> StoredResponse:
    """Return ``newer`` with the bytes that ``older`` has beside it; ``newer`` itself when they do not touch."""
    a, b = older.content_range, newer.content_range
    if b is None:
        return newer
    if a is not None and _same_representation(older, newer.head()) and _touch(a, b):
        newer = _union(older, a, newer, b)
    return whole(newer)


def _same_representation(part: StoredResponse, answer: ResponseHead) -> bool:
    etag = part.validators.etag
    return etag is not None and not etag.startswith("W/") and answer.fields.get("etag") == etag


def _touch(a: ContentRange, b: ContentRange) -> bool:
    return a.complete == b.complete and a.first <= b.last + 1 and b.first <= a.last + 1


def _union(older: StoredResponse, a: ContentRange, newer: StoredResponse, b: ContentRange) -> StoredResponse:
    old, new = older.body.local, newer.body.local
    if old is None or new is None:
        return newer
    before = slices(old, 0, max(b.first - a.first, 0))
    after = slices(old, b.last + 1 - a.first, a.last + 1 - a.first) if a.last > b.last else ()
    body = MemoryBody((b"".join((*before, *new, *after)),))
    held = ContentRange(min(a.first, b.first), max(a.last, b.last), b.complete)
    birth = min(older.birth, newer.birth, key=lambda birth: birth.sequence)
    fields = [pair for pair in newer.fields if pair[0].lower() not in OF_THESE_BYTES]
    range_field = ("Content-Range", render_content_range(held))
    return replace(
        newer,
        body=body,
        content_range=held,
        fields=(*fields, range_field),
        birth=birth,
        tags=older.tags | newer.tags,
        rendered=_rendered(newer, 206, (range_field,)),
    )


def whole(part: StoredResponse) -> StoredResponse:
    """Return a part that has all the bytes as a 200; any other as it is."""
    held = part.content_range
    if held is None or held.first > 0 or held.last + 1 != held.complete:
        return part
    fields = tuple(pair for pair in part.fields if pair[0].lower() not in OF_THESE_BYTES)
    return replace(part, status=200, fields=fields, content_range=None, rendered=_rendered(part, 200, ()))


def _rendered(part: StoredResponse, status: int, of_these_bytes: Iterable[Pair]) -> bytes:
    """Make it of what was rendered, which is what clients see, with other fields that describe the bytes."""
    kept = [pair for pair in part.shown().fields.items() if pair[0].lower() not in OF_THESE_BYTES]
    return render_status_line(status) + render_fields([*kept, *of_these_bytes])
