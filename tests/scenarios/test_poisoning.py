"""What is neither in the key nor in Vary reaches nobody else, whatever an attacker sends and whatever rules there are.

The origin is the worst there is: it writes everything it sees into its answer, and lets everybody keep that. First an
attacker asks; then others ask for the same, with requests as browsers send them. What they get has to be what they
would have been told themselves, but for fields that everybody sends and the origin has to name in Vary (``LEFT``), and
a word in those that tell requests apart. docs/guards.md argues about them. ``EDGECACHE_LONG=1`` tries more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecache.http.glob import Glob
from edgecache.http.message import FieldsView, Pair, fields_of
from edgecache.http.negotiation import selecting_value
from edgecache.semantics.policy import QueryKey
from edgecache.semantics.rules import Match, Rule
from edgecache.semantics.unkeyed import FREE
from tests.scenarios.composed import edge_before, settled
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, Received, Reply, ScriptedOrigin
from tests.semantics.test_unkeyed import POISONOUS, USUAL

EXAMPLES: Final = 3000 if os.environ.get("EDGECACHE_LONG") == "1" else 150
MARK: Final = "evil"

LEFT: Final = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "accept-language", "authorization", "cookie", "from"),
        *("origin", "range", "if-range", "referer", "user-agent", "available-dictionary", "dictionary-id"),
    }
)
"""Fields of which any value may reach the origin and select nothing, lower case: left to the origin and its Vary."""

WORDS: Final = frozenset(
    {
        *("x-request-id", "x-correlation-id", "x-trace-id", "x-amzn-trace-id", "x-amz-cf-id", "x-cloud-trace-context"),
        *("cf-ray", "cf-ew-via", "uber-trace-id", "newrelic", "traceparent", "tracestate", "baggage", "sentry-trace"),
        *("b3", "via", "cdn-loop", "alt-used", "cache-control", "x-forwarded-server"),
    }
)
WORDY_FAMILIES: Final = ("sec-", "x-b3-", "x-datadog-")
"""Fields in which an attacker's word may reach the origin, but no markup. In every other one nothing of theirs."""

HARMLESS: Final = re.compile(r"[\w.,:;=/@+*%~|?!{}\"()\[\]& #-]*", re.ASCII)
"""What has no markup in it."""

# The worst origin.


def mirror(request: Received, *, vary: str = "") -> Reply:
    """Answer with everything that was seen, in the content and in a field, and let everybody keep it."""
    seen = json.dumps([request.method, request.target, list(request.fields.items()), request.body.decode("latin-1")])
    fields = {"Cache-Control": "public, max-age=600", "ETag": '"1"', "X-Mirror": seen, "Content-Type": "text/plain"}
    if vary:
        fields["Vary"] = vary
    if request.fields.get("if-none-match") == '"1"':
        return Reply(304, fields)
    return Reply(200, fields, seen.encode())


@dataclass(frozen=True)
class Seen:
    """What the origin saw of the request that it answered so."""

    method: str
    target: str
    fields: FieldsView
    body: str


def seen_by(text: str | bytes) -> Seen:
    method, target, pairs, body = json.loads(text)
    return Seen(method, target, fields_of((name, value) for name, value in pairs), body)


# Rules, and an edge for each.

RULES: Final[Mapping[str, dict[str, Any]]] = {
    "none": {},
    "marketing": {"query": QueryKey(drop=("utm_*", "fbclid", "gclid"))},
    "few parameters": {"query": QueryKey(keep=("page", "lang"))},
    "no parameters": {"query": QueryKey(keep=())},
    "sorted parameters": {"query": QueryKey(sort=True, drop=("utm_*",))},
    "fields": {"key_fields": ("x-country", "accept-language", "x-forwarded-host")},
    "cookies": {"key_cookies": ("lang",)},
    "only these cookies": {"key_cookies": ("lang",), "unsafe_strip_cookies": True},
    "no unknown fields": {"drop_unknown_fields": True},
    "one page": {"path": "/page.html"},
    "lifetimes": {"edge_ttl": 600.0, "browser_ttl": 60.0, "default_ttl": 60.0, "negative_ttl": 60.0},
    "behind a proxy": {},
}


@contextlib.asynccontextmanager
async def edges(origin: ScriptedOrigin, *names: str) -> AsyncIterator[dict[str, RunningEdge]]:
    """Run an edge with each of these rules."""
    async with contextlib.AsyncExitStack() as stack:
        running = {}
        for name in names:
            settings_ = RULES[name]
            rules = [Rule(name=name, match=Match(paths=(Glob("/**"),)), settings=settings_)] if settings_ else []
            server = {"trusted_peers": ("127.0.0.1",)} if name == "behind a proxy" else {}
            running[name] = await stack.enter_async_context(edge_before(origin.url, rules=rules, server=server))
        yield running


# Who asks.

