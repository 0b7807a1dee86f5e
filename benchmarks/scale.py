"""What a million stored responses cost: ``make bench-scale``, or ``python benchmarks/scale.py``.

Three questions about ``stores.memory`` alone, each in a process of its own, with responses as ``semantics.storing``
makes them, of 13 fields of common lengths:

- bytes: what one of 100 000 and of 1 000 000 takes beyond its body, by RSS, by tracemalloc, and by the store's own
  account; of 2 and 6 fields as well;
- time: what a lookup, a put and a put that evicts take among 1 000, 100 000 and 1 000 000;
- pauses: how long the collector of cycles stops the process while a million responses are stored, each with a tag of
  its own, and while others take the place of a tenth of them: as a worker sets it (``processes.garbage``), and in other
  ways; and how long the longest put takes.

All times are of the processor, by the kernel's account: whatever else the machine does is not in them.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edgecache.http.message import RequestHead, ResponseHead, fields_of
from edgecache.processes import garbage
from edgecache.semantics.policy import DEFAULT
from edgecache.semantics.stored import Birth, CacheKey, StoredResponse
from edgecache.semantics.storing import make
from edgecache.stores.base import Eviction
from edgecache.stores.body import MemoryBody
from edgecache.stores.memory import MemoryStore

ROOMY = 2**40
"""Bytes: nothing is evicted."""

OPERATIONS = 10_000
ROUNDS = 5
FIELDS = 13
SHAPES = (2, 6, FIELDS)
"""Fields of a response."""

NOW = 1_795_000_000.0


def response(number: int, fields: int = FIELDS) -> StoredResponse:
    """Return a page without a body; every text that is another one for each response is a string of its own."""
    uri = f"https://www.example.com/articles/2026/11/{number:08d}/some-words-of-a-title"
    request = RequestHead("GET", "https", "www.example.com", uri.partition(".com")[2], fields_of(()))
    second = number % 60
    pairs = [
        ("Date", f"Mon, 23 Nov 2026 01:36:{second:02d} GMT"),
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "public, max-age=3600, stale-while-revalidate=60"),
        ("ETag", f'"{number:08x}-5f2c"'),
        ("Last-Modified", f"Sun, 22 Nov 2026 {number // 3600 % 24:02d}:{number // 60 % 60:02d}:{second:02d} GMT"),
        ("Vary", "Accept-Encoding"),
        ("Server", "nginx/1.28.0"),
        ("X-Request-Id", f"{number:032x}"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ]
    # As from the wire: no two responses share the strings of their fields.
    head = ResponseHead(200, fields_of((_copied(name), _copied(value)) for name, value in pairs[: fields - 1]))
    sent = NOW + number / 1000
    return make(
        request,
        head,
        MemoryBody((b"",)),
        DEFAULT,
        key=CacheKey(uri),
        birth=Birth(b"epoch", 7),
        request_time=sent,
        response_time=sent + 0.05,
    )


def tagged(number: int) -> StoredResponse:
    """Return a page with a tag that no other has."""
    return replace(response(number), tags=frozenset({f"product:{number}"}))


def _copied(text: str) -> str:
    return text.encode().decode()


def resident() -> int:
    """Return what the process takes now, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# ---------------------------------------------------------------------------------------------------------------- bytes


def measured_bytes(count: int, fields: int) -> dict[str, float]:
    """Return bytes of a response of ``count``."""
    store = MemoryStore(ROOMY)
    for number in range(1000):
        store.put_now(response(number, fields))
    gc.collect()
    before, counted = resident(), store.statistics().bytes
    for number in range(1000, 1000 + count):
        store.put_now(response(number, fields))
    gc.collect()
    taken, accounted = resident() - before, store.statistics().bytes - counted
    return {"RSS": taken / count, "account": accounted / count}


def traced_bytes(count: int, fields: int) -> dict[str, float]:
    """As ``measured_bytes``, by tracemalloc."""
    store = MemoryStore(ROOMY)
    for number in range(1000):
        store.put_now(response(number, fields))
    tracemalloc.start()
    for number in range(1000, 1000 + count):
        store.put_now(response(number, fields))
    gc.collect()
    return {"tracemalloc": tracemalloc.get_traced_memory()[0] / count}


# ----------------------------------------------------------------------------------------------------------------- time


def timed(operation: Callable[[Any], object], operands: Sequence[object]) -> float:
    """Return nanoseconds of processor time for each of the operands."""
    began = time.process_time()
    for each in operands:
        operation(each)
    return (time.process_time() - began) / len(operands) * 1e9


def weight(made: Callable[[int], StoredResponse] = response) -> int:
    """Return by how much a response makes a store larger that has some already."""
    store = MemoryStore(ROOMY)
    store.put_now(made(10**6))
    before = store.statistics().bytes
    store.put_now(made(10**6 + 1))
    return store.statistics().bytes - before


