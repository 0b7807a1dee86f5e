"""Stored responses in as little memory as they need: equal values kept once, and texts kept once as bytes.

Theory
    Of 13 fields of common lengths, as they come from the wire, a response without a body took 4 KB: 2 KB for pairs
    of strings whose text is in the rendered head as well, and 1 KB for numbers, tags and selecting fields that
    thousands of others have too. What is made of it here is equal to it, takes 1.6 KB, and has a fourth of the
    objects for a collector of cycles to look at.

Invariants
    * A compacted response is equal to the one it is made from, and compacting it again changes nothing.
    * What is known to be in common is bounded: whoever sends what never repeats makes it forget, and costs the others
      memory and not correctness.

Called by ``stores.memory``.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from edgecache.http.field_lines import FieldLines
from edgecache.http.message import Pair
from edgecache.semantics.stored import Birth, Freshness, Selecting, StoredResponse, Validators

__all__ = ["Compactor"]

_MOST_KNOWN: Final = 1024
"""Values of each kind that are known to be in common."""

_NO_TAGS: Final[frozenset[str]] = frozenset()

Value = TypeVar("Value", bound=Hashable)


class Compactor:
    """Makes responses compact. One per store."""

    def __init__(self) -> None:
        self._numbers: Final[dict[float, float]] = {}
        self._texts: Final[dict[str, str]] = {}
        self._selecting: Final[dict[Selecting, Selecting]] = {}
        self._births: Final[dict[Birth, Birth]] = {}

    def compacted(self, response: StoredResponse) -> StoredResponse:
        """Return an equal response."""
        return replace(
            response,
            fields=_lines(response),
            freshness=self._freshness(response.freshness),
            birth=_known(self._births, response.birth),
            selecting=_known(self._selecting, response.selecting),
            validators=self._validators(response.validators),
            tags=frozenset(sys.intern(str(tag)) for tag in response.tags) if response.tags else _NO_TAGS,
        )

    def _freshness(self, freshness: Freshness) -> Freshness:
        numbers = self._numbers
        return replace(
            freshness,
            lifetime=_known(numbers, float(freshness.lifetime)),
            grace=_known(numbers, float(freshness.grace)),
            if_error=_known(numbers, float(freshness.if_error)),
            if_unreachable=_known(numbers, float(freshness.if_unreachable)),
            keep=_known(numbers, float(freshness.keep)),
            if_gone=_known(numbers, float(freshness.if_gone)),
            eager=_known(numbers, float(freshness.eager)),
            sliding=_known(numbers, float(freshness.sliding)),
            slides_until=_known(numbers, float(freshness.slides_until)),
        )

    def _validators(self, validators: Validators) -> Validators:
        """A deploy gives everything one Last-Modified; entity tags are for one response each."""
        if validators.last_modified is None:
            return validators
        return replace(validators, last_modified=_known(self._texts, validators.last_modified))


def _lines(response: StoredResponse) -> Sequence[Pair]:
    if isinstance(response.fields, FieldLines):
        return response.fields
    return FieldLines.of(response.fields, response.rendered) or response.fields


def _known(known: dict[Value, Value], value: Value) -> Value:
    """Return the first value that was equal to this one."""
    if len(known) >= _MOST_KNOWN:
        known.clear()
    return known.setdefault(value, value)
