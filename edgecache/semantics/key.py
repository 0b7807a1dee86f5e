"""Cache keys (RFC 9111 §2).

Theory
    A key is the target URI as it was spelled, preceded by what else selects the response before ``Vary`` is
    known. Nothing is decoded, sorted or folded: two spellings that an origin may tell apart are two keys, and
    a request cannot be bent into another's key. HEAD shares GET's key, because a stored GET answers both.

    A QUERY (RFC 10008) is keyed by its content too: method, digest of the content and of the fields
    that describe it, target URI, separated by spaces. None of the parts can contain a space, and a plain
    target URI cannot begin with ``QUERY``, so the encoding is injective. One without content, and without fields that
    would describe it, has an empty digest: it asks another question than a GET does, and neither answers the other.

    What rules add (fields, cookies, the active release) stands before the target URI: ``+`` and facts, percent-encoded,
    between ``&``. No URI and no digest begins with a plus.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from edgecache.http.fields import combined
from edgecache.http.message import FieldsView, Pair, RequestHead
from edgecache.http.negotiation import selecting_value
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.stored import CacheKey

__all__ = ["KEYED_METHODS", "are_plain_cookies", "content_digest", "cookies", "primary", "url_of"]

KEYED_METHODS: Final = frozenset({"GET", "HEAD", "QUERY"})
"""Methods whose responses can be reused for a later request with the same key."""

_CONTENT_FIELDS: Final = (
    *("content-type", "content-encoding", "content-language", "content-location"),
    *("content-digest", "repr-digest"),
)

_NOT_PLAIN: Final = re.compile(r"""[",\\]|(?:\A|;)[ \t]*\$""")


def primary(head: RequestHead, digest: str = "", policy: Policy = DEFAULT, release: str = "") -> CacheKey:
    """Return the key of a normalised request.

    ``digest`` is ``content_digest`` of a QUERY's content, if it has any; ``release`` the active one, if any.
    """
    uri = head.target_uri
    if (policy.by_release or policy.key_fields or policy.key_cookies) and (
        facts := "&".join(_facts(head.fields, policy, release))
    ):
        uri = f"+{facts} {uri}"
    if head.method == "QUERY":
        if not digest and any(name in head.fields for name in _CONTENT_FIELDS):
            digest = content_digest(b"", head.fields)
        return CacheKey(f"QUERY {digest} {uri}")
    return CacheKey(uri)


def _facts(fields: FieldsView, policy: Policy, release: str) -> Iterator[str]:
    """What else is part of the key. A field that is absent differs from one that is empty."""
    if policy.by_release and release:
        yield f"release={quote(release, safe='')}"
    for name in policy.key_fields:
        value = selecting_value(fields, name)
        if value is not None:
            yield f"field.{quote(name, safe='')}={quote(value, safe='')}"
    if policy.key_cookies:
        for name, value in cookies(fields):
            if name in policy.key_cookies:
                yield f"cookie.{quote(name, safe='')}={quote(value, safe='')}"


def cookies(fields: FieldsView) -> Iterator[Pair]:
    """Yield names and values of a request's cookies, as spelled and in order (RFC 6265 §5.4)."""
    for line in fields.getall("cookie", ()):
        for part in line.split(";"):
            name, _, value = part.strip(" \t").partition("=")
            if name:
                yield name, value


def are_plain_cookies(fields: FieldsView) -> bool:
    """Whether everybody finds the same cookies in a request.

    Those who also read older forms (RFC 2109, RFC 2965) find another cookie inside quotes, after a comma or a ``$``.
    """
    return _NOT_PLAIN.search(";".join(fields.getall("cookie", ()))) is None


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
