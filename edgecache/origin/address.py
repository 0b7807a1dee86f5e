"""Where an origin server is, and how to reach it: configuration only, never a request's words.

Called when the configuration is read; every mistake is a ``ConfigError`` then, none is left for later.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from edgecache.origin.settings import OriginSettings

__all__ = ["Address", "parse_address", "tls_context"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_UNIX_SCHEMES: Final = ("unix", "http+unix")
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")
_FORMS: Final = "write http://host:port, https://host:port or unix:/path/to.sock"


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or the ``path`` of a socket in the file system. ``tls`` tells ``https``."""

    url: str
    host: str = ""
    port: int = 0
    tls: bool = False
    path: str | None = None


def parse_address(url: str) -> Address:
    """Return the address that ``url`` names; raise ``ConfigError`` when it names more or less than one."""
    try:
        parts = urlsplit(url)
        port = parts.port if parts.scheme in _DEFAULT_PORTS else None
    except ValueError as error:
        raise ConfigError(f"{url!r} is not an origin: {error}", hint=_FORMS) from error
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ConfigError(f"{url!r}: an origin has no query and no fragment", hint=_FORMS)
    if parts.scheme in _UNIX_SCHEMES:
        return _unix_address(url, parts.netloc or parts.path)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"{url!r}: unknown kind of origin", hint=_FORMS)
    if parts.path not in ("", "/"):
        raise ConfigError(f"{url!r}: an origin has no path; requests keep theirs", hint=_FORMS)
    if "@" in parts.netloc:
        raise ConfigError(f"{url!r}: an origin has no user name", hint=_FORMS)
    if not parts.hostname or not _HOST.fullmatch(parts.hostname) or port == 0:
        raise ConfigError(f"{url!r}: not a host and port", hint=_FORMS)
    return Address(url, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == "https")


def _unix_address(url: str, quoted: str) -> Address:
    path = unquote(quoted)
    if not path.startswith("/") or "\0" in path:
        raise ConfigError(f"{url!r}: the path of a socket is absolute", hint=_FORMS)
    return Address(url, path=path)


def tls_context(settings: OriginSettings) -> ssl.SSLContext:
    """Return how to speak TLS with the servers; raise ``ConfigError`` when a file does not serve."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        raise ConfigError(f"TLS files of the origin: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if settings.unsafe_tls_no_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
