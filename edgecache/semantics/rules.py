"""Rules: the operator's wishes for some requests and responses, as data.

Theory
    A rule is a condition and settings. For each setting the first rule that matches and has it decides; a setting that
    no rule has is as the configuration says. What comes of it is a ``Policy``, and everything else in the program knows
    only that: no code asks which rule matched but that which explains.

    There are two moments. When a request comes, the rules that look at requests alone say what is looked up and sent
    (``REQUEST_SETTINGS``). When a response's head comes, all of them say what is made of it. A rule that looks at the
    response and sets what is needed before is a mistake, which whoever reads rules reports.

    Built-in rules come before all others: they are guards that need no words of their own.

Invariants
    * Conditions are pure predicates, linear in what they look at; all parts of one have to hold, of several values one.
    * Rules look at the request as it came, not at what other rules made of it.
    * The same rules give the same ``Policy`` object: there are few combinations, and they are kept.

Called by the engine, the commands and the admin listener.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from edgecache.http.fields import combined
from edgecache.http.glob import Glob, Wildcard
from edgecache.http.message import FieldsView, RequestHead, ResponseHead
from edgecache.http.regex import Pattern
from edgecache.semantics.guards import extension_of, media_type, path_of
from edgecache.semantics.key import cookies
from edgecache.semantics.normalising import normalised, takes_all
from edgecache.semantics.policy import Policy
from edgecache.semantics.versioned import AssetNames, By, Versioned, recognise

__all__ = ["BUILT_IN", "REQUEST_SETTINGS", "Applied", "Match", "Rule", "RuleSet"]

REQUEST_SETTINGS: Final = frozenset(
    {
        "passes",
        "path",
        "query",
        "key_fields",
        "key_cookies",
        "drop_unknown_fields",
        "by_release",
        "honour_reload",
        "known_fields",
        "unsafe_ignore_request_fields",
        "unsafe_strip_cookies",
    }
)
"""Settings that take effect before there is a response."""

_MOST_POLICIES: Final = 4096
_LISTED: Final = frozenset({By.MANIFEST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A condition. An empty part says nothing. Names of fields and parameters stand with a wildcard for their value.

    Attributes:
        hosts: globs over the authority, or over the host alone.
        paths: globs over the path, without the query.
        path_patterns: regular expressions searched for in the path.
        extensions: of the path's last segment, lower case; the empty one is that of names without any.
        methods: request methods.
        query: parameters, as spelled.
        request_fields: fields of the request.
        cookies: wildcards for names of cookies, of which the request has one.
        versioned: how the name was recognised as a versioned asset's.
        statuses: status codes.
        content_types: media types, lower case.
        response_fields: fields of the response.
    """

    hosts: tuple[Glob, ...] = ()
    paths: tuple[Glob, ...] = ()
    path_patterns: tuple[Pattern, ...] = ()
    extensions: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    query: tuple[tuple[str, Wildcard], ...] = ()
    request_fields: tuple[tuple[str, Wildcard], ...] = ()
    cookies: tuple[Wildcard, ...] = ()
    versioned: frozenset[By] = frozenset()
    statuses: frozenset[int] = frozenset()
    content_types: tuple[Wildcard, ...] = ()
    response_fields: tuple[tuple[str, Wildcard], ...] = ()

    @property
    def needs_response(self) -> bool:
        """Whether a response is looked at."""
        return bool(self.statuses or self.content_types or self.response_fields)

    @property
    def consulted(self) -> frozenset[str]:
        """Names of the request fields that are looked at, lower case."""
        names = {name.lower() for name, _ in self.request_fields}
        return frozenset(names | {"cookie"} if self.cookies else names)

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing, and matches everything."""
        return self == Match()

    def holds(self, request: RequestHead, response: ResponseHead | None, names: AssetNames | None) -> bool:
        """Whether it holds; what needs a response does not without one. A status is sooner compared than a name."""
        return self._holds_of_response(response) and self._holds_of_request(request, names)

    def _holds_of_request(self, request: RequestHead, names: AssetNames | None) -> bool:
        path = path_of(request.target)
        return (
            (not self.methods or request.method in self.methods)
            and (not self.hosts or _is_host(self.hosts, request.authority))
            and (not self.paths or any(glob.matches(path) for glob in self.paths))
            and (not self.extensions or extension_of(path) in self.extensions)
            and (not self.path_patterns or any(pattern.search(path) for pattern in self.path_patterns))
            and (not self.versioned or self._is_versioned(path, names))
            and (not self.query or _has_parameters(self.query, request.target))
            and (not self.request_fields or _has_fields(self.request_fields, request.fields))
            and (not self.cookies or _has_cookie(self.cookies, request.fields))
        )

    def _holds_of_response(self, response: ResponseHead | None) -> bool:
        if not self.needs_response:
            return True
        return (
            response is not None
            and (not self.statuses or response.status in self.statuses)
            and (not self.content_types or _is_type(self.content_types, response.fields))
            and (not self.response_fields or _has_fields(self.response_fields, response.fields))
        )

    def may_hold(self, status: int | None, names: AssetNames | None) -> bool:
        """Whether there are requests of which it holds when their response has this status."""
        if status is not None and self.statuses and status not in self.statuses:
            return False
        return names is not None or self.versioned != _LISTED

    def _is_versioned(self, path: str, names: AssetNames | None) -> bool:
        if self.versioned == _LISTED:
            return names is not None and path in names
        versioned = recognise(path, names)
        return versioned is not None and versioned.by in self.versioned


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A named rule. ``source`` tells people where it stands: ``static-assets.toml:12``.

    ``settings`` are names and values of fields of ``Policy``. ``unless`` excludes what ``match`` would let in; an empty
    one excludes nothing.
    """

    name: str
    settings: Mapping[str, object] = field(hash=False)
    match: Match = Match()
    unless: Match = Match()
    source: str = ""
    priority: int = 0

    @property
    def needs_response(self) -> bool:
        """Whether it can be judged only with a response."""
        return self.match.needs_response or self.unless.needs_response

    def applies(self, request: RequestHead, response: ResponseHead | None, names: AssetNames | None) -> bool:
        """Whether it is meant for this request, and this response to it."""
        if not self.match.holds(request, response, names):
            return False
        return self.unless.is_empty or not self.unless.holds(request, response, names)


