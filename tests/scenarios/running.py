"""An edge that runs in the test's process, and how stories talk to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgecache.app import Edge
from tests.scenarios.rig import ClientResponse, Download, FieldsLike, download, fetch

__all__ = ["RunningEdge", "StartEdge"]


@dataclass(frozen=True)
class RunningEdge:
    """A started edge, its parts, and how to talk to it."""

    parts: Edge
    port: int

    async def fetch(
        self, target: str = "/", method: str = "GET", fields: FieldsLike = (), body: bytes = b""
    ) -> ClientResponse:
        """As ``rig.fetch``, from this edge."""
        return await fetch(self.port, target, method, fields, body)

    async def download(
        self, target: str = "/", method: str = "GET", fields: FieldsLike = (), body: bytes = b""
    ) -> Download:
        """As ``rig.download``, from this edge."""
        return await download(self.port, target, method=method, fields=fields, body=body)


StartEdge: TypeAlias = Callable[..., Awaitable[RunningEdge]]
