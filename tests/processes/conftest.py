"""An origin, a configuration file before it, and the edge that runs as it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.ports import free_port
from tests.processes.rig import Program, configure, origin_script, started
from tests.scenarios.rig import ScriptedOrigin

__all__ = ["Start"]

Start: TypeAlias = Callable[..., Awaitable[Program]]


@pytest.fixture
async def origin() -> AsyncIterator[ScriptedOrigin]:
    async with ScriptedOrigin(origin_script) as origin:
        yield origin


@pytest.fixture
async def start(tmp_path: Path, origin: ScriptedOrigin) -> AsyncIterator[Start]:
    """Start an edge before ``origin``: with so many workers, and more in its configuration."""
    async with AsyncExitStack() as running:

        async def start(workers: int | None = 2, more: str = "") -> Program:
            port, admin = free_port(), free_port()
            path = tmp_path / "edgecache.toml"
            configure(path, origin.url, port=port, admin=admin, more=more)
            return await running.enter_async_context(started(path, port, admin, workers))

        yield start
