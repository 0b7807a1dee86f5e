"""A stored response: its head, its numbers, its validators, and what it was stored under.

Theory
    A response is judged once, when it is stored (``freshness.assess``), and what was judged is kept as a
    few numbers. A lookup then compares floats: ``now - generated_at`` is the current age (RFC 9111 §4.2.3),
    ``lifetime`` is how long it may be reused, and the three windows after it are separate
    because they answer separate questions: ``grace`` (may I serve it while I validate?), ``if_error`` (may I
    serve it instead of an error?) and ``keep`` (may I still ask "is it the same?").

Invariants
    * Values here are immutable; freshening makes a new value that shares the body.
    * ``fields`` are what was stored: no connection-specific field, ``Date`` always present, ``Age`` and
      ``Content-Length`` absent (they are computed at delivery). ``rendered`` also lacks what is addressed
      to this cache alone (``presenting.consumed_fields``), and ``Date`` where it is computed too (``restarts_age``);
      it alone has the entity tag that was made here (``finishing``).
    * ``body`` is the whole content of ``content_range`` if that is set, else of the whole representation.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

import msgspec
from msgspec.structs import replace

from edgecache.http.message import Pair, ResponseHead, fields_of
from edgecache.http.ranges import ContentRange

__all__ = [
    "Basis",
    "Birth",
    "Body",
    "CacheKey",
    "Freshness",
    "Selecting",
    "StoredResponse",
    "Validators",
]

CacheKey = NewType("CacheKey", str)
"""What a response is stored under (RFC 9111 §2): see ``semantics.key``."""


class Basis(enum.StrEnum):
    """Where a freshness lifetime came from (RFC 9111 §4.2.1), first that applies."""

    TARGETED = "targeted"
    SURROGATE = "surrogate-control"
    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "expires"
    HEURISTIC = "heuristic"
    NONE = "none"
    RULE = "rule"
    """``edge_ttl``: whatever the origin said."""
    RULE_DEFAULT = "rule-default"
    """``default_ttl``: the origin had said nothing."""
    RULE_NEGATIVE = "rule-negative"
    """``negative_ttl``: a client error."""


class Freshness(msgspec.Struct, frozen=True, gc=False):
    """The numbers that decide about reuse. Instants are POSIX seconds, durations seconds.

    Attributes:
        generated_at: when the response was generated or last validated by the origin, by our clock:
            response_time - corrected_initial_age.
        lifetime: freshness lifetime.
        grace: stale-while-revalidate window after ``lifetime`` (RFC 5861 §3).
        if_error: stale-if-error window after ``lifetime`` (RFC 5861 §4).
        if_unreachable: window after ``lifetime`` in which it may be served to a disconnected client's edge.
        keep: how long after the longest window it is worth keeping as a validation candidate.
        basis: where ``lifetime`` came from.
        must_validate: ``no-cache``: never reuse without validation, fresh or not (RFC 9111 §5.2.2.4).
        never_stale: ``must-revalidate``, ``proxy-revalidate`` or ``s-maxage``: no request's ``max-stale`` is obeyed.
        immutable: RFC 8246: while fresh, a client's reload does not cause validation.
        if_gone: window after ``lifetime`` in which it may stand in for a 404 or 410.
        eager: seconds before the end of ``lifetime`` at which one request in e refreshes ahead of time; the time that
            the fetch took, as far as the operator wants.
        sliding: each use prolongs ``lifetime`` so that at least this remains; 0 does not.
        slides_until: no use prolongs ``lifetime`` beyond this.
        restarts_age: the time of its clients runs from delivery, by the operator's wish: so do Date and Age.
        is_proven: whether it is known that no purge has hit it. Never stored: whoever looks it up finds out.
    """

    generated_at: float
    lifetime: float
    grace: float = 0.0
    if_error: float = 0.0
    if_unreachable: float = 0.0
    keep: float = 0.0
    basis: Basis = Basis.NONE
    must_validate: bool = False
    never_stale: bool = False
    immutable: bool = False
    if_gone: float = 0.0
    eager: float = 0.0
    sliding: float = 0.0
    slides_until: float = 0.0
    restarts_age: bool = False
    is_proven: bool = True

    def age(self, now: float) -> float:
        """Current age in seconds (RFC 9111 §4.2.3), never negative."""
        return max(0.0, now - self.generated_at)

    def ttl(self, now: float) -> float:
        """Remaining freshness in seconds, negative when stale (RFC 9211 §2.4)."""
        return self.lifetime - self.age(now)

    def is_fresh(self, now: float) -> bool:
        """Whether the lifetime exceeds the current age (RFC 9111 §4.2)."""
        return self.lifetime > self.age(now)

    def used(self, now: float) -> Freshness:
        """Return these numbers after a use at ``now``; themselves when that would change less than a tenth.

        Using what is stale prolongs nothing.
        """
        if not self.sliding or not self.is_fresh(now):
            return self
        wanted = min(self.age(now) + self.sliding, self.slides_until)
        return replace(self, lifetime=wanted) if wanted > self.lifetime + self.sliding / 10 else self

    def ended(self, now: float) -> Freshness:
        """Return these numbers with the lifetime over at ``now``: what a soft purge makes of them."""
        return replace(self, lifetime=min(self.lifetime, self.age(now)), immutable=False, sliding=0.0)

    def unproven(self) -> Freshness:
        """Return these numbers without leave to use them before the origin has confirmed the response."""
        return replace(
            self,
            grace=0.0,
            if_error=0.0,
            if_unreachable=0.0,
            must_validate=True,
            never_stale=True,
            if_gone=0.0,
            is_proven=False,
        )

    @property
    def discard_at(self) -> float:
        """Instant after which the response can be of no use at all."""
        windows = max(self.grace, self.if_error, self.if_unreachable, self.if_gone)
        return self.generated_at + self.lifetime + windows + self.keep


@dataclass(frozen=True, slots=True)
class Validators:
    """What a conditional request can be made of (RFC 9110 §8.8); values as received."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return self.etag is not None or self.last_modified is not None


