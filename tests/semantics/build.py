"""Messages in few words, for tests: a field line is written as it looks on the wire.

request("Cache-Control: max-age=0", target="/a")
response("Cache-Control: max-age=60", 'ETag: "1"', status=404)
stored("Vary: Accept", of=request("Accept: text/html"), at=NOW - 30)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgecache.http.fields import format_http_date
from edgecache.http.message import FieldsView, RequestHead, ResponseHead, fields_of
from edgecache.semantics import key, presenting, storing
from edgecache.semantics.freshness import assess, govern
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Birth, Freshness, StoredResponse
from edgecache.stores.body import MemoryBody

__all__ = [
    "BIRTH",
    "BODY",
    "NOW",
    "date",
    "fields",
    "freshness",
    "partial",
    "refusal",
    "request",
    "response",
    "store",
    "stored",
]

NOW: Final = 1_700_000_000.0
"""When everything here is received, unless said otherwise: 2023-11-14 22:13:20 UTC."""

BIRTH: Final = Birth(b"epoch", 0)
BODY: Final = b"0123456789"


def date(offset: float = 0.0) -> str:
    """Return the HTTP-date of NOW plus seconds."""
    return format_http_date(NOW + offset)


def fields(lines: Iterable[str]) -> FieldsView:
    """Return ``Name: value`` lines as fields."""
    pairs = (line.partition(":") for line in lines)
    return fields_of((name, value.strip(" ")) for name, _, value in pairs)


def request(
    *lines: str, method: str = "GET", target: str = "/", authority: str = "example.com", scheme: str = "http"
) -> RequestHead:
    """Return a request with these field lines."""
    return RequestHead(method, scheme, authority, target, fields(lines))


def response(*lines: str, status: int = 200) -> ResponseHead:
    """Return a response with these field lines, and no others."""
    return ResponseHead(status, fields(lines))


def freshness(
    *lines: str, status: int = 200, policy: Policy = DEFAULT, at: float = NOW, delay: float = 0.0
) -> Freshness:
    """Return what is judged of a response received at ``at``, ``delay`` seconds after its request was sent."""
    head = response(*lines, status=status)
    return assess(head, govern(head.fields, policy), policy, request_time=at - delay, response_time=at)


def refusal(
    *lines: str, status: int = 200, of: RequestHead | None = None, policy: Policy = DEFAULT, at: float = NOW
) -> Reason | None:
    """Return why a response is not stored, or None; rules have amended it as ``policy`` says."""
    sent = response(*lines, status=status)
    head = presenting.amended(of or request(), sent, policy)
    governing = govern(head.fields, policy)
    numbers = assess(head, governing, policy, request_time=at, response_time=at)
    return storing.refusal(of or request(), head, governing, numbers, policy, sent)


def store(
    head: ResponseHead,
    *,
    of: RequestHead,
    policy: Policy = DEFAULT,
    at: float = NOW,
    delay: float = 0.0,
    body: bytes = BODY,
    birth: Birth = BIRTH,
) -> StoredResponse:
    """Return the stored form of a response, whether it may be stored or not."""
    return storing.make(
        of,
        head,
        MemoryBody((body,)),
        policy,
        key=key.primary(of),
        birth=birth,
        request_time=at - delay,
        response_time=at,
    )


def stored(
    *lines: str,
    status: int = 200,
    of: RequestHead | None = None,
    policy: Policy = DEFAULT,
    at: float = NOW,
    delay: float = 0.0,
    body: bytes = BODY,
) -> StoredResponse:
    """Return a stored response with these field lines."""
    return store(response(*lines, status=status), of=of or request(), policy=policy, at=at, delay=delay, body=body)


def partial(first: int, last: int, complete: int | None, *lines: str, at: float = NOW) -> StoredResponse:
    """Return a stored 206 with bytes ``first`` to ``last`` of a representation, fresh for a minute."""
    content_range = f"Content-Range: bytes {first}-{last}/{'*' if complete is None else complete}"
    return stored("Cache-Control: max-age=60", content_range, *lines, status=206, body=b"x" * (last - first + 1), at=at)
