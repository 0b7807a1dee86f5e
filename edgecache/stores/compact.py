"""Stored responses in as little memory as they need: equal values kept once, and texts kept once as bytes.

Theory
    Of 13 fields of common lengths, as they come from the wire, a response without a body took 4 KB: 2 KB for pairs
    of strings and validators whose text is in the rendered head as well, and 0.7 KB for numbers, tags and selecting
    fields that thousands of others have too. What is made of it here is equal to it and takes 1.5 KB.

Invariants
    * A compacted response is equal to the one it is made from, and compacting it again changes nothing.
    * What is known to be in common is bounded: whoever sends what never repeats makes it forget, and costs the others
      memory and not correctness. Python's own table of interned strings is not: a million tags in it stopped a put
      for 30 ms when it had to grow.

Called by ``stores.memory``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import attrgetter
from typing import Final, TypeVar

from msgspec.structs import replace

from edgecache.http.field_lines import FieldLines
from edgecache.http.message import Pair
from edgecache.semantics.stored import Birth, Freshness, Selecting, StoredResponse, Validators

__all__ = ["Compactor", "ReadValidators"]

_MOST_KNOWN: Final = 1024
"""Values of each kind that are known to be in common."""

_ETAG: Final = b"\netag: "
_LAST_MODIFIED: Final = b"\nlast-modified: "

_NAMES: Final = (
    *("lifetime", "grace", "if_error", "if_unreachable", "keep"),
    *("if_gone", "eager", "sliding", "slides_until"),
)
"""The numbers of ``Freshness`` that many responses have in common."""
_DURATIONS: Final = attrgetter(*_NAMES)

_NO_TAGS: Final[frozenset[str]] = frozenset()

Value = TypeVar("Value", bound=Hashable)


class Compactor:
    """Makes responses compact. One per store."""

    def __init__(self) -> None:
        self._numbers: Final[dict[float, float]] = {}
        self._selecting: Final[dict[Selecting, Selecting]] = {}
        self._births: Final[dict[Birth, Birth]] = {}
        self._tags: Final[dict[str, str]] = {}

    def compacted(self, response: StoredResponse) -> StoredResponse:
        """Return an equal response."""
        fields = _lines(response)
        return replace(
            response,
            fields=fields,
            freshness=self._freshness(response.freshness),
            birth=_known(self._births, response.birth),
            selecting=_known(self._selecting, response.selecting),
            validators=_validators(response, fields),
            tags=frozenset(_known(self._tags, str(tag)) for tag in response.tags) if response.tags else _NO_TAGS,
        )

    def _freshness(self, freshness: Freshness) -> Freshness:
        numbers = list(map(float, _DURATIONS(freshness)))
        known = self._numbers
        if len(known) >= _MOST_KNOWN:
            known.clear()
        return replace(freshness, **dict(zip(_NAMES, map(known.setdefault, numbers, numbers), strict=True)))


class ReadValidators(Validators):
    """Validators that are read from field lines whenever somebody looks at them."""

    __slots__ = ("_lines",)

    _lines: bytes

    def __init__(self, lines: bytes) -> None:
        object.__setattr__(self, "_lines", lines)

    @property
    def etag(self) -> str | None:
        """The first ETag."""
        return _read(_ETAG, self._lines)

    @property
    def last_modified(self) -> str | None:
        """The first Last-Modified."""
        return _read(_LAST_MODIFIED, self._lines)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Validators):
            return NotImplemented
        return (self.etag, self.last_modified) == (other.etag, other.last_modified)

    def __hash__(self) -> int:
        return hash((self.etag, self.last_modified))


def _read(beginning: bytes, lines: bytes) -> str | None:
    found = (b"\n" + lines).lower().find(beginning)
    if found < 0:
        return None
    start = found + len(beginning) - 1
    return lines[start : lines.find(b"\r\n", start)].decode("latin-1")


def _validators(response: StoredResponse, fields: Sequence[Pair]) -> Validators:
    if isinstance(response.validators, ReadValidators) or type(fields) is not FieldLines:
        return response.validators
    read = ReadValidators(fields.lines)
    return read if read == response.validators else response.validators


def _lines(response: StoredResponse) -> Sequence[Pair]:
    if type(response.fields) is FieldLines:
        return response.fields
    lines = FieldLines.of(response.fields, response.rendered)
    return response.fields if lines is None else lines


def _known(known: dict[Value, Value], value: Value) -> Value:
    """Return the first value that was equal to this one."""
    if len(known) >= _MOST_KNOWN:
        known.clear()
    return known.setdefault(value, value)
