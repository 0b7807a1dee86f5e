"""From a response, stored or on its way, to what this client gets (RFC 9110 §13-14, RFC 9111 §4, RFC 9211).

A representation is a head and a source of bytes. Which of 200, 206, 304 and 416 becomes of it depends on the
request's own conditions and range, evaluated here and nowhere else, in the order of RFC 9110 §13.2.2.
Nothing here waits: bodies that are in memory are handed out as pieces, others as a stream.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from edgecache.engine.collapse import Filled
from edgecache.engine.encodings import Encoded
from edgecache.engine.exchange import Delivery, Exchange
from edgecache.engine.fill import Fill
from edgecache.engine.source import PartsStream, Source
from edgecache.http import cache_status, conditional, ranges
from edgecache.http.fields import format_http_date, parse_http_date
from edgecache.http.message import (
    FieldsView,
    Pair,
    RequestHead,
    ResponseHead,
    fields_of,
    reason_phrase,
    render_fields,
    render_status_line,
)
from edgecache.origin.base import Framing, OriginResponse
from edgecache.semantics.policy import Policy
from edgecache.semantics.stored import Body, Freshness, StoredResponse
from edgecache.stores.body import SLICE, slices

__all__ = ["Status", "encoded", "filling", "passed", "stored", "synthesized"]

_EMPTY = fields_of(())


class Status(msgspec.Struct, frozen=True):
    """What the Cache-Status member says (RFC 9211 §2)."""

    fwd: cache_status.Fwd | None = None
    fwd_status: int | None = None
    is_stored: bool = False
    collapsed: bool = False
    detail: str | None = None


class _Passing:
    """The body of a response that nobody else reads: whoever leaves it gives the origin's connection up."""

    __slots__ = ("_chunks", "_response")

    def __init__(self, response: OriginResponse) -> None:
        self._response = response
        self._chunks = response.chunks()

    def __aiter__(self) -> _Passing:
        return self

    async def __anext__(self) -> bytes:
        return await self._chunks.__anext__()

    async def aclose(self) -> None:
        self._response.close()


def stored(exchange: Exchange, response: StoredResponse, status: Status, policy: Policy, now: float) -> Delivery:
    """Deliver a stored response."""
    extra = _of_stored(exchange, response, status, policy, now)
    request = exchange.request.head
    source = _stored_source(response)
    if _is_plain(request) and response.content_range is None:
        extra += _content_length(response.status, response.body.size)
        head = ResponseHead(response.status, _EMPTY)
        return _whole(exchange, head, source, response.rendered + render_fields(extra))
    return _negotiate(exchange, response.shown(), extra, source, now)


def encoded(
    exchange: Exchange, response: StoredResponse, coded: Encoded, status: Status, policy: Policy, now: float
) -> Delivery:
    """Deliver a stored response in the content coding that the request prefers."""
    content = coded.content
    assert content is not None
    extra = _of_stored(exchange, response, status, policy, now)
    source = Source(
        complete=len(content),
        first=0,
        pieces=lambda start, stop: slices((content,), start, stop),
        stream=_never,
    )
    if _is_plain(exchange.request.head):
        extra += _content_length(response.status, len(content))
        rendered = coded.rendered(response) + render_fields(extra)
        return _whole(exchange, ResponseHead(response.status, _EMPTY), source, rendered)
    return _negotiate(exchange, coded.head(response), extra, source, now)


def _never(_: int, __: int | None) -> AsyncIterator[bytes | memoryview]:
    raise AssertionError("what is in memory is not streamed")


