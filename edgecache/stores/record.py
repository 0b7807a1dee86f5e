"""A stored response as bytes that can rest outside this process: one record, and chunks when its body is large.

Theory
    A record is the head of a stored response with everything judged about it, and its body when that is small,
    so that finding it takes one round trip. A larger body is cut into chunks that rest beside the record, each
    sealed with its number and with the random name (``body_id``) its put gave it: chunks of two puts never
    make one body, and a reader can begin anywhere.

    The store that keeps records must be able to ask "is it still this one?" without trusting or comparing
    bytes: ``identity`` is a keyed digest of everything that makes two stored responses equal, content included.

Format, version 1
    Sealed (``stores.seal``) for ``("record", namespace, name)``, the name being the digest that the cache key is called
    outside: ``length of head(4) head body``, where head is a MessagePack array as ``Head`` lists it. It evolves by
    appending members with a default: an older reader ignores them, a newer one fills them in. Anything else is
    a new version of the seal.

Invariants
    * ``decode`` returns a record that ``encode`` was given, for the same cache key, or raises ``StoreError``.
    * ``Head.birth_*`` come back as they were: whether a purge forbids the response is not asked here.
    * Nothing here does I/O or asks the time; randomness is a parameter.

Called by the stores that keep responses outside this process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from edgecache.errors import StoreError
from edgecache.http.ranges import ContentRange
from edgecache.semantics.stored import Basis, Birth, Body, CacheKey, Freshness, Selecting, StoredResponse, Validators
from edgecache.stores.seal import OVERHEAD, Seal, derive

__all__ = [
    "BODY_ID_SIZE",
    "CHUNK",
    "DIGEST_SIZE",
    "INLINE",
    "MAX_SEALED_CHUNK",
    "ContentDigest",
    "Head",
    "Layout",
    "Record",
    "RecordCodec",
]

CHUNK: Final = 256 * 1024
"""Length of every chunk of a body but the last, bytes: small enough for one round trip within its budget."""

INLINE: Final = 64 * 1024
"""Largest body that rests inside its record, bytes: most responses, so that most hits are one round trip."""

BODY_ID_SIZE: Final = 16
DIGEST_SIZE: Final = 16

MAX_SEALED_CHUNK: Final = CHUNK + OVERHEAD
"""Longest value that can be a chunk, bytes."""

_LENGTH: Final = 4


class _Freshness(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """``semantics.stored.Freshness``, member by member."""

    generated_at: float
    lifetime: float
    grace: float
    if_error: float
    if_unreachable: float
    keep: float
    basis: Basis
    must_validate: bool
    never_stale: bool
    immutable: bool
    if_gone: float = 0.0
    eager: float = 0.0
    sliding: float = 0.0
    slides_until: float = 0.0
    restarts_age: bool = False


class Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A stored response without the content of its body. The order of members is the format: append only."""

    key: str
    birth_epoch: bytes
    birth_sequence: int
    tags: tuple[str, ...]
    status: int
    fields: tuple[tuple[str, str], ...]
    freshness: _Freshness
    selecting_names: tuple[str, ...]
    selecting_values: tuple[str | None, ...]
    etag: str | None
    last_modified: str | None
    content_range: tuple[int, int, int | None] | None
    response_time: float
    uri: str
    rendered: bytes
    body_size: int
    body_digest: bytes
    body_id: bytes
    encodable: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the content of a body rests, and what it is. ``body_id`` is empty when it is inside the record."""

    size: int
    digest: bytes
    body_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Record:
    """A head, and the body if it is inside."""

    head: Head
    inline: bytes = b""

    @property
    def layout(self) -> Layout:
        """Where the body rests."""
        return Layout(self.head.body_size, self.head.body_digest, self.head.body_id)

    def response(self, body: Body) -> StoredResponse:
        """Return the stored response, with its body as the store provides it."""
        head, parts = self.head, self.head.content_range
        key = CacheKey(head.key)
        return StoredResponse(
            key=key,
            status=head.status,
            fields=head.fields,
            body=body,
            freshness=Freshness(*msgspec.structs.astuple(head.freshness)),
            birth=Birth(head.birth_epoch, head.birth_sequence),
            selecting=Selecting(head.selecting_names, head.selecting_values),
            validators=Validators(head.etag, head.last_modified),
            content_range=None if parts is None else ContentRange(*parts),
            tags=frozenset(head.tags),
            response_time=head.response_time,
            uri=key if head.uri == key else head.uri,  # one string in memory, as the engine makes it
            rendered=head.rendered,
            encodable=head.encodable,
        )


class RecordCodec:
    """Responses to bytes and back, for one namespace and one secret.

    Args:
        namespace: whose records they are; those of another one do not decode.
        secret: shared by all processes that share the store, at least ``seal.MIN_SECRET`` bytes.
        encryption_keys: encrypt with the first, decrypt with any (at most two); empty: no encryption.
        entropy: source of randomness.

    Raises:
        ConfigError: see ``Seal``.
    """

    def __init__(
        self,
        namespace: str,
        secret: bytes,
        encryption_keys: Sequence[bytes] = (),
        *,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._namespace = namespace.encode()
        self._person = blake2b(self._namespace, digest_size=16).digest()
        self._seal = Seal(secret, encryption_keys, entropy=entropy)
        self._name_key = derive(secret, b"ec names")
        self._identity_key = derive(secret, b"ec identity")
        self._content_key = derive(secret, b"ec content")
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Head)
        self._entropy = entropy

    def encode(self, record: Record) -> bytes:
        """Return a record as sealed bytes.

        Raises:
            StoreError: a value has no encoding: text that is not Unicode, or a number beyond 64 bits.
        """
        head = self._packed(record.head)
        content = b"".join((len(head).to_bytes(_LENGTH, "big"), head, record.inline))
        return self._seal.close(self._record_context(self.name(CacheKey(record.head.key))), content)

    def decode(self, sealed: bytes, key: CacheKey) -> Record:
        """Return the record stored under ``key``.

        Raises:
            StoreError: these bytes are not one.
        """
        record = self.open(sealed, self.name(key))
        if record.head.key != key:
            raise StoreError("a stored record is one of another cache key")
        return record

    def open(self, sealed: bytes, name: str) -> Record:
        """Return the record stored under the key that ``name`` says, for who does not know the key.

        Raises:
            StoreError: these bytes are not one.
        """
        content = self._seal.open(self._record_context(name), sealed)
        start = _LENGTH + int.from_bytes(content[:_LENGTH], "big")
        try:
            record = Record(self._decoder.decode(content[_LENGTH:start]), content[start:])
        except (msgspec.MsgspecError, ValueError) as error:
            raise StoreError("a stored head is not one of this version") from error
        if self.name(CacheKey(record.head.key)) != name or not _is_consistent(record):
            raise StoreError("a stored record contradicts itself")
        return record

    def record(self, response: StoredResponse, layout: Layout, inline: bytes = b"") -> Record:
        """Return the record of ``response``, whose body rests as ``layout`` says."""
        return Record(_head(response, layout), inline)

    def name(self, key: CacheKey) -> str:
        """Return what to call ``key`` outside: as good as unique, and no secret of a URL is in it."""
        return self._digest(self._name_key, _bytes(key)).hex()

    def slot(self, selecting: Selecting) -> bytes:
        """Return a digest that is equal for equal selecting values only."""
        return self._digest(self._name_key, self._packed((selecting.names, selecting.values)))

    def identity(self, response: StoredResponse, digest: bytes) -> bytes:
        """Return a digest that is equal for equal responses only; ``digest`` is that of the body's content.

        As in ``==``, neither ``birth`` nor ``rendered`` is part of what a response is.

        Raises:
            StoreError: as ``encode``.
        """
        head = _head(response, Layout(response.body.size, digest))
        head = msgspec.structs.replace(head, birth_epoch=b"", birth_sequence=0, rendered=b"")
        return self._digest(self._identity_key, self._packed(head))

    def content(self) -> ContentDigest:
        """Return an empty digest of content, to be fed with a body's bytes in order."""
        return ContentDigest(self._content_key)

    def new_body_id(self) -> bytes:
        """Return a name for the chunks of one put."""
        return self._entropy(BODY_ID_SIZE)

    def close_chunk(self, key: CacheKey, layout: Layout, index: int, content: bytes) -> bytes:
        """Return chunk number ``index`` of a body as sealed bytes."""
        return self._seal.close(self._chunk_context(key, layout, index), content)

    def open_chunk(self, key: CacheKey, layout: Layout, index: int, sealed: bytes) -> bytes:
        """Return the content of chunk number ``index``.

        Raises:
            StoreError: these bytes are not that chunk, or there is none.
        """
        return self._seal.open(self._chunk_context(key, layout, index), sealed)

    def _record_context(self, name: str) -> tuple[bytes, ...]:
        return (b"record", self._namespace, name.encode())

    def _chunk_context(self, key: CacheKey, layout: Layout, index: int) -> tuple[bytes, ...]:
        place = index.to_bytes(8, "big") + layout.size.to_bytes(8, "big")
        return (b"chunk", self._namespace, _bytes(key), layout.body_id, place)

    def _packed(self, value: object) -> bytes:
        try:
            return self._encoder.encode(value)
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise StoreError("a response has a value that cannot be encoded") from error

    def _digest(self, key: bytes, content: bytes) -> bytes:
        return blake2b(content, key=key, digest_size=DIGEST_SIZE, person=self._person).digest()


