"""Sample what is served: for each feature view, which statuses its values have and how old they are.

To count every value of every answer would cost a tenth of what it costs to make the answer. So sampling has a
budget of time: all answers of a quiet server are sampled, and a few hundred a second of a busy one. What is seen in a
sample stands for all rows that were answered for the same ServiceSlots since the sample before. So the numbers of
values add up to what was served, while the ages are those of the samples alone.

Sampling must not change an answer: an error in it is logged once (`accounting`). A corrupt timestamp has no age.

Pure but for the clock and the metrics that it changes. It must not know stores: it gets the rows that were answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from time import perf_counter_ns

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamp, decode_timestamps
from yummy_fast.features.binding import Bound
from yummy_fast.features.plan import Lookup, Plan, Row, Rows
from yummy_fast.telemetry.metrics import Metrics, ServiceSlots

BUDGET_NS_PER_HEARTBEAT = 500_000
"""The time for sampling in a tenth of a second: half a per cent of it. perf/stages.py measures one sample."""
MAX_CELLS = 5_000
"""Values and timestamps of each Lookup in one sample. Of a larger one, rows at equal distances are sampled."""


def sample(
    plan: Plan,
    bound: Bound,
    rows: Rows,
    slots: ServiceSlots,
    metrics: Metrics,
    now: datetime,
) -> None:
    """Sample an answer that has been counted in `slots`. `rows` are the store's; `now` is in UTC."""
    begun = perf_counter_ns()
    # The rows of this answer, and of those before it that were not sampled.
    unsampled, slots.rows_sampled = slots.rows - slots.rows_sampled, slots.rows
    for number, lookup in enumerate(plan.lookups):
        if lookup.is_pushed:  # those of its rows that are answered are among the rows of another lookup
            continue
        cells = bound.rows * (len(lookup.features) + len(lookup.views))
        step = max(1, -(-cells // MAX_CELLS))  # rounded up
        each = bound.spread(number, rows[number], step)
        if each:
            _sample_rows(lookup, each, unsampled / len(each), metrics, now)
    metrics.sampling_budget_ns -= perf_counter_ns() - begun


def _moments(stamps: Sequence[bytes | None]) -> Sequence[datetime | None]:
    """The event timestamps; None for each that is corrupt."""
    try:
        return decode_timestamps(stamps)
    except CorruptValueError:
        return [_moment(stamp) for stamp in stamps]


def _moment(stamp: bytes | None) -> datetime | None:
    try:
        return decode_timestamp(stamp)
    except CorruptValueError:
        return None


def _age_s(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()


def _sample_rows(lookup: Lookup, rows: Sequence[Row], weight: float, metrics: Metrics, now: datetime) -> None:
    """Count the values of rows, each of which stands for `weight` rows, and their ages."""
    width = len(lookup.features)
    views = list(map(metrics.view, lookup.views))
    stale: list[list[int]] = []  # for each view, the rows whose values are too old
    for position, (view, ttl_s) in enumerate(zip(views, lookup.ttls_s, strict=True), width):
        stamps = [row[position] for row in rows]
        ages = [_age_s(moment, now) for moment in _moments(stamps)]
        for stamp, age in zip(stamps, ages, strict=True):
            if stamp and age is not None:
                view.aged(max(age, 0.0))
        stale.append([row for row, age in enumerate(ages) if age is not None and age > ttl_s] if ttl_s else [])
    if not any(stale) and not any(None in row or b"" in row for row in rows):
        # Every value is there and fresh, which is usual: the columns need not be counted one by one.
        for number, features in Counter(lookup.view_of).items():
            views[number].present += features * len(rows) * weight
        return
    for position, view_number in enumerate(lookup.view_of):
        view = views[view_number]
        column = [row[position] for row in rows]
        absent, null = column.count(None), column.count(b"")
        old = sum(1 for row in stale[view_number] if column[row])
        view.not_found += absent * weight
        view.null += null * weight
        view.outside_max_age += old * weight
        view.present += (len(column) - absent - null - old) * weight
