"""Asking a running edge to explain itself, as people do: over its admin listener, and with its command."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from click.testing import CliRunner, Result

from edgecache.cli.main import main
from tests.scenarios.composed import ordered
from tests.scenarios.running import RunningEdge

__all__ = ["command", "explained"]


async def explained(edge: RunningEdge, url: str, method: str = "GET", **fields: str) -> dict[str, Any]:
    """Return the answer of ``/v1/explain``; names of fields have underscores for hyphens."""
    lines = [("header", f"{name.replace('_', '-')}: {value}") for name, value in fields.items()]
    return await ordered(edge, f"/v1/explain?{urlencode([('url', url), ('method', method), *lines])}")


async def command(edge: RunningEdge, *arguments: str) -> Result:
    """Run a command against the edge, as a user of its machine would."""
    ((host, port, *_),) = edge.parts.admin_addresses  # type: ignore[misc]
    secret = edge.parts.local_token.authorization.removeprefix("Bearer ")
    environ = {"EDGECACHE_ADMIN": f"http://{host}:{port}", "EDGECACHE_TOKEN": secret}
    return await asyncio.to_thread(CliRunner().invoke, main, list(arguments), env=environ)
