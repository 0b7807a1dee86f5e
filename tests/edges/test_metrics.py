from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from edgecache.edges.access_log import LogStatistics
from edgecache.edges.metrics import Sources, expose, make_registry
from edgecache.edges.supervision import Supervision
from edgecache.engine.counters import BOUNDS, COUNTERS, RESULTS, Counters
from edgecache.stores.base import StoreStatistics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"

STORES = {
    "memory": StoreStatistics(responses=3, keys=2, bytes=4096, max_bytes=1 << 20, evictions=5, refused=1),
    "redis": StoreStatistics(responses=30, keys=20, bytes=40960, max_bytes=0, evictions=0, refused=0),
}


TIERS = {
    "redis": {
        **{"hits": 31, "misses": 32, "broken": 33, "oversized": 34, "leftovers": 35},
        **{"written": 41, "refused": 42, "failed": 43, "full": 44, "superseded": 45, "purged": 47, "dropped": 46},
        **{"write_behind_bytes": 51, "store_breaker_open": 1, "breaker_opened": 52},
    }
}


def sources(counters: Counters) -> Sources:
    return Sources(
        version='1.2.3"\n',
        counters=counters,
        store_statistics=lambda: STORES,
        in_flight=lambda: 7,
        access_log=lambda: LogStatistics(written=100, waiting=2, dropped_full=3, dropped_failed=4),
        tiers=lambda: TIERS,
        ledger=lambda: {"leased": 1, "sequence": 61, "failed": 0},
    )


def numbered() -> Counters:
    """Counters in which every number is another one."""
    counters = Counters()
    for value, row in enumerate(COUNTERS, start=1000):
        setattr(counters, row.name, value)
    for value, word in enumerate(RESULTS, start=1):
        for _ in range(value):
            counters.request_seconds[word].observe(0.5)
    counters.origin_seconds.observe(0.02)
    counters.origin_seconds.observe(90.0)
    counters.not_storable["no-store"] += 11
    counters.forwarded["uri-miss"] += 12
    counters.purges["confirmed"] += 13
    counters.purge_selectors["tag soft confirmed"] += 14
    counters.purge_seconds.observe(0.002)
    return counters


@pytest.fixture(scope="module")
def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = expose(make_registry(sources(numbered())), "")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("row", COUNTERS, ids=lambda row: row.name)
def test_every_counter_is_exposed(row, samples):
    values = [value for (name, _), value in samples.items() if name.startswith("edgecache_")]
    assert values.count(getattr(numbered(), row.name)) == 1


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("edgecache_build_info", {"version": '1.2.3"\n'}, 1),
        ("edgecache_requests_total", {"result": "hit"}, 1),
        ("edgecache_requests_total", {"result": "error"}, len(RESULTS)),
        ("edgecache_hits_total", {}, numbered().hits),
        ("edgecache_collapsed_total", {}, numbered().collapsed),
        ("edgecache_fills_aborted_total", {}, numbered().fills_aborted),
        ("edgecache_requests_received_total", {}, numbered().requests),
        ("edgecache_origin_requests_total", {}, numbered().origin_requests),
        ("edgecache_origin_errors_total", {"kind": "failed"}, numbered().origin_errors),
        ("edgecache_origin_errors_total", {"kind": "timeout"}, numbered().origin_timeouts),
        ("edgecache_not_storable_total", {"reason": "no-store"}, 11),
        ("edgecache_forwarded_total", {"why": "uri-miss"}, 12),
        ("edgecache_in_flight", {}, 7),
        ("edgecache_store_bytes", {"tier": "memory"}, 4096),
        ("edgecache_store_max_bytes", {"tier": "memory"}, 1 << 20),
        ("edgecache_store_responses", {"tier": "redis"}, 30),
        ("edgecache_store_evictions_total", {"tier": "memory"}, 5),
        ("edgecache_store_refused_total", {"tier": "memory"}, 1),
        ("edgecache_access_log_lines_total", {}, 100),
        ("edgecache_access_log_dropped_total", {"why": "full"}, 3),
        ("edgecache_access_log_dropped_total", {"why": "failed"}, 4),
        ("edgecache_request_duration_seconds_bucket", {"le": "0.25", "result": "miss"}, 0),
        ("edgecache_request_duration_seconds_bucket", {"le": "0.5", "result": "miss"}, 5),
        ("edgecache_request_duration_seconds_bucket", {"le": "60.0", "result": "miss"}, 5),
        ("edgecache_request_duration_seconds_count", {"result": "miss"}, 5),
        ("edgecache_request_duration_seconds_sum", {"result": "miss"}, 2.5),
        ("edgecache_origin_duration_seconds_bucket", {"le": "60.0"}, 1),
        ("edgecache_origin_duration_seconds_bucket", {"le": "+Inf"}, 2),
        ("edgecache_origin_duration_seconds_sum", {}, 90.02),
        ("edgecache_purges_total", {"state": "confirmed"}, 13),
        ("edgecache_purge_selectors_total", {"kind": "tag", "mode": "soft", "state": "confirmed"}, 14),
        ("edgecache_purge_matched_total", {}, numbered().purge_matched),
        ("edgecache_purge_duration_seconds_bucket", {"le": "0.0025"}, 1),
        ("edgecache_purge_duration_seconds_sum", {}, 0.002),
        ("edgecache_ledger_leased", {}, 1),
        ("edgecache_ledger_sequence", {}, 61),
        ("edgecache_ledger_failed", {}, 0),
        ("edgecache_store_lookups_total", {"tier": "redis", "result": "hit"}, 31),
        ("edgecache_store_lookups_total", {"tier": "redis", "result": "miss"}, 32),
        ("edgecache_store_unreadable_total", {"tier": "redis", "why": "broken"}, 33),
        ("edgecache_store_unreadable_total", {"tier": "redis", "why": "oversized"}, 34),
        ("edgecache_write_behind_total", {"tier": "redis", "outcome": "written"}, 41),
        ("edgecache_write_behind_total", {"tier": "redis", "outcome": "refused"}, 42),
        ("edgecache_write_behind_total", {"tier": "redis", "outcome": "failed"}, 43),
        ("edgecache_write_behind_total", {"tier": "redis", "outcome": "full"}, 44),
        ("edgecache_write_behind_total", {"tier": "redis", "outcome": "superseded"}, 45),
        ("edgecache_write_behind_total", {"tier": "redis", "outcome": "dropped"}, 46),
        ("edgecache_write_behind_bytes", {"tier": "redis"}, 51),
        ("edgecache_store_breaker_open", {"tier": "redis"}, 1),
        ("edgecache_store_breaker_opened_total", {"tier": "redis"}, 52),
    ],
)
def test_a_sample(name, labels, value, samples):
    assert samples[name, tuple(sorted(labels.items()))] == value


