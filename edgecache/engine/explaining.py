"""Explaining what a request would meet here: ``semantics.explanation``, of what is so in this process at this moment.

Theory
    The same functions that decide about requests are asked, with the same inputs, and what they say is written down.
    Nothing is sent to the origin and nothing is changed: what is stored is looked at without counting as a use, and
    what a lookup would remove or let begin anew stays as it is. Only a tier behind memory is really asked, and counts
    that; whether what it has comes into play is decided as it is for a request.

Invariants
    * Between looking and the decision that is told there is no ``await``.
    * No secret of other people is told: of what is stored there are heads, not bodies, and no values of cookies or
      credentials, in either direction.

Made by ``engine.cache``; called by the admin API.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from msgspec import structs

from edgecache.engine.collapse import KEPT_OUT
from edgecache.engine.judgements import without_secrets
from edgecache.engine.judging import passing
from edgecache.engine.lookup import may_look_behind
from edgecache.engine.matching import Countable, tally
from edgecache.engine.parts import Parts
from edgecache.engine.plan import Plan
from edgecache.http.message import RequestHead, ResponseHead
from edgecache.http.negotiation import selecting_value
from edgecache.purging.selector import Kind, Selector
from edgecache.purging.verdict import Verdict
from edgecache.semantics import key as keys
from edgecache.semantics import reckoning, selection, storing
from edgecache.semantics.advice import advised
from edgecache.semantics.derivation import Cite, cited, derivation, ruled
from edgecache.semantics.explanation import (
    HIDDEN,
    Copy,
    Elsewhere,
    Explanation,
    Judged,
    Outlook,
    Reach,
    Selected,
    Test,
    instant,
)
from edgecache.semantics.freshness import govern
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Complete, Decision, Forward, Refuse, Serve, ServeStale, Validate
from edgecache.semantics.rules import Applied, Rule
from edgecache.semantics.stored import CacheKey, Selecting, StoredResponse
from edgecache.semantics.unkeyed import doubtful

__all__ = ["LATER", "Explainer"]

LATER: Final = 3600.0
"""Seconds from now at which the second outlook is."""

MEMORY: Final = "memory"
SHARED: Final = "redis"

DEFAULT: Final = "default"
"""Decides what nothing else does."""

LATEST: Final = "latest"
STORED: Final = "stored"

_MOST_TAGS: Final = 10
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_VERDICTS: Final = {
    Verdict.VALID: "no purge has hit it",
    Verdict.STALE: "a soft purge has hit it: stale since then",
    Verdict.UNPROVEN: "whether a purge has hit it cannot be said now: the origin has to confirm it",
    Verdict.INVALID: "a purge has hit it: never served again",
}


class Explainer:
    """Explains.

    Args:
        memory: what is stored in this process.
        sources: where settings of the configuration come from, by ``table.key`` (``edges.config``).
    """

    def __init__(self, parts: Parts, memory: Countable, sources: Mapping[str, str]) -> None:
        self._parts: Final = parts
        self._memory: Final = memory
        self._sources: Final = sources

    async def explain(self, request: RequestHead, *, process: int, workers: int = 1) -> Explanation:
        """Return what ``request`` would meet. ``process`` is who answers, one of ``workers``."""
        parts = self._parts
        asked = parts.rules.applied(request)
        plan = _plan(parts, asked)
        key, release = (CacheKey(""), "") if plan is None else (plan.key, plan.release)
        behind = await parts.store.behind(key) if key else ()
        # From here on there is no await: everything is of one moment.
        is_held = plan is not None and plan.is_held
        here = _Here(parts, asked, key, self._memory.peek(key) if key else (), behind, self._sources, held=is_held)
        explanation = Explanation(
            method=request.method,
            url=request.target_uri,
            now=instant(here.now),
            process=process,
            workers=workers,
            key=key,
            steps=tuple(derivation(asked, key, release, here.cite_request)),
            rules=ruled(here.rules),
            unkeyed=here.unkeyed(),
            stored=tuple(map(here.copy, here.entries)),
            sequence=parts.ledger.sequence,
            shared=parts.store.has_shared,
            latest=here.latest(),
            present=here.outlook(here.now),
            later=here.outlook(here.now + LATER),
            tested=here.subject,
            tests=tuple(here.tests()),
            reach=tuple(_reach(self._memory, asked.head.target_uri, here.tags)) if key else (),
            elsewhere=tuple(_elsewhere(self._memory, asked, here.entries)) if key else (),
        )
        return replace(explanation, advice=advised(explanation))


@dataclass(frozen=True, slots=True)
class _Entry:
    """A stored response and the tier it is in."""

    tier: str
    stored: StoredResponse


class _Here:
    """What there is for one request at one moment."""

    def __init__(
        self,
        parts: Parts,
        asked: Applied,
        key: CacheKey,
        memory: Iterable[StoredResponse],
        behind: Iterable[StoredResponse],
        sources: Mapping[str, str],
        *,
        held: bool,
    ) -> None:
        self.now: Final = parts.clock()
        self._held: Final = held
        self.entries: Final = (*(_Entry(MEMORY, one) for one in memory), *(_Entry(SHARED, one) for one in behind))
        self._parts: Final = parts
        self._asked: Final = asked
        self._key: Final = key
        self._sources: Final = sources
        self._noted: Final = parts.judgements.latest(key) if key else None
        self._chosen: Final = self._choose()
        self.subject: Final = self._subject()
        self.rules: Final = self._rules()

    @property
    def tags(self) -> frozenset[str]:
        """Tags of what is stored, or was."""
        if self._chosen is not None:
            return self._chosen.stored.tags
        return frozenset() if self._noted is None or self._noted.refusal else self._noted.tags

    # What it is about.

    def _choose(self) -> _Entry | None:
        """Return the entry that the request is about: of those it selects the newest, else any."""
        chosen = next((one for one in self.entries if selection.matches(one.stored, self._asked.head.fields)), None)
        return chosen or next(iter(self.entries), None)

    def _subject(self) -> str:
        noted, chosen = self._noted, self._chosen
        if chosen is None:
            return LATEST if noted is not None else ""
        is_newer = noted is not None and noted.when > chosen.stored.response_time
        is_refused = noted is not None and noted.refusal is not None and noted.refusal not in KEPT_OUT
        return LATEST if is_newer and is_refused else STORED

    def _rules(self) -> tuple[Rule, ...]:
        """Return the rules that apply: to the response it is about, or else those that need none."""
        rules, request = self._parts.rules, self._asked.asked
        if self.subject == STORED and self._chosen is not None:
            return rules.matching(request, self._chosen.stored.head())
        if self._noted is not None and self._noted.rules:
            return self._noted.rules
        return tuple(rule for rule in rules.matching(request, None) if not rule.needs_response)

    def cite_request(self, setting: str) -> str:
        """Say what decides a setting that takes effect before there is a response."""
        rules = self._parts.rules.matching(self._asked.asked, None)
        return self._cite(tuple(rule for rule in rules if not rule.needs_response), setting)

    def _citing(self, response: ResponseHead) -> Cite:
        rules = self._parts.rules.matching(self._asked.asked, response)
        return lambda setting: self._cite(rules, setting)

    def _cite(self, rules: Sequence[Rule], setting: str) -> str:
        rule = self._parts.rules.deciding(rules, setting)
        if rule is not None:
            return cited(rule)
        source = self._sources.get(f"cache.{setting}")
        return DEFAULT if source is None else f"{setting} in [cache] ({source})"

    # What is stored.

    def copy(self, entry: _Entry) -> Copy:
        """Tell of a stored response."""
        stored, head = entry.stored, entry.stored.head()
        verdict, policy, cite = self._parts.ledger.verdict(stored), self._asked.on(head), self._citing(head)
        found = self._parts.lookup.seen([stored], self.now)
        as_used = found.candidates[0] if found.candidates and not found.doubted else stored
        held = stored.content_range
        return Copy(
            tier=entry.tier,
            status=stored.status,
            size=stored.body.size,
            content_range="" if held is None else f"{held.first}-{held.last}/{held.complete or '*'}",
            received=instant(stored.response_time),
            received_ago=self.now - stored.response_time,
            fields=tuple(without_secrets(stored.fields)),
            tags=tuple(sorted(stored.tags)),
            selecting=tuple(_selected(stored, self._asked.head)),
            selected=selection.matches(stored, self._asked.head.fields),
            verdict=verdict.value,
            verdict_explanation=_VERDICTS[verdict],
            birth=stored.birth.sequence,
            usable=bool(found.candidates),
            lifetime=reckoning.lifetime(
                as_used, policy, cite, self.now, softly_purged=self._is_softly_purged(stored, verdict)
            ),
            windows=tuple(reckoning.windows(as_used, policy, cite)),
        )

    def _is_softly_purged(self, stored: StoredResponse, verdict: Verdict) -> bool:
        """Whether a soft purge has hit it: also one that a lookup has drawn the consequences of already."""
        noted = self._noted
        if verdict is Verdict.STALE or noted is None or noted.when != stored.response_time:
            return verdict is Verdict.STALE
        return self._parts.ledger.verdict_of(noted.birth, stored.uri, stored.tags) is Verdict.STALE

    # What is done.

    def outlook(self, at: float) -> Outlook:
        """Tell what would be done with the request at an instant, by what is stored now."""
        policy, method = self._asked.policy, self._asked.asked.method
        if policy.passes or method not in keys.KEYED_METHODS:
            reason = Reason.RULE_PASS if policy.passes else Reason.METHOD
            return _outlook(at, "pass", reason)
        decision, entries = self._decide(at)
        match decision:
            case Serve(response, reason):
                return _outlook(at, "serve", reason, _tier_of(entries, response))
            case ServeStale(response, reason):
                return _outlook(at, "serve-stale", reason, _tier_of(entries, response))
            case Validate(response, reason):
                return _outlook(at, "validate", reason, _tier_of(entries, response))
            case Complete(response, reason=reason):
                return _outlook(at, "complete", reason, _tier_of(entries, response))
            case Forward(reason):
                return _outlook(at, "forward", reason)
            case Refuse(reason):
                return _outlook(at, "refuse", reason)

    def _decide(self, at: float) -> tuple[Decision, tuple[_Entry, ...]]:
        """Decide as ``engine.cache`` does: by what is in memory, or else by what is behind it too."""
        memory = tuple(one for one in self.entries if one.tier == MEMORY)
        decision = self._found(memory, at)
        if not self._parts.lookup.can_look_behind or not may_look_behind(decision):
            return decision, memory
        return self._found(self.entries, at), self.entries

    def _found(self, entries: Iterable[_Entry], at: float) -> Decision:
        newest = sorted((one.stored for one in entries), key=lambda stored: -stored.response_time)
        return self._parts.lookup.seen(newest, at).decide(self._asked.head, self._asked.policy, at, held=self._held)

    def unkeyed(self) -> tuple[str, ...]:
        """Return the request's fields that may change the response and select nothing."""
        if not self._key:
            return ()
        known = () if self._chosen is None else self._chosen.stored.selecting.names
        return doubtful(self._asked.head, self._asked.policy, known)

    # What came last.

    def latest(self) -> Judged | None:
        """Tell what became of the response that came last."""
        noted = self._noted
        if noted is None:
            return None
        refusal = noted.refusal
        return Judged(
            when=instant(noted.when),
            ago=self.now - noted.when,
            status=noted.status,
            stored=refusal is None,
            reason="" if refusal is None else refusal,
            explanation="" if refusal is None else refusal.explanation,
            fields=noted.fields,
            cookies=noted.cookies,
            unkeyed=noted.unkeyed,
            authorized=noted.authorized,
            rules=ruled(noted.rules),
            since=self._parts.ledger.verdict_of(noted.birth, keys.url_of(self._key), noted.tags).value,
        )

    def tests(self) -> Iterator[Test]:
        """Tell what can speak against storing: of the response that came last, or of one that is stored, anew."""
        objections = self._objections()
        for reason in dict.fromkeys(reason for reason, _ in storing.CHECKS):
            yield Test(reason=reason, passed=reason not in objections, explanation=reason.explanation)

    def _objections(self) -> tuple[Reason, ...]:
        if self.subject == LATEST and self._noted is not None:
            return self._noted.objections
        if self._chosen is None:
            return ()
        stored, head = self._chosen.stored, self._chosen.stored.head()
        policy = self._asked.on(head)
        return storing.objections(self._asked.head, head, govern(head.fields, policy), stored.freshness, policy)


