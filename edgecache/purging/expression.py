"""Boolean expressions over tags: ``(product:42 | product:43) & !region:eu``.

Grammar
    either = both *( "|" both )
    both   = not *( "&" not )
    not    = "!" not / "(" either ")" / tag
    tag    = 1*( any character but white space, ``()&|!"`` ) / DQUOTE *( any but ``"`` and ``\\`` / ``\\`` any ) DQUOTE

    ``!`` binds tighter than ``&``, and that tighter than ``|``. White space separates. The canonical form has one
    space around ``&`` and ``|``, quotes where a tag needs them, and no parentheses that say nothing.

Invariants
    * Parsing and the canonical form are inverse: ``parse(str(e)) == e``.
    * Depth and length are bounded, so neither parsing nor evaluation can exhaust the stack.
    * ``!a`` holds for a response without any tag.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from edgecache.errors import ClientError

__all__ = ["MAX_DEPTH", "MAX_EXPRESSION", "Both", "Either", "Expression", "Not", "Tag", "parse"]

MAX_EXPRESSION: Final = 4096
"""Characters of one expression."""

MAX_DEPTH: Final = 32
"""Levels of parentheses and negations, far more than a person writes."""

_TOKEN: Final = re.compile(r'\s*(?:(?P<sign>[()&|!])|(?P<bare>[^\s()&|!"]+)|"(?P<quoted>(?:[^"\\]|\\.)*)")', re.DOTALL)
_BARE: Final = re.compile(r'[^\s()&|!"]+')
_HINT: Final = "an expression looks like (product:42 | product:43) & !region:eu"


@dataclass(frozen=True, slots=True)
class Tag:
    """The response has this tag."""

    name: str

    def holds(self, tags: AbstractSet[str]) -> bool:
        """Evaluate."""
        return self.name in tags

    def __str__(self) -> str:
        if _BARE.fullmatch(self.name):
            return self.name
        escaped = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class Not:
    """The operand does not hold."""

    operand: Expression

    def holds(self, tags: AbstractSet[str]) -> bool:
        """Evaluate."""
        return not self.operand.holds(tags)

    def __str__(self) -> str:
        return f"!({self.operand})" if isinstance(self.operand, Both | Either) else f"!{self.operand}"


@dataclass(frozen=True, slots=True)
class Both:
    """Every operand holds; there are two at least, and none is a ``Both`` itself."""

    operands: tuple[Expression, ...]

    def holds(self, tags: AbstractSet[str]) -> bool:
        """Evaluate."""
        return all(operand.holds(tags) for operand in self.operands)

    def __str__(self) -> str:
        return " & ".join(f"({one})" if isinstance(one, Either) else str(one) for one in self.operands)


@dataclass(frozen=True, slots=True)
class Either:
    """Some operand holds; there are two at least, and none is an ``Either`` itself."""

    operands: tuple[Expression, ...]

    def holds(self, tags: AbstractSet[str]) -> bool:
        """Evaluate."""
        return any(operand.holds(tags) for operand in self.operands)

    def __str__(self) -> str:
        return " | ".join(str(operand) for operand in self.operands)


Expression: TypeAlias = Tag | Not | Both | Either


def parse(text: str) -> Expression:
    """Return the expression; raise ``ClientError`` (400) that says where it is wrong, and what one looks like."""
    if len(text) > MAX_EXPRESSION:
        _fail(MAX_EXPRESSION, f"longer than {MAX_EXPRESSION} characters")
    reader = _Reader(text)
    expression = reader.either(0)
    if reader.next is not None:
        _fail(reader.start, "expected & or | here")
    return expression


class _Reader:
    """Recursive descent; ``next`` is the next token, ``start`` where it begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self.start = 0
        self.next: str | Tag | None = None
        self._advance()

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._end)
        if match is None:
            rest = self._text[self._end :]
            self.start = len(self._text) - len(rest.lstrip())
            if rest.strip():
                _fail(self.start, "this quote is never closed")
            self.next = None
            return
        name = match["bare"] if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"], flags=re.DOTALL)
        self.start = match.end() - len(match[0].lstrip())
        self._end = match.end()
        if match["sign"] is None and not name:
            _fail(self.start, "a tag is never empty")
        self.next = match["sign"] or Tag(name)

    def either(self, depth: int) -> Expression:
        operands = [self._both(depth)]
        while self.next == "|":
            self._advance()
            operands.append(self._both(depth))
        flat = [part for one in operands for part in (one.operands if isinstance(one, Either) else (one,))]
        return flat[0] if len(flat) == 1 else Either(tuple(flat))

    def _both(self, depth: int) -> Expression:
        operands = [self._not(depth)]
        while self.next == "&":
            self._advance()
            operands.append(self._not(depth))
        flat = [part for one in operands for part in (one.operands if isinstance(one, Both) else (one,))]
        return flat[0] if len(flat) == 1 else Both(tuple(flat))

    def _not(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            _fail(self.start, f"nested deeper than {MAX_DEPTH} levels")
        ahead, start = self.next, self.start
        if isinstance(ahead, Tag):
            self._advance()
            return ahead
        if ahead == "!":
            self._advance()
            return Not(self._not(depth + 1))
        if ahead != "(":
            _fail(start, "expected a tag, ! or ( here")
        self._advance()
        inner = self.either(depth + 1)
        if self.next != ")":
            _fail(
                start,
                "this parenthesis is never closed" if self.next is None else "no & or | where one is expected in it",
            )
        self._advance()
        return inner


def _fail(position: int, what: str) -> NoReturn:
    raise ClientError(400, f"tag expression, character {position + 1}: {what}; {_HINT}")
