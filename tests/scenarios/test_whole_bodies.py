"""What only whole bodies tell, through the running edge: tags of our own, and names that are proven or disproven."""

from __future__ import annotations

import gzip
import hashlib
from typing import Final

import pytest

from edgecache.engine import finish
from edgecache.purging.selector import Selector
from edgecache.semantics.policy import Strategy
from edgecache.semantics.versioned import AssetNames, By, Versioned
from tests.scenarios.composed import requested, settled
from tests.scenarios.rig import FakeClock, Hold, Reply, ScriptedOrigin
from tests.scenarios.running import StartEdge

SIZES: Final = (10, 300_000)
"""Examined in the event loop, and in a thread."""


def script(size: int, filling: bytes = b"x") -> bytes:
    return (b"// " + filling * size)[:size]


# ----------------------------------------------------------------------------------------------------- entity tags


@pytest.mark.parametrize("size", SIZES)
async def test_clients_can_revalidate_what_the_origin_sends_without_a_tag(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock, size: int
) -> None:
    edge = await ruled(etag=True)
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, script(size))
    first = await edge.fetch("/a")
    assert "etag" not in first.fields  # its head had gone before the content had come
    await settled(edge)
    hit = await edge.fetch("/a")
    tag = hit.fields["etag"]
    assert hit.body == script(size)
    unchanged = await edge.fetch("/a", fields={"If-None-Match": f'"other", {tag}'})
    assert (unchanged.status, unchanged.fields["etag"], unchanged.body) == (304, tag, b"")
    changed = await edge.fetch("/a", fields={"If-None-Match": '"other"'})
    assert (changed.status, changed.body) == (200, script(size))
    assert (await edge.fetch("/a", "HEAD")).fields["etag"] == tag
    part = await edge.fetch("/a", fields={"Range": "bytes=0-1", "If-Range": tag})
    assert (part.status, part.fields["etag"], part.body) == (206, tag, b"//")
    assert origin.asked() == 1


