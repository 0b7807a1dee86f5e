"""The admin listener: how operators and their tools look at a running edge, and purge.

Theory
    A listener of its own, on loopback unless told otherwise, never reachable through the public port. What it shows
    is asked of ``AdminState`` at that moment; it keeps nothing.

    ``/livez``      200 while the event loop turns: restart the process when this does not answer
    ``/readyz``     200 when requests may be sent here, 503 while starting or draining; ``?verbose`` lists the checks
    ``/metrics``    Prometheus' formats
    ``/v1/stats``   the same numbers as JSON

    With ``edges.purge_api`` and ``edges.deploy_api`` mounted, which they are in every running edge:

    ``/v1/purge``      POST, with a token: purge, and say how far it came
    ``/v1/purges``     with a token: the latest purges
    ``/v1/erasures/``  with a token and the id of a purge: how far erasing has come
    ``/v1/deploys``    with a token: releases are warmed, activated, held and gone back to
    ``/v1/explain``    with a token: what a request would meet, and why (``edges.explain_api``)
    ``/v1/scan``       POST, with a token: what is stored that should not be (``edges.scan_api``)
    ``/openapi.json``  what can be asked here (``edges.openapi``)

Invariants
    * GET and HEAD change nothing. What changes something is a POST that shows a token.
    * A web page must not read this through its visitor's browser. Such a page can make its own host name resolve to
      this address (DNS rebinding), but it cannot choose the Host field: a name that is neither configured nor
      ``localhost`` is answered 421 (RFC 9110 §15.5.20). There is no CORS.
    * Every response, errors included, carries ``_FIELDS``.
"""

from __future__ import annotations

import ipaddress
import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from edgecache.edges.deploy_api import DeployApi
from edgecache.edges.metrics import Sources, expose, make_registry
from edgecache.edges.openapi import describe
from edgecache.edges.purge_api import PurgeApi
from edgecache.edges.purge_messages import MAX_CONTENT
from edgecache.engine.counters import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.typedefs import Handler, Middleware

    from edgecache.edges.deploys import Deploys
    from edgecache.edges.explain_api import ExplainApi
    from edgecache.edges.purges import Purges
    from edgecache.edges.scan_api import ScanApi

__all__ = ["AdminState", "Check", "make_admin"]

_FIELDS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "edgecache",
    "X-Content-Type-Options": "nosniff",
}
_AUTHORITY: Final = re.compile(r"(?:\[(?P<literal>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that readiness looked at; ``detail`` is for people."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminState(Sources):
    """What can be asked of a running edge, beside the numbers of ``Sources``.

    Attributes:
        ready: whether requests may be sent here, and what was looked at. A failed check (Redis) may leave
            the edge ready: it is then degraded.
        started: POSIX seconds.
        now: the clock, POSIX seconds.
    """

    ready: Callable[[], tuple[bool, list[Check]]]
    started: float
    now: Callable[[], float] = time.time


_STATE: Final = web.AppKey("state", AdminState)
_REGISTRY: Final = web.AppKey("registry", CollectorRegistry)


def make_admin(
    state: AdminState,
    *,
    names: Iterable[str] = (),
    purges: Purges | None = None,
    deploys: Deploys | None = None,
    explaining: ExplainApi | None = None,
    scanning: ScanApi | None = None,
) -> web.Application:
    """Return the application.

    ``names`` are the host names it answers to, beside ``localhost`` and any address. Without ``purges`` and
    ``deploys`` it only answers questions, and without ``explaining`` and ``scanning`` fewer of them.
    """
    allowed = frozenset(name.lower() for name in names) | {"localhost"}
    app = web.Application(middlewares=[_only_from(allowed)], client_max_size=MAX_CONTENT)
    app[_STATE] = state
    app[_REGISTRY] = make_registry(state)
    app.on_response_prepare.append(_add_fields)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/v1/stats", _stats)
    if purges is not None:
        api = PurgeApi(purges)
        app.router.add_post("/v1/purge", api.purge)
        app.router.add_get("/v1/purges", api.purges)
        app.router.add_get("/v1/erasures/{id}", api.erasure)
        app.router.add_get("/openapi.json", _describing(describe(state.version)))
    if deploys is not None:
        DeployApi(deploys).mount(app.router)
    if explaining is not None:
        app.router.add_get("/v1/explain", explaining.explain)
    if scanning is not None:
        app.router.add_post("/v1/scan", scanning.scan)
    return app


def _describing(document: bytes) -> Handler:
    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    return openapi


async def _livez(_: web.Request) -> web.Response:
    return web.Response(text="alive\n")


async def _readyz(request: web.Request) -> web.Response:
    ready, checks = request.app[_STATE].ready()
    failed = [check.name for check in checks if not check.ok]
    lines = ["not ready" if not ready else "degraded" if failed else "ready"]
    if failed:
        lines[0] += f": {', '.join(failed)}"
    if "verbose" in request.query:
        lines += [f"[{'+' if check.ok else '-'}] {check.name} {check.detail}".rstrip() for check in checks]
    return web.Response(status=200 if ready else 503, text="\n".join(lines) + "\n")


async def _metrics(request: web.Request) -> web.Response:
    body, content_type = expose(request.app[_REGISTRY], request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _stats(request: web.Request) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(_snapshot(request.app[_STATE])), indent=2)
    return web.Response(body=body + b"\n", content_type="application/json")


def _snapshot(state: AdminState) -> dict[str, Any]:
    ready, checks = state.ready()
    return {
        "version": state.version,
        "started": datetime.fromtimestamp(state.started, UTC).isoformat(timespec="seconds"),
        "uptime_seconds": round(state.now() - state.started, 3),
        "ready": ready,
        "checks": [asdict(check) for check in checks],
        "in_flight": state.in_flight(),
        "counters": state.counters.statistics(),
        "bounds_seconds": BOUNDS,
        "stores": dict(state.store_statistics()),
        "tiers": dict(state.tiers()),
        "ledger": dict(state.ledger()),
        "access_log": state.access_log() if state.access_log else None,
        "supervision": state.supervision(),
    }


def _only_from(names: frozenset[str]) -> Middleware:
    """Return the middleware that answers only to ``names`` and addresses."""

    @web.middleware
    async def only_from(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_addressed(request, names):
            return await handler(request)
        return web.Response(
            status=421,
            text="421: this host name is not served here; use the address, localhost, or configure the name\n",
        )

    return only_from


def _is_addressed(request: web.Request, names: frozenset[str]) -> bool:
    # absolute-form is for proxies, which this is not: a departure from RFC 9112 §3.2.2 that leaves Host the only name.
    if not request.raw_path.startswith("/"):
        return False
    authority = request.headers.get("Host")
    # Health checks in HTTP/1.0 send none; every browser does, and HTTP/1.1 without it never gets here.
    return authority is None or _is_allowed(authority, names)


def _is_allowed(authority: str, names: frozenset[str]) -> bool:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return False
    return (parts["name"] or "").lower() in names or _is_address(parts["literal"] or parts["name"])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _add_fields(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_FIELDS)
