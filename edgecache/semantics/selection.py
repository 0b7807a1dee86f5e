"""Selection among stored responses by Vary (RFC 9111 §4.1).

Theory
    The names come from the stored response, the values from the request that got it, normalised
    where the field's definition says that the difference means nothing (white space, the order of codings).
    A stored response is selected when the presented request has equal normalised values for all its names.

    One departure in the client's favour: when only Accept-Language differs, and the stored response says by
    Content-Language that it is in the one language the presented request prefers to all others, it is selected.
    That is what the origin would have chosen, as §4.1 allows ("normalizing … in ways known to have
    identical semantics", and "may be able to determine that a response is suitable").
"""

from __future__ import annotations

from collections.abc import Iterable

from edgecache.http.fields import combined, members
from edgecache.http.message import FieldsView, RequestHead
from edgecache.http.negotiation import most_preferred_language, selecting_value
from edgecache.semantics.stored import Selecting, StoredResponse

__all__ = ["matches", "select", "selecting_fields", "vary_names"]

_LANGUAGE = "accept-language"


def vary_names(fields: FieldsView) -> tuple[str, ...] | None:
    """Return the names in Vary, lower case, sorted, without repetition; None when one of them is ``*``."""
    names = {name.lower() for name in members(fields, "vary")}
    return None if "*" in names else tuple(sorted(names))


def selecting_fields(request: FieldsView, names: Iterable[str]) -> Selecting:
    """Return the names with the request's normalised values."""
    names = tuple(names)
    return Selecting(names, tuple(selecting_value(request, name) for name in names))


def matches(stored: StoredResponse, request: FieldsView) -> bool:
    """Whether the presented request selects the stored response."""
    selecting = stored.selecting
    for name, value in zip(selecting.names, selecting.values, strict=True):
        if selecting_value(request, name) != value and not (
            name == _LANGUAGE and _is_in_preferred_language(stored, request)
        ):
            return False
    return True


def select(candidates: Iterable[StoredResponse], request: RequestHead) -> tuple[StoredResponse, ...]:
    """Return the candidates that the request selects, most recent first (§4.1: the most recent is used)."""
    selected = [stored for stored in candidates if matches(stored, request.fields)]
    if len(selected) > 1:
        selected.sort(key=lambda stored: stored.response_time, reverse=True)
    return tuple(selected)


def _is_in_preferred_language(stored: StoredResponse, request: FieldsView) -> bool:
    preferred = most_preferred_language(combined(request, _LANGUAGE) or "")
    language = stored.head().fields.get("content-language", "")
    return preferred is not None and preferred == language.strip().lower()
