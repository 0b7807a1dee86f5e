"""Whoever lures a user to ``/account;x.css`` finds nothing of theirs in the cache afterwards.

The origin is permissive in several ways: whatever it is asked for, it answers with the page of the user who asks. The
rules are those of somebody who wants assets to be kept for long and thinks of nothing else, or the shipped ones.
``EDGECACHE_LONG=1`` tries 5 000 targets of each kind of origin instead of a few; ``EDGECACHE_SEED`` repeats a choice.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final
from urllib.parse import unquote

import pytest

from edgecache.edges.config_text import Mistakes
from edgecache.edges.rule_files import read_rule_file
from edgecache.edges.rulesets import shipped
from edgecache.http.glob import Glob
from edgecache.semantics.guards import extension_of, path_of, type_contradicts
from edgecache.semantics.policy import Strategy
from edgecache.semantics.rules import Match, Rule
from edgecache.semantics.versioned import By
from tests.scenarios.composed import edge_before
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, FakeClock, Received, Reply, ScriptedOrigin
from tests.semantics.build import request, response

LONG: Final = os.environ.get("EDGECACHE_LONG") == "1"
TARGETS: Final = {"naive": 5000, "shipped": 500} if LONG else {"naive": 40, "shipped": 10}
AT_ONCE: Final = 8

# What naive rules keep.

_ASSETS: Final = ("css", "js", "mjs", "png", "jpg", "gif", "ico", "svg", "webp", "woff2", "ttf", "pdf", "txt", "json")
_MORE: Final = ("map", "xml", "csv", "mp4", "zip", "gz", "exe", "docx", "wasm", "webmanifest", "avif", "bin", "swf")
EXTENSIONS: Final = frozenset(_ASSETS + _MORE)
DAY, YEAR = 86_400.0, 365 * 86_400.0
KEPT: Final = {"edge_ttl": DAY, "browser_ttl": DAY, "strategy": Strategy.IMMUTABLE}
NAIVE: Final = (
    Rule(name="versioned names", match=Match(versioned=frozenset(By)), settings={**KEPT, "edge_ttl": YEAR}),
    Rule(name="extensions", match=Match(extensions=EXTENSIONS), settings=KEPT),
    Rule(name="directories", match=Match(paths=(Glob("/static/**"), Glob("/assets/**"))), settings=KEPT),
    Rule(name="anywhere", match=Match(path_patterns=(re.compile(r"\.(css|js|png|json)"),)), settings=KEPT),
    Rule(name="everything", settings={"default_ttl": 600.0}),
)


def shipped_rules() -> tuple[Rule, ...]:
    """Return the rules of every shipped set, one after the other."""
    found = Mistakes()
    files = [read_rule_file(name, found) for name in shipped()]
    assert not found.mistakes
    return tuple(rule for file in files if file is not None for rule in file.rules)


# What is asked for.

_BEFORE: Final = (
    *("", "", "", ""),
    *("/static/..%2f", "/static/%2e%2e/", "/assets/../", "/static/..;/", "/static/%252e%252e%252f"),
)
_PAGES: Final = ("/account", "/account/", "/api/me", "/my/profile.php", "/")
_DELIMITERS: Final = (
    *(";", ":", ",", "!", "$", "/", "~", "@", "=", "*", "'", "(", "?", "&", ".", "-", "_", "//", "/;", "/./"),
    *("%00", "%0a", "%0d%0a", "%09", "%20", "%23", "%24", "%26", "%2e", "%2f", "%3a", "%3b", "%3f", "%40", "%5c"),
    *("%2500", "%250a", "%2523", "%252f", "%253b", "%253f", "%255c", "%25252f", "%ff", "%c0%af", "%", "%u002f"),
)
_NAMES: Final = ("x", "app-0123456789abcdef", "main.a41120f2d42398e3b625", "index-Dh9alFxD", "logo.5f3d8e2a", "a.b", "")
_DOTS: Final = (".", ".", ".", ".", "%2e", "%252e", "..")
_AFTER: Final = (
    *("", "", "", "", "?v=1", "?x.css", "?utm_source=a&b"),
    *(";a=b", "%00", "%3f", "/", ".", "%20", "%23a", "/..", "%2500"),
)


def crafted(chance: random.Random) -> str:
    """Return a target that looks like an asset to somebody, and like a page to somebody else."""
    plain = chance.choice(sorted(EXTENSIONS))
    extension = chance.choice((plain, plain, plain, plain.upper(), f"%{ord(plain[0]):02x}{plain[1:]}"))
    beginning = "".join(chance.choice(part) for part in (_BEFORE, _PAGES, _DELIMITERS, _NAMES, _DOTS))
    return beginning + extension + chance.choice(_AFTER)


# Who answers. Each takes the decoded path, and returns the fields.

Fields = Mapping[str, str]
Kind = Callable[[str], Fields]


def guessed(path: str) -> str:
    """The type that the last extension says, as servers tell it."""
    return mimetypes.guess_type(f"a.{extension_of(path)}")[0] or "text/html"


KINDS: Final[dict[str, Kind]] = {
    "pages": lambda _: {"Content-Type": "text/html; charset=utf-8"},
    "an interface": lambda _: {"Content-Type": "application/json"},
    "no type": lambda _: {},
    "a type for everything": lambda _: {"Content-Type": "application/octet-stream"},
    "guessed types": lambda path: {"Content-Type": guessed(path)},
    "guessed types, validators": lambda path: {
        "Content-Type": guessed(path),
        "ETag": '"1"',
        "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT",
    },
    "guessed types, over": lambda path: {"Content-Type": guessed(path), "Cache-Control": "max-age=0", "ETag": '"1"'},
    "guessed types, over at once": lambda path: {"Content-Type": guessed(path), "Expires": "0"},
    "guessed types, to be validated": lambda path: {
        "Content-Type": guessed(path),
        "Cache-Control": "max-age=0, must-revalidate",
        "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT",
    },
    "guessed types, for clients": lambda path: {"Content-Type": guessed(path), "Cache-Control": "immutable"},
    "a session each time": lambda path: {
        "Content-Type": guessed(path),
        "Cache-Control": "public, max-age=600",
        "Set-Cookie": "session=new",
    },
    # It says that anybody may have the page. Names that say another type are not kept even so.
    "public pages": lambda _: {"Content-Type": "text/html", "Cache-Control": "max-age=600"},
}

CONTROLS: Final = ("/everybody", "/everybody.bin", "/assets/everybody.css")
"""Of each kind of origin one of these at least is stored when nobody asks for it."""

USERS: Final[tuple[Mapping[str, str], ...]] = (
    {"Cookie": "session=alice"},
    {"Cookie": "session=bob; theme=dark"},
    {"Authorization": "Bearer carol"},
)


def of_whom(fields: Mapping[str, str]) -> bytes:
    """What an origin makes of a request's credentials."""
    said = re.search(r"session=(\w+)|Bearer (\w+)", f"{fields.get('cookie', '')} {fields.get('authorization', '')}")
    return b"page of " + ((said[1] or said[2]).encode() if said else b"nobody")


