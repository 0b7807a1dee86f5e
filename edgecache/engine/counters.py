"""What is counted: every counter with its unit and what an operator should make of it.

Theory
    Counting must cost nothing worth avoiding, so a counter is a plain ``int`` in a slot:
    ``counters.hits += 1`` is all of it, no label is looked up and no lock is taken. Names, HELP texts and
    documentation are read from the same declaration, so none can be forgotten: the class is the table.

Invariants
    * A ``Counters`` belongs to one event loop; only code on that loop writes to it.
    * Counters only grow. What goes up and down (bytes stored, requests in flight) is asked of its
      owner when somebody wants to see it, and is not kept here.
    * The keys of ``not_storable``, ``forwarded``, ``request_seconds``, ``purges`` and ``purge_selectors`` come from
      closed lists, never from a message: a client cannot make them grow.
    * ``Statistics`` is a value: numbers and mappings of numbers that share nothing with what is still
      being counted, so it may be sent to another process as it is. ``merge`` of several processes is a sum.

Engine and edges write; the metrics, the admin listener and the command line read ``statistics()``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

__all__ = [
    "BOUNDS",
    "COUNTERS",
    "RESULTS",
    "Counter",
    "Counters",
    "Distribution",
    "Histogram",
    "Statistics",
    "merge",
]

RESULTS: Final[Mapping[str, str]] = {
    "hit": "Answered from the store, fresh.",
    "stale": "Answered from the store, stale: within grace, after a rollback, or in place of an error.",
    "revalidated": "Answered from the store after the origin confirmed it with a 304.",
    "collapsed": "Answered from a fetch that another request had begun.",
    "miss": "Answered by the origin, for the store to keep when it may.",
    "pass": "Answered by the origin, with neither lookup nor storing.",
    "synth": "Answered by this cache itself, as asked: for instance 504 to only-if-cached.",
    "error": "Answered by this cache because the origin failed or the request could not be understood.",
}
"""The one word for how a request ended, and what it means. The list is closed."""

BOUNDS: Final = (
    *(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds of the latency buckets, seconds, inclusive. The first holds hits, the last few hold timeouts."""


@dataclass(frozen=True, slots=True)
class Counter:
    """One row of the table: ``summary`` is one line, ``advice`` is for whoever wonders about the number."""

    name: str
    unit: str
    summary: str
    advice: str


def _count(unit: str, summary: str, advice: str) -> int:
    return field(default=0, metadata={"unit": unit, "summary": summary, "advice": advice})


class Histogram:
    """How often a duration fell into each bucket. Not cumulative: the reader adds up, the writer does not."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDS) + 1)
        self.total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration, in seconds."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def statistics(self) -> Distribution:
        """Return a snapshot."""
        return Distribution(tuple(self.counts), self.total)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A snapshot of a histogram: one count per bound of ``BOUNDS``, one for what is longer; sum in seconds."""

    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many durations were observed."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of ``Counters``, attribute by attribute; ``counts`` are the rows of ``COUNTERS`` by name."""

    counts: Mapping[str, int]
    not_storable: Mapping[str, int]
    forwarded: Mapping[str, int]
    request_seconds: Mapping[str, Distribution]
    origin_seconds: Distribution
    purges: Mapping[str, int]
    purge_selectors: Mapping[str, int]
    purge_seconds: Distribution