CLEAN: Final[tuple[tuple[Pair, ...], ...]] = (
    (),
    (
        ("User-Agent", "Mozilla/5.0"),
        ("Accept", "text/html,*/*;q=0.8"),
        ("Accept-Language", "de, en;q=0.5"),
        ("Cookie", "lang=de; theme=dark"),
    ),
    (("Accept-Language", "fr"), ("Accept-Encoding", "gzip, br"), ("Cookie", "lang=fr")),
    (("X-Country", "CH"), ("Referer", "https://example.com/a")),
)

_names = st.sampled_from(
    [
        *(line.partition(":")[0] for line in (*POISONOUS, *USUAL)),
        *("X-Evil", "X-Country", "Evil", "X-Forwarded-Host-Override", "Transfer-Encodings", "X-Lang", "Lang", "Vary"),
    ]
)
_values = st.sampled_from(
    [
        *(MARK, "evil.example", f"<{MARK}>", f'"{MARK}"', f"a, {MARK}", f"{MARK}=1; lang=de", "1", "*", "de", "fr", ""),
        *("no-cache", "max-age=0", "https", "bytes=0-3", "bytes=evil", "lang=fr", "/evil", "x" * 3000),
    ]
)
_lines = st.sampled_from([tuple(line.split(": ", 1)) for line in POISONOUS]) | st.tuples(_names, _values)
_cookies = st.sampled_from(
    [
        *("lang=de", "lang=evil; lang=de", 'a="x; lang=de; b="', "x=1, lang=evil; lang=de", "$Version=1; lang=de"),
        *("LANG=evil; lang=de", "lang=de; theme=evil", "la%6eg=evil; lang=de", "lang =evil; lang=de", "lang=fr"),
    ]
).map(lambda value: ("Cookie", value))
_fields = st.lists(_lines | _cookies, max_size=4)
_tricks = st.lists(
    st.sampled_from(
        [
            *("utm_source=evil", "UTM_source=evil", "utm%5fsource=evil", "utm_source=a;page=evil", "page=evil"),
            *("page=1", ";page=evil", "page[]=evil", "%70age=evil", "p%61ge=evil", "lang=evil", "lang=de;evil"),
            *("fbclid=evil&", "&", "=evil", "evil", "page", "callback=evil", "page=1%26page=evil", "page=1%23evil"),
            "?evil",
        ]
    ),
    max_size=3,
)
_methods = st.sampled_from(["GET", "GET", "GET", "GET", "HEAD", "POST", "QUERY", "OPTIONS", "DELETE"])
_vary = st.sampled_from(["", "", "Accept-Language", "X-Country, X-Evil", "Accept-Encoding, Cookie", "User-Agent"])


@dataclass(frozen=True)
class Attack:
    """What an attacker sends; ``first`` asks before them somebody who means no harm, ``reload`` asks for validation."""

    rules: str
    method: str
    tricks: tuple[str, ...]
    fields: tuple[Pair, ...]
    body: bytes
    vary: str
    first: bool
    reload: bool

    def sent_fields(self, host: str) -> tuple[Pair, ...]:
        return (("Host", host), *self.fields, *((("Cache-Control", "no-cache"),) if self.reload else ()))


_attacks = st.builds(
    Attack,
    rules=st.sampled_from(sorted(RULES)),
    method=_methods,
    tricks=_tricks.map(tuple),
    fields=_fields.map(tuple),
    body=st.sampled_from([b"", b"", b"page=evil"]),
    vary=_vary,
    first=st.booleans(),
    reload=st.booleans(),
)


# What has to hold.


def as_sent(clean: tuple[Pair, ...], rules: str) -> tuple[Pair, ...]:
    """What rules leave of the fields of a clean request."""
    if "unsafe_strip_cookies" in RULES[rules]:
        return tuple((name, value.partition(";")[0] if name == "Cookie" else value) for name, value in clean)
    if "drop_unknown_fields" in RULES[rules]:
        return tuple(pair for pair in clean if pair[0] != "X-Country")
    return clean


def unlike(clean: tuple[Pair, ...], host: str, seen: Seen) -> Iterator[str]:
    """Yield the names, lower case, of fields that the origin saw otherwise than a clean request has them."""
    own = fields_of([("Host", host), *clean])
    written = {"via", "surrogate-capability", "forwarded", "if-none-match"}
    for name in {name.lower() for name in (*own, *seen.fields)} - written:
        if name.startswith("x-forwarded-") and name not in own:
            continue  # the edge's own: looked at below
        if selecting_value(own, name) != selecting_value(seen.fields, name):
            yield name