def _plan(parts: Parts, asked: Applied) -> Plan | None:
    """Return what the engine would begin with, None for a request that is passed."""
    return None if passing(asked, has_content=False) else parts.planned(asked)


def _outlook(at: float, action: str, reason: Reason, tier: str = "") -> Outlook:
    return Outlook(when=instant(at), action=action, reason=reason, explanation=reason.explanation, tier=tier)


def _tier_of(entries: Iterable[_Entry], response: StoredResponse) -> str:
    return next((one.tier for one in entries if one.stored.body is response.body), "")


def _selected(stored: StoredResponse, request: RequestHead) -> Iterator[Selected]:
    for name, value in zip(stored.selecting.names, stored.selecting.values, strict=True):
        is_secret = value is not None and name in _SECRET
        alone = structs.replace(stored, selecting=Selecting((name,), (value,)))
        yield Selected(
            name=name,
            stored=HIDDEN if is_secret else value,
            presented=selecting_value(request.fields, name),
            matches=selection.matches(alone, request.fields),
        )


# Round about.


def _reach(memory: Countable, uri: str, tags: Iterable[str]) -> Iterator[Reach]:
    """Yield what purges the URL, the narrowest of it marked: what hits the fewest, the URL before others."""
    selectors = list(_selectors(uri, sorted(tags)[:_MOST_TAGS]))
    matched = [None if (found := tally(memory, one)) is None else found[0] for one in selectors]
    counted = [(count, place) for place, count in enumerate(matched) if count]
    narrowest = min(counted, default=(0, -1))[1]
    for place, (selector, count) in enumerate(zip(selectors, matched, strict=True)):
        yield Reach(selector=str(selector), matched=count, narrowest=place == narrowest)


