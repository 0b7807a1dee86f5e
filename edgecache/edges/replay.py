"""What other rules would have made of the traffic in an access log.

Theory
    A log says what was asked for, when, and what became of it; it does not have the responses. So what can be said of
    other rules is: which key and which lifetime each request would have had, whether something would be stored that
    was not, and how often a store without bounds would have had an answer. Both sides are computed in the same way,
    the rules in force included, so that the difference is the rules' and not the method's.

    Of what was not stored the reason is in the log (formats ``extended`` and ``json``). A reason that a setting of the
    new rules takes away makes it storable: a lifetime where there was none is what rules are for; anything that takes
    an ``unsafe_`` setting is a risk, and listed by itself.

Invariants
    * Lines that are not understood are counted, never guessed at.
    * Nothing is sent anywhere.

Called by ``edgecache rules diff``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from edgecache.http.message import RequestHead, ResponseHead, fields_of
from edgecache.semantics import key
from edgecache.semantics.freshness import HEURISTICALLY_CACHEABLE
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import RuleSet

__all__ = ["Entry", "Replay", "Side", "read", "replay"]

_LINE: Final = re.compile(
    r'\S+ \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[0-9.]+" (?P<status>[0-9]{3}) \S+'
    r'(?: "(?P<referer>[^"]*)" "(?P<agent>[^"]*)")?(?: (?P<result>[a-z]+) (?P<reason>\S+) [0-9.]+)?'
)
_CLF_TIME: Final = "%d/%b/%Y:%H:%M:%S %z"

_TAKEN_AWAY: Final[Mapping[str, str]] = {
    Reason.PRIVATE: "unsafe_store_private",
    Reason.NO_STORE: "unsafe_store_no_store",
    Reason.SET_COOKIE: "unsafe_store_set_cookie",
    Reason.AUTHORIZATION: "unsafe_store_authorized",
    Reason.TYPE_MISMATCH: "unsafe_ignore_content_type",
    Reason.UNKEYED_FIELD: "unsafe_ignore_request_fields",
    Reason.REQUEST_COOKIE: "unsafe_ignore_request_cookies",
}
"""Reason for not storing -> the setting that takes it away. Stripping cookies takes away two of them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a log. ``time`` is POSIX seconds, ``lifetime`` seconds; None where the log does not say."""

    time: float
    request: RequestHead
    response: ResponseHead
    result: str = ""
    reason: str = ""
    lifetime: float | None = None


def read(lines: Iterable[str], host: str = "localhost", scheme: str = "http") -> Iterator[Entry | None]:
    """Yield an entry for each line, None for one that is not understood. ``host`` is for formats without one."""
    for line in lines:
        if line := line.strip():
            yield _json_entry(line, host, scheme) if line.startswith("{") else _entry(line, host, scheme)


def _entry(line: str, host: str, scheme: str) -> Entry | None:
    found = _LINE.match(line)
    if found is None:
        return None
    try:
        instant = datetime.strptime(found["time"], _CLF_TIME).timestamp()
    except ValueError:
        return None
    pairs = [(name, found[group]) for name, group in (("Referer", "referer"), ("User-Agent", "agent"))]
    fields = fields_of((name, value) for name, value in pairs if value and value != "-")
    request = RequestHead(found["method"], scheme, host, found["target"], fields)
    response = ResponseHead(int(found["status"]), fields_of(()))
    return Entry(instant, request, response, found["result"] or "", found["reason"] or "")


def _json_entry(line: str, host: str, scheme: str) -> Entry | None:
    try:
        said = json.loads(line)
        instant = datetime.fromisoformat(said["time"]).timestamp()
        pairs = [("Referer", said.get("referer")), ("User-Agent", said.get("user_agent"))]
        fields = fields_of((name, value) for name, value in pairs if value)
        request = RequestHead(said["method"], scheme, said.get("authority") or host, said["target"], fields)
        content_type = said.get("content_type")
        answered = fields_of([("Content-Type", content_type)] if content_type else ())
        status = said.get("origin_status") or said["status"]
        status = said["status"] if status == 304 else status
        lifetime = said.get("lifetime")
        return Entry(
            instant,
            request,
            ResponseHead(int(status), answered),
            said.get("result") or "",
            said.get("reason") or "",
            None if lifetime is None else float(lifetime),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Side:
    """What one set of rules makes of one entry.

    ``key`` is None when the request is passed; ``lifetime`` is None when nothing is stored, or, with ``is_stored``,
    when it is the origin's and the log does not say it; ``needs`` is the unsafe setting without which it would not be
    stored.
    """

    key: str | None
    is_stored: bool
    lifetime: float | None
    needs: str = ""


@dataclass(slots=True)
class Replay:
    """The difference, over a whole log. Keys and URLs are counted by how many requests they concern.

    Attributes:
        requests: entries that were read; ``unread`` lines were not understood.
        keys: (old key, new key) where they differ.
        lifetimes: (URL, old, new) where they differ.
        storable: URLs newly stored; ``risky``: (URL, setting) for which that takes an unsafe one.
        unstorable: URLs that were stored and would not be.
        hits: requests that a store without bounds would have answered, by the old and by the new rules.
        distinct: how many keys there are, by the old and by the new rules.
    """

    requests: int = 0
    unread: int = 0
    keyed: int = 0
    keys: Counter[tuple[str, str]] = field(default_factory=Counter)
    lifetimes: Counter[tuple[str, float | None, float | None]] = field(default_factory=Counter)
    storable: Counter[str] = field(default_factory=Counter)
    risky: Counter[tuple[str, str]] = field(default_factory=Counter)
    unstorable: Counter[str] = field(default_factory=Counter)
    hits: tuple[int, int] = (0, 0)
    distinct: tuple[int, int] = (0, 0)


def replay(entries: Iterable[Entry | None], old: RuleSet, new: RuleSet) -> Replay:
    """Return what differs when ``new`` rules are in the place of ``old`` ones."""
    found, stores = Replay(), (_Endless(), _Endless())
    for entry in entries:
        if entry is None:
            found.unread += 1
            continue
        found.requests += 1
        if entry.request.method not in ("GET", "HEAD"):
            continue
        found.keyed += 1
        before = _side(entry, old, None)
        after = _side(entry, new, old)
        _compare(found, entry, before, after)
        for store, side in zip(stores, (before, after), strict=True):
            store.see(entry.time, side)
    found.hits = (stores[0].hits, stores[1].hits)
    found.distinct = (len(stores[0].keys), len(stores[1].keys))
    return found


def _side(entry: Entry, rules: RuleSet, logged_by: RuleSet | None) -> Side:
    """What ``rules`` make of an entry; ``logged_by`` are those in force when it was logged, if they are others."""
    asked = rules.applied(entry.request)
    if asked.policy.passes:
        return Side(None, False, None)
    cache_key = str(key.primary(asked.head, "", asked.policy))
    policy = asked.on(entry.response)
    ruled = _ruled(entry, policy)
    if _was_stored(entry):
        return Side(cache_key, True, ruled if ruled is not None else _of_origin(entry, logged_by))
    if setting := _takes_away(policy, entry.reason):
        return Side(cache_key, True, ruled, setting)
    is_new = ruled is not None and entry.reason in (Reason.NO_FRESHNESS, "", "-") and entry.result in ("miss", "")
    return Side(cache_key, is_new, ruled if is_new else None)


_FORWARDED: Final = frozenset({Reason.URI_MISS, Reason.VARY_MISS, Reason.STALE, Reason.NO_CACHE, Reason.RELOAD})


def _was_stored(entry: Entry) -> bool:
    """Whether what was answered came out of the store or went into it."""
    if entry.lifetime is not None or entry.result in ("hit", "stale", "revalidated", "collapsed"):
        return True
    return entry.result == "miss" and entry.reason in _FORWARDED


def _takes_away(policy: Policy, reason: str) -> str:
    """Return the unsafe setting by which the policy takes away a reason for not storing; empty if it does not."""
    setting = _TAKEN_AWAY.get(reason, "")
    if policy.unsafe_strip_cookies and reason in (Reason.SET_COOKIE, Reason.REQUEST_COOKIE):
        return "unsafe_strip_cookies"
    return setting if setting and getattr(policy, setting) else ""


def _ruled(entry: Entry, policy: Policy) -> float | None:
    """The lifetime that a rule gives, None if it leaves that to the origin."""
    status = entry.response.status
    if status not in HEURISTICALLY_CACHEABLE or status >= 500:
        return None
    if status >= 400:
        return policy.negative_ttl
    return policy.edge_ttl if policy.edge_ttl is not None else policy.default_ttl


def _of_origin(entry: Entry, logged_by: RuleSet | None) -> float | None:
    """The logged lifetime, unless it was a rule's that is not in force on this side."""
    if logged_by is None:
        return entry.lifetime
    policy = logged_by.on_response(entry.request, entry.response)
    return entry.lifetime if _ruled(entry, policy) is None else None


def _compare(found: Replay, entry: Entry, before: Side, after: Side) -> None:
    url = entry.request.target_uri
    if before.key != after.key:
        found.keys[before.key or "(passed)", after.key or "(passed)"] += 1
    if before.is_stored and after.is_stored and before.lifetime != after.lifetime:
        found.lifetimes[url, before.lifetime, after.lifetime] += 1
    if after.is_stored and not before.is_stored:
        found.storable[url] += 1
        if after.needs:
            found.risky[url, after.needs] += 1
    if before.is_stored and not after.is_stored:
        found.unstorable[url] += 1


class _Endless:
    """A store without bounds: when what is under a key ends."""

    def __init__(self) -> None:
        self.hits = 0
        self.keys: dict[str, float] = {}

    def see(self, now: float, side: Side) -> None:
        if side.key is None:
            return
        ends = self.keys.setdefault(side.key, now)
        if now < ends:
            self.hits += 1
        elif side.is_stored and side.lifetime is not None:
            self.keys[side.key] = now + side.lifetime