def filling(exchange: Exchange, filled: Filled, status: Status, policy: Policy, now: float) -> Delivery:
    """Deliver a response that is on its way into the store: to its leader as it came, to followers as stored."""
    fill, length = filled.fill, filled.length
    if status.collapsed:
        head = filled.prototype.shown()
        extra = _timing(filled.prototype.freshness, now)
    else:
        head = filled.head
        extra = _forwarded(head.fields, policy, now)
    came = exchange.origin_status or head.status
    is_plain = _is_plain(exchange.request.head)
    if came != head.status or not is_plain:
        # Left out, it would be taken for what completing, conditions or ranges make of it (RFC 9211 §2.3).
        status = replace(status, fwd_status=came)
    extra += _explained(exchange, status, policy)
    held = ranges.parse_content_range(head.fields.get("content-range", "")) if head.status == 206 else None
    source = Source(
        complete=length if held is None else held.complete,
        first=0 if held is None else held.first,
        pieces=_pieces_of(fill),
        stream=lambda start, stop: fill.attach(start, stop),
    )
    if held is not None or is_plain:
        # There is nothing to evaluate, or the origin has already cut the representation down to what was asked for.
        return _as_is(exchange, head, extra, source, length)
    return _negotiate(exchange, head, extra, source, now)


def _pieces_of(fill: Fill) -> Callable[[int, int], tuple[bytes | memoryview, ...]] | None:
    """Return what cuts a body that has come whole to pieces; None for one that has to be followed."""
    if not fill.complete or fill.spilled:
        return None
    chunks = fill.chunks()
    if len(chunks) == 1 and len(chunks[0]) <= SLICE:
        return lambda start, stop: chunks if stop - start == len(chunks[0]) else slices(chunks, start, stop)
    return lambda start, stop: slices(chunks, start, stop)


def passed(
    exchange: Exchange, response: OriginResponse, head: ResponseHead, status: Status, policy: Policy, now: float
) -> Delivery:
    """Deliver a response that is this client's alone, under the head that it is to see."""
    is_tunnel = response.tunnel is not None
    is_bodiless = is_tunnel or exchange.request.head.method == "HEAD" or response.framing is Framing.NONE
    length = 0 if is_bodiless else response.content_length
    pairs = [*_delivered(head.fields, keep_length=is_bodiless), *_forwarded(head.fields, policy, now)]
    pairs += _explained(exchange, status, policy)
    if not is_bodiless and length is not None:
        pairs.append(("Content-Length", str(length)))
    body = None if is_tunnel else b"" if is_bodiless else response.arrived()
    if body is not None:
        response.close()
    return Delivery(
        head=ResponseHead(head.status, fields_of(pairs) if is_tunnel else _EMPTY),
        length=length,
        exchange=exchange,
        pieces=None if body is None else (body,),
        stream=_Passing(response) if body is None and not is_tunnel else None,
        tunnel=response.tunnel,
        rendered=None if is_tunnel else render_status_line(head.status) + render_fields(pairs),
    )


def synthesized(
    exchange: Exchange, status_code: int, text: str, status: Status, policy: Policy, now: float
) -> Delivery:
    """Deliver a short plain-text answer of this cache's own."""
    body = b"%d %s: %s\n" % (status_code, reason_phrase(status_code).encode("ascii"), text.encode("ascii", "replace"))
    pairs = [
        ("Date", format_http_date(now)),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("Content-Length", str(len(body))),
        ("Via", f"1.1 {policy.name}"),
        *_explained(exchange, status, policy),
    ]
    is_head = exchange.request.head.method == "HEAD"
    return Delivery(
        head=ResponseHead(status_code, fields_of(pairs)),
        length=0 if is_head else len(body),
        exchange=exchange,
        pieces=() if is_head else (body,),
    )


def _of_stored(exchange: Exchange, response: StoredResponse, status: Status, policy: Policy, now: float) -> list[Pair]:
    """Return the fields that tell how old it is and why the client gets it."""
    freshness = response.freshness
    return [*_timing(freshness, now), *_explained(exchange, status, policy, ttl=int(freshness.ttl(now)))]


def _stored_source(response: StoredResponse) -> Source:
    body: Body = response.body
    held = response.content_range
    local = body.local
    return Source(
        complete=body.size if held is None else held.complete,
        first=0 if held is None else held.first,
        pieces=None if local is None else lambda start, stop: slices(local, start, stop),
        stream=lambda start, stop: body.read(start, body.size if stop is None else stop),
    )


