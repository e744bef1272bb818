"""What a push means: which columns, under which names; which rows are written. The expectations are Feast's rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.errors import LimitError, NotFoundError, PushSourceError, RequestError, StoreError
from yummy_fast.feast_format.keys import KeyPart, compile_key
from yummy_fast.feast_format.registry import (
    DUMMY_JOIN_KEY,
    FeatureView,
    Field,
    OnDemandFeatureView,
    Registry,
    Written,
    unthrottled,
)
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features import writes
from yummy_fast.features.steps import at_once
from yummy_fast.features.write_query import WriteQuery
from yummy_fast.features.writes import ROWS_PER_STEP, Writes, bind, check_size, last_rows, newest_rows
from yummy_fast.features.written import ViewRows, WrittenView

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
INT64, STRING = ValueType.INT64, ValueType.STRING


def view(name: str = "stats", **given: Any) -> FeatureView:
    written = Written(push_source="src", timestamp_field="event_timestamp", created_column="created")
    columns = {
        "entities": ("driver",),
        "features": (Field("trips", INT64),),
        "entity_columns": (Field("driver_id", INT64),),
        "written": written,
    }
    return FeatureView(name=name, **(columns | given))  # type: ignore[arg-type]


def compiled(*views: FeatureView, versioning: bool = False) -> Writes[Any]:
    registry = Registry("p", "", {}, {one.name: one for one in views}, {}, {})

    def load(on_demand: OnDemandFeatureView) -> Any:
        return lambda inputs: inputs

    return Writes(
        registry,
        key_version=3,
        versioning=versioning,
        prepare_times=lambda lookups: [lookup.views for lookup in lookups],
        prepare_write=lambda written: written.store_name,
        load=load,
        throttle=unthrottled,
    )


def bound(view: FeatureView, columns: dict[str, Any], rows: int = 1) -> ViewRows | None:
    query = WriteQuery("src", columns, rows, True, "online", True)
    (written,) = compiled(view).of_view(view.name).views
    (found,) = at_once(bind([written], query, NOW))
    (as_others,) = at_once(bind([replace(written, usual=())], query, NOW))
    assert found == as_others, "a single row is bound as many are"
    return found


def test_a_single_row_of_usual_values_is_bound_without_detours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "_find", None)
    assert bound_once(view(), ROW)
    assert bound_once(view(features=(Field("trips", INT64), Field("name", STRING))), {**ROW, "name": ["x"]})
    with pytest.raises(TypeError):
        bound_once(view(), {**ROW, "trips": ["42"]})


def bound_once(view: FeatureView, columns: dict[str, Any]) -> ViewRows | None:
    query = WriteQuery("src", columns, 1, True, "online", True)
    (found,) = at_once(bind(compiled(view).of_view(view.name).views, query, NOW))
    return found


ROW: dict[str, Any] = {"driver_id": [7], "trips": [42], "event_timestamp": ["2026-03-01T10:00:00"], "created": [None]}


def test_a_row() -> None:
    """The bytes of the module's caption."""
    rows = bound(view(), ROW)
    assert rows is not None
    assert rows.keys == compile_key([KeyPart("driver_id", "k", INT64)], 3)({"k": [7]}, 1)
    assert [(moment.nanos, moment.stored.hex()) for moment in rows.moments] == [(1772359200 * 10**9, "08a09c90cd06")]
    assert rows.values == [[b"\x20\x2a"]]
    assert rows.created == []


def test_a_source_writes_all_its_views() -> None:
    label = view("label", written=Written(push_source="src", is_label_view=True))
    writes = compiled(view(), view("more"), label, view("other", written=Written(push_source="else")))
    assert [one.name for one in writes.of_source("src").views] == ["stats", "more", "label"]
    assert writes.of_source("src").times == [("stats",), ("more",), ("label",)]
    assert writes.of_source("src").prepared == ("stats", "more", "label")
    assert writes.of_view("other").views[0].name == "other"
    with pytest.raises(NotFoundError, match=r"^Can't recognize feast object with a name label$"):
        writes.of_view("label")  # as in Feast
    with pytest.raises(PushSourceError, match=r"^Unable to find push source 'nope'\.$"):
        writes.of_source("nope")


def test_names_under_versioning() -> None:
    versioned = view(version=2)
    assert compiled(versioned).of_view("stats").prepared == ("stats",)
    assert compiled(versioned, versioning=True).of_view("stats").prepared == ("stats_v2",)


@pytest.mark.parametrize(
    ("missing", "named"), [("driver_id", "driver_id"), ("trips", "trips"), ("event_timestamp",) * 2]
)
def test_a_column_that_is_missing(missing: str, named: str) -> None:
    columns = {name: column for name, column in ROW.items() if name != missing}
    with pytest.raises(RequestError, match=rf"^df\.{named}: missing; feature view stats needs it$"):
        bound(view(), columns)


