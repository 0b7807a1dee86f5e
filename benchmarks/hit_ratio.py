"""Which order of eviction finds more in memory: ``make bench-eviction``, or ``python benchmarks/hit_ratio.py``.

Traces of requests go through the orders of ``stores.eviction``, each with memory for a part of all that is asked for:

- zipf 0.7, zipf 1.0: the n-th most popular of ``OBJECTS`` is asked for with a frequency of 1/n^0.7, 1/n;
- scans: the latter, and now and then somebody who asks once for each of ``SCANNED`` pages that nobody else wants;
- shifting: the latter, but what is popular changes to another tenth of the objects with every tenth of the trace;
- loop: one object after the other, and again from the first.

Objects are of equal size, or of sizes between 1 and 256 KiB, most of them small. ``best`` knows
the future: of what is there and what has just come it gives up what is asked for last of all (Belady). With equal sizes
nothing can find more; with others it is only hard to beat.

There is one table for each kind of sizes, as ``docs/eviction.md`` has them. Everything is counted and nothing is timed:
with one ``--seed`` the figures are the same everywhere, but for S3-FIFO's, which depend a little on how Python hashes
strings.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections.abc import Callable, Iterator

from edgecache.semantics.stored import CacheKey
from edgecache.stores.base import Eviction, Slot
from edgecache.stores.eviction import order_of

OBJECTS = 10_000
REQUESTS = 200_000
SCANNED = 5_000
SCANS = 5
PARTS = (0.01, 0.05, 0.2, 0.5)
"""Of all that is asked for, how much there is memory for."""

KIB = 1024

Trace = list[CacheKey]


def zipf(luck: random.Random, skew: float, requests: int) -> Trace:
    keys = [CacheKey(f"o{number}") for number in range(OBJECTS)]
    luck.shuffle(keys)
    weights = list(itertools.accumulate(1 / rank**skew for rank in range(1, OBJECTS + 1)))
    return luck.choices(keys, cum_weights=weights, k=requests)


def scans(luck: random.Random, requests: int) -> Trace:
    trace = zipf(luck, 1.0, requests)
    scanned = min(SCANNED, requests // 10)
    for scan in range(SCANS):
        at = len(trace) * (scan + 1) // (SCANS + 1)
        pages = [CacheKey(f"s{scan}-{number}") for number in range(scanned)]
        between = trace[at : at + scanned]  # others do not wait for the scan to end
        trace[at : at + scanned] = [key for pair in zip(pages, between, strict=False) for key in pair]
    return trace


def shifting(luck: random.Random, requests: int) -> Trace:
    tenths = 10
    return [
        CacheKey(f"o{(int(key[1:]) + tenth * OBJECTS // tenths) % OBJECTS}")
        for tenth in range(tenths)
        for key in zipf(random.Random(luck.random()), 1.0, requests // tenths)
    ]


def loop(luck: random.Random, requests: int) -> Trace:
    around = [CacheKey(f"o{number}") for number in range(OBJECTS // 2)]
    return list(itertools.islice(itertools.cycle(around), requests))


TRACES: dict[str, Callable[[random.Random, int], Trace]] = {
    "zipf 0.7": lambda luck, requests: zipf(luck, 0.7, requests),
    "zipf 1.0": lambda luck, requests: zipf(luck, 1.0, requests),
    "scans": scans,
    "shifting": shifting,
    "loop": loop,
}


def equal(luck: random.Random) -> int:
    return 16 * KIB


def mixed(luck: random.Random) -> int:
    return int(min(256, luck.paretovariate(0.8)) * KIB)


def found(trace: Trace, sizes: dict[CacheKey, int], room: int, eviction: Eviction) -> float:
    """Return the part of the requests that an order finds in memory."""
    table: dict[CacheKey, Slot] = {}
    names: dict[Slot, CacheKey] = {}
    order, taken, hits = order_of(eviction, room), 0, 0
    find = order.finder([table])
    for key in trace:
        if find(key) is not None:
            hits += 1
            continue
        slot = table[key] = Slot()
        names[slot] = key
        slot.charged = sizes[key]  # what makes its weight here
        order.add(slot, key)
        order.resize(slot, slot.charged)
        taken += slot.charged
        while taken > room:
            victim = order.victim()
            size, name = victim.charged, names.pop(victim)
            order.resize(victim, -size)
            order.evicted(victim, name, size)
            del table[name]
            taken -= size
    return hits / len(trace)


def best(trace: Trace, sizes: dict[CacheKey, int], room: int) -> float:
    """Return the part of the requests that who knows the future finds in memory."""
    never = len(trace)
    following, last = [never] * len(trace), dict[CacheKey, int]()
    for now in reversed(range(len(trace))):
        following[now] = last.get(trace[now], never)
        last[trace[now]] = now
    wanted: dict[CacheKey, int] = {}  # what is there, and when it is asked for next
    latest_first: list[tuple[int, CacheKey]] = []
    taken = hits = 0
    for now, key in enumerate(trace):
        if key in wanted:
            hits += 1
        else:
            taken += sizes[key]
        wanted[key] = following[now]
        heapq.heappush(latest_first, (-following[now], key))
        while taken > room:
            when, name = heapq.heappop(latest_first)
            if wanted.get(name) == -when:
                del wanted[name]
                taken -= sizes[name]
    return hits / len(trace)


SIZES: dict[str, Callable[[random.Random], int]] = {"equal": equal, "mixed": mixed}


def rows(sized: Callable[[random.Random], int], requests: int, seed: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each trace and each size of memory: its names, and what is found."""
    for name, trace_of in TRACES.items():
        luck = random.Random(seed)
        trace = trace_of(luck, requests)
        sizes = {key: sized(luck) for key in dict.fromkeys(trace)}
        for part in PARTS:
            room = int(sum(sizes.values()) * part)
            ratios = [found(trace, sizes, room, eviction) for eviction in Eviction]
            ratios.append(best(trace, sizes, room))
            yield name, f"{part:.0%}", *(f"{ratio:.1%}" for ratio in ratios)


def table(kind: str, requests: int, seed: int) -> Iterator[str]:
    yield "| " + " | ".join((f"{kind} sizes", "memory", *Eviction, "best")) + " |"
    yield "|---|" + "--:|" * (len(Eviction) + 2)
    for row in rows(SIZES[kind], requests, seed):
        yield "| " + " | ".join(row) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 000 requests instead of 200 000")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    parser.add_argument("--sizes", choices=SIZES, action="append", help="[both]")
    given = parser.parse_args()
    for kind in given.sizes or SIZES:
        for line in table(kind, 10_000 if given.quick else REQUESTS, given.seed):
            print(line)
        print()


if __name__ == "__main__":
    main()
