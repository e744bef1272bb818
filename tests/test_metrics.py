"""Counting, adding up several processes, and the text: what prometheus_client reads in it is what was counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests import metrics_document
from yummy_fast.metrics import FAMILIES, MAX_SERVICES, MAX_VIEWS, Metrics, feature_count_range, past, render

PHASE = "yummy_fast_request_phase_seconds"


def samples(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name: labels' values, in the order of the labels' names -> number."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in read_text(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def scrape(*processes: Metrics, **numbers: float) -> bytes:
    # Through JSON, as from one process to another.
    return render([json.loads(json.dumps(process.snapshot(numbers))) for process in processes])[0]


@pytest.mark.parametrize(
    ("nanoseconds", "bound"),
    [
        *((0, "0.0001"), (99_999, "0.0001"), (100_001, "0.0002"), (199_999, "0.0002"), (200_001, "0.0004")),
        *((1_000_000, "0.0016"), (1_000_000_000, "1.6384"), (13_000_000_000, "13.1072"), (14_000_000_000, "+Inf")),
        (3_600_000_000_000, "+Inf"),
    ],
)
def test_a_duration_is_in_the_first_bucket_that_reaches_it(nanoseconds: int, bound: str) -> None:
    metrics = Metrics()
    metrics.service("svc", 1, 1).answered(0, 0, nanoseconds, nanoseconds, nanoseconds, 1)
    found = {
        le: count for (_, le, phase), count in samples(scrape(metrics), f"{PHASE}_bucket").items() if phase == "store"
    }
    order = sorted(found, key=float)
    assert [found[le] for le in order] == [0.0] * order.index(bound) + [1.0] * (len(order) - order.index(bound))
    assert samples(scrape(metrics), f"{PHASE}_sum")["svc", "store"] == pytest.approx(nanoseconds / 1e9)


def test_the_time_of_an_answer_is_the_sum_of_its_phases() -> None:
    metrics = Metrics()
    slots = metrics.service("svc", 60, 3)
    slots.answered(1_000, 2_000_000, 5_000_000, 9_000_000, 9_500_000, 7)
    slots.transformed(4_000_000)
    text = scrape(metrics)
    sums = samples(text, f"{PHASE}_sum")
    assert {phase: round(took * 1e9) for (_, phase), took in sums.items()} == {
        "decode": 1_999_000,
        "store": 3_000_000,
        "transform": 4_000_000,
        "encode": 500_000,
    }
    total = samples(text, "feast_feature_server_request_latency_seconds_sum")
    assert total == {("/get-online-features", "51-200", "3"): pytest.approx(9_499_000 / 1e9)}
    assert samples(text, "yummy_fast_rows_total") == {("svc",): 7}
    assert samples(text, "feast_online_features_entity_count_bucket")["3.0",] == 0
    assert samples(text, "feast_online_features_entity_count_bucket")["7.0",] == 1


@pytest.mark.parametrize(
    ("features", "label"),
    [(0, "0"), (1, "1-10"), (10, "1-10"), (11, "11-50"), (50, "11-50"), (51, "51-200"), (200, "51-200"), (201, "201+")],
)
def test_ranges_of_features_are_feasts(features: int, label: str) -> None:
    assert feature_count_range(features) == label


def test_every_request_is_counted_once_by_its_code() -> None:
    metrics = Metrics()
    slots = metrics.service("svc", 1, 1)
    for _ in range(3):
        slots.answered(0, 0, 0, 0, 0, 1)
    slots.failed(503)
    slots.failed(503)
    metrics.unplanned.failed(422)
    text = scrape(metrics)
    assert samples(text, "yummy_fast_requests_total") == {("200", "svc"): 3, ("503", "svc"): 2, ("422", ""): 1}
    assert samples(text, "feast_feature_server_request_total") == {
        ("/get-online-features", "success"): 3,
        ("/get-online-features", "error"): 3,
    }


def test_slots_are_found_again_by_name() -> None:
    """A reload makes new plans, whose requests add to what was counted before."""
    metrics = Metrics()
    assert metrics.service("svc", 5, 2) is metrics.service("svc", 7, 2)
    assert metrics.service("", 5, 2) is metrics.service("", 6, 2)  # lists of features, of about the same length
    assert metrics.service("", 5, 2) is not metrics.service("svc", 5, 2)


def test_names_are_bounded() -> None:
    metrics = Metrics()
    for number in range(MAX_SERVICES + 50):
        metrics.service(f"svc_{number}", 1, 1).failed(400)
    for number in range(MAX_VIEWS + 50):
        metrics.view(f"view_{number}").present += 1
    text = scrape(metrics)
    services = samples(text, "yummy_fast_requests_total")
    assert services["400", "(other)"] == 50
    assert sum(services.values()) == MAX_SERVICES + 50
    views = samples(text, "feast_online_features_status_total")
    assert views["(other)", "present"] == 50
    assert len({view for view, _ in views}) == MAX_VIEWS + 1


def test_several_processes_are_added_up() -> None:
    first, second = Metrics(), Metrics()
    first.service("svc", 1, 1).answered(0, 0, 150_000, 150_000, 150_000, 2)
    second.service("svc", 1, 1).answered(0, 0, 150_000, 150_000, 350_000, 3)
    second.service("other", 1, 1).failed(404)
    first.view("v").aged(3.0)
    second.view("v").aged(100.0)
    numbers = {"yummy_fast_store_silence_seconds": 0.5, "yummy_fast_registry_loaded_timestamp_seconds": 200.0}
    numbers |= {"yummy_fast_store_connections": 1.0, "yummy_fast_registry_reloads_total": 2.0}
    mine, other = first.snapshot(numbers), second.snapshot({name: 3 * value for name, value in numbers.items()})
    text, _ = render([mine, other])
    assert samples(text, "yummy_fast_requests_total") == {("200", "svc"): 2, ("200", "other"): 0, ("404", "other"): 1}
    assert samples(text, "yummy_fast_rows_total")["svc",] == 5
    store = samples(text, f"{PHASE}_bucket")
    assert [store["svc", le, "store"] for le in ("0.0001", "0.0002", "0.0004")] == [0, 2, 2]
    assert samples(text, "yummy_fast_value_age_seconds_sum")["v",] == 103
    assert samples(text, "yummy_fast_store_silence_seconds") == {(): 1.5}  # the longest
    assert samples(text, "yummy_fast_registry_loaded_timestamp_seconds") == {(): 200}  # the oldest
    assert samples(text, "yummy_fast_store_connections") == {(): 4}
    assert samples(text, "yummy_fast_registry_reloads_total") == {(): 8}


def test_a_process_that_has_ended_leaves_its_counters() -> None:
    metrics = Metrics()
    metrics.service("svc", 1, 1).answered(0, 0, 0, 0, 0, 1)
    text, _ = render(
        [past(metrics.snapshot({"yummy_fast_store_connections": 1, "yummy_fast_store_connects_total": 4}))]
    )
    assert samples(text, "yummy_fast_requests_total") == {("200", "svc"): 1}
    assert samples(text, "yummy_fast_store_connects_total") == {(): 4}
    assert samples(text, "yummy_fast_store_connections") == {}
    assert samples(text, "process_resident_memory_bytes") == {}


def test_openmetrics_for_who_asks_for_it() -> None:
    metrics = Metrics()
    metrics.service('a "quoted"\nname', 1, 1).answered(0, 0, 0, 0, 0, 1)
    text, content_type = render([metrics.snapshot()], "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name: family for family in read_openmetrics(text.decode())}  # type: ignore[no-untyped-call]
    (sample,) = names["yummy_fast_requests"].samples
    assert sample.labels == {"feature_service": 'a "quoted"\nname', "code": "200"}


def test_every_family_is_in_the_text_under_its_name() -> None:
    text = scrape(Metrics())
    types = {line.split()[2]: line.split()[3] for line in text.decode().splitlines() if line.startswith("# TYPE")}
    assert types == {family.name: family.kind for family in FAMILIES}


def test_the_document_is_current() -> None:
    """docs/metrics.md is written by `make docs`."""
    document = Path(__file__).parent.parent / "docs" / "metrics.md"
    assert metrics_document.text() == document.read_text()


def test_a_snapshot_is_plain() -> None:
    metrics = Metrics()
    metrics.transformed.append(("view", "python", 1_000))
    metrics.fold()
    metrics.lagged(-5)
    snapshot: dict[str, Any] = metrics.snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
