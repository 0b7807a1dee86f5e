"""The lists in Redis (``stores.redis_layout``): reading one, changing one in one step, and counting what that did.

Invariants
    * A list longer than ``MAX_LIST`` is not read, and is replaced when it is changed.
    * Counted is what this process added and took away: Redis does not say what it evicted or what ran out.

Called by ``stores.redis`` and ``stores.redis_erase``, with the digests of cache keys (``RecordCodec.name``).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import error as StructError

from edgecache.errors import StoreError
from edgecache.stores.redis_body import milliseconds
from edgecache.stores.redis_layout import MAX_LIST, SWAP, Frame, Names, headers
from edgecache.stores.redis_link import RedisLink

__all__ = ["Lists"]


@dataclass(slots=True)
class Lists:
    """The lists of one namespace; every method raises ``StoreError`` only.

    Attributes:
        responses, keys, size: put by this process, less those it took away; ``size`` in bytes.
    """

    link: RedisLink
    names: Names
    responses: int = 0
    keys: int = 0
    size: int = 0

    async def read(self, name: str) -> bytes | None:
        """Return a list, empty when there is none; None when it is too long."""
        held = await self.link.together("GETRANGE", self.names.list(name), 0, MAX_LIST)
        if not isinstance(held, bytes):
            raise StoreError("the server's answer is not a value")
        return held if len(held) <= MAX_LIST else None

    async def swap(
        self,
        name: str,
        *,
        was: bytes = b"",
        slot: bytes = b"",
        frame: Frame | None = None,
        lifetime: float = 0.0,
        most: int,
        budget: float | None = None,
    ) -> list[Frame] | None:
        """Change a list in one step; return what went, None when ``was`` is not there.

        Args:
            was: slot and identity that must be there, and go.
            slot: selecting values whose frame goes.
            frame: what comes first.
            lifetime: seconds that it lives.
            most: frames that stay.
            budget: as ``RedisLink.script``.
        """
        reply = await self.link.script(
            SWAP,
            self.names.list(name),
            was,
            slot,
            b"" if frame is None else frame.packed(),
            milliseconds(lifetime),
            most,
            MAX_LIST,
            budget=budget,
        )
        if reply is None:
            return None
        try:
            count_before, bytes_before, count, length, gone = reply
            self.responses += count - count_before
            self.keys += (count > 0) - (count_before > 0)
            self.size += length - bytes_before
            return list(headers(gone))
        except (TypeError, ValueError, StructError) as error:
            raise StoreError("the server's answer is not that of the script") from error

    def forget(self) -> None:
        """All of them were removed."""
        self.responses = self.keys = self.size = 0
