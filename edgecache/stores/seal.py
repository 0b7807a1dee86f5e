"""Sealed bytes: what came back from a place others can write to is what was put there, for this use, or an error.

Theory
    A shared store is a place where values get lost, cut, mixed up, brought back from old backups, and where
    whoever reaches the port can write. So everything put there is sealed together with what it is for: the
    *context*, which is not stored but known to whoever asks (the namespace, the cache key, the number of a
    chunk). A value under another key, in another place or of another namespace does not open.

    Without encryption the seal is a BLAKE2b MAC of 128 bits. With it, it is AES-256-GCM, whose tag
    authenticates the same context as associated data; a second MAC over it would say nothing new.

Format, version 1, for good
    ``magic(2) version(1) flags(1)``, then plain ``content mac(16)``, or encrypted
    ``key id(4) nonce(12) ciphertext tag(16)``. Another version is another format and does not open here.

Invariants
    * ``open`` returns what ``close`` was given, or raises ``StoreError``; nothing else, whatever the bytes.
    * Keys are derived per purpose: none is used for two things.
    * One encryption key closes, two open (the current and the previous one), so keys can be rotated
      without emptying the store. A nonce is 96 random bits: rotate before 2**32 values.

Called by ``stores.record``.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from edgecache.errors import ConfigError, StoreError

__all__ = ["MIN_SECRET", "OVERHEAD", "Seal", "derive"]

MIN_SECRET: Final = 16
"""Shortest secret, bytes: a MAC is no stronger than what it is keyed with."""

MAX_ENCRYPTION_KEYS: Final = 2
"""The current one and the previous one."""

_MAGIC: Final = b"EC"
_VERSION: Final = 1
_ENCRYPTED: Final = 1
_PLAIN_PREFIX: Final = _MAGIC + bytes((_VERSION, 0))
_ENCRYPTED_PREFIX: Final = _MAGIC + bytes((_VERSION, _ENCRYPTED))

_PREFIX_SIZE: Final = 4
_KEY_ID_SIZE: Final = 4
_NONCE_SIZE: Final = 12
_MAC_SIZE: Final = 16

OVERHEAD: Final = _PREFIX_SIZE + _KEY_ID_SIZE + _NONCE_SIZE + _MAC_SIZE
"""Most bytes that sealing adds."""


class _Cipher(Protocol):
    """What is used of ``cryptography``'s AESGCM."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


def derive(secret: bytes, purpose: bytes) -> bytes:
    """Return the key of 32 bytes that serves one purpose (at most 16 bytes) and tells nothing about another's."""
    return blake2b(secret, digest_size=32, person=purpose).digest()


class Seal:
    """Closes and opens values.

    Args:
        secret: shared by all processes that use the same store, at least ``MIN_SECRET`` bytes.
        encryption_keys: none, or the current key, or the current and the previous one; as ``secret``.
        entropy: where nonces come from: a number of bytes to that many random bytes.

    Raises:
        ConfigError: a secret is too short, there are too many keys, or ``cryptography`` is not installed.
    """

    def __init__(
        self,
        secret: bytes,
        encryption_keys: Sequence[bytes] = (),
        *,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if any(len(each) < MIN_SECRET for each in (secret, *encryption_keys)):
            raise ConfigError(f"a secret of the shared store has fewer than {MIN_SECRET} bytes")
        if len(encryption_keys) > MAX_ENCRYPTION_KEYS:
            raise ConfigError(f"more than {MAX_ENCRYPTION_KEYS} encryption keys: the current and the previous one")
        self._mac_key = derive(secret, b"ec value mac")
        self._ciphers = {_key_id(key): _cipher(key) for key in encryption_keys}
        self._current = _key_id(encryption_keys[0]) if encryption_keys else None
        self._entropy = entropy

    def close(self, context: Sequence[bytes], content: bytes) -> bytes:
        """Return ``content`` sealed for ``context``."""
        if self._current is None:
            return b"".join((_PLAIN_PREFIX, content, self._mac(context, content)))
        nonce = self._entropy(_NONCE_SIZE)
        opening = _ENCRYPTED_PREFIX + self._current + nonce
        return opening + self._ciphers[self._current].encrypt(nonce, content, _joined((*context, opening)))

    def open(self, context: Sequence[bytes], sealed: bytes) -> bytes:
        """Return what was sealed for ``context``.

        Raises:
            StoreError: these bytes were not sealed for it, by this secret, in this version.
        """
        if sealed.startswith(_PLAIN_PREFIX):
            return self._open_plain(context, sealed)
        if sealed.startswith(_ENCRYPTED_PREFIX):
            return self._open_encrypted(context, sealed)
        raise StoreError("a stored value is not in a format of this version")

    def _open_plain(self, context: Sequence[bytes], sealed: bytes) -> bytes:
        content = sealed[_PREFIX_SIZE:-_MAC_SIZE]
        if not hmac.compare_digest(self._mac(context, content), sealed[-_MAC_SIZE:]):
            raise StoreError("a stored value does not authenticate")
        return content

    def _open_encrypted(self, context: Sequence[bytes], sealed: bytes) -> bytes:
        key_id = sealed[_PREFIX_SIZE : _PREFIX_SIZE + _KEY_ID_SIZE]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise StoreError("a stored value is encrypted with an unknown key")
        start = _PREFIX_SIZE + _KEY_ID_SIZE + _NONCE_SIZE
        opening = sealed[:start]
        try:
            return cipher.decrypt(opening[-_NONCE_SIZE:], sealed[start:], _joined((*context, opening)))
        except Exception as error:  # InvalidTag, and ValueError for what is too short
            raise StoreError("a stored value does not authenticate") from error

    def _mac(self, context: Sequence[bytes], content: bytes) -> bytes:
        mac = blake2b(_joined((*context, _PLAIN_PREFIX)), key=self._mac_key, digest_size=_MAC_SIZE)
        mac.update(content)
        return mac.digest()


def _joined(parts: Sequence[bytes]) -> bytes:
    """Return the parts as one value that no other parts have: each with its length, their number first."""
    return bytes((len(parts),)) + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _key_id(key: bytes) -> bytes:
    return derive(key, b"ec key id")[:_KEY_ID_SIZE]


def _cipher(key: bytes) -> _Cipher:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigError("encryption needs the package cryptography", hint="install edgecache[crypto]") from error
    return AESGCM(derive(key, b"ec encryption"))