class ContentDigest:
    """A keyed digest of a body's content, and its length."""

    __slots__ = ("_hash", "size")

    def __init__(self, key: bytes) -> None:
        self._hash = blake2b(key=key, digest_size=DIGEST_SIZE)
        self.size = 0

    def update(self, content: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(content)
        self.size += len(content)

    def digest(self) -> bytes:
        """Return the digest of what has been taken."""
        return self._hash.digest()


def _head(response: StoredResponse, layout: Layout) -> Head:
    """Return the head in plain types: equal responses make equal bytes, whatever subclass their values are of."""
    freshness, parts = response.freshness, response.content_range
    return Head(
        key=str(response.key),
        birth_epoch=response.birth.epoch,
        birth_sequence=response.birth.sequence,
        tags=tuple(sorted(response.tags)),
        status=int(response.status),
        fields=tuple((str(name), str(value)) for name, value in response.fields),
        freshness=_Freshness(
            generated_at=float(freshness.generated_at),
            lifetime=float(freshness.lifetime),
            grace=float(freshness.grace),
            if_error=float(freshness.if_error),
            if_unreachable=float(freshness.if_unreachable),
            keep=float(freshness.keep),
            basis=freshness.basis,
            must_validate=freshness.must_validate,
            never_stale=freshness.never_stale,
            immutable=freshness.immutable,
            if_gone=float(freshness.if_gone),
            eager=float(freshness.eager),
            sliding=float(freshness.sliding),
            slides_until=float(freshness.slides_until),
            restarts_age=freshness.restarts_age,
        ),
        selecting_names=response.selecting.names,
        selecting_values=response.selecting.values,
        etag=response.validators.etag,
        last_modified=response.validators.last_modified,
        content_range=None if parts is None else (parts.first, parts.last, parts.complete),
        response_time=float(response.response_time),
        uri=str(response.uri),
        rendered=response.rendered,
        body_size=layout.size,
        body_digest=layout.digest,
        body_id=layout.body_id,
        encodable=response.encodable,
    )


def _is_consistent(record: Record) -> bool:
    """Whether the lengths agree: a body is either inside, whole, or in chunks."""
    head = record.head
    if head.body_id:
        return len(head.body_id) == BODY_ID_SIZE and head.body_size >= 0 and not record.inline
    return head.body_size == len(record.inline)


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise StoreError("a cache key is not Unicode") from error
