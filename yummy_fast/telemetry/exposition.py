"""What a scrape says: the table of all metrics, the snapshots of several processes as one, and the text.

FAMILIES is the one table of what there is: the text's HELP lines and docs/metrics.md are made from it, and nothing can
be counted that is not in it. A family of Feast's has Feast's name and labels (feast/metrics.py, Feast 0.67.0).

A `Snapshot` is the numbers of one process as plain data that JSON can hold, so it can come from another process, or
from one that has ended. `render` adds snapshots up and writes the text, by prometheus_client, which is imported when
the first scrape comes. Nothing is counted here: see `metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

FLOOR_NS = 100_000
"""The first bucket of durations ends here, at 100 us; each next one at twice the one before."""
DURATIONS_S = tuple(FLOOR_NS * 2**power / 1e9 for power in range(18))  # to 13 s: requests end after 15
ROWS = tuple(float(2**power - 1) for power in range(14))  # 0, 1, 3, 7 ... 8191: by bit length as well
_DAY = 86400.0
AGES_S = (
    *(1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0),
    *(_DAY, 2 * _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY),
)


class Family(NamedTuple):
    """One family of metrics, as it is documented and written."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    labels: tuple[str, ...]
    help: str
    combine: str = "sum"
    """How values of several processes become one: sum, max or min."""
    bounds: tuple[float, ...] = ()
    """Of a histogram: where its buckets end."""


FAMILIES: tuple[Family, ...] = (
    Family(
        *("feast_feature_server_request_total", "counter", ("endpoint", "status")),
        "Requests to an endpoint; status is success or error.",
    ),
    Family(
        *("feast_feature_server_request_latency_seconds", "histogram"),
        ("endpoint", "feature_count", "feature_view_count"),
        "From a parsed request to the body of its answer, of requests that were answered. feature_count is a range: "
        "1-10, 11-50, 51-200, 201+.",
        bounds=DURATIONS_S,
    ),
    Family(
        *("feast_online_features_request_total", "counter", ()),
        "Requests for features that were answered.",
    ),
    Family(
        *("feast_online_features_entity_count", "histogram", ()),
        "Entity rows of a request for features.",
        bounds=ROWS,
    ),
    Family(
        *("feast_online_features_status_total", "counter", ("feature_view", "status")),
        "Values served, by what they truly are, whatever --compat says: present, null (a stored null), not_found, "
        "outside_max_age (present, but older than the view's ttl). On a busy server projected from a sample.",
    ),
    Family(
        *("feast_feature_server_online_store_read_duration_seconds", "histogram", ()),
        "From the keys of a request to its rows: the online store, the network to it, and the wait for both.",
        bounds=DURATIONS_S,
    ),
    Family(
        *("feast_feature_server_transformation_duration_seconds", "histogram", ("odfv_name", "mode")),
        "One call of an on-demand feature view's function; Feast has it only for views with track_metrics.",
        bounds=DURATIONS_S,
    ),
    Family(
        *("yummy_fast_requests_total", "counter", ("feature_service", "code")),
        "Requests for features by the HTTP status of their answers; 499: the client left before. feature_service is "
        '"(ad hoc)" for lists of features, empty where the request was refused before it was known, "(other)" for '
        "those beyond the 200 first that were asked for.",
    ),
    Family(
        *("yummy_fast_request_phase_seconds", "histogram", ("feature_service", "phase")),
        "Where the time of answered requests went: decode (the body parsed, entities bound to keys), store, transform "
        "(on-demand views; only where there are some), encode.",
        bounds=DURATIONS_S,
    ),
    Family(
        *("yummy_fast_rows_total", "counter", ("feature_service",)),
        "Entity rows answered.",
    ),
    Family(
        *("yummy_fast_value_age_seconds", "histogram", ("feature_view",)),
        "How old the values served are: now less the event timestamp, once for each row and view. On a busy server of "
        "a sample.",
        bounds=AGES_S,
    ),
    Family(
        *("yummy_fast_http_errors_total", "counter", ("code",)),
        "Answers with an error, whatever was asked for; also what was no HTTP, and what was one too many.",
    ),
    Family(*("yummy_fast_http_connections", "gauge", ()), "Connections of clients."),
    Family(*("yummy_fast_requests_in_flight", "gauge", ()), "Requests that wait for the store or a transformation."),
    Family(*("yummy_fast_store_connections", "gauge", ()), "Connections to the online store that are up."),
    Family(
        *("yummy_fast_store_connects_total", "counter", ()),
        "Connections to the online store made; all but the first are reconnects.",
    ),
    Family(
        *("yummy_fast_store_connect_failures_total", "counter", ()),
        "Attempts to connect to the online store that failed.",
    ),
    Family(*("yummy_fast_store_connections_lost_total", "counter", ()), "Connections to the online store that ended."),
    Family(
        *("yummy_fast_store_errors_total", "counter", ("kind",)),
        "Requests that failed by the online store: unavailable (503), timeout (504), error (502: an error reply, or "
        "what it holds cannot be decoded).",
    ),
    Family(*("yummy_fast_store_in_flight", "gauge", ()), "Fetches that wait for replies."),
    Family(
        *("yummy_fast_store_silence_seconds", "gauge", ()),
        "Since when the online store has said nothing; it is asked every second if nobody else does.",
        "max",
    ),
    Family(
        *("yummy_fast_registry_age_seconds", "gauge", ()),
        "Since when the registry that is served was last known to be the newest.",
        "max",
    ),
    Family(
        *("yummy_fast_registry_loaded_timestamp_seconds", "gauge", ()),
        "When the registry that is served was read.",
        "min",
    ),
    Family(*("yummy_fast_registry_reloads_total", "counter", ()), "Changed registries that were put to use."),
    Family(*("yummy_fast_registry_failures_total", "counter", ()), "Attempts to read a registry that failed."),
    Family(*("yummy_fast_registry_feature_views", "gauge", ()), "Feature views in the registry that is served.", "max"),
    Family(*("yummy_fast_registry_feature_services", "gauge", ()), "Feature services in it.", "max"),
    Family(
        *("yummy_fast_event_loop_lag_seconds", "histogram", ()),
        "How much later than wanted the event loop came to a timer; ten times a second.",
        bounds=DURATIONS_S,
    ),
    Family(*("yummy_fast_workers", "gauge", ()), "Worker processes that serve; with several workers only."),
    Family(
        *("yummy_fast_worker_deaths_total", "counter", ()),
        "Worker processes that ended without being asked to, by a signal, an error or because they were stuck; with "
        "several workers only.",
    ),
    Family(*("yummy_fast_build_info", "gauge", ("version", "python")), "Always 1.", "max"),
    Family(*("process_cpu_seconds_total", "counter", ()), "User and system CPU time."),
    Family(*("process_resident_memory_bytes", "gauge", ()), "Resident memory."),
    Family(*("process_virtual_memory_bytes", "gauge", ()), "Virtual memory."),
    Family(*("process_open_fds", "gauge", ()), "Open file descriptors."),
    Family(*("process_max_fds", "gauge", ()), "The most file descriptors that a process may have.", "min"),
    Family(*("process_start_time_seconds", "gauge", ()), "When the (oldest) process started.", "min"),
)
_BY_NAME = {family.name: family for family in FAMILIES}