def test_the_process_is_measured(samples):
    assert samples["process_cpu_seconds_total", ()] > 0


def test_help_is_the_table():
    body, _ = expose(make_registry(sources(Counters())), "")
    helps = {family.name: family.documentation for family in parse_text(body.decode())}
    for row in COUNTERS:
        if row.name not in {"requests", "origin_errors", "origin_timeouts"}:
            assert helps[f"edgecache_{row.name}"] == row.summary


def test_the_documentation_is_the_table():
    supervised = replace(sources(numbered()), supervision=lambda: Supervision())
    families = parse_text(expose(make_registry(supervised), "")[0].decode())
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {', '.join(labels_of(family))} "
        f"| {family.documentation} |"
        for family in families
        if family.name.startswith("edgecache_")
    ]
    watched, _, table = PAGE.read_text().partition("## All of them")
    assert [line for line in table.splitlines() if line.startswith("| `")] == rows
    assert set(re.findall(r"`(edgecache_[a-z_]+)", watched)) <= {row.split("`")[1] for row in rows}


def labels_of(family):
    return sorted({label for sample in family.samples for label in sample.labels} - {"le"})


def test_labels_are_bounded():
    body, _ = expose(make_registry(sources(numbered())), "")
    labels = {name for family in parse_text(body.decode()) for sample in family.samples for name in sample.labels}
    assert labels == {"version", "result", "kind", "reason", "why", "tier", "le", "state", "mode", "outcome"}


def test_openmetrics_on_request_says_the_same():
    registry = make_registry(sources(numbered()))
    text, text_type = expose(registry, "text/html")
    body, content_type = expose(registry, "application/openmetrics-text; version=1.0.0")
    assert text_type.startswith("text/plain")
    assert content_type.startswith("application/openmetrics-text")

    def of_edgecache(families):
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("edgecache_")
        }

    assert of_edgecache(parse_openmetrics(body.decode())) == of_edgecache(parse_text(text.decode()))


def test_buckets_are_cumulative_and_end_with_everything():
    counters = Counters()
    for bound in BOUNDS:
        counters.origin_seconds.observe(bound)
    body, _ = expose(make_registry(sources(counters)), "")
    (family,) = [each for each in parse_text(body.decode()) if each.name == "edgecache_origin_duration_seconds"]
    buckets = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
    assert buckets == [*range(1, len(BOUNDS) + 1), len(BOUNDS)]


def test_without_an_access_log_there_is_nothing_to_say_about_it():
    bare = Sources(version="1", counters=Counters(), store_statistics=dict, in_flight=lambda: 0)
    assert b"access_log" not in expose(make_registry(bare), "")[0]
