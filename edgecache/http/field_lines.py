"""Field lines kept as the bytes that they are written as, and read again whenever somebody looks at them.

Theory
    A stored response shows its fields to clients as bytes, rendered once; as pairs of strings they are wanted when it
    is validated, explained or written elsewhere. Pairs take four times as much memory as the bytes, so where there
    are many responses the pairs are not kept.

Invariants
    * These are equal to the tuple of the same pairs, and hash as it does.
    * ``FieldLines.of(pairs)`` has exactly the given pairs. What would not read back as it was (it is no field line) is
      not made to.

Called by ``stores.compact``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from edgecache.http.message import Pair, render_fields

__all__ = ["FieldLines"]


class FieldLines(Sequence[Pair]):
    """The pairs in a head, with or without its first line; ``lines`` are its bytes."""

    __slots__ = ("lines",)

    def __init__(self, lines: bytes) -> None:
        self.lines = lines

    @classmethod
    def of(cls, pairs: Iterable[Pair], head: bytes) -> FieldLines | None:
        """Return these pairs, as part of ``head`` if that has them and no others; None when they cannot be kept so."""
        pairs = tuple(pairs)
        try:
            lines = render_fields(pairs)
        except UnicodeEncodeError:
            return None
        if lines.count(b"\r\n") != len(pairs) or ": " in "\n".join([name for name, _ in pairs]):
            return None  # they would be read as others
        return cls(head if head.partition(b"\r\n")[2] == lines else lines)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs())

    def _pairs(self) -> list[Pair]:
        parts = [line.partition(": ") for line in self.lines.decode("latin-1").split("\r\n")]
        return [(name, value) for name, colon, value in parts if colon]

    def __len__(self) -> int:
        return len(self._pairs())

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        return tuple(self._pairs())[index]

    def __eq__(self, other: object) -> bool:
        if type(other) is FieldLines:
            return other.lines == self.lines or other._pairs() == self._pairs()
        return isinstance(other, tuple) and tuple(self._pairs()) == other

    def __hash__(self) -> int:
        return hash(tuple(self._pairs()))

    def __repr__(self) -> str:
        return repr(tuple(self._pairs()))
