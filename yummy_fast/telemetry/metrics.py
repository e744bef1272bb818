"""Numbers about this process: integers and histograms of powers of two, counted where things happen.

The hot path has its numbers at hand: a `Plan` holds the `ServiceSlots` of its feature service, and an answer costs one
call of `answered`, which adds to integers. No label, dict, lock or context manager there. Slots belong to names, so
they outlive the plans of a reload. They are made when a service is first asked for: what nobody asks for has no series.

`Metrics.snapshot` is all of it as plain data, from any thread. Which metrics there are, how several processes become
one, and the text of a scrape are matters of `exposition`. prometheus_client's Counters are not used: each has a lock.

Everything is bounded: MAX_SERVICES, MAX_VIEWS, and the codes and phases that there are.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from yummy_fast import __version__
from yummy_fast.telemetry.exposition import AGES_S, DURATIONS_S, FAMILIES, FLOOR_NS, ROWS, Snapshot, merge

MAX_SERVICES = 200
"""Feature services with series of their own, each with some 90 lines; those first asked for later share one."""
MAX_VIEWS = 1000
"""Feature views (and on-demand views) with series of their own, each with some 25 lines; later ones share one."""
AD_HOC = "(ad hoc)"
"""The feature_service of requests that list features."""
NO_PLAN = ""
"""The feature_service of requests that were refused before it was known what they are for."""
OTHER = "(other)"

_ENDPOINT = "/get-online-features"

_FEATURE_COUNTS = (10, 50, 200)  # Feast's feature_count_bins


def feature_count_range(features: int) -> str:
    """Feast's label for a number of features (feast/feature_server.py bin_feature_count)."""
    lower = 1
    for upper in _FEATURE_COUNTS:
        if features <= upper:
            return f"{lower}-{upper}" if features else "0"
        lower = upper + 1
    return f"{lower}+"


