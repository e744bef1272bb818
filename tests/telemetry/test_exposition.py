"""Several processes as one, and the text: what prometheus_client reads in it is what was counted."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from tests import metrics_document
from tests.scrapes import samples, scrape
from yummy_fast.telemetry.exposition import FAMILIES, past, render
from yummy_fast.telemetry.metrics import Metrics


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
    store = samples(text, "yummy_fast_request_phase_seconds_bucket")
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
    document = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert metrics_document.text() == document.read_text()
