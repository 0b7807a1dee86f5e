"""How many stored responses there are of each tag, host and URI: what a purge will hit, known without looking.

Theory
    A purge costs the same whatever is stored, and should nevertheless say how much it hit. So a store counts while it
    stores. A tally is that count and, as an example for people, the key of the response counted last, while it is
    there.

    The tables are in parts, as that of ``stores.memory`` is and for its reason: a million tags in one dict stopped a
    put for 26 ms when it had to grow. What they have in them are objects and no tuples: a dict of which Python's
    collector of cycles thinks that it can be part of none is forgotten by it, but comes back as if it were new, with
    all that is in it, whenever something is added; with 60 000 tags each full collection took 4 ms longer.

    The URI of nearly every response is its key, and those the store can count by itself. Here are counted those that
    are stored under something longer (a QUERY's), by their URIs.

Invariants
    * Every tally is that of the responses added and not removed. What is not stored is not mentioned anywhere.
    * ``bytes`` is a function of what is counted, and not less than what that takes: at 100 000 responses, each with a
      tag, a host and a URI of its own, an entry took 81 bytes beside the string of its name (CPython 3.11).

Called by ``stores.memory``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from edgecache.semantics.stored import CacheKey, StoredResponse

__all__ = ["NOTHING", "Census", "Tally", "authority_of"]

Tally: TypeAlias = tuple[int, CacheKey | None]
"""How many, and the key of one of them when it is known."""

NOTHING: Final[Tally] = (0, None)

_PARTS: Final = 256
"""Parts of each table; the low bits of a name's hash say in which part it is."""

_PER_ENTRY: Final = 192
"""A tally, its place in a table that has just grown, and the header of its name's string, bytes."""


class _Entry:
    """A tally that goes on."""

    __slots__ = ("count", "latest")

    def __init__(self) -> None:
        self.count = 0
        self.latest: CacheKey | None = None


_Table: TypeAlias = Sequence[dict[str, _Entry]]


class Census:
    """Tallies by tag, by authority, and by URI of what is stored under another key."""

    __slots__ = ("_hosts", "_tags", "_uris", "bytes")

    def __init__(self) -> None:
        self._tags: Final = _empty()
        self._hosts: Final = _empty()
        self._uris: Final = _empty()
        self.bytes = 0

    def add(self, response: StoredResponse) -> None:
        """Count a response."""
        for tag in response.tags:
            self._count(self._tags, tag, response.key)
        self._count(self._hosts, authority_of(response.uri), response.key)
        if response.uri != response.key:
            self._count(self._uris, response.uri, response.key)

    def remove(self, response: StoredResponse) -> None:
        """Count a response no longer; it was added before."""
        for tag in response.tags:
            self._discount(self._tags, tag, response.key)
        self._discount(self._hosts, authority_of(response.uri), response.key)
        if response.uri != response.key:
            self._discount(self._uris, response.uri, response.key)

    def clear(self) -> None:
        """Count nothing."""
        for table in (self._tags, self._hosts, self._uris):
            for part in table:
                part.clear()
        self.bytes = 0

    def of_tag(self, tag: str) -> Tally:
        """Return the tally of a tag."""
        return _tally(self._tags, tag)

    def of_authority(self, authority: str) -> Tally:
        """Return the tally of a host and port, as they are spelled in URIs."""
        return _tally(self._hosts, authority)

    def of_uri(self, uri: str) -> Tally:
        """Return the tally of a URI, without what is stored under it."""
        return _tally(self._uris, uri)

    @staticmethod
    def most(response: StoredResponse) -> int:
        """Return by how much counting a response can increase ``bytes``."""
        names = [*response.tags, authority_of(response.uri)]
        if response.uri != response.key:
            names.append(response.uri)
        return sum(_PER_ENTRY + len(name) for name in names)

    def _count(self, table: _Table, name: str, key: CacheKey) -> None:
        part = _part(table, name)
        entry = part.get(name)
        if entry is None:
            entry = part[name] = _Entry()
            self.bytes += _PER_ENTRY + len(name)
        entry.count += 1
        entry.latest = key

    def _discount(self, table: _Table, name: str, key: CacheKey) -> None:
        part = _part(table, name)
        entry = part[name]
        entry.count -= 1
        if entry.latest == key:
            entry.latest = None
        if not entry.count:
            del part[name]
            self.bytes -= _PER_ENTRY + len(name)


def authority_of(uri: str) -> str:
    """Return host and port of an absolute URI as they are spelled; of another text something, and nothing raised."""
    return uri.partition("://")[2].partition("/")[0]


def _empty() -> _Table:
    return tuple({} for _ in range(_PARTS))


def _part(table: _Table, name: str) -> dict[str, _Entry]:
    return table[hash(name) % _PARTS]


def _tally(table: _Table, name: str) -> Tally:
    entry = _part(table, name).get(name)
    return NOTHING if entry is None else (entry.count, entry.latest)
