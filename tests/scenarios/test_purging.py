"""A purge that was confirmed is never undone: not by a fetch that was under way, nor by anything stored before."""

from __future__ import annotations

import pytest

from edgecache.purging.selector import Selector
from tests.scenarios.composed import requested
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import FakeClock, Hold, Received, Reply, ScriptedOrigin

SELECTORS = {
    "url": "http://example.com/shop/1?q",
    "prefix": "http://example.com/shop",
    "host": "example.com",
    "tag": "product:1",
    "glob": "http://example.com/shop/*",
    "expr": "product:1 & !region:eu",
    "all": "",
}
TARGET = "/shop/1?q"


def tagged(request: Received) -> Reply:
    fields = {"Cache-Control": "max-age=600", "ETag": f'"{request.number}"', "Surrogate-Key": "product:1 shop"}
    return Reply(200, fields, b"body %d" % request.number)


async def purge(edge: RunningEdge, kind: str, value: str, *, soft: bool = False) -> None:
    receipt = await edge.parts.ledger.purge([Selector.of(kind, value, soft=soft)])
    assert receipt.state.status == 200


@pytest.mark.parametrize("kind", SELECTORS)
async def test_what_is_stored_is_gone(edge: RunningEdge, origin: ScriptedOrigin, kind: str) -> None:
    origin.script = tagged
    for _ in range(2):
        assert (await edge.fetch(TARGET)).body == b"body 1"
    await purge(edge, kind, SELECTORS[kind])
    again = await edge.fetch(TARGET)
    assert (again.body, again.cache_status) == (b"body 2", "edgecache; fwd=uri-miss; stored")
    assert "if-none-match" not in origin.requests[-1].fields


@pytest.mark.parametrize("hold_body", [False, True], ids=["before-the-head", "in-the-body"])
@pytest.mark.parametrize("kind", SELECTORS)
async def test_a_fetch_under_way_is_overtaken(
    edge: RunningEdge, origin: ScriptedOrigin, kind: str, hold_body: bool
) -> None:
    hold = Hold()

    def held(request: Received) -> Reply:
        reply = tagged(request)
        if request.number > 1:
            return reply
        where = {"hold_at": {2: hold}} if hold_body else {"hold": hold}
        return Reply(reply.status, reply.fields, reply.body, **where)  # type: ignore[arg-type]

    origin.script = held
    first = await edge.download(TARGET)
    await hold.reached()
    if hold_body:
        await first.head()
    await purge(edge, kind, SELECTORS[kind])
    # Which tags will come is not known before the head does: until then the later one waits, and then asks anew.
    after = await edge.download(TARGET)
    await requested(edge, 2)
    hold.release()
    assert (await after.rest()).body == b"body 2"
    assert (await first.rest()).body == b"body 1"  # it came before the purge
    assert (await edge.fetch(TARGET)).body == b"body 2"


