"""From a parsed message to a request that may be believed: the strict checks of the public server.

Theory
    aiohttp's C parser has found where a message begins and ends, and refused most of what is ambiguous.
    Here everything that names the resource or frames the message is checked again by a grammar of our own,
    because a cache that reads a message differently from its origin can be made to store the wrong
    thing. What does not pass is a ``ClientError``; nothing is repaired.

    Browsers send the same fields with every request on a connection. What was found out about them holds for the next
    request with the same method, version and fields to the byte; only its target is new.

Invariants
    * Pure: no clock, no sockets; remembered are the authorities last seen, and of a connection the latest fields.
    * The target is passed on as received; only an absolute-form loses its scheme and authority (RFC 9112 §3.2.2).
    * Field values are the received bytes as latin-1. The first field is ``Host``, and it equals ``authority``.
    * Fields that frame the message (``Content-Length``, ``Expect`` …) are facts of ``ReceivedRequest``, not fields.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from aiohttp.http import HttpProcessingError, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong

from edgecache.edges.forwarded import Peer, client_scheme, forwarded
from edgecache.edges.settings import ServerSettings
from edgecache.errors import ClientError
from edgecache.http.fields import CONNECTION_FIELDS, connection_options
from edgecache.http.message import Fields, FieldsView, KnownFields, Pair, RequestHead
from edgecache.http.target import parse_authority, parse_target

__all__ = ["ReceivedRequest", "RequestReader", "parser_failure", "read_request"]

_FIELD_TEXT: Final = re.compile(r"[\t\n -~\x80-\xff]*")
"""Names and values with line feeds between them."""
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_METHOD_AND_TARGET: Final = re.compile(rb"[A-Z][A-Z0-9_-]* (?:/|\*|https?://)")
_REFUSED_METHODS: Final = frozenset({"CONNECT", "PURGE", "TRACE"})
"""PURGE is for caches, not for what is behind them, and anybody could send it here: it is taken from those peers
alone that the operator named (``edges.purge_method``)."""
_DEBUG: Final = "edgecache-debug"
_NOT_FORWARDED: Final = CONNECTION_FIELDS | {"host", "content-length", "expect", _DEBUG}
_NEVER_PER_CONNECTION: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "date",
        "expect",
        "forwarded",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "max-forwards",
        "origin",
        "pragma",
        "range",
        "transfer-encoding",
        "vary",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
"""Fields a ``Connection`` header may not remove: RFC 9110 §7.6.1 forbids it for those meant for all recipients,
and a cache and its origin would disagree about a request without them."""


class ReceivedRequest(msgspec.Struct, frozen=True):
    """A checked request and how its content is framed.

    Attributes:
        head: what the engine gets.
        length: declared bytes of content; 0 without content, None when chunked.
        expects_continue: the client waits for a 100 before it sends the content (RFC 9110 §10.1.1).
        upgrade: ``websocket`` when the client asks for it as RFC 6455 §4.1 demands, else None.
        debug: a trusted peer sent ``Edgecache-Debug: 1``; keys are for nobody else's eyes, since they tell what
            others asked for.
    """

    head: RequestHead
    length: int | None
    expects_continue: bool
    upgrade: str | None
    debug: bool


class RequestReader:
    """Reads the requests of one connection."""

    __slots__ = ("_but_target", "_latest", "_peer", "_settings")

    def __init__(self, peer: Peer, settings: ServerSettings) -> None:
        self._peer = peer
        self._settings = settings
        self._but_target: object = None  # all of the latest message but its target
        self._latest: ReceivedRequest | None = None

    def read(self, message: RawRequestMessage) -> ReceivedRequest:
        """As ``read_request``."""
        if not message.path.startswith("/"):  # it may name the authority, or be malformed
            return read_request(message, self._peer, self._settings)
        but_target = (message.raw_headers, message.method, message.version)
        latest = self._latest
        if latest is None or but_target != self._but_target:
            received = read_request(message, self._peer, self._settings)
            self._but_target, self._latest = but_target, received
            return received
        _, _, target = parse_target(message.method, message.path)
        head = RequestHead(message.method, latest.head.scheme, latest.head.authority, target, latest.head.fields)
        return ReceivedRequest(head, latest.length, latest.expects_continue, latest.upgrade, latest.debug)


def read_request(message: RawRequestMessage, peer: Peer, settings: ServerSettings) -> ReceivedRequest:
    """Check a message; raise ``ClientError`` with the status it deserves."""
    if message.version not in (HttpVersion10, HttpVersion11):
        raise ClientError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if message.method in _REFUSED_METHODS and not (message.method == "PURGE" and peer.may_purge):
        raise ClientError(405, "method not allowed")
    pairs = _read_pairs(message, settings)
    # Looked up here are only fields whose values have to be ASCII: the parser's own decoding does for them.
    fields = message.headers
    options = connection_options(fields)
    if not options.isdisjoint(_NEVER_PER_CONNECTION):
        raise ClientError(400, "Connection names an end-to-end field")
    scheme, authority, target = _read_target(message, fields, peer, settings)
    pairs = [("Host", authority), *_end_to_end(pairs, options)]
    head_fields = KnownFields(Fields(forwarded(pairs, peer, authority, scheme)))
    head = RequestHead(message.method, scheme, authority, target, head_fields)
    length = _read_length(message, fields)
    if length is not None and length > settings.max_body:
        raise ClientError(413, "content too large")
    return ReceivedRequest(
        head=head,
        length=length,
        expects_continue=_expects_continue(message, fields),
        upgrade=_wanted_upgrade(message, fields, options) if length == 0 else None,
        debug=peer.trusted and fields.get(_DEBUG) == "1",
    )


def _read_pairs(message: RawRequestMessage, settings: ServerSettings) -> list[Pair]:
    """Return the field lines as latin-1, checked; all at once, because there are many and all have to be."""
    raw = message.raw_headers
    text = b"\n".join([part for line in raw for part in line]).decode("latin-1")
    if len(text) > settings.max_field and max(len(name) + len(value) for name, value in raw) > settings.max_field:
        raise ClientError(431, "field too long")  # the parser's own limit leaves out most names
    if len(text) + 2 * len(raw) > settings.max_header_bytes:
        raise ClientError(431, "header section too large")
    parts = text.split("\n") if raw else []
    if len(parts) != 2 * len(raw) or not _FIELD_TEXT.fullmatch(text):
        raise ClientError(400, "control character in a field")
    return list(zip(parts[::2], parts[1::2], strict=True))


def _read_target(
    message: RawRequestMessage, fields: FieldsView, peer: Peer, settings: ServerSettings
) -> tuple[str, str, str]:
    """Return scheme, authority and origin-form of the target URI (RFC 9112 §3.3)."""
    target_scheme, authority, target = parse_target(message.method, message.path)
    scheme = client_scheme(fields, peer)
    if target_scheme and target_scheme != scheme:
        if not peer.trusted:
            # RFC 9110 §7.4: whoever is not known as a gateway cannot ask for https over plain TCP.
            raise ClientError(421, "scheme does not fit the connection")
        scheme = target_scheme
    named = _host(message, fields, settings)
    if authority and named:
        parse_authority(named, scheme)  # overruled by the absolute-form, and nevertheless checked
    return scheme, parse_authority(authority or named, scheme), target


def _end_to_end(pairs: list[Pair], options: frozenset[str]) -> list[Pair]:
    """Leave out what concerns this connection (RFC 9110 §7.6.1) or is a fact of its own."""
    dropped = _NOT_FORWARDED if options <= _NOT_FORWARDED else _NOT_FORWARDED | options
    return [pair for pair in pairs if pair[0].lower() not in dropped]


def _host(message: RawRequestMessage, fields: FieldsView, settings: ServerSettings) -> str:
    """Return the Host field, checked to be the only one (RFC 9112 §3.2)."""
    values = fields.getall("Host", ())
    if len(values) == 1:
        return values[0]
    if not values and message.version == HttpVersion10:
        return settings.default_authority or ""
    raise ClientError(400, "exactly one Host is needed")


def _read_length(message: RawRequestMessage, fields: FieldsView) -> int | None:
    """Return the declared length, None when chunked (RFC 9112 §6.3); anything ambiguous is refused."""
    codings, lengths = fields.getall("Transfer-Encoding", ()), fields.getall("Content-Length", ())
    if codings:
        # §6.1 lets a server answer 501 to other codings; nobody sends them but to be misunderstood.
        if message.version != HttpVersion11 or lengths or [coding.lower() for coding in codings] != ["chunked"]:
            raise ClientError(400, "ambiguous framing")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise ClientError(400, "ambiguous framing")
    return int(lengths[0])


def _expects_continue(message: RawRequestMessage, fields: FieldsView) -> bool:
    expectations = fields.getall("Expect", ())
    if not expectations or message.version == HttpVersion10:  # RFC 9110 §10.1.1: HTTP/1.0 cannot expect
        return False
    if [value.lower() for value in expectations] != ["100-continue"]:
        raise ClientError(417, "only 100-continue can be expected")
    return True


def _wanted_upgrade(message: RawRequestMessage, fields: FieldsView, options: frozenset[str]) -> str | None:
    wanted = [value.lower() for value in fields.getall("Upgrade", ())]
    if wanted != ["websocket"] or "upgrade" not in options:
        return None
    return "websocket" if message.method == "GET" and message.version == HttpVersion11 else None


def parser_failure(error: HttpProcessingError, data: bytes, settings: ServerSettings) -> ClientError:
    """Say what the parser's error means to a client; ``data`` are the bytes that caused it.

    Nothing of the message is repeated in the answer. ``settings.max_target`` is told from other limits by its value.
    """
    if isinstance(error, LineTooLong):
        too_long_target = error.args[1] == settings.max_target
        return ClientError(414, "target too long") if too_long_target else ClientError(431, "field too long")
    if error.message.startswith("Too many headers"):
        return ClientError(431, "too many fields")
    if isinstance(error, BadHttpMethod) and _METHOD_AND_TARGET.match(data):
        return ClientError(405, "method not allowed")
    return ClientError(400, "malformed request")
