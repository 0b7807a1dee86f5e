"""Validation (RFC 9111 §4.3): asking whether a stored response still holds, and freshening it when it does.

Departure
    §4.3.4 forbids updating a stored response from a 304 that carries another strong entity tag. A 304 that answers a
    condition of exactly one entity tag can refer to nothing but the response with that tag, so it
    freshens that one, and the tag in the 304 is dropped like the other fields that describe the stored bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from edgecache.http.conditional import asks_for_everything, has_cache_conditions, without_conditions
from edgecache.http.fields import format_http_date
from edgecache.http.message import Pair, RequestHead, ResponseHead, fields_of
from edgecache.semantics import finishing, storing
from edgecache.semantics.freshness import govern
from edgecache.semantics.policy import Policy
from edgecache.semantics.stored import Birth, Freshness, StoredResponse
from edgecache.semantics.unkeyed import has_credentials

__all__ = ["completing", "condition", "freshen", "head_agrees", "may_answer", "merge", "unconditional"]

NOT_UPDATED: Final = frozenset(
    {
        "content-digest",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-range",
        "etag",
        "repr-digest",
        "transfer-encoding",
        "vary",
    }
)
"""Fields of a 304 or HEAD that describe the stored bytes or their selection, and stay as stored (RFC 9111 §3.2)."""

_FOR_CACHES: Final = frozenset(
    {"age", "cache-control", "date", "etag", "expires", "last-modified", "pragma", "surrogate-control"}
)


def unconditional(request: RequestHead) -> RequestHead:
    """Return the request without cache conditions and ranges: what fills a store."""
    if asks_for_everything(request.fields):
        return request
    return _with_fields(request, without_conditions(request.fields.items()))


def condition(request: RequestHead, stored: StoredResponse) -> RequestHead:
    """Return the request with the stored response's validators as its only conditions (RFC 9111 §4.3.1)."""
    pairs = without_conditions(request.fields.items())
    if stored.validators.etag is not None:
        pairs.append(("If-None-Match", stored.validators.etag))
    if stored.validators.last_modified is not None:
        pairs.append(("If-Modified-Since", stored.validators.last_modified))
    return _with_fields(request, pairs)


def completing(request: RequestHead, stored: StoredResponse, first: int, last: int | None) -> RequestHead:
    """Return the request for the bytes that are missing, valid only for the same representation (RFC 9110 §13.1.5)."""
    pairs = without_conditions(request.fields.items())
    pairs.append(("Range", f"bytes={first}-{'' if last is None else last}"))
    if stored.validators.etag is not None:
        pairs.append(("If-Range", stored.validators.etag))
    return _with_fields(request, pairs)


def freshen(
    request: RequestHead,
    stored: StoredResponse,
    answer: ResponseHead,
    policy: Policy,
    *,
    birth: Birth,
    request_time: float,
    response_time: float,
) -> StoredResponse:
    """Return the stored response as updated by a 304, or by the answer to a HEAD (RFC 9111 §4.3.4, §4.3.5).

    When the answer forbids to store what it updates, the result may answer this one request, and is never reused.
    """
    shared = _for_everybody(request, answer, policy, response_time)
    head = ResponseHead(stored.status, fields_of(merge(stored.fields, shared)))
    freshened = storing.make(
        request,
        head,
        stored.body,
        policy,
        key=stored.key,
        birth=birth,
        request_time=request_time,
        response_time=response_time,
        selecting=stored.selecting,
    )
    if (etag := finishing.made_tag(stored)) is not None:
        freshened = finishing.tagged(freshened, etag)
    if storing.refusal_of_update(request, head, policy) is None:
        return freshened
    unusable = Freshness(freshened.freshness.generated_at, 0.0, must_validate=True, never_stale=True)
    return replace(freshened, freshness=unusable)


def merge(stored: Iterable[Pair], answer: ResponseHead) -> list[Pair]:
    """Return stored fields, each replaced by the answer's field of that name if it has one (RFC 9111 §3.2)."""
    updated = {name.lower() for name in answer.fields} - NOT_UPDATED
    pairs = [(name, value) for name, value in stored if name.lower() not in updated]
    pairs += [(name, value) for name, value in answer.fields.items() if name.lower() in updated]
    return pairs


def may_answer(status: int, request: RequestHead) -> bool:
    """Whether a request can be answered by this status: 304 takes a condition, 206 a Range (RFC 9110 §15)."""
    if status == 304:
        return has_cache_conditions(request.fields)
    return status != 206 or "range" in request.fields


def head_agrees(stored: StoredResponse, answer: ResponseHead) -> bool:
    """Whether the answer to a HEAD describes the stored GET (RFC 9111 §4.3.5): same validators, same length."""
    fields = answer.fields
    if answer.status != stored.status:
        return False
    if "etag" in fields and fields["etag"] != stored.validators.etag:
        return False
    if "last-modified" in fields and fields["last-modified"] != stored.validators.last_modified:
        return False
    return "content-length" not in fields or fields["content-length"] == str(stored.body.size)


def _for_everybody(request: RequestHead, answer: ResponseHead, policy: Policy, response_time: float) -> ResponseHead:
    """Return the answer as others may see it: dated, and without a cookie, which is one client's.

    Of an answer to somebody with credentials that is not offered to all, only what is for caches. One without Date is
    dated on receipt (RFC 9110 §6.6.1): its Expires is not meant from the stored Date.
    """
    pairs = [
        (name, value)
        for name, value in answer.fields.items()
        if policy.unsafe_store_set_cookie or name.lower() != "set-cookie"
    ]
    said = govern(answer.fields, policy)
    if has_credentials(request, policy) and not storing.is_offered(answer, said, response_time):
        names = _FOR_CACHES | {name.lower() for name in (*policy.targeted_fields, *policy.tag_fields)}
        pairs = [pair for pair in pairs if pair[0].lower() in names]
    if "date" not in answer.fields:
        pairs.append(("Date", format_http_date(response_time)))
    return ResponseHead(answer.status, fields_of(pairs))


def _with_fields(request: RequestHead, pairs: Iterable[Pair]) -> RequestHead:
    return RequestHead(request.method, request.scheme, request.authority, request.target, fields_of(pairs))
