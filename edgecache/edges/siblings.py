"""The other workers of this machine, asked for what only they know: what they hold, purged, erase, and warm.

Theory
    Operators reach any one of the workers, and mean all of them. The purge itself goes through the ledger; but what
    matched is counted in memory, and purges are remembered where they were carried out. So the worker that is asked
    asks the others over their own sockets, in the words of the public API, with the token it was shown itself. The
    field ``ALONE`` says that the answer is to be about that process alone: nothing is passed on twice.

Invariants
    * Whoever does not answer in time, or not with what was asked for, is named, and nobody waits for it any longer.
    * Nothing is changed at a sibling: it is only ever asked to count, to look, and to remember.

Made by the composition root; called by ``edges.purges``, ``edges.deploys`` and ``edges.scan_api``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import aiohttp
import msgspec

from edgecache.edges.deploy_messages import DeployReport
from edgecache.edges.purge_messages import Erasure, PurgeOrder, PurgeReply, PurgeReport, SelectorWish
from edgecache.edges.scan_messages import ScanOrder, ScanReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgecache.purging.selector import Selector

__all__ = ["ALONE", "PATIENCE", "Siblings"]

ALONE: Final = "Edgecache-Alone"
"""The field, with any value, of a question that is to be answered by the asked process alone."""

PATIENCE: Final = 1.0
"""Seconds for an answer: what a purge may have to wait for because a worker hangs."""

SCAN_PATIENCE: Final = 40.0
"""Seconds for a scan, which is slow on purpose and ends by itself before (``engine.scanning``)."""

_Answer = TypeVar("_Answer")
_Read: TypeAlias = "Callable[[int, bytes], _Answer | None]"
_NO_ANSWER: Final = (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError)


class Siblings:
    """Asks the workers that serve now.

    Args:
        sockets: where they answer; called each time.
        authorization: what they are shown when nobody has shown anything here; empty: then they are not asked.
        patience: seconds for each answer.
    """

    def __init__(
        self, sockets: Callable[[], Sequence[Path]] = tuple, *, authorization: str = "", patience: float = PATIENCE
    ) -> None:
        self._sockets: Final = sockets
        self._authorization: Final = authorization
        self._patience: Final = patience

    async def count(self, selectors: Sequence[Selector], authorization: str) -> tuple[list[PurgeReply], list[str]]:
        """Return what each of them holds that the selectors match, and the names of those that did not say."""
        wishes = tuple(SelectorWish(one.kind, one.value, one.soft) for one in selectors)
        order = msgspec.json.encode(PurgeOrder(wishes, dry_run=True))
        return await self._ask("POST", "/v1/purge", authorization, order, _reader(PurgeReply))

    async def purges(self, authorization: str) -> tuple[list[PurgeReport], list[str]]:
        """Return what each of them has purged, and the names of those that did not say."""
        return await self._ask("GET", "/v1/purges", authorization, None, _reader(PurgeReport))

    async def deploys(self, authorization: str) -> tuple[list[DeployReport], list[str]]:
        """Return what each of them has warmed, and the names of those that did not say."""
        return await self._ask("GET", "/v1/deploys", authorization, None, _reader(DeployReport))

    async def erasure(self, id: str, authorization: str) -> tuple[Erasure | None, list[str]]:
        """Return the erasure if one of them has it, and the names of those that did not say."""
        said, missing = await self._ask("GET", f"/v1/erasures/{id}", authorization, None, _read_erasure)
        return next((one for found in said for one in found), None), missing

    async def scan(self, authorization: str) -> tuple[list[ScanReport], list[str]]:
        """Return what each of them suspects of what it holds, and the names of those that did not say."""
        order = msgspec.json.encode(ScanOrder(poisoned=True))
        return await self._ask("POST", "/v1/scan", authorization, order, _reader(ScanReport), SCAN_PATIENCE)

    async def _ask(
        self,
        method: str,
        target: str,
        authorization: str,
        content: bytes | None,
        read: _Read[_Answer],
        patience: float = 0.0,
    ) -> tuple[list[_Answer], list[str]]:
        sockets, patience = self._sockets(), max(patience, self._patience)
        fields = {"Authorization": authorization or self._authorization, ALONE: "1", "Content-Type": "application/json"}
        found = await asyncio.gather(
            *(self._one(path, method, target, fields, content, read, patience) for path in sockets)
        )
        said = [one for one in found if one is not None]
        return said, [path.stem for path, one in zip(sockets, found, strict=True) if one is None]

    async def _one(
        self,
        path: Path,
        method: str,
        target: str,
        fields: dict[str, str],
        content: bytes | None,
        read: _Read[_Answer],
        patience: float,
    ) -> _Answer | None:
        if not fields["Authorization"]:
            return None
        try:
            async with (
                asyncio.timeout(patience),
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path), force_close=True)) as session,
                session.request(method, f"http://localhost{target}", data=content, headers=fields) as response,
            ):
                return read(response.status, await response.read())
        except _NO_ANSWER:
            return None


def _reader(answer: type[_Answer]) -> _Read[_Answer]:
    return lambda status, content: msgspec.json.decode(content, type=answer) if status == 200 else None


def _read_erasure(status: int, content: bytes) -> list[Erasure] | None:
    """One or none: not to have it is an answer too."""
    return [] if status == 404 else [msgspec.json.decode(content, type=Erasure)] if status == 200 else None