def _is_plain(request: RequestHead) -> bool:
    """Whether neither a range nor a condition can change what is delivered."""
    fields = request.fields
    return "range" not in fields and not conditional.has_cache_conditions(fields)


def _negotiate(exchange: Exchange, head: ResponseHead, extra: Sequence[Pair], source: Source, now: float) -> Delivery:
    """Apply the request's conditions and range, in the order of RFC 9110 §13.2.2."""
    request = exchange.request.head
    fields = head.fields
    etag, last_modified = fields.get("etag"), fields.get("last-modified")
    date = parse_http_date(fields.get("date", ""), now)
    if head.status == 200:
        precondition = conditional.evaluate(
            request.method, request.fields, etag=etag, last_modified=last_modified, date=date, now=now
        )
        if precondition is conditional.Precondition.NOT_MODIFIED:
            return _not_modified(exchange, fields, extra)
    wanted = _wanted_ranges(request, head, source, etag, last_modified, date, now)
    if wanted is None:
        return _as_is(exchange, head, extra, source, source.complete)
    return _ranges(exchange, head, extra, source, wanted)


def _wanted_ranges(
    request: RequestHead,
    head: ResponseHead,
    source: Source,
    etag: str | None,
    last_modified: str | None,
    date: float | None,
    now: float,
) -> tuple[tuple[int, int], ...] | None:
    """Return the ranges to deliver, empty when none is satisfiable, None when the whole is to be delivered (§14.2)."""
    value = request.fields.get("range")
    if value is None or request.method != "GET" or head.status not in (200, 206) or source.complete is None:
        return None
    specs = ranges.parse_range(value)
    if specs is None:
        return None
    if_range = request.fields.get("if-range")
    if if_range is not None and not ranges.if_range_matches(
        if_range, etag=etag, last_modified=last_modified, date=date, now=now
    ):
        return None
    wanted = ranges.resolve(specs, source.complete)
    return None if ranges.is_abusive(wanted, source.complete) else wanted


def _not_modified(exchange: Exchange, fields: FieldsView, extra: Sequence[Pair]) -> Delivery:
    pairs = [*conditional.not_modified_fields(_delivered(fields)), *extra]
    return Delivery(head=ResponseHead(304, fields_of(pairs)), length=0, exchange=exchange, pieces=())


def _as_is(
    exchange: Exchange, head: ResponseHead, extra: Sequence[Pair], source: Source, length: int | None
) -> Delivery:
    pairs = [*_delivered(head.fields), *extra]
    if length is not None:
        pairs += _content_length(head.status, length)
    delivered = ResponseHead(head.status, _EMPTY)
    rendered = render_status_line(head.status) + render_fields(pairs)
    if exchange.request.head.method == "HEAD":
        return Delivery(head=delivered, length=0, exchange=exchange, pieces=(), rendered=rendered)
    if source.pieces is not None and length is not None:
        pieces = source.pieces(0, length)
        return Delivery(head=delivered, length=length, exchange=exchange, pieces=pieces, rendered=rendered)
    stream = source.stream(0, None)
    return Delivery(head=delivered, length=length, exchange=exchange, stream=stream, rendered=rendered)


def _whole(exchange: Exchange, head: ResponseHead, source: Source, rendered: bytes) -> Delivery:
    length = source.complete
    assert length is not None
    if exchange.request.head.method == "HEAD":
        return Delivery(head=head, length=0, exchange=exchange, pieces=(), rendered=rendered)
    if source.pieces is not None:
        pieces = source.pieces(0, length)
        return Delivery(head=head, length=length, exchange=exchange, pieces=pieces, rendered=rendered)
    return Delivery(head=head, length=length, exchange=exchange, stream=source.stream(0, length), rendered=rendered)


