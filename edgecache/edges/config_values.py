"""Kinds of values that people write in a configuration: how each is spelled, read, checked and written again.

Theory
    A setting is a type, a kind and a line of prose. The kind knows what may stand in a file (``read``), in
    an environment variable or on a command line (``read_word``), how to write a value so that reading gives it
    back (``write``), and how to say what it expects. A value that cannot be read raises ``Unreadable``, which
    tells what is wrong and what to write instead; nothing else is raised.

    Units: sizes are bytes, durations seconds. ``k`` ``m`` ``g`` ``t`` alone and ``KiB`` … are powers of 1024, as
    in nginx and Varnish; ``KB`` … are powers of 1000.

Callers: ``edges.config`` (which settings there are), ``edges.config_load`` (reading them), the commands.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgecache.errors import ConfigError
from edgecache.origin.address import parse_address as origin_address

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ADDRESS",
    "AUTHORITY",
    "COUNT",
    "DIGEST",
    "DURATION",
    "HOSTS",
    "PEER",
    "SHARE",
    "SIZE",
    "SWITCH",
    "TEXT",
    "TOKEN",
    "URL",
    "Kind",
    "Setting",
    "Unreadable",
    "choice",
    "format_duration",
    "format_size",
    "kind_of_text",
    "parse_address",
    "parse_duration",
    "parse_size",
]


class Unreadable(ValueError):
    """A value that is not of its kind; ``hint`` says what to write instead, empty when the kind's example does."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    Attributes:
        noun: what is expected, as in "expected a duration".
        read: value as TOML gave it -> value as the program uses it; raises ``Unreadable``.
        read_word: the same from a text, as environments and command lines have it.
        write: value -> TOML text.
        hide: value -> the same without what is secret in it; with one, what could not be read is never repeated.
    """

    noun: str
    read: Callable[[object], Any]
    read_word: Callable[[str], Any]
    write: Callable[[Any], str]
    hide: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its kind, what it is for, an example as written in TOML, and its bounds (inclusive).

    ``many`` makes it a list of that kind, held as a tuple.
    """

    kind: Kind
    prose: str
    example: str
    at_least: float | None = None
    at_most: float | None = None
    many: bool = False

    def check_bounds(self, value: Any) -> None:
        """Raise ``Unreadable`` when a value lies outside the bounds."""
        if self.at_least is not None and value < self.at_least:
            raise Unreadable(f"{self.kind.write(value)} is less than {self.kind.write(self.at_least)}")
        if self.at_most is not None and value > self.at_most:
            raise Unreadable(f"{self.kind.write(value)} is more than {self.kind.write(self.at_most)}")

    def write(self, value: Any) -> str:
        """Return a value as TOML."""
        if self.many:
            return f"[{', '.join(map(self.kind.write, value))}]"
        return self.kind.write(value)

    def hidden(self, value: Any) -> Any:
        """Return a value as people may see it."""
        if self.kind.hide is None or value is None:
            return value
        return tuple(map(self.kind.hide, value)) if self.many else self.kind.hide(value)


# Sizes and durations.

_KIBI: Final = 1024
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)
_STEPS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE_HINT: Final = "units are KiB MiB GiB TiB (or k m g t), powers of 1024, and KB MB GB TB, powers of 1000"

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw]?)", re.IGNORECASE | re.ASCII)
_SECONDS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION_HINT: Final = "units are ms s m h d w, as in 30s or 1h30m; a bare number is seconds"

_DIGITS_MAX: Final = 32  # no honest size or duration is longer; also keeps int() and float() cheap and finite


def parse_size(text: str) -> int:
    """Return a size such as ``256MiB`` in bytes; raise ``Unreadable``."""
    found = _SIZE.fullmatch(text.strip()) if len(text) <= _DIGITS_MAX else None
    if not found or (found[3] and found[3].lower() == "ib" and not found[2]):
        raise Unreadable(f"{_shown(text)} is not a size", _SIZE_HINT)
    base = 1000 if (found[3] or "").lower() == "b" else _KIBI
    factor: int = base ** _STEPS[found[2].lower()]
    return round(float(found[1]) * factor) if "." in found[1] else int(found[1]) * factor


