"""The metrics in Prometheus' formats: what is counted anyway, read at the moment somebody asks.

Theory
    Nothing here is touched while a request is served. A scrape takes one snapshot of the counters and asks
    the stores and the server for their gauges; ``HELP`` is the table of ``engine.counters``. A counter ``name`` is
    ``edgecache_<name>_total``, save for the exceptions in ``_NAMES`` and ``_KINDS``.

Invariants
    * A label's values come from a closed list, or from the configuration (tiers). Never from a message: a
      client that could make up label values could fill the memory of whoever scrapes.
    * Families and labels are an interface: dashboards and alerts are written against them.

Whoever assembles the program makes one registry (``make_registry``); the admin listener serves it (``expose``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from edgecache.engine.counters import BOUNDS, COUNTERS, RESULTS, Distribution, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgecache.edges.access_log import LogStatistics
    from edgecache.edges.supervision import Supervision
    from edgecache.stores.base import StoreStatistics

__all__ = ["TIER_STATES", "Sources", "StatisticsSource", "expose", "make_registry"]

_PREFIX: Final = "edgecache_"
_LE: Final = (*(str(bound) for bound in BOUNDS), "+Inf")
_NAMES: Final[Mapping[str, str]] = {"requests": "requests_received"}  # requests_total is told apart by result
_KINDS: Final[Mapping[str, str]] = {"origin_errors": "failed", "origin_timeouts": "timeout"}

_LEDGER: Final[Mapping[str, str]] = {
    "leased": "1 while enough is known of purges to answer from the store, 0 while the origin has to confirm.",
    "sequence": "Number of the last purge that is known.",
    "failed": "1 after the purge log could not be asked for news.",
}
_TIER_COUNTS: Final[Mapping[str, tuple[str, str, Mapping[str, str]]]] = {
    "store_lookups": ("Lookups in a shared tier, by what they found.", "result", {"hits": "hit", "misses": "miss"}),
    "store_unreadable": (
        "Records not used: they did not open (damage, forgery, another secret), or were too long to be read.",
        "why",
        {"broken": "broken", "oversized": "oversized"},
    ),
    "write_behind": (
        "Responses that were to be written to a shared tier, by what became of them.",
        "outcome",
        {word: word for word in ("written", "refused", "failed", "full", "superseded", "purged", "dropped")},
    ),
    "store_breaker_opened": ("Times that a silent tier was given up for a while.", "", {"breaker_opened": ""}),
}
"""Family -> its HELP, its label beside the tier, and the label's value for each key of the mapping."""

TIER_STATES: Final[Mapping[str, str]] = {
    "write_behind_bytes": "Bytes waiting to be written to a shared tier.",
    "store_breaker_open": "Processes that do not ask a tier now, because it was silent.",
}


class StatisticsSource(Protocol):
    """The counters of this process, or the sum of several."""

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the numbers come from. The callables are called once for each scrape and must not wait.

    Attributes:
        version: of this program.
        counters: what is counted.
        store_statistics: by tier (``memory``, ``redis``).
        in_flight: requests being answered.
        access_log: of the access log's writer; None when there is no access log.
        supervision: what the supervisor knows; it returns None where there is no supervisor.
        tiers: by tier, what ``_TIER_COUNTS`` and ``TIER_STATES`` have names for. Of several processes: added up.
        ledger: ``leased``, ``sequence``, ``failed``: whether purges are known well enough to serve by, the last one
            known, and whether the last attempt to hear of more went wrong. Of several processes: the worst of each.
    """

    version: str
    counters: StatisticsSource
    store_statistics: Callable[[], Mapping[str, StoreStatistics]]
    in_flight: Callable[[], int]
    access_log: Callable[[], LogStatistics] | None = None
    supervision: Callable[[], Supervision | None] = lambda: None
    tiers: Callable[[], Mapping[str, Mapping[str, int]]] = dict
    ledger: Callable[[], Mapping[str, int]] = dict


def make_registry(sources: Sources) -> CollectorRegistry:
    """Return a registry of its own, with everything edgecache measures and the usual numbers of the process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_EdgeCollector(sources))
    ProcessCollector(registry=registry)
    return registry


