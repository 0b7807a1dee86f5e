"""What a history moves about: processes, the syncs and fills they have under way, and copies of responses."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgecache.purging.log import Sync, SyncReply
from edgecache.purging.node import Commitment
from edgecache.purging.selector import Selector
from edgecache.semantics.stored import Birth
from tests.purging.model import NodeLike


@dataclass(frozen=True)
class Copy:
    """A stored response, anywhere."""

    path: str
    birth: Birth
    read_at: int


@dataclass
class Fill:
    path: str
    birth: Birth
    read_at: int | None = None
    waiting: list[int] = field(default_factory=list)


@dataclass
class Running:
    """A sync on its way; ``reply`` is None until it was carried out.

    ``brought`` is the newest activation that anybody had told the log's epoch when it was carried out.
    """

    sync: Sync
    reply: SyncReply | None = None
    brought: int = 0


@dataclass
class Process:
    number: int
    rate: float
    node: NodeLike
    parted: bool = False
    stored: dict[str, Copy] = field(default_factory=dict)
    running: Running | None = None
    fills: list[Fill] = field(default_factory=list)
    gets: list[tuple[str, Copy, int]] = field(default_factory=list)
    puts: list[Copy] = field(default_factory=list)
    purges: list[tuple[Commitment, Selector, int]] = field(default_factory=list)
    activations: list[tuple[Commitment, int]] = field(default_factory=list)
    told: Running | None = None
    """The sync that its lease is from."""
