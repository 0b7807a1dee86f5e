"""What became of the latest response for each key: so that "why was it not stored?" can be answered afterwards.

Theory
    A response that is not stored leaves nothing behind, and its request is gone too. What was decided about it is kept
    here for a while: the reason, the head as far as it was looked at, and the facts of the request that others do not
    share. Of one that was stored it is kept too, since it may be gone by the time somebody asks: purged, evicted,
    or at its end.

Invariants
    * The latest ``MOST`` keys are remembered, and of each a few short texts. Keys are kept as digests.
    * No secret is kept: of cookies, in both directions, only names, of credentials only that there were some.
    * It costs something on the way of a miss only, and more of a refused one than of another: 10 and 5 µs.

Written by ``engine.fetch`` on one event loop; read by ``engine.explaining``.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import replace

from edgecache.engine.judging import Judgement
from edgecache.engine.plan import Plan
from edgecache.http.message import FieldsView, Pair
from edgecache.semantics import selection
from edgecache.semantics.explanation import HIDDEN
from edgecache.semantics.key import cookies
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import Rule
from edgecache.semantics.stored import Birth, CacheKey
from edgecache.semantics.tags import tags_of
from edgecache.semantics.unkeyed import doubtful

__all__ = ["MOST", "Judgements", "Noted", "without_secrets"]

MOST: Final = 10_000
"""Keys that are remembered."""

_DECISIVE: Final = (
    "access-control-allow-origin age content-length content-location content-range content-type date etag expires",
    "last-modified pragma set-cookie vary",
)
_LOOKED_AT: Final = frozenset(name for line in _DECISIVE for name in line.split())
_CONTROL: Final = "-control"  # Cache-Control, its targeted sisters, Surrogate-Control
_LONGEST: Final = 200  # characters of a value
_MOST_FIELDS: Final = 24
_MOST_NAMES: Final = 16
_TAGS: Final = 1_000  # characters of tags altogether


class Noted(msgspec.Struct, frozen=True):
    """What became of a response.

    Attributes:
        when: it came, POSIX seconds.
        refusal: why it was not stored; None when it was.
        birth: where the ledger stood when it was asked for.
        tags: its own; none when they were too many to keep.

    If its head was refused:

    Attributes:
        objections: every test of ``storing.CHECKS`` that it failed.
        fields: of its head as it was judged, what was looked at.
        cookies: names of the request's.
        unkeyed: names of the request's fields that may have changed it, and select nothing.
        authorized: whether the request had credentials.
        rules: those that matched.
    """

    when: float
    status: int
    refusal: Reason | None
    birth: Birth
    tags: frozenset[str]
    objections: tuple[Reason, ...] = ()
    fields: tuple[Pair, ...] = ()
    cookies: tuple[str, ...] = ()
    unkeyed: tuple[str, ...] = ()
    authorized: bool = False
    rules: tuple[Rule, ...] = ()


class Judgements:
    """Remembers the latest judgement per key."""

    def __init__(self, most: int = MOST) -> None:
        self._most: Final = most
        self._noted: Final[OrderedDict[bytes, Noted]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noted)

    def latest(self, key: CacheKey) -> Noted | None:
        """Return what became of the latest response for a key; None when that is not known any more."""
        return self._noted.get(_digest(key))

    def note(self, plan: Plan, judged: Judgement, birth: Birth, now: float) -> None:
        """Remember a judgement about a response that came at ``now`` (POSIX seconds)."""
        refusal, status, tags = judged.refusal, judged.head.status, _tags(plan, judged)
        if refusal is None:
            noted = Noted(now, status, None, birth, tags)
        else:
            noted = Noted(now, status, refusal, birth, tags, judged.objections, *_grounds(plan, judged), judged.rules)
        self._remember(_digest(plan.key), noted)

    def refuse(self, key: CacheKey, reason: Reason) -> None:
        """Remember that a response which might have been stored was not."""
        digest = _digest(key)
        noted = self._noted.get(digest)
        if noted is not None:
            self._remember(digest, replace(noted, refusal=reason))

    def _remember(self, digest: bytes, noted: Noted) -> None:
        self._noted[digest] = noted
        self._noted.move_to_end(digest)
        if len(self._noted) > self._most:
            self._noted.popitem(last=False)


def _grounds(plan: Plan, judged: Judgement) -> tuple[tuple[Pair, ...], tuple[str, ...], tuple[str, ...], bool]:
    """Return what a refusal was based on: fields of the response, and cookies, unkeyed fields, and credentials."""
    fields = plan.head.fields
    return (
        _looked_at(judged.head.fields),
        _names(name for name, _ in cookies(fields)) if "cookie" in fields else (),
        _names(_unkeyed(plan, judged)),
        "authorization" in fields,
    )


def _unkeyed(plan: Plan, judged: Judgement) -> tuple[str, ...]:
    """Nearly always there are none, and the objections say so."""
    if Reason.UNKEYED_FIELD not in judged.objections and not judged.policy.unsafe_ignore_request_fields:
        return ()
    return doubtful(plan.head, judged.policy, selection.vary_names(judged.head.fields) or ())


def _tags(plan: Plan, judged: Judgement) -> frozenset[str]:
    tags = tags_of(plan.head, judged.head, judged.policy)
    return tags if tags and sum(map(len, tags)) <= _TAGS else frozenset()


def without_secrets(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Yield fields, of cookies only the names."""
    for name, value in pairs:
        is_cookie = name.lower() == "set-cookie"
        yield sys.intern(str(name)), f"{value.partition('=')[0].strip()}={HIDDEN}" if is_cookie else value


def _digest(key: CacheKey) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _looked_at(fields: FieldsView) -> tuple[Pair, ...]:
    kept = [
        (known, value if len(value) <= _LONGEST else _cut(value))
        for name, value in fields.items()
        if (known := _looked_at_name(name)) is not None
    ][:_MOST_FIELDS]
    return tuple(without_secrets(kept)) if "set-cookie" in fields else tuple(kept)


@lru_cache
def _looked_at_name(name: str) -> str | None:
    """Return a name as it is kept, if it is one that decides."""
    lower = name.lower()
    return sys.intern(str(name)) if lower in _LOOKED_AT or lower.endswith(_CONTROL) else None


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_cut, list(dict.fromkeys(names))[:_MOST_NAMES])) if names else ()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}{HIDDEN}"
