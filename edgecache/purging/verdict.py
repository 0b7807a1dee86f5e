"""What the purges say about a response. The engine compares with these; nobody else makes one up.

Order
    A response goes down this list and never up again within one epoch (the last two are one step: neither may be
    served). ``UNPROVEN`` is not ``INVALID``: nothing is known against such a response, only too little is known for
    it. Its origin may still say "not modified", and then the body is good; a response that was purged hard is never
    revived that way, because its body may be the very thing that had to go.

    Two things are taken back: what was unproven for want of a lease, when the lease is there again; and what a purge
    did in its own process before it failed, when it is not known to have been committed.
"""

from __future__ import annotations

import enum

__all__ = ["Verdict"]


class Verdict(enum.Enum):
    """Whether a stored response survives the purges."""

    VALID = "valid"
    STALE = "stale"
    """A soft purge matches: as if its freshness lifetime had ended (the windows for stale responses still apply)."""
    UNPROVEN = "unproven"
    """Whether a purge matches cannot be said: of another epoch, older than what is remembered, or without a lease."""
    INVALID = "invalid"
    """A hard purge matches."""