async def test_who_waited_for_a_fetch_that_was_overtaken_shares_the_next(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    first, second = Hold(), Hold()

    def held(request: Received) -> Reply:
        reply = tagged(request)
        return Reply(reply.status, reply.fields, reply.body, hold={1: first, 2: second}.get(request.number))

    origin.script = held
    leader = await edge.download(TARGET)
    await first.reached()
    await purge(edge, "tag", "product:1")
    later = [await edge.download(TARGET) for _ in range(10)]
    await requested(edge, 11)
    first.release()
    await second.reached()
    second.release()
    assert {(await each.rest()).body for each in later} == {b"body 2"}
    assert (await leader.rest()).body == b"body 1"
    assert len(origin.requests) == 2


async def test_who_waited_for_a_validation_that_was_overtaken_does_not_validate(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = tagged
    await edge.fetch(TARGET)
    clock.advance(601)
    hold = Hold()
    origin.script = lambda r: Reply(304, {"ETag": '"1"'}, hold=hold) if r.number == 2 else tagged(r)
    validating = await edge.download(TARGET)
    await hold.reached()
    waiting = await edge.download(TARGET)
    await requested(edge, 3)
    await purge(edge, "tag", "product:1")
    hold.release()
    assert (await validating.rest()).body == b"body 1"
    assert (await waiting.rest()).body == b"body 3"
    assert "if-none-match" not in origin.requests[2].fields


async def test_a_validation_under_way_revives_nothing(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = tagged
    await edge.fetch(TARGET)
    clock.advance(601)
    hold = Hold()
    origin.script = lambda _: Reply(304, {"ETag": '"1"', "Cache-Control": "max-age=600"}, hold=hold)
    validating = await edge.download(TARGET)
    await hold.reached()
    await purge(edge, "tag", "product:1")
    hold.release()
    assert (await validating.rest()).body == b"body 1"
    origin.script = tagged
    after = await edge.fetch(TARGET)
    assert after.body == b"body 3"
    assert "if-none-match" not in origin.requests[-1].fields


async def test_a_refresh_under_way_revives_nothing(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    stale = {"Cache-Control": "max-age=60, stale-while-revalidate=600", "Surrogate-Key": "a"}
    hold = Hold()
    origin.script = lambda r: Reply(200, stale, b"body %d" % r.number, hold=hold if r.number == 2 else None)
    await edge.fetch(TARGET)
    clock.advance(61)
    assert (await edge.fetch(TARGET)).body == b"body 1"
    await hold.reached()
    await purge(edge, "tag", "a")
    hold.release()
    assert (await edge.fetch(TARGET)).body == b"body 3"
    assert (await edge.fetch(TARGET)).body == b"body 3"


async def test_a_range_fill_under_way_is_overtaken(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    hold = Hold()

    def part(request: Received) -> Reply:
        fields = {"Cache-Control": "max-age=600", "Content-Range": "bytes 0-3/10", "ETag": '"1"'}
        return Reply(206, fields, b"%04d" % request.number, hold=hold if request.number == 1 else None)

    origin.script = part
    first = await edge.download(TARGET, fields={"Range": "bytes=0-3"})
    await hold.reached()
    await purge(edge, "url", "example.com" + TARGET)
    hold.release()
    assert (await first.rest()).body == b"0001"
    assert (await edge.fetch(TARGET, fields={"Range": "bytes=0-3"})).body == b"0002"


@pytest.mark.parametrize(
    ("selector", "hit"),
    [
        (("tag", "product:1"), True),
        (("tag", "product:"), False),
        (("tag", "product"), False),
        (("tag", "product:11"), False),
        (("tag", "Product:1"), False),
        (("prefix", "http://example.com/shop"), True),
        (("prefix", "http://example.com/sho"), False),
        (("prefix", "http://example.org/shop"), False),
        (("url", "https://EXAMPLE.com:443/shop/1?q"), True),
        (("url", "http://example.com/shop/1"), False),
        (("url", "http://example.com/shop/1?q="), False),
        (("expr", "product:1 & shop"), True),
        (("expr", "product:1 & !shop"), False),
        (("host", "example.org"), False),
    ],
)
async def test_nothing_else_is_touched(
    edge: RunningEdge, origin: ScriptedOrigin, selector: tuple[str, str], hit: bool
) -> None:
    origin.script = tagged
    await edge.fetch(TARGET)
    await purge(edge, *selector)
    assert (await edge.fetch(TARGET)).body == (b"body 2" if hit else b"body 1")


async def test_a_soft_purge_makes_stale(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    """As if the lifetime had ended then: the windows for stale responses still apply, from then on."""
    fields = {"Cache-Control": "max-age=600, stale-while-revalidate=30", "Cache-Tag": "a, b", "ETag": '"1"'}
    origin.script = lambda r: Reply(304, fields) if "if-none-match" in r.fields else Reply(200, fields, b"x")
    await edge.fetch(TARGET)
    clock.advance(10)
    await purge(edge, "tag", "b", soft=True)
    stale = await edge.fetch(TARGET)
    assert (stale.body, stale.cache_status) == (b"x", "edgecache; hit; ttl=0; detail=grace")
    await origin.received(2)
    assert origin.requests[1].fields["if-none-match"] == '"1"'


async def test_a_soft_purge_without_grace_validates(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    fields = {"Cache-Control": "max-age=600", "xkey": "a", "ETag": '"1"'}
    origin.script = lambda r: Reply(304, fields) if "if-none-match" in r.fields else Reply(200, fields, b"x")
    await edge.fetch(TARGET)
    await purge(edge, "tag", "a", soft=True)
    assert "fwd=stale; fwd-status=304" in (await edge.fetch(TARGET)).cache_status
    assert "hit" in (await edge.fetch(TARGET)).cache_status


async def test_all_variants_go(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    fields = {"Cache-Control": "max-age=600", "Vary": "X"}
    origin.script = lambda r: Reply(200, fields, b"body %d" % r.number)
    for value in "ab":
        await edge.fetch(TARGET, fields={"X": value})
    await purge(edge, "url", "http://example.com" + TARGET)
    assert [(await edge.fetch(TARGET, fields={"X": value})).body for value in "ab"] == [b"body 3", b"body 4"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Surrogate-Key", "a  product:1"),
        ("Cache-Tag", "a,product:1 ,, b"),
        ("Edge-Cache-Tag", "product:1"),
        ("xkey", "product:1, x"),
        ("X-Cache-Tags", "product:1"),
        ("Cache-Tags", "x product:1"),
    ],
)
async def test_tags_come_in_many_fields_and_end_here(
    edge: RunningEdge, origin: ScriptedOrigin, name: str, value: str
) -> None:
    origin.script = lambda r: Reply(200, {"Cache-Control": "max-age=600", name: value}, b"body %d" % r.number)
    for _ in range(2):
        assert name not in (await edge.fetch(TARGET)).fields
    await purge(edge, "tag", "product:1")
    assert (await edge.fetch(TARGET)).body == b"body 2"


@pytest.mark.parametrize("tags", [" ".join(map(str, range(257))), "x" * 1025])
async def test_what_a_purge_could_miss_is_not_stored(edge: RunningEdge, origin: ScriptedOrigin, tags: str) -> None:
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=600", "Surrogate-Key": tags}, b"x")
    assert "detail=too-many-tags" in (await edge.fetch(TARGET)).cache_status


async def test_a_304_brings_new_tags(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    def script(request: Received) -> Reply:
        fields = {"Cache-Control": "max-age=60", "ETag": '"1"', "Surrogate-Key": f"t{request.number}"}
        return Reply(304, fields) if request.number == 2 else Reply(200, fields, b"body %d" % request.number)

    origin.script = script
    await edge.fetch(TARGET)
    clock.advance(61)
    await edge.fetch(TARGET)
    await purge(edge, "tag", "t1")
    assert (await edge.fetch(TARGET)).body == b"body 1"
    await purge(edge, "tag", "t2")
    assert (await edge.fetch(TARGET)).body == b"body 3"


@pytest.mark.parametrize("fields", [("Surrogate-Key",), ()], ids=["configured", "none"])
async def test_the_fields_are_configured(
    start_edge: StartEdge, origin: ScriptedOrigin, fields: tuple[str, ...]
) -> None:
    edge = await start_edge(tag_fields=fields)
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=600", "Cache-Tag": "a"}, b"x")
    assert (await edge.fetch(TARGET)).fields["cache-tag"] == "a"
    await purge(edge, "tag", "a")
    assert "hit" in (await edge.fetch(TARGET)).cache_status
