"""What stored responses are said to weigh, against what they take."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Sequence

import pytest

from edgecache.http.message import RequestHead, ResponseHead, fields_of
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.stored import Birth, CacheKey, StoredResponse
from edgecache.semantics.storing import make
from edgecache.stores.body import MemoryBody
from edgecache.stores.memory import MemoryStore

BEFORE = 1_000
COUNT = 2_000
"""Responses that are there before memory is looked at, and that come then: tables and memories of parsers have their
usual size by then."""

NOW = 1_795_000_000.0
NAMES = [
    *map(sys.intern, ("Date", "Content-Type", "Cache-Control", "ETag", "Last-Modified", "Vary", "Cache-Tag", "Via"))
]
NAMES += [sys.intern(f"X-Other-{number}") for number in range(10)]
"""Kept, so that interning them again for each response does not make Python's table of them grow now and then."""


def copied(text: str) -> str:
    """As from the wire: no two responses share a string."""
    return text.encode().decode()


def response(
    number: int,
    fields: int,
    *,
    chunks: Sequence[int] = (),
    tags: str = "",
    vary: str = "",
    key: str = "",
) -> StoredResponse:
    """Return a response as the engine makes it; braces in ``tags`` and ``vary`` stand for its number."""
    uri = f"https://www.example.com/articles/{number:08d}/some-words-of-a-title"
    values = {
        "Date": f"Mon, 23 Nov 2026 01:36:{number % 60:02d} GMT",
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "public, max-age=3600",
        "ETag": f'"{number:08x}-5f2c"',
        "Last-Modified": f"Sun, 22 Nov 2026 01:36:{number % 60:02d} GMT",
    }
    special = {"Vary": "Accept-Language" if vary else "", "Cache-Tag": tags.format(number)}
    special = {name: value for name, value in special.items() if value}
    others = {
        name: f"{number:08d} and something" for name in NAMES if name not in {*values, "Vary", "Cache-Tag", "Via"}
    }
    pairs = [*{**values, **others}.items()][: fields - 1 - len(special)]  # and Via
    request = fields_of([("Accept-Language", vary.format(number))] if vary else [])
    return make(
        RequestHead("GET", "https", "www.example.com", uri.partition(".com")[2], request),
        ResponseHead(200, fields_of((copied(name), copied(value)) for name, value in [*pairs, *special.items()])),
        MemoryBody(tuple(bytes(bytearray(size)) for size in chunks)),
        DEFAULT,
        key=CacheKey(key.format(number) or uri),
        birth=Birth(b"epoch", number),
        request_time=NOW + number / 1000,
        response_time=NOW + number / 1000 + 0.05,
    )


def taken(kind: Callable[[int], StoredResponse]) -> tuple[float, float]:
    """Return what one response takes, and what the store says that it takes, bytes."""
    store = MemoryStore(2**40)
    for number in range(BEFORE):
        store.put_now(kind(number))
    gc.collect()
    counted = store.statistics().bytes
    tracemalloc.start()
    for number in range(BEFORE, BEFORE + COUNT):
        store.put_now(kind(number))
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / COUNT, (store.statistics().bytes - counted) / COUNT


TAGS = ",".join(f"tag{tag}:{{0}}" for tag in range(7))


@pytest.mark.parametrize(
    ("kind", "at_most"),
    [
        pytest.param(lambda n: response(n, 2), 1.15, id="2 fields"),
        pytest.param(lambda n: response(n, 6), 1.15, id="6 fields"),
        pytest.param(lambda n: response(n, 14), 1.15, id="14 fields"),
        pytest.param(lambda n: response(n, 18), 1.15, id="18 fields"),
        pytest.param(lambda n: response(n, 15, tags="product:{0}"), 1.25, id="a tag"),
        pytest.param(lambda n: response(n, 15, tags=TAGS), 1.35, id="7 tags"),
        pytest.param(lambda n: response(n, 15, tags="home,news"), 1.35, id="tags in common"),
        pytest.param(lambda n: response(n, 14, vary="de"), 1.35, id="Vary"),
        pytest.param(lambda n: response(n, 14, vary="de-{0}"), 1.15, id="Vary, own values"),
        pytest.param(lambda n: response(n, 14, chunks=(1024,)), 1.1, id="1 KiB"),
        pytest.param(lambda n: response(n, 14, chunks=(1000,) * 10), 1.1, id="10 chunks"),
        pytest.param(lambda n: response(n, 15, chunks=(10240,), tags="home,p{0}", vary="de"), 1.1, id="10 KiB, tags"),
        pytest.param(lambda n: response(n, 6, key="QUERY {0:0200} http://a.example/"), 1.35, id="key of its own"),
    ],
)
def test_a_response_takes_no_more_than_it_is_said_to_weigh(
    kind: Callable[[int], StoredResponse], at_most: float
) -> None:
    used, weight = taken(kind)
    assert used <= weight <= at_most * used, (used, weight)
