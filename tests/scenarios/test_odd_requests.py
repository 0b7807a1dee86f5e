"""Whoever asks oddly takes nothing from others: what is stored stays, is not altered, and is waited for as before.

A page is stored that everybody may have. Then somebody asks for it in a way of their own that makes it be fetched
again, and the origin answers to that; and then everybody asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from edgecache.http.message import Pair
from edgecache.semantics.rules import Match, Rule
from tests.scenarios.answers import numbered
from tests.scenarios.composed import edge_before, requested, settled
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import FakeClock, Hold, Received, Reply, ScriptedOrigin

PUBLIC: Final = {"Cache-Control": "max-age=60", "ETag": '"1"', "X-For": "everybody"}
RELOAD: Final = ("Cache-Control", "no-cache")

ANSWERS: Final[dict[str, Callable[[Received], Reply]]] = {
    "an error": lambda _: Reply(400, {}, b"error"),
    "an error that is to be kept": lambda _: Reply(400, {"Cache-Control": "public, max-age=600"}, b"error"),
    "a ban that is to be kept": lambda _: Reply(403, {"Cache-Control": "public, max-age=600", "ETag": '"2"'}, b"ban"),
    "a failure that is to be kept": lambda _: Reply(501, {"Cache-Control": "public, max-age=600"}, b"error"),
    "no leave": lambda _: Reply(401, {"WWW-Authenticate": "Basic"}, b"who?"),
}
"""To any odd request."""

PERSONAL_ANSWERS: Final[dict[str, Callable[[Received], Reply]]] = {
    "one's own page": lambda _: Reply(200, {"Cache-Control": "private", "ETag": '"2"'}, b"own"),
    "one's own page, not to be kept": lambda _: Reply(200, {"Cache-Control": "no-store"}, b"own"),
    "a page with a cookie": lambda _: Reply(200, {"Cache-Control": "max-age=9", "Set-Cookie": "id=2"}, b"own"),
    "a page without a word": lambda _: Reply(200, {"ETag": '"2"'}, b"own"),
    "the same, for oneself": lambda _: Reply(304, {"Cache-Control": "private", "X-For": "one"}),
    "the same, with one's name on it": lambda _: Reply(304, {"X-For": "one"}),
    "nothing": lambda _: Reply(404, {"Cache-Control": "private"}, b"nothing"),
}
"""To a request with credentials."""

ODD: Final[dict[str, tuple[Pair, ...]]] = {
    "a media type that nobody has": (("Accept", "evil/evil"),),
    "a language that nobody speaks": (("Accept-Language", "xx"),),
    "a program that is not liked": (("User-Agent", "sqlmap"),),
    "another site": (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")),
    "no way to come here": (("Referer", "https://evil.example/"),),
    "an unknown field": (("X-Evil", "1"),),
    "content that is not there": (("Content-Type", "application/json"),),
}
CREDENTIALS: Final[dict[str, tuple[Pair, ...]]] = {
    "a cookie": (("Cookie", "id=2"),),
    "a large cookie": (("Cookie", "a=" + "x" * 7000),),
    "credentials": (("Authorization", "Basic x"),),
}

CASES = [
    *((fields, answer) for fields in (ODD | CREDENTIALS).values() for answer in ANSWERS.values()),
    *((fields, answer) for fields in CREDENTIALS.values() for answer in PERSONAL_ANSWERS.values()),
    *(((("X-Evil", "1"),), answer) for answer in PERSONAL_ANSWERS.values() if answer(None).status != 304),  # type: ignore[arg-type]
]
NAMES = [
    *(f"{odd}: {answer}" for odd in (ODD | CREDENTIALS) for answer in ANSWERS),
    *(f"{odd}: {answer}" for odd in CREDENTIALS for answer in PERSONAL_ANSWERS),
    *(f"an unknown field: {answer}" for answer, make in PERSONAL_ANSWERS.items() if make(None).status != 304),  # type: ignore[arg-type]
]


async def is_undisturbed(edge: RunningEdge, origin: ScriptedOrigin, target: str = "/a") -> None:
    """Everybody is still answered from what was stored before, and would wait for one another."""
    asked = len(origin.requests)
    again = await edge.fetch(target)
    assert (again.status, again.body, again.fields.get("x-for")) == (200, b"page", "everybody")
    assert "hit" in again.cache_status
    assert len(origin.requests) == asked
    assert edge.parts.memory.statistics().responses == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("odd", "answer"), CASES, ids=NAMES)
async def test_what_is_stored_stays(
    edge: RunningEdge,
    origin: ScriptedOrigin,
    method: str,
    odd: tuple[Pair, ...],
    answer: Callable[[Received], Reply],
) -> None:
    origin.script = lambda _: Reply(200, PUBLIC, b"page")
    await edge.fetch("/a")
    origin.script = answer
    response = await edge.fetch("/a", method, (*odd, RELOAD))
    assert len(origin.requests) == 2
    assert response.fields.get("x-for") != "one" or odd[0][0] in ("Cookie", "Authorization")
    await settled(edge)
    await is_undisturbed(edge, origin)


async def test_many_errors_take_no_room(start_edge: StartEdge, origin: ScriptedOrigin) -> None:
    edge = await start_edge(max_variants=4)
    origin.script = lambda _: Reply(200, PUBLIC, b"page")
    await edge.fetch("/a")
    origin.script = lambda _: Reply(400, {"Cache-Control": "public, max-age=600"}, b"error")
    for number in range(8):
        await edge.fetch("/a", fields=(("Accept", f"evil/{number}"), RELOAD))
    await is_undisturbed(edge, origin)


@pytest.mark.parametrize("fields", list((ODD | CREDENTIALS).values()), ids=list(ODD | CREDENTIALS))
@pytest.mark.parametrize("status", [400, 403, 500, 501])
async def test_an_error_that_is_to_be_kept_is_for_those_who_ask_alike(
    edge: RunningEdge, origin: ScriptedOrigin, fields: tuple[Pair, ...], status: int
) -> None:
    """The origin answers whoever asks oddly with an error, and has the error kept: a header for all its answers."""

    def script(request: Received) -> Reply:
        is_odd = any(request.fields.get(name) == value for name, value in fields)
        return Reply(status if is_odd else 200, {"Cache-Control": "public, max-age=600"}, b"odd" if is_odd else b"page")

    origin.script = script
    assert (await edge.fetch("/a", fields=fields)).body == b"odd"
    for _ in range(2):
        assert (await edge.fetch("/a")).body == b"page"
        assert (await edge.fetch("/a", fields={"Accept": "text/html", "User-Agent": "Mozilla"})).body == b"page"
    assert len(origin.requests) <= 3
    assert (await edge.fetch("/a", fields=fields)).status in (200, status)


@pytest.mark.parametrize("fields", list(CREDENTIALS.values()), ids=list(CREDENTIALS))
async def test_what_one_user_does_not_find_others_may(
    edge: RunningEdge, origin: ScriptedOrigin, fields: tuple[Pair, ...]
) -> None:
    origin.script = lambda request: Reply(
        404 if any(request.fields.get(name) == value for name, value in fields) else 200,
        {"Cache-Control": "public, max-age=600"},
        b"page",
    )
    assert (await edge.fetch("/a", fields=fields)).status == 404
    assert (await edge.fetch("/a")).status == 200


async def test_who_sends_what_vary_names_waits_for_one_another(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()

    async def script(request: Received) -> Reply:
        if request.number > 1:
            await hold.wait()
        return Reply(200, {**PUBLIC, "Vary": "X-Country"}, request.fields.get("x-country", "page").encode())

    origin.script = script
    await edge.fetch("/a")
    herd = [asyncio.ensure_future(edge.fetch("/a", fields={"X-Country": "CH"})) for _ in range(5)]
    await requested(edge, 6)
    hold.release()
    assert {(await each).body for each in herd} == {b"CH"}
    assert len(origin.requests) == 2


@pytest.mark.parametrize("fields", [ODD["a media type that nobody has"], CREDENTIALS["credentials"]])
async def test_nobody_goes_alone_because_of_an_error_that_somebody_else_provoked(
    edge: RunningEdge, origin: ScriptedOrigin, fields: tuple[Pair, ...]
) -> None:
    hold = Hold()

    async def script(request: Received) -> Reply:
        await hold.wait()
        is_odd = request.fields.get(fields[0][0]) == fields[0][1]
        return Reply(400, {}, b"error") if is_odd else Reply(200, PUBLIC, b"page")

    origin.script = script
    first = asyncio.ensure_future(edge.fetch("/a", fields=fields))
    await hold.reached()
    others = [asyncio.ensure_future(edge.fetch("/a")) for _ in range(10)]
    await requested(edge, 11)
    hold.release()
    assert (await first).status == 400
    assert {(await other).body for other in others} == {b"page"}
    assert len(origin.requests) == 2


async def test_users_do_not_wait_for_one_another_where_each_has_a_page_of_their_own(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    """That the page was one user's is known for users, and says nothing about those who are none."""
    origin.script = lambda request: Reply(
        200, {"Cache-Control": "private" if "cookie" in request.fields else "max-age=60"}, b"page"
    )
    await edge.fetch("/a", fields={"Cookie": "id=1"})
    key = "http://example.com/a"
    assert edge.parts.cache._parts.collapse.is_marked(key, 0, personal=True)
    assert not edge.parts.cache._parts.collapse.is_marked(key, 0)
    hold = Hold()

    async def script(request: Received) -> Reply:
        await hold.wait()
        return Reply(200, {"Cache-Control": "private"}, request.fields["cookie"].encode())

    origin.script = script
    users = [asyncio.ensure_future(edge.fetch("/a", fields={"Cookie": f"id={number}"})) for number in range(5)]
    await origin.received(6)
    hold.release()
    assert [(await user).body for user in users] == [b"id=%d" % number for number in range(5)]


