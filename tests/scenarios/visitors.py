"""Visitors who load pages with all their assets while somebody deploys, and an oracle that judges what they see.

A page load is a page, and then each asset that the page names. Whatever release the page is of, every asset has to be
there and to be what its name says. A page that was asked for after a receipt has to be of the release that was
activated, unless another is being activated by the time that it arrives.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from tests.scenarios.builds import PAGES, assets_of, is_whole, release_of
from tests.scenarios.composed import until
from tests.scenarios.running import RunningEdge

__all__ = ["Visitors"]


@dataclass
class Visitors:
    """``crowd`` visitors at each edge, each loading page after page until there were ``enough`` loads altogether.

    ``promised`` is what a receipt said: a page that is asked for from then on is of this release. It is taken back
    before another activation is ordered; what is under way by then may be of either.
    """

    edges: list[RunningEdge]
    crowd: int = 8
    enough: int = 300
    promised: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    loads: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> Visitors:
        visitors = [(edge, number) for edge in self.edges for number in range(self.crowd)]
        self._tasks = [asyncio.create_task(self._visit(edge, number)) for edge, number in visitors]
        return self

    async def until(self, loads: int) -> None:
        """Wait until so many pages were loaded altogether, or something was wrong."""
        await until(lambda: self.loads >= loads or bool(self.wrong))

    async def finished(self) -> None:
        """Wait until everybody has seen enough; raise what went wrong with a visitor."""
        await asyncio.gather(*self._tasks)

    async def _visit(self, edge: RunningEdge, number: int) -> None:
        for path in itertools.islice(itertools.cycle(PAGES), number, None):
            if self.loads >= self.enough or self.wrong:
                return
            await self._load(edge, path)
            self.loads += 1

    async def _load(self, edge: RunningEdge, path: str) -> None:
        promised = self.promised
        page = await edge.fetch(path)
        if page.status != 200 or not page.complete:
            self.wrong.append(f"{path}: {page.status} {page.body[:80]!r}")
            return
        release = release_of(page.body)
        self.seen[release] = self.seen.get(release, 0) + 1
        if promised and promised == self.promised != release:
            self.wrong.append(f"{path}: {release} after {promised} was confirmed; {page.cache_status}")
        assets = [(name, await edge.fetch(name)) for name in assets_of(page.body)]
        if not is_whole((name, got.status, got.body) for name, got in assets):
            told = [(name, got.status, got.cache_status) for name, got in assets]
            self.wrong.append(f"{path} of {release}: {told}")
