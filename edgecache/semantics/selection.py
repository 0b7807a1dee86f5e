"""Selection among stored responses by Vary (RFC 9111 §4.1).

Theory
    The names come from the stored response, the values from the request that got it, normalised
    where the field's definition says that the difference means nothing (white space, the order of codings).
    A stored response is selected when the presented request has equal normalised values for all its names.

    One departure in the client's favour: when only Accept-Language differs, and the stored response says by
    Content-Language that it is in the one language the presented request prefers to all others, it is selected.
    That is what the origin would have chosen, as §4.1 allows ("normalizing … in ways known to have
    identical semantics", and "may be able to determine that a response is suitable").

    Three kinds of responses tell by themselves what they depend on, and are selected by that too, whatever Vary says:
    one that is encoded was made for those who accept the coding; one that allows the origin that asked, and not
    every origin, was made for its pages (CORS); and an error that is none of the target's may be the doing of any field
    of this very request, so that it is given only to who asks with the same ones. That there is no such target may be
    so for one user alone. Without that the first comes to
    be answered with bytes they cannot decode, and the last with an error that somebody else provoked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from edgecache.http.fields import combined, members
from edgecache.http.message import FieldsView, RequestHead, ResponseHead
from edgecache.http.negotiation import most_preferred_language, selecting_value
from edgecache.semantics.stored import Selecting, StoredResponse
from edgecache.semantics.unkeyed import FREE

__all__ = ["is_of_the_request", "matches", "select", "selecting", "selecting_fields", "selecting_names", "vary_names"]

_LANGUAGE = "accept-language"

_OF_THE_TARGET: Final = frozenset({404, 405, 410, 414})
"""Errors that a method and a target are enough for, and those are in the key."""

_CREDENTIALS: Final = ("authorization", "cookie")

# Of these also the absence may be the cause.
_CAUSES: Final = FREE | {"sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "x-forwarded-for"}


def vary_names(fields: FieldsView) -> tuple[str, ...] | None:
    """Return the names in Vary, lower case, sorted, without repetition; None when one of them is ``*``."""
    if "vary" not in fields:
        return ()
    names = {name.lower() for name in members(fields, "vary")}
    return None if "*" in names else tuple(sorted(names))


def selecting_names(request: FieldsView, head: ResponseHead, harmless: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of all request fields that select a response, lower case, sorted.

    ``harmless`` are names of fields of which the operator says that they change no response.
    """
    return tuple(sorted({*(vary_names(head.fields) or ()), *(set(_untold(request, head)) - set(harmless))}))


def selecting(request: FieldsView, head: ResponseHead, harmless: Collection[str] = ()) -> Selecting:
    """Return what of a request selects a response to it; ``harmless`` as in ``selecting_names``."""
    fields = head.fields
    tells = "vary" in fields or "content-encoding" in fields or "access-control-allow-origin" in fields
    if head.status < 400 and not tells:
        return _NOTHING
    return selecting_fields(request, selecting_names(request, head, harmless))


_NOTHING: Final = Selecting()


def is_of_the_request(status: int) -> bool:
    """Whether a status says something about one request and its fields, and not about the target."""
    return status >= 400 and status not in _OF_THE_TARGET


def _untold(request: FieldsView, head: ResponseHead) -> Iterator[str]:
    codings = {coding.lower() for coding in members(head.fields, "content-encoding")} - {"identity"}
    if codings:
        yield "accept-encoding"
    if codings & {"dcb", "dcz"}:
        yield "available-dictionary"
    allowed = combined(head.fields, "access-control-allow-origin")
    if allowed is not None and allowed == combined(request, "origin"):
        yield "origin"
    if is_of_the_request(head.status):
        yield from _CAUSES
        yield from map(str.lower, request)
    elif head.status >= 400:
        yield from (name for name in _CREDENTIALS if name in request)


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
