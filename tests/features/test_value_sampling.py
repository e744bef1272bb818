"""Looking at what is served: the numbers of values add up to what was answered, whatever was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tests.registries import catalog, entity, view
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Compiled
from yummy_fast.features.value_sampling import BUDGET_NS_PER_HEARTBEAT, MAX_CELLS, sample
from yummy_fast.telemetry.metrics import Metrics, ServiceSlots

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOME = Value(int64_val=7).SerializeToString()
NULL = b""
KEY = {"driver_id": ValueType.INT64}


def ago(seconds: float) -> bytes:
    return encode_timestamp(int((NOW - timedelta(seconds=seconds)).replace(tzinfo=UTC).timestamp()))


def compiled(ttl_s: int = 0) -> Compiled[object]:
    """Features a and b of one view, c of another."""
    fresh = view("fresh", ["driver"], KEY, {"a": ValueType.INT64, "b": ValueType.INT64})
    aging = view("aging", ["driver"], KEY, {"c": ValueType.INT64})
    aging.spec.ttl.seconds = ttl_s
    return catalog(entity("driver", "driver_id"), fresh, aging).plan_for(None, ["fresh:a", "fresh:b", "aging:c"], False)


class Looked:
    def __init__(self, ttl_s: int = 0) -> None:
        self.metrics = Metrics()
        self.metrics.sampling_budget_ns = BUDGET_NS_PER_HEARTBEAT
        self.slots: ServiceSlots = self.metrics.service("svc", 3, 2)
        one = compiled(ttl_s)
        self.plan, self.binder = one.plan, one.binder

    def serve(self, rows: Sequence[Sequence[bytes | None]], drivers: Sequence[int] = (), *, at: bool = True) -> None:
        """Answer `rows`, which are those of `drivers`, or of one driver each; and look `at` them."""
        bound = self.binder.bind({"driver_id": list(drivers or range(len(rows)))})
        self.slots.answered(0, 0, 0, 0, 0, bound.rows)
        if at:
            sample(self.plan, bound, [rows], self.slots, self.metrics, NOW)

    def values(self, name: str) -> dict[str, float]:
        slots = self.metrics.view(name)
        names = ("present", "null", "not_found", "outside_max_age")
        return {name: getattr(slots, name) for name in names if getattr(slots, name)}

    def ages(self, name: str) -> list[float]:
        """How many ages, and their sum."""
        slots = self.metrics.view(name)
        return [sum(slots.age_counts), slots.age_sum_s]


def test_statuses() -> None:
    served = Looked(ttl_s=60)
    served.serve(
        [
            [SOME, NULL, SOME, ago(10), ago(59)],
            [SOME, None, SOME, ago(10), ago(61)],
            [None, None, NULL, None, ago(500)],
            [None, None, None, None, None],
        ]
    )
    assert served.values("fresh") == {"present": 2, "null": 1, "not_found": 5}
    # What is not there is not too old, nor is a null.
    assert served.values("aging") == {"present": 1, "outside_max_age": 1, "null": 1, "not_found": 1}
    assert served.ages("fresh") == [2, 20]
    assert served.ages("aging") == [3, 59 + 61 + 500]


def test_without_a_ttl_nothing_is_too_old() -> None:
    served = Looked()
    served.serve([[SOME, SOME, SOME, ago(1e8), ago(1e8)]])
    assert served.values("aging") == {"present": 1}


def test_an_entity_that_is_asked_for_twice_counts_twice() -> None:
    served = Looked()
    served.serve([[SOME, SOME, None, ago(5), None], [None, NULL, SOME, ago(7), ago(1)]], [1, 2, 1])
    assert served.values("fresh") == {"present": 4, "not_found": 1, "null": 1}
    assert served.ages("fresh") == [3, 17]


def test_a_moment_in_the_future_is_of_no_age() -> None:
    served = Looked()
    served.serve([[SOME, SOME, SOME, ago(-100), ago(0)]])
    assert served.ages("fresh") == [1, 0]


def test_what_is_looked_at_stands_for_what_was_not() -> None:
    served = Looked()
    row = [SOME, NULL, SOME, ago(5), ago(5)]
    for _ in range(9):
        served.serve([row], at=False)
    served.serve([row])
    assert served.values("fresh") == {"present": 10, "null": 10}
    assert served.ages("fresh") == [1, 5]
    served.serve([row])  # and stands for itself then
    assert served.values("fresh") == {"present": 11, "null": 11}


def test_the_budget_is_used_up() -> None:
    served = Looked()
    left = served.metrics.sampling_budget_ns
    for _ in range(3):
        served.serve([[SOME, SOME, SOME, ago(5), ago(5)]] * 10)
        assert served.metrics.sampling_budget_ns < left
        left = served.metrics.sampling_budget_ns


def test_where_everything_is_there() -> None:
    served = Looked(ttl_s=60)
    served.serve([[SOME, SOME, SOME, ago(5), ago(7)]] * 4)
    assert served.values("fresh") == {"present": 8}
    assert served.values("aging") == {"present": 4}
    assert served.ages("aging") == [4, 28]


def test_of_a_large_answer_a_part_is_looked_at() -> None:
    served = Looked()
    rows = MAX_CELLS  # with five cells each
    served.serve([[SOME, None, NULL, ago(5), ago(5)]] * rows)
    assert served.values("fresh") == {"present": pytest.approx(rows), "not_found": pytest.approx(rows)}
    assert served.ages("aging")[0] == rows / 5


def test_an_answer_without_rows_is_looked_at_in_vain() -> None:
    served = Looked()
    sample(
        served.plan, served.binder.bind({"driver_id": [1]})._replace(rows=0), [[]], served.slots, served.metrics, NOW
    )
    assert served.values("fresh") == {}


def test_a_corrupt_timestamp_has_no_age_and_changes_nothing() -> None:
    """With --compat strict, it is answered INVALID: as well when it is sampled as when it is not."""
    served = Looked(ttl_s=60)
    served.serve([[SOME, SOME, SOME, b"\xff", b"\xff"], [SOME, SOME, SOME, ago(5), ago(61)]])
    assert served.values("fresh") == {"present": 4}
    assert served.values("aging") == {"present": 1, "outside_max_age": 1}
    assert (served.ages("fresh"), served.ages("aging")) == ([1, 5], [1, 61])
