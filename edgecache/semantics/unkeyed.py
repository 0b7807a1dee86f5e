"""Request fields that may change a response and are no part of its key: cache poisoning.

Theory
    A response is reused for every request with its key, and with its values of what Vary names. Whatever else an
    origin looks at can be used to put a response into the cache that others did not ask for: a debug header, an
    ``X-Host`` that the application writes into its links, an ``X-Original-URL`` that makes it answer for another page.
    No list of such fields is ever complete, so the list here is the opposite one: fields that clients and proxies send
    by themselves and whose meaning is known (``KNOWN``). Origins have to name those in Vary (RFC 9110 §12.5.5). A
    request with any other field is answered by the origin for itself, and the answer is not stored unless Vary
    names the field or a rule puts it into the key: nothing is lost but a hit.

    One value of a known field is often written into a response without a Vary: that of Origin, into
    Access-Control-Allow-Origin. That is looked at too.

Pure; called by the engine before a fetch and by ``semantics.storing`` after it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from edgecache.http.message import FieldsView
from edgecache.semantics.policy import Policy

__all__ = ["KNOWN", "doubtful", "reflects_origin"]

_USUAL: Final = (
    # content negotiation, conditions, content (RFC 9110)
    "accept accept-charset accept-datetime accept-encoding accept-language accept-ranges available-dictionary",
    "if-match if-modified-since if-none-match if-range if-unmodified-since range expect te",
    "content-digest content-encoding content-language content-length content-location content-type repr-digest date",
    # who asks, and from where
    "authorization proxy-authorization cookie from referer origin host user-agent access-control-request-headers",
    "access-control-request-method service-worker last-event-id",
    # how
    "cache-control pragma priority prefer purpose x-purpose x-moz max-forwards upgrade-insecure-requests early-data",
    "alt-used dictionary-id keep-alive proxy-connection warning want-content-digest want-repr-digest",
    # client hints
    "dnt downlink dpr ect rtt save-data viewport-width width device-memory",
    # what proxies on the way write; ``forwarded`` and ``x-forwarded-*`` are written by ``edges.forwarded``
    "via forwarded x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip client-ip x-client-ip",
    "true-client-ip cdn-loop surrogate-capability x-varnish x-request-start",
    # tracing
    "traceparent tracestate x-request-id x-correlation-id x-trace-id x-amzn-trace-id x-cloud-trace-context",
    # which never reach the origin as they came
    "edgecache-min-seq edgecache-release",
)

KNOWN: Final = frozenset(name for line in _USUAL for name in line.split())
"""Names, lower case, of fields that clients and proxies send by themselves."""

_KNOWN_FAMILIES: Final = ("sec-", "x-b3-", "x-datadog-", "cf-", "x-amz-cf-")


def doubtful(fields: FieldsView, policy: Policy, varied: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names, lower case, of a request's fields that may change the response and select nothing.

    ``varied`` are names in the response's Vary, lower case.
    """
    return tuple(
        name
        for name in map(str.lower, fields)
        if name not in KNOWN
        and name not in varied
        and name not in policy.key_fields
        and name not in policy.known_fields
        and not name.startswith(_KNOWN_FAMILIES)
    )


def reflects_origin(request: FieldsView, response: FieldsView, varied: Collection[str]) -> bool:
    """Whether a response is for pages of one origin alone, and does not say so in Vary (CORS)."""
    allowed = response.get("access-control-allow-origin")
    return allowed is not None and allowed != "*" and allowed == request.get("origin") and "origin" not in varied
