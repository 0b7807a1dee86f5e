"""The method PURGE on the public port: purging as publishing systems know it from other caches.

Theory
    ``PURGE /path`` purges that URL, whatever its scheme and variants. With ``Surrogate-Key`` or ``xkey`` in the request
    it purges those tags instead, separated by spaces. ``Soft-Purge: 1`` (or ``Fastly-Soft-Purge: 1``) makes stale
    instead of invalid. The answer is the receipt of ``POST /v1/purge``, with the same statuses: 200, 202, 503.

    There is no token. Who may is decided by the address at the other end of the connection (``server.purge_from``),
    and the server calls this for nobody else; what a request says about whom it comes from is not looked at. So behind
    a proxy that is in the list, everybody may whom the proxy lets through.

Invariants
    * A PURGE is never sent to an origin, and its answer is never stored.
    * What cannot be understood purges nothing: 400 says why.

Made by the composition root; called by ``edges.connection``.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import msgspec

from edgecache.edges.answering import RETRY_AFTER
from edgecache.edges.purge_messages import Problem
from edgecache.edges.purges import Purges, Wish, status_of
from edgecache.engine.exchange import Delivery, Exchange, Request
from edgecache.errors import ClientError
from edgecache.http.message import FieldsView, Pair, RequestHead, ResponseHead, fields_of
from edgecache.purging.selector import Kind, Selector

__all__ = ["PurgeMethod", "selectors_of"]

_WHO: Final = "(PURGE)"
"""Stands for the token's name in the audit log and in the list of purges."""

_TAGS: Final = ("surrogate-key", "xkey")
_SOFT: Final = ("soft-purge", "fastly-soft-purge")
_SEPARATORS: Final = re.compile(r"[\s,]+")  # as ``semantics.tags`` has them


class PurgeMethod:
    """Answers PURGE."""

    def __init__(self, purges: Purges) -> None:
        self._purges: Final = purges

    async def handle(self, request: Request, peer: str) -> Delivery:
        """Purge what the request means; ``peer`` may."""
        counters = self._purges.counters
        counters.requests += 1
        counters.synthesized += 1
        exchange = Exchange(request, self._purges.now(), result="synth")
        try:
            reply = await self._purges.carry_out(Wish(selectors=selectors_of(request.head), who=_WHO, peer=peer))
        except ClientError as error:
            problem = Problem(error.status, HTTPStatus(error.status).phrase, error.reason)
            return _delivery(exchange, error.status, "application/problem+json", problem)
        status = status_of(reply)
        more = (("Retry-After", RETRY_AFTER),) if status == 503 else ()
        return _delivery(exchange, status, "application/json", reply, *more)


def selectors_of(head: RequestHead) -> list[Selector]:
    """Return what a PURGE means; raise ``ClientError`` (400) when that cannot be said."""
    soft = _is_soft(head.fields)
    lines = [line for name in _TAGS for line in head.fields.getall(name, ())]
    if not lines:
        return [Selector.of(Kind.URL, f"{head.authority}{head.target}", soft=soft)]
    tags = [tag for line in lines for tag in _SEPARATORS.split(line) if tag]
    if not tags:
        raise ClientError(400, "the list of tags is empty; leave it out to purge the URL")
    return [Selector.of(Kind.TAG, tag, soft=soft) for tag in tags]


def _is_soft(fields: FieldsView) -> bool:
    values = [value for name in _SOFT for value in fields.getall(name, ())]
    if not {"0", "1"}.issuperset(values):  # misread, it would purge more than was meant
        raise ClientError(400, "Soft-Purge is 1 or 0")
    return "1" in values


def _delivery(exchange: Exchange, status: int, content_type: str, content: msgspec.Struct, *more: Pair) -> Delivery:
    body = msgspec.json.encode(content) + b"\n"
    pairs = (
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("Content-Length", str(len(body))),
        *more,
    )
    return Delivery(ResponseHead(status, fields_of(pairs)), len(body), exchange, pieces=(body,))
