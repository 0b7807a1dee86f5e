"""``POST /v1/scan`` on the admin listener: looking for what should not be stored, and purging it.

Theory
    A scan is about memory, of which each process has its own: like the count of a purge it is asked of every worker of
    this machine. What is found is purged by its URLs through the ledger, which reaches every process and every tier.

Invariants
    * A token sees what its scope's hosts contain, and purges what its scope contains: all that was found, or nothing.
    * Purged are exactly the URLs that the report lists and that no rule allows.

Mounted by ``edges.admin``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from edgecache.edges import answering
from edgecache.edges.purges import PATIENCE, Purges, Wish, status_of
from edgecache.edges.scan_messages import Finding, ScanReport, Why, read_scan
from edgecache.edges.siblings import ALONE, Siblings
from edgecache.engine.scanning import Scanning
from edgecache.errors import ClientError
from edgecache.http.fields import combined
from edgecache.purging.base import MAX_SELECTORS
from edgecache.purging.selector import Kind, Selector
from edgecache.semantics.stored import StoredResponse

if TYPE_CHECKING:
    from aiohttp import web

    from edgecache.edges.tokens import Token
    from edgecache.semantics.suspicion import Suspicion

__all__ = ["MAX_FOUND", "ScanApi"]

MAX_FOUND: Final = MAX_SELECTORS
"""Findings that a report lists; one purge takes no more."""


class ScanApi:
    """The handler."""

    def __init__(self, scanning: Scanning, purges: Purges, siblings: Siblings) -> None:
        self._scanning: Final = scanning
        self._purges: Final = purges
        self._siblings: Final = siblings

    async def scan(self, request: web.Request) -> web.Response:
        """``POST /v1/scan``."""
        token = None
        try:
            token = answering.asker(request, self._purges.tokens)
            order = read_scan(await answering.content(request))
            if order.purge:
                answering.check_rate(self._purges.tokens, token)
            report = await self._look(request, token)
            status = 200
            if order.purge:
                report = await self._purge(request, token, report)
                status = status_of(report.purge) if report.purge else 200
        except ClientError as error:
            answering.audit_refusal("scan", error, token, request)
            return answering.problem(error)
        return answering.answer(status, report)

    async def _look(self, request: web.Request, token: Token) -> ScanReport:
        here = await self._scanning(token.scope.shows, MAX_FOUND)
        found = [self._finding(stored, why) for stored, why in here.suspected]
        looked_at, more, complete, missing = here.looked_at, here.more, here.complete, list[str]()
        if ALONE not in request.headers:
            reports, missing = await self._siblings.scan(request.headers["Authorization"])
            found += [one for report in reports for one in report.found]
            looked_at += sum(report.looked_at for report in reports)
            more += sum(report.more for report in reports)
            complete = complete and all(report.complete for report in reports)
        return ScanReport(looked_at, found[:MAX_FOUND], more + len(found[MAX_FOUND:]), complete, missing)

    async def _purge(self, request: web.Request, token: Token, report: ScanReport) -> ScanReport:
        """Purge what was found; raise ``ClientError`` (403) when the token may not, and nothing is purged."""
        selectors = list(_selectors(report))
        if reason := token.refuses(selectors):
            raise answering.insufficient(reason)
        if not selectors:
            return report
        wait = answering.wait(request)
        wish = Wish(
            selectors=selectors,
            who=token.name,
            peer=str(request.remote),
            authorization=request.headers["Authorization"],
            patience=PATIENCE if wait is None else float(wait),
        )
        return msgspec.structs.replace(report, purge=await self._purges.carry_out(wish))

    def _finding(self, stored: StoredResponse, why: tuple[Suspicion, ...]) -> Finding:
        return Finding(
            url=stored.uri,
            status=stored.status,
            content_type=combined(stored.head().fields, "content-type") or "",
            age=round(stored.freshness.age(self._purges.now()), 3),
            size=stored.body.size,
            why=[Why(one.reason, one.explanation, one.allowed_by) for one in why],
            process=os.getpid(),
        )


def _selectors(report: ScanReport) -> Iterator[Selector]:
    for url in dict.fromkeys(one.url for one in report.found if not one.is_allowed):
        # A URI that no selector can spell is stored by no path that leads here.
        with contextlib.suppress(ClientError):
            yield Selector.of(Kind.URL, url)
