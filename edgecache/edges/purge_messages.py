"""What is said over the purge API: one type for each JSON object, from which the OpenAPI document is made too.

Theory
    Requests are read strictly: an unknown member may be a misspelt restriction (``dryrun``), and a purge that ignores
    one does more than was asked. What is wrong is told with its path (``$.selectors[3].kind``).

Called by ``edges.purges``, ``edges.siblings``, ``edges.purge_api`` and ``edges.openapi``, and by commands.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgecache.errors import ClientError
from edgecache.purging.log import MAX_SELECTORS
from edgecache.purging.selector import MAX_URI, Kind, Selector

__all__ = [
    "MAX_CONTENT",
    "Erasure",
    "ErasureState",
    "Outcome",
    "Problem",
    "PurgeOrder",
    "PurgeRecord",
    "PurgeReply",
    "PurgeReport",
    "SelectorWish",
    "WorkerReply",
    "read_order",
]

MAX_CONTENT: Final = 1 << 20
"""Bytes of a request's content."""


class Outcome(StrEnum):
    """``purging.receipt.State``, or nothing was purged because that was asked for."""

    CONFIRMED = "confirmed"
    PARTIAL = "partial"
    UNCONFIRMED = "unconfirmed"
    DRY_RUN = "dry_run"


class SelectorWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One selector as people write it."""

    kind: Annotated[Kind, Meta(description="What is compared.")]
    value: Annotated[str, Meta(max_length=MAX_URI, description="With what; empty for `all`.")] = ""
    soft: Annotated[bool | None, Meta(description="Overrides the `soft` of the whole purge.")] = None


class PurgeOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to purge: whatever one of the selectors matches."""

    selectors: Annotated[tuple[SelectorWish, ...], Meta(min_length=1, max_length=MAX_SELECTORS)]
    soft: Annotated[bool, Meta(description="Make stale instead of invalid: may be served while revalidating.")] = False
    dry_run: Annotated[bool, Meta(description="Only count what matches now.")] = False
    min_matched: Annotated[
        int, Meta(ge=0, le=2**31, description="Answer 409 when fewer matched; what matches is purged all the same.")
    ] = 0
    erase: Annotated[
        bool, Meta(description="Take what was purged out of Redis too, in the background; hard purges only.")
    ] = False


class WorkerReply(msgspec.Struct, frozen=True):
    """What one process said about a purge."""

    worker: str
    applied: bool
    milliseconds: float | None


class ErasureState(StrEnum):
    """How far an erasure has come."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Erasure(msgspec.Struct, frozen=True):
    """What was purged is taken out of Redis, body and all. It has the id of its purge.

    ``scanned`` counts keys looked at, each of them in each pass. ``erased`` responses were purged and are gone,
    ``dropped`` ones could not be read, and are gone for that. Times are in RFC 3339.
    """

    id: str
    who: str
    state: ErasureState
    scanned: int = 0
    erased: int = 0
    dropped: int = 0
    started: str | None = None
    ended: str | None = None
    detail: str = ""


class PurgeReply(msgspec.Struct, frozen=True):
    """How far a purge has come.

    ``matched`` is from before the purge: how many stored responses each selector matched, added up, in the memory of
    the processes behind this listener. One that two selectors match, or two processes hold, counts twice. ``sample`` is
    some of their URIs, of a dry run up to ten. Processes that did not say what they hold are named in ``uncounted``.
    ``erasure`` is there when erasing was asked for, and has begun.
    """

    id: str
    state: Outcome
    sequence: int
    matched: int
    sample: list[str]
    workers: list[WorkerReply]
    waited_ms: float
    detail: str
    uncounted: list[str] = []
    erasure: Erasure | UnsetType = UNSET


class PurgeRecord(msgspec.Struct, frozen=True):
    """A purge of the past: when (RFC 3339) and by which token. Of many or long selectors only the beginning is kept."""

    id: str
    when: str
    who: str
    selectors: list[str]
    selectors_total: int
    state: Outcome
    sequence: int
    matched: int


class PurgeReport(msgspec.Struct, frozen=True):
    """The latest purges that were carried out behind this listener, the newest first.

    Processes that did not say what they carried out are named in ``missing``.
    """

    purges: list[PurgeRecord]
    missing: list[str] = []


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused (RFC 9457)."""

    status: int
    title: str
    detail: str


_ORDER: Final = msgspec.json.Decoder(PurgeOrder)


def read_order(content: bytes) -> tuple[PurgeOrder, list[Selector]]:
    """Return what a request's content asks for; raise ``ClientError`` (400): where, what, and mostly a hint."""
    try:
        order = _ORDER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(400, str(error)) from error
    selectors = [_selector(order, index, wish) for index, wish in enumerate(order.selectors)]
    if order.erase and order.dry_run:
        raise ClientError(400, "a dry run erases nothing; leave one of the two out - at `$.erase`")
    if order.erase and any(one.soft for one in selectors):
        raise ClientError(400, "what is purged softly is still of use; erase with hard purges only - at `$.erase`")
    return order, selectors


def _selector(order: PurgeOrder, index: int, wish: SelectorWish) -> Selector:
    try:
        return Selector.of(wish.kind, wish.value, soft=order.soft if wish.soft is None else wish.soft)
    except ClientError as error:
        raise ClientError(error.status, f"{error.reason} - at `$.selectors[{index}]`") from error
