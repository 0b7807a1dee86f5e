"""What the verbs of the engine work with: one bundle, passed to each of them.

The mutable ones (store, ledger, collapse, counters) are written by the tasks of one event loop only, and never across
an ``await``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from edgecache.engine.collapse import Collapse
from edgecache.engine.counters import Counters
from edgecache.engine.encodings import Encodings
from edgecache.engine.fetch import Fetcher
from edgecache.engine.judgements import Judgements
from edgecache.engine.lookup import Lookup
from edgecache.engine.plan import Plan
from edgecache.engine.refresh import Refresher
from edgecache.http.cache_status import Fwd
from edgecache.purging.base import Ledger
from edgecache.semantics import key, releases
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import Applied, RuleSet
from edgecache.stores.base import Tiers

__all__ = ["FWD", "Parts", "detail_of", "unlike_200"]

FWD: Final = {
    Reason.URI_MISS: Fwd.URI_MISS,
    Reason.VARY_MISS: Fwd.VARY_MISS,
    Reason.STALE: Fwd.STALE,
    Reason.NO_CACHE: Fwd.STALE,
    Reason.UNPROVEN: Fwd.STALE,
    Reason.CLOCK: Fwd.STALE,
    Reason.RELOAD: Fwd.REQUEST,
    Reason.PARTIAL: Fwd.PARTIAL,
    Reason.METHOD: Fwd.METHOD,
    Reason.PRECONDITION: Fwd.BYPASS,
    Reason.UPGRADE: Fwd.BYPASS,
    Reason.RULE_PASS: Fwd.BYPASS,
    Reason.CONTENT: Fwd.BYPASS,
}
"""Reasons for forwarding, in the words of RFC 9211 §2.2."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The means of one process's engine.

    ``clock`` gives POSIX seconds, ``luck`` a new number for each request, exponentially distributed with mean 1;
    ``rules`` say what holds for each request and response, and ``policy`` what holds without any.
    """

    store: Tiers
    ledger: Ledger
    lookup: Lookup
    collapse: Collapse
    fetcher: Fetcher
    refresher: Refresher
    encodings: Encodings
    judgements: Judgements
    counters: Counters
    policy: Policy
    rules: RuleSet
    clock: Callable[[], float]
    luck: Callable[[], float]

    def planned(self, asked: Applied, digest: str = "", content: bytes | None = None, *, warms: str = "") -> Plan:
        """Return the plan that a request begins with. ``digest`` is that of its ``content``.

        ``warms`` is the release that a request of the edge's own is for: it is looked up and stored under that one.
        """
        head, policy, release, is_held = asked.head, asked.policy, warms, False
        if not policy.by_release:
            release = ""
        elif not warms:
            release, is_held = self.ledger.release.name, self.ledger.release.held
        if warms:
            asked = msgspec.structs.replace(asked, policy=replace(policy, honour_reload=True))
        if label := release or warms:
            asked = asked.tagged(releases.tag_of(label))
        cache_key = key.primary(head, digest, policy, release)
        return Plan(cache_key, asked, head, content, release=release, is_held=is_held)


def unlike_200(status: int) -> int | None:
    """RFC 9211 §2.3: fwd-status is left out when it says nothing."""
    return None if status == 200 else status


def detail_of(reason: Reason) -> str | None:
    """A detail that would only repeat the ``fwd`` parameter is left out."""
    return _DETAILS[reason]


_DETAILS: Final = {reason: None if str(reason) == str(fwd) else reason for reason, fwd in FWD.items()}
