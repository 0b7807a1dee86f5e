"""What is going to be sent to the origin: the client's request, made fit for what is already stored."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from edgecache.http.message import Fields, FieldsView, KnownFields, RequestHead, ResponseHead
from edgecache.purging.base import Ledger
from edgecache.purging.verdict import Verdict
from edgecache.semantics import releases, validation
from edgecache.semantics.freshness import own_via
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.rules import Applied
from edgecache.semantics.stored import CacheKey, StoredResponse
from edgecache.semantics.unkeyed import has_credentials

__all__ = ["MIN_SEQUENCE", "Plan", "forwarded"]

MIN_SEQUENCE: Final = "edgecache-min-seq"
"""Request field: a purge's sequence, which this process has to know before it answers. Meant for nobody else."""

_OWN: Final = frozenset({MIN_SEQUENCE, releases.FIELD.lower()})


class Plan(msgspec.Struct, frozen=True):
    """What to send, and what of it is already stored.

    Attributes:
        key: what the response will be stored under.
        asked: the request, and what rules made of it.
        head: the request as it will be judged; conditions and ranges are added or removed when sent.
        content: content of a QUERY, sent again on each attempt.
        validate: the stored response whose validators go along.
        complete: the stored part to be completed, and the missing bytes (first, last inclusive or None).
        keep_range: send the client's Range on, to store a part.
        is_patient: whether to wait for another process that is fetching the same.
        is_alone: the request has fields that may change the response (``semantics.unkeyed``): nobody shares it, and
            it does not touch what is stored for others.
        release: the name in the key, for what is bound to a release; else empty.
        is_held: that release was gone back to, so what is stored of it is not replaced.
    """

    key: CacheKey
    asked: Applied
    head: RequestHead
    content: bytes | None = None
    validate: StoredResponse | None = None
    complete: tuple[StoredResponse, int, int | None] | None = None
    keep_range: bool = False
    is_patient: bool = True
    is_alone: bool = False
    release: str = ""
    is_held: bool = False

    @property
    def is_personal(self) -> bool:
        """Whether the request says who asks: its answer tells nothing about what others get."""
        return has_credentials(self.head, self.asked.policy)

    def unpurged(self, ledger: Ledger) -> Plan:
        """Return the plan without stored responses purged since it was made: no 304 and no 206 may revive them."""
        stored = self.validate if self.complete is None else self.complete[0]
        if stored is None or ledger.verdict(stored) is not Verdict.INVALID:
            return self
        return replace(self, validate=None, complete=None)

    def unkept(self, response: ResponseHead | StoredResponse, ledger: Ledger) -> Reason | None:
        """Return why a response that may be stored is not to be kept, as things stand now (``semantics.releases``)."""
        if not self.release:
            return None
        head, active = response.head() if isinstance(response, StoredResponse) else response, ledger.release
        return releases.refusal(head.fields, self.release, active.name, held=active.held)

    def outgoing(self) -> RequestHead:
        """Return the request with the conditions and ranges that the plan needs, and no others."""
        if self.complete is not None:
            return validation.completing(self.head, *self.complete)
        if self.validate is not None and not self.is_alone:
            return validation.condition(self.head, self.validate)
        return self.head if self.keep_range else validation.unconditional(self.head)


def forwarded(head: RequestHead, policy: Policy, release: str = "") -> RequestHead:
    """Add what a proxy adds (RFC 9110 §7.6.3), what this one can do and wants; drop what was meant for it alone."""
    fields, asked = head.fields, ("forwarded", policy.name, policy.surrogate_control, release)
    sent: FieldsView | None = fields.known.get(asked) if isinstance(fields, KnownFields) else None
    if sent is None:
        sent = KnownFields(_forwarded(fields, policy, release))
        if isinstance(fields, KnownFields):
            fields.known[asked] = sent
    return RequestHead(head.method, head.scheme, head.authority, head.target, sent)


def _forwarded(fields: FieldsView, policy: Policy, release: str) -> Fields:
    sent = fields.copy()
    for name in _OWN:
        sent.popall(name, None)
    sent.add("Via", own_via(policy))
    if release:
        sent.add(releases.FIELD, release)
    if policy.surrogate_control:
        sent.add("Surrogate-Capability", f'{policy.name}="Surrogate/1.0"')
    return sent
