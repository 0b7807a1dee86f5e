"""What is said over the deploy API: one type for each JSON object, from which the OpenAPI document is made too.

Read as strictly as orders to purge (``purge_messages``): what is unknown may be a misspelt restriction.

Called by ``edges.deploys``, ``edges.siblings``, ``edges.deploy_api`` and ``edges.openapi``, and by commands.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from edgecache.edges.purge_messages import WorkerReply
from edgecache.errors import ClientError
from edgecache.purging.receipt import State
from edgecache.purging.selector import MAX_URI

__all__ = [
    "ActivateOrder",
    "ActiveRelease",
    "BeginOrder",
    "Deploy",
    "DeployReport",
    "DeployState",
    "Failure",
    "ReleaseReply",
    "RollbackOrder",
    "State",
    "read",
]

MAX_ASSETS: Final = 20_000
MAX_PAGES: Final = 1_000

_Reference = Annotated[str, Meta(min_length=1, max_length=MAX_URI)]


class BeginOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to warm. ``assets`` and ``pages`` are URLs, or paths on ``site``."""

    site: Annotated[
        str,
        Meta(
            max_length=MAX_URI,
            description="Scheme and host under which clients ask.",
            examples=["https://www.example.org"],
        ),
    ]
    assets: Annotated[tuple[_Reference, ...], Meta(max_length=MAX_ASSETS)] = ()
    pages: Annotated[
        tuple[_Reference, ...],
        Meta(max_length=MAX_PAGES, description="Stored for the new release; the origin has to name it."),
    ] = ()


class ActivateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to activate."""

    force: Annotated[bool, Meta(description="Even if it was not begun, or has not been warmed whole.")] = False


class RollbackOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go back to."""

    to: Annotated[str, Meta(description="A release; empty: the one that was active before.")] = ""


class DeployState(StrEnum):
    """How far warming has come."""

    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"


class Failure(msgspec.Struct, frozen=True):
    """What could not be warmed: the status of the origin, 0 if it gave none, and why."""

    url: str
    status: int
    reason: str


class Deploy(msgspec.Struct, frozen=True):
    """The warming of a release, by one process.

    Of ``total`` URLs ``stored`` were brought, ``present`` were stored before, and ``failed`` are not there, or not yet;
    up to 100 of those are in ``failures``. Times are in RFC 3339.
    """

    name: str
    who: str
    state: DeployState
    total: int
    stored: int = 0
    present: int = 0
    failed: int = 0
    failures: list[Failure] = []
    started: str = ""
    ended: str | None = None
    detail: str = ""


class ActiveRelease(msgspec.Struct, frozen=True):
    """The active release; without a name if none ever was.

    ``held``: what is stored of it is served whatever its age, and no other answer is stored as its own. ``previous`` is
    the one that was active before.
    """

    name: str
    held: bool
    previous: str


class ReleaseReply(msgspec.Struct, frozen=True):
    """Which release is active now, and how far that has come: as with a purge."""

    release: ActiveRelease
    state: State
    sequence: int
    workers: list[WorkerReply]
    waited_ms: float
    detail: str


class DeployReport(msgspec.Struct, frozen=True):
    """The active release, and what was warmed behind this listener, the latest first.

    Processes that did not say what they warmed are named in ``missing``.
    """

    release: ActiveRelease
    deploys: list[Deploy]
    missing: list[str] = []


_Order = TypeVar("_Order")


def read(content: bytes, order: type[_Order]) -> _Order:
    """Return what a request's content asks for; raise ``ClientError`` (400): where, and what."""
    try:
        return msgspec.json.decode(content or b"{}", type=order)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(400, str(error)) from error
