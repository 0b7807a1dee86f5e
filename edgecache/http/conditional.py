"""Preconditions as far as a cache evaluates them (RFC 9110 §13, RFC 9111 §4.3.2).

Theory
    If-None-Match and If-Modified-Since ask "has it changed?", which a cache can answer from what it stores.
    If-Match and If-Unmodified-Since ask about the origin's current state, which it cannot: a request with one
    of these goes to the origin. ``fails_if_match`` is for an origin of our own. If-Range belongs to ``ranges``.

    An entity tag is opaque, so one that breaks the grammar still identifies: unquoted and malformed tags are
    compared as they were received. That can only produce a match where both sides wrote the very same thing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from edgecache.http.fields import OWS, combined, entity_tag_list, parse_entity_tag, parse_http_date

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgecache.http.message import FieldsView, Pair

__all__ = [
    "Precondition",
    "asks_for_everything",
    "evaluate",
    "fails_if_match",
    "has_cache_conditions",
    "has_origin_conditions",
    "not_modified_fields",
    "without_conditions",
]


class Precondition(enum.Enum):
    """What a stored response that could be served is served as."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"


_VALIDATION_FIELDS: Final = frozenset({"if-none-match", "if-modified-since", "if-range", "range"})

_LEFT_OUT_OF_304: Final = frozenset(
    {
        "content-digest",
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "digest",
        "repr-digest",
        "transfer-encoding",
    }
)


def has_cache_conditions(fields: FieldsView) -> bool:
    """Whether a request asks for a 304 if nothing changed."""
    return "if-none-match" in fields or "if-modified-since" in fields


def has_origin_conditions(fields: FieldsView) -> bool:
    """Whether a request has preconditions that only the origin can evaluate (RFC 9110 §13.1.1, §13.1.4)."""
    return "if-match" in fields or "if-unmodified-since" in fields


def evaluate(
    method: str,
    request: FieldsView,
    *,
    etag: str | None,
    last_modified: str | None,
    date: float | None,
    now: float,
) -> Precondition:
    """Evaluate a request's conditions against a stored response.

    ``etag`` and ``last_modified`` are its validators as received, ``date`` is when it was generated, and ``now``
    dates two-digit years; both are POSIX seconds. Conditions of other methods than GET and HEAD are not a
    cache's to evaluate.
    """
    if method not in ("GET", "HEAD"):
        return Precondition.PROCEED
    none_match = combined(request, "if-none-match")
    if none_match is not None:
        # If-Modified-Since is ignored when If-None-Match is there (RFC 9110 §13.1.3).
        unchanged = _matches(none_match, etag)
    else:
        unchanged = _is_unmodified_since(request, last_modified, date, now)
    return Precondition.NOT_MODIFIED if unchanged else Precondition.PROCEED


def fails_if_match(request: FieldsView, etag: str) -> bool:
    """Whether If-Match asks for other representations than the one with this tag (RFC 9110 §13.1.1): then it is 412.

    Strong comparison: a weak tag matches nothing.
    """
    wanted = combined(request, "if-match")
    if wanted is None or wanted.strip(OWS) == "*":
        return False
    current = parse_entity_tag(etag)
    tags = map(parse_entity_tag, entity_tag_list(wanted))
    return current is None or not any(tag is not None and tag.strong_equals(current) for tag in tags)


def _matches(none_match: str, etag: str | None) -> bool:
    """Weak comparison with each member (RFC 9110 §13.1.2); ``*`` matches whatever is stored."""
    if none_match == etag or none_match.strip(OWS) == "*":
        return True
    if etag is None:
        return False
    presented = entity_tag_list(none_match)
    if etag in presented:
        return True
    stored = parse_entity_tag(etag)
    return stored is not None and any(
        (tag := parse_entity_tag(member)) is not None and tag.weak_equals(stored) for member in presented
    )


def _is_unmodified_since(request: FieldsView, last_modified: str | None, date: float | None, now: float) -> bool:
    """RFC 9110 §13.1.3; without Last-Modified, the Date stands in for it (RFC 9111 §4.3.2)."""
    value = combined(request, "if-modified-since")
    since = None if value is None else parse_http_date(value, now)
    if since is None:
        return False
    modified = None if last_modified is None else parse_http_date(last_modified, now)
    if modified is None:
        modified = date
    return modified is not None and modified <= since


def asks_for_everything(fields: FieldsView) -> bool:
    """Whether nothing makes a request conditional for a cache, or partial."""
    return not ("range" in fields or "if-range" in fields or has_cache_conditions(fields))


def without_conditions(pairs: Iterable[Pair]) -> list[Pair]:
    """Return a request's field lines without what makes it conditional for a cache, or partial.

    If-Match and If-Unmodified-Since stay: they are between the client and the origin.
    """
    return [(name, value) for name, value in pairs if name.lower() not in _VALIDATION_FIELDS]


def not_modified_fields(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the field lines of a 304 made from those of a 200 (RFC 9110 §15.4.5).

    What describes the content is left out, for there is none; validators and what guides caches stay.
    """
    return [(name, value) for name, value in pairs if name.lower() not in _LEFT_OUT_OF_304]