class ServiceSlots:
    """The numbers of one feature service; of lists of features, there is one for each range of sizes."""

    __slots__ = (
        *("code_counts", "decode", "decode_ns", "encode", "encode_ns", "feature_count", "label", "row_counts", "rows"),
        *("rows_sampled", "store", "store_ns", "total", "transform", "transform_ns", "view_count"),
    )

    def __init__(self, label: str, feature_count: str, view_count: str) -> None:
        self.label = label
        self.feature_count = feature_count
        self.view_count = view_count
        self.rows = 0
        self.rows_sampled = 0
        """How many of `rows` stand in the numbers of the views: see `served`."""
        # By the bit length of what is counted, which no number that comes here exceeds. An answer is counted in each.
        self.row_counts = [0] * 64
        self.total = [0] * 64
        self.decode = [0] * 64
        self.store = [0] * 64
        self.encode = [0] * 64
        self.transform: list[int] = []
        self.decode_ns = self.store_ns = self.encode_ns = self.transform_ns = 0
        self.code_counts: dict[int, int] = {}
        """Requests that failed, by their status."""

    def answered(self, begun: int, bound: int, read: int, computed: int, done: int, rows: int) -> None:
        """Count an answer of so many rows.

        The rest are moments of time.perf_counter_ns; without views on demand, `computed` is `read`.
        """
        self.rows += rows
        self.row_counts[rows.bit_length()] += 1
        took = bound - begun
        self.decode_ns += took
        self.decode[(took // 100_000).bit_length()] += 1  # FLOOR_NS; a name would have to be looked up
        took = read - bound
        self.store_ns += took
        self.store[(took // 100_000).bit_length()] += 1
        took = done - computed
        self.encode_ns += took
        self.encode[(took // 100_000).bit_length()] += 1
        self.total[((done - begun) // 100_000).bit_length()] += 1

    def transformed(self, took: int) -> None:
        """Count the time between `read` and `computed`, of answers that have views on demand."""
        if not self.transform:
            self.transform = [0] * 64
        self.transform_ns += took
        self.transform[(took // FLOOR_NS).bit_length()] += 1

    def failed(self, code: int) -> None:
        """Count a request that got no features."""
        self.code_counts[code] = self.code_counts.get(code, 0) + 1


class ViewSlots:
    """The numbers of one feature view."""

    __slots__ = ("age_counts", "age_sum_s", "not_found", "null", "outside_max_age", "present")

    def __init__(self) -> None:
        self.present = self.null = self.not_found = self.outside_max_age = 0.0
        """Values. Not whole numbers: what is looked at stands for others as well."""
        self.age_counts = [0] * (len(AGES_S) + 1)
        self.age_sum_s = 0.0

    def aged(self, age_s: float) -> None:
        """Count something that was served when it was `age_s` old."""
        self.age_counts[bisect_left(AGES_S, age_s)] += 1
        self.age_sum_s += age_s


class Metrics:
    """The numbers of one process. They are changed by the thread of the event loop, and read by any."""

    def __init__(self) -> None:
        self.unplanned = ServiceSlots(NO_PLAN, "", "")
        """Of requests that came to no plan."""
        self.sampling_budget_ns = 0
        """How long answers may still be looked at in this beat of the heart: see `served`."""
        self.error_counts: dict[int, int] = {}
        """Answers with an error, by their status."""
        self.store_errors = {"unavailable": 0, "timeout": 0, "error": 0}
        self.transformed: deque[tuple[str, str, int]] = deque(maxlen=10_000)
        """Calls of on-demand views' functions: name, mode, ns. From the threads that run them; `fold` counts them."""
        self._services: dict[tuple[str, str, str], ServiceSlots] = {}
        self._views: dict[str, ViewSlots] = {}
        self._transforms: dict[tuple[str, str], _Durations] = {}
        self._lag = _Durations()

    def service(self, name: str, features: int, views: int) -> ServiceSlots:
        """The slots of a feature service's plan; of a list of features if the name is empty."""
        key = (name or AD_HOC, feature_count_range(features), str(views))
        slots = self._services.get(key)
        if slots is None:
            if len(self._services) >= MAX_SERVICES:
                key = (OTHER, "", "")
            slots = self._services.setdefault(key, ServiceSlots(*key))
        return slots

    def view(self, name: str) -> ViewSlots:
        """The slots of a feature view."""
        slots = self._views.get(name)
        if slots is None:
            slots = self._views.setdefault(name if len(self._views) < MAX_VIEWS else OTHER, ViewSlots())
        return slots

    def refused(self, code: int) -> None:
        """Count an answer with an error."""
        self.error_counts[code] = self.error_counts.get(code, 0) + 1

    def lagged(self, lag_ns: int) -> None:
        """Count a timer that was late."""
        self._lag.add(lag_ns)

    def fold(self) -> None:
        """Count what came from threads. In the loop's, now and then."""
        while self.transformed:
            name, mode, took_ns = self.transformed.popleft()
            key = (name, mode)
            durations = self._transforms.get(key)
            if durations is None:
                durations = self._transforms.setdefault(
                    key if len(self._transforms) < MAX_VIEWS else (OTHER, ""), _Durations()
                )
            durations.add(took_ns)

    def snapshot(self, numbers: Mapping[str, float] = {}) -> Snapshot:  # it is only read
        """All of it as plain data that JSON can hold. `numbers`: further families without labels, by name."""
        found: Snapshot = {family.name: [] for family in FAMILIES}
        services = list(self._services.values())
        self._requests(found, services)
        for slots in services:
            found["feast_feature_server_request_latency_seconds"].append(
                [
                    [_ENDPOINT, slots.feature_count, slots.view_count],
                    _duration(slots.total, slots.decode_ns + slots.store_ns + slots.encode_ns + slots.transform_ns),
                ]
            )
            found["feast_online_features_request_total"].append([[], sum(slots.row_counts)])
            found["feast_online_features_entity_count"].append([[], _bits(slots.row_counts, len(ROWS), slots.rows)])
            found["feast_feature_server_online_store_read_duration_seconds"].append(
                [[], _duration(slots.store, slots.store_ns)]
            )
            for phase, counts, took_ns in (
                ("decode", slots.decode, slots.decode_ns),
                ("store", slots.store, slots.store_ns),
                ("transform", slots.transform, slots.transform_ns),
                ("encode", slots.encode, slots.encode_ns),
            ):
                if counts:
                    found["yummy_fast_request_phase_seconds"].append([[slots.label, phase], _duration(counts, took_ns)])
            found["yummy_fast_rows_total"].append([[slots.label], slots.rows])
        for name, view in list(self._views.items()):
            for status in ("present", "null", "not_found", "outside_max_age"):
                found["feast_online_features_status_total"].append([[name, status], getattr(view, status)])
            found["yummy_fast_value_age_seconds"].append([[name], [list(view.age_counts), view.age_sum_s]])
        for key, durations in list(self._transforms.items()):
            found["feast_feature_server_transformation_duration_seconds"].append([list(key), durations.sample()])
        for code, count in list(self.error_counts.items()):
            found["yummy_fast_http_errors_total"].append([[str(code)], count])
        for kind, count in self.store_errors.items():
            found["yummy_fast_store_errors_total"].append([[kind], count])
        found["yummy_fast_event_loop_lag_seconds"].append([[], self._lag.sample()])
        found["yummy_fast_build_info"].append([[__version__, platform.python_version()], 1])
        for name, value in (*_process_numbers(), *numbers.items()):
            found[name].append([[], value])
        return merge([found])

    def _requests(self, found: Snapshot, services: Iterable[ServiceSlots]) -> None:
        """Every request for features is in one of these, by service and by code."""
        per_service, per_endpoint = found["yummy_fast_requests_total"], found["feast_feature_server_request_total"]
        for slots in (*services, self.unplanned):
            answered = sum(slots.row_counts)
            codes = list(slots.code_counts.items())
            if slots is not self.unplanned:
                per_service.append([[slots.label, "200"], answered])
            per_service += [[[slots.label, str(code)], count] for code, count in codes]
            per_endpoint.append([[_ENDPOINT, "success"], answered])
            per_endpoint.append([[_ENDPOINT, "error"], sum(count for _, count in codes)])


class _Durations:
    """A histogram of durations, for other places than the hot path."""

    def __init__(self) -> None:
        self._counts = [0] * 64
        self._sum_ns = 0

    def add(self, took_ns: int) -> None:
        self._counts[(max(took_ns, 0) // FLOOR_NS).bit_length()] += 1
        self._sum_ns += max(took_ns, 0)

    def sample(self) -> list[Any]:
        return _duration(self._counts, self._sum_ns)


def _duration(counts: Sequence[int], sum_ns: int) -> list[Any]:
    # A duration that is a bound to the very nanosecond is counted above it.
    return _bits(counts, len(DURATIONS_S), sum_ns / 1e9)


def _bits(counts: Sequence[int], bounds: int, total: float) -> list[Any]:
    """A histogram by bit length as one of so many bounds and a rest."""
    return [[*counts[:bounds], sum(counts[bounds:])], total]


_STARTED_AT = time.time()


def _process_numbers() -> Iterator[tuple[str, float]]:
    """What Prometheus's clients tell of a process. Theirs is not taken: to import it takes longer than to start."""
    usage = os.times()
    yield "process_cpu_seconds_total", usage.user + usage.system
    yield "process_start_time_seconds", _STARTED_AT
    yield "process_max_fds", float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    with suppress(OSError, ValueError):  # there is no /proc on macOS
        yield "process_open_fds", float(len(os.listdir("/proc/self/fd")))
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
        yield "process_virtual_memory_bytes", float(size) * resource.getpagesize()
        yield "process_resident_memory_bytes", float(resident) * resource.getpagesize()
