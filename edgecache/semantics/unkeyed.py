"""Request fields that may change a response and are no part of its key: cache poisoning.

Theory
    A response is reused for every request with its key, and with its values of what Vary names. Whatever else an
    origin looks at can be used to put a response into the cache that others did not ask for: a debug header, an
    ``X-Host`` that the application writes into its links, an ``X-Original-URL`` that makes it answer for another page.
    No list of such fields is ever complete, so the list here is the opposite one: fields that clients and proxies send
    by themselves and whose meaning is known (``KNOWN``). Origins have to name those in Vary (RFC 9110 §12.5.5). A
    request with any other field is answered by the origin for itself, and the answer is not stored unless Vary
    names the field or a rule puts it into the key: nothing is lost but a hit.

    A known field is known with the values that it has by its definition: ``Pragma`` says ``no-cache``, an identifier
    has no markup in it, ``X-Forwarded-Host`` is the host that is in the key. With another value it is as any other
    field. What is left are those whose values are free (``FREE``), and those are what docs/guards.md argues about.

    Fields that describe a request's content are known where there is content: a QUERY's key has them in it.

Pure; called by the engine before a fetch and by ``semantics.storing`` after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Final

from edgecache.http.memo import LONGEST_REMEMBERED
from edgecache.http.message import KnownFields, RequestHead
from edgecache.semantics.key import cookies
from edgecache.semantics.policy import Policy

__all__ = ["FAMILIES", "FREE", "KNOWN", "doubtful", "has_credentials"]

FREE: Final = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "accept-language", "authorization", "cookie", "from"),
        *("origin", "range", "if-range", "referer", "user-agent", "available-dictionary", "dictionary-id"),
    }
)
"""Names, lower case, of known fields of which no value can be told to be harmless."""

_NOT_SENT: Final = frozenset(
    {
        *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "host"),
        *("edgecache-min-seq", "edgecache-release"),
    }
)
"""What a fetch whose response is stored sends with values of its own, or not at all."""

_OF_CONTENT: Final = frozenset(
    {
        *("content-digest", "content-encoding", "content-language", "content-length", "content-location"),
        *("content-type", "repr-digest"),
    }
)

_MEDIA: Final = r"""[\w*/+.,;:=" -]*"""
_ADDRESS: Final = r"(?:unknown|[0-9A-Fa-f.:\[\]]*)"
_ADDRESSES: Final = rf"{_ADDRESS}(?:, ?{_ADDRESS})*"
_URGENCY: Final = r"(?:u=[0-7]|i(?:=\?[01])?)"
_IDENTIFIER: Final = r"[\w.:;=@/+*,~|%! -]{0,1024}"
_NUMBER: Final = r"[0-9.]{1,12}"
_VALUES: Final = {
    # of browsers
    **dict.fromkeys(("accept", "accept-charset", "accept-encoding", "accept-language"), _MEDIA),
    "cache-control": r"[\w,= -]*",
    "pragma": "no-cache",
    "priority": rf"{_URGENCY}(?:, ?{_URGENCY})*",
    "origin": r"null|[A-Za-z][A-Za-z0-9+.-]*://[\w.:%\[\]-]*",
    "referer": r"[!#-;=?-~]*",
    "upgrade-insecure-requests": "1",
    "service-worker": "script",
    **dict.fromkeys(("purpose", "x-purpose", "x-moz"), "prefetch|preview"),
    "dnt": "[01]",
    "save-data": "on",
    "ect": "slow-2g|[234]g",
    **dict.fromkeys(("downlink", "dpr", "rtt", "viewport-width", "width", "device-memory"), _NUMBER),
    "alt-used": r"[\w.:\[\]-]*",
    # of proxies; ``edges.forwarded`` takes them from trusted peers alone
    **dict.fromkeys(("x-forwarded-for", "x-real-ip", "client-ip", "x-client-ip", "true-client-ip"), _ADDRESSES),
    **dict.fromkeys(("x-cluster-client-ip", "cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4"), _ADDRESSES),
    "x-forwarded-server": r"[\w.:, -]*",
    "cf-ipcountry": "[A-Z0-9]{2}",
    "cf-visitor": r"""\{"scheme":"https?"\}""",
    "early-data": "1",
    **dict.fromkeys(("via", "cdn-loop"), r"[\w./:;=, ()-]*"),
    "x-request-start": r"(?:t=)?[0-9.]{1,20}",
    "x-varnish": "[0-9 ]*",
    "surrogate-capability": r"""[\w.-]+="Surrogate/1\.0"(?:, ?[\w.-]+="Surrogate/1\.0")*""",
    # that tell requests apart, for people
    **dict.fromkeys(("x-request-id", "x-correlation-id", "x-trace-id", "x-amzn-trace-id", "x-amz-cf-id"), _IDENTIFIER),
    **dict.fromkeys(("x-cloud-trace-context", "cf-ray", "cf-ew-via", "uber-trace-id", "newrelic"), _IDENTIFIER),
    **dict.fromkeys(("traceparent", "tracestate", "baggage", "sentry-trace", "b3"), _IDENTIFIER),
}
"""Names, lower case, of known fields, and what their values look like."""

FAMILIES: Final = {"sec-": r"[^<>]*", "x-b3-": _IDENTIFIER, "x-datadog-": _IDENTIFIER}
"""Beginnings of such names, and what their values look like. No script can set a field that begins with ``Sec-``."""


def _is_host(text: str, scheme: str, authority: str) -> bool:
    default = _DEFAULT_PORTS.get(scheme, "")
    return text.lower().removesuffix(f":{default}") == authority


def _is_scheme(text: str, scheme: str, _: str) -> bool:
    return text.lower() == scheme


def _is_port(text: str, scheme: str, authority: str) -> bool:
    named = _PORT.search(authority)
    return text == (named[1] if named else _DEFAULT_PORTS.get(scheme))


def _is_tls(text: str, scheme: str, _: str) -> bool:
    return (text.lower() == "on") == (scheme == "https")


def _says_the_same(text: str, scheme: str, authority: str) -> bool:
    """Of one member of Forwarded (RFC 7239 §4): whose it is may differ, what was asked for may not."""
    if _ELEMENT.fullmatch(text) is None:
        return False
    said = [(name.lower(), value.strip('"')) for name, _, value in (pair.partition("=") for pair in text.split(";"))]
    return all(
        _is_host(value, scheme, authority)
        if name == "host"
        else name != "proto" or _is_scheme(value, scheme, authority)
        for name, value in said
    )


_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_PORT: Final = re.compile(r":([0-9]+)\Z")
_PAIR: Final = r"""[\w-]+=(?:[\w.:-]*|"[\w.:\[\]-]*")"""
_ELEMENT: Final = re.compile(rf"(?:{_PAIR}(?:;{_PAIR})*)?", re.ASCII)
_IN_THE_KEY: Final[dict[str, Callable[[str, str, str], bool]]] = {
    "x-forwarded-host": _is_host,
    **dict.fromkeys(("x-forwarded-proto", "x-forwarded-scheme", "x-scheme"), _is_scheme),
    "x-forwarded-port": _is_port,
    "x-forwarded-ssl": _is_tls,
    "forwarded": _says_the_same,
}
"""Names of known fields that say again what the target URI says, and how to tell that they do."""

KNOWN: Final = FREE.union(_NOT_SENT, _OF_CONTENT, _VALUES, _IN_THE_KEY)
"""Names, lower case, of fields that clients and proxies send by themselves."""

_REMEMBERED_LINES: Final = 4096
"""Field lines whose verdict is kept: those of a few hundred kinds of clients."""

_LOOKS: Final = {name: re.compile(values, re.ASCII) for name, values in _VALUES.items()}
_LOOKS_OF_FAMILIES: Final = tuple((prefix, re.compile(values, re.ASCII)) for prefix, values in FAMILIES.items())


def doubtful(request: RequestHead, policy: Policy, varied: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names, lower case, of a request's fields that may change the response and select nothing.

    ``varied`` are names in the response's Vary, lower case.
    """
    strange = _strange(request)
    if not strange:
        return ()
    return tuple(
        name
        for name in dict.fromkeys(map(str.lower, strange))
        if name not in varied and name not in policy.key_fields and name not in policy.known_fields
    )


def has_credentials(request: RequestHead, policy: Policy) -> bool:
    """Whether a request says who asks, by something that is no part of its key: what it is answered may be its own."""
    fields = request.fields
    if "authorization" in fields and "authorization" not in policy.key_fields:
        return True
    if "cookie" not in fields or "cookie" in policy.key_fields:
        return False
    return any(name not in policy.key_cookies for name, _ in cookies(fields))


def _strange(request: RequestHead) -> list[str]:
    """Return the name of each field line that is not known. Nearly always there is none, and it is asked often."""
    fields, has_content = request.fields, request.method not in ("GET", "HEAD")
    if not isinstance(fields, KnownFields):
        return _strange_of(request, has_content)
    asked = "strange", request.scheme, request.authority, has_content
    strange: list[str] | None = fields.known.get(asked)
    if strange is None:
        strange = fields.known[asked] = _strange_of(request, has_content)
    return strange


def _strange_of(request: RequestHead, has_content: bool) -> list[str]:
    scheme, authority = request.scheme, request.authority
    return [
        name
        for name, value in request.fields.items()
        if not (_is_known if len(value) <= LONGEST_REMEMBERED else _is_known.__wrapped__)(
            name, value, scheme, authority, has_content
        )
    ]


@lru_cache(maxsize=_REMEMBERED_LINES)
def _is_known(name: str, value: str, scheme: str, authority: str, has_content: bool) -> bool:
    name = name.lower()
    if name in _OF_CONTENT:
        return has_content
    if (agrees := _IN_THE_KEY.get(name)) is not None:
        return all(agrees(text.strip(" \t"), scheme, authority) for text in value.split(","))
    if (looks := _LOOKS.get(name)) is not None:
        return looks.fullmatch(value) is not None
    if name in KNOWN:
        return True
    return any(name.startswith(prefix) and looks.fullmatch(value) for prefix, looks in _LOOKS_OF_FAMILIES)