def _ranges(
    exchange: Exchange,
    head: ResponseHead,
    extra: Sequence[Pair],
    source: Source,
    wanted: tuple[tuple[int, int], ...],
) -> Delivery:
    complete = source.complete
    assert complete is not None
    pairs = [pair for pair in _delivered(head.fields) if pair[0].lower() not in ranges.OF_THESE_BYTES]
    pairs += extra
    if not wanted:
        pairs = [pair for pair in pairs if pair[0].lower() != "content-type"]
        pairs += [("Content-Range", ranges.render_unsatisfied(complete)), ("Content-Length", "0")]
        return Delivery(head=ResponseHead(416, fields_of(pairs)), length=0, exchange=exchange, pieces=())
    if len(wanted) == 1:
        first, last = wanted[0]
        pairs.append(("Content-Range", ranges.render_content_range(ranges.ContentRange(first, last, complete))))
        return _partial(exchange, pairs, last - first + 1, [(b"", first, last)], b"", source)
    layout = ranges.layout_multipart(
        wanted, content_type=head.fields.get("content-type"), complete=complete, boundary=secrets.token_hex(16)
    )
    pairs = [pair for pair in pairs if pair[0].lower() != "content-type"]
    pairs.append(("Content-Type", layout.content_type))
    return _partial(exchange, pairs, layout.length, layout.parts, layout.closing, source)


def _partial(
    exchange: Exchange,
    pairs: list[Pair],
    length: int,
    parts: Iterable[tuple[bytes, int, int]],
    closing: bytes,
    source: Source,
) -> Delivery:
    head = ResponseHead(206, fields_of([*pairs, ("Content-Length", str(length))]))
    if source.pieces is None:
        stream = PartsStream(parts, closing, source)
        return Delivery(head=head, length=length, exchange=exchange, stream=stream)
    pieces: list[bytes | memoryview] = []
    for preamble, first, last in parts:
        pieces += (preamble, *source.pieces(first - source.first, last + 1 - source.first))
    pieces.append(closing)
    return Delivery(head=head, length=length, exchange=exchange, pieces=tuple(piece for piece in pieces if len(piece)))


def _timing(freshness: Freshness, now: float) -> list[Pair]:
    """RFC 9111 §5.1; where the time of the clients runs from delivery, by the operator's wish, it begins now."""
    if freshness.restarts_age:
        return [("Date", format_http_date(now)), ("Age", "0")]
    return [("Age", str(int(freshness.age(now))))]


def _delivered(fields: FieldsView, *, keep_length: bool = False) -> Iterable[Pair]:
    """Return the fields that go on to the client: not the length, which is computed."""
    if keep_length or "content-length" not in fields:
        return fields.items()
    return [pair for pair in fields.items() if pair[0].lower() != "content-length"]


def _forwarded(fields: FieldsView, policy: Policy, now: float) -> list[Pair]:
    """What a response gets on its way through: Via (RFC 9110 §7.6.3), and Date when it had none (§6.6.1)."""
    via = [("Via", f"1.1 {policy.name}")]
    return via if "date" in fields else [*via, ("Date", format_http_date(now))]


def _content_length(status: int, length: int) -> list[Pair]:
    """RFC 9110 §8.6: none with 204."""
    return [] if status == 204 else [("Content-Length", str(length))]


def _explained(exchange: Exchange, status: Status, policy: Policy, ttl: int | None = None) -> list[Pair]:
    """What tells the client why it gets this: Cache-Status (RFC 9211), and X-Cache for tools that know no better."""
    key = exchange.key if exchange.request.debug else None
    say = _member if ttl is not None or key is not None else _remembered_member
    exchange.cache_status = member = say(policy.name, status, ttl, key)
    pairs = [("Cache-Status", member)]
    return [*pairs, ("X-Cache", exchange.result.upper())] if policy.x_cache else pairs


def _member(name: str, status: Status, ttl: int | None, key: str | None) -> str:
    return cache_status.member(
        name,
        hit=status.fwd is None,
        fwd=status.fwd,
        fwd_status=status.fwd_status,
        ttl=ttl,
        stored=status.is_stored,
        collapsed=status.collapsed,
        key=key,
        detail=status.detail,
    )


_remembered_member = lru_cache(_member)
"""What is forwarded is told in few words: there are no more of them than reasons and status codes."""
