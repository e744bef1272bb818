"""The text of a scrape: the table of all metrics, and snapshots of several processes merged into one.

FAMILIES lists every metric. The HELP lines of the text and docs/metrics.md are made from it, and a number that is not
in it cannot be counted. The families whose names begin with `feast_` have Feast's names and labels (feast/metrics.py,
Feast 0.67.0).

A `Snapshot` holds the numbers of one process as plain data that JSON can carry, so it may come from another process, or
from one that has ended. `render` merges snapshots and has prometheus_client write the text; the library is imported at
the first scrape. Nothing is counted here (see `metrics`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

FLOOR_NS = 100_000
"""The upper bound of the first bucket of durations: 100 us. Each further bound is twice the one before."""
DURATIONS_S = tuple(FLOOR_NS * 2**power / 1e9 for power in range(18))
"""The bounds of buckets of durations: 0.0001, 0.0002, 0.0004 ... 13.1. Requests time out after 15 s."""
ROWS = tuple(float(2**power - 1) for power in range(14))
"""The bounds of buckets of rows: 0, 1, 3, 7 ... 8191. See `metrics` for why both are powers of two."""
_HOUR = 3600.0
_DAY = 24 * _HOUR
AGES_S = (
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    _HOUR,
    3 * _HOUR,
    6 * _HOUR,
    12 * _HOUR,
    _DAY,
    2 * _DAY,
    3 * _DAY,
    7 * _DAY,
    14 * _DAY,
    30 * _DAY,
    90 * _DAY,
    365 * _DAY,
)
"""The bounds of buckets of ages."""


class Family(NamedTuple):
    """One metric, with all its labels: a metric family, as Prometheus calls it."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    help: str
    """One sentence for operators, with the unit."""
    labels: tuple[str, ...] = ()
    combine: str = "sum"
    """How the values of several processes are combined: sum, max or min. Counters and histograms are always added."""
    bounds: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets, without +Inf."""


FAMILIES: tuple[Family, ...] = (
    Family(
        name="feast_feature_server_request_total",
        kind="counter",
        help="Number of requests to an endpoint; status is success or error.",
        labels=("endpoint", "status"),
    ),
    Family(
        name="feast_feature_server_request_latency_seconds",
        kind="histogram",
        help=(
            "Seconds from a parsed request to the body of its answer, for successful requests. "
            "feature_count is a range: 1-10, 11-50, 51-200, 201+."
        ),
        labels=("endpoint", "feature_count", "feature_view_count"),
        bounds=DURATIONS_S,
    ),
    Family(
        name="feast_online_features_request_total",
        kind="counter",
        help="Number of successful requests for features.",
    ),
    Family(
        name="feast_online_features_entity_count",
        kind="histogram",
        help="Number of entity rows of each successful request for features.",
        bounds=ROWS,
    ),
    Family(
        name="feast_online_features_status_total",
        kind="counter",
        help=(
            "Number of feature values served, by their true status, whatever --compat is: present, null (a null "
            "is stored), not_found (nothing is stored), outside_max_age (present, but older than the ttl of the "
            "view). On a busy server, extrapolated from a sample."
        ),
        labels=("feature_view", "status"),
    ),
    Family(
        name="feast_feature_server_online_store_read_duration_seconds",
        kind="histogram",
        help=(
            "Seconds from the entity keys of a request to its rows: the online store, the network to it, and "
            "waiting for both."
        ),
        bounds=DURATIONS_S,
    ),
    Family(
        name="feast_feature_server_transformation_duration_seconds",
        kind="histogram",
        help=(
            "Seconds that a call of the function of an on-demand feature view took. Feast counts only views with "
            "track_metrics; this server counts all."
        ),
        labels=("odfv_name", "mode"),
        bounds=DURATIONS_S,
    ),
    Family(
        name="feast_feature_freshness_seconds",
        kind="gauge",
        help=(
            "Seconds since the latest materialization of a feature view ended, as the registry says. A view that was "
            "never materialized has none."
        ),
        labels=("feature_view", "project"),
        combine="max",
    ),
    Family(
        name="feast_push_request_total",
        kind="counter",
        help="Number of successful pushes, by push source; mode is online, or what was forwarded to Feast's server.",
        labels=("push_source", "mode"),
    ),
    Family(
        name="yummy_fast_writes_total",
        kind="counter",
        help=(
            "Number of requests to /push and /write-to-online-store, by the HTTP status of the answer; code 499 means "
            "that the client disconnected before."
        ),
        labels=("endpoint", "code"),
    ),
    Family(
        name="yummy_fast_rows_written_total",
        kind="counter",
        help=(
            "Number of rows of successful pushes; outcome is written, or older: not written, because a row of the "
            "same key was as new or newer, in the online store or in the same push."
        ),
        labels=("feature_view", "outcome"),
    ),
    Family(
        name="yummy_fast_requests_total",
        kind="counter",
        help=(
            "Number of requests for features, by the HTTP status of the answer; code 499 means that the client "
            'disconnected before. feature_service is "(ad hoc)" for lists of features, empty for requests that '
            'were refused before it was known, and "(other)" for all services after the first 200.'
        ),
        labels=("feature_service", "code"),
    ),
    Family(
        name="yummy_fast_request_phase_seconds",
        kind="histogram",
        help=(
            "Seconds that each phase of a successful request took: decode (parsing the body and binding the entities "
            "to keys), store, transform (only with on-demand views), encode."
        ),
        labels=("feature_service", "phase"),
        bounds=DURATIONS_S,
    ),
    Family(
        name="yummy_fast_rows_total",
        kind="counter",
        help="Number of entity rows of successful requests for features.",
        labels=("feature_service",),
    ),
    Family(
        name="yummy_fast_value_age_seconds",
        kind="histogram",
        help=(
            "Age in seconds of the values served, counted from the event timestamp, once for each row and view. "
            "On a busy server, of a sample."
        ),
        labels=("feature_view",),
        bounds=AGES_S,
    ),
    Family(
        name="yummy_fast_http_errors_total",
        kind="counter",
        help=(
            "Number of answers with an error, by HTTP status, on all paths; also to bytes that are no HTTP and "
            "to connections beyond the limit."
        ),
        labels=("code",),
    ),
    Family(
        name="yummy_fast_http_connections",
        kind="gauge",
        help="Number of open connections of clients.",
    ),
    Family(
        name="yummy_fast_http_unsent_bytes",
        kind="gauge",
        help="Bytes of answers that are made and that clients have not read yet.",
    ),
    Family(
        name="yummy_fast_tls_handshake_failures_total",
        kind="counter",
        help="Number of TLS handshakes that failed: refused, given up by the client, too slow, or too many at a time.",
    ),
    Family(
        name="yummy_fast_requests_in_flight",
        kind="gauge",
        help="Number of requests that wait for the online store or a transformation.",
    ),
    Family(
        name="yummy_fast_store_connections",
        kind="gauge",
        help="Number of open connections to the online store.",
    ),
    Family(
        name="yummy_fast_store_connects_total",
        kind="counter",
        help=(
            "Number of connections that were made to the online store; after the first of each worker, all are "
            "reconnects."
        ),
    ),
    Family(
        name="yummy_fast_store_connect_failures_total",
        kind="counter",
        help="Number of failed attempts to connect to the online store.",
    ),
    Family(
        name="yummy_fast_store_connections_lost_total",
        kind="counter",
        help="Number of connections to the online store that were lost.",
    ),
    Family(
        name="yummy_fast_store_errors_total",
        kind="counter",
        help=(
            "Number of requests that failed because of the online store, by kind: unavailable (answered 503), "
            "overload (503: so much waited that it could not have answered in time), timeout (504), "
            "error (502: it replied with an error, or a stored value cannot be decoded)."
        ),
        labels=("kind",),
    ),
    Family(
        name="yummy_fast_store_in_flight",
        kind="gauge",
        help="Number of fetches that wait for replies of the online store.",
    ),
    Family(
        name="yummy_fast_store_redirects_total",
        kind="counter",
        help="Number of replies of a Redis Cluster that an entity is at another node (MOVED, ASK).",
    ),
    Family(
        name="yummy_fast_store_refreshes_total",
        kind="counter",
        help=(
            "Number of times that it was read which nodes there are: of a Redis Cluster each half minute and when "
            "something looks wrong, of sentinels each second."
        ),
    ),
    Family(
        name="yummy_fast_store_replica_reads_total",
        kind="counter",
        help="Number of reads that went to a replica: because the primary could not be used, or as configured.",
    ),
    Family(
        name="yummy_fast_store_shared_reads_total",
        kind="counter",
        help="Number of reads of an entity that took the values of another read of it at the same moment.",
    ),
    Family(
        name="yummy_fast_store_cache_hits_total",
        kind="counter",
        help="Number of rows that were in the cache of stored rows, and were not read.",
    ),
    Family(
        name="yummy_fast_store_cache_misses_total",
        kind="counter",
        help="Number of rows that were not in the cache of stored rows, and were read.",
    ),
    Family(
        name="yummy_fast_store_cache_invalidations_total",
        kind="counter",
        help="Number of keys of which the online store has said that they have changed.",
    ),
    Family(
        name="yummy_fast_store_cache_flushes_total",
        kind="counter",
        help=(
            "Number of times that all rows of one connection were dropped from the cache: the connection was lost or "
            "silent, or the online store was emptied."
        ),
    ),
    Family(
        name="yummy_fast_store_cache_differences_total",
        kind="counter",
        help=(
            "Number of rows in the cache that were read again, as one hit of a thousand is, and were not what the "
            "online store had: above 0, the cache is not true."
        ),
    ),
    Family(
        name="yummy_fast_store_cache_bytes",
        kind="gauge",
        help="Bytes of memory that the cache of stored rows takes.",
    ),
    Family(
        name="yummy_fast_store_nodes",
        kind="gauge",
        help="Number of nodes of the online store that are read or stand by; usable are those that answer.",
        labels=("usable",),
    ),
    Family(
        name="yummy_fast_store_silence_seconds",
        kind="gauge",
        help="Seconds since the last reply of the online store, which is pinged every second if there are no requests.",
        combine="max",
    ),
    Family(
        name="yummy_fast_registry_age_seconds",
        kind="gauge",
        help="Seconds since the served registry was last known to be the newest.",
        combine="max",
    ),
    Family(
        name="yummy_fast_registry_loaded_timestamp_seconds",
        kind="gauge",
        help="Unix time in seconds when the served registry was read.",
        combine="min",
    ),
    Family(
        name="yummy_fast_registry_reloads_total",
        kind="counter",
        help="Number of times that a changed registry was loaded and served.",
    ),
    Family(
        name="yummy_fast_registry_failures_total",
        kind="counter",
        help="Number of failed attempts to read or load a registry.",
    ),
    Family(
        name="yummy_fast_registry_feature_views",
        kind="gauge",
        help="Number of feature views in the served registry.",
        combine="max",
    ),
    Family(
        name="yummy_fast_registry_feature_services",
        kind="gauge",
        help="Number of feature services in the served registry.",
        combine="max",
    ),
    Family(
        name="yummy_fast_shadow_requests_total",
        kind="counter",
        help=(
            "Number of requests that --shadow picked; outcome is same, different, feast_failed (Feast answered a 5xx), "
            "unanswered (Feast did not answer in time, or too much), too_large (the request and its answer have more "
            "than 1 MiB), or dropped (as many were waiting to be compared as may); only with --shadow."
        ),
        labels=("outcome",),
    ),
    Family(
        name="yummy_fast_shadow_differences_total",
        kind="counter",
        help=(
            "Number of answers that differed from Feast's own, by the part that did: status, body, columns, rows, "
            "values, statuses, event_timestamps or metadata; only with --shadow."
        ),
        labels=("part",),
    ),
    Family(
        name="yummy_fast_event_loop_lag_seconds",
        kind="histogram",
        help="Seconds by which the event loop ran a timer late, measured ten times a second.",
        bounds=DURATIONS_S,
    ),
    Family(
        name="yummy_fast_log_lines_dropped_total",
        kind="counter",
        help="Number of lines of the log that were not written: too long, or standard error was not read, or failed.",
    ),
    Family(
        name="yummy_fast_workers",
        kind="gauge",
        help="Number of worker processes that serve; only with several workers.",
    ),
    Family(
        name="yummy_fast_worker_deaths_total",
        kind="counter",
        help=(
            "Number of worker processes that ended unexpectedly: by a signal, by an error, or killed because "
            "they were stuck; only with several workers."
        ),
    ),
    Family(
        name="yummy_fast_build_info",
        kind="gauge",
        help="Always 1; the labels are the versions of yummy-fast and Python.",
        labels=("version", "python"),
        combine="max",
    ),
    Family(
        name="process_cpu_seconds_total",
        kind="counter",
        help="User and system CPU time in seconds.",
    ),
    Family(
        name="process_resident_memory_bytes",
        kind="gauge",
        help="Resident memory in bytes.",
    ),
    Family(
        name="process_virtual_memory_bytes",
        kind="gauge",
        help="Virtual memory in bytes.",
    ),
    Family(
        name="process_open_fds",
        kind="gauge",
        help="Number of open file descriptors.",
    ),
    Family(
        name="process_max_fds",
        kind="gauge",
        help="Maximum number of open file descriptors of a process.",
        combine="min",
    ),
    Family(
        name="process_start_time_seconds",
        kind="gauge",
        help="Unix time in seconds when the process started; with several workers, the oldest.",
        combine="min",
    ),
)
_BY_NAME = {family.name: family for family in FAMILIES}

Snapshot = dict[str, list[list[Any]]]
"""The samples of each family, by its name. A sample is [values of the labels, number], with the labels in the family's
order. The number of a histogram is [counts of the buckets, sum]; the counts are not cumulative, the last is of +Inf:

    {"yummy_fast_rows_total": [[["driver_ranking"], 1200]],
     "yummy_fast_event_loop_lag_seconds": [[[], [[9, 1, 0, ...], 0.0011]]], ...}
