"""``/v1/purge``, ``/v1/purges`` and ``/v1/erasures`` on the admin listener: purging for people and pipelines.

Theory
    A request shows a token, names selectors, and gets the ledger's receipt; the status says whether it can be
    believed: 200 confirmed everywhere, 202 not yet or not by all, 503 not known to be in the log (then a retry with
    the same ``Idempotency-Key`` is safe). ``Prefer: wait=N`` (RFC 7240 §4.3) says how long that may take.

    ``min_matched`` changes the status only: a purge is never withheld because of a count.

Invariants
    * Keys belong to a token: nobody can make somebody else's purge look as if it had been carried out already.

Mounted by ``edges.admin``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from edgecache.edges import answering
from edgecache.edges.answering import RETRY_AFTER, Refused
from edgecache.edges.purge_messages import read_order
from edgecache.edges.purges import PATIENCE, Wish, status_of
from edgecache.edges.siblings import ALONE
from edgecache.errors import ClientError

if TYPE_CHECKING:
    from edgecache.edges.purge_messages import PurgeOrder
    from edgecache.edges.purges import Purges
    from edgecache.edges.tokens import Token
    from edgecache.purging.selector import Selector

__all__ = ["PurgeApi"]

_ID: Final = re.compile(r"[0-9a-f]{16}")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")


class PurgeApi:
    """The handlers."""

    def __init__(self, purges: Purges) -> None:
        self._purges: Final = purges

    async def purge(self, request: web.Request) -> web.Response:
        """``POST /v1/purge``."""
        token = None
        try:
            token = self._token(request)
            answering.check_rate(self._purges.tokens, token)
            order, selectors = read_order(await answering.content(request))
            if reason := token.refuses(selectors):
                raise answering.insufficient(reason)
            return await self._carry_out(request, token, order, selectors)
        except ClientError as error:
            answering.audit_refusal("purge", error, token, request)
            return answering.problem(error)

    async def purges(self, request: web.Request) -> web.Response:
        """``GET /v1/purges``: a token for everything sees all, another its own."""
        try:
            token = self._token(request)
        except ClientError as error:
            return answering.problem(error)
        shown, alone = request.headers["Authorization"], ALONE in request.headers
        return answering.answer(
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
                raise Refused(503, f"not known here, and {', '.join(missing)} did not say", Retry_After=RETRY_AFTER)
            if found is None:
                raise ClientError(404, "no such erasure; if its process has ended, purge again with erase")
        except ClientError as error:
            return answering.problem(error)
        return answering.answer(200, found)

    # Who it is.

    def _token(self, request: web.Request) -> Token:
        return answering.asker(request, self._purges.tokens)

    # What is done.

    async def _carry_out(
        self, request: web.Request, token: Token, order: PurgeOrder, selectors: list[Selector]
    ) -> web.Response:
        key, wait = _key(request), answering.wait(request)
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
        return answering.answer(409 if status == 200 and reply.matched < order.min_matched else status, reply, fields)


def _key(request: web.Request) -> str:
    keys = request.headers.getall("Idempotency-Key", [])
    if keys and (len(keys) > 1 or not _KEY.fullmatch(keys[0])):
        raise ClientError(400, "Idempotency-Key: one value of 1 to 128 visible ASCII characters")
    return keys[0] if keys else ""
