"""Suspicion: what of the things that are stored today's guards and rules would not store, or not for so long.

Theory
    Guards keep poison out from the day they are there. What came before them, or past a rule that switched one off,
    rests in the store and is served until it ends, which can be a year. So the tests of ``storing.CHECKS`` that need
    nothing but what is stored are put to it again, with two more about promises that no failure can keep.

    Of its request a stored response has the target and what Vary named. Rules that look at other fields of the request
    do not match here, so what only they allow to be stored is suspected too: at worst it is fetched once more.

Pure; called by ``engine.scanning``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgecache.http.cache_control import parse_response
from edgecache.http.message import RequestHead, fields_of
from edgecache.semantics.derivation import cited
from edgecache.semantics.freshness import govern
from edgecache.semantics.guards import path_of, type_contradicts
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import RuleSet
from edgecache.semantics.stored import StoredResponse
from edgecache.semantics.storing import CHECKS, Case
from edgecache.semantics.versioned import recognise

__all__ = ["Poison", "Suspicion", "suspicions"]


class Poison(enum.StrEnum):
    """What is wrong with a stored response beside what would keep it from being stored."""

    explanation: str

    def __new__(cls, token: str, explanation: str) -> Poison:
        """Make a member whose value is its token."""
        member = str.__new__(cls, token)
        member._value_ = token
        member.explanation = explanation
        return member

    IMMUTABLE_FAILURE = "immutable-failure", "it is no success, and says that it never changes (RFC 8246)"
    MISSING_ASSET = "missing-asset", "a versioned name is remembered as missing for longer than seconds"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a stored response is suspected; ``allowed_by`` is the rule that lets it be stored all the same."""

    reason: str
    explanation: str
    allowed_by: str = ""


_OF_REQUESTS: Final = frozenset(
    {Reason.METHOD, Reason.REQUEST_NO_STORE, Reason.AUTHORIZATION, Reason.UNKEYED_FIELD, Reason.REQUEST_COOKIE}
)
_OF_STORED: Final = tuple(
    (reason, speaks_against)
    for reason, speaks_against in CHECKS
    if reason not in _OF_REQUESTS and reason is not Reason.NO_FRESHNESS  # a purge may have ended it
)


def suspicions(stored: StoredResponse, rules: RuleSet) -> tuple[Suspicion, ...]:
    """Return everything that is wrong with a stored response."""
    request, head = _request(stored), stored.head()
    policy = rules.on_response(request, head)
    governing = govern(head.fields, policy)
    case = Case(request, head, governing, stored.freshness, policy, head, governing.directives)
    found = [Suspicion(reason, reason.explanation) for reason, speaks_against in _OF_STORED if speaks_against(case)]
    if policy.unsafe_ignore_content_type and type_contradicts(request, head):
        rule = rules.deciding(rules.matching(request, head), "unsafe_ignore_content_type")
        allowed_by = "the configuration" if rule is None else cited(rule)
        found.append(Suspicion(Reason.TYPE_MISMATCH, Reason.TYPE_MISMATCH.explanation, allowed_by))
    found += [Suspicion(poison, poison.explanation) for poison in _poisons(stored, request, policy, rules)]
    return tuple({one.reason: one for one in found}.values())


def _poisons(stored: StoredResponse, request: RequestHead, policy: Policy, rules: RuleSet) -> Iterator[Poison]:
    if not 200 <= stored.status < 300 and parse_response(stored.head().fields).immutable:
        yield Poison.IMMUTABLE_FAILURE
    freshness = stored.freshness
    from_receipt = freshness.generated_at + freshness.lifetime - stored.response_time
    is_missing = stored.status in (404, 410) and recognise(path_of(request.target), rules.names) is not None
    if is_missing and policy.max_ttl is not None and from_receipt > policy.max_ttl:
        yield Poison.MISSING_ASSET


def _request(stored: StoredResponse) -> RequestHead:
    """Return what is known of the request that got it."""
    scheme, _, rest = stored.uri.partition("://")
    authority, slash, path = rest.partition("/")
    selecting = zip(stored.selecting.names, stored.selecting.values, strict=True)
    fields = fields_of((name, value) for name, value in selecting if value is not None)
    return RequestHead("GET", scheme, authority, f"{slash}{path}", fields)
