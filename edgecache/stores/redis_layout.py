"""Where the Redis tier keeps what: names of keys, the list of records under a cache key, and the one script.

Theory
    Under a cache key there is one Redis string, the *list*: records of all its stored responses, newest first, each in
    a frame that says which selecting values it is for and which response it is. So a lookup is one
    ``GETRANGE``, a plain command that reads no more than it is willing to, can be pipelined, and works in a cluster.
    Everything that changes a list is one script, so each change is atomic and sees what it replaces.
    The chunks of a large body are strings of their own beside it.

    Different cache keys have different hash tags and spread over the slots of a cluster; a list and its chunks have
    the same one. Names are keyed digests: they neither collide on purpose nor give a URL away.

Invariants
    * Every key begins with ``ec:{namespace}:o:`` and has a time to live.
    * A list has at most ``most`` frames and at most ``MAX_LIST`` bytes; what is longer was not written here, and is
      never read.
    * Frames are not trusted: the record inside is sealed, and what surrounds it only steers replacement.

Called by ``stores.redis`` and the modules it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from edgecache.errors import ConfigError
from edgecache.stores.record import BODY_ID_SIZE, DIGEST_SIZE

__all__ = ["MAX_LIST", "SWAP", "Frame", "Names", "frames", "headers"]

MAX_LIST: Final = 1024 * 1024
"""Longest list of records under one cache key, bytes: what one lookup may have to read."""

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
"""No character that means something in a pattern of SCAN, in a hash tag, or between parts of a name."""

_HEADER: Final = Struct(f">{DIGEST_SIZE}s{DIGEST_SIZE}s{BODY_ID_SIZE}sQI")
"""Slot, identity, body id (zeros when the body is inside), length of the body outside, length of the record."""

_INSIDE: Final = bytes(BODY_ID_SIZE)

SWAP: Final = """
-- KEYS[1]: the list. ARGV: 1 slot and identity that must be there and go, or '', 2 slot that goes, or '',
-- 3 frame that comes first, or '', 4 its time to live in ms, 5 most frames, 6 most bytes.
-- Returns false when ARGV[1] was not there, else frames and bytes before, after, and the headers that went.
local HEADER, IDENTITY, SLOT = 60, 32, 16
local must_go, slot, fresh, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local size = redis.pcall('STRLEN', KEYS[1])
local held = ''
if type(size) == 'number' and size <= most_bytes then held = redis.call('GET', KEYS[1]) or '' end

local kept, gone, found = {fresh}, {}, must_go == ''
local count, length, bytes_before, count_before = 0, #fresh, 0, 0
local bytes_after = 0
if fresh ~= '' then
  count = 1
  bytes_after = #fresh + struct.unpack('>I8', fresh, 49)
end
local at = 1
while at + HEADER - 1 <= #held do
  local outside, inside = struct.unpack('>I8I4', held, at + 48)
  local after = at + HEADER + inside
  if after > #held + 1 then break end
  local weight = HEADER + inside + outside
  count_before, bytes_before = count_before + 1, bytes_before + weight
  local is_it = string.sub(held, at, at + IDENTITY - 1) == must_go
  if is_it then found = true end
  if is_it or string.sub(held, at, at + SLOT - 1) == slot
      or count >= most or length + HEADER + inside > most_bytes then
    gone[#gone + 1] = string.sub(held, at, at + HEADER - 1)
  else
    kept[#kept + 1] = string.sub(held, at, after - 1)
    count, length, bytes_after = count + 1, length + HEADER + inside, bytes_after + weight
  end
  at = after
end
if not found then return false end

if count == 0 then
  redis.call('DEL', KEYS[1])
else
  if count > 1 or fresh == '' then ttl = math.max(ttl, redis.call('PTTL', KEYS[1])) end
  local done = redis.pcall('SET', KEYS[1], table.concat(kept), 'PX', string.format('%d', math.max(ttl, 1)))
  if type(done) == 'table' and done.err then
    redis.call('DEL', KEYS[1])
    return done
  end
end
return {count_before, bytes_before, count, bytes_after, gone}
"""
"""The one script: takes out what gives way, puts the new first, and says what went.

Written for Redis 7.0 and Valkey alike, without declared flags: when memory is full, reading and removing still work.
A new frame that finds no room takes the list with it: what it was to replace must not come back.
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """A record and what surrounds it. ``body_id`` is empty when the body is inside the record."""

    slot: bytes
    identity: bytes
    body_id: bytes
    body_size: int
    record: bytes

    def packed(self) -> bytes:
        """Return the frame as bytes."""
        outside = self.body_size if self.body_id else 0
        header = _HEADER.pack(self.slot, self.identity, self.body_id or _INSIDE, outside, len(self.record))
        return header + self.record


def frames(held: bytes) -> Iterator[Frame]:
    """Yield the frames of a list, newest first, up to where it stops making sense."""
    at = 0
    while at + _HEADER.size <= len(held):
        slot, identity, body_id, outside, inside = _HEADER.unpack_from(held, at)
        start, at = at + _HEADER.size, at + _HEADER.size + inside
        if at > len(held):
            return
        yield Frame(slot, identity, _body_id(body_id), outside, held[start:at])


def headers(gone: list[bytes]) -> Iterator[Frame]:
    """Yield what the script says went, as frames without their records."""
    for header in gone:
        slot, identity, body_id, outside, _ = _HEADER.unpack(header)
        yield Frame(slot, identity, _body_id(body_id), outside, b"")


def _body_id(stored: bytes) -> bytes:
    return b"" if stored == _INSIDE else stored


class Names:
    """Names of Redis keys in one namespace.

    Raises:
        ConfigError: the namespace has other characters than letters, digits, ``_``, ``.`` and ``-``.
    """

    def __init__(self, namespace: str) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise ConfigError(
                f"namespace {namespace!r} is not a name", hint="1 to 64 of letters, digits, '_', '.' and '-'"
            )
        self._prefix = f"ec:{namespace}:o:"
        self._form = re.compile(rf"{re.escape(self._prefix)}\{{([0-9a-f]+)\}}(?::([0-9a-f]+):([0-9]+))?".encode())

    @property
    def pattern(self) -> str:
        """What SCAN finds all keys of this namespace with, and no others."""
        return self._prefix + "*"

    def list(self, name: str) -> str:
        """Return the key of the list of a cache key's digest."""
        return f"{self._prefix}{{{name}}}"

    def chunk(self, name: str, body_id: bytes, index: int) -> str:
        """Return the key of one chunk; it is in the slot of its list."""
        return f"{self._prefix}{{{name}}}:{body_id.hex()}:{index}"

    def parsed(self, key: bytes) -> tuple[str, bytes] | None:
        """Return the digest and the body id that a key is named after, the latter empty for a list; None for others."""
        found = self._form.fullmatch(key)
        if found is None:
            return None
        return found[1].decode(), bytes.fromhex((found[2] or b"").decode())
