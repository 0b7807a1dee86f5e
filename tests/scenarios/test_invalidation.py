"""What a success of an unsafe request ends, and what a response's groups do (RFC 9111 §4.4, RFC 9875)."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.composed import settled
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import FieldsLike, Hold, Received, Reply, Script, ScriptedOrigin

FRESH = {"Cache-Control": "max-age=60"}
ELSEWHERE = {"Host": "other.example"}


def stating(status: int = 200, unsafe: FieldsLike = (), safe: FieldsLike = ()) -> Script:
    """Answer each GET with its number, fresh for a minute; anything else with ``status`` and fields."""
    extra = tuple(safe.items()) if isinstance(safe, dict) else tuple(safe)

    def script(request: Received) -> Reply:
        if request.method in ("GET", "QUERY"):
            return Reply(200, (*FRESH.items(), *extra), b"state %d" % request.number)
        return Reply(status, unsafe, b"done")

    return script


async def state(edge: RunningEdge, target: str = "/a", fields: FieldsLike = ()) -> bytes:
    return (await edge.fetch(target, fields=fields)).body


# The target.


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "MKCOL", "PROPPATCH"])
@pytest.mark.parametrize("status", [200, 201, 204, 302])
async def test_a_success_ends_what_is_stored_for_its_target(
    edge: RunningEdge, origin: ScriptedOrigin, method: str, status: int
) -> None:
    origin.script = stating(status)
    assert await state(edge) == await state(edge) == b"state 1"
    assert (await edge.fetch("/a", method)).status == status
    assert await state(edge) == await state(edge) == b"state 3"


async def test_a_method_that_nobody_knows_is_refused_and_ends_nothing(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = stating()
    await state(edge)
    assert (await edge.fetch("/a", "FROBNICATE")).status == 405
    assert await state(edge) == b"state 1"


@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
async def test_a_failure_ends_nothing(edge: RunningEdge, origin: ScriptedOrigin, status: int) -> None:
    origin.script = stating(status, {"Location": "/b"})
    await state(edge)
    assert (await edge.fetch("/a", "POST")).status == status
    assert await state(edge) == b"state 1"


async def test_an_origin_that_does_not_answer_ends_nothing(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = stating()
    await state(edge)
    origin.script = lambda _: Reply(abort_at=-1)
    assert (await edge.fetch("/a", "POST", body=b"x")).status == 502
    assert await state(edge) == b"state 1"


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "QUERY"])
async def test_a_safe_method_ends_nothing(edge: RunningEdge, origin: ScriptedOrigin, method: str) -> None:
    origin.script = stating()
    await state(edge)
    await edge.fetch("/a", method)
    assert await state(edge) == b"state 1"


async def test_all_variants_end_and_queries_too(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = stating(safe={"Vary": "X"})

    async def all_states() -> list[bytes]:
        query = await edge.fetch("/a", "QUERY", {}, b"question")
        return [await state(edge, fields={"X": "1"}), await state(edge, fields={"X": "2"}), query.body]

    before = await all_states()
    assert await all_states() == before
    await edge.fetch("/a", "DELETE")
    after = await all_states()
    assert not set(after) & set(before)


async def test_other_targets_are_left_alone(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = stating()
    targets = ["/a?", "/a?q", "/a/", "/A", "/"]
    before = [await state(edge, target) for target in targets]
    elsewhere = await state(edge, "/a", ELSEWHERE)
    await edge.fetch("/a", "POST")
    assert [await state(edge, target) for target in targets] == before
    assert await state(edge, "/a", ELSEWHERE) == elsewhere


async def test_it_is_ended_before_the_client_hears_of_the_success(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = stating()
    await state(edge)
    hold = Hold()
    origin.script = lambda request: Reply(200, {}, b"slowly", hold_at={1: hold} if request.method == "POST" else {})
    posting = await edge.download("/a", "POST")
    assert await posting.head() == 200
    origin.script = stating()
    assert await state(edge) == b"state 3"
    hold.release()
    assert (await posting.rest()).body == b"slowly"


# Location and Content-Location.


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    ("reference", "is_ended"),
    [
        ("/b", True),
        ("b", True),
        ("../b", True),
        ("http://example.com/b", True),
        ("http://EXAMPLE.com:80/b", True),
        ("//example.com/b", True),
        ("/b#part", True),
        ("/b?q", False),
        ("http://other.example/b", False),
        ("https://example.com/b", False),
        ("http://example.com:8080/b", False),
        ("http://[/b", False),
        ("", False),
    ],
)
async def test_places_that_a_success_names_end_when_they_are_of_the_same_origin(
    edge: RunningEdge, origin: ScriptedOrigin, name: str, reference: str, is_ended: bool
) -> None:
    origin.script = stating(201, {name: reference})
    assert await state(edge, "/b") == b"state 1"
    assert await state(edge, "/b", ELSEWHERE) == b"state 2"
    await edge.fetch("/a", "POST")
    assert await state(edge, "/b") == (b"state 4" if is_ended else b"state 1")
    assert await state(edge, "/b", ELSEWHERE) == b"state 2"


async def test_both_are_looked_at(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = stating(201, {"Location": "/b", "Content-Location": "/c"})
    before = [await state(edge, target) for target in ("/a", "/b", "/c")]
    await edge.fetch("/a", "POST")
    assert not {*before} & {await state(edge, target) for target in ("/a", "/b", "/c")}


async def test_a_safe_method_may_name_them_freely(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = stating(safe={"Content-Location": "/b"})
    assert await state(edge, "/b") == b"state 1"
    await state(edge, "/a")
    assert await state(edge, "/b") == b"state 1"


# What is on its way.


async def test_a_fill_that_a_success_overtakes_answers_only_those_who_came_before(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()

    def script(request: Received) -> Reply:
        if request.method == "POST":
            return Reply(204)
        return Reply(200, FRESH, b"state %d" % request.number, hold_at={3: hold} if request.number == 1 else {})

    origin.script = script
    before = await edge.download("/a")
    await hold.reached()
    assert (await edge.fetch("/a", "POST")).status == 204
    assert await state(edge) == b"state 3"
    hold.release()
    assert (await before.rest()).body == b"state 1"
    await settled(edge)
    assert await state(edge) == b"state 3"


async def test_nor_does_one_whose_head_had_not_come(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()

    def script(request: Received) -> Reply:
        if request.method == "POST":
            return Reply(204)
        return Reply(200, FRESH, b"state %d" % request.number, hold=hold if request.number == 1 else None)

    origin.script = script
    before = asyncio.ensure_future(edge.fetch("/a"))
    await hold.reached()
    await edge.fetch("/a", "DELETE")
    hold.release()
    assert (await before).body == b"state 1"
    await settled(edge)
    assert await state(edge) == await state(edge) == b"state 3"
    assert edge.parts.counters.not_storable["purged"] == 1


async def test_a_validation_that_a_success_overtakes_freshens_nothing(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    tagged = {"Cache-Control": "no-cache", "ETag": '"1"'}
    origin.script = lambda _: Reply(200, tagged, b"old")
    await state(edge)
    hold = Hold()
    origin.script = lambda request: Reply(204) if request.method == "PUT" else Reply(304, {"ETag": '"1"'}, hold=hold)
    before = asyncio.ensure_future(edge.fetch("/a"))
    await hold.reached()
    await edge.fetch("/a", "PUT", body=b"new")
    hold.release()
    assert (await before).body == b"old"
    origin.script = lambda _: Reply(200, tagged, b"new")
    assert await state(edge) == b"new"


# A POST whose answer is the new state.


async def test_an_answer_with_content_location_survives_the_invalidation_that_comes_with_it(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = stating(200, {**FRESH, "Content-Location": "/a"})
    assert await state(edge) == b"state 1"
    assert (await edge.fetch("/a", "POST", body=b"x")).body == b"done"
    assert await state(edge) == b"done"
    assert origin.asked() == 2


async def test_it_does_not_survive_a_success_that_overtook_it(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()
    answer = {**FRESH, "Content-Location": "/a"}
    origin.script = lambda _: Reply(200, answer, b"first", hold=hold)
    first = asyncio.ensure_future(edge.fetch("/a", "POST", body=b"x"))
    await hold.reached()
    origin.script = stating(204)
    await edge.fetch("/a", "DELETE")
    hold.release()
    assert (await first).body == b"first"
    assert await state(edge) == b"state 3"


# Groups.


async def test_a_group_ends_with_one_word(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    groups = {"/a": '"x"', "/b": '"y", "x"', "/c": '"y"', "/d": '"X"'}

    def script(request: Received) -> Reply:
        if request.method == "POST":
            return Reply(200, {"Cache-Group-Invalidation": '"x"'})
        body = b"state %d" % request.number
        return Reply(200, {**FRESH, "Vary": "V", "Cache-Groups": groups[request.target]}, body)

    origin.script = script
    asked: list[tuple[str, FieldsLike]] = [("/a", ()), ("/a", {"V": "1"}), ("/b", ()), ("/c", ()), ("/d", ())]
    before = [await state(edge, *each) for each in asked]
    elsewhere = await state(edge, "/a", ELSEWHERE)
    await edge.fetch("/z", "POST")
    after = [await state(edge, *each) for each in asked]
    assert [new == old for new, old in zip(after, before, strict=True)] == [False, False, False, True, True]
    assert await state(edge, "/a", ELSEWHERE) == elsewhere


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "QUERY"])
async def test_a_safe_method_ends_no_group(edge: RunningEdge, origin: ScriptedOrigin, method: str) -> None:
    origin.script = stating(safe={"Cache-Groups": '"x"'})
    assert await state(edge) == b"state 1"
    origin.script = lambda _: Reply(200, {"Cache-Group-Invalidation": '"x"'})
    await edge.fetch("/z", method)
    assert await state(edge) == b"state 1"


@pytest.mark.parametrize("named", ["x", '"x', "x=1", '("x")', '"y"', ""])
async def test_only_strings_name_groups(edge: RunningEdge, origin: ScriptedOrigin, named: str) -> None:
    origin.script = stating(200, {"Cache-Group-Invalidation": named}, safe={"Cache-Groups": '"x", z'})
    await state(edge)
    await edge.fetch("/z", "POST")
    assert await state(edge) == b"state 1"


async def test_a_fill_in_a_group_that_ended_meanwhile_is_not_used_again(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    hold = Hold()

    def script(request: Received) -> Reply:
        if request.method == "POST":
            return Reply(200, {"Cache-Group-Invalidation": '"x"'})
        first = request.number == 1
        return Reply(200, {**FRESH, "Cache-Groups": '"x"'}, b"%d" % request.number, hold=hold if first else None)

    origin.script = script
    before = asyncio.ensure_future(edge.fetch("/a"))
    await hold.reached()
    await edge.fetch("/z", "POST")
    hold.release()
    assert (await before).body == b"1"
    assert await state(edge) == await state(edge) == b"3"


async def test_a_response_in_more_groups_than_are_kept_is_not_stored(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = stating(safe={"Cache-Groups": ", ".join(f'"{number}"' for number in range(129))})
    assert (await edge.fetch("/a")).cache_status == "edgecache; fwd=uri-miss; detail=too-many-tags"
    assert await state(edge) == b"state 2"


async def test_what_was_put_together_ends_with_the_groups_of_either_part(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    groups = {"bytes=0-1": '"x"', "bytes=2-3": '"y"'}

    def script(request: Received) -> Reply:
        asked = request.fields["range"]
        held = f"bytes {asked.removeprefix('bytes=')}/4"
        return Reply(206, {**FRESH, "ETag": '"1"', "Cache-Groups": groups[asked], "Content-Range": held}, b"ab")

    origin.script = script
    for each in groups:
        await edge.fetch("/a", fields={"Range": each})
    assert await state(edge) == b"abab"
    origin.script = stating(200, {"Cache-Group-Invalidation": '"x"'})
    await edge.fetch("/z", "POST")
    assert await state(edge) == b"state 4"


async def test_a_304_can_move_a_response_into_another_group(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    tagged = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    origin.script = lambda _: Reply(200, {**tagged, "Cache-Groups": '"x"'}, b"old")
    await state(edge)
    origin.script = lambda _: Reply(304, {**tagged, "Cache-Groups": '"y"'})
    assert await state(edge, fields={"Cache-Control": "no-cache"}) == b"old"
    origin.script = stating(200, {"Cache-Group-Invalidation": '"y"'})
    await edge.fetch("/z", "POST")
    assert await state(edge) == b"state 4"