BUILT_IN: Final = (
    Rule(
        name="missing versioned asset",
        source="built in",
        match=Match(versioned=frozenset(By), statuses=frozenset({404, 410})),
        settings={"max_ttl": 2.0, "may_be_stale": False},
    ),
    Rule(
        name="asset of a build",
        source="built in",
        match=Match(versioned=frozenset({By.MANIFEST}), statuses=frozenset({200, 206})),
        settings={"unsafe_ignore_request_cookies": True},
    ),
)
"""A name with a digest in it is missing only while a deploy is under way: to remember that for longer than seconds is
what breaks the page for everybody. And what a build manifest lists is the same for every visitor."""


class Applied(msgspec.Struct, frozen=True):
    """A request as the rules have it.

    Attributes:
        asked: the request as it came.
        head: what is looked up and, if need be, sent (``semantics.normalising``).
        policy: what holds for it before there is a response.
        tags: what a response gets beside the tags that the rules give it.
    """

    rules: RuleSet
    asked: RequestHead
    head: RequestHead
    policy: Policy
    tags: tuple[str, ...] = ()

    @property
    def versioned(self) -> Versioned | None:
        """What makes the name that was asked for a versioned asset's, or None."""
        return recognise(path_of(self.asked.target), self.rules.names)

    def tagged(self, *tags: str) -> Applied:
        """Return the same for a request whose response gets these tags too."""
        return Applied(self.rules, self.asked, self.head, self.policy, tags)

    def matching(self, response: ResponseHead) -> tuple[Rule, ...]:
        """Return the rules that apply to it and a response."""
        return self.rules.matching(self.asked, response)

    def on(self, response: ResponseHead) -> Policy:
        """Return what holds for a response to it."""
        return self.under(self.matching(response))

    def under(self, rules: Sequence[Rule]) -> Policy:
        """Return what holds for a response to it, to which these rules apply."""
        policy = self.rules.policy(rules)
        return replace(policy, tags=(*policy.tags, *self.tags)) if self.tags else policy


