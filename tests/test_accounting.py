"""What is noted about a request, whether it was answered, refused or given up: numbers, phases, lines in the log."""

from __future__ import annotations

import logging

import pytest

from tests.registries import PROJECT, Item, catalog, entity, fields, projection, service, view
from tests.scrapes import samples, scrape
from yummy_fast import accounting as module
from yummy_fast.accounting import Accounting, Work
from yummy_fast.errors import (
    CorruptValueError,
    LimitError,
    RequestError,
    StoreError,
    StoreOverloadedError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Compiled
from yummy_fast.http.trace_headers import Phases, Trace
from yummy_fast.telemetry.metrics import Metrics

STATS = view("stats", ["driver"], {"driver_id": ValueType.INT64}, {"trips": ValueType.INT64})
DERIVED = messages.OnDemandFeatureView(
    spec=messages.OnDemandFeatureViewSpec(
        name="derived",
        project=PROJECT,
        mode="python",
        features=fields({"sum": ValueType.INT64}),
        sources={"stats": messages.OnDemandSource(feature_view_projection=projection(STATS))},
    )
)
BASE: list[Item] = [entity("driver", "driver_id"), STATS, DERIVED, service("svc", projection(STATS))]

REQUESTS = "yummy_fast_requests_total"
SECOND = 1_000_000_000


def compiled(*features: str) -> Compiled[object]:
    """The plan of service svc, or of a list of features."""
    return catalog(*BASE).plan_for("" if features else "svc", list(features), False)


def answered_work(plan: Compiled[object] | None = None, *, computed: bool = False) -> Work:
    """A request for two rows whose steps ended after 1, 3, (6) and 10 seconds."""
    work = Work()
    work.begun_at = 100 * SECOND
    work.compiled = plan or compiled()
    work.bound = work.compiled.binder.bind({"driver_id": [1, 2]})
    work.bound_at, work.read_at, work.encoded_at = 101 * SECOND, 103 * SECOND, 110 * SECOND
    work.rows = [[[b"", encode_timestamp(7)], [None, None]]]
    if computed:
        work.computed_at = 106 * SECOND
    return work


def trace(phases: Phases | None = None, *, timing: bool = False) -> Trace:
    return Trace(b"id", b"", timing, phases=phases)


# ------------------------------------------------------------------------------------------------------------- answers


def test_an_answer_is_counted_for_its_service_with_its_phases_and_rows() -> None:
    metrics = Metrics()
    assert Accounting(metrics).answered(answered_work(), None) == b""
    text = scrape(metrics)
    assert samples(text, REQUESTS) == {("200", "svc"): 1}
    assert samples(text, "yummy_fast_rows_total") == {("svc",): 2}
    phases = {phase: took for (_, phase), took in samples(text, "yummy_fast_request_phase_seconds_sum").items()}
    assert phases == {"decode": 1, "store": 2, "encode": 7}


def test_the_time_of_functions_is_a_phase_of_its_own() -> None:
    metrics = Metrics()
    Accounting(metrics).answered(answered_work(compiled("derived:sum", "stats:trips"), computed=True), None)
    found = samples(scrape(metrics), "yummy_fast_request_phase_seconds_sum")
    assert {phase: took for (_, phase), took in found.items()} == {
        "decode": 1,
        "store": 2,
        "transform": 3,
        "encode": 4,
    }


def test_plans_of_one_name_are_counted_together_and_made_slots_once() -> None:
    metrics = Metrics()
    accounting = Accounting(metrics)
    plan = compiled()
    for one in (plan, plan, compiled()):
        accounting.answered(answered_work(one), None)
    assert samples(scrape(metrics), REQUESTS) == {("200", "svc"): 3}
    assert plan.slots is metrics.service("svc", 1, 1)


@pytest.mark.parametrize("budget_ns", [0, SECOND])
def test_values_are_sampled_while_there_is_a_budget(budget_ns: int) -> None:
    metrics = Metrics()
    metrics.sampling_budget_ns = budget_ns
    Accounting(metrics).answered(answered_work(), None)
    found = samples(scrape(metrics), "feast_online_features_status_total")
    assert {status: count for (_, status), count in found.items() if count} == (
        {"null": 1, "not_found": 1} if budget_ns else {}
    )


def test_sampling_that_fails_changes_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise IndexError

    monkeypatch.setattr(module, "sample", fail)
    metrics = Metrics()
    accounting = Accounting(metrics)
    for _ in range(3):
        metrics.sampling_budget_ns = SECOND
        assert accounting.answered(answered_work(), None) == b""
    assert [record.message for record in caplog.records] == ["an answer was not sampled, because of a server bug"]


def test_a_client_that_asks_for_it_gets_the_phases() -> None:
    lines = Accounting(Metrics()).answered(answered_work(), trace(timing=True))
    assert lines == b"server-timing: decode;dur=1000.000, store;dur=2000.000, encode;dur=7000.000\r\n"
    assert Accounting(Metrics()).answered(answered_work(), trace()) == b""


@pytest.mark.parametrize("timing", [False, True])
def test_a_trace_is_told_what_the_request_was_for(timing: bool) -> None:
    phases = Phases()
    plan = compiled("derived:sum", "stats:trips")
    lines = Accounting(Metrics()).answered(answered_work(plan, computed=True), trace(phases, timing=timing))
    assert (lines != b"") is timing
    assert (phases.service, phases.rows, phases.features, phases.unfinished) == ("", 2, 2, False)
    assert phases.took == [
        ("decode", 100 * SECOND, 101 * SECOND),
        ("store", 101 * SECOND, 103 * SECOND),
        ("transform", 103 * SECOND, 106 * SECOND),
        ("encode", 106 * SECOND, 110 * SECOND),
    ]


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestError("x"), 400),
        (LimitError(413, "x"), 413),
        (StoreTimeoutError("x"), 504),
        (ValueError("a bug"), 500),
        (GeneratorExit(), 499),
    ],
)
@pytest.mark.parametrize("planned", [False, True])
def test_a_failure_is_counted_by_its_code(error: BaseException, code: int, planned: bool) -> None:
    metrics, work = Metrics(), Work()
    if planned:
        work.compiled = compiled()
    Accounting(metrics).failed(work, error, None)
    found = {labels: count for labels, count in samples(scrape(metrics), REQUESTS).items() if count}
    assert found == {(str(code), "svc" if planned else ""): 1}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreTimeoutError("x"), "timeout"),
        (StoreUnavailableError("x"), "unavailable"),
        (StoreRefusedError("x"), "unavailable"),
        (StoreOverloadedError("x"), "overload"),
        (StoreError("x"), "error"),
        (CorruptValueError("x"), "error"),
    ],
)
def test_errors_of_the_store_are_counted_by_kind(error: StoreError, kind: str) -> None:
    metrics = Metrics()
    Accounting(metrics).failed(answered_work(), error, None)
    assert {kind: count for kind, count in metrics.store_errors.items() if count} == {kind: 1}


