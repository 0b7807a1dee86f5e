"""What no single value can be blamed for: values that are right by themselves and wrong together.

Called by ``edges.config_load``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from edgecache.edges.config import Admin, Server
from edgecache.edges.config_redis import EMBEDDED, MAX_ENCRYPTION_KEYS
from edgecache.edges.config_text import Spot

if TYPE_CHECKING:
    from edgecache.edges.config_draft import Draft

__all__ = ["check_together"]

_PAIRS: Final = (("server", "tls_key", "tls_cert"), ("origin", "key_file", "cert_file"))


def check_together(draft: Draft, path: str | None) -> None:
    """Blame what contradicts or misses something else. ``path`` is that of the file, for what is nowhere."""
    for table, key, certificate in _PAIRS:
        if (table, key) in draft.spots and (table, certificate) not in draft.spots:
            spot = draft.spots[table, key]
            draft.blame(spot, f"{key} is given without {certificate}", f"add {certificate} to [{table}]")
    _check_origin(draft, path)
    _check_listeners(draft)
    _check_redis(draft)
    for name in draft.groups:
        _check_token(draft, name)


def _check_origin(draft: Draft, path: str | None) -> None:
    urls, host = ("origin", "urls"), ("origin", "host")
    spot = draft.spots.get(urls) or Spot("", path or "origin")
    if urls not in draft.spots or draft.values.get(urls) == ():
        draft.blame(spot, "no origin is given", 'write urls = ["http://127.0.0.1:8000"] under [origin]')
    elif draft.values.get(host) == "origin" and not _names_one_host(draft.values.get(urls, ())):
        hint = 'write the name that they answer to, as in host = "www.example.org", or host = "keep"'
        draft.blame(draft.spots[host], "the origin's own name is not one name", hint)


def _names_one_host(urls: tuple[str, ...]) -> bool:
    return len({urlsplit(url).netloc for url in urls}) == 1 and urlsplit(urls[0]).scheme.startswith("http")


def _check_listeners(draft: Draft) -> None:
    public = draft.values.get(("server", "listen"), Server().listen)
    admin = draft.values.get(("admin", "listen"), Admin().listen)
    if public == admin and not public.endswith(":0"):
        spot = draft.spots.get(("admin", "listen")) or draft.spots["server", "listen"]
        draft.blame(spot, f"[server] and [admin] both listen on {public}", "give one of them another port")


def _check_redis(draft: Draft) -> None:
    workers, url, secret, keys = (
        ("server", "workers"),
        ("redis", "url"),
        ("redis", "secret"),
        ("redis", "encryption_keys"),
    )
    if draft.values.get(workers, 1) > 1 and url not in draft.spots:
        hint = f'write url = "{EMBEDDED}" under [redis], or start with --redis {EMBEDDED} or --redis URL'
        draft.blame(draft.spots[workers], "several workers need a Redis server to share purges", hint)
    if len(draft.values.get(keys, ())) > MAX_ENCRYPTION_KEYS:
        hint = "the current one and the previous one; what older ones encrypted is fetched anew"
        draft.blame(draft.spots[keys], f"more than {MAX_ENCRYPTION_KEYS} encryption_keys", hint)
    if draft.values.get(keys) and secret not in draft.spots:
        # Else a record that is not encrypted, and that anybody can make, would be believed beside those that are.
        draft.blame(draft.spots[keys], "encryption_keys are given without secret", "add secret to [redis]")


def _check_token(draft: Draft, name: str) -> None:
    spot, digest, everything = draft.groups[name], (name, "sha256"), (name, "all")
    if digest not in draft.spots:
        draft.blame(spot, f"[{name}] has no sha256", 'write what this prints: printf %s "$SECRET" | sha256sum')
    for other in itertools.takewhile(lambda one: one != name, draft.groups):
        if digest in draft.values and draft.values.get((other, "sha256")) == draft.values[digest]:
            draft.blame(draft.spots[digest], f"[{other}] has the same sha256", "give each token a secret of its own")
    limits = [one for one in ((name, "hosts"), (name, "tag_prefixes")) if one in draft.spots]
    limits = [one for one in limits if draft.values.get(one) != ()]
    if draft.values.get(everything):
        for limit in limits:
            draft.blame(draft.spots[limit], f"all = true lifts {limit[1]}", "leave one of the two out")
    elif not limits and (everything in draft.values or everything not in draft.spots):
        draft.blame(spot, f"[{name}] may purge nothing", "give it hosts, tag_prefixes, or all = true")
