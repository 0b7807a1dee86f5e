"""``/v1/purge``, ``/v1/purges`` and ``/v1/erasures`` on the admin listener: purging for people and pipelines.

Theory
    A request shows a token, names selectors, and gets the ledger's receipt; the status says whether it can be
    believed: 200 confirmed everywhere, 202 not yet or not by all, 503 not known to be in the log (then a retry with
    the same ``Idempotency-Key`` is safe). ``Prefer: wait=N`` (RFC 7240 §4.3) says how long that may take.

    ``min_matched`` changes the status only: a purge is never withheld because of a count.

Invariants
    * Nothing is read from a request before its token is known. No secret is in any answer or any log.
    * Web pages cannot purge through their visitors' browsers: those send no bearer token by themselves, and without
      CORS no page can make them.
    * Keys belong to a token: nobody can make somebody else's purge look as if it had been carried out already.
    * A request refused for want of rights is a line in the log ``edgecache.audit``, as each purge is.

Mounted by ``edges.admin``.
"""

from __future__ import annotations

import logging
import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from edgecache.edges.purge_messages import MAX_CONTENT, Problem, read_order
from edgecache.edges.purges import PATIENCE, Wish, status_of
from edgecache.edges.siblings import ALONE
from edgecache.errors import ClientError

if TYPE_CHECKING:
    from edgecache.edges.purge_messages import PurgeOrder
    from edgecache.edges.purges import Purges
    from edgecache.edges.tokens import Token
    from edgecache.purging.selector import Selector

__all__ = ["RETRY_AFTER", "PurgeApi"]

MAX_PATIENCE: Final = 600
"""Seconds a purge is waited for at most."""

RETRY_AFTER: Final = "1"
"""Seconds; the log has its own breaker, asking sooner is pointless."""

_REALM: Final = 'Bearer realm="edgecache"'

_WAIT: Final = re.compile(r'(?:^|[,;])[ \t]*wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(?=[,;]|$)', re.IGNORECASE)
_ID: Final = re.compile(r"[0-9a-f]{16}")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_JSON: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")

_audit = logging.getLogger("edgecache.audit")


class _Refused(ClientError):
    """A refusal with fields of its own."""

    def __init__(self, status: int, reason: str, **fields: str) -> None:
        super().__init__(status, reason)
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}


class PurgeApi:
    """The handlers."""

    def __init__(self, purges: Purges) -> None:
        self._purges: Final = purges

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
        shown, alone = request.headers["Authorization"], ALONE in request.headers
        return _json(
            200, await self._purges.report(lambda who: token.scope.all or who == token.name, shown, alone=alone)
        )

    async def erasure(self, request: web.Request) -> web.Response:
        """``GET /v1/erasures/{id}``: as who sees which purges."""
        try:
            token = self._token(request)
            shown, alone = request.headers["Authorization"], ALONE in request.headers
            id, found, missing = request.match_info["id"], None, list[str]()
            if _ID.fullmatch(id):
                found, missing = await self._purges.erasure(
                    id, lambda who: token.scope.all or who == token.name, shown, alone=alone
                )
            if found is None and missing:
                raise _Refused(503, f"not known here, and {', '.join(missing)} did not say", Retry_After=RETRY_AFTER)
            if found is None:
                raise ClientError(404, "no such erasure; if its process has ended, purge again with erase")
        except ClientError as error:
            return _problem(error)
        return _json(200, found)

    # Who it is.

    def _token(self, request: web.Request) -> Token:
        shown = request.headers.getall("Authorization", [])
        token = self._purges.tokens.authenticate(shown[0]) if len(shown) == 1 else None
        if token is None:
            error = ', error="invalid_token"' if shown else ""  # RFC 6750 §3.1: no code when nothing was shown
            raise _Refused(401, "this needs a bearer token that is known here", WWW_Authenticate=_REALM + error)
        return token

    def _check_rate(self, token: Token) -> None:
        if delay := self._purges.tokens.delay(token):
            reason = f"the token {token.name} may purge {token.scope.rate} times per minute"
            raise _Refused(429, reason, Retry_After=str(math.ceil(delay)))

    # What is done.

    async def _carry_out(
        self, request: web.Request, token: Token, order: PurgeOrder, selectors: list[Selector]
    ) -> web.Response:
        key, wait = _key(request), _wait(request)
        wish = Wish(
            selectors=selectors,
            who=token.name,
            peer=str(request.remote),
            authorization=request.headers["Authorization"],
            key=f"{token.name} {key}" if key else "",
            patience=PATIENCE if wait is None else float(wait),
            dry_run=order.dry_run,
            erase=order.erase,
            alone=ALONE in request.headers,
        )
        reply = await self._purges.carry_out(wish)
        status = status_of(reply)
        fields = {} if wait is None else {"Preference-Applied": f"wait={wait}"}
        if status == 503:
            fields["Retry-After"] = RETRY_AFTER
        return _json(409 if status == 200 and reply.matched < order.min_matched else status, reply, fields)


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


def _json(status: int, content: msgspec.Struct, fields: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(content) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json", headers=fields)


def _problem(error: ClientError) -> web.Response:
    problem = Problem(error.status, HTTPStatus(error.status).phrase, error.reason)
    fields = error.fields if isinstance(error, _Refused) else {}
    body = msgspec.json.encode(problem) + b"\n"
    return web.Response(status=error.status, body=body, content_type="application/problem+json", headers=fields)
