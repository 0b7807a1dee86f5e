"""A response comes, is stored or not, and answers: what clients get, and what they do not (RFC 9111 §3, §4)."""

from __future__ import annotations

import pytest

from edgecache.http.fields import format_http_date
from tests.scenarios.answers import FRESH, bodies, numbered
from tests.scenarios.conftest import RunningEdge, StartEdge
from tests.scenarios.rig import FakeClock, FieldsLike, Reply, ScriptedOrigin, fetch

# A miss and a hit.


async def test_a_miss_says_so_and_a_hit_says_for_how_long(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    origin.script = lambda _: Reply(200, FRESH, b"content")
    miss = await edge.fetch("/a")
    assert miss.cache_status == "edgecache; fwd=uri-miss; stored"
    assert "age" not in miss.fields
    clock.advance(7)
    hit = await edge.fetch("/a")
    assert hit.cache_status == "edgecache; hit; ttl=53"
    assert hit.fields["age"] == "7"
    assert hit.body == miss.body == b"content"
    assert origin.asked() == 1


async def test_an_age_from_before_counts(edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock) -> None:
    origin.script = lambda _: Reply(200, {**FRESH, "Age": "20"}, b"content")
    await edge.fetch("/a")
    clock.advance(5)
    hit = await edge.fetch("/a")
    assert (hit.fields.getall("age"), hit.cache_status) == (["25"], "edgecache; hit; ttl=35")


async def test_both_go_through_this_proxy_once(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(200, {**FRESH, "Via": "1.1 inner"}, b"content")
    for _ in range(2):
        response = await edge.fetch("/a", fields={"Via": "1.0 outer"})
        assert ", ".join(response.fields.getall("via")) == "1.1 inner, 1.1 edgecache"
    assert ", ".join(origin.requests[0].fields.getall("via")) == "1.0 outer, 1.1 edgecache"


async def test_the_origins_date_is_kept_and_a_missing_one_is_set_once(
    edge: RunningEdge, origin: ScriptedOrigin, clock: FakeClock
) -> None:
    dated = format_http_date(clock.now - 5)
    origin.script = lambda request: Reply(200, {**FRESH, "Date": dated} if request.target == "/dated" else FRESH)
    received = format_http_date(clock.now)
    for _ in range(2):
        assert (await edge.fetch("/dated")).fields.getall("date") == [dated]
        assert (await edge.fetch("/undated")).fields.getall("date") == [received]
        clock.advance(3)


async def test_a_hit_is_the_miss_byte_for_byte(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    content = bytes(range(256)) * 1000
    sent = (
        ("X-B", "2"),
        ("x-a", "caf\xe9 \xff"),
        ("X-B", ""),
        ("cache-control", "max-age=60"),
        ("Content-Type", 'text/x; a="q, r"'),
    )
    origin.script = lambda _: Reply(200, sent, (content[:100_000], content[100_000:]), chunked=True)
    for _ in range(2):
        response = await edge.fetch("/a")
        assert response.body == content
        assert tuple(response.fields.items())[: len(sent)] == sent
    assert origin.asked() == 1


async def test_what_is_passed_keeps_each_set_cookie_line(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    lines = (("Set-Cookie", "a=1, b"), ("X", "\xe9"), ("Set-Cookie", "c=2; Path=/"))
    origin.script = lambda _: Reply(200, lines, b"content")
    response = await edge.fetch("/a", "POST", body=b"x")
    assert tuple(response.fields.items())[:3] == lines
    assert response.cache_status == "edgecache; fwd=method"


async def test_status_codes_that_are_unlike_200_are_named(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(("Cache-Control", "max-age=60"), status=404)
    assert (await edge.fetch("/a")).cache_status == "edgecache; fwd=uri-miss; fwd-status=404; stored"
    assert (await edge.fetch("/a")).cache_status == "edgecache; hit; ttl=60"


async def test_members_of_caches_nearer_to_the_origin_come_first(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = lambda _: Reply(200, {**FRESH, "Cache-Status": "inner; hit"}, b"content")
    await edge.fetch("/a")
    hit = await edge.fetch("/a")
    assert ", ".join(hit.fields.getall("cache-status")) == "inner; hit, edgecache; hit; ttl=60"


# What is not stored.


@pytest.mark.parametrize(
    ("answer", "request_fields", "detail"),
    [
        ({"Cache-Control": "no-store, max-age=60"}, (), "no-store"),
        ({"Cache-Control": "private, max-age=60"}, (), "private"),
        ({**FRESH, "Set-Cookie": "a=b"}, (), "set-cookie"),
        ({**FRESH, "Vary": "*"}, (), "vary-star"),
        ({**FRESH, "Vary": "Accept, *"}, (), "vary-star"),
        (FRESH, {"Authorization": "Basic x"}, "authorization"),
        (FRESH, {"Cache-Control": "no-store"}, "request-no-store"),
        ({"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}, {"Cookie": "a=b"}, "request-cookie"),
        ({}, (), "no-freshness"),
    ],
)
async def test_what_may_not_be_stored_is_not(
    edge: RunningEdge, origin: ScriptedOrigin, answer: dict[str, str], request_fields: FieldsLike, detail: str
) -> None:
    origin.script = numbered(*answer.items())
    first = await edge.fetch("/a", fields=request_fields)
    assert first.cache_status == f"edgecache; fwd=uri-miss; detail={detail}"
    assert (await edge.fetch("/a", fields=request_fields)).body == b"answer 2"


@pytest.mark.parametrize("directive", ["public", "s-maxage=60", "must-revalidate"])
async def test_a_response_to_an_authenticated_request_is_shared_when_it_says_so(
    edge: RunningEdge, origin: ScriptedOrigin, directive: str
) -> None:
    origin.script = numbered(("Cache-Control", f"max-age=60, {directive}"))
    assert await bodies(edge, {"Authorization": "Basic x"}, {"Authorization": "Basic y"}, {}) == [b"answer 1"] * 3


async def test_a_cookie_does_not_keep_out_a_response_that_says_how_long_it_is_fresh(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = numbered(("Cache-Control", "max-age=60"))
    assert await bodies(edge, {"Cookie": "a"}, {"Cookie": "b"}, {}) == [b"answer 1"] * 3


async def test_a_response_that_sets_a_cookie_is_stored_if_the_operator_insists(
    start_edge: StartEdge, origin: ScriptedOrigin
) -> None:
    edge = await start_edge(unsafe_store_set_cookie=True)
    origin.script = numbered(("Cache-Control", "max-age=60"), ("Set-Cookie", "a"), ("Set-Cookie", "b"))
    await edge.fetch("/a")
    assert (await edge.fetch("/a")).fields.getall("set-cookie") == ["a", "b"]


@pytest.mark.parametrize("name", ["no-cache", "private"])
async def test_a_field_that_is_named_is_for_the_first_one_only(
    edge: RunningEdge, origin: ScriptedOrigin, name: str
) -> None:
    origin.script = numbered(("Cache-Control", f'max-age=60, {name}="X-User"'), ("X-User", "you"))
    assert (await edge.fetch("/a")).fields["x-user"] == "you"
    hit = await edge.fetch("/a")
    assert hit.body == b"answer 1"
    assert "x-user" not in hit.fields


async def test_an_interim_response_reaches_the_client_and_is_not_stored(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    origin.script = lambda _: Reply(200, FRESH, b"content", interim=((103, {"Link": "</style>", **FRESH}),))
    miss = await edge.fetch("/a")
    assert (miss.interim, miss.status, miss.body) == ((103,), 200, b"content")
    hit = await edge.fetch("/a")
    assert (hit.interim, hit.status, hit.body) == ((), 200, b"content")
    assert "link" not in hit.fields


# What belongs to one connection.


async def test_the_clients_connection_fields_stay_here(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    own = {
        "Keep-Alive": "timeout=5",
        "Proxy-Connection": "keep-alive",
        "Proxy-Authorization": "Basic x",
        "TE": "trailers",
        "X-Hop": "1",
    }
    await edge.fetch("/a", fields=(*own.items(), ("X-End", "1"), ("Connection", "X-Hop, TE")))
    sent = origin.requests[0].fields
    assert not sent.keys() & set(own)
    assert sent["x-end"] == "1"


async def test_the_origins_connection_fields_are_neither_passed_on_nor_stored(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    own = {
        "Keep-Alive": "timeout=5",
        "Proxy-Authenticate": "Basic",
        "Proxy-Connection": "x",
        "Trailer": "X",
        "Upgrade": "h2c",
        "X-Hop": "1",
        "Connection": "x-hop, Upgrade",
    }
    origin.script = lambda _: Reply(200, {**FRESH, **own, "X-End": "1"}, b"content")
    for method in ("GET", "GET", "POST"):
        response = await edge.fetch("/a", method)
        assert not response.fields.keys() & set(own)
        assert response.fields["x-end"] == "1"


async def test_nobody_may_say_where_they_come_from_who_is_not_trusted(
    edge: RunningEdge, origin: ScriptedOrigin
) -> None:
    claims = {
        "Forwarded": "for=1.2.3.4",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "443",
        "X-Real-IP": "1.2.3.4",
    }
    await edge.fetch("/a", fields=claims)
    sent = origin.requests[0].fields
    assert sent.getall("forwarded") == ["for=127.0.0.1;host=example.com;proto=http"]
    assert sent.getall("x-forwarded-for") == ["127.0.0.1"]
    assert sent.getall("x-forwarded-host") == ["example.com"]
    assert sent.getall("x-forwarded-proto") == ["http"]
    assert not sent.keys() & {"X-Forwarded-Port", "X-Real-IP"}


async def test_the_host_and_the_target_reach_the_origin_as_spelled(edge: RunningEdge, origin: ScriptedOrigin) -> None:
    origin.script = numbered(*FRESH.items())
    targets = ["/a?b=%41&&c", "/a?b=A&&c", "//a", "/A", "/%61", "/a/../b", "/a?", "/a"]
    assert [(await edge.fetch(target)).body for target in targets] == [b"answer %d" % n for n in range(1, 9)]
    assert [request.target for request in origin.requests] == targets
    assert (await fetch(edge.port, "/a", fields={"Host": "other.example"})).body == b"answer 9"
    assert origin.requests[8].fields.getall("host") == ["other.example"]


async def test_x_cache_on_request(start_edge: StartEdge, origin: ScriptedOrigin) -> None:
    """For tools that do not read Cache-Status; off unless configured."""
    origin.script = lambda request: Reply(
        200, {"Cache-Control": "max-age=60" if request.target == "/a" else "no-store"}
    )
    edge = await start_edge(x_cache=True)
    seen = [(await edge.fetch(target)).fields["x-cache"] for target in ("/a", "/a", "/b")]
    assert seen == ["MISS", "HIT", "MISS"]
    assert (await edge.fetch("/a", "POST")).fields["x-cache"] == "PASS"
    plain = await start_edge()
    assert "x-cache" not in (await plain.fetch("/a")).fields


@pytest.mark.parametrize(("eviction", "stays"), [("lru", True), ("fifo", False), ("lfu", True), ("s3fifo", True)])
async def test_what_goes_first_when_memory_is_full_is_the_operators_choice(
    start_edge: StartEdge, origin: ScriptedOrigin, clock: FakeClock, eviction: str, stays: bool
) -> None:
    edge = await start_edge(memory=2**20, eviction=eviction)
    origin.script = lambda _: Reply(200, FRESH, b"x" * 50_000)
    for number in range(30):
        await edge.fetch(f"/{number}")
        await edge.fetch("/0")
        clock.advance(1)  # on the hit lane, all uses within a second are one
    assert (origin.asked("/0") == 1) == stays
