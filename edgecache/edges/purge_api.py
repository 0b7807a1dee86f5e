"""``/v1/purge`` and ``/v1/purges`` on the admin listener: purging for people and pipelines.

Theory
    A request shows a token, names selectors, and gets the ledger's receipt; the status says whether it can be
    believed: 200 confirmed everywhere, 202 not yet or not by all, 503 not known to be in the log (then a retry with
    the same ``Idempotency-Key`` is safe). ``Prefer: wait=N`` (RFC 7240 §4.3) says how long that may take.

    What matched is counted in this process before the purge, so zero does not mean that nothing was purged elsewhere.
    For the same reason ``min_matched`` changes the status only: a purge is never withheld because of a count.

Invariants
    * Nothing is read from a request before its token is known. No secret is in any answer or any log.
    * Web pages cannot purge through their visitors' browsers: those send no bearer token by themselves, and without
      CORS no page can make them.
    * Keys belong to a token: nobody can make somebody else's purge look as if it had been carried out already.
    * One line in the log ``edgecache.audit`` for each purge, and for each one refused for want of rights.
    * Memory: ``_REMEMBERED`` records of bounded size.

Mounted by ``edges.admin``.
"""

from __future__ import annotations

import json
import logging
import math
import re
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from edgecache.edges.purge_messages import (
    MAX_CONTENT,
    Outcome,
    Problem,
    PurgeRecord,
    PurgeReply,
    PurgeReport,
    WorkerReply,
    read_order,
)
from edgecache.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgecache.edges.purge_messages import PurgeOrder
    from edgecache.edges.tokens import Token, Tokens
    from edgecache.purging.base import Ledger
    from edgecache.purging.receipt import Receipt
    from edgecache.purging.selector import Selector

__all__ = ["PATIENCE", "SAMPLE", "PurgeApi", "Purging"]

PATIENCE: Final = 30.0
MAX_PATIENCE: Final = 600
"""Seconds a purge is waited for, unless ``Prefer`` says otherwise, and at most."""

SAMPLE: Final = 10
"""URIs that an answer shows of those matched."""

_REMEMBERED: Final = 1000
_SELECTORS_KEPT: Final = 20
_SELECTOR_KEPT: Final = 256  # characters
_RETRY_AFTER: Final = "1"  # seconds; the log has its own breaker, asking sooner is pointless
_REALM: Final = 'Bearer realm="edgecache"'

_WAIT: Final = re.compile(r'(?:^|[,;])[ \t]*wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(?=[,;]|$)', re.IGNORECASE)
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_JSON: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")

_audit = logging.getLogger("edgecache.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purging:
    """What purging needs.

    Attributes:
        ledger: where purges are ordered.
        matching: how many stored responses of this process selectors match now, and up to that many of their URIs.
        tokens: who may.
        now: the clock, POSIX seconds.
    """

    ledger: Ledger
    matching: Callable[[Sequence[Selector], int], tuple[int, list[str]]]
    tokens: Tokens
    now: Callable[[], float] = time.time


class _Refused(ClientError):
    """A refusal with fields of its own."""

    def __init__(self, status: int, reason: str, **fields: str) -> None:
        super().__init__(status, reason)
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}


