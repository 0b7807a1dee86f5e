"""Erasing: taking out of the server what must not rest there any more, body and all, a step at a time.

Theory
    A purge makes responses unusable at once, and leaves their bytes to their time to live. Whoever has to be rid of
    the bytes has every list of the namespace opened, and what matches is taken out as anything else is, by the
    script that compares and changes in one step. Its chunks go with it: who is reading such a body does not finish.

    What cannot be read goes too, because nobody can say that it does not match: records that do not open (another
    secret, damage), lists that are none, chunks that no list names. That is never wrong, only a loss. Chunks that no
    list names *yet*, or not any more, have half a minute to live at most; those are left to it.

Invariants
    * After the last step nothing is there that was there at the first one and matched, half a minute for replaced
      bodies aside. What is put meanwhile may stay: purge first, and erase what was on its way by doing it again.
    * A step looks at ``_STEP`` keys, and nothing else happens in it. It has time (``UNHURRIED``): no request waits.
    * Only UNLINK of single keys and the script of the lists change anything.

Called by ``stores.redis`` alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from edgecache.errors import StoreError
from edgecache.semantics.stored import StoredResponse
from edgecache.stores.body import MemoryBody
from edgecache.stores.record import CHUNK, RecordCodec
from edgecache.stores.redis_body import SHORT_LIFE, milliseconds
from edgecache.stores.redis_layout import MAX_LIST, Frame, frames
from edgecache.stores.redis_link import UNHURRIED, Command, Reply, said
from edgecache.stores.redis_lists import Lists

__all__ = ["Erased", "erased"]

_STEP: Final = 512
"""Keys looked at in one step: well below a millisecond of the server's time for SCAN."""

_READ: Final = 8
"""Lists read in one round trip: at most as many times ``MAX_LIST``."""

_UNLINKED: Final = 256
"""Keys unlinked in one round trip."""

_ALL: Final = MAX_LIST
"""More frames than a list can have: none goes for want of room."""

_NOTHING: Final = MemoryBody(())


@dataclass(frozen=True, slots=True)
class Erased:
    """How far it has come.

    Attributes:
        scanned: keys looked at, some perhaps twice.
        erased: responses that matched and are gone.
        dropped: responses, lists and chunks that are gone because they could not be read.
    """

    scanned: int = 0
    erased: int = 0
    dropped: int = 0


async def erased(
    lists: Lists, codec: RecordCodec, matches: Callable[[StoredResponse], bool], max_object: int
) -> AsyncIterator[Erased]:
    """Yield after every step how far it has come, and once more at the end; ``StoreError`` when a step fails.

    Args:
        lists, codec: whose responses; of the same namespace.
        matches: whether a response is to go. Its body is empty here.
        max_object: largest body that is stored, bytes.
    """
    step = _Step(lists, codec, matches, max_object)
    keys: list[bytes] = []
    async for key in lists.link.names(lists.names.pattern, _STEP, budget=UNHURRIED):
        keys.append(key)
        if len(keys) == _STEP:
            yield await step.over(keys)
            keys = []
    yield await step.over(keys)


class _Step:
    """Looks at some keys, again and again. ``progress`` is the sum."""

    def __init__(
        self, lists: Lists, codec: RecordCodec, matches: Callable[[StoredResponse], bool], max_object: int
    ) -> None:
        self._lists = lists
        self._codec = codec
        self._matches = matches
        self._max_object = max_object
        self._scanned = self._erased = self._dropped = 0

    async def over(self, keys: Sequence[bytes]) -> Erased:
        """Take out of these keys what is to go."""
        parsed = [(key, self._lists.names.parsed(key)) for key in keys]
        named = [parts for _, parts in parsed if parts is not None]
        await self._drop(key for key, parts in parsed if parts is None)
        await self._erase_from(sorted({name for name, body_id in named if not body_id}))
        await self._drop_orphans([key for key, parts in parsed if parts is not None and parts[1]])
        self._scanned += len(keys)
        return Erased(self._scanned, self._erased, self._dropped)

    async def _erase_from(self, names: Sequence[str]) -> None:
        for some in (names[at : at + _READ] for at in range(0, len(names), _READ)):
            for name, held in await self._read(some):
                if held is None:
                    await self._drop([self._lists.names.list(name)])
                    continue
                for frame in frames(held):
                    await self._consider(name, frame)

    async def _consider(self, name: str, frame: Frame) -> None:
        """Take a response out of its list unless it is known not to match."""
        try:
            response = self._codec.open(frame.record, name).response(_NOTHING)
        except StoreError:
            response = None
        if response is not None and not self._matches(response):
            return
        went = await self._lists.swap(name, was=frame.slot + frame.identity, most=_ALL, budget=UNHURRIED)
        if response is None:
            self._dropped += len(went or ())
        else:
            self._erased += len(went or ())
        await self._unlink(key for gone in went or () for key in self._chunks(name, gone))

    async def _drop_orphans(self, keys: Sequence[bytes]) -> None:
        """Drop chunks that live long although no list names them."""
        lives = await self._ask([("PTTL", key) for key in keys])
        lasting = [key for key, life in zip(keys, lives, strict=True) if _lasts(_number(life))]
        named = [(key, parts) for key in lasting if (parts := self._lists.names.parsed(key)) is not None]
        known = {
            (name, frame.body_id)
            for name, held in await self._read(sorted({name for _, (name, _) in named}))
            for frame in frames(held or b"")
        }
        await self._drop(key for key, parts in named if parts not in known)

    async def _read(self, names: Sequence[str]) -> list[tuple[str, bytes | None]]:
        """Return lists by the digests they are named after; None for what is no list."""
        reads: list[Command] = [("GETRANGE", self._lists.names.list(name), 0, MAX_LIST) for name in names]
        replies = [reply for at in range(0, len(reads), _READ) for reply in await self._ask(reads[at : at + _READ])]
        return [(name, _list(reply)) for name, reply in zip(names, replies, strict=True)]

    def _chunks(self, name: str, frame: Frame) -> Iterable[str]:
        """Yield the keys of a body; a size that no body has is not believed."""
        if frame.body_id and frame.body_size <= self._max_object:
            for index in range(-(-frame.body_size // CHUNK)):
                yield self._lists.names.chunk(name, frame.body_id, index)

    async def _drop(self, keys: Iterable[bytes | str]) -> None:
        self._dropped += await self._unlink(keys)

    async def _unlink(self, keys: Iterable[bytes | str]) -> int:
        """Return how many there were."""
        unlinks: list[Command] = [("UNLINK", key) for key in keys]
        gone = 0
        for at in range(0, len(unlinks), _UNLINKED):
            gone += sum(map(_number, await self._ask(unlinks[at : at + _UNLINKED])))
        return gone

    async def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        return await self._lists.link.each(commands, budget=UNHURRIED) if commands else []


def _lasts(life: int) -> bool:
    """Whether a chunk with this time to live (PTTL) rests for longer than one that no list names may."""
    return life == -1 or life > milliseconds(SHORT_LIFE)


def _number(reply: Reply) -> int:
    number = said(reply)
    if not isinstance(number, int):
        raise StoreError("the server's answer is not a number")
    return number


def _list(reply: Reply) -> bytes | None:
    """Return a list if it is one: bytes, not too many, and frames to their end."""
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        return None
    if not isinstance(said(reply), bytes):
        raise StoreError("the server's answer is not a value")
    if len(reply) > MAX_LIST:
        return None
    return reply if sum(len(frame.packed()) for frame in frames(reply)) == len(reply) else None