@pytest.mark.parametrize(
    ("moments", "computes", "took"),
    [
        ({}, False, ["decode"]),
        ({"bound_at": 101}, False, ["decode", "store"]),
        ({"bound_at": 101, "read_at": 103}, False, ["decode", "store", "encode"]),
        ({"bound_at": 101, "read_at": 103}, True, ["decode", "store", "transform"]),
        ({"bound_at": 101, "read_at": 103, "computed_at": 106}, True, ["decode", "store", "transform", "encode"]),
    ],
)
def test_the_phase_that_failed_is_the_last_of_a_trace(
    moments: dict[str, int], computes: bool, took: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "perf_counter_ns", lambda: 120 * SECOND)
    work, phases = Work(), Phases()
    work.begun_at = 100 * SECOND
    work.compiled = compiled("derived:sum") if computes else compiled()
    for name, moment in moments.items():
        setattr(work, name, moment * SECOND)
    Accounting(Metrics()).failed(work, RequestError("x"), trace(phases))
    assert phases.unfinished
    assert [name for name, _, _ in phases.took] == took
    assert phases.took[-1][1:] == (max([100, *moments.values()]) * SECOND, 120 * SECOND)
    assert phases.rows == -1


def test_a_function_that_has_run_is_counted_though_the_request_fails() -> None:
    metrics, work = Metrics(), answered_work(compiled("derived:sum"), computed=True)
    work.encoded_at = 0
    Accounting(metrics).failed(work, CorruptValueError("x"), None)
    assert work.compiled is not None
    assert work.compiled.slots is not None
    assert work.compiled.slots.transform_ns == 3 * SECOND


# ------------------------------------------------------------------------------------------------------------- the log


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_the_same_error_of_the_store_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """For a minute: see telemetry/test_once_log.py."""
    caplog.set_level(logging.ERROR, "yummy_fast")
    accounting = Accounting(Metrics())
    for _ in range(3):
        accounting.failed(Work(), StoreError("The online store answered WRONGTYPE"), None)
        accounting.failed(Work(), StoreRefusedError("The online store answered NOPERM"), None)
    assert logged(caplog) == [
        "requests get status 502: The online store answered WRONGTYPE",
        "requests get status 503: The online store answered NOPERM",
    ]


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("x"), StoreTimeoutError("x"), RequestError("x"), GeneratorExit()]
)
def test_what_mends_itself_or_is_the_callers_is_not_logged(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "yummy_fast")
    Accounting(Metrics()).failed(Work(), error, None)
    assert logged(caplog) == []
