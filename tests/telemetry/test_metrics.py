"""Counting: what prometheus_client reads in the text is what was counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.scrapes import samples, scrape
from yummy_fast.telemetry.metrics import MAX_SERVICES, MAX_VIEWS, Metrics, feature_count_range

PHASE = "yummy_fast_request_phase_seconds"


@pytest.mark.parametrize(
    ("nanoseconds", "bound"),
    [
        (0, "0.0001"),
        (99_999, "0.0001"),
        (100_001, "0.0002"),
        (199_999, "0.0002"),
        (200_001, "0.0004"),
        (1_000_000, "0.0016"),
        (1_000_000_000, "1.6384"),
        (13_000_000_000, "13.1072"),
        (14_000_000_000, "+Inf"),
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


@pytest.mark.parametrize(
    ("lag_ns", "bucket", "sum_s"), [(-5_000_000, 0, 0.0), (-1, 0, 0.0), (0, 0, 0.0), (150_000, 1, 0.00015)]
)
def test_a_timer_that_came_too_soon_was_not_late(lag_ns: int, bucket: int, sum_s: float) -> None:
    """Clocks and timers differ by some microseconds. A sum that goes down would be a reset to Prometheus."""
    metrics = Metrics()
    metrics.lagged(lag_ns)
    ((_, (counts, total)),) = metrics.snapshot()["yummy_fast_event_loop_lag_seconds"]
    assert counts.index(1) == bucket
    assert sum(counts) == 1
    assert total == pytest.approx(sum_s)


def test_a_snapshot_is_plain() -> None:
    metrics = Metrics()
    metrics.transformed.append(("view", "python", 1_000))
    metrics.fold()
    metrics.lagged(-5)
    snapshot: dict[str, Any] = metrics.snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot


def test_writes_are_counted_by_endpoint_and_code() -> None:
    """The time of those that succeeded alone."""
    metrics = Metrics()
    metrics.wrote("/push", 200, 1_000_000_000)
    metrics.wrote("/push", 200, 3_000_000_000)
    metrics.wrote("/push", 422, 50_000_000_000)
    metrics.wrote("/write-to-online-store", 502, 0)
    text = scrape(metrics)
    assert samples(text, "yummy_fast_writes_total") == {
        ("200", "/push"): 2,
        ("422", "/push"): 1,
        ("502", "/write-to-online-store"): 1,
    }
    total = samples(text, "feast_feature_server_request_total")
    assert {key: count for key, count in total.items() if "/get-online-features" not in key} == {
        ("/push", "success"): 2,
        ("/push", "error"): 1,
        ("/write-to-online-store", "success"): 0,
        ("/write-to-online-store", "error"): 1,
    }
    assert samples(text, "feast_feature_server_request_latency_seconds_sum")["/push", "", ""] == 4


def test_pushes_and_their_rows_are_counted_within_bounds() -> None:
    metrics = Metrics()
    for number in range(MAX_VIEWS + 2):
        metrics.pushed(f"source{number}", "online")
        metrics.stored(f"view{number}", 3, 1)
    metrics.pushed("source0", "online")
    metrics.stored("view0", 4, 0)
    text = scrape(metrics)
    pushes = list(samples(text, "feast_push_request_total").values())
    assert (len(pushes), sorted(pushes)[-2:], sum(pushes)) == (MAX_VIEWS + 1, [2, 2], MAX_VIEWS + 3)
    rows = samples(text, "yummy_fast_rows_written_total")
    assert len(rows) == 2 * (MAX_VIEWS + 1)
    by_view = {tuple(sorted(key)): count for key, count in rows.items()}
    assert by_view["view0", "written"] == 7
    assert by_view["older", "view0"] == 1
    assert sum(rows.values()) == 4 * (MAX_VIEWS + 2) + 4


def test_errors_and_comparisons_are_counted_by_what_they_were() -> None:
    metrics = Metrics()
    for code in (400, 400, 404):
        metrics.refused(code)
    metrics.shadow_outcomes["same"] = 5
    metrics.shadow_differences["values"] = 2
    text = scrape(metrics)
    assert samples(text, "yummy_fast_http_errors_total") == {("400",): 2, ("404",): 1}
    assert samples(text, "yummy_fast_shadow_requests_total") == {("same",): 5}
    assert samples(text, "yummy_fast_shadow_differences_total") == {("values",): 2}
