"""The end of a fetch: what only the whole body tells is found out, and what came is stored or not.

Called by ``engine.fetch`` when the last byte has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from edgecache.engine.combine import combine, whole
from edgecache.engine.fill import Fill
from edgecache.engine.judging import Filling
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics import finishing, storing
from edgecache.semantics.finishing import Examined
from edgecache.semantics.guards import path_of
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Freshness, StoredResponse
from edgecache.semantics.versioned import Versioned, recognise
from edgecache.stores.base import Tiers
from edgecache.stores.body import MemoryBody

__all__ = ["keep"]

_MOST_AT_ONCE: Final = 256 * 1024
"""Bytes that are examined in the event loop: it takes a millisecond. Larger bodies, and those that may become larger
when they are decoded, are examined in a thread."""


async def keep(
    fill: Fill, filling: Filling, store: Tiers, ledger: Ledger, clock: Callable[[], float]
) -> StoredResponse | Reason:
    """Store a body that has come whole; return it, or why it is not stored, as things stand in the end."""
    prototype = filling.prototype
    if fill.spilled:
        return Reason.TOO_LARGE
    if reason := storing.refusal_of_size(prototype.content_range, fill.size, filling.policy):
        return reason
    freshness = _until_the_end(prototype, filling.policy, clock())
    response = replace(prototype, body=MemoryBody(fill.chunks()), freshness=freshness)
    if response.content_range is not None:
        response = _with_stored_parts(response, store, ledger)
    finished = await _finished(response, filling)
    if isinstance(finished, Reason):
        return finished
    if ledger.verdict(finished) is Verdict.INVALID:
        return Reason.PURGED
    if reason := filling.plan.unkept(finished, ledger):
        return reason
    return finished if store.put_now(finished) else Reason.TOO_LARGE


def _with_stored_parts(part: StoredResponse, store: Tiers, ledger: Ledger) -> StoredResponse:
    for stored in store.lookup_now(part.key):
        if stored.selecting == part.selecting and ledger.verdict(stored) is Verdict.VALID:
            part = combine(stored, part)
    return whole(part)


def _until_the_end(prototype: StoredResponse, policy: Policy, now: float) -> Freshness:
    """A refresh takes until its last byte, which came ``now``: what was stored before is used until then."""
    freshness = prototype.freshness
    took = now - prototype.response_time
    if not freshness.eager or took <= 0:
        return freshness
    return replace(freshness, eager=freshness.eager + policy.early * took)


async def _finished(response: StoredResponse, filling: Filling) -> StoredResponse | Reason:
    """Return what is to be stored of a response that came whole, or why it is not."""
    asked, policy = filling.plan.asked, filling.policy
    knows_names = policy.verified is not None or asked.rules.names is not None
    named = recognise(path_of(asked.asked.target), asked.rules.names) if knows_names else None
    if not finishing.is_worth_examining(response, policy, named):
        return response
    return finishing.finished(response, await _examined(response, filling, named), policy)


async def _examined(response: StoredResponse, filling: Filling, named: Versioned | None) -> Examined:
    body = response.body.local
    assert body is not None  # it has just come
    is_coded = any(name.lower() == "content-encoding" for name, _ in response.fields)
    if response.body.size <= _MOST_AT_ONCE and not is_coded:
        return finishing.examined(response, body, filling.policy, named)
    return await asyncio.to_thread(finishing.examined, response, body, filling.policy, named)
