"""What a million stored responses cost: ``make bench-scale``, or ``python benchmarks/scale.py``.

Three questions about ``stores.memory`` alone, each in a process of its own, with responses as ``semantics.storing``
makes them of 13 fields of common lengths:

- bytes: what one of 100 000 takes beyond its body, by RSS, by tracemalloc, and by the store's own account;
- time: what a lookup, a put and a put that evicts take among 1 000, 100 000 and 1 000 000;
- pauses: how long the collector of cycles stops the process while a million responses are stored, and while others
  take their place: with Python's settings, and with those of a worker (``processes.garbage``).
"""

from __future__ import annotations

import argparse
import gc
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
NOW = 1_795_000_000.0


def response(number: int, body: bytes = b"") -> StoredResponse:
    """Return a page; every text that is another one for each response is a string of its own."""
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
    head = ResponseHead(200, fields_of((_copied(name), _copied(value)) for name, value in pairs))
    sent = NOW + number / 1000
    return make(
        request,
        head,
        MemoryBody((body,)),
        DEFAULT,
        key=CacheKey(uri),
        birth=Birth(b"epoch", 7),
        request_time=sent,
        response_time=sent + 0.05,
    )


def _copied(text: str) -> str:
    return text.encode().decode()


def resident() -> int:
    """Return what the process takes now, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# ---------------------------------------------------------------------------------------------------------------- bytes


def measured_bytes(count: int) -> dict[str, float]:
    """Return bytes of a response without a body, of ``count``."""
    store = MemoryStore(ROOMY)
    for number in range(1000):
        store.put_now(response(number))
    gc.collect()
    before, counted = resident(), store.statistics().bytes
    for number in range(1000, 1000 + count):
        store.put_now(response(number))
    gc.collect()
    taken, accounted = resident() - before, store.statistics().bytes - counted
    return {"resident": taken / count, "accounted": accounted / count}


def traced_bytes(count: int) -> dict[str, float]:
    """As ``measured_bytes``, by tracemalloc."""
    store = MemoryStore(ROOMY)
    for number in range(1000):
        store.put_now(response(number))
    tracemalloc.start()
    for number in range(1000, 1000 + count):
        store.put_now(response(number))
    gc.collect()
    return {"traced": tracemalloc.get_traced_memory()[0] / count}


# ----------------------------------------------------------------------------------------------------------------- time


def timed(operation: Callable[[Any], object], operands: Sequence[object]) -> float:
    """Return nanoseconds of processor time for each of the operands."""
    began = time.process_time()
    for each in operands:
        operation(each)
    return (time.process_time() - began) / len(operands) * 1e9


def measured_times(count: int, eviction: str) -> dict[str, float]:
    """Return nanoseconds of each operation among ``count`` responses: medians of ``ROUNDS``."""
    garbage.bound_pauses()
    store = MemoryStore(ROOMY, eviction=Eviction(eviction))
    for number in range(count):
        store.put_now(response(number))
    keys = [key for shard in range(store.shards) for key in store.keys_in(shard)]
    found: dict[str, list[float]] = {"lookup": [], "put": [], "put, evicting": []}
    full = MemoryStore(store.statistics().bytes + 4096, eviction=Eviction(eviction))
    for shard in range(store.shards):
        for key in store.keys_in(shard):
            full.put_now(store.peek(key)[0])
    for round_ in range(ROUNDS):
        # Keys as a request makes them: equal, but other objects.
        asked = [CacheKey(_copied(key)) for key in random.choices(keys, k=OPERATIONS)]
        found["lookup"].append(timed(store.slot_now, asked))
        more = [response(count + round_ * OPERATIONS + number) for number in range(OPERATIONS)]
        found["put"].append(timed(store.put_now, more))
        for each in more:
            store.remove_now(each)
        found["put, evicting"].append(timed(full.put_now, more))
    return {name: sorted(each)[ROUNDS // 2] for name, each in found.items()}


# --------------------------------------------------------------------------------------------------------------- pauses


def measured_pauses(count: int, settings: str) -> dict[str, float]:
    """Return milliseconds of collections, and of the longest put, while ``count`` are stored and as many replaced."""
    if settings == "worker":
        garbage.bound_pauses()
    pauses: list[float] = []
    began = 0.0

    def watch(phase: str, _: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            pauses.append(time.thread_time() - began)

    gc.callbacks.insert(0, watch)
    store = MemoryStore(ROOMY)
    longest = 0.0
    for number in range(count):
        store.put_now(response(number))
    full = MemoryStore(store.statistics().bytes)
    for shard in range(store.shards):
        for key in store.keys_in(shard):
            full.put_now(store.peek(key)[0])
    for number in range(count, 2 * count):
        new = response(number)
        began_put = time.thread_time()
        full.put_now(new)
        longest = max(longest, time.thread_time() - began_put)
    gc.callbacks.remove(watch)
    over = sum(pause > 0.005 for pause in pauses)
    return {
        "collections": len(pauses),
        "longest": max(pauses) * 1e3,
        "over 5 ms": over,
        "in all": sum(pauses) * 1e3,
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


def report(largest: int, evictions: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the report."""
    sizes = [1_000, largest // 10, largest]
    found = asked(measured_bytes, largest // 10) | asked(traced_bytes, largest // 10)
    yield f"bytes beyond the body, of {largest // 10:,}: " + ", ".join(f"{n} {v:.0f}" for n, v in found.items())
    yield ""
    yield f"{'ns among':20}" + "".join(f"{size:>12,}" for size in sizes) + "     ratio"
    for eviction in evictions:
        times = [asked(measured_times, size, eviction) for size in sizes]
        for operation in times[0]:
            row = [each[operation] for each in times]
            figures = "".join(f"{value:12.0f}" for value in row)
            yield f"{f'{eviction} {operation}':20}{figures}{row[-1] / row[0]:10.2f}"
    yield ""
    for settings in ("python", "worker"):
        pauses = asked(measured_pauses, largest, settings)
        yield f"pauses, {settings}: " + ", ".join(f"{name} {value:.1f}" for name, value in pauses.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 000 responses instead of 1 000 000")
    parser.add_argument("--eviction", action="append", choices=list(Eviction), help="[each]")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        question, *arguments = json.loads(given.ask)
        json.dump(QUESTIONS[question](*arguments), sys.stdout)
        return
    for line in report(10_000 if given.quick else 1_000_000, given.eviction or list(Eviction)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