class PurgeApi:
    """The handlers, and what they remember."""

    def __init__(self, purging: Purging) -> None:
        self._purging: Final = purging
        self._records: Final[deque[PurgeRecord]] = deque(maxlen=_REMEMBERED)
        self._counted: Final[OrderedDict[str, tuple[int, list[str]]]] = OrderedDict()

    async def purge(self, request: web.Request) -> web.Response:
        """``POST /v1/purge``."""
        token = None
        try:
            token = self._token(request)
            self._check_rate(token)
            order, selectors = read_order(await _content(request))
            if reason := token.refuses(selectors):
                raise _Refused(403, reason, WWW_Authenticate=f'{_REALM}, error="insufficient_scope"')
            return await self._carry_out(request, token, order, selectors)
        except ClientError as error:
            if error.status in (401, 403, 429):
                who = token.name if token else "-"
                _audit.warning("purge refused status=%d token=%s peer=%s", error.status, who, request.remote)
            return _problem(error)

    async def purges(self, request: web.Request) -> web.Response:
        """``GET /v1/purges``: a token for everything sees all, another its own."""
        try:
            token = self._token(request)
        except ClientError as error:
            return _problem(error)
        seen = [one for one in reversed(self._records) if token.scope.all or one.who == token.name]
        return _json(200, PurgeReport(seen))

    # Who it is.

    def _token(self, request: web.Request) -> Token:
        shown = request.headers.getall("Authorization", [])
        token = self._purging.tokens.authenticate(shown[0]) if len(shown) == 1 else None
        if token is None:
            error = ', error="invalid_token"' if shown else ""  # RFC 6750 §3.1: no code when nothing was shown
            raise _Refused(401, "this needs a bearer token that is known here", WWW_Authenticate=_REALM + error)
        return token

    def _check_rate(self, token: Token) -> None:
        if delay := self._purging.tokens.delay(token):
            reason = f"the token {token.name} may purge {token.scope.rate} times per minute"
            raise _Refused(429, reason, Retry_After=str(math.ceil(delay)))

    # What is done.

    async def _carry_out(
        self, request: web.Request, token: Token, order: PurgeOrder, selectors: list[Selector]
    ) -> web.Response:
        key, wait = _key(request), _wait(request)
        owned = f"{token.name} {key}" if key else ""
        matched, sample = self._count(selectors, "" if order.dry_run else owned)
        reply = PurgeReply(
            secrets.token_hex(8), Outcome.DRY_RUN, self._purging.ledger.sequence, matched, sample, [], 0.0, ""
        )
        status = 200
        if not order.dry_run:
            patience = PATIENCE if wait is None else float(wait)
            receipt = await self._purging.ledger.purge(selectors, idempotency_key=owned, patience=patience)
            reply, status = _reply(reply, receipt), receipt.state.status
        self._note(request, token, selectors, reply)
        fields = {} if wait is None else {"Preference-Applied": f"wait={wait}"}
        if status == 503:
            fields["Retry-After"] = _RETRY_AFTER
        return _json(409 if status == 200 and matched < order.min_matched else status, reply, fields)

    def _count(self, selectors: list[Selector], key: str) -> tuple[int, list[str]]:
        """Count what matches now; for a purge that is sent again, what matched the first time."""
        if key in self._counted:
            return self._counted[key]
        counted = self._purging.matching(selectors, SAMPLE)
        if key:
            self._counted[key] = counted
            if len(self._counted) > _REMEMBERED:
                self._counted.popitem(last=False)
        return counted

    def _note(self, request: web.Request, token: Token, selectors: list[Selector], reply: PurgeReply) -> None:
        shown = [_shortened(str(one)) for one in selectors[:_SELECTORS_KEPT]]
        _audit.info(
            "purge id=%s token=%s peer=%s state=%s sequence=%d matched=%d selectors=%s of %d",
            reply.id,
            token.name,
            request.remote,
            reply.state,
            reply.sequence,
            reply.matched,
            json.dumps(shown),
            len(selectors),
        )
        if reply.state is not Outcome.DRY_RUN:
            when = datetime.fromtimestamp(self._purging.now(), UTC).isoformat(timespec="milliseconds")
            self._records.append(
                PurgeRecord(
                    reply.id, when, token.name, shown, len(selectors), reply.state, reply.sequence, reply.matched
                )
            )


# Reading.


async def _content(request: web.Request) -> bytes:
    """The content, which may go without a Content-Type; raise ``ClientError`` 413 or 415."""
    if "Content-Type" in request.headers and not _JSON.fullmatch(request.content_type):
        raise _Refused(415, "write the purge as application/json", Accept="application/json")
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise ClientError(413, f"a purge is at most {MAX_CONTENT} bytes") from error


def _key(request: web.Request) -> str:
    keys = request.headers.getall("Idempotency-Key", [])
    if keys and (len(keys) > 1 or not _KEY.fullmatch(keys[0])):
        raise ClientError(400, "Idempotency-Key: one value of 1 to 128 visible ASCII characters")
    return keys[0] if keys else ""


def _wait(request: web.Request) -> int | None:
    """``Prefer: wait=N``, seconds. What is no such preference is ignored (RFC 7240 §2)."""
    found = _WAIT.search(",".join(request.headers.getall("Prefer", [])))
    return min(int(found[1]), MAX_PATIENCE) if found else None


# Writing.


def _reply(counted: PurgeReply, receipt: Receipt) -> PurgeReply:
    return msgspec.structs.replace(
        counted,
        state=Outcome(receipt.state),
        sequence=receipt.sequence,
        workers=[WorkerReply(one.worker, one.applied, _rounded(one.milliseconds)) for one in receipt.workers],
        waited_ms=round(receipt.waited * 1000, 3),
        detail=receipt.detail,
    )


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _shortened(text: str) -> str:
    return text if len(text) <= _SELECTOR_KEPT else f"{text[: _SELECTOR_KEPT - 3]}..."


def _json(status: int, content: msgspec.Struct, fields: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(content) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json", headers=fields)


def _problem(error: ClientError) -> web.Response:
    problem = Problem(error.status, HTTPStatus(error.status).phrase, error.reason)
    fields = error.fields if isinstance(error, _Refused) else {}
    body = msgspec.json.encode(problem) + b"\n"
    return web.Response(status=error.status, body=body, content_type="application/problem+json", headers=fields)
