"""Statuses by policy: Feast's on Redis, Feast's on SQLite, and the true ones.

Feast's come from feast/utils.py _populate_response_from_feature_data, and from what each store returns for a key that
it does not have (feast/infra/online_stores/redis.py and sqlite.py, Feast 0.67.0).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, HashContents, Lookup
from yummy_fast.features.statuses import CORRUPT, NO_MOMENT, PRESENT, LookupStatuses, StatusPolicy

VALUE = Value(int64_val=7).SerializeToString()
NULL = b""
BROKEN = b"\x08"  # a tag without a value: neither a Value nor a Timestamp
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def statuses(policy: StatusPolicy, *ttls_s: float, view_of: tuple[int, ...] = (0,)) -> LookupStatuses:
    features = tuple(Feature(f"v{view}", f"f{place}", ValueType.INT64) for place, view in enumerate(view_of))
    views = tuple(f"v{view}" for view in range(len(ttls_s)))
    lookup = Lookup(features, views, view_of, (("driver_id", "driver_id"),), HashContents.of(features), ttls_s)
    return LookupStatuses(lookup, policy)


@pytest.mark.parametrize(
    ("policy", "absent", "null", "corrupt"),
    [
        (StatusPolicy.MISSING_AWARE, b'"NOT_FOUND"', b'"PRESENT"', b'"INVALID"'),
        (StatusPolicy.EXACT, b'"NOT_FOUND"', b'"NULL_VALUE"', b'"INVALID"'),
    ],
)
def test_of_a_cell(policy: StatusPolicy, absent: bytes, null: bytes, corrupt: bytes) -> None:
    of_cell = statuses(policy, 0).of_cell
    assert of_cell(None, None, PRESENT) == absent
    assert of_cell(NULL, None, PRESENT) == null
    assert of_cell(CORRUPT, None, PRESENT) == corrupt
    assert of_cell(VALUE, 7, b'"OUTSIDE_MAX_AGE"') == b'"OUTSIDE_MAX_AGE"'


def test_of_a_type_that_is_not_known() -> None:
    """It has bytes (field 200, which Feast 0.67's Value does not have), but no value that can be told."""
    of_a_later_feast = b"\xc0\x0c\x01"
    assert statuses(StatusPolicy.EXACT, 0).of_cell(of_a_later_feast, None, PRESENT) == b'"INVALID"'
    assert statuses(StatusPolicy.MISSING_AWARE, 0).of_cell(of_a_later_feast, None, PRESENT) == b'"PRESENT"'


@pytest.mark.parametrize("policy", StatusPolicy)
def test_of_the_values_of_each_view(policy: StatusPolicy) -> None:
    """A ttl of 0 is none, and a value that is just as old as its ttl is good."""
    of_values = statuses(policy, 0, 60, 60, view_of=(0, 1, 2)).of_values
    moments = [datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(seconds=60), NOW - timedelta(seconds=60.000001)]
    late = b'"OUTSIDE_MAX_AGE"' if policy is StatusPolicy.EXACT else b'"PRESENT"'
    assert of_values(moments, NOW) == [b'"PRESENT"', b'"PRESENT"', late]


def test_whether_all_are_fresh() -> None:
    fresh, old = encode_timestamp(int(NOW.timestamp()) - 60), encode_timestamp(int(NOW.timestamp()) - 61)
    exact = statuses(StatusPolicy.EXACT, 60, 0, view_of=(0, 1))
    assert exact.all_fresh([fresh, None], NOW)
    assert not exact.all_fresh([old, fresh], NOW)
    with pytest.raises(CorruptValueError):
        exact.all_fresh([fresh, BROKEN], NOW)


def test_without_a_ttl_ages_are_not_looked_at() -> None:
    assert statuses(StatusPolicy.EXACT, 0).all_fresh([BROKEN], NOW)
    assert statuses(StatusPolicy.MISSING_AWARE, 60).all_fresh([BROKEN], NO_MOMENT)


@pytest.mark.parametrize("ttl_s", [timedelta.max.total_seconds(), float(2**63), 1e300])
def test_a_ttl_may_be_longer_than_a_timedelta(ttl_s: float) -> None:
    """The bytes of a registry can hold any number of seconds. To Feast, such a ttl is never exceeded."""
    assert statuses(StatusPolicy.EXACT, ttl_s).of_values([datetime(1970, 1, 1, tzinfo=UTC)], NOW) == [PRESENT]


def test_what_does_not_decode_is_marked_and_nothing_else() -> None:
    row = [VALUE, BROKEN, NULL, None, encode_timestamp(7)]
    marked = statuses(StatusPolicy.EXACT, 0, view_of=(0, 0, 0, 0)).mark_corrupt(row)
    assert marked == [VALUE, CORRUPT, NULL, None, encode_timestamp(7)]
    assert [cell is CORRUPT for cell in marked] == [False, True, False, False, False]


def test_of_a_view_without_a_time_what_is_there_is_marked() -> None:
    """What is absent or null is so at any age, and another view has a time of its own."""
    row = [VALUE, NULL, None, VALUE, BROKEN, encode_timestamp(7)]
    marked = statuses(StatusPolicy.EXACT, 0, 0, view_of=(0, 0, 0, 1)).mark_corrupt(row)
    assert [cell is CORRUPT for cell in marked] == [True, False, False, False, False, False]
    assert marked[1:] == [NULL, None, VALUE, None, encode_timestamp(7)]
