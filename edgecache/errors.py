"""Errors, one tree: each says whose fault it is, which status a client sees, and whether a retry can help.

Rules of this file
    * An error is translated once, at the door of the floor it crosses; nobody re-wraps one of these.
    * ``status`` is what a client of the proxy is answered when the error ends its request.
    * ``retryable`` is advice to whoever sent the request that failed, never an order.
    * A store's failure never reaches a client: the engine turns ``StoreError`` into a miss.
"""

from __future__ import annotations

__all__ = ["AssetError", "ClientError", "ConfigError", "EdgecacheError", "OriginError", "OriginTimeout", "StoreError"]


class EdgecacheError(Exception):
    """Base of every error that edgecache raises on purpose."""

    status: int = 500
    retryable: bool = False


class ConfigError(EdgecacheError):
    """The operator's input is wrong. ``where`` is ``file:line:column``, empty when there is no file."""

    def __init__(self, message: str, *, where: str = "", line: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.line = line
        self.hint = hint


class AssetError(EdgecacheError):
    """A template names a file that nobody built; the message says which names are like it."""


class ClientError(EdgecacheError):
    """The client sent something that cannot be served; the connection is closed after the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class OriginError(EdgecacheError):
    """The origin could not be reached, or did not speak HTTP: 502 (RFC 9110 §15.6.3)."""

    status = 502
    retryable = True


class OriginTimeout(OriginError):
    """The origin took too long to connect, to answer or to go on: 504 (RFC 9110 §15.6.5)."""

    status = 504


class StoreError(EdgecacheError):
    """A store could not do what it was asked; the engine goes on as if nothing were stored."""
