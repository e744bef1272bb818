"""What Prometheus would read in a scrape: numbers by name and labels, out of the text."""

from __future__ import annotations

import json

from prometheus_client.parser import text_string_to_metric_families

from yummy_fast.telemetry.exposition import render
from yummy_fast.telemetry.metrics import Metrics


def samples(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name: labels' values, in the order of the labels' names -> number."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def scrape(*processes: Metrics) -> bytes:
    """The text for several processes, whose snapshots went through JSON as from one process to another."""
    return render([json.loads(json.dumps(process.snapshot())) for process in processes])[0]
