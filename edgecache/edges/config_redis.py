"""Kinds of values of ``[redis]``: its URL, its secrets, its namespace.

Theory
    What can hold a password or is one hides it: an error says what is wrong without repeating the value, and what
    people are shown (``check --dump``, a ``repr``) has ``***`` in its place. The grammars are narrower than those of
    the client's library, so that a mistake is found when the configuration is read, and not when the server is needed.

    The grammar of a namespace and the length of a secret belong to ``stores.redis_layout`` and ``stores.seal``, which
    this floor does not import, and what a URL means is said in ``redis_client``; tests have them agree.

Callers: ``edges.config_tables``, ``edges.config_checks``, and whoever shows somebody a URL.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

from edgecache.edges.config_values import Unreadable, kind_of_text, parse_address

__all__ = [
    "EMBEDDED",
    "HIDDEN",
    "MAX_ENCRYPTION_KEYS",
    "MIN_SECRET",
    "NAMESPACE",
    "REDIS",
    "SECRET",
    "without_password",
]

EMBEDDED: Final = "embedded"
"""Stands for a URL: a server of this machine's own, started and stopped with the edge."""

HIDDEN: Final = "***"
"""What people are shown for a secret. It is too short to be one, so a dump cannot be run by accident."""

MIN_SECRET: Final = 16
"""Shortest secret, bytes, as ``stores.seal`` has it."""

MAX_ENCRYPTION_KEYS: Final = 2
"""The current one and the previous one."""

_URL: Final = re.compile(
    r"([a-z+]+)://"
    r"(?:([^@/?#]*)@)?"  # user:password
    r"([^@/?#]*)"  # hosts
    r"(/[^?#]*)?"
    r"(?:\?([^#]*))?"
)
_TLS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_OPTIONS: Final = {
    "redis": frozenset[str](),
    "rediss": _TLS,
    "unix": frozenset({"db"}),
    "redis+cluster": frozenset[str](),
    "rediss+cluster": _TLS,
    "redis+sentinel": frozenset[str](),
    "rediss+sentinel": _TLS,
}
"""Scheme -> what may stand after the question mark. Passwords stand before the host, where they are hidden."""

_DB: Final = re.compile(r"[0-9]{1,5}")
_DATABASE: Final = re.compile(rf"/?|/{_DB.pattern}")
_NOTHING: Final = re.compile(r"/?")
_SERVICE: Final = re.compile(rf"/[A-Za-z0-9_.-]+(?:/{_DB.pattern})?")
_PATHS: Final = {
    "redis": _DATABASE,
    "rediss": _DATABASE,
    "unix": re.compile(r"/.*[^/]"),
    "redis+cluster": _NOTHING,
    "rediss+cluster": _NOTHING,
    "redis+sentinel": _SERVICE,
    "rediss+sentinel": _SERVICE,
}
_SHAPES: Final = {
    "redis": "redis://HOST:PORT, redis://USER:PASSWORD@HOST:PORT/DB",
    "rediss": "rediss://HOST:PORT, rediss://USER:PASSWORD@HOST:PORT/DB?ssl_ca_certs=/PATH",
    "unix": "unix:///PATH, unix://USER:PASSWORD@/PATH?db=DB",
    "redis+cluster": "redis+cluster://HOST:PORT, redis+cluster://USER:PASSWORD@HOST:PORT",
    "rediss+cluster": "rediss+cluster://HOST:PORT?ssl_ca_certs=/PATH",
    "redis+sentinel": "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, with /DB after it if it is not 0",
    "rediss+sentinel": "rediss+sentinel://HOST:PORT,HOST:PORT/SERVICE?ssl_ca_certs=/PATH",
}
_SCHEMES_HINT: Final = f'write "{EMBEDDED}", or a URL that begins with {", ".join(f"{one}://" for one in _OPTIONS)}'
_ENCODING_HINT: Final = "in a password, / is written %2F, @ %40, ? %3F, # %23, % %25"

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _redis(text: str) -> str:
    """A URL of a Redis server, or ``embedded``. What is none may hold a password, so it is not repeated."""
    if text == EMBEDDED:
        return text
    found = _URL.fullmatch(text)
    scheme = text.partition("://")[0]
    if scheme not in _OPTIONS:
        raise Unreadable("not the URL of a Redis server", _SCHEMES_HINT)
    if found is None or not text.isprintable() or " " in text:
        raise Unreadable(f"not a URL of the form {_SHAPES[scheme]}", _ENCODING_HINT)
    _, _, hosts, path, query = found.groups(default="")
    if not _are_hosts(scheme, hosts) or not _PATHS[scheme].fullmatch(path):
        raise Unreadable(f"not a URL of the form {_SHAPES[scheme]}", _ENCODING_HINT)
    _check_options(scheme, query)
    return text


def _are_hosts(scheme: str, text: str) -> bool:
    """Whether it names as many servers as the scheme takes: none, one, or any number."""
    if scheme == "unix":
        return not text
    hosts = text.split(",")
    return all(map(_is_host, hosts)) and (len(hosts) == 1 or scheme.endswith("+sentinel"))


def _is_host(text: str) -> bool:
    """Whether it is ``HOST`` or ``HOST:PORT``; a URL's port can be left out, an address to listen on has it."""
    bare = text.endswith("]") or ":" not in text
    try:
        host, port = parse_address(f"{text}:6379" if bare else text)
    except Unreadable:
        return False
    return bool(host) and port > 0


def _check_options(scheme: str, query: str) -> None:
    known = _OPTIONS[scheme]
    options = parse_qsl(query, keep_blank_values=True)
    if any(key not in known or not value for key, value in options):
        hint = f"it can have {', '.join(sorted(known))}" if known else "leave out the ? and what follows it"
        raise Unreadable(f"an option of a URL with {scheme}:// that is not known", hint)
    if not _DB.fullmatch(dict(options).get("db", "0")):
        raise Unreadable("db is the number of a database", _SHAPES[scheme])


def without_password(url: str) -> str:
    """Return a URL as people may see it: with ``***`` for what stands before the ``@``, the user's name aside."""
    scheme, separator, rest = url.partition("://")
    credentials, at, address = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{f'{user}:' if colon else ''}{HIDDEN}@{address}"


def _secret(text: str) -> str:
    if not text.isprintable():
        raise Unreadable("not printable", "there may be a newline at its end")
    if len(text.encode()) < MIN_SECRET:
        raise Unreadable(f"fewer than {MIN_SECRET} bytes", "this prints a good one: openssl rand -base64 32")
    return text


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise Unreadable("not a name that keys can begin with", "1 to 64 letters, digits, _ . -")
    return text


REDIS: Final = kind_of_text(_redis, "the URL of a Redis server", without_password)
SECRET: Final = kind_of_text(_secret, "a secret", lambda _: HIDDEN)
NAMESPACE: Final = kind_of_text(_namespace, "a name")