Snapshot = dict[str, list[list[Any]]]
"""Family -> its samples, each [labels' values, number]; the number of a histogram is [count of each bucket, sum]."""


# ------------------------------------------------------------------------------------------------------ several as one


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot for several processes: counters and histograms are added, gauges as their family says."""
    found: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in _BY_NAME}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            family, known = _BY_NAME[name], found[name]
            for labels, value in samples:
                key = tuple(labels)
                known[key] = _combined(family, known[key], value) if key in known else value
    return {name: [[list(key), value] for key, value in known.items()] for name, known in found.items()}


def _combined(family: Family, one: Any, other: Any) -> Any:
    if family.kind == "histogram":
        return [[a + b for a, b in zip(one[0], other[0], strict=True)], one[1] + other[1]]
    if family.combine == "sum":
        return one + other
    return max(one, other) if family.combine == "max" else min(one, other)


def past(snapshot: Snapshot) -> Snapshot:
    """What is left of a process that has ended: its counters and histograms, which must not go down."""
    return {name: samples for name, samples in snapshot.items() if _BY_NAME[name].kind != "gauge"}


def render(snapshots: Iterable[Snapshot], accept: str = "") -> tuple[bytes, str]:
    """The text for Prometheus and its Content-Type. `accept`: the scraper's header, which may ask for OpenMetrics."""
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    text: bytes = encode(_Collected(merge(snapshots)))
    return text, content_type


class _Collected:
    """What prometheus_client's encoders take for a registry."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        makers = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for family in FAMILIES:
            made = makers[family.kind](family.name, family.help, labels=family.labels)
            for labels, value in self._snapshot[family.name]:
                if family.kind == "histogram":
                    counts, total = value
                    ends = [*map(repr, family.bounds), "+Inf"]
                    made.add_metric(labels, list(zip(ends, accumulate(counts), strict=True)), total)
                else:
                    made.add_metric(labels, value)
            yield made