@dataclass(slots=True, eq=False)
class Counters:
    """Everything one process counts.

    Attributes other than the counters:
        not_storable: responses that were not stored, by the reason ``storing`` gave.
        forwarded: requests sent to the origin, by the reason of RFC 9211 §2.2.
        request_seconds: from a request's head to the last byte of its response, by result word.
        origin_seconds: from sending a request to the origin until its final response's head.
        purges: purges answered, by the state of their receipt.
        purge_selectors: their selectors, by kind, ``hard`` or ``soft``, and that state, with spaces between.
        purge_seconds: from a purge's order to its receipt.
    """

    requests: int = _count(
        "requests",
        "Requests handed to the engine.",
        "All traffic that was understood. Every one of them ends in exactly one result word.",
    )
    hits: int = _count(
        "requests",
        "Requests answered from the store with a fresh response, or a stale one that they accept or a rollback wants.",
        "The number this program exists for. When it falls while requests do not, look at not_storable "
        "and forwarded first, then at evictions.",
    )
    hits_lane: int = _count(
        "requests",
        "Hits that were answered straight from the socket, as the same question had been before.",
        "Among hits. Far fewer than those mean that requests differ in what their answers depend on (Vary: Cookie, "
        "say), that much is large or compressed, or that what is stored lives only for moments.",
    )
    hits_stale_grace: int = _count(
        "requests",
        "Requests answered with a stale response while it was validated in the background.",
        "Expected with stale-while-revalidate or grace. Many of them, compared with hits, mean lifetimes "
        "shorter than the time between two requests for the same thing.",
    )
    hits_stale_error: int = _count(
        "requests",
        "Requests answered with a stale response because the origin failed.",
        "Clients saw no error, but the origin has one: see origin_errors and origin_timeouts.",
    )
    hits_retained: int = _count(
        "requests",
        "Requests answered with a retained response because the origin answered 404 or 410.",
        "Pages of before a deploy still ask for what went with it. When it stays high for longer than people "
        "keep pages open, something new refers to what is gone.",
    )
    prolonged: int = _count(
        "responses",
        "Lifetimes that a use has prolonged (sliding).",
        "At most ten for each response in the time it slides by. None where a rule says sliding: what it is "
        "for ends before it is used.",
    )
    misses: int = _count(
        "requests",
        "Requests for which the store had nothing that could be used or validated.",
        "High after a start, a purge or a deploy. High all the time: keys that differ needlessly (query, "
        "Vary), a store too small (evictions), or responses that may not be stored.",
    )
    passes: int = _count(
        "requests",
        "Requests sent on with neither lookup nor storing.",
        "Unsafe methods, upgrades, and what a rule passes.",
    )
    revalidated: int = _count(
        "requests",
        "Validations answered 304 by the origin: the stored response was freshened.",
        "A cheap way to stay correct. If these dominate, a longer lifetime would save the round trips.",
    )
    revalidated_full: int = _count(
        "requests",
        "Validations answered with a full response: what was stored had changed.",
        "All of them and no 304 means an origin that ignores conditional requests or changes its ETag each time.",
    )
    collapsed: int = _count(
        "requests",
        "Requests answered from a fetch begun by another one.",
        "Each is a request that the origin did not see. They come in bursts, when something popular goes stale.",
    )
    synthesized: int = _count(
        "requests",
        "Responses made by this cache itself, errors included.",
        "only-if-cached without a stored response, and origin failures with nothing stale to serve instead.",
    )
    refused_storing: int = _count(
        "responses",
        "Responses of the origin that may not be stored.",
        "The reasons are counted one by one in not_storable.",
    )
    stored: int = _count(
        "responses",
        "Complete responses put into the store.",
        "Far more of these than hits means a store that is filled for nobody.",
    )
    encoded: int = _count(
        "operations",
        "Stored bodies that were put into a content coding (br, zstd, gzip), once for all who want it.",
        "Growing as fast as hits means that cache.encoded is too small to keep them.",
    )
    store_failures: int = _count(
        "operations",
        "Operations the store could not do; the request went on as if nothing were stored.",
        "Should be zero. For Redis see its latency and memory; clients only notice slower answers.",
    )
    fills: int = _count(
        "responses",
        "Bodies the engine began to receive from the origin in order to store them.",
        "Each ends as stored, aborted, abandoned, or refused by the store for its size.",
    )
    fills_aborted: int = _count(
        "responses",
        "Fills that the origin broke off, or ended at another length than announced.",
        "Nothing of them was stored, and the clients' connections were closed. Look for crashing workers "
        "or timeouts at the origin.",
    )
    fills_abandoned: int = _count(
        "responses",
        "Fills that were given up because no client was left to read them.",
        "Impatient clients or slow large responses; see client_aborts.",
    )
    refreshes: int = _count(
        "requests",
        "Validations in the background, with no client waiting.",
        "The other half of hits_stale_grace: one refresh serves many of those.",
    )
    refreshes_early: int = _count(
        "requests",
        "Validations in the background ahead of the end of a lifetime.",
        "Among refreshes. About one for each lifetime of what is busy. Far more mean an origin whose answers take "
        "nearly as long as they last.",
    )
    refreshes_elsewhere: int = _count(
        "requests",
        "Refreshes that were left to another process, or that one had done.",
        "Each is a request that the origin did not see. None with several busy processes means that they do not "
        "share what they fetch: see store_failures and write_behind.",
    )
    origin_requests: int = _count(
        "requests",
        "Requests sent to the origin, retries not counted.",
        "The load that is left. Compare with requests for the offload.",
    )
    origin_errors: int = _count(
        "requests",
        "Requests to the origin that failed: refused, reset, or not answered in HTTP. Timeouts not included.",
        "Not the 5xx the origin sends, which are answers. Check its address, its health and connection limits.",
    )
    origin_timeouts: int = _count(
        "requests",
        "Requests to the origin given up because it took too long.",
        "Compare origin_duration_seconds with the configured timeouts.",
    )
    hit_for_miss_marks: int = _count(
        "keys",
        "Keys remembered as not worth waiting for, because the last answer could not be stored.",
        "Their requests are not collapsed for a while. Expected for personal pages, which a pass rule would "
        "spare the detour.",
    )
    invalidations: int = _count(
        "keys",
        "Keys invalidated because an unsafe method succeeded (RFC 9111 §4.4).",
        "Follows the writes. A hot page among them explains a low hit ratio.",
    )
    group_invalidations: int = _count(
        "groups",
        "Cache groups invalidated by a response of the origin (RFC 9875 §3).",
        "Each may drop many stored responses at once.",
    )
    bytes_from_store: int = _count(
        "bytes",
        "Content delivered out of the store.",
        "With bytes_from_origin, the hit ratio weighed by size.",
    )
    bytes_from_origin: int = _count(
        "bytes",
        "Content received from the origin.",
        "What the link to the origin carried for content; heads are not included.",
    )
    connections: int = _count(
        "connections",
        "Connections accepted from clients.",
        "Close to requests means that clients, or a balancer in front, do not keep connections alive.",
    )
    bad_requests: int = _count(
        "requests",
        "Requests refused before the engine saw them, because they break HTTP or a limit.",
        "Scanners cause a trickle. A sudden rise with real users behind it: fields grown past the limits, "
        "usually cookies.",
    )
    client_aborts: int = _count(
        "requests",
        "Requests whose client left before the response was complete.",
        "Some are normal. If they follow the latency of misses, people are giving up waiting.",
    )
    bytes_sent: int = _count(
        "bytes",
        "Bytes written to clients.",
        "The traffic of the listener, outward.",
    )
    purge_matched: int = _count(
        "responses",
        "Stored responses that the selectors of purges matched, just before.",
        "In the memory of the processes that were asked. If it stays at zero while purges come in, their "
        "selectors are not what the origin calls its tags and URLs.",
    )
    purge_erased: int = _count(
        "responses",
        "Responses taken out of Redis because a purge asked for erasing.",
        "Each with its body. Zero after an erasure: nothing that was purged was left there, or its time was over.",
    )
    not_storable: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    forwarded: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    request_seconds: dict[str, Histogram] = field(default_factory=lambda: {word: Histogram() for word in RESULTS})
    origin_seconds: Histogram = field(default_factory=Histogram)
    purges: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    purge_selectors: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    purge_seconds: Histogram = field(default_factory=Histogram)

    def statistics(self) -> Statistics:
        """Return a snapshot that counting on does not change."""
        return Statistics(
            counts={counter.name: getattr(self, counter.name) for counter in COUNTERS},
            not_storable=_by_word(self.not_storable),
            forwarded=_by_word(self.forwarded),
            request_seconds={word: histogram.statistics() for word, histogram in self.request_seconds.items()},
            origin_seconds=self.origin_seconds.statistics(),
            purges=_by_word(self.purges),
            purge_selectors=_by_word(self.purge_selectors),
            purge_seconds=self.purge_seconds.statistics(),
        )


