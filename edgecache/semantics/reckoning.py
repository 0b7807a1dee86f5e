"""The arithmetic of freshness, told: which numbers add up to a lifetime, and where each of them came from.

Theory
    ``freshness.assess`` leaves a handful of numbers, and a lookup compares those. Here they are taken apart again, by
    the same functions over the same head. What a response has become since (a soft purge, a use that prolonged it,
    rules that were others when it came) is the difference between what is stored and what the parts add up to, and is
    told as such: the terms always add up to what is in force.

Pure; called by ``engine.explaining``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgecache.http.cache_control import ResponseDirectives, parse_targeted
from edgecache.http.message import ResponseHead
from edgecache.semantics.derivation import Cite
from edgecache.semantics.explanation import Lifetime, Term, Window, instant
from edgecache.semantics.freshness import Governing, govern, said_lifetime
from edgecache.semantics.policy import Policy
from edgecache.semantics.stored import Basis, StoredResponse
from edgecache.semantics.storing import luck_of

__all__ = ["lifetime", "windows"]

_SETTINGS: Final = {Basis.RULE: "edge_ttl", Basis.RULE_DEFAULT: "default_ttl", Basis.RULE_NEGATIVE: "negative_ttl"}
_NEXT_TO_NOTHING: Final = 0.0005
"""Seconds: what is less is an error of rounding."""


@dataclass(frozen=True, slots=True)
class _Case:
    stored: StoredResponse
    head: ResponseHead
    governing: Governing
    policy: Policy
    cite: Cite

    @property
    def directives(self) -> ResponseDirectives:
        return self.governing.directives

    @property
    def age_on_receipt(self) -> float:
        return self.stored.response_time - self.stored.freshness.generated_at

    @property
    def field(self) -> str:
        """The field whose directives are obeyed."""
        match self.governing.targeted:
            case Basis.TARGETED:
                names = self.policy.targeted_fields
                return next(name for name in names if parse_targeted(self.head.fields, name) is not None)
            case Basis.SURROGATE:
                return "Surrogate-Control"
            case _:
                return "Cache-Control"


def _case(stored: StoredResponse, policy: Policy, cite: Cite) -> _Case:
    head = stored.head()
    return _Case(stored, head, govern(head.fields, policy), policy, cite)


def lifetime(
    stored: StoredResponse, policy: Policy, cite: Cite, now: float, *, softly_purged: bool = False
) -> Lifetime:
    """Return how long a stored response is fresh; ``policy`` holds for it now, ``softly_purged`` is known of it."""
    freshness, case = stored.freshness, _case(stored, policy, cite)
    terms = [*_terms(case)]
    rest = freshness.lifetime - sum(term.seconds for term in terms)
    if abs(rest) > _NEXT_TO_NOTHING:
        terms.append(Term(seconds=rest, what=_difference(rest, stored, softly_purged=softly_purged)))
    return Lifetime(
        basis=freshness.basis,
        terms=tuple(terms),
        seconds=freshness.lifetime,
        age=freshness.age(now),
        ttl=freshness.ttl(now),
        ends=instant(freshness.generated_at + freshness.lifetime),
        remarks=tuple(_remarks(case)),
    )


def _difference(rest: float, stored: StoredResponse, *, softly_purged: bool) -> str:
    if softly_purged:
        return "ended by a soft purge"
    if rest > 0 and stored.freshness.sliding:
        return "prolonged by use"
    return "judged otherwise when it was stored"


def _terms(case: _Case) -> Iterator[Term]:
    basis, seconds = said_lifetime(case.head, case.governing, case.policy, case.stored.response_time)
    yield Term(seconds=seconds, what=_what(case, basis), source=_source(case, basis))
    total = seconds
    if basis in _SETTINGS and case.policy.jitter:
        shorter = -seconds * case.policy.jitter * luck_of(case.stored.key, case.stored.response_time)
        yield Term(seconds=shorter, what=f"jitter, up to {case.policy.jitter:.0%}", source=case.cite("jitter"))
        total += shorter
    if basis in _SETTINGS and case.age_on_receipt and seconds > 0:
        yield Term(seconds=case.age_on_receipt, what="its age on receipt, from which a rule counts")
        total += case.age_on_receipt
    if case.policy.max_ttl is not None and total > (most := case.age_on_receipt + case.policy.max_ttl):
        what = f"no more than {case.policy.max_ttl:.12g} s from receipt: max_ttl"
        yield Term(seconds=most - total, what=what, source=case.cite("max_ttl"))


def _what(case: _Case, basis: Basis) -> str:
    directives = case.directives
    match basis:
        case Basis.RULE | Basis.RULE_DEFAULT | Basis.RULE_NEGATIVE:
            return _SETTINGS[basis]
        case Basis.EXPIRES:
            return "Expires less Date"
        case Basis.HEURISTIC:
            share = f"{case.policy.heuristic_fraction:.0%}"
            return f"heuristic: {share} of the time since Last-Modified (RFC 9111 §4.2.2)"
        case Basis.NONE:
            return "nothing says how long"
        case _:
            return "s-maxage" if directives.s_maxage is not None else "max-age"


def _source(case: _Case, basis: Basis) -> str:
    match basis:
        case Basis.RULE | Basis.RULE_DEFAULT | Basis.RULE_NEGATIVE:
            return case.cite(_SETTINGS[basis])
        case Basis.HEURISTIC:
            return case.cite("heuristic_fraction")
        case Basis.EXPIRES | Basis.NONE:
            return ""
        case _:
            return case.field


def _remarks(case: _Case) -> Iterator[str]:
    """What beside numbers decides about its reuse."""
    freshness, directives = case.stored.freshness, case.directives
    if freshness.must_validate:
        yield f"validated before each use: no-cache in {case.field} (RFC 9111 §5.2.2.4)"
    if freshness.never_stale:
        yield f"no request may accept it stale: {_why_never_stale(case)}"
    if directives.immutable and freshness.immutable:
        yield "no reload validates it while it is fresh: immutable (RFC 8246)"
    if freshness.eager:
        yield f"refreshed ahead of time by one request in e within {freshness.eager:.3g} s of its end: early"
    if freshness.sliding:
        yield f"each use prolongs it to {freshness.sliding:.12g} s at least: sliding, {case.cite('sliding')}"
    if freshness.restarts_age:
        yield f"clients count from delivery: browser_ttl, {case.cite('browser_ttl')}"


def _why_never_stale(case: _Case) -> str:
    directives = case.directives
    said = {
        "must-revalidate": directives.must_revalidate,
        "proxy-revalidate": directives.proxy_revalidate,
        "no-cache": directives.no_cache,
        "s-maxage": directives.s_maxage is not None,
    }
    words = [word for word, is_said in said.items() if is_said]
    if words:
        return f"{', '.join(words)} in {case.field}"
    return "as it was judged when it was stored" if case.policy.may_be_stale else case.cite("may_be_stale")


def windows(stored: StoredResponse, policy: Policy, cite: Cite) -> Iterator[Window]:
    """Yield what a stored response may be used for after its lifetime, also those windows that are closed."""
    freshness, case = stored.freshness, _case(stored, policy, cite)
    over = freshness.generated_at + freshness.lifetime
    grace = case.directives.stale_while_revalidate, "stale-while-revalidate"
    error = case.directives.stale_if_error, "stale-if-error"
    uses = (
        ("grace", freshness.grace, "served while one request validates it", *grace),
        ("if_error", freshness.if_error, "served in the place of a server error", *error),
        ("if_unreachable", freshness.if_unreachable, "served when the origin cannot be reached", *error),
        ("if_gone", freshness.if_gone, "served in the place of a 404 or 410", None, "retain"),
    )
    for name, seconds, use, stated, word in uses:
        setting = "retain" if name == "if_gone" else name
        source = f"{word} in {case.field}" if stated is not None else cite(setting)
        if not seconds and freshness.never_stale:
            source = f"closed: {_why_never_stale(case)}"
        yield Window(name=name, use=use, seconds=seconds, ends=instant(over + seconds), source=source)
    use = "kept to ask whether it has changed"
    yield Window(name="keep", use=use, seconds=freshness.keep, ends=instant(freshness.discard_at), source=cite("keep"))
