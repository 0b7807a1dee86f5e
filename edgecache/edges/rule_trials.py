"""Trying rules on a request and a response: what the engine would do, by the functions that it uses itself.

Nothing is stored and nobody is asked. Time stands still, at the response's Date if it has one, and no dice are rolled:
what jitter can do is told by the shortest and the longest lifetime.

Callers: ``edges.rule_examples``.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from edgecache.engine.judging import Judgement, judge, passing
from edgecache.http.fields import combined, parse_delta_seconds
from edgecache.http.message import RequestHead, ResponseHead
from edgecache.origin.base import Framing, Tunnel
from edgecache.semantics import releases, reuse
from edgecache.semantics.freshness import assess, date_of, govern
from edgecache.semantics.key import content_digest, primary
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Forward, Refuse
from edgecache.semantics.rules import BUILT_IN, Applied, Rule, RuleSet
from edgecache.semantics.stored import Basis, Freshness
from edgecache.semantics.tags import tags_of

__all__ = ["Decision", "Trial", "attempt"]

_NOW: Final = 1_800_000_000.0
"""When everything happens that does not say when: 2027-01-15 08:00:00 UTC."""

_DECIDES: Final = {
    Basis.RULE: "edge_ttl",
    Basis.RULE_DEFAULT: "default_ttl",
    Basis.RULE_NEGATIVE: "negative_ttl",
}


class Decision(enum.StrEnum):
    """What becomes of a response."""

    STORED = "stored"
    NOT_STORED = "not-stored"
    PASSED = "pass"


@dataclass(frozen=True, slots=True)
class _Response:
    """A response as the origin's client would hand it over."""

    head: ResponseHead
    framing: Framing
    content_length: int | None
    tunnel: Tunnel | None = None
    server: str = ""
    pieces: tuple[bytes, ...] = ()

    def arrived(self) -> bytes | None:
        """Return no body: nobody reads it."""
        return None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield nothing: nobody reads it."""
        for piece in self.pieces:
            yield piece

    def close(self) -> None:
        """There is nothing to close."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What would happen.

    Attributes:
        asked: the request, as the rules have it.
        judged: the response.
        passed: why the request is neither looked up nor stored, or None.
        refused: why it is not even sent, or None.
        shortest: the numbers that decide about reuse, with all the jitter there is.
        longest: the same without any.
        now: when it happens.
        key: what is looked up; empty when nothing is.
        applying: the rules that apply, built-in ones aside.
    """

    asked: Applied
    judged: Judgement
    passed: Reason | None
    refused: Reason | None
    shortest: Freshness
    longest: Freshness
    now: float
    key: str
    applying: tuple[Rule, ...]

    @property
    def decision(self) -> Decision:
        """What becomes of the response."""
        if self.refused is not None:
            return Decision.NOT_STORED
        if self.judged.refusal is None and self.passed in (None, Reason.METHOD):
            return Decision.STORED
        return Decision.NOT_STORED if self.passed is None else Decision.PASSED

    @property
    def reason(self) -> Reason | None:
        """Why it is not stored."""
        if self.decision is Decision.STORED:
            return None
        return self.refused or self.passed or self.judged.refusal

    @property
    def lifetimes(self) -> tuple[float, float] | None:
        """The shortest and the longest lifetime that is left on receipt, seconds."""
        if self.decision is not Decision.STORED:
            return None
        return self.shortest.ttl(self.now), self.longest.ttl(self.now)

    def window(self, name: str) -> float | None:
        """Return a number of ``Freshness``, seconds; None when nothing is stored."""
        seconds: float = getattr(self.longest, name)
        return seconds if self.decision is Decision.STORED else None

    @property
    def browser(self) -> str:
        """The Cache-Control that clients see; empty for none."""
        return combined(self.judged.shown.fields, "cache-control") or ""

    @property
    def url(self) -> str:
        """What is looked up, and asked of the origin."""
        return self.asked.head.target_uri

    @property
    def rule(self) -> str | None:
        """The name of the rule that lets the request pass, or decides the lifetime."""
        setting = "passes" if self.decision is Decision.PASSED else _DECIDES.get(self.longest.basis, "")
        deciding = next((rule for rule in self.applying if setting in rule.settings), None)
        return None if deciding is None else deciding.name

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of all rules that apply, in order."""
        return tuple(rule.name for rule in self.applying)

    @property
    def tags(self) -> tuple[str, ...] | None:
        """All tags; None when nothing is stored."""
        if self.decision is not Decision.STORED:
            return None
        return tuple(sorted(tags_of(self.asked.head, self.judged.head, self.judged.policy) or ()))

    @property
    def explained(self) -> str:
        """What happened, and which rules had a say."""
        why = f"its lifetime comes from {self.longest.basis}"
        if self.reason is not None:
            why = f"{self.reason}: {self.reason.explanation}"
        named = ", ".join(f"{rule.name} ({rule.source})" for rule in self.applying)
        return f"{why}; rules that apply: {named or 'none'}"


def attempt(
    rules: RuleSet,
    request: RequestHead,
    response: ResponseHead,
    *,
    content: bytes | None = None,
    body: bytes | None = None,
    release: str = "",
) -> Trial:
    """Return what would become of a response to a request.

    ``content`` is the request's, ``body`` the response's: their bytes, or None where there are none, or where it does
    not matter which. ``release`` is the active one, if any.
    """
    now = date_of(response.fields, _NOW)
    asked = rules.applied(request)
    release = release if asked.policy.by_release else ""
    if release:
        asked = asked.tagged(releases.tag_of(release))
    came = _Response(response, *_framing(response, body))
    judged = judge(asked.head, asked, came, request_time=now, response_time=now)
    if release and judged.refusal is None and releases.contradicts(judged.head.fields, release):
        judged = replace(judged, refusal=Reason.OTHER_RELEASE)
    governing = govern(judged.head.fields, judged.policy)
    shortest, longest = (
        assess(judged.head, governing, judged.policy, request_time=now, response_time=now, luck=luck)
        for luck in (1.0, 0.0)
    )
    decision = reuse.decide(asked.head, (), asked.policy, now)
    passed = passing(asked, has_content=content is not None)
    if passed is None and isinstance(decision, Forward) and decision.reason is Reason.PRECONDITION:
        passed = decision.reason
    digest = content_digest(content, request.fields) if content is not None else ""
    return Trial(
        asked=asked,
        judged=judged,
        passed=passed,
        refused=decision.reason if passed is None and isinstance(decision, Refuse) else None,
        shortest=shortest,
        longest=longest,
        now=now,
        key=primary(asked.head, digest, asked.policy, release) if passed is None else "",
        applying=tuple(rule for rule in rules.matching(request, response) if rule not in BUILT_IN),
    )


def _framing(response: ResponseHead, body: bytes | None) -> tuple[Framing, int | None]:
    length = parse_delta_seconds(response.fields.get("content-length", "")) if body is None else len(body)
    return (Framing.CHUNKED, None) if length is None else (Framing.LENGTH, length)
