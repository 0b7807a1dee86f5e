"""``GET /v1/explain`` on the admin listener: what a request would meet, and why (``engine.explaining``).

Theory
    The request is spelled as a client would: URL, method, fields. It is checked as one of a client's is, and gets the
    fields that one of a stranger gets; where it comes from is not known. Content it has none: a QUERY is one without.

    It changes nothing, and yet needs a token, as ``/v1/purges`` does: an answer shows heads that the origin sent to
    others, and keys, in which values of fields and cookies can be. A token sees what its scope's hosts contain.

    Any worker answers for its own memory and says who it is. The others may hold something else; Redis is one for all.

Mounted by ``edges.admin``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from edgecache.edges import answering
from edgecache.edges.forwarded import UNKNOWN, Peer, forwarded
from edgecache.errors import ClientError
from edgecache.http.fields import OWS, is_field_value, is_token, without_connection_fields
from edgecache.http.message import Pair, RequestHead, fields_of
from edgecache.http.target import parse_authority, parse_target
from edgecache.purging.selector import MAX_URI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

    from edgecache.edges.tokens import Tokens
    from edgecache.engine.explaining import Explainer

__all__ = ["ExplainApi", "read_request_head"]

_PARAMETERS: Final = frozenset({"url", "method", "header"})
_MOST_FIELDS: Final = 64


class ExplainApi:
    """The handler. ``workers`` tells how many processes this one is one of."""

    def __init__(self, explainer: Explainer, tokens: Tokens, workers: Callable[[], int] = lambda: 1) -> None:
        self._explainer: Final = explainer
        self._tokens: Final = tokens
        self._workers: Final = workers

    async def explain(self, request: web.Request) -> web.Response:
        """``GET /v1/explain``."""
        token = None
        try:
            token = answering.asker(request, self._tokens)
            head = _asked(request)
            if not token.scope.shows(head.target_uri):
                raise answering.insufficient(f"the token {token.name} may not look at {head.authority}")
        except ClientError as error:
            answering.audit_refusal("explain", error, token, request)
            return answering.problem(error)
        explanation = await self._explainer.explain(head, process=os.getpid(), workers=self._workers())
        return answering.answer(200, explanation)


def _asked(request: web.Request) -> RequestHead:
    query = request.query
    if unknown := sorted(set(query) - _PARAMETERS):
        raise ClientError(400, f"there is no parameter {unknown[0]!r}; there are url, method and header")
    if len(query.getall("url", [])) != 1 or len(query.getall("method", [])) > 1:
        raise ClientError(400, "one url is needed, and one method at most")
    return read_request_head(query["url"], query.get("method", "GET"), query.getall("header", []))


def read_request_head(url: str, method: str, lines: Iterable[str]) -> RequestHead:
    """Return the request that a client would send; ``lines`` are its fields, ``Name: value``.

    Raise ``ClientError`` (400): what is wrong with it.
    """
    if not is_token(method):
        raise ClientError(400, "method: one word, as in GET")
    scheme, authority, target = _target(method, url)
    pairs = [_field(line) for line in lines]
    if len(pairs) > _MOST_FIELDS:
        raise ClientError(400, f"header: at most {_MOST_FIELDS}")
    end_to_end = [pair for pair in without_connection_fields(fields_of(pairs)) if pair[0].lower() != "host"]
    stranger = Peer(UNKNOWN, trusted=False, scheme=scheme)
    fields = fields_of(forwarded([("Host", authority), *end_to_end], stranger, authority, scheme))
    return RequestHead(method, scheme, authority, target, fields)


def _target(method: str, url: str) -> tuple[str, str, str]:
    if len(url) > MAX_URI:
        raise ClientError(400, f"url: longer than {MAX_URI} characters; nothing so long is ever stored")
    try:
        scheme, authority, target = parse_target(method, url)
        if not scheme:
            raise ClientError(400, "not absolute")
        return scheme, parse_authority(authority, scheme), target
    except ClientError as error:
        reason = f"url: {error.reason}; write http://example.com/path?query, percent-encoded and without a fragment"
        raise ClientError(400, reason) from error


def _field(line: str) -> Pair:
    name, colon, value = line.partition(":")
    # The bytes that a client would send, as they are seen here (``http.message``).
    value = value.strip(OWS).encode("utf-8", "surrogatepass").decode("latin-1")
    if not colon or not is_token(name) or not is_field_value(value):
        raise ClientError(400, "header: write Name: value")
    return name, value
