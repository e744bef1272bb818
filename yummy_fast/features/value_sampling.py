"""Look at what is served: by feature view, what its values are and how old they are.

To look at every value of every answer would cost a tenth of what it costs to make the answer. So answers are looked at
while there is a budget of time: all of them on a quiet server, a few hundred a second on a busy one. What is seen
stands for all rows in the same ServiceSlots since the last look, so that the numbers of values add up to what was
served, and the ages are a sample.

Pure but for the clock, and the numbers that it changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from time import perf_counter_ns

from yummy_fast.feast_format.timestamps import decode_timestamps
from yummy_fast.features.binding import Bound
from yummy_fast.features.plan import Lookup, Plan, Row, Rows
from yummy_fast.telemetry.metrics import Metrics, ServiceSlots

BUDGET_NS_PER_HEARTBEAT = 500_000
"""How long answers may be looked at in a tenth of a second: half a per cent of it. perf/stages.py times one."""
MAX_CELLS = 5_000
"""Values and timestamps of one answer. Of a larger one, rows at equal distances are looked at."""


def sample(
    plan: Plan,
    bound: Bound,
    rows: Rows,
    slots: ServiceSlots,
    metrics: Metrics,
    now: datetime,
) -> None:
    """Look at an answer that has been counted in `slots`. `rows` are the store's; `now` is in UTC."""
    begun = perf_counter_ns()
    waiting, slots.rows_sampled = slots.rows - slots.rows_sampled, slots.rows
    for number, lookup in enumerate(plan.lookups):
        cells = bound.rows * (len(lookup.features) + len(lookup.views))
        step = max(1, -(-cells // MAX_CELLS))  # rounded up
        each = bound.spread(number, rows[number], step)
        if each:
            _sample_rows(lookup, each, waiting / len(each), metrics, now)
    metrics.sampling_budget_ns -= perf_counter_ns() - begun


def _sample_rows(lookup: Lookup, rows: Sequence[Row], weight: float, metrics: Metrics, now: datetime) -> None:
    """Look at rows that stand for `weight` times as many."""
    width = len(lookup.features)
    views = list(map(metrics.view, lookup.views))
    stale: list[list[int]] = []
    for place, (view, ttl_s) in enumerate(zip(views, lookup.ttls_s, strict=True), width):
        stamps = [row[place] for row in rows]
        ages = [(now - moment).total_seconds() for moment in decode_timestamps(stamps)]
        for stamp, age in zip(stamps, ages, strict=True):
            if stamp:
                view.aged(max(age, 0.0))
        stale.append([number for number, age in enumerate(ages) if age > ttl_s] if ttl_s else [])
    if not any(stale) and not any(None in row or b"" in row for row in rows):
        for which, features in Counter(lookup.view_of).items():  # everything is there: no need to look at each column
            views[which].present += features * len(rows) * weight
        return
    for place, which in enumerate(lookup.view_of):
        view = views[which]
        column = [row[place] for row in rows]
        absent, null = column.count(None), column.count(b"")
        old = sum(1 for number in stale[which] if column[number]) if stale[which] else 0
        view.not_found += absent * weight
        view.null += null * weight
        view.outside_max_age += old * weight
        view.present += (len(column) - absent - null - old) * weight
