"""Numbers of the public server, each with its unit and its reason. Immutable: a changed setting is a new object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ServerSettings"]

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Limits and deadlines of one listener. Durations are seconds, sizes bytes.

    Attributes:
        listen: ``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:PATH``; port 0 lets the system choose.
        tls_cert: file with the certificate chain, PEM; None speaks plain HTTP.
        tls_key: file with its private key, PEM; None when it is in ``tls_cert``.
        reuse_port: let several processes listen on the same port (``SO_REUSEPORT``).
        backlog: connections the system keeps until they are accepted.
        max_target: longest request target; longer is 414.
        max_header_bytes: all field lines of a request together; more is 431.
        max_header_fields: field lines of a request; more is 431.
        max_field: one field line, name and value; longer is 431.
        max_body: content of a request; more is 413.
        header_timeout: a head has to be complete this long after its first byte, the first one of a
            connection this long after it was accepted.
        keepalive_timeout: how long a connection may wait for its next request.
        body_min_rate: bytes per second a client has to send of a request's content ...
        body_rate_window: ... on average over this long, counting only time spent waiting for it.
        send_idle_timeout: how long a client may leave bytes unread that are ready for it.
        send_timeout: how long one response may wait for its client altogether.
        drain_timeout: how long running responses may take to finish when the server stops.
        trusted_peers: networks (``10.0.0.0/8``), addresses or ``unix``, whose forwarding fields are believed.
        purge_from: the same, for those who may send PURGE. What they say about others is not looked at: of a proxy
            in this list, every client may.
        default_authority: target host of HTTP/1.0 requests that name none; None refuses them.
    """

    listen: str = "127.0.0.1:8080"
    tls_cert: str | None = None
    tls_key: str | None = None
    reuse_port: bool = False
    backlog: int = 1024
    max_target: int = 8190
    max_header_bytes: int = 32 * _KIB
    max_header_fields: int = 64
    max_field: int = 8 * _KIB
    max_body: int = 10 * _MIB
    header_timeout: float = 10.0
    keepalive_timeout: float = 60.0
    body_min_rate: int = 1 * _KIB
    body_rate_window: float = 10.0
    send_idle_timeout: float = 60.0
    send_timeout: float = 600.0
    drain_timeout: float = 30.0
    trusted_peers: tuple[str, ...] = ()
    purge_from: tuple[str, ...] = ()
    default_authority: str | None = None