async def test_whoever_wants_nothing_stored_takes_nothing(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda request: Reply(200, {**PUBLIC, "ETag": f'"{request.number}"'}, b"page")
    await edge.fetch("/a")
    await edge.fetch("/a", fields={"Cache-Control": "no-store, no-cache"})
    await is_undisturbed(edge, origin)


async def test_what_is_gone_is_gone(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    """A plain question has a plain answer."""
    origin.script = lambda _: Reply(200, PUBLIC, b"page")
    await edge.fetch("/a")
    origin.script = lambda _: Reply(404, {}, b"gone")
    assert (await edge.fetch("/a", fields=(RELOAD,))).status == 404
    assert (await edge.fetch("/a")).status == 404
    assert edge.parts.memory.statistics().responses == 0


# Parts, and what is refreshed behind everybody's back.


async def test_no_cookie_comes_with_the_missing_bytes(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    whole, tagged = b"0123456789", {"Cache-Control": "max-age=60", "ETag": '"1"'}

    def script(request: Received) -> Reply:
        wanted = request.fields.get("range")
        if wanted == "bytes=0-4":
            return Reply(206, {**tagged, "Content-Range": "bytes 0-4/10"}, whole[:5])
        if wanted == "bytes=5-":
            cookie = {"Set-Cookie": "id=1", "X-For": "one"}
            return Reply(206, {**tagged, **cookie, "Content-Range": "bytes 5-9/10"}, whole[5:])
        return Reply(200, {**tagged, "Set-Cookie": "id=1", "X-For": "one"}, whole)

    origin.script = script
    await edge.fetch("/a", fields={"Range": "bytes=0-4"})
    assert (await edge.fetch("/a")).body == whole
    assert [request.fields.get("range") for request in origin.requests] == ["bytes=0-4", "bytes=5-", None]
    assert edge.parts.memory.statistics().responses == 0


async def test_a_refresh_for_everybody_has_nobodys_cookies(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = numbered(("Cache-Control", "max-age=10, stale-while-revalidate=60"), ("Vary", "X-Known"))
    await edge.fetch("/a")
    clock.advance(11)
    fields = {"Cookie": "id=1", "X-Evil": "1", "User-Agent": "Mozilla"}
    assert (await edge.fetch("/a", fields=fields)).body == b"answer 1"
    await settled(edge)
    refresh = origin.requests[1].fields
    assert "cookie" not in refresh
    assert "x-evil" not in refresh
    assert refresh["user-agent"] == "Mozilla"
    assert (await edge.fetch("/a")).body == b"answer 2"


@pytest.fixture
async def keyed(origin: ScriptedOrigin, clock: FakeClock) -> AsyncIterator[RunningEdge]:
    rule = Rule(name="languages", match=Match(), settings={"key_cookies": ("lang",)})
    async with edge_before(origin.url, clock=clock, rules=[rule]) as edge:
        yield edge


async def test_a_refresh_has_the_cookies_that_select(
    keyed: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda request: Reply(
        200, {"Cache-Control": "max-age=10, stale-while-revalidate=60"}, request.fields.get("cookie", "").encode()
    )
    for user in ("1", "2"):
        await keyed.fetch("/a", fields={"Cookie": f"lang=de; id={user}"})
        await keyed.fetch("/a", fields={"Cookie": f"id={user}; lang=fr"})
        clock.advance(11)
    await settled(keyed)
    assert [request.fields["cookie"] for request in origin.requests] == [
        *("lang=de; id=1", "id=1; lang=fr"),
        *("lang=de", "lang=fr"),
    ]
