"""``/v1/deploys`` on the admin listener: releases for people and pipelines.

Theory
    A deploy is begun (202: it is warmed in the background), asked about, and activated. To activate, to hold and to
    roll back is answered with a receipt as a purge is, 200, 202 or 503, and ``Prefer: wait=N`` says how long that may
    take. Each of these orders says what is to be the case afterwards, so to send it again is safe.

    409 says that an order is not carried out as things stand, and what would have to be different.

Mounted by ``edges.admin``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from edgecache.edges import answering
from edgecache.edges.answering import RETRY_AFTER, Refused
from edgecache.edges.deploy_messages import ActivateOrder, BeginOrder, ReleaseReply, RollbackOrder, read
from edgecache.edges.deploy_requests import requests_of
from edgecache.edges.deploys import PATIENCE, Orderer, checked
from edgecache.edges.siblings import ALONE
from edgecache.errors import ClientError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from edgecache.edges.deploys import Deploys
    from edgecache.edges.tokens import Token

__all__ = ["DeployApi"]


class DeployApi:
    """The handlers."""

    def __init__(self, deploys: Deploys) -> None:
        self._deploys: Final = deploys

    def mount(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get("/v1/deploys", self._checked(self._report))
        router.add_post("/v1/deploys/{name}", self._checked(self._begin))
        router.add_get("/v1/deploys/{name}", self._checked(self._deploy))
        router.add_post("/v1/deploys/{name}/activate", self._checked(self._activate))
        router.add_post("/v1/deploys/{name}/hold", self._checked(self._hold))
        router.add_post("/v1/deploys/{name}/rollback", self._checked(self._rollback))

    def _checked(self, handle: Callable[[web.Request, Token], Awaitable[web.Response]]) -> Handler:
        """Return the handler for those who may deploy; it answers refusals."""

        async def handler(request: web.Request) -> web.Response:
            token = None
            try:
                token = answering.asker(request, self._deploys.tokens)
                _permit(token)
                return await handle(request, token)
            except ClientError as error:
                answering.audit_refusal("deploy", error, token, request)
                return answering.problem(error)

        return handler

    async def _begin(self, request: web.Request, token: Token) -> web.Response:
        requests = requests_of(read(await answering.content(request), BeginOrder))
        _permit(token, *(head.authority for head in requests))
        deploy = await self._deploys.begin(request.match_info["name"], requests, _orderer(request, token))
        return answering.answer(202, deploy)

    async def _deploy(self, request: web.Request, token: Token) -> web.Response:
        name = checked(request.match_info["name"])
        found, missing = await self._deploys.find(
            name, request.headers["Authorization"], alone=ALONE in request.headers
        )
        if found is None and missing:
            raise Refused(503, f"not known here, and {', '.join(missing)} did not say", Retry_After=RETRY_AFTER)
        if found is None:
            raise ClientError(404, f"{name} was not begun here, or its process has ended: begin it again")
        return answering.answer(200, found)

    async def _report(self, request: web.Request, token: Token) -> web.Response:
        shown, alone = request.headers["Authorization"], ALONE in request.headers
        return answering.answer(200, await self._deploys.report(shown, alone=alone))

    async def _activate(self, request: web.Request, token: Token) -> web.Response:
        order = read(await answering.content(request), ActivateOrder)
        name, by, patience = request.match_info["name"], _orderer(request, token), _patience(request)
        return _receipt(request, await self._deploys.activate(name, by, patience, force=order.force))

    async def _hold(self, request: web.Request, token: Token) -> web.Response:
        name, by, patience = request.match_info["name"], _orderer(request, token), _patience(request)
        return _receipt(request, await self._deploys.hold(name, by, patience))

    async def _rollback(self, request: web.Request, token: Token) -> web.Response:
        order = read(await answering.content(request), RollbackOrder)
        name, by, patience = request.match_info["name"], _orderer(request, token), _patience(request)
        return _receipt(request, await self._deploys.rollback(name, by, patience, to=order.to))


def _permit(token: Token, *hosts: str) -> None:
    if reason := token.scope.refuses_to_warm(hosts):
        raise answering.insufficient(f"the token {token.name} may not do this: {reason}")


def _orderer(request: web.Request, token: Token) -> Orderer:
    return Orderer(token.name, str(request.remote), request.headers["Authorization"])


def _patience(request: web.Request) -> float:
    wait = answering.wait(request)
    return PATIENCE if wait is None else float(wait)


def _receipt(request: web.Request, reply: ReleaseReply) -> web.Response:
    wait = answering.wait(request)
    fields = {} if wait is None else {"Preference-Applied": f"wait={wait}"}
    status = reply.state.status
    return answering.answer(status, reply, fields | ({"Retry-After": RETRY_AFTER} if status == 503 else {}))
