"""What only the whole of a body can tell: its digest, and so an entity tag, and whether a name says the truth.

Theory
    A head is judged when it comes; some things have to wait for the last byte. ``examined`` looks at the content, which
    takes time in proportion to it, and ``finished`` makes of what was found what is stored.

    An entity tag of one's own lets browsers revalidate what an origin sends without one. It is made of the content and
    of what says how to read it, so that it is the same in each process and after each fetch. It is shown, and nothing
    else: towards the origin only the origin's validators count. Hence it is part of ``rendered`` and not of ``fields``.

    A name with a digest in it (``semantics.versioned``) is a claim. Where it is one of the content, the content proves
    it, and then the response cannot become wrong under that name; or disproves it, and then it is wrong already.

Invariants
    * Who reads a body while it comes sees the head as it was judged, without any of this.
    * No more is decoded than may be stored, however small it came.
    * Nothing is concluded from a coding that is not understood here; gzip is, since it is what origins apply by
      themselves. Damaged content is other content.

Pure; called by the engine when a body is whole, and by ``semantics.validation``.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from edgecache.http.fields import combined
from edgecache.http.message import FieldsView, ResponseHead, fields_of, render_fields, render_status_line
from edgecache.semantics import presenting
from edgecache.semantics.freshness import assess, govern
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import StoredResponse
from edgecache.semantics.storing import luck_of
from edgecache.semantics.versioned import Versioned, verifies

__all__ = ["Examined", "examined", "finished", "is_worth_examining", "made_tag", "tagged"]

_TAG_SIZE: Final = 16
_GZIP: Final = 31
"""As ``zlib`` wants to hear it: the window, and that there is a header."""

_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Examined:
    """What a body tells.

    Attributes:
        etag: an entity tag of it; None when none is wanted.
        is_as_named: whether its digest is that of its name; None when that cannot be said.
    """

    etag: str | None = None
    is_as_named: bool | None = None


def is_worth_examining(response: StoredResponse, policy: Policy, named: Versioned | None) -> bool:
    """Whether anything can come of looking at the whole body; ``named`` is how its name is recognised as versioned."""
    return response.status == 200 and (_wants_tag(response, policy) or _wants_proof(policy, named))


def examined(response: StoredResponse, body: tuple[bytes, ...], policy: Policy, named: Versioned | None) -> Examined:
    """Look at a body. It takes time, and touches nothing else: any thread may do it."""
    fields = fields_of(response.fields)
    etag = _tag(body, fields) if _wants_tag(response, policy) else None
    if named is None or not _wants_proof(policy, named):
        return Examined(etag)
    try:
        content = _decoded(body, fields, policy.max_object)
        return Examined(etag, verifies(named.token, content, hashes_content=named.hashes_content))
    except _CannotSay:
        return Examined(etag)
    except zlib.error:
        return Examined(etag, False if named.hashes_content else None)


def finished(response: StoredResponse, found: Examined, policy: Policy) -> StoredResponse | Reason:
    """Return what is stored, or why it is not."""
    if found.is_as_named is False:
        return Reason.DIGEST_MISMATCH
    if found.is_as_named and policy.verified is not None and _says_nothing_itself(response, policy):
        response = _saying(response, policy.verified.cache_control, policy)
    return response if found.etag is None else tagged(response, found.etag)


def tagged(response: StoredResponse, etag: str) -> StoredResponse:
    """Return a response whose clients see this entity tag."""
    return replace(response, rendered=response.rendered + render_fields([("ETag", etag)]))


def made_tag(response: StoredResponse) -> str | None:
    """Return the entity tag that was made here; None when there is none, or it is the origin's."""
    return None if response.validators.etag is not None else response.shown().fields.get("etag")


def _wants_tag(response: StoredResponse, policy: Policy) -> bool:
    return policy.etag and response.validators.etag is None


def _wants_proof(policy: Policy, named: Versioned | None) -> bool:
    return named is not None and (policy.verified is not None or named.hashes_content)


def _tag(body: Iterable[bytes], fields: FieldsView) -> str:
    """The same bytes read in another way are another representation (RFC 9110 §8.8.1)."""
    read_as = "\n".join(combined(fields, name) or "" for name in ("content-type", "content-encoding"))
    digest = hashlib.blake2b(digest_size=_TAG_SIZE, key=hashlib.blake2b(read_as.encode("latin-1", "replace")).digest())
    for piece in body:
        digest.update(piece)
    return f'"{base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")}"'


# -------------------------------------------------------------------------------------------------- content, decoded


class _CannotSay(Exception):
    """The content is coded in a way that is not understood here, or more of it than is looked at."""


def _decoded(body: Iterable[bytes], fields: FieldsView, most: int) -> Iterator[bytes]:
    """Yield the content without its coding; raise ``zlib.error`` when it is damaged."""
    coding = (combined(fields, "content-encoding") or "identity").strip().lower()
    if coding == "identity":
        return iter(body)
    if coding in ("gzip", "x-gzip"):
        return _unzipped(body, most)
    raise _CannotSay


def _unzipped(body: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Several members after one another are one content (RFC 1952 §2.2)."""
    member, size = zlib.decompressobj(_GZIP), 0
    for rest in body:
        while rest:
            if member.eof:
                member = zlib.decompressobj(_GZIP)
            content = member.decompress(rest, _PIECE)
            size += len(content)
            if size > most:
                raise _CannotSay
            yield content
            rest = member.unused_data if member.eof else member.unconsumed_tail
    yield member.flush()
    if not member.eof:
        raise zlib.error("it broke off")


# ------------------------------------------------------------------------------------------------- what it then says


def _says_nothing_itself(response: StoredResponse, policy: Policy) -> bool:
    """Whether Cache-Control and Expires are missing, or what a rule's strategy put there."""
    fields = fields_of(response.fields)
    said = combined(fields, "cache-control")
    by_rule = None if policy.strategy is None else policy.strategy.cache_control
    return "expires" not in fields and (said is None or said == by_rule)


def _saying(response: StoredResponse, cache_control: str, policy: Policy) -> StoredResponse:
    """Return a response as if it had come with this Cache-Control."""
    others = tuple(pair for pair in response.fields if pair[0].lower() != "cache-control")
    pairs = (*others, ("Cache-Control", cache_control))
    head = ResponseHead(response.status, fields_of((*pairs, ("Age", "0"))))
    freshness = assess(
        head,
        govern(head.fields, policy),
        policy,
        request_time=response.freshness.generated_at,  # with the Age above: its age stays what it was
        response_time=response.response_time,
        luck=luck_of(response.key, response.response_time),
    )
    return replace(
        response,
        fields=pairs,
        freshness=replace(freshness, eager=response.freshness.eager),
        rendered=render_status_line(response.status) + render_fields(presenting.shown(response.status, pairs, policy)),
    )
