"""Heads of HTTP messages as values.

Theory
    A field value is a sequence of bytes (RFC 9110 §5.5). Decoding it as latin-1 maps each byte to one
    character and back, so a ``str`` here is those bytes, exactly: nothing is lost, nothing is guessed,
    and writing it again gives what was read. Field lines keep their order and their repetitions.

Invariants
    * ``fields`` of a head hold end-to-end fields only: whoever reads a message from a socket has removed
      the connection-specific ones (``fields.without_connection_fields``) and checked names and values.
    * ``authority`` is lower case and without the scheme's default port; ``target`` is origin-form and is
      never decoded, re-encoded or normalised.
    * A reason phrase carries no information (RFC 9112 §4) and is an injection risk: it is not kept.
    * What ``KnownFields`` remember is a function of them, and of what it is remembered under.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = [
    "Fields",
    "FieldsView",
    "KnownFields",
    "Pair",
    "RequestHead",
    "ResponseHead",
    "fields_of",
    "reason_phrase",
    "render_fields",
    "render_status_line",
]

Pair: TypeAlias = tuple[str, str]
Fields: TypeAlias = CIMultiDict[str]
FieldsView: TypeAlias = CIMultiDictProxy[str]

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus} | {
    # RFC 9110's phrases, which the standard library has only since Python 3.13.
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def fields_of(pairs: Iterable[Pair]) -> FieldsView:
    """Return an immutable, case-insensitive view over field lines, order and repetitions kept."""
    return CIMultiDictProxy(CIMultiDict(pairs))


class KnownFields(CIMultiDictProxy[str]):
    """Fields that several requests have in common, as those of a connection do: with what was found out about them.

    Attributes:
        known: what was found out, by what was asked; whoever asks must ask in few ways.
    """

    __slots__ = ("known",)

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields)
        self.known: Final[dict[Hashable, Any]] = {}


class RequestHead(msgspec.Struct, frozen=True):
    """What is asked, of whom, and with which end-to-end fields."""

    method: str
    scheme: str
    authority: str
    target: str
    fields: FieldsView

    @property
    def target_uri(self) -> str:
        """The target URI (RFC 9110 §7.1), spelled as received."""
        return f"{self.scheme}://{self.authority}{self.target}"


class ResponseHead(msgspec.Struct, frozen=True):
    """A status code and end-to-end fields."""

    status: int
    fields: FieldsView


def reason_phrase(status: int) -> str:
    """Return the registered phrase of a status code, or an empty one (RFC 9112 §4 allows that)."""
    return _REASONS.get(status, "")


@lru_cache
def render_status_line(status: int) -> bytes:
    """Return ``HTTP/1.1 200 OK\\r\\n``."""
    return b"HTTP/1.1 %d %s\r\n" % (status, reason_phrase(status).encode("ascii"))


def render_fields(pairs: Iterable[Pair]) -> bytes:
    """Return field lines as bytes, one CRLF after each, no blank line at the end."""
    return "".join([f"{name}: {value}\r\n" for name, value in pairs]).encode("latin-1")
