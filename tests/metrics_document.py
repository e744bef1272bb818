"""Write docs/metrics.md from the table of metrics: `make docs`. tests/telemetry/test_exposition.py compares the two."""

from __future__ import annotations

from pathlib import Path

from yummy_fast.features.value_sampling import BUDGET_NS_PER_HEARTBEAT
from yummy_fast.server.health import BEAT_S
from yummy_fast.telemetry.exposition import FAMILIES, Family
from yummy_fast.telemetry.metrics import MAX_SERVICES, MAX_VIEWS

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"

_HEAD = f"""\
# Metrics

This file is written by `make docs` from yummy_fast/telemetry/exposition.py.

`/metrics` answers in Prometheus' text format, or in OpenMetrics for a scraper that asks for it. It is at the address of
`--admin`; with Feast's `--metrics`, or `feature_server.metrics.enabled` in feature_store.yaml, at port 8000 of every
address; without either, beside the requests. Counting is always on.

Families of Feast's have Feast's names and labels; their buckets are finer. Not here, because `process_*` says more:
`feast_feature_server_cpu_usage` and `_memory_usage`. Feast's families about pushes, materialization and offline stores
belong to servers that do such things.

Cardinality is bounded. {MAX_SERVICES} feature services and {MAX_VIEWS} feature views have series of their own, from
when they are first asked for; later ones share the label `(other)`. Lists of features share `(ad hoc)`.

**What was served**, `feast_online_features_status_total` and `yummy_fast_value_age_seconds`: answers are looked at
within a budget of {BUDGET_NS_PER_HEARTBEAT / 1e6:g} ms every {BEAT_S:g} s. On a quiet server that is every answer. On
a busy one it is a sample: the numbers of values are projected to all rows that were answered, the ages are those of the
sample. The statuses are the true ones, also where the answer said PRESENT as Feast does.

Which of them to look at first, when answers are slow:

- `yummy_fast_request_phase_seconds`: is it the store, or us?
- `yummy_fast_event_loop_lag_seconds`: is the process out of CPU, or something keeps the loop?
- `yummy_fast_store_silence_seconds`, `yummy_fast_store_connects_total`, `yummy_fast_store_errors_total`: is Redis well?
- `feast_online_features_status_total`, `yummy_fast_value_age_seconds`: is the data there, and fresh?
- `yummy_fast_registry_age_seconds`, `yummy_fast_registry_failures_total`: is the registry the newest?
"""


def text() -> str:
    """The document."""
    parts = [_HEAD]
    for title, families in (
        ("Feast's", [family for family in FAMILIES if family.name.startswith("feast_")]),
        ("Our own", [family for family in FAMILIES if family.name.startswith("yummy_fast_")]),
        ("The process", [family for family in FAMILIES if family.name.startswith("process_")]),
    ):
        parts += [f"\n## {title}\n\n| name | type | labels | |\n|---|---|---|---|\n", *map(_row, families)]
    parts.append("\n## Buckets\n\n")
    for bounds in dict.fromkeys(family.bounds for family in FAMILIES if family.bounds):
        names = ", ".join(f"`{family.name}`" for family in FAMILIES if family.bounds == bounds)
        parts.append(f"- {names}: {', '.join(f'{bound:g}' for bound in bounds)}\n")
    parts.append("\nWith several workers, counters and histograms are added up; of gauges, what the table says.\n")
    return "".join(parts)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    combined = f" ({family.combine} of the workers)" if family.kind == "gauge" else ""
    return f"| `{family.name}` | {family.kind}{combined} | {labels} | {family.help} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(text())
