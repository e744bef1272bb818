"""Counters and histograms of this process: integers for requests, and estimates from samples for feature views.

A `Compiled` plan holds the `ServiceSlots` of its feature service, so counting an answer is one call of `answered`: no
label, no dict lookup, no lock, no context manager. `Metrics.service` finds slots by the service's name and its numbers
of features and views, so they outlive the plans of a reload. Slots are made when a service is first requested: services
that are never requested have no series.

Any thread may call `Metrics.snapshot`, which returns all numbers as plain data. It reads the numbers of the process
itself (CPU time, memory, descriptors) from the kernel and /proc. Which metrics exist, how several processes
are combined and what a scrape looks like is in `exposition`. prometheus_client's own Counters are not used, because
each has a lock.

Everything is bounded: by MAX_SERVICES, by MAX_VIEWS, and by the number of status codes and phases.
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
"""How many feature services have series of their own, about 90 lines each. All later services share one."""
MAX_VIEWS = 1000
"""How many feature views, and how many on-demand views, have series of their own, about 25 lines each."""
AD_HOC = "(ad hoc)"
"""The label feature_service of requests that list features."""
NO_PLAN = ""
"""The label feature_service of requests that were refused before they had a plan."""
OTHER = "(other)"
"""The label that services, or views, beyond the limit share."""

_ENDPOINT = "/get-online-features"

_FEATURE_COUNTS = (10, 50, 200)  # Feast's feature_count_bins


def feature_count_range(features: int) -> str:
    """Feast's label for a number of features, such as "11-50" (feast/feature_server.py bin_feature_count)."""
    lower = 1
    for upper in _FEATURE_COUNTS:
        if features <= upper:
            return f"{lower}-{upper}" if features else "0"
        lower = upper + 1
    return f"{lower}+"