def personal(kind: Kind) -> Callable[[Received], Reply]:
    def script(request: Received) -> Reply:
        return Reply(200, kind(unquote(path_of(request.target))), of_whom(request.fields))

    return script


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("EDGECACHE_SEED", random.SystemRandom().getrandbits(32)))
    print(f"EDGECACHE_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(params=["naive", "shipped"])
def rules(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def edge(origin: ScriptedOrigin, clock: FakeClock, rules: str) -> AsyncIterator[RunningEdge]:
    chosen = NAIVE if rules == "naive" else shipped_rules()
    async with edge_before(origin.url, clock=clock, rules=chosen) as edge:
        yield edge


async def asked(edge: RunningEdge, targets: list[str], *users: Mapping[str, str]) -> dict[str, list[ClientResponse]]:
    """Let the users ask for each target, one after the other; some targets at a time."""
    waiting, answers = iter(targets), {}

    async def visit() -> None:
        for target in waiting:
            answers[target] = [await edge.fetch(target, fields=user) for user in users]

    await asyncio.gather(*(visit() for _ in range(AT_ONCE)))
    return answers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(1200)
async def test_nobody_gets_what_was_made_for_somebody_else(
    edge: RunningEdge, origin: ScriptedOrigin, chance: random.Random, rules: str, kind: str
) -> None:
    origin.script = personal(KINDS[kind])
    targets = sorted({crafted(chance) for _ in range(TARGETS[rules])})
    if kind == "public pages":
        page = response("Content-Type: text/html")
        targets = [target for target in targets if type_contradicts(request(target=target), page)]
    for target, answers in (await asked(edge, targets, *USERS)).items():
        for user, answer in zip(USERS, answers, strict=True):
            assert answer.status == 200, target
            assert answer.body == of_whom({name.lower(): value for name, value in user.items()}), target
    assert edge.parts.counters.stored == 0
    assert edge.parts.memory.statistics().responses == 0
    for target, (answer,) in (await asked(edge, [*targets, *CONTROLS], {})).items():
        assert answer.body == b"page of nobody", target
    if rules == "naive" and kind != "a session each time":
        assert edge.parts.counters.stored > 0, "where nothing is ever stored, nothing is shown"


async def test_a_fragment_is_no_part_of_a_target(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    for target in ("/account#x.css", "/account\\x.css", "/account x.css"):
        assert (await edge.fetch(target)).status == 400
    assert not origin.requests


@pytest.mark.parametrize("rules", ["naive"], indirect=True)
async def test_clients_are_told_that_it_is_theirs(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    """What a rule says of it, other caches on the way may believe."""
    origin.script = personal(KINDS["guessed types"])
    for user in USERS:
        answer = await edge.fetch("/account;x.css", fields=user)
        assert answer.fields["cache-control"] == "private, max-age=86400"
    origin.script = personal(KINDS["pages"])
    for user in USERS:
        assert (await edge.fetch("/account;y.css", fields=user)).fields["cache-control"] == "no-store"


async def test_what_an_origin_offers_to_everybody_everybody_gets(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    """With or without a delimiter: that the page is one user's, only the origin can know (RFC 9111 §5.2.2.7)."""
    origin.script = personal(lambda _: {"Content-Type": "text/html", "Cache-Control": "max-age=600"})
    for target in ("/account", "/account;x"):
        assert (await edge.fetch(target, fields=USERS[0])).body == b"page of alice"
        assert (await edge.fetch(target, fields=USERS[1])).body == b"page of alice"
    assert (await edge.fetch("/account;x.css", fields=USERS[0])).body == b"page of alice"
    assert (await edge.fetch("/account;x.css", fields=USERS[1])).body == b"page of bob"
