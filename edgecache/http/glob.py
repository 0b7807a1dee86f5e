"""Globs over targets, matched in time linear in the target.

Theory
    A glob is a row of tokens: a character, ``?`` (one character of a path segment), ``*`` (any run within a segment)
    and ``**`` (any run). Stars are not states but loops on the state before the next token, so the automaton has one
    state per character, and a set of states is an integer. Reading a character is two masks and a shift: no
    backtracking, whatever the glob and the target are. ``\\`` takes the next character literally; brackets mean
    nothing.

    What is matched is a path with its query. A glob that matches the path alone matches as well: who writes
    ``/a/*.css`` means ``/a/b.css?v=2`` too, and to purge too little is worse than too much.

    Field values have no segments: a ``Wildcard`` knows ``*`` alone, any run. The literal pieces between the stars are
    found one after the other, each as early as possible, which is linear too.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Glob", "Wildcard"]


class Glob:
    """A compiled glob. ``literal`` is what every match begins with."""

    __slots__ = ("_accept", "_leap", "_loop", "_masks", "_slash", "_wild", "literal")

    def __init__(self, pattern: str) -> None:
        """Compile; any string is a glob, a ``\\`` at the end stands for itself."""
        masks: dict[str, int] = {}
        state = 1
        wild = loop = leap = 0
        literal: str | None = ""
        for piece, is_wild in _tokens(pattern):
            if is_wild and literal is not None:
                self.literal = literal
                literal = None
            if not is_wild:
                masks[piece] = masks.get(piece, 0) | state
                literal = None if literal is None else literal + piece
            elif piece == "?":
                wild |= state
            else:
                loop |= state
                leap |= state if piece == "**" else 0
                continue
            state <<= 1
        if literal is not None:
            self.literal = literal
        self._accept: Final = state
        self._wild: Final = wild
        self._loop: Final = loop
        self._leap: Final = leap
        self._slash: Final = masks.get("/", 0)
        self._masks: Final = {char: mask | wild for char, mask in masks.items() if char != "/"}

    def matches(self, target: str) -> bool:
        """Whether the whole of ``target``, or its part before the first ``?``, matches."""
        if not target.startswith(self.literal):
            return False
        masks, wild, accept = self._masks, self._wild, self._accept
        states, in_path = 1, True
        for char in target:
            if char == "?" and in_path:
                if states & accept:
                    return True
                in_path = False
            if char == "/":
                states = ((states & self._slash) << 1) | (states & self._leap)
            else:
                states = ((states & masks.get(char, wild)) << 1) | (states & self._loop)
            if not states:
                return False
        return bool(states & accept)


class Wildcard:
    """A compiled pattern for whole values, in which ``*`` stands for any run; letters match in either case."""

    __slots__ = ("_pieces",)

    def __init__(self, pattern: str) -> None:
        self._pieces: Final = tuple(pattern.lower().split("*"))

    def matches(self, value: str) -> bool:
        """Whether the whole of ``value`` matches."""
        value, (first, *rest) = value.lower(), self._pieces
        if not rest:
            return value == first
        *inner, last = rest
        end = len(value) - len(last)
        at = len(first)
        if not value.startswith(first) or not value.endswith(last) or end < at:
            return False
        for piece in inner:
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


def _tokens(pattern: str) -> list[tuple[str, bool]]:
    """Split into characters and wildcards; three stars or more are two."""
    tokens: list[tuple[str, bool]] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            end = position
            while end < len(pattern) and pattern[end] == "*":
                end += 1
            tokens.append(("**" if end > position else "*", True))
            position = end
        elif char == "?":
            tokens.append(("?", True))
        elif char == "\\" and position < len(pattern):
            tokens.append((pattern[position], False))
            position += 1
        else:
            tokens.append((char, False))
    return tokens