def check(attack: Attack, host: str, clean: tuple[Pair, ...], seen: Seen) -> None:
    """Let the clean request have been answered as it deserves."""
    keyed = RULES[attack.rules].get("key_fields", ())
    assert seen.method in ("GET", "HEAD")
    assert seen.body == ""
    for name in unlike(as_sent(clean, attack.rules), host, seen):
        value = ", ".join(seen.fields.getall(name, [""]))
        may_have_words = name in WORDS or name.startswith(WORDY_FAMILIES)
        assert name in LEFT or (HARMLESS.fullmatch(value) and (may_have_words or MARK not in value)), (name, value)
        assert name not in keyed, name
        assert name not in attack.vary.lower().split(", "), name
    assert seen.fields["x-forwarded-host"] == host
    assert seen.fields["x-forwarded-proto"] == "http"
    if "key_cookies" in RULES[attack.rules]:
        # As a reader of older forms of cookies finds it, and as a plain one does.
        wanted = re.search(r"lang=(\w+)", dict(clean).get("Cookie", ""))
        cookie = "; ".join(seen.fields.getall("cookie", ()))
        assert re.findall(r"(?:\A|;\s*)lang=([^;]*)", cookie) == ([wanted[1]] if wanted else [])
        legacy = SimpleCookie(cookie.replace(",", ";")).get("lang")
        assert (legacy.value if legacy else None) == (wanted[1] if wanted else None)


_numbers = itertools.count()


async def ask(edge: RunningEdge, host: str, target: str, clean: tuple[Pair, ...]) -> ClientResponse:
    return await edge.fetch(target, fields=(("Host", host), *clean))


PLAIN: Final = "/p?page=1&lang=de"


async def attack_and_look(edges: dict[str, RunningEdge], origin: ScriptedOrigin, attack: Attack, *targets: str) -> None:
    """Let an attacker ask, and then others for each of these targets."""
    edge, host = edges[attack.rules], f"e{next(_numbers)}.example.com"
    origin.script = lambda request: mirror(request, vary=attack.vary)
    target = "&".join((PLAIN, *attack.tricks))
    if attack.first:
        await ask(edge, host, PLAIN, CLEAN[0])
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # some are answered by closing
        await edge.fetch(target, attack.method, attack.sent_fields(host), attack.body)
    await settled(edge)
    rules = RULES[attack.rules]
    for asked in targets:
        for clean in CLEAN:
            answer = await ask(edge, host, asked, clean)
            assert answer.status == 200
            for text in (answer.body, answer.fields["x-mirror"]):
                seen = seen_by(text)
                check(attack, host, clean, seen)
                assert seen.target == rules.get("path", wanted(asked, rules.get("query")))


def wanted(target: str, query: QueryKey | None) -> str:
    """The target of a clean request as the origin is to see it."""
    path, mark, text = target.partition("?")
    if query is None or not mark:
        return target
    kept = [part for part in text.split("&") if query.keep is None or part.partition("=")[0] in query.keep]
    kept = [part for part in kept if not (query.drop and part.startswith("utm_"))]
    kept = sorted(kept, key=lambda part: part.partition("=")[0]) if query.sort else kept
    return f"{path}?{'&'.join(kept)}" if kept else path


def test_whatever_an_attacker_sends() -> None:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def start() -> tuple[dict[str, RunningEdge], ScriptedOrigin]:
            origin = await stack.enter_async_context(ScriptedOrigin())
            return await stack.enter_async_context(edges(origin, *RULES)), origin

        running, origin = runner.run(start())

        @settings(max_examples=EXAMPLES)
        @given(attack=_attacks)
        def attacked(attack: Attack) -> None:
            runner.run(attack_and_look(running, origin, attack, PLAIN, f"{PLAIN}&utm_source=mail", "/p"))

        try:
            attacked()
        finally:
            runner.run(stack.aclose())


async def test_each_field_alone() -> None:
    """The golden table, with and without somebody who had asked before."""
    async with ScriptedOrigin() as origin, edges(origin, "none", "fields", "behind a proxy") as running:
        for line, rules, again in itertools.product(POISONOUS, running, (False, True)):
            name, _, value = line.partition(":")
            attack = Attack(rules, "GET", (), ((name, value.strip(" ")),), b"", "", first=again, reload=again)
            await attack_and_look(running, origin, attack, PLAIN)


# Errors that an attacker provokes.


OFFENCES: Final = {"4": 400, "3": 403, "1": 501, "0": 500, "5": 415}


def easily_offended(request: Received) -> Reply:
    """Answer everything that has the mark in it with an error, and let everybody keep that."""
    text = json.dumps([request.target, list(request.fields.items()), request.body.decode("latin-1")])
    found = re.search(rf"{MARK}(\d)", text)
    fields = {"Cache-Control": "public, max-age=600"}
    return Reply(OFFENCES.get(found[1], 400), fields, b"offended") if found else Reply(200, fields, b"page")


@pytest.mark.parametrize("name", sorted({line.partition(":")[0] for line in (*POISONOUS, *USUAL)}))
async def test_an_error_that_an_attacker_provokes(edge: RunningEdge, origin: ScriptedOrigin, name: str) -> None:
    origin.script = easily_offended
    for digit in OFFENCES:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await edge.fetch(f"/{digit}", fields=((name, f"{MARK}{digit}"),))
        for clean in CLEAN:
            answer = await edge.fetch(f"/{digit}", fields=clean)
            assert (answer.status, answer.body) == (200, b"page")


def test_what_is_left_to_the_origin_is_told() -> None:
    assert LEFT == FREE
    told = (Path(__file__).parents[2] / "docs" / "guards.md").read_text("utf-8").lower()
    assert not [name for name in LEFT if f"`{name}`" not in told]
