"""Of views without entities: where both rows are read, and which of them is answered."""

from __future__ import annotations

import struct

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.registries import catalog, entity, view
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Row
from yummy_fast.features.pushed_rows import newer_rows

GLOBAL = view("glob", ["__dummy"], {}, {"a": ValueType.INT64, "b": ValueType.INT64})
OTHER = view("other", ["__dummy"], {}, {"c": ValueType.INT64})
STATS = view("stats", ["driver"], {"driver_id": ValueType.INT64}, {"s": ValueType.INT64})
ITEMS = (entity("driver", "driver_id"), GLOBAL, OTHER, STATS)
ASKED = ["glob:a", "other:c", "glob:b", "stats:s"]
"""In the lookup of the views without entities: a, c, b, then the timestamps of glob and of other."""

DUMMY = struct.pack("<III", 1, 2, 10) + b"__dummy_id" + struct.pack("<II", 2, 0)
NONE = struct.pack("<I", 0)
"""An entity key of no join keys, as Feast writes it: tests/conformance/feast_is_wrong/store.jsonl has such a row."""


def at(seconds: int) -> bytes:
    return Timestamp(seconds=seconds).SerializeToString()


def test_only_strict_answers_read_what_was_pushed() -> None:
    usual = catalog(*ITEMS).plan_for(None, ASKED, False)
    assert (usual.plan.pushed, usual.follows_up) == ((), False)
    assert usual.binder.bind({"driver_id": [1]}).keys[0] == [DUMMY]
    strict = catalog(*ITEMS, strict=True).plan_for(None, ASKED, False)
    assert (strict.plan.pushed, strict.follows_up) == (((0, 1),), True)
    assert strict.binder.bind({"driver_id": [1, 2]}).keys[:2] == [[DUMMY], [NONE]]
    without = catalog(*ITEMS, strict=True).plan_for(None, ["stats:s"], False)
    assert (without.plan.pushed, without.follows_up) == ((), False)


@pytest.mark.parametrize("version", [1, 2])
def test_older_entity_keys_without_join_keys_are_empty(version: int) -> None:
    strict = catalog(*ITEMS, strict=True, key_version=version).plan_for(None, ["glob:a"], False)
    assert strict.binder.bind({}).keys[1] == [b""]


def merged(materialized: Row, pushed: Row) -> Row:
    plan = catalog(*ITEMS, strict=True).plan_for(None, ASKED[:3], False).plan
    return newer_rows(plan, [[materialized], [pushed]])[0][0]


def test_of_each_view_the_newer_row_is_answered() -> None:
    materialized: Row = [b"a1", b"c1", b"b1", at(5), at(5)]
    pushed: Row = [b"a2", b"c2", None, at(6), at(4)]
    assert merged(materialized, pushed) == [b"a2", b"c1", None, at(6), at(5)]
    assert merged(pushed, materialized) == [b"a2", b"c1", None, at(6), at(5)]


def test_a_row_that_is_not_there_is_no_row() -> None:
    nothing: Row = [None] * 5
    there: Row = [b"a", b"c", b"b", at(0), b"no timestamp"]
    assert merged(nothing, there)[:4] == [b"a", None, b"b", at(0)]
    assert merged(there, nothing) == there
    assert merged(nothing, nothing) == nothing