COUNTERS: Final = tuple(Counter(each.name, **each.metadata) for each in fields(Counters) if each.metadata)
"""The table: one row per counter, in the order of their declaration."""


def merge(snapshots: Iterable[Statistics]) -> Statistics:
    """Return the sum of snapshots, for instance of all processes; of none, all zero."""
    parts = [Counters().statistics(), *snapshots]
    return Statistics(
        counts=_sum(part.counts for part in parts),
        not_storable=_sum(part.not_storable for part in parts),
        forwarded=_sum(part.forwarded for part in parts),
        request_seconds={word: _pool(part.request_seconds[word] for part in parts) for word in RESULTS},
        origin_seconds=_pool(part.origin_seconds for part in parts),
        purges=_sum(part.purges for part in parts),
        purge_selectors=_sum(part.purge_selectors for part in parts),
        purge_seconds=_pool(part.purge_seconds for part in parts),
    )


def _by_word(counts: Mapping[str, int]) -> dict[str, int]:
    # Members of a StrEnum are as good as words while counting; a snapshot holds words, which any reader knows.
    return {str(word): count for word, count in counts.items()}


def _sum(mappings: Iterable[Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for mapping in mappings:
        for word, count in mapping.items():
            totals[word] = totals.get(word, 0) + count
    return totals


def _pool(distributions: Iterable[Distribution]) -> Distribution:
    parts = list(distributions)
    counts = tuple(map(sum, zip(*(part.counts for part in parts), strict=True)))
    return Distribution(counts, sum(part.total for part in parts))
