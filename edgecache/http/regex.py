"""Regular expressions whose matching is linear: RE2, where it is installed (extra ``regex``).

Nothing else may run a pattern that somebody else wrote: one that backtracks stops the event loop for as long as its
author likes. Purges and rules have their patterns compiled here.
"""

from __future__ import annotations

import importlib
from typing import Any, Final, Protocol

__all__ = ["MAX_REGEX", "Pattern", "RegexError", "compiled"]

MAX_REGEX: Final = 512
"""Characters."""

_MEMORY: Final = 1 << 20
"""Bytes that RE2 may take for one pattern."""


class RegexError(ValueError):
    """A pattern that cannot be compiled here; ``position`` counts characters from 0, ``hint`` says what to do."""

    def __init__(self, message: str, hint: str, position: int = 0) -> None:
        super().__init__(message)
        self.hint: Final = hint
        self.position: Final = position


class Pattern(Protocol):
    """A compiled regular expression whose matching is linear."""

    def search(self, text: str, /) -> object | None:
        """Return something when the text has a match, else None."""
        ...


def compiled(pattern: str) -> Pattern:
    """Return a pattern in RE2's syntax, compiled; raise ``RegexError``."""
    if len(pattern) > MAX_REGEX:
        raise RegexError(f"longer than {MAX_REGEX} characters", "a glob or a tag may say it shorter", MAX_REGEX)
    re2 = _engine()
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    try:
        made: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else b""
        reason = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        hint = "RE2 has neither look-around nor back-references"
        raise RegexError(reason or "not a pattern", hint) from None
    return made


def _engine() -> Any:
    try:
        return importlib.import_module("re2")
    except ImportError:
        raise RegexError("this edge has no RE2", "install edgecache[regex], or use a glob or a tag") from None
