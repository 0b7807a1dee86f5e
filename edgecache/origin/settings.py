"""What an operator may say about an origin. Durations in seconds, one line of prose per setting."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OriginSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSettings:
    """One origin: the servers that answer for it, and how patient this proxy is with them.

    Attributes:
        urls: addresses of equal servers: ``http://host:port``, ``https://host``, ``unix:/path/to.sock``; or one
            directory, ``file:///path/to/directory``, to which no other setting means anything.
        host: written as ``Host`` in every request; None keeps the authority that the client asked for.
        connect_timeout: for a free connection slot, name resolution, TCP and TLS together.
        first_byte_timeout: from the end of the request to the end of the final response's head.
        between_bytes_timeout: for the next bytes of a body, either way.
        max_connections: per server, busy and idle ones together.
        keepalive: how long an unused connection is kept; less than the origin's own patience
            (5 s is a common one), so that requests rarely meet a connection that is just being closed.
        ca_file: PEM file of the authorities to trust instead of the system's.
        cert_file: PEM file of the certificate shown to the origin, None for none.
        key_file: PEM file of its private key, None when ``cert_file`` contains it.
        unsafe_tls_no_verify: believe any certificate, from anybody.
    """

    urls: tuple[str, ...]
    host: str | None = None
    connect_timeout: float = 5.0
    first_byte_timeout: float = 30.0
    between_bytes_timeout: float = 30.0
    max_connections: int = 256
    keepalive: float = 4.0
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    unsafe_tls_no_verify: bool = False