def measured_times(count: int, eviction: str) -> dict[str, float]:
    """Return nanoseconds of each operation among ``count`` responses: medians of ``ROUNDS``."""
    garbage.bound_pauses()
    room = int((1.02 * count + OPERATIONS) * weight())  # S3-FIFO's own table takes less than a hundredth
    store = MemoryStore(room, eviction=Eviction(eviction))
    for number in range(count):
        store.put_now(response(number))
    keys = [key for shard in range(store.shards) for key in store.keys_in(shard)]
    more = [response(number) for number in range(count, count + OPERATIONS)]
    found: dict[str, list[float]] = {"lookup": [], "put": [], "put that evicts": []}
    for _ in range(ROUNDS):
        # Keys as a request makes them: equal, but other objects.
        asked = [CacheKey(_copied(key)) for key in random.choices(keys, k=OPERATIONS)]
        found["lookup"].append(timed(store.slot_now, asked))
        found["put"].append(timed(store.put_now, more))
        for each in more:
            store.remove_now(each)
    number = count + OPERATIONS
    while not store.statistics().evictions:
        store.put_now(response(number))
        number += 1
    for _ in range(ROUNDS):
        more = [response(new) for new in range(number, number + OPERATIONS)]
        found["put that evicts"].append(timed(store.put_now, more))
        number += OPERATIONS
    return {name: sorted(each)[ROUNDS // 2] for name, each in found.items()}


# --------------------------------------------------------------------------------------------------------------- pauses


def as_worker() -> None:
    garbage.bound_pauses()


def set_aside_rarely() -> None:
    garbage.bound_pauses()
    gc.set_threshold(700, 10, 1)


def collected_often() -> None:
    gc.set_threshold(700, 10, 1)


def as_python() -> None:
    gc.set_threshold(700, 10, 10)


SETTINGS: dict[str, Callable[[], None]] = {
    "of a worker": as_worker,
    "700, 10, 1, set aside": set_aside_rarely,
    "700, 10, 1": collected_often,
    "700, 10, 10, Python's": as_python,
}


def measured_pauses(count: int, settings: str) -> dict[str, float]:
    """Return what collections take while ``count`` are stored, and a tenth of them lose their place to others."""
    SETTINGS[settings]()
    pauses: list[float] = []
    began = 0.0

    def begin(phase: str, _: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()

    def end(phase: str, _: dict[str, int]) -> None:
        if phase == "stop":
            pauses.append(time.thread_time() - began)

    gc.callbacks.insert(0, begin)
    gc.callbacks.append(end)  # after what is set aside
    store = MemoryStore(count * weight(tagged))
    longest, started = 0.0, time.process_time()
    for number in range(count + count // 10):
        new, before = tagged(number), time.thread_time()
        store.put_now(new)
        longest = max(longest, time.thread_time() - before)
    return {
        "collections": len(pauses),
        "longest": max(pauses) * 1e3,
        "over 5 ms": sum(pause > 0.005 for pause in pauses),
        "collecting": sum(pauses),
        "in all": time.process_time() - started,
        "put": longest * 1e3,
    }


# ----------------------------------------------------------------------------------------------------------- the table

QUESTIONS: dict[str, Callable[..., dict[str, float]]] = {
    "measured_bytes": measured_bytes,
    "traced_bytes": traced_bytes,
    "measured_times": measured_times,
    "measured_pauses": measured_pauses,
}


def asked(question: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Ask in a process of its own."""
    command = (sys.executable, __file__, "--ask", json.dumps([question.__name__, *arguments]))
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return dict(json.loads(answer))


def bytes_table(largest: int) -> Iterator[str]:
    yield "| bytes beyond the body | fields | RSS | account | tracemalloc |"
    yield "|---|--:|--:|--:|--:|"
    for count, fields in itertools.product((largest // 10, largest), SHAPES):
        found = asked(measured_bytes, count, fields)
        if count < largest:  # it takes several times as long
            found |= asked(traced_bytes, count, fields)
        figures = " | ".join(
            f"{found[name]:,.0f}" if name in found else "" for name in ("RSS", "account", "tracemalloc")
        )
        yield f"| of {count:,} | {fields} | {figures} |"


def times_table(largest: int) -> Iterator[str]:
    sizes = (1_000, largest // 10, largest)
    yield "| µs | " + " | ".join(f"among {size:,}" for size in sizes) + " | ratio |"
    yield "|---|" + "--:|" * (len(sizes) + 1)
    for eviction in Eviction:
        times = [asked(measured_times, size, eviction) for size in sizes]
        for operation in times[0]:
            row = [each[operation] / 1e3 for each in times]
            figures = " | ".join(f"{value:.2f}" for value in row)
            yield f"| {eviction}, {operation} | {figures} | {row[-1] / row[0]:.2f} |"


def pauses_table(largest: int) -> Iterator[str]:
    yield "| collections | how many | longest, ms | over 5 ms | in all, s | of the time | longest put, ms |"
    yield "|---|" + "--:|" * 6
    for settings in SETTINGS:
        found = asked(measured_pauses, largest, settings)
        yield (
            f"| {settings} | {found['collections']:,} | {found['longest']:.1f} | {found['over 5 ms']} "
            f"| {found['collecting']:.1f} | {found['collecting'] / found['in all']:.0%} | {found['put']:.1f} |"
        )


TABLES: dict[str, Callable[[int], Iterator[str]]] = {
    "pauses": pauses_table,
    "times": times_table,
    "bytes": bytes_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 000 responses instead of 1 000 000")
    parser.add_argument("--only", choices=TABLES, action="append", help="[all]")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        question, *arguments = json.loads(given.ask)
        json.dump(QUESTIONS[question](*arguments), sys.stdout)
        return
    for name in given.only or TABLES:
        for line in TABLES[name](10_000 if given.quick else 1_000_000):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