def test_mapped_columns() -> None:
    """By the raw name, or by the view's own; not by both."""
    mapped = view(
        written=Written("src", {"raw": "trips", "id": "driver_id", "at": "event_timestamp"}, "event_timestamp")
    )
    raw = {"id": [7], "raw": [42], "at": ["2026-03-01T10:00:00Z"]}
    assert bound(mapped, raw) == bound(view(), ROW) == bound(mapped, ROW)
    with pytest.raises(RequestError, match=r"^df: trips and raw are both trips of feature view stats$"):
        bound(mapped, {**raw, "trips": [42]})


def test_the_names_of_feasts_remote_store() -> None:
    """It says event_timestamp whatever the source says."""
    other = view(written=Written("src", timestamp_field="ts_col"))
    assert bound(other, ROW) == bound(view(), ROW)
    columns = {**ROW, "ts_col": ["2026-03-02"]}
    rows = bound(other, columns)
    assert rows is not None
    assert rows.moments[0].nanos == 1772409600 * 10**9  # its own name comes first


def test_when_it_was_made() -> None:
    rows = bound(view(), {**ROW, "created": ["1970-01-01T00:00:01"]})
    assert rows is not None
    assert [moment and moment.nanos for moment in rows.created] == [10**9]
    with pytest.raises(RequestError, match=r"^df\.created\[0\]"):
        bound(view(), {**ROW, "created": ["garbage"]})


def test_when_many_rows_were_made() -> None:
    """In steps as their times, and null for some of them."""
    count = 3 * ROWS_PER_STEP
    several = {"driver_id": list(range(count)), "trips": 5, "event_timestamp": "2026-03-01"}
    created: list[str | None] = ["1970-01-01T00:00:01"] * count
    rows = bound(view(), {**several, "created": created}, rows=count)
    assert rows is not None
    assert [moment and moment.nanos for moment in rows.created] == [10**9] * count
    created[-1] = None
    rows = bound(view(), {**several, "created": created}, rows=count)
    assert rows is not None
    assert [moment and moment.nanos for moment in rows.created] == [10**9] * (count - 1) + [None]
    created[-1] = "garbage"
    with pytest.raises(RequestError, match=rf"^df\.created\[{count - 1}\]"):
        bound(view(), {**several, "created": created}, rows=count)


def test_two_columns_for_when_a_row_was_made() -> None:
    mapped = view(written=Written("src", {"made": "created"}, "event_timestamp", "created"))
    both = {**ROW, "created": ["1970-01-01T00:00:01"], "made": ["1970-01-01T00:00:02"]}
    with pytest.raises(RequestError, match=r"^df: .* are both created of feature view stats$"):
        bound(mapped, both)


def test_one_value_for_all_rows() -> None:
    rows = bound(view(), {"driver_id": [1, 2], "trips": 5, "event_timestamp": "2026-03-01"}, rows=2)
    assert rows is not None
    assert rows.values == [[b"\x20\x05", b"\x20\x05"]]


def test_nothing_but_nulls_is_not_written() -> None:
    """Not even looked at, as in Feast: the key and the time may be missing."""
    assert bound(view(), {"trips": [None]}) is None
    assert bound(view(), {}, rows=0) is None


def test_a_view_without_entities() -> None:
    lonely = view(entities=("__dummy",), entity_columns=(Field(DUMMY_JOIN_KEY, STRING),))
    rows = bound(lonely, {name: column for name, column in ROW.items() if name != "driver_id"})
    assert rows is not None
    assert rows.keys == compile_key([KeyPart(DUMMY_JOIN_KEY, "k", STRING)], 3)({"k": [""]}, 1)


def test_a_key_of_a_type_that_none_has() -> None:
    odd = view(entity_columns=(Field("driver_id", ValueType.DOUBLE),))
    with pytest.raises(RequestError, match=r"^df\.driver_id: values of type DOUBLE cannot be part of an entity key"):
        compiled(odd).of_source("src")


@pytest.mark.parametrize(
    ("length", "vectors", "wrong"), [(2, [[1, 2], None, [3]], 2), (0, [[1], [1, 2]], 1), (3, [[1, 2]], 0)]
)
def test_vectors_of_another_length(length: int, vectors: list[Any], wrong: int) -> None:
    indexed = view(
        features=(Field("v", ValueType.FLOAT_LIST),),
        written=Written("src", {}, "event_timestamp", vector="v", vector_length=length),
    )
    columns = {"driver_id": 1, "v": vectors, "event_timestamp": "2026-03-01"}
    with pytest.raises(RequestError, match=rf"^df\.v\[{wrong}\]: expected a vector of"):
        bound(indexed, columns, rows=len(vectors))


