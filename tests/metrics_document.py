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

`/metrics` is in Prometheus' text format, or in OpenMetrics for a scraper that asks for it. Its address is that of
`--admin`. Without `--admin` it is on port 8000 of every address if Feast's `--metrics` is given (or
`feature_server.metrics.enabled` in feature_store.yaml), and otherwise on the address of the requests. Counting is
always on.

The metrics whose names begin with `feast_` have Feast's names and labels, and finer buckets. Instead of Feast's
`feast_feature_server_cpu_usage` and `feast_feature_server_memory_usage` there are the `process_*` metrics, which say
more. This server does not materialize or read offline stores, so it has none of Feast's metrics about that.

Cardinality is bounded. The first {MAX_SERVICES} feature services and the first {MAX_VIEWS} feature views that are
requested have series of their own; further ones share the label `(other)`. Lists of features share `(ad hoc)`.

**Served values**: `feast_online_features_status_total` and `yummy_fast_value_age_seconds` come from examining answers,
which may take {BUDGET_NS_PER_HEARTBEAT / 1e6:g} ms every {BEAT_S:g} s. A quiet server examines every answer. A busy one
examines a sample: the numbers of values are extrapolated to all rows, and the ages are those of the sample. The
statuses are the true ones, even if the answer says PRESENT as Feast does.

When answers are slow, read these first:

- `yummy_fast_request_phase_seconds`: is the online store slow, or this server?
- `yummy_fast_event_loop_lag_seconds`: does the process lack CPU, or does something block the event loop?
- `yummy_fast_store_silence_seconds`, `yummy_fast_store_connects_total`, `yummy_fast_store_errors_total`: does the
  online store reply?
- `feast_online_features_status_total`, `yummy_fast_value_age_seconds`: are the values there, and fresh?
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
        parts += [f"\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n", *map(_row, families)]
    parts.append("\n## Buckets\n\n")
    for bounds in dict.fromkeys(family.bounds for family in FAMILIES if family.bounds):
        names = ", ".join(f"`{family.name}`" for family in FAMILIES if family.bounds == bounds)
        parts.append(f"- {names}: {', '.join(f'{bound:g}' for bound in bounds)}\n")
    parts.append(
        "\nWith several workers, counters and histograms are the sums of all workers. The tables say how gauges are"
        " combined.\n"
    )
    return "".join(parts)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    combined = f" ({family.combine} of the workers)" if family.kind == "gauge" else ""
    return f"| `{family.name}` | {family.kind}{combined} | {labels} | {family.help} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(text())
