"""Where an origin server is, and how to reach it: configuration only, never a request's words.

Called when the configuration is read; every mistake is a ``ConfigError`` then, none is left for later.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from edgecache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgecache.origin.settings import OriginSettings

__all__ = ["Address", "directory_of", "parse_address", "tls_context"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_UNIX_SCHEMES: Final = ("unix", "http+unix")
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")
_FORMS: Final = "write http://host:port, https://host:port, unix:/path/to.sock or file:///path/to/directory"
_DIRECTORY_FORM: Final = "write three slashes and an absolute path, as in file:///srv/dist"


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or the ``path`` of a socket in the file system. ``tls`` tells ``https``.

    ``directory`` is there instead of all of them when no server is asked, but files are served.
    """

    url: str
    host: str = ""
    port: int = 0
    tls: bool = False
    path: str | None = None
    directory: str | None = None


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
    if parts.scheme == "file":
        return _directory_address(url)
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


def _directory_address(url: str) -> Address:
    """RFC 8089 §2, without a host: another machine's files cannot be had, and this one needs no name."""
    authority, slash, path = url.partition(":")[2].removeprefix("//").partition("/")
    directory = "/" + os.fsdecode(unquote_to_bytes(path)).strip("/")
    if authority or not slash or "\0" in directory or not url.isprintable():
        raise ConfigError(f"{url!r}: not the path of a directory on this machine", hint=_DIRECTORY_FORM)
    if directory == "/":
        raise ConfigError(f"{url!r}: that is the whole file system", hint=_DIRECTORY_FORM)
    return Address(url, directory=directory)


def directory_of(urls: Iterable[str]) -> str | None:
    """Return the directory that is this origin, None when servers are.

    Raise ``ConfigError`` for a URL that is none, and for a directory beside anything else: which of two answers is
    right would be a matter of luck.
    """
    addresses = [parse_address(url) for url in urls]
    served = [address for address in addresses if address.directory is not None]
    if served and len(addresses) > 1:
        hint = f'leave one of them, as in urls = ["{served[0].url}"]'
        raise ConfigError("a directory is the only origin, or none", hint=hint)
    return served[0].directory if served else None


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