async def test_the_same_content_has_the_same_tag_after_each_fetch_and_in_each_edge(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edges = [await ruled(etag=True), await ruled(etag=True)]
    contents = [b"one", b"one", b"another"]
    seen: list[set[str]] = []
    for content in contents:
        origin.script = lambda r, c=content: Reply(200, {"Cache-Control": "max-age=60", "X": str(r.number)}, c)  # type: ignore[misc]
        for edge in edges:
            await edge.fetch("/a")
        seen.append({(await edge.fetch("/a")).fields["etag"] for edge in edges})
        clock.advance(61)
    assert [len(tags) for tags in seen] == [1, 1, 1]
    assert seen[0] == seen[1] != seen[2]
    assert not any("if-none-match" in request.fields for request in origin.requests)


async def test_the_origin_is_asked_by_its_own_validators_and_its_304_keeps_the_tag(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    edge = await ruled(etag=True)
    modified = "Sun, 22 Nov 2026 00:00:00 GMT"
    fields = {"Cache-Control": "max-age=60", "Last-Modified": modified}
    origin.script = lambda r: Reply(304 if "if-modified-since" in r.fields else 200, fields, b"content")
    await edge.fetch("/a")
    tag = (await edge.fetch("/a")).fields["etag"]
    clock.advance(61)
    validated = await edge.fetch("/a", fields={"If-None-Match": tag})
    assert (validated.status, validated.fields["etag"]) == (304, tag)
    assert "if-none-match" not in origin.requests[1].fields
    assert origin.requests[1].fields["if-modified-since"] == modified
    assert (await edge.fetch("/a")).fields["etag"] == tag


async def test_parts_that_were_put_together_have_one(ruled: StartEdge, origin: ScriptedOrigin) -> None:
    """But a part alone has none: its bytes do not tell."""
    edge = await ruled(etag=True)
    fields = {"Cache-Control": "max-age=60"}
    origin.script = lambda _: Reply(206, {**fields, "Content-Range": "bytes 0-2/6"}, b"abc")
    await edge.fetch("/a", fields={"Range": "bytes=0-2"})
    assert "etag" not in (await edge.fetch("/a", fields={"Range": "bytes=0-2"})).fields
    origin.script = lambda _: Reply(206, {**fields, "Content-Range": "bytes 0-5/6"}, b"abcdef")
    await edge.fetch("/a", fields={"Range": "bytes=0-5"})
    assert (await edge.fetch("/a")).fields["etag"].startswith('"')


# ---------------------------------------------------------------------------------------------------------- proofs


def name(content: bytes) -> str:
    return f"/static/app.{hashlib.md5(content).hexdigest()[:12]}.js"


TYPED: Final = {"Content-Type": "text/javascript", "ETag": '"1"'}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("zipped", [False, True])
async def test_what_is_proven_is_immutable(
    ruled: StartEdge, origin: ScriptedOrigin, clock: FakeClock, size: int, zipped: bool
) -> None:
    edge = await ruled(verified=Strategy.IMMUTABLE)
    content = script(size)
    body, fields = (gzip.compress(content), {"Content-Encoding": "gzip"}) if zipped else (content, {})
    origin.script = lambda _: Reply(200, TYPED | fields, body)
    first = await edge.fetch(name(content))
    assert "cache-control" not in first.fields
    await settled(edge)
    clock.advance(1_000_000)
    hit = await edge.fetch(name(content), fields={"Cache-Control": "max-age=0"})
    assert (hit.body, hit.fields["cache-control"]) == (body, "public, max-age=31536000, immutable")
    assert hit.cache_status == "edgecache; hit; ttl=30536000"
    clock.advance(30_536_000)
    origin.script = lambda _: Reply(304, {"ETag": '"1"'})
    again = await edge.fetch(name(content))
    assert again.fields["cache-control"] == "public, max-age=31536000, immutable"
    assert "ttl=31536000" in again.cache_status


async def test_those_who_ask_for_what_is_proven_wait_for_one_another_again(
    ruled: StartEdge, origin: ScriptedOrigin
) -> None:
    """Its head alone said that waiting is not worth it."""
    edge = await ruled(verified=Strategy.IMMUTABLE)
    content = script(10)
    origin.script = lambda _: Reply(200, TYPED, content)
    await edge.fetch(name(content))
    await edge.parts.ledger.purge([Selector.of("all", "")])
    hold = Hold()
    origin.script = lambda _: Reply(200, TYPED | {"Cache-Control": "max-age=60"}, content, hold=hold)
    waiting = [await edge.download(name(content)) for _ in range(5)]
    await requested(edge, 6)
    hold.release()
    assert [(await each.rest()).body for each in waiting] == [content] * 5
    assert origin.asked() == 2


async def test_what_is_not_proven_is_as_the_origin_sent_it(ruled: StartEdge, origin: ScriptedOrigin) -> None:
    edge = await ruled(verified=Strategy.IMMUTABLE)
    origin.script = lambda _: Reply(200, TYPED, b"something else")
    for _ in range(2):
        answer = await edge.fetch(name(b"content"))
        assert "cache-control" not in answer.fields
    assert origin.asked() == 2


@pytest.mark.parametrize("size", SIZES)
async def test_what_a_manifest_disproves_is_not_stored(ruled: StartEdge, origin: ScriptedOrigin, size: int) -> None:
    """An old server answers under a new name: who asks gets it, and nobody after."""
    edge = await ruled()
    new, old = script(size, b"new"), script(size, b"old")
    listed = Versioned(By.MANIFEST, hashlib.md5(new).hexdigest()[:12], hashes_content=True)
    edge.parts.rules.names = AssetNames.of({name(new): listed})  # type: ignore[misc]
    answers = TYPED | {"Cache-Control": "public, max-age=31536000, immutable"}
    origin.script = lambda _: Reply(200, answers, old)
    for number in (1, 2):
        assert (await edge.fetch(name(new))).body == old
        await settled(edge)
        assert origin.asked() == number
    assert edge.parts.counters.statistics().not_storable == {"digest-mismatch": 2}
    origin.script = lambda _: Reply(200, answers, new)
    assert (await edge.fetch(name(new))).body == new
    await settled(edge)
    assert "hit" in (await edge.fetch(name(new))).cache_status
    assert origin.asked() == 3


async def test_a_purge_while_a_body_is_examined_still_hits_it(
    ruled: StartEdge, origin: ScriptedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = await ruled(etag=True)
    hold = Hold()
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, script(300_000))
    found = finish._examined

    async def slow(*arguments: object) -> object:
        await hold.wait()
        return await found(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(finish, "_examined", slow)
    first = await edge.download("/a")
    await hold.reached()
    await edge.fetch("/a", "POST", body=b"new")
    hold.release()
    assert (await first.rest()).complete
    await settled(edge)
    assert edge.parts.counters.statistics().not_storable["purged"] == 1
    assert edge.parts.memory.statistics().responses == 0


async def test_who_leaves_while_a_body_is_examined_loses_nothing_for_others(
    ruled: StartEdge, origin: ScriptedOrigin
) -> None:
    edge = await ruled(etag=True)
    origin.script = lambda _: Reply(200, {"Cache-Control": "max-age=60"}, (script(300_000),), chunked=True)
    leaving = await edge.download("/a")
    await leaving.read(300_000)
    await leaving.close()
    await settled(edge)
    assert "hit" in (await edge.fetch("/a")).cache_status
