"""Nobody gets what was made for somebody else, unless the origin said that they may (RFC 9111 §3, §3.5, §4.1, §7).

Users with credentials ask for few targets at once, and the origin answers at random: with all sorts of directives, with
Vary, with cookies, with 304s. Every answer is stamped, and the stamp tells what the origin had said about it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, FakeClock, Received, Reply, ScriptedOrigin

USERS: Final[tuple[Mapping[str, str], ...]] = (
    {},
    {"Cookie": "id=1"},
    {"Cookie": "id=2"},
    {"Authorization": "Basic 3"},
    {"Authorization": "Basic 4"},
    {"Cookie": "id=5", "Authorization": "Basic 5"},
)
LIFETIMES: Final = ("", "max-age=0", "max-age=5", "max-age=60", "s-maxage=5", "s-maxage=60")
PERMISSIONS: Final = (
    "",
    "",
    "public",
    "must-revalidate",
    "no-cache",
    "private",
    "no-store",
    "stale-while-revalidate=60",
)
OFFERS: Final = ("max-age=1", "max-age=5", "max-age=60", "s-maxage", "public")
ALLOWS_AUTHENTICATED: Final = ("s-maxage", "public")
ROUNDS, AT_ONCE, TARGETS = 120, 6, 50


@dataclass(frozen=True)
class Stamped:
    """One answer of the origin: whom it was made for, and what it says about others."""

    credentials: Mapping[str, str]
    status: int
    directives: frozenset[str]
    vary: frozenset[str]
    sets_cookie: bool


@dataclass
class Origin:
    """Answers at random, and remembers what it said; a stamp is an index into ``said``."""

    dice: random.Random
    said: list[Stamped] = field(default_factory=list)

    def script(self, request: Received) -> Reply:
        stamp, dice = len(self.said), self.dice
        validated = request.fields.get("if-none-match")
        status = 304 if validated and dice.random() < 0.6 else 503 if dice.random() < 0.05 else 200
        # A 304 that said nothing would leave what was said before.
        silence = "" if status == 200 else "max-age=1"
        directives = frozenset({dice.choice(LIFETIMES) or silence, dice.choice(PERMISSIONS)} - {""})
        # A 304 leaves Vary as it was stored.
        vary = (
            frozenset(dice.choice(((), (), ("Cookie",), ("Authorization", "Cookie")))) if status == 200 else frozenset()
        )
        sets_cookie = dice.random() < 0.15
        credentials = {name: request.fields[name] for name in ("Cookie", "Authorization") if name in request.fields}
        self.said.append(Stamped(credentials, status, directives, vary, sets_cookie))
        # Always the same field for one target: a 304 with the other one would leave both.
        governing = "CDN-Cache-Control" if request.target.endswith("7") else "Cache-Control"
        fields = {
            "X-Stamp": str(stamp),
            "ETag": f'"{stamp}"' if status == 200 else validated or '"error"',
            **({governing: ", ".join(sorted(directives))} if directives else {}),
            **({"Vary": ", ".join(vary)} if vary else {}),
            **({"Set-Cookie": f"stamp={stamp}"} if sets_cookie else {}),
            **({"Content-Location": request.target} if request.method == "POST" else {}),
            **({"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"} if dice.random() < 0.5 and status == 200 else {}),
        }
        return Reply(status, fields, str(stamp).encode())

    def may_see(self, stamp: int, credentials: Mapping[str, str]) -> bool:
        """Whether an answer, or the fields of a 304, may reach somebody with these credentials."""
        said = self.said[stamp]
        if said.credentials == credentials:
            return True
        if said.directives & {"private", "no-store"}:
            return False
        may_be_revalidated = says(said, ("must-revalidate",)) and says(said, OFFERS)
        if "Authorization" in said.credentials and not (says(said, ALLOWS_AUTHENTICATED) or may_be_revalidated):
            return False
        if said.status == 304:
            return True
        if said.sets_cookie or ("Cookie" in said.credentials and not says(said, OFFERS)):
            return False
        return all(said.credentials.get(name) == credentials.get(name) for name in said.vary)


def says(said: Stamped, names: tuple[str, ...]) -> bool:
    return any(directive.startswith(names) for directive in said.directives)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_origin_answers(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock, seed: int
) -> None:
    dice = random.Random(seed)
    answering = Origin(dice)
    origin.script = answering.script
    shared = 0

    async def ask(target: str, method: str, credentials: Mapping[str, str], reload: bool) -> None:
        nonlocal shared
        fields = {**credentials, **({"Cache-Control": "no-cache"} if reload else {})}
        response = await edge.fetch(target, method, fields)
        for stamp in stamps(response):
            assert answering.may_see(stamp, credentials), (stamp, answering.said[stamp], credentials)
            shared += answering.said[stamp].credentials != credentials
        for cookie in response.fields.getall("set-cookie", ()):
            assert answering.said[int(cookie.removeprefix("stamp="))].credentials == credentials

    for _ in range(ROUNDS):
        # Few of the targets at a time, so that requests meet: on their way, and in the store.
        nearby = dice.randrange(TARGETS)
        await asyncio.gather(
            *(
                ask(
                    f"/{(nearby + dice.randrange(2)) % TARGETS}",
                    dice.choices(("GET", "HEAD", "POST"), (20, 2, 1))[0],
                    dice.choice(USERS),
                    dice.random() < 0.2,
                )
                for _ in range(AT_ONCE)
            )
        )
        clock.advance(dice.choice((0, 0, 1, 6)))
    assert shared > 20


def stamps(response: ClientResponse) -> set[int]:
    """The answers of the origin that went into a response: its content's, and its fields'."""
    named = [response.body.decode()] if response.status == 200 and response.body else []
    return {int(stamp) for stamp in [*named, *response.fields.getall("x-stamp", ())]}