def _selectors(uri: str, tags: Iterable[str]) -> Iterator[Selector]:
    url = Selector.of(Kind.URL, uri)
    yield url
    yield from (Selector(Kind.TAG, tag) for tag in tags)
    host, _, path = url.value.partition("?")[0].partition("/")
    segments = path.split("/")
    for length in range(len(segments), 0, -1):
        prefix = "/".join(segments[:length])
        if prefix:
            yield Selector.of(Kind.PREFIX, f"{host}/{prefix}")
    yield Selector.of(Kind.HOST, host)
    yield Selector(Kind.ALL)


def _elsewhere(memory: Countable, asked: Applied, entries: Iterable[_Entry]) -> Iterator[Elsewhere]:
    """Yield where a response may be that is missed here."""
    uri, here = asked.head.target_uri, sum(one.tier == MEMORY for one in entries)
    others = memory.tally_uri(uri)[0] - here
    if others > 0:
        yield Elsewhere(url=uri, what="with other fields, cookies or release in the key", matched=others)
    scheme = {"http": "https", "https": "http"}[asked.head.scheme]
    other = f"{scheme}{uri.removeprefix(asked.head.scheme)}"
    if matched := memory.tally_uri(other)[0]:
        yield Elsewhere(url=other, what="the other scheme", matched=matched)
    bare = uri.partition("?")[0]
    if bare != uri and (matched := memory.tally_uri(bare)[0]):
        yield Elsewhere(url=bare, what="without its query", matched=matched)