def expose(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return an exposition and its ``Content-Type``: OpenMetrics where ``Accept`` asks for it, else text."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _EdgeCollector(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        sources, statistics = self._sources, self._sources.counters.statistics()
        yield InfoMetricFamily(f"{_PREFIX}build", "The running program.", {"version": sources.version})
        yield from _requests(statistics.request_seconds)
        yield from _counters(statistics.counts)
        yield from _reasons(statistics)
        yield _histogram(
            "origin_duration_seconds",
            "Seconds from sending a request to the origin until its response began.",
            {"": statistics.origin_seconds},
        )
        yield GaugeMetricFamily(f"{_PREFIX}in_flight", "Requests being answered now.", sources.in_flight())
        yield from _purges(statistics)
        yield from _ledger(sources.ledger())
        yield from _stores(sources.store_statistics())
        yield from _tiers(sources.tiers())
        if sources.access_log is not None:
            yield from _access_log(sources.access_log())
        if (supervision := sources.supervision()) is not None:
            yield from _supervision(supervision)


def _requests(by_result: Mapping[str, Distribution]) -> Iterator[Metric]:
    total = _counter("requests", "Requests answered, by how they ended.", "result")
    for word in RESULTS:
        total.add_metric((word,), by_result[word].count)
    yield total
    yield _histogram(
        "request_duration_seconds", "Seconds from a request to the end of its response.", by_result, "result"
    )


def _counters(counts: Mapping[str, int]) -> Iterator[Metric]:
    for row in COUNTERS:
        if row.name not in _KINDS:
            yield _counter(_NAMES.get(row.name, row.name), row.summary, value=counts[row.name])
    failures = _counter("origin_errors", "Requests to the origin that failed or took too long.", "kind")
    for name, kind in _KINDS.items():
        failures.add_metric((kind,), counts[name])
    yield failures


def _reasons(statistics: Statistics) -> Iterator[Metric]:
    refused = _counter("not_storable", "Responses of the origin that were not stored, by reason.", "reason")
    for reason, count in statistics.not_storable.items():
        refused.add_metric((reason,), count)
    yield refused
    forwarded = _counter("forwarded", "Requests sent to the origin, by why (RFC 9211 §2.2).", "why")
    for why, count in statistics.forwarded.items():
        forwarded.add_metric((why,), count)
    yield forwarded


def _stores(tiers: Mapping[str, StoreStatistics]) -> Iterator[Metric]:
    labels = ("tier",)
    sizes = GaugeMetricFamily(f"{_PREFIX}store_bytes", "Bytes the store keeps, its index included.", labels=labels)
    limits = GaugeMetricFamily(f"{_PREFIX}store_max_bytes", "Bytes the store may keep.", labels=labels)
    responses = GaugeMetricFamily(f"{_PREFIX}store_responses", "Responses in the store.", labels=labels)
    evictions = _counter("store_evictions", "Responses evicted because room was needed.", "tier")
    refused = _counter("store_refused", "Responses too large for the store.", "tier")
    for tier, statistics in tiers.items():
        sizes.add_metric((tier,), statistics.bytes)
        limits.add_metric((tier,), statistics.max_bytes)
        responses.add_metric((tier,), statistics.responses)
        evictions.add_metric((tier,), statistics.evictions)
        refused.add_metric((tier,), statistics.refused)
    yield from (sizes, limits, responses, evictions, refused)


def _purges(statistics: Statistics) -> Iterator[Metric]:
    purges = _counter("purges", "Purges answered, by the state of their receipt.", "state")
    for state, count in statistics.purges.items():
        purges.add_metric((state,), count)
    yield purges
    selectors = _counter("purge_selectors", "Selectors of purges, by the same state.", "kind", "mode", "state")
    for words, count in statistics.purge_selectors.items():
        selectors.add_metric(words.split(" "), count)
    yield selectors
    summary = "Seconds from the order of a purge to its receipt."
    yield _histogram("purge_duration_seconds", summary, {"": statistics.purge_seconds})


def _ledger(state: Mapping[str, int]) -> Iterator[Metric]:
    for name, summary in _LEDGER.items():
        if name in state:
            yield GaugeMetricFamily(f"{_PREFIX}ledger_{name}", summary, state[name])


def _tiers(tiers: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    for name, (summary, label, words) in _TIER_COUNTS.items():
        family = _counter(name, summary, "tier", *([label] if label else []))
        for tier, counts in tiers.items():
            for key, word in words.items():
                if key in counts:
                    family.add_metric((tier, word) if label else (tier,), counts[key])
        yield family
    for name, summary in TIER_STATES.items():
        gauge = GaugeMetricFamily(f"{_PREFIX}{name}", summary, labels=("tier",))
        for tier, counts in tiers.items():
            if name in counts:
                gauge.add_metric((tier,), counts[name])
        yield gauge


def _access_log(log: LogStatistics) -> Iterator[Metric]:
    yield _counter("access_log_lines", "Lines written to the access log.", value=log.written)
    dropped = _counter("access_log_dropped", "Lines dropped: nobody took them in time, or writing failed.", "why")
    dropped.add_metric(("full",), log.dropped_full)
    dropped.add_metric(("failed",), log.dropped_failed)
    yield dropped


def _supervision(known: Supervision) -> Iterator[Metric]:
    workers = GaugeMetricFamily(f"{_PREFIX}workers", "Worker processes, by what they do.", labels=("state",))
    workers.add_metric(("serving",), known.workers)
    workers.add_metric(("draining",), known.workers_draining)
    yield workers
    yield GaugeMetricFamily(f"{_PREFIX}workers_wanted", "Workers that there should be.", known.workers_wanted)
    yield _counter("worker_restarts", "Workers started because another one died.", value=known.restarts)
    reloads = _counter("config_reloads", "Reloads, by whether the new configuration was put into service.", "outcome")
    reloads.add_metric(("ok",), known.reloads)
    reloads.add_metric(("refused",), known.reloads_refused)
    yield reloads
    yield GaugeMetricFamily(
        f"{_PREFIX}config_last_reload_successful", "0 after a reload that was refused.", float(known.last_reload_ok)
    )
    yield GaugeMetricFamily(f"{_PREFIX}config_generation", "Number of the configuration in service.", known.generation)


def _counter(name: str, summary: str, *labels: str, value: float | None = None) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, summary, labels=labels or None, value=value)


def _histogram(name: str, summary: str, by_word: Mapping[str, Distribution], *labels: str) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, summary, labels=labels)
    for word, distribution in by_word.items():
        buckets = list(zip(_LE, accumulate(distribution.counts), strict=True))
        family.add_metric((word,) if labels else (), buckets, distribution.total)
    return family