class RuleSet:
    """Rules in force, in order, over a base.

    ``names`` are those of the build manifests that are known.
    """

    def __init__(self, base: Policy, rules: Iterable[Rule] = (), names: AssetNames | None = None) -> None:
        self.base: Final = base
        self.names: Final = names
        self.rules: Final = (*BUILT_IN, *sorted(rules, key=lambda rule: -rule.priority))
        self._of_request: Final = tuple(
            rule for rule in self.rules if not rule.needs_response and not REQUEST_SETTINGS.isdisjoint(rule.settings)
        )
        self._takes_all: Final = not self._of_request and takes_all(base)
        self._of_status: Final[dict[int | None, tuple[Rule, ...]]] = {}
        self._policies: Final[dict[tuple[int, ...], Policy]] = {}

    def knowing(self, names: AssetNames) -> RuleSet:
        """Return the same rules with other names of assets."""
        return RuleSet(self.base, self.rules[len(BUILT_IN) :], names)

    def consulted(self) -> frozenset[str]:
        """Return the names, lower case, of the request fields that can tell under which key something is looked up."""
        names = {name for rule in self._of_request for name in rule.match.consulted | rule.unless.consulted}
        for policy in (self.base, *(replace(self.base, **rule.settings) for rule in self._of_request)):  # type: ignore[arg-type]
            names.update(policy.key_fields, {"cookie"} if policy.key_cookies else ())
        return frozenset(names)

    def applied(self, request: RequestHead) -> Applied:
        """Return what the rules make of a request."""
        policy = self.base
        if self._takes_all:
            return Applied(self, request, request, policy)
        if self._of_request:
            policy = self.policy([rule for rule in self._of_request if rule.applies(request, None, self.names)])
        return Applied(self, request, normalised(request, policy), policy)

    def matching(self, request: RequestHead, response: ResponseHead | None) -> tuple[Rule, ...]:
        """Return the rules that apply, in order. Without a response: those that can be judged without one."""
        rules = self._possible(None if response is None else response.status)
        return tuple([rule for rule in rules if rule.applies(request, response, self.names)]) if rules else ()

    def _possible(self, status: int | None) -> tuple[Rule, ...]:
        """Return the rules that may apply to a response with this status: those built in seldom do."""
        possible = self._of_status.get(status)
        if possible is None:
            possible = tuple(rule for rule in self.rules if rule.match.may_hold(status, self.names))
            self._of_status[status] = possible
        return possible

    def on_response(self, request: RequestHead, response: ResponseHead) -> Policy:
        """Return what holds for a response; ``request`` as it came."""
        return self.policy(self.matching(request, response))

    def deciding(self, rules: Sequence[Rule], setting: str) -> Rule | None:
        """Return which of the rules that apply decides about a setting."""
        return next((rule for rule in rules if setting in rule.settings), None)

    def policy(self, rules: Sequence[Rule]) -> Policy:
        """Return what holds when these rules apply, and no others."""
        if not rules:
            return self.base
        combination = tuple(map(id, rules))
        policy = self._policies.get(combination)
        if policy is None:
            settings: dict[str, object] = {}
            for rule in rules:
                settings = {**rule.settings, **settings}
            policy = replace(self.base, **settings)  # type: ignore[arg-type]
            if len(self._policies) < _MOST_POLICIES:
                self._policies[combination] = policy
        return policy


def _is_host(globs: Iterable[Glob], authority: str) -> bool:
    host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
    return any(glob.matches(authority) or glob.matches(host) for glob in globs)


def _has_parameters(wanted: Iterable[tuple[str, Wildcard]], target: str) -> bool:
    given = [part.partition("=")[::2] for part in target.partition("?")[2].split("&")]
    return all(any(name == key and value.matches(text) for key, text in given) for name, value in wanted)


def _has_fields(wanted: Iterable[tuple[str, Wildcard]], fields: FieldsView) -> bool:
    return all((text := combined(fields, name)) is not None and value.matches(text) for name, value in wanted)


def _has_cookie(wanted: Iterable[Wildcard], fields: FieldsView) -> bool:
    names = [name for name, _ in cookies(fields)]
    return any(wildcard.matches(name) for wildcard in wanted for name in names)


def _is_type(wanted: Iterable[Wildcard], fields: FieldsView) -> bool:
    found = media_type(fields)
    return any(wildcard.matches(found) for wildcard in wanted)
