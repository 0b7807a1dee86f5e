"""What the APIs of the admin listener have in common: who asks, what is read, and how it is answered.

Invariants
    * Nothing is read from a request before its token is known. No secret is in any answer or any log.
    * Web pages cannot order anything through their visitors' browsers: those send no bearer token by themselves, and
      without CORS no page can make them.
    * A refusal is a ``Problem`` (RFC 9457), and for want of rights a line in the log ``edgecache.audit`` too.

Called by the handlers that ``edges.admin`` mounts.
"""

from __future__ import annotations

import logging
import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from edgecache.edges.purge_messages import MAX_CONTENT, Problem
from edgecache.errors import ClientError

if TYPE_CHECKING:
    from edgecache.edges.tokens import Token, Tokens

__all__ = [
    "RETRY_AFTER",
    "Refused",
    "answer",
    "asker",
    "audit_refusal",
    "check_rate",
    "content",
    "insufficient",
    "problem",
    "wait",
]

MAX_PATIENCE: Final = 600
"""Seconds a receipt is waited for at most."""

RETRY_AFTER: Final = "1"
"""Seconds; the log has its own breaker, asking sooner is pointless."""

_REALM: Final = 'Bearer realm="edgecache"'
_WAIT: Final = re.compile(r'(?:^|[,;])[ \t]*wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(?=[,;]|$)', re.IGNORECASE)
_JSON: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")

_audit = logging.getLogger("edgecache.audit")


class Refused(ClientError):
    """A refusal with fields of its own, in whose names underscores stand for hyphens."""

    def __init__(self, status: int, reason: str, **fields: str) -> None:
        super().__init__(status, reason)
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}


def insufficient(reason: str) -> Refused:
    """Return the refusal of what a token's scope does not contain (RFC 6750 §3.1)."""
    return Refused(403, reason, WWW_Authenticate=f'{_REALM}, error="insufficient_scope"')


# Reading.


def asker(request: web.Request, tokens: Tokens) -> Token:
    """Return the token that a request shows; raise ``ClientError`` (401) when it shows none that is known."""
    shown = request.headers.getall("Authorization", [])
    token = tokens.authenticate(shown[0]) if len(shown) == 1 else None
    if token is None:
        error = ', error="invalid_token"' if shown else ""  # RFC 6750 §3.1: no code when nothing was shown
        raise Refused(401, "this needs a bearer token that is known here", WWW_Authenticate=_REALM + error)
    return token


def check_rate(tokens: Tokens, token: Token) -> None:
    """Count a purge of a token; raise ``ClientError`` (429) when it has had too many of late."""
    if delay := tokens.delay(token):
        reason = f"the token {token.name} may purge {token.scope.rate} times per minute"
        raise Refused(429, reason, Retry_After=str(math.ceil(delay)))


async def content(request: web.Request) -> bytes:
    """The content, which may go without a Content-Type; raise ``ClientError`` 413 or 415."""
    if request.can_read_body and "Content-Type" in request.headers and not _JSON.fullmatch(request.content_type):
        raise Refused(415, "write it as application/json", Accept="application/json")
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise ClientError(413, f"that is more than {MAX_CONTENT} bytes") from error


def wait(request: web.Request) -> int | None:
    """``Prefer: wait=N``, seconds. What is no such preference is ignored (RFC 7240 §2)."""
    found = _WAIT.search(",".join(request.headers.getall("Prefer", [])))
    return min(int(found[1]), MAX_PATIENCE) if found else None


# Writing.


def answer(status: int, said: object, fields: dict[str, str] | None = None) -> web.Response:
    """Return an answer of JSON; ``said`` is what ``msgspec`` can encode."""
    body = msgspec.json.encode(said) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json", headers=fields)


def problem(error: ClientError) -> web.Response:
    """Return the answer that a refusal is."""
    said = Problem(error.status, HTTPStatus(error.status).phrase, error.reason)
    fields = error.fields if isinstance(error, Refused) else {}
    body = msgspec.json.encode(said) + b"\n"
    return web.Response(status=error.status, body=body, content_type="application/problem+json", headers=fields)


def audit_refusal(what: str, error: ClientError, token: Token | None, request: web.Request) -> None:
    """Write down that somebody was refused for want of rights."""
    if error.status in (401, 403, 429):
        who = token.name if token else "-"
        _audit.warning("%s refused status=%d token=%s peer=%s", what, error.status, who, request.remote)
