"""Who may purge what, and deploy: bearer tokens, known by their digests, and what each is good for.

Theory
    A token is a name, the SHA-256 digest of a secret, and a scope. Whoever shows the secret (RFC 6750) may purge
    what the scope contains; nobody else purges anything. The secret itself is never kept and never written.

    A selector is within a scope when everything it can match is, whatever is stored now or later:

    ==================  ====================================================================================
    url, host           the host is one of ``hosts``
    prefix, glob        the same; one for any host needs ``*`` among them; a glob's host may be listed as it is
    regex               needs ``*`` among ``hosts``: no bound can be read from it
    tag                 the tag begins with one of ``tag_prefixes``, whatever the host
    expr                whatever it holds for has a tag that begins with one of them
    all                 needs ``all``, which lifts ``hosts`` and ``tag_prefixes``
    ==================  ====================================================================================

    ``kinds`` and ``soft_only`` narrow that, also for ``all``. Deploying needs ``deploy``, and what is warmed has to be
    of ``hosts``; the active release is one for all hosts.

Invariants
    * A scope that says nothing contains nothing.
    * How long ``authenticate`` takes tells neither how much of a secret was right nor whose it was.

Called by the admin listener; made by the composition root from the configuration (``Config.granted``), the
environment (``environment_token``) and the token of the machine (``edges.token_file``).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgecache.errors import ConfigError
from edgecache.http.glob import Glob
from edgecache.purging.expression import Both, Either, Expression, Not, Tag, parse
from edgecache.purging.selector import Kind, Selector, target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["ANY_HOST", "VARIABLE", "Scope", "Token", "Tokens", "digest_of", "environment_token", "is_secret"]

VARIABLE: Final = "EDGECACHE_TOKEN"
"""The environment variable that holds a secret: for commands to send, for the edge to accept."""

ANY_HOST: Final = "*"
"""The host pattern of which every host is."""

_BEARER: Final = re.compile(r"bearer +(?P<secret>[A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)  # RFC 6750 §2.1
_SECRET: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_WILD: Final = frozenset("*?\\")
_MINUTE: Final = 60.0


def digest_of(secret: str) -> str:
    """Return what is kept of a secret: its SHA-256 digest, 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_secret(text: str) -> bool:
    """Whether a text can be shown as a bearer token (RFC 6750 §2.1)."""
    return _SECRET.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be purged.

    Attributes:
        hosts: canonical hosts, as selectors have them, or globs over them.
        tag_prefixes: what a tag must begin with.
        kinds: kinds of selectors; empty: each.
        soft_only: only soft purges.
        all: whatever the host and the tags.
        rate: purges per minute, dry runs included; 0: without limit.
        deploy: releases may be warmed, activated and gone back to.
    """

    hosts: tuple[str, ...] = ()
    tag_prefixes: tuple[str, ...] = ()
    kinds: frozenset[Kind] = frozenset()
    soft_only: bool = False
    all: bool = False
    rate: int = 0
    deploy: bool = False

    def refuses(self, selector: Selector) -> str | None:
        """Return why a selector is not within this scope, for people; None when it is."""
        if self.kinds and selector.kind not in self.kinds:
            return f"it may purge by {', '.join(sorted(self.kinds))} only"
        if self.soft_only and not selector.soft:
            return "it may purge softly only"
        if self.all or self._contains(selector):
            return None
        if selector.kind is Kind.ALL:
            return "it may not purge everything"
        if selector.kind in (Kind.TAG, Kind.EXPR):
            return f"its tags begin with {_listed(self.tag_prefixes)}"
        return f"its hosts are {_listed(self.hosts)}"

    def refuses_to_warm(self, hosts: Iterable[str]) -> str | None:
        """Return why nothing may be warmed at these hosts, for people; None when it may."""
        if not self.deploy:
            return "it may not deploy"
        outside = [host for host in hosts if not (self.all or self._contains_host(host))]
        return f"it may not warm {outside[0]}: its hosts are {_listed(self.hosts)}" if outside else None

    def shows(self, uri: str) -> bool:
        """Whether what is stored under a URI may be looked at: its host is contained, whatever may be purged."""
        return self.all or self._contains_host(target_of(uri).host)

    def _contains(self, selector: Selector) -> bool:
        match selector.kind:
            case Kind.ALL:
                return False
            case Kind.TAG:
                return selector.value.startswith(self.tag_prefixes)
            case Kind.EXPR:
                return self._implied_by(parse(selector.value))
            case Kind.REGEX:
                return ANY_HOST in self.hosts
            case _:
                return self._contains_host(selector.value.partition("/")[0])

    def _contains_host(self, host: str) -> bool:
        """Whether every host is contained that a url, prefix, host or glob means which begins like this."""
        if ANY_HOST in self.hosts:
            return True
        if _WILD.isdisjoint(host):
            return bool(host) and any(Glob(pattern).matches(host) for pattern in self.hosts)
        return "**" not in host and host in self.hosts  # two stars would reach across the end of the host

    def _implied_by(self, expression: Expression) -> bool:
        """Whether a response for which the expression holds has a tag of ours, for sure."""
        match expression:
            case Tag(name):
                return name.startswith(self.tag_prefixes)
            case Not():
                return False
            case Both(operands):
                return any(map(self._implied_by, operands))
            case Either(operands):
                return all(map(self._implied_by, operands))


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words) or "none"


@dataclass(frozen=True, slots=True)
class Token:
    """A name for people and the audit log, the digest of the secret, and what it is good for."""

    name: str
    digest: str
    scope: Scope

    def refuses(self, selectors: Sequence[Selector]) -> str | None:
        """Return which selector is not within the scope and why, for people; None when all are."""
        for selector in selectors:
            if reason := self.scope.refuses(selector):
                return f"the token {self.name} may not purge {str(selector)[:_SHOWN]}: {reason}"
        return None


_SHOWN: Final = 200  # characters of a selector that an error repeats


class Tokens:
    """The tokens that are accepted, and how often each was used of late. ``clock``: seconds, monotonic."""

    def __init__(self, tokens: Iterable[Token], clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens: Final = tuple(tokens)
        self._clock: Final = clock
        self._used: Final[dict[str, tuple[float, float]]] = {}

    def authenticate(self, header: str) -> Token | None:
        """Return the token whose secret the value of ``Authorization`` shows."""
        bearer = _BEARER.fullmatch(header)
        shown = digest_of(bearer["secret"] if bearer else "")
        found = None
        for token in self._tokens:  # to the end: where it is found must not be seen
            if hmac.compare_digest(token.digest, shown):
                found = token
        return found if bearer else None

    def delay(self, token: Token) -> float:
        """Count one purge; return 0, or the seconds until another is allowed, without counting it."""
        rate = token.scope.rate
        if not rate:
            return 0.0
        now = self._clock()
        left, then = self._used.get(token.digest, (float(rate), now))
        left = min(float(rate), left + (now - then) * rate / _MINUTE)
        admitted = left >= 1
        self._used[token.digest] = (left - 1 if admitted else left), now
        return 0.0 if admitted else (1 - left) * _MINUTE / rate


def environment_token(environ: Mapping[str, str]) -> Token | None:
    """Return the token for everything whose secret stands in ``EDGECACHE_TOKEN``, None when nothing does.

    Raises ``ConfigError`` when it is none that could be sent; its text is not repeated.
    """
    secret = environ.get(VARIABLE, "")
    if not secret:
        return None
    if not is_secret(secret):
        raise ConfigError(
            "the token holds characters that cannot be sent",
            where=f"environment variable {VARIABLE}",
            hint="make one with: openssl rand -hex 32",
        )
    return Token("(environment)", digest_of(secret), Scope(all=True, deploy=True))
