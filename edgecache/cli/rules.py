"""``edgecache rules``: what other rules would change.

``diff`` compares rules with those in force, on the traffic in an access log (``edges.replay``); nothing is sent.
Exit code 1 says that something would be stored which takes an unsafe setting: that is for somebody to look at.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edgecache.cli.mistakes import show_warnings
from edgecache.edges.config_load import ConfigMistakes, load
from edgecache.edges.config_text import Mistakes
from edgecache.edges.config_values import format_duration
from edgecache.edges.replay import Replay, read, replay
from edgecache.edges.rule_files import read_named
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.rules import Rule, RuleSet

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["rules"]

_CONFIG: Final = "edgecache.toml"
_FOUND: Final = 1


@click.group()
def rules() -> None:
    """Compare rules."""


@rules.command(epilog="Exit codes: 0 compared, 1 something is newly stored that takes an unsafe setting, 2 mistakes.")
@click.argument("new", metavar="NEW...", nargs=-1, required=True)
@click.option("--replay", "log", metavar="LOG", type=click.File(errors="replace"), required=True, help="Access log.")
@click.option("-c", "--config", "path", metavar="FILE", help=f"What is in force now.  [{_CONFIG}, if there is one]")
@click.option("--host", default="localhost", help="Host of requests in formats that do not tell.  [localhost]")
@click.option("--scheme", type=click.Choice(["http", "https"]), default="http", help="Scheme of all URLs.  [http]")
@click.option("--top", metavar="N", type=click.IntRange(0, 1000), default=10, help="How many of each kind.  [10]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def diff(new: tuple[str, ...], log: TextIO, path: str | None, host: str, scheme: str, top: int, as_json: bool) -> None:
    """Show what NEW rules (shipped sets by name, files by path) would change for the requests in an access log.

    JSON lines tell most; common and combined ones do not tell what was stored.
    """
    old = _in_force(path)
    others = RuleSet(old.base, _read(new), old.names)
    found = replay(read(log, host, scheme), old, others)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2))
    else:
        click.echo("\n".join(_lines(found, top)))
    raise SystemExit(_FOUND if found.risky else 0)


def _in_force(path: str | None) -> RuleSet:
    if path is None and not Path(_CONFIG).exists():
        return RuleSet(DEFAULT)
    config = load(path or _CONFIG, environ=os.environ)
    show_warnings(config.warnings)
    return config.rule_set()


def _read(words: Iterable[str]) -> list[Rule]:
    found = Mistakes()
    read_rules = [rule for _, file in read_named(words, found) for rule in file.rules]
    show_warnings(found.warnings)
    if found.mistakes:
        raise ConfigMistakes(found.mistakes)
    return read_rules


# What is shown.


def _lines(found: Replay, top: int) -> Iterator[str]:
    yield f"requests   {found.requests}, {found.keyed} of them GET or HEAD" + (
        f"; {found.unread} lines not understood" if found.unread else ""
    )
    yield f"keys       {found.distinct[0]} -> {found.distinct[1]}; {len(found.keys)} change"
    yield from _listed(found.keys, top, lambda keys: f"{keys[0]} -> {keys[1]}")
    yield f"lifetimes  {len(found.lifetimes)} change"
    yield from _listed(found.lifetimes, top, lambda one: f"{one[0]}  {_lifetime(one[1])} -> {_lifetime(one[2])}")
    yield f"stored     {len(found.storable)} newly, {len(found.unstorable)} no longer"
    yield from _listed(found.storable, top, lambda url: f"+ {url}")
    yield from _listed(found.unstorable, top, lambda url: f"- {url}")
    yield f"risky      {len(found.risky)}"
    yield from _listed(found.risky, top, lambda one: f"! {one[0]}  takes {one[1]}")
    before, after = (100 * hits / found.keyed if found.keyed else 0.0 for hits in found.hits)
    yield f"hits       {before:.1f} % -> {after:.1f} % ({after - before:+.1f} points), in a store without bounds"


def _listed(counted: Counter[Any], top: int, shown: Any) -> Iterator[str]:
    for one, times in counted.most_common(top):
        yield f"  {shown(one)}  ({times})"
    if len(counted) > top:
        yield f"  and {len(counted) - top} more"


def _lifetime(seconds: float | None) -> str:
    return "the origin's" if seconds is None else format_duration(seconds)


def _as_json(found: Replay) -> dict[str, Any]:
    return {
        "requests": found.requests,
        "keyed": found.keyed,
        "unread": found.unread,
        "distinct": {"old": found.distinct[0], "new": found.distinct[1]},
        "hits": {"old": found.hits[0], "new": found.hits[1]},
        "keys": [{"old": old, "new": new, "requests": times} for (old, new), times in found.keys.most_common()],
        "lifetimes": [
            {"url": url, "old": old, "new": new, "requests": times}
            for (url, old, new), times in found.lifetimes.most_common()
        ],
        "storable": [{"url": url, "requests": times} for url, times in found.storable.most_common()],
        "unstorable": [{"url": url, "requests": times} for url, times in found.unstorable.most_common()],
        "risky": [
            {"url": url, "setting": setting, "requests": times} for (url, setting), times in found.risky.most_common()
        ],
    }