"""


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several: samples with equal labels become one, as their family says, also within a snapshot."""
    merged: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in _BY_NAME}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            family, values = _BY_NAME[name], merged[name]
            for labels, value in samples:
                key = tuple(labels)
                values[key] = _combine(family, values[key], value) if key in values else value
    return {name: [[list(key), value] for key, value in values.items()] for name, values in merged.items()}


def _combine(family: Family, one: Any, other: Any) -> Any:
    if family.kind == "histogram":
        return [[a + b for a, b in zip(one[0], other[0], strict=True)], one[1] + other[1]]
    if family.combine == "sum":
        return one + other
    return max(one, other) if family.combine == "max" else min(one, other)


def past(snapshot: Snapshot) -> Snapshot:
    """The part of a snapshot that is kept when its process has ended: counters and histograms, which must not drop."""
    return {name: samples for name, samples in snapshot.items() if _BY_NAME[name].kind != "gauge"}


def render(snapshots: Iterable[Snapshot], accept: str = "") -> tuple[bytes, str]:
    """The text for Prometheus and its Content-Type. `accept` is the scraper's Accept, which may ask for OpenMetrics."""
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    text: bytes = encode(_Collected(merge(snapshots)))
    return text, content_type


class _Collected:
    """A snapshot with the interface of a prometheus_client registry, as its encoders expect it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        makers = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for family in FAMILIES:
            metric = makers[family.kind](family.name, family.help, labels=family.labels)
            for labels, value in self._snapshot[family.name]:
                if family.kind == "histogram":
                    counts, total = value
                    bounds = [*map(repr, family.bounds), "+Inf"]
                    metric.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
                else:
                    metric.add_metric(labels, value)
            yield metric
