"""Who is at the other end of a connection, and what an origin is told about it (RFC 7239).

Theory
    Forwarding fields are statements about a client. Anybody can write them, so they are believed only
    when they come from a peer the operator named; from everybody else they are removed and replaced by what
    this connection shows. They travel in ``RequestHead.fields`` to the origin and select nothing.

Invariants
    * After ``forwarded`` the last element of ``Forwarded`` and of ``X-Forwarded-For`` is this server's own.
    * A scheme is ``http`` or ``https``: that of the connection, unless a trusted peer says otherwise.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from edgecache.errors import ConfigError
from edgecache.http.fields import is_token
from edgecache.http.message import FieldsView, Pair

__all__ = ["FORWARDING", "Peer", "TrustedPeers", "client_scheme", "forwarded"]

UNIX: Final = "unix"
UNKNOWN: Final = "unknown"
FORWARDING: Final = frozenset(
    {
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        # what other proxies call them
        *("client-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "x-original-forwarded-for"),
        *("cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "cf-ipcountry", "cf-visitor"),
        *("x-forwarded-scheme", "x-scheme", "x-forwarded-ssl", "x-forwarded-server"),
    }
)
_SCHEMES: Final = frozenset({"http", "https"})
_FORWARDED_PROTO: Final = re.compile(r'(?:^|[;,])[ \t]*proto=(?:"([^"\\]*)"|([^;,"\s]*))', re.IGNORECASE)

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        name: IP address, ``unix``, or ``unknown``.
        trusted: whether its forwarding fields are believed.
        scheme: scheme of the connection itself.
        may_purge: whether PURGE is taken from it.
    """

    name: str
    trusted: bool
    scheme: str
    may_purge: bool = False


class _Peers:
    """Networks, addresses, and perhaps whoever comes by a unix socket."""

    def __init__(self, names: Iterable[str], what: str) -> None:
        """Raise ``ConfigError`` when one is neither a network, nor an address, nor ``unix``."""
        names = tuple(names)
        self.unix: Final = UNIX in names
        self._networks: Final = tuple(_network(name, what) for name in names if name != UNIX)

    def __contains__(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._networks)


class TrustedPeers:
    """The networks whose forwarding fields are believed, and those that may send PURGE."""

    def __init__(self, trusted: Iterable[str], purge_from: Iterable[str] = ()) -> None:
        """Raise ``ConfigError`` when one is neither a network, nor an address, nor ``unix``."""
        self._trusted: Final = _Peers(trusted, "trusted peer")
        self._purgers: Final = _Peers(purge_from, "peer to take PURGE from")

    def identify(self, transport: asyncio.BaseTransport) -> Peer:
        """Return who is at the other end of a new connection."""
        scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        peername = transport.get_extra_info("peername")
        if not peername and peername != "":  # it was gone before anybody asked
            return Peer(UNKNOWN, False, scheme)
        if not isinstance(peername, tuple):
            return Peer(UNIX, self._trusted.unix, scheme, self._purgers.unix)
        address = ipaddress.ip_address(peername[0].partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return Peer(str(address), address in self._trusted, scheme, address in self._purgers)


def _network(name: str, what: str) -> _Network:
    try:
        return ipaddress.ip_network(name)
    except ValueError as error:
        raise ConfigError(f"{what} {name!r}: {error}", hint="write a network such as 10.0.0.0/8") from None


def client_scheme(fields: FieldsView, peer: Peer) -> str:
    """Return the scheme of the target URI (RFC 9112 §3.3) of a request received from ``peer``.

    Of several statements the last one counts: it was written by the peer itself.
    """
    if not peer.trusted:
        return peer.scheme
    stated = _FORWARDED_PROTO.findall(", ".join(fields.getall("Forwarded", ())))
    candidates = ["".join(stated[-1])] if stated else []
    candidates += [value.rpartition(",")[2].strip() for value in fields.getall("X-Forwarded-Proto", ())[-1:]]
    return next((scheme for scheme in map(str.lower, candidates) if scheme in _SCHEMES), peer.scheme)


def forwarded(pairs: list[Pair], peer: Peer, authority: str, scheme: str) -> list[Pair]:
    """Return the field lines with forwarding fields that are true as far as this server knows.

    From an untrusted peer nothing is kept. To a trusted peer's statements this hop is added, and its
    ``X-Forwarded-Proto`` and ``X-Forwarded-Host`` stay when it sent them.
    """
    own = _own_fields(peer, authority, scheme)
    if not peer.trusted:
        return [*[pair for pair in pairs if pair[0].lower() not in FORWARDING], *own]
    result = list(pairs)
    for name, value in own:
        lines = [line for key, line in result if key.lower() == name.lower()]
        if lines and name in _APPENDED:
            result = [pair for pair in result if pair[0].lower() != name.lower()]
            result.append((name, ", ".join([*lines, value])))
        elif not lines:
            result.append((name, value))
    return result


_APPENDED: Final = frozenset({"Forwarded", "X-Forwarded-For"})


@lru_cache(maxsize=1024)
def _own_fields(peer: Peer, authority: str, scheme: str) -> tuple[Pair, ...]:
    nameless = peer.name in (UNIX, UNKNOWN)
    node = UNKNOWN if nameless else f"[{peer.name}]" if ":" in peer.name else peer.name
    statement = f"for={_quoted(node)};host={_quoted(authority)};proto={scheme}"
    seen = () if nameless else (("X-Forwarded-For", peer.name),)
    return (("Forwarded", statement), *seen, ("X-Forwarded-Proto", scheme), ("X-Forwarded-Host", authority))


def _quoted(value: str) -> str:
    """Return a value as RFC 7239 §4 wants it: a token, or quoted (§6: IPv6 and ports always are)."""
    return value if is_token(value) else f'"{value}"'
