"""The end of a fetch: what only the whole body tells is found out, and the fetch has its full length.

Called by ``engine.fetch`` before it stores what came.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from edgecache.engine.judging import Filling
from edgecache.semantics import finishing
from edgecache.semantics.finishing import Examined
from edgecache.semantics.guards import path_of
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import StoredResponse
from edgecache.semantics.versioned import Versioned, recognise

__all__ = ["finish"]

_MOST_AT_ONCE: Final = 256 * 1024
"""Bytes that are examined in the event loop: it takes a millisecond. Larger bodies, and those that may become larger
when they are decoded, are examined in a thread."""


async def finish(response: StoredResponse, filling: Filling, now: float) -> StoredResponse | Reason:
    """Return what is to be stored of a response that came whole at ``now``, or why it is not."""
    asked, policy = filling.asked, filling.policy
    named = recognise(path_of(asked.asked.target), asked.rules.names)
    if response.freshness.eager:
        # A refresh takes until its last byte: what was stored before is used until then.
        eager = response.freshness.eager + policy.early * max(0.0, now - response.response_time)
        response = replace(response, freshness=replace(response.freshness, eager=eager))
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