class Selecting(msgspec.Struct, frozen=True):
    """Selecting fields (RFC 9111 §4.1): names that ``Vary`` nominated, and the stored request's values.

    ``names`` are lower case and sorted; ``values`` are normalised, None where the request had no such field.
    """

    names: tuple[str, ...] = ()
    values: tuple[str | None, ...] = ()


class Birth(msgspec.Struct, frozen=True):
    """The purge ledger's position when the origin request of a response was sent."""

    epoch: bytes
    sequence: int


class Body(Protocol):
    """A stored body: immutable bytes that may or may not be in this process's memory."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    @property
    def local(self) -> tuple[bytes, ...] | None:
        """All of it, when it is in this process's memory."""
        ...

    def read(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """Yield the bytes of ``[start, stop)``; raise ``StoreError`` when they cannot be had."""
        ...


class StoredResponse(msgspec.Struct, frozen=True, eq=False):
    """What a store holds and a lookup returns.

    Its ``birth`` is no part of what it is: a lookup moves it on when no purge in between has matched.
    """

    key: CacheKey
    status: int
    fields: Sequence[Pair]
    body: Body
    freshness: Freshness
    birth: Birth
    selecting: Selecting = Selecting()
    validators: Validators = Validators()
    content_range: ContentRange | None = None
    tags: frozenset[str] = frozenset()
    response_time: float = 0.0
    uri: str = ""
    encodable: bool = False
    """Whether clients may get it in a content coding; what they see then says that it varies."""
    rendered: bytes = b""
    """Status line and those ``fields`` that clients see, as bytes, rendered once when stored."""

    def __eq__(self, other: object) -> bool:
        return self._compared() == other._compared() if isinstance(other, StoredResponse) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[object, ...]:
        """All but ``birth`` and ``rendered``."""
        values = msgspec.structs.astuple(self)
        return (*values[:5], *values[6:-1])

    def field(self, name: str) -> str | None:
        """The first value of a field, ``name`` in lower case; None when there is none."""
        return next((value for one, value in self.fields if one.lower() == name), None)

    def head(self) -> ResponseHead:
        """The head as a value with case-insensitive fields."""
        return ResponseHead(self.status, fields_of(self.fields))

    def shown(self) -> ResponseHead:
        """The head as clients see it: ``rendered``, read again."""
        lines = self.rendered.decode("latin-1").split("\r\n")[1:-1]
        pairs = (line.partition(": ") for line in lines)
        return ResponseHead(self.status, fields_of((name, value) for name, _, value in pairs))
