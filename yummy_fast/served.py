"""Look at what is served: by feature view, what its values are and how old they are.

To look at every value of every answer would cost a tenth of what it costs to make the answer. So answers are looked at
while there is a budget, CELLS_A_BEAT values ten times a second: all of them on a quiet server, a few hundred a second
on a busy one. What is seen stands for all rows in the same ServiceSlots since the last look, so that the numbers of
values add up to what was served, and the ages are a sample.

Pure but for the numbers that it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from yummy_fast.codec import CorruptValueError, decode_timestamps
from yummy_fast.metrics import Metrics, ServiceSlots
from yummy_fast.plan import Bound, Plan

CELLS_A_BEAT = 10_000
"""Values, and timestamps, that are looked at in a tenth of a second: under 1 % of it, as perf/stages.py measures."""
MAX_CELLS = 25_000
"""Of one answer. Of a larger one, rows at equal distances are looked at."""


def look(
    plan: Plan,
    bound: Bound,
    rows: Sequence[Sequence[Sequence[bytes | None]]],
    slots: ServiceSlots,
    metrics: Metrics,
    now: datetime,
) -> None:
    """Look at an answer that has been counted in `slots`. `rows` are the store's; `now` is naive, in UTC."""
    waiting, slots.rows_looked_at = slots.rows - slots.rows_looked_at, slots.rows
    cells = bound.rows * sum(len(lookup.features) + len(lookup.views) for lookup in plan.lookups)
    step = max(1, -(-cells // MAX_CELLS))
    metrics.cells_to_look_at -= cells // step
    for lookup, found, fan in zip(plan.lookups, rows, bound.fans, strict=True):
        each = found if fan is None else [found[place] for place in fan]
        each = each[::step]
        if not each:
            continue
        weight = waiting / len(each)
        columns = list(zip(*each, strict=True))
        width = len(lookup.features)
        views = [metrics.view(name) for name in lookup.views]
        stale: list[list[int]] = []
        for view, stamps, ttl_s in zip(views, columns[width:], lookup.ttls_s, strict=True):
            try:
                moments = decode_timestamps(stamps)
            except CorruptValueError:  # nobody would have been answered
                continue
            ages = [(now - moment).total_seconds() for moment in moments]
            for stamp, age in zip(stamps, ages, strict=True):
                if stamp:
                    view.aged(max(age, 0.0))
            stale.append([place for place, age in enumerate(ages) if age > ttl_s] if ttl_s else [])
        for column, which in zip(columns[:width], lookup.view_of, strict=True):
            view = views[which]
            absent, null = column.count(None), column.count(b"")
            old = sum(1 for place in stale[which] if column[place])
            view.not_found += absent * weight
            view.null += null * weight
            view.outside_max_age += old * weight
            view.present += (len(column) - absent - null - old) * weight
