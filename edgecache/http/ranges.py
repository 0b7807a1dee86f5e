"""Byte ranges (RFC 9110 §14): what is asked for, what is there, and how several parts are put into one message.

Theory
    A Range is a request to be spared bytes, never an order: whatever is odd about it (syntax, unit, too many
    parts) is answered with the whole representation. Positions are inclusive at both ends, as on the wire.

Only ``bytes`` is known (§14.1.2). Building a multipart body is arithmetic here, so that its length is known before
its first byte; the boundary comes from the caller, who can choose one at random.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgecache.http.fields import parse_entity_tag, parse_http_date, split_list

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MAX_RANGES",
    "OF_THESE_BYTES",
    "ContentRange",
    "MultipartLayout",
    "RangeSpec",
    "if_range_matches",
    "is_abusive",
    "layout_multipart",
    "parse_content_range",
    "parse_range",
    "render_content_range",
    "render_unsatisfied",
    "resolve",
]

MAX_RANGES: Final = 16
"""More parts than any reader of documents or seeker in videos asks for at once."""

OF_THESE_BYTES: Final = frozenset({"content-digest", "content-md5", "content-range"})
"""Fields that say something of the bytes in one message: neither of fewer nor of more of them (RFC 9530 §2)."""

_MAX_OVERLAPS: Final = 1
"""RFC 9110 §14.2 and §17.15 name more than two overlapping ranges as a sign of an attack."""

_POSITION_MAX: Final = 2**63 - 1
"""What a larger position is taken for: beyond the end of anything that exists."""

_STRONG_DATE_DISTANCE: Final = 1.0
"""Seconds by which Date must follow Last-Modified for the latter to be strong (RFC 9110 §8.8.2.2)."""

# Range unit names are case-insensitive (RFC 9110 §14.1).
_CONTENT_RANGE: Final = re.compile(r"(?i:bytes) ([0-9]+)-([0-9]+)/([0-9]+|\*)")
_RANGE_UNIT: Final = re.compile(r"(?i:bytes)=")
_INT_RANGE: Final = re.compile(r"([0-9]+)-([0-9]*)")
_SUFFIX_RANGE: Final = re.compile(r"-([0-9]+)")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes of a representation a 206 holds (RFC 9110 §14.4): first and last inclusive.

    ``complete`` is the representation's length in bytes, None when the origin said ``*``.
    """

    first: int
    last: int
    complete: int | None

    @property
    def size(self) -> int:
        """Number of bytes in the range."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class RangeSpec:
    """One range asked for; ``first`` None means the last ``last`` bytes, ``last`` None means to the end."""

    first: int | None
    last: int | None


def _position(digits: str) -> int:
    significant = digits.lstrip("0")
    # Longer ones are not converted: int() refuses thousands of digits.
    return min(int(significant or "0"), _POSITION_MAX) if len(significant) <= 19 else _POSITION_MAX


# ----------------------------------------------------------------------------------------------- Content-Range


def parse_content_range(value: str) -> ContentRange | None:
    """Return the range of a 206; None when it is not a valid range of bytes, or ``*/n``."""
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last = _position(match[1]), _position(match[2])
    complete = None if match[3] == "*" else _position(match[3])
    # A recipient MUST NOT recombine with an invalid one (RFC 9110 §14.4).
    if last < first or (complete is not None and complete <= last):
        return None
    return ContentRange(first, last, complete)


def render_content_range(r: ContentRange) -> str:
    """Return ``bytes 0-99/1234``."""
    return f"bytes {r.first}-{r.last}/{'*' if r.complete is None else r.complete}"


def render_unsatisfied(complete: int) -> str:
    """Return the Content-Range of a 416 (RFC 9110 §15.5.17)."""
    return f"bytes */{complete}"


# ------------------------------------------------------------------------------------------------------- Range


def parse_range(value: str) -> tuple[RangeSpec, ...] | None:
    """Return what a Range asks for, in order; None when it must or may be ignored (RFC 9110 §14.2)."""
    unit = _RANGE_UNIT.match(value)
    if unit is None:
        return None
    specs = [_parse_spec(member) for member in split_list(value[unit.end() :])]
    valid = tuple(spec for spec in specs if spec is not None)
    return valid if valid and len(valid) == len(specs) else None


def _parse_spec(member: str) -> RangeSpec | None:
    suffix = _SUFFIX_RANGE.fullmatch(member)
    if suffix is not None:
        return RangeSpec(None, _position(suffix[1]))
    match = _INT_RANGE.fullmatch(member)
    if match is None:
        return None
    first = _position(match[1])
    last = _position(match[2]) if match[2] else None
    return None if last is not None and last < first else RangeSpec(first, last)


def resolve(specs: Sequence[RangeSpec], complete: int) -> tuple[tuple[int, int], ...]:
    """Return the satisfiable ranges as (first, last), in the order asked for; none at all means 416.

    Of a representation without bytes nothing can be had: answering such a request with 200 is kinder than 416.
    """
    found = (_resolve(spec, complete) for spec in specs)
    return tuple(bounds for bounds in found if bounds is not None)


def _resolve(spec: RangeSpec, complete: int) -> tuple[int, int] | None:
    end = complete - 1
    if spec.first is None:
        length = min(spec.last or 0, complete)
        return (complete - length, end) if length else None
    if spec.first > end:
        return None
    return spec.first, end if spec.last is None else min(spec.last, end)


def is_abusive(ranges: Sequence[tuple[int, int]], complete: int) -> bool:
    """Whether resolved ranges are better answered with the whole representation (RFC 9110 §14.2, §17.15).

    They are when they are very many, overlap more than once, or add up to more bytes than there are.
    """
    if len(ranges) > MAX_RANGES or sum(last - first + 1 for first, last in ranges) > complete:
        return True
    overlaps, end = 0, -1
    for first, last in sorted(ranges):
        overlaps += first <= end
        end = max(end, last)
    return overlaps > _MAX_OVERLAPS


def if_range_matches(
    value: str, *, etag: str | None, last_modified: str | None, date: float | None, now: float
) -> bool:
    """Whether If-Range names exactly what is stored, so that Range may be obeyed (RFC 9110 §13.1.5).

    ``etag`` and ``last_modified`` are the stored validators as received, ``date`` is when the response was
    generated, and ``now`` dates two-digit years; both are POSIX seconds.
    """
    presented = parse_entity_tag(value)
    if presented is not None:
        stored = None if etag is None else parse_entity_tag(etag)
        return stored is not None and presented.strong_equals(stored)
    since = parse_http_date(value, now)
    if since is None or last_modified is None or date is None:
        return False
    return since == parse_http_date(last_modified, now) and date - since >= _STRONG_DATE_DISTANCE


# ----------------------------------------------------------------------------------------- multipart/byteranges


@dataclass(frozen=True, slots=True)
class MultipartLayout:
    """A multipart/byteranges body (RFC 9110 §14.6) without the bytes of the representation.

    Each part is its preamble, then bytes ``first`` to ``last`` inclusive; ``closing`` ends the body. ``length``
    is that of all of it.
    """

    length: int
    content_type: str
    parts: tuple[tuple[bytes, int, int], ...]
    closing: bytes


def layout_multipart(
    ranges: Sequence[tuple[int, int]], *, content_type: str | None, complete: int, boundary: str
) -> MultipartLayout:
    """Lay out resolved ranges. ``boundary`` is a token that does not occur in the content."""
    type_line = "" if content_type is None else f"Content-Type: {content_type}\r\n"
    delimiter = f"--{boundary}\r\n{type_line}"
    parts: list[tuple[bytes, int, int]] = []
    for first, last in ranges:
        range_line = f"Content-Range: {render_content_range(ContentRange(first, last, complete))}\r\n"
        preamble = f"{delimiter}{range_line}\r\n".encode("latin-1")
        parts.append((preamble if not parts else b"\r\n" + preamble, first, last))
    closing = f"\r\n--{boundary}--\r\n".encode("latin-1")
    length = sum(len(preamble) + last - first + 1 for preamble, first, last in parts) + len(closing)
    return MultipartLayout(length, f"multipart/byteranges; boundary={boundary}", tuple(parts), closing)
