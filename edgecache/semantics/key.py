"""Cache keys (RFC 9111 §2).

Theory
    A key is the target URI as it was spelled, preceded by what else selects the response before ``Vary`` is
    known. Nothing is decoded, sorted or folded: two spellings that an origin may tell apart are two keys, and
    a request cannot be bent into another's key. HEAD shares GET's key, because a stored GET answers both.

    A QUERY (RFC 10008) is keyed by its content too: method, digest of the content and of the fields
    that describe it, target URI, separated by spaces. None of the parts can contain a space, and a plain
    target URI cannot begin with ``QUERY``, so the encoding is injective. One without content has an empty digest:
    it asks another question than a GET does, and neither answers the other.
"""

from __future__ import annotations

import hashlib
from typing import Final

from edgecache.http.fields import combined
from edgecache.http.message import FieldsView, RequestHead
from edgecache.semantics.stored import CacheKey

__all__ = ["KEYED_METHODS", "content_digest", "primary", "url_of"]

KEYED_METHODS: Final = frozenset({"GET", "HEAD", "QUERY"})
"""Methods whose responses can be reused for a later request with the same key."""

_CONTENT_FIELDS: Final = ("content-type", "content-encoding", "content-language", "content-location")


def primary(head: RequestHead, digest: str = "") -> CacheKey:
    """Return the key of a request; ``digest`` is ``content_digest`` of a QUERY's content, if it has any."""
    if head.method == "QUERY":
        return CacheKey(f"QUERY {digest} {head.target_uri}")
    return CacheKey(head.target_uri)


def url_of(key: CacheKey) -> str:
    """Return the target URI inside a key."""
    return key.rsplit(" ", 1)[-1]


def content_digest(content: bytes, fields: FieldsView) -> str:
    """Return a hexadecimal digest of a request's content and of the fields that say what it is.

    Each part is preceded by its length, so that no two different sets of parts give the same input.
    """
    digest = hashlib.blake2b(digest_size=20)
    for name in _CONTENT_FIELDS:
        value = combined(fields, name)
        part = b"" if value is None else b"=" + value.encode("latin-1")
        digest.update(b"%d:%s" % (len(part), part))
    digest.update(content)
    return digest.hexdigest()