def test_an_on_demand_view_stores_its_keys_and_the_time_is_now() -> None:
    on_demand = OnDemandFeatureView("stats", (Field("trips", INT64),), (), (), "python", b"")
    rows = bound(view(written=Written(computed=on_demand)), {"driver_id": [7], "trips": [1]})
    assert rows is not None
    assert rows.values == [[b"\x20\x01"], [b"\x20\x07"]]
    assert rows.moments[0].nanos == int(NOW.timestamp()) * 10**9
    assert bound(view(written=Written(computed=on_demand)), {"driver_id": [7], "trips": [None]}) is None


def test_many_rows_are_bound_as_few_are() -> None:
    columns: dict[str, Any] = {
        "driver_id": list(range(5000)),
        "trips": list(range(5000)),
        "event_timestamp": ["2026-03-01"] * 5000,
    }
    many = bound(view(), columns, rows=5000)
    assert many is not None
    for row in (0, 1023, 1024, 4999):
        single = bound(view(), {name: column[row : row + 1] for name, column in columns.items()})
        assert single is not None
        assert (many.keys[row], many.values[0][row]) == (single.keys[0], single.values[0][0])
    columns["trips"] = [*range(4000), "x", *range(999)]
    with pytest.raises(RequestError, match=r"^df\.trips\[4000\]"):
        bound(view(), columns, rows=5000)


def test_limits() -> None:
    cells = compiled(view()).of_source("src").cells
    check_size(cells, 10, max_rows=10, max_cells=20)
    with pytest.raises(LimitError, match="10 rows"):
        check_size(cells, 11, max_rows=10, max_cells=100)
    with pytest.raises(LimitError, match="19 rows x features"):
        check_size(cells, 10, max_rows=10, max_cells=19)


# ---------------------------------------------------------------------------------------------- which rows are written


def rows_at(*rows: tuple[str, int]) -> tuple[WrittenView, ViewRows]:
    """Rows of a key and a time, in seconds."""
    columns = {
        "driver_id": [{"a": 1, "b": 2}[key] for key, _ in rows],
        "trips": list(range(1, len(rows) + 1)),
        "event_timestamp": [datetime.fromtimestamp(time, UTC).isoformat() for _, time in rows],
    }
    found = bound(view(), columns, rows=len(rows))
    assert found is not None
    return compiled(view()).of_view("stats").views[0], found


def chosen(rows: list[tuple[str, int]], **stored: int) -> list[int]:
    written, found = rows_at(*rows)
    keys = list(dict.fromkeys(found.keys))
    names = list(dict.fromkeys(key for key, _ in rows))
    answers = [[Timestamp(seconds=stored[name]).SerializeToString()] if name in stored else [None] for name in names]
    return list(at_once(newest_rows(written, found, keys, answers)).numbers)


@pytest.mark.parametrize(
    ("rows", "stored", "expected"),
    [
        ([("a", 5)], {}, [0]),
        ([("a", 5)], {"a": 4}, [0]),
        ([("a", 5)], {"a": 5}, []),
        ([("a", 5)], {"a": 6}, []),
        ([("a", 5), ("b", 5)], {"a": 6}, [1]),
        ([("a", 5), ("a", 6)], {}, [1]),
        ([("a", 6), ("a", 5)], {}, [0]),
        ([("a", 5), ("a", 5)], {}, [0]),
        ([("a", 5), ("a", 7)], {"a": 6}, [1]),
        ([("a", -5)], {}, [0]),
        ([("a", -5)], {"a": 1}, []),
        ([("a", -5), ("a", -6)], {}, [1]),  # at or before the epoch nothing is compared: the last wins
        ([("a", 0), ("a", 0)], {"a": 0}, [1]),
        ([("a", -5)], {"a": -3}, [0]),
        ([("a", 1), ("a", -6)], {}, [0]),
    ],
)
def test_the_newest_row_of_a_key_is_written(rows: Any, stored: Any, expected: list[int]) -> None:
    """By the code of RedisOnlineStore.online_write_batch, also where it is odd."""
    assert chosen(rows, **stored) == expected


def test_a_store_that_compares_nothing_gets_the_last_row() -> None:
    _, found = rows_at(("a", 9), ("b", 5), ("a", 1))
    assert list(last_rows(found).numbers) == [1, 2]


def test_a_stored_time_that_is_none() -> None:
    written, found = rows_at(("a", 5))
    with pytest.raises(StoreError, match=r"^stats: the online store holds 2 bytes"):
        at_once(newest_rows(written, found, found.keys, [[b"\x08\xff"]]))