def format_size(size: float) -> str:
    """Return a size with the largest unit that divides it: ``256MiB``; ``1000`` when none does."""
    size = int(size)
    for step, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % _KIBI**step == 0:
            return f"{size // _KIBI**step}{unit}"
    return str(size)


def parse_duration(text: str) -> float:
    """Return a duration such as ``1h30m`` in seconds; raise ``Unreadable``."""
    stripped = text.strip()
    parts = _DURATION.findall(stripped) if len(text) <= _DIGITS_MAX else []
    bare = any(not unit for _, unit in parts) and len(parts) > 1
    if not parts or bare or _DURATION.sub("", stripped).strip():
        raise Unreadable(f"{_shown(text)} is not a duration", _DURATION_HINT)
    return math.fsum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Return a duration with the largest unit that divides it: ``5m``, ``1.5s``."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{int(seconds) if seconds == int(seconds) else seconds}s"


def _read_size(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Unreadable(f"{_shown(value)} is not a size", _SIZE_HINT)


def _read_duration(value: object) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    return _number(value, "a duration", _DURATION_HINT)


def _number(value: object, noun: str, hint: str = "") -> float:
    """A finite number; TOML also has ``inf`` and ``nan``, and integers larger than any float."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    raise Unreadable(f"{_shown(value)} is not {noun}", hint)


# Numbers, switches and texts.


def _read_count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unreadable(f"{_shown(value)} is not a whole number")
    return value


def _count_word(text: str) -> int:
    if not re.fullmatch(rf"-?[0-9]{{1,{_DIGITS_MAX}}}", text.strip()):
        raise Unreadable(f"{_shown(text)} is not a whole number")
    return int(text)


def _share_word(text: str) -> float:
    try:
        return _number(float(text), "a number")
    except ValueError:
        raise Unreadable(f"{_shown(text)} is not a number") from None


def _read_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unreadable(f"{_shown(value)} is neither true nor false", "write true or false, without quotes")
    return value


def _switch_word(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.strip().lower() not in known:
        raise Unreadable(f"{_shown(text)} is neither true nor false")
    return known[text.strip().lower()]


def kind_of_text(check: Callable[[str], str], noun: str, hide: Callable[[str], str] | None = None) -> Kind:
    """Return a kind of text; ``check`` returns it as the program uses it, or raises ``Unreadable``."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            given = "" if hide else f"{_shown(value)} is "
            raise Unreadable(f"{given}not a text", "texts stand in double quotes")
        return check(value)

    return Kind(noun, read, check, lambda value: json.dumps(value, ensure_ascii=False), hide)


def _not_empty(text: str) -> str:
    if not text or not text.isprintable():
        raise Unreadable(f"{_shown(text)} is empty or not printable")
    return text


def choice(*words: str) -> Kind:
    """Return a kind of which only these words are."""

    def check(text: str) -> str:
        if text not in words:
            raise Unreadable(f"{_shown(text)} is none of {', '.join(words)}")
        return text

    return kind_of_text(check, f"one of {', '.join(words)}")


_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_TCHAR_HINT: Final = "a token is made of letters, digits and ! # $ % & ' * + - . ^ _ ` | ~ (RFC 9110 §5.6.2)"


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise Unreadable(f"{_shown(text)} is not a token", _TCHAR_HINT)
    return text


_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST_HINT: Final = 'it is what this prints: printf %s "$SECRET" | sha256sum'


def _digest(text: str) -> str:
    """A SHA-256 digest. What is none may be the secret itself, so it is not repeated."""
    if not _DIGEST.fullmatch(text.lower()):
        raise Unreadable("not 64 hexadecimal digits", _DIGEST_HINT)
    return text.lower()


# Addresses.

_PORT_MAX: Final = 65_535
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?")
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_HOST_PATTERN: Final = re.compile(r"(?:[a-z0-9._*?-]+|\[[0-9a-f:.*]+\])(?::[0-9*]{1,5})?")
_EVERY_INTERFACE: Final = "name the interface: 127.0.0.1 for this machine only, * for every one"


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``[IPv6]:PORT``; raise ``Unreadable``.

    Port 0 lets the system choose; the host of ``*:PORT`` is empty, for every interface.
    """
    found = _AUTHORITY.fullmatch(text)
    if not found:
        raise Unreadable(f"{_shown(text)} is not HOST:PORT", "IPv6 addresses stand in brackets: [::1]:8080")
    host, port = found[1], found[2]
    if port is None:
        hint = f"127.0.0.1:{host}" if host.isdecimal() else f"{host}:8080"
        raise Unreadable(f"{_shown(text)} is not HOST:PORT", f'write "{hint}"')
    if not host:
        raise Unreadable(f"{_shown(text)} names no interface", _EVERY_INTERFACE)
    if int(port) > _PORT_MAX:
        raise Unreadable(f"port {port} is more than {_PORT_MAX}")
    return "" if host == "*" else _host(host, text), int(port)


def _host(host: str, text: str) -> str:
    """A host without its brackets."""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise Unreadable(f"{_shown(text)} holds no IPv6 address between its brackets") from None
    if not _HOST.fullmatch(host):
        raise Unreadable(f"{_shown(text)} holds no host name or address before the colon")
    return host


def _address(text: str) -> str:
    if text.startswith("unix:"):
        return _socket(text)
    parse_address(text)
    return text


def _authority(text: str) -> str:
    """A host with or without a port, as in ``Host``."""
    found = _AUTHORITY.fullmatch(text)
    if not found or not found[1] or (found[2] and int(found[2]) > _PORT_MAX):
        raise Unreadable(f"{_shown(text)} is not a host name with or without a port")
    _host(found[1], text)
    return text.lower()


def _hosts(text: str) -> str:
    """A host, or a glob over hosts, as selectors of a purge have them: without the ports 80 and 443."""
    if "**" in text or not _HOST_PATTERN.fullmatch(text.lower()):
        raise Unreadable(f"{_shown(text)} is not a host or a pattern of hosts", "* stands for any part: *.example.org")
    return text.lower().removesuffix(":80").removesuffix(":443")


def _peer(text: str) -> str:
    """A network, an address, or ``unix`` for whoever connects over a socket in the file system."""
    if text == "unix":
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        hint = _masked(text)
        raise Unreadable(f"{_shown(text)} is not an address or a network", f'write "{hint}"' if hint else "") from None


def _masked(text: str) -> str:
    """The network that an address with host bits belongs to; empty when it is no address at all."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return ""


def _url(text: str) -> str:
    try:
        origin_address(text)
    except ConfigError as error:
        raise Unreadable(error.message, error.hint) from error
    return text


def _socket(text: str) -> str:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise Unreadable(f"{_shown(text)} names no socket", 'write an absolute path, as in "unix:/run/app.sock"')
    return f"unix:{path}"


def _shown(value: object) -> str:
    """A value as people wrote it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _write_size(size: float) -> str:
    text = format_size(size)
    return text if text[-1].isdecimal() else f'"{text}"'


def _write_duration(seconds: float) -> str:
    return f'"{format_duration(seconds)}"' if seconds == int(seconds) else repr(seconds)


SIZE: Final = Kind("a size in bytes", _read_size, parse_size, _write_size)
DURATION: Final = Kind("a duration", _read_duration, parse_duration, _write_duration)
COUNT: Final = Kind("a whole number", _read_count, _count_word, str)
SHARE: Final = Kind("a number", lambda value: _number(value, "a number"), _share_word, str)
SWITCH: Final = Kind("true or false", _read_switch, _switch_word, lambda value: "true" if value else "false")
TEXT: Final = kind_of_text(_not_empty, "a text")
TOKEN: Final = kind_of_text(_token, "a token")
ADDRESS: Final = kind_of_text(_address, "HOST:PORT or unix:/path")
AUTHORITY: Final = kind_of_text(_authority, "a host name with or without a port")
DIGEST: Final = kind_of_text(_digest, "a SHA-256 digest", str)  # a digest gives nothing away
HOSTS: Final = kind_of_text(_hosts, "a host or a pattern of hosts")
PEER: Final = kind_of_text(_peer, "an address, a network or unix")
URL: Final = kind_of_text(_url, "the URL of an origin")