class ServiceSlots:
    """The numbers of one feature service, or of all lists of features with alike numbers of features and views."""

    # Histograms by bit length. A histogram is a list of 64 counters, and a number is counted in the one whose index is
    # the number's bit length. That is one call of a C method; bounds that are no powers of two would need a search.
    # Durations are counted in units of 100 us (FLOOR_NS):
    #
    #     a store phase of 250 us:    250_000 ns // 100_000 = 2,  2 = 0b10,  counts[2] += 1
    #
    #     index                   0          1             2             3             ...  17         18 to 63
    #     durations               < 100 us   100 - 200 us  200 - 400 us  400 - 800 us  ...  6.6-13 s   longer
    #     bucket of the scrape    le=0.0001  le=0.0002     le=0.0004     le=0.0008     ...  le=13.1    le=+Inf
    #
    # Rows are counted as they are: 0, 1, 2-3, 4-7 ... rows have the indexes 0, 1, 2, 3 ..., which are the buckets le=0,
    # le=1, le=3, le=7 ... Prometheus' bounds are inclusive. The bounds of rows are inclusive; a duration that equals
    # a bound, to the nanosecond, is counted in the next bucket.
    #
    # 64 counters take any number that can occur, so nothing is checked. The sums have attributes of their own.

    __slots__ = (
        "code_counts",
        "decode",
        "decode_ns",
        "encode",
        "encode_ns",
        "feature_count",
        "label",
        "row_counts",
        "rows",
        "rows_sampled",
        "store",
        "store_ns",
        "total",
        "transform",
        "transform_ns",
        "view_count",
    )

    def __init__(self, label: str, feature_count: str, view_count: str) -> None:
        self.label = label
        self.feature_count = feature_count
        self.view_count = view_count
        self.rows = 0
        self.rows_sampled = 0
        """How many of `rows` are accounted for in the numbers of the views: see `value_sampling`."""
        self.row_counts = [0] * 64
        self.total = [0] * 64
        self.decode = [0] * 64
        self.store = [0] * 64
        self.encode = [0] * 64
        self.transform: list[int] = []
        self.decode_ns = self.store_ns = self.encode_ns = self.transform_ns = 0
        self.code_counts: dict[int, int] = {}
        """Requests that failed, by HTTP status."""

    def answered(self, begun: int, bound: int, read: int, computed: int, done: int, rows: int) -> None:
        """Count an answer with `rows` rows.

        The other arguments are times of time.perf_counter_ns(): when the request was begun, and when each phase ended.
        Without on-demand views, `computed` equals `read`.
        """
        self.rows += rows
        self.row_counts[rows.bit_length()] += 1
        took = bound - begun
        self.decode_ns += took
        self.decode[(took // 100_000).bit_length()] += 1  # FLOOR_NS, without looking up the name
        took = read - bound
        self.store_ns += took
        self.store[(took // 100_000).bit_length()] += 1
        took = done - computed
        self.encode_ns += took
        self.encode[(took // 100_000).bit_length()] += 1
        self.total[((done - begun) // 100_000).bit_length()] += 1

    def transformed(self, took: int) -> None:
        """Count the time between `read` and `computed`, for an answer with on-demand views."""
        if not self.transform:
            self.transform = [0] * 64
        self.transform_ns += took
        self.transform[(took // FLOOR_NS).bit_length()] += 1

    def failed(self, code: int) -> None:
        """Count a request that failed."""
        self.code_counts[code] = self.code_counts.get(code, 0) + 1


class WriteSlots:
    """The numbers of one endpoint that writes."""

    __slots__ = ("code_counts", "durations")

    def __init__(self) -> None:
        self.durations = _Durations()
        """Of the writes that succeeded."""
        self.code_counts: dict[int, int] = {}
        """Requests by HTTP status."""


class ViewSlots:
    """The numbers of one feature view."""

    __slots__ = ("age_counts", "age_sum_s", "not_found", "null", "outside_max_age", "present")

    def __init__(self) -> None:
        self.present = self.null = self.not_found = self.outside_max_age = 0.0
        """Numbers of values, extrapolated from samples and therefore not whole."""
        self.age_counts = [0] * (len(AGES_S) + 1)
        self.age_sum_s = 0.0

    def aged(self, age_s: float) -> None:
        """Count one served row of the view, whose values were `age_s` old when they were served."""
        self.age_counts[bisect_left(AGES_S, age_s)] += 1
        self.age_sum_s += age_s


class Metrics:
    """The numbers of one process. The thread of the event loop changes them, and any thread may read them.

    There are no locks: a reader may see an answer counted in one number and not yet in another. The next scrape
    has it in both.
    """

    def __init__(self) -> None:
        self.unplanned = ServiceSlots(NO_PLAN, "", "")
        """For requests that were refused before they had a plan."""
        self.sampling_budget_ns = 0
        """How long `value_sampling` may still examine answers before the next heartbeat."""
        self.error_counts: dict[int, int] = {}
        """Answers with an error, by HTTP status."""
        self.store_errors = {"unavailable": 0, "overload": 0, "timeout": 0, "error": 0}
        self.transformed: deque[tuple[str, str, int]] = deque(maxlen=10_000)
        """Calls of on-demand views' functions as (name, mode, ns): appended by the threads that run them, counted by
        `fold`.
        """
        self.shadow_outcomes: dict[str, int] = {}
        """Requests that were to be compared with Feast's own server, by what came of it; empty without --shadow."""
        self.shadow_differences: dict[str, int] = {}
        """Answers that were not the same, by the part that differed."""
        self._services: dict[tuple[str, str, str], ServiceSlots] = {}
        self._views: dict[str, ViewSlots] = {}
        self._transforms: dict[tuple[str, str], _Durations] = {}
        self._lag = _Durations()
        self._writes: dict[str, WriteSlots] = {}
        self._pushes: dict[tuple[str, str], int] = {}
        self._rows_written: dict[str, list[int]] = {}
        """How many rows of a view were stored, and how many were not because they were not newer than what was."""

    def service(self, name: str, features: int, views: int) -> ServiceSlots:
        """The slots of a plan: of the feature service `name`, or of a list of features if `name` is empty."""
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

    def wrote(self, endpoint: str, code: int, took_ns: int) -> None:
        """Count a request to an endpoint that writes. `took_ns` matters for those that succeeded."""
        slots = self._writes.get(endpoint) or self._writes.setdefault(endpoint, WriteSlots())
        slots.code_counts[code] = slots.code_counts.get(code, 0) + 1
        if code == 200:
            slots.durations.add(took_ns)

    def pushed(self, push_source: str, mode: str) -> None:
        """Count a push, by its source and where it went."""
        key = (push_source, mode)
        if key not in self._pushes and len(self._pushes) >= MAX_VIEWS:
            key = (OTHER, mode)
        self._pushes[key] = self._pushes.get(key, 0) + 1

    def stored(self, view: str, written: int, older: int) -> None:
        """Count rows of a push, by what became of them."""
        if view not in self._rows_written and len(self._rows_written) >= MAX_VIEWS:
            view = OTHER
        counts = self._rows_written.setdefault(view, [0, 0])
        counts[0] += written
        counts[1] += older

    def refused(self, code: int) -> None:
        """Count an answer with an error."""
        self.error_counts[code] = self.error_counts.get(code, 0) + 1

    def lagged(self, lag_ns: int) -> None:
        """Count by how much a timer of the event loop was late."""
        self._lag.add(lag_ns)

    def fold(self) -> None:
        """Count the calls in `transformed`. To be called regularly in the thread of the event loop."""
        while self.transformed:
            name, mode, took_ns = self.transformed.popleft()
            key = (name, mode)
            durations = self._transforms.get(key)
            if durations is None:
                durations = self._transforms.setdefault(
                    key if len(self._transforms) < MAX_VIEWS else (OTHER, ""), _Durations()
                )
            durations.add(took_ns)

    def snapshot(self, numbers: Mapping[str, float] = {}) -> Snapshot:  # the default is never changed
        """All numbers as plain data that JSON can carry. `numbers` are values of further metrics, by name."""
        found: Snapshot = {family.name: [] for family in FAMILIES}
        services = list(self._services.values())
        self._add_requests(found, services)
        for slots in services:
            _add_answers(found, slots)
        for name, view in list(self._views.items()):
            for status in ("present", "null", "not_found", "outside_max_age"):
                found["feast_online_features_status_total"].append([[name, status], getattr(view, status)])
            found["yummy_fast_value_age_seconds"].append([[name], [list(view.age_counts), view.age_sum_s]])
        for key, durations in list(self._transforms.items()):
            found["feast_feature_server_transformation_duration_seconds"].append([list(key), durations.sample()])
        self._add_writes(found)
        for code, count in list(self.error_counts.items()):
            found["yummy_fast_http_errors_total"].append([[str(code)], count])
        for kind, count in self.store_errors.items():
            found["yummy_fast_store_errors_total"].append([[kind], count])
        for outcome, count in list(self.shadow_outcomes.items()):
            found["yummy_fast_shadow_requests_total"].append([[outcome], count])
        for part, count in list(self.shadow_differences.items()):
            found["yummy_fast_shadow_differences_total"].append([[part], count])
        found["yummy_fast_event_loop_lag_seconds"].append([[], self._lag.sample()])
        found["yummy_fast_build_info"].append([[__version__, platform.python_version()], 1])
        for name, value in (*_process_numbers(), *numbers.items()):
            found[name].append([[], value])
        return merge([found])

    def _add_requests(self, found: Snapshot, services: Iterable[ServiceSlots]) -> None:
        """Add the requests for features: each is counted in exactly one ServiceSlots, under one status code."""
        per_service, per_endpoint = found["yummy_fast_requests_total"], found["feast_feature_server_request_total"]
        for slots in (*services, self.unplanned):
            answered = sum(slots.row_counts)
            codes = list(slots.code_counts.items())
            if slots is not self.unplanned:
                per_service.append([[slots.label, "200"], answered])
            per_service += [[[slots.label, str(code)], count] for code, count in codes]
            per_endpoint.append([[_ENDPOINT, "success"], answered])
            per_endpoint.append([[_ENDPOINT, "error"], sum(count for _, count in codes)])

    def _add_writes(self, found: Snapshot) -> None:
        """Add the numbers of pushes, and of writes to one view."""
        for endpoint, slots in list(self._writes.items()):
            codes = list(slots.code_counts.items())
            good = sum(count for code, count in codes if code == 200)
            found["feast_feature_server_request_total"].append([[endpoint, "success"], good])
            bad = sum(count for code, count in codes if code != 200)
            found["feast_feature_server_request_total"].append([[endpoint, "error"], bad])
            found["yummy_fast_writes_total"] += [[[endpoint, str(code)], count] for code, count in codes]
            latency = slots.durations.sample()
            found["feast_feature_server_request_latency_seconds"].append([[endpoint, "", ""], latency])
        for key, count in list(self._pushes.items()):
            found["feast_push_request_total"].append([list(key), count])
        for view, (written, older) in list(self._rows_written.items()):
            found["yummy_fast_rows_written_total"] += [[[view, "written"], written], [[view, "older"], older]]


def _add_answers(found: Snapshot, slots: ServiceSlots) -> None:
    """Add the numbers of the successful requests for one feature service."""
    latency = _duration(slots.total, slots.decode_ns + slots.store_ns + slots.encode_ns + slots.transform_ns)
    labels = [_ENDPOINT, slots.feature_count, slots.view_count]
    found["feast_feature_server_request_latency_seconds"].append([labels, latency])
    found["feast_online_features_request_total"].append([[], sum(slots.row_counts)])
    rows = _histogram(slots.row_counts, len(ROWS), slots.rows)
    found["feast_online_features_entity_count"].append([[], rows])
    store = _duration(slots.store, slots.store_ns)
    found["feast_feature_server_online_store_read_duration_seconds"].append([[], store])
    for phase, counts, took_ns in (
        ("decode", slots.decode, slots.decode_ns),
        ("store", slots.store, slots.store_ns),
        ("transform", slots.transform, slots.transform_ns),
        ("encode", slots.encode, slots.encode_ns),
    ):
        if counts:
            found["yummy_fast_request_phase_seconds"].append([[slots.label, phase], _duration(counts, took_ns)])
    found["yummy_fast_rows_total"].append([[slots.label], slots.rows])


class _Durations:
    """A histogram of durations, counted as in ServiceSlots; for use outside the hot path."""

    def __init__(self) -> None:
        self._counts = [0] * 64
        self._sum_ns = 0

    def add(self, took_ns: int) -> None:
        self._counts[(max(took_ns, 0) // FLOOR_NS).bit_length()] += 1
        self._sum_ns += max(took_ns, 0)

    def sample(self) -> list[Any]:
        return _duration(self._counts, self._sum_ns)


def _duration(counts: Sequence[int], sum_ns: int) -> list[Any]:
    return _histogram(counts, len(DURATIONS_S), sum_ns / 1e9)


def _histogram(counts: Sequence[int], bounds: int, total: float) -> list[Any]:
    """The sample of a histogram by bit length. The counters beyond the last of its `bounds` are those of +Inf."""
    return [[*counts[:bounds], sum(counts[bounds:])], total]


_STARTED_AT = time.time()


def _process_numbers() -> Iterator[tuple[str, float]]:
    """The metrics process_* that all client libraries of Prometheus have; without /proc, as on macOS, some are missing.

    prometheus_client is not used for them, because importing it takes longer than starting this server.
    """
    usage = os.times()
    yield "process_cpu_seconds_total", usage.user + usage.system
    yield "process_start_time_seconds", _STARTED_AT
    yield "process_max_fds", float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    with suppress(OSError, ValueError):
        yield "process_open_fds", float(len(os.listdir("/proc/self/fd")))
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
        yield "process_virtual_memory_bytes", float(size) * resource.getpagesize()
        yield "process_resident_memory_bytes", float(resident) * resource.getpagesize()
