"""Tags: labels that an origin gives its responses, so that one purge finds them all.

They come in the fields of a dozen systems, which differ in separators only; here white space and commas both separate,
since no system allows either inside a tag. Tags are compared exactly, case included, never cut short, and never
empty: a response with more tags, or longer ones, than are kept is not stored, because a purge would miss it.
Cache groups (RFC 9875) are tags too, of their origin alone; their labels contain a space, so no tag can spell one.
Rules add tags, in which ``{host}`` and ``{1}`` … stand for the authority and for segments of the path; one that names a
segment which the path does not have is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from edgecache.http.message import FieldsView, RequestHead, ResponseHead
from edgecache.semantics.guards import path_of
from edgecache.semantics.invalidation import group_tags
from edgecache.semantics.policy import Policy

__all__ = ["MAX_TAGS", "MAX_TAG_LENGTH", "PLACE", "tags_of"]

MAX_TAGS: Final = 256
MAX_TAG_LENGTH: Final = 1024
"""Fastly's limit for one key; 256 of them are four times what its documentation recommends."""

_SEPARATORS: Final = re.compile(r"[\s,]+")
_NONE: Final[frozenset[str]] = frozenset()
PLACE: Final = re.compile(r"\{(host|[1-9])\}")


def tags_of(request: RequestHead, head: ResponseHead, policy: Policy) -> frozenset[str] | None:
    """Return every label of a response: of its fields, its groups and the rules; None when there are too many."""
    fields = head.fields
    names = [name for name in policy.tag_fields if name in fields]
    if not (names or policy.tags or "cache-groups" in fields):
        return _NONE
    groups = group_tags(request, head)
    tags = frozenset(_tags(fields, names)).union(_filled_in(request, policy.tags))
    if not tags:
        return groups
    if groups is None or len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_LENGTH for tag in tags):
        return None
    return tags | groups


def _tags(fields: FieldsView, names: Iterable[str]) -> list[str]:
    lines = [line for name in names for line in fields.getall(name)]
    return [tag for line in lines for tag in _SEPARATORS.split(line) if tag]


def _filled_in(request: RequestHead, templates: tuple[str, ...]) -> list[str]:
    segments = path_of(request.target).split("/")[1:]
    places = {str(number): segment for number, segment in enumerate(segments[:9], start=1) if segment}
    places["host"] = request.authority
    wanted = [template for template in templates if all(place in places for place in PLACE.findall(template))]
    tags = (PLACE.sub(lambda found: places[found[1]], template) for template in wanted)
    return [tag for tag in tags if not _SEPARATORS.search(tag)]
