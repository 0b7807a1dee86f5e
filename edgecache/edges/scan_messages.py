"""What is said about scans over the admin API: one type for each JSON object.

Called by ``edges.scan_api``, ``edges.siblings`` and ``edges.openapi``, and by commands.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgecache.edges.purge_messages import PurgeReply
from edgecache.errors import ClientError

__all__ = ["Finding", "ScanOrder", "ScanReport", "Why", "read_scan"]


class ScanOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to look for among what is stored, and whether to purge it."""

    poisoned: Annotated[bool, Meta(description="Look for what today's guards would not store. Has to be true.")]
    purge: Annotated[bool, Meta(description="Purge the URLs of what is found, unless a rule allows it.")] = False


class Why(msgspec.Struct, frozen=True):
    """Why a response is suspected. ``allowed_by`` is the rule that lets it be stored all the same, or empty."""

    reason: str
    explanation: str
    allowed_by: str = ""


class Finding(msgspec.Struct, frozen=True):
    """A suspected response in the memory of a process: how old it is (seconds) and how large (bytes)."""

    url: str
    status: int
    content_type: str
    age: float
    size: int
    why: list[Why]
    process: int

    @property
    def is_allowed(self) -> bool:
        """Whether rules allow all that is wrong with it."""
        return all(one.allowed_by for one in self.why)


class ScanReport(msgspec.Struct, frozen=True):
    """What was found, in the memory of the processes behind this listener.

    ``looked_at`` counts responses, ``more`` those found beyond the ones that are listed. ``complete`` is false when it
    took too long. Processes that did not say what they hold are named in ``missing``. ``purge`` is the receipt, when
    something was purged.
    """

    looked_at: int
    found: list[Finding]
    more: int
    complete: bool
    missing: list[str] = []
    purge: PurgeReply | UnsetType = UNSET


_ORDER: Final = msgspec.json.Decoder(ScanOrder)


def read_scan(content: bytes) -> ScanOrder:
    """Return what a request's content asks for; raise ``ClientError`` (400): where, what, and mostly a hint."""
    try:
        order = _ORDER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(400, str(error)) from error
    if not order.poisoned:
        raise ClientError(400, "there is nothing else to look for; let it be true - at `$.poisoned`")
    return order
