"""Heads as they cross the wire to and from an origin.

Theory
    What this proxy stores is served to everybody, so a head that two parsers could read differently is
    not read at all. A response head is matched whole against the grammar of RFC 9112 §4 and §5, and has
    to be accepted by llhttp, an independent parser, too. The grammar here is the stricter one: it refuses
    control bytes in the reason phrase, obsolete line folding (RFC 9112 §5.2 would allow a proxy to unfold
    it), an empty line before the status line, and versions other than 1.0 and 1.1.

Invariants
    * A head that was accepted is plain: token names, values without CR, LF, NUL or other control bytes.
    * A request head that was rendered contains exactly one request, whatever the given fields say: Host,
      Content-Length and what concerns the connection are written here and copied from nowhere.

Called by ``connection`` (responses) and ``upstreams`` (requests). No I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools
import msgspec

from edgecache.errors import ClientError, OriginError
from edgecache.http.fields import (
    CONNECTION_FIELDS,
    OWS,
    connection_options,
    is_field_value,
    is_token,
    without_connection_fields,
)
from edgecache.http.message import (
    FieldsView,
    KnownFields,
    Pair,
    RequestHead,
    ResponseHead,
    fields_of,
    render_fields,
)

if TYPE_CHECKING:
    from edgecache.origin.base import RequestBody

__all__ = [
    "WireRequest",
    "WireResponse",
    "is_authority",
    "is_hopeless",
    "parse_response",
    "render_request",
]

_MAX_HEAD: Final = 64 * 1024
"""Bytes of the longest response head that is read; what a proxy's peers commonly allow."""

_MAX_FIELDS: Final = 200

_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n"
)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_VERSION: Final = b"HTTP/1."
_NO_CALLBACKS: Final = object()

_TARGET: Final = re.compile(r"/[!-\"$-~\x80-\xff]*|\*")
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]+")
_WRITTEN_HERE: Final = CONNECTION_FIELDS | {"host", "content-length"}
_EXPECT_CONTENT: Final = frozenset({"POST", "PUT", "PATCH"})


class WireRequest(msgspec.Struct, frozen=True):
    """A request ready to be written: its head as bytes, and what the answer's meaning depends on."""

    method: str
    head: bytes
    body: RequestBody | None
    upgrade: str | None


class WireResponse(msgspec.Struct, frozen=True):
    """A response head as received, connection-specific fields included. The version is 1.``minor``.

    ``options`` are those of the connection, lower case.
    """

    minor: int
    status: int
    fields: FieldsView
    options: frozenset[str] = frozenset()

    def end_to_end(self) -> ResponseHead:
        """Return what concerns others than this connection; the reason phrase is gone already."""
        pairs = without_connection_fields(self.fields, self.options)
        if self.status < 200 or self.status == 204:
            # RFC 9110 §8.6: these have no content, and must not say how long it is.
            pairs = [pair for pair in pairs if pair[0].lower() != "content-length"]
        return ResponseHead(self.status, fields_of(pairs))


def parse_response(block: bytes) -> WireResponse:
    """Read a head, from the status line to the empty line; raise ``OriginError`` unless it is flawless."""
    match = _HEAD.fullmatch(block) if len(block) <= _MAX_HEAD else None
    if match is None:
        raise OriginError("malformed response head")
    try:
        httptools.HttpResponseParser(_NO_CALLBACKS).feed_data(block)
    except httptools.HttpParserUpgrade:
        pass  # no error: what follows is another protocol
    except httptools.HttpParserError as error:
        raise OriginError(f"malformed response head: {error}") from error
    lines = block[:-4].decode("latin-1").split("\r\n")
    if len(lines) > _MAX_FIELDS + 1:
        raise OriginError(f"response head of more than {_MAX_FIELDS} fields")
    parts = [line.partition(":") for line in lines[1:]]
    fields = fields_of([(name, value.strip(OWS)) for name, _, value in parts])
    return WireResponse(int(match[1]), int(match[2]), fields, connection_options(fields))


def is_hopeless(beginning: bytes, searched: int) -> bool:
    """Tell whether no continuation makes this a head, so that nobody waits for one.

    ``searched`` is the number of bytes that an earlier call has seen.
    """
    return (
        len(beginning) > _MAX_HEAD
        or not _VERSION.startswith(beginning[: len(_VERSION)])
        or _BARE_LF.search(beginning, searched) is not None
    )


def is_authority(s: str) -> bool:
    """Tell whether ``s`` can stand in Host: no user name, no path, no white space (RFC 9110 §7.2)."""
    return _AUTHORITY.fullmatch(s) is not None


def render_request(head: RequestHead, body: RequestBody | None, upgrade: str | None, host: str | None) -> WireRequest:
    """Return a request as bytes. ``host`` replaces the request's authority in ``Host``.

    Raises:
        ClientError: a part of the head would not stay in its place on the wire.
    """
    authority = head.authority if host is None else host
    if not is_token(head.method) or head.method == "CONNECT":
        raise ClientError(400, "method")
    if not _TARGET.fullmatch(head.target):
        raise ClientError(400, "request target")
    if upgrade is not None and (body is not None or not is_token(upgrade)):
        # Content before the 101 would be read as the new protocol's bytes, or the reverse.
        raise ClientError(400, "upgrade with content, or to no protocol")
    lines = _framing_fields(head.method, body)
    if upgrade is not None:
        lines += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
    request_line = f"{head.method} {head.target} HTTP/1.1\r\n".encode("latin-1")
    block = b"%b%b%b\r\n" % (request_line, _end_to_end(head.fields, authority), render_fields(lines) if lines else b"")
    return WireRequest(head.method, block, body, upgrade)


def _end_to_end(fields: FieldsView, authority: str) -> bytes:
    """Return Host and the fields that are not about this connection, checked, as bytes."""
    if not isinstance(fields, KnownFields):
        return _rendered(fields, authority)
    rendered: bytes | None = fields.known.get(authority)
    if rendered is None:
        rendered = fields.known[authority] = _rendered(fields, authority)
    return rendered


def _rendered(fields: FieldsView, authority: str) -> bytes:
    _check(fields, authority)
    pairs = [pair for pair in fields.items() if pair[0].lower() not in _WRITTEN_HERE]
    return render_fields([("Host", authority), *pairs])


def _framing_fields(method: str, body: RequestBody | None) -> list[Pair]:
    if body is None:
        # RFC 9110 §8.6: say that there is none where content is expected.
        return [("Content-Length", "0")] if method in _EXPECT_CONTENT else []
    if body.length is None:
        return [("Transfer-Encoding", "chunked")]
    return [("Content-Length", str(body.length))]


def _check(fields: FieldsView, authority: str) -> None:
    if not is_authority(authority):
        raise ClientError(400, "authority")
    # Both are classes of characters, so what is joined is one exactly if every part is.
    names, values = fields.keys(), fields.values()
    if names and not (all(names) and is_token("".join(names)) and is_field_value("".join(values))):
        raise ClientError(400, "field line")
