"""Bodies out by Feast's recorded answers. More in property/.

Feast makes them in feast/feature_server_utils.py convert_response_to_dict (Feast 0.67.0).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.registries import PROJECT, Item, answer, catalog, entity, fields, projection, service, view
from yummy_fast.errors import CorruptValueError, RequestError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import ComputedColumn
from yummy_fast.features.statuses import NO_MOMENT, StatusPolicy
from yummy_fast.features.vectors import MAX_ROWS_IN_RUNS

STATS = view(
    "stats", ["driver"], {"driver_id": ValueType.INT64}, {"trips": ValueType.INT64, "rate": ValueType.FLOAT}, version=1
)
STATS.spec.ttl.seconds = 60
OTHER = view(
    "other", ["driver"], {"driver_id": ValueType.INT64}, {"name": ValueType.STRING, "tags": ValueType.STRING_LIST}
)
BASE: list[Item] = [entity("driver", "driver_id"), entity("customer", "customer_id"), STATS, OTHER]

KEYS = {
    driver: bytes.fromhex("0100000002000000090000006472697665725f69640400000008000000") + driver.to_bytes(8, "little")
    for driver in (7, 1001, 1002)
}
TRIPS = Value(int64_val=11).SerializeToString()
SEEN = bytes.fromhex("08bbf08dd80610c0a9d33a")
STORE: dict[tuple[bytes, str, str], bytes | None] = {
    (KEYS[1001], "stats", "trips"): TRIPS,
    (KEYS[1001], "stats", "rate"): Value(float_val=0.5).SerializeToString(),
    (KEYS[1001], "stats", ""): SEEN,
    (KEYS[1001], "other", "name"): Value(string_val='é"\n,\u2028').SerializeToString(),
    (KEYS[1001], "other", "tags"): Value(string_list_val=values.StringList(val=["a", "b"])).SerializeToString(),
    (KEYS[1001], "other", ""): Timestamp(seconds=1_700_000_000).SerializeToString(),
    (KEYS[1002], "stats", "trips"): b"",
    (KEYS[1002], "stats", "rate"): Value(float_val=float("nan")).SerializeToString(),
    (KEYS[1002], "stats", ""): Timestamp(seconds=1_700_000_000, nanos=500_000_000).SerializeToString(),
}
EPOCH = "1970-01-01T00:00:00Z"
STORED_AT = datetime(2026, 11, 22, 23, 18, 19, 123_000, tzinfo=UTC)  # of driver 1001
MINUTE = timedelta(minutes=1)  # the ttl of its view


def ask(
    entities: dict[str, list[Any]],
    *features: str,
    statuses: StatusPolicy = StatusPolicy.PRESENT,
    version_metadata: bool = False,
    now: datetime = NO_MOMENT,
) -> bytes:
    plan = catalog(*BASE, statuses=statuses).plan_for(None, list(features), False)
    return answer(plan, entities, STORE, version_metadata=version_metadata, now=now)


def test_one_entity_is_answered_as_recorded() -> None:
    assert ask({"driver_id": [1001]}, "stats:trips") == (
        b'{"results":[{"values":[1001],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]},'
        b'{"values":[11],"statuses":["PRESENT"],"event_timestamps":["2026-11-22T23:18:19.123Z"]}],'
        b'"metadata":{"feature_names":["driver_id","trips"]}}'
    )


def test_a_missing_entity_is_present_and_null_as_recorded_on_redis() -> None:
    assert ask({"driver_id": [1001, 7]}, "stats:trips") == (
        b'{"results":[{"values":[1001,7],"statuses":["PRESENT","PRESENT"],'
        b'"event_timestamps":["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]},'
        b'{"values":[11,null],"statuses":["PRESENT","PRESENT"],'
        b'"event_timestamps":["2026-11-22T23:18:19.123Z","1970-01-01T00:00:00Z"]}],'
        b'"metadata":{"feature_names":["driver_id","trips"]}}'
    )


@pytest.mark.parametrize("rows", [[1001], [1001, 1002, 7, 1001]], ids=["one row", "rows"])
def test_every_column_has_its_views_values_and_times(rows: list[int]) -> None:
    body = json.loads(ask({"driver_id": rows}, "other:tags", "stats:rate", "other:name", "stats:trips"))
    by_name = dict(zip(body["metadata"]["feature_names"], body["results"], strict=True))
    column: dict[str, dict[int, Any]] = {
        "driver_id": dict(zip(rows, rows, strict=True)),
        "trips": {1001: 11},
        "rate": {1001: 0.5, 1002: "NaN"},
        "name": {1001: 'é"\n,\u2028'},
        "tags": {1001: ["a", "b"]},
    }
    stats = {1001: "2026-11-22T23:18:19.123Z", 1002: "2023-11-14T22:13:20.500Z"}
    other = {1001: "2023-11-14T22:13:20Z"}
    times: dict[str, dict[int, str]] = {"driver_id": {}, "trips": stats, "rate": stats, "name": other, "tags": other}
    assert list(by_name) == ["driver_id", "tags", "rate", "name", "trips"]
    for name, result in by_name.items():
        assert list(result) == ["values", "statuses", "event_timestamps"]
        assert result["values"] == [column[name].get(row) for row in rows], name
        assert result["statuses"] == ["PRESENT"] * len(rows)
        assert result["event_timestamps"] == [times[name].get(row, EPOCH) for row in rows], name


@pytest.mark.parametrize("rows", [[1001], [1001, 7]])
def test_text_is_not_escaped_beyond_what_json_needs(rows: list[int]) -> None:
    assert 'é\\"\\n,\u2028'.encode() in ask({"driver_id": rows}, "other:name")


def test_without_entity_columns_the_answer_begins_with_the_features() -> None:
    glob = view("glob", ["__dummy"], {}, {"g": ValueType.INT64})
    plan = catalog(glob).plan_for(None, ["glob:g"], False)
    assert answer(plan, {}) == (
        b'{"results":[{"values":[null],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]}],'
        b'"metadata":{"feature_names":["g"]}}'
    )


def test_versions_of_views_are_told_when_asked_for_and_0_is_not_written() -> None:
    body = json.loads(ask({"driver_id": [7]}, "other:name", "stats:trips", version_metadata=True))
    assert list(body["metadata"]) == ["feature_names", "feature_view_metadata"]
    assert body["metadata"]["feature_view_metadata"] == [{"name": "other"}, {"name": "stats", "version": 1}]
    assert "feature_view_metadata" not in json.loads(ask({"driver_id": [7]}, "stats:trips"))["metadata"]


def test_an_echo_has_the_join_keys_name_and_the_columns_value() -> None:
    body = json.loads(ask({"customer_id": [2.5, None], "driver": [7, 1001]}, "stats:trips"))
    assert body["metadata"]["feature_names"] == ["customer_id", "driver_id", "trips"]
    assert [result["values"] for result in body["results"]] == [[2.5, None], [7, 1001], [None, 11]]


def test_an_echo_spells_the_numbers_that_json_has_not() -> None:
    echoes = [float("inf"), float("-inf"), 1.5]
    body = json.loads(ask({"driver_id": [7, 7, 7], "customer_id": echoes}, "stats:trips"))
    assert body["results"][1]["values"] == ["Infinity", "-Infinity", 1.5]


@pytest.mark.parametrize("depth", [20, 300, 900])
def test_a_deep_object_is_echoed_or_refused_with_its_place(depth: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    entities: dict[str, list[Any]] = {"driver_id": [7], "customer_id": [deep]}
    if depth > 20:  # Feast answers 500, since protobuf goes no deeper than 100
        with pytest.raises(RequestError, match=r"^entities\.customer_id\[0\]: "):
            ask(entities, "stats:trips")
    else:
        assert json.loads(ask(entities, "stats:trips"))["results"][1]["values"] == [deep]


# Another type than the declared one: what is stored decides what is answered (feast/feature_server_utils.py
# _value_to_native asks the Value alone), in one row or in many.

ODD: list[tuple[Value, Any]] = [
    (Value(string_list_val=values.StringList(val=["a", "b"])), ["a", "b"]),
    (Value(string_list_val=values.StringList()), []),
    (Value(map_val=values.Map(val={"k": Value(double_val=float("nan")), "l": Value()})), {"k": "NaN", "l": None}),
    (Value(double_val=float("-inf")), "-Infinity"),
    (Value(string_val="x"), "x"),
]


@pytest.mark.parametrize("rows", [[1001], [1001, 1001], [1001, 7]], ids=str)
@pytest.mark.parametrize(("odd", "told"), ODD, ids=lambda item: "" if isinstance(item, Value) else str(item))
def test_a_value_of_another_type_than_declared_is_told_as_it_is_stored(
    odd: Value, told: object, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORE, (KEYS[1001], "stats", "trips"), odd.SerializeToString())
    body = json.loads(ask({"driver_id": rows}, "stats:trips", "stats:rate"))
    assert body["results"][1]["values"] == [told if row == 1001 else None for row in rows]
    assert body["results"][2]["values"] == [0.5 if row == 1001 else None for row in rows]


@pytest.mark.parametrize("rows", [[1001, 1002, 7], [1001], [1002], [7]], ids=str)
@pytest.mark.parametrize(
    ("statuses", "now", "expected"),
    [
        (StatusPolicy.PRESENT, datetime(2200, 1, 1, tzinfo=UTC), {1001: "PRESENT", 1002: "PRESENT", 7: "PRESENT"}),
        (
            StatusPolicy.MISSING_AWARE,
            datetime(2200, 1, 1, tzinfo=UTC),
            {1001: "PRESENT", 1002: "PRESENT", 7: "NOT_FOUND"},
        ),
        (StatusPolicy.EXACT, datetime(2023, 11, 14, tzinfo=UTC), {1001: "PRESENT", 1002: "NULL_VALUE", 7: "NOT_FOUND"}),
        (StatusPolicy.EXACT, STORED_AT + MINUTE, {1001: "PRESENT", 1002: "NULL_VALUE", 7: "NOT_FOUND"}),
        (
            StatusPolicy.EXACT,
            STORED_AT + MINUTE + timedelta(microseconds=1),
            {1001: "OUTSIDE_MAX_AGE", 1002: "NULL_VALUE", 7: "NOT_FOUND"},
        ),
    ],
)
def test_statuses(statuses: StatusPolicy, now: datetime, expected: dict[int, str], rows: list[int]) -> None:
    body = json.loads(ask({"driver_id": rows}, "stats:trips", statuses=statuses, now=now))
    assert body["results"][1]["statuses"] == [expected[row] for row in rows]
    assert body["results"][1]["values"] == [11 if row == 1001 else None for row in rows]
    assert body["results"][0]["statuses"] == ["PRESENT"] * len(rows)


@pytest.mark.parametrize("rows", [[1001], [1001, 7]])
@pytest.mark.parametrize(
    ("place", "features", "named"),
    [
        ("rate", ["stats:trips", "stats:rate"], "stats:rate"),
        ("trips", ["stats:trips"], "stats:trips"),
        ("", ["stats:trips"], "stats"),
    ],
)
def test_a_corrupt_value_is_named_by_its_feature_and_not_by_its_entity(
    place: str, features: list[str], named: str, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORE, (KEYS[1001], "stats", place), b"\x08")
    with pytest.raises(CorruptValueError) as caught:
        ask({"driver_id": rows}, *features)
    assert str(caught.value).startswith(f"{named}: the online store holds ")
    assert "1001" not in str(caught.value)
    assert caught.value.status == 502


@pytest.mark.parametrize("rows", [[1001], [1001, 7]])
@pytest.mark.parametrize("features", [["other:name", "stats:trips"], ["stats:trips", "other:name"]])
def test_known_times_do_not_hide_a_corrupt_one(
    features: list[str], rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of timestamps are remembered when they come again: never the ones beside a corrupt one in its place."""
    expected = ask({"driver_id": rows}, *features)
    for _ in range(3):
        assert ask({"driver_id": rows}, *features) == expected
    with monkeypatch.context() as damage:
        damage.setitem(STORE, (KEYS[1001], "stats", ""), b"\x08")
        for _ in range(3):
            with pytest.raises(CorruptValueError, match="a corrupt event timestamp"):
                ask({"driver_id": rows}, *features)
    assert ask({"driver_id": rows}, *features) == expected


def test_an_absent_time_and_the_epoch_are_one_text_however_often_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    for stamp in [None, b"", Timestamp().SerializeToString(), Timestamp(seconds=1).SerializeToString(), None] * 3:
        monkeypatch.setitem(STORE, (KEYS[1001], "stats", ""), stamp)
        (_, result) = json.loads(ask({"driver_id": [1001]}, "stats:trips"))["results"]
        assert result["event_timestamps"] == ["1970-01-01T00:00:01Z" if stamp else EPOCH]


@pytest.mark.parametrize("rows", [[1001], [1001, 7, 1001]])
def test_strict_marks_what_is_corrupt_and_nothing_else(rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STORE, (KEYS[1001], "stats", "rate"), b"\x08")
    body = json.loads(ask({"driver_id": rows}, "stats:trips", "stats:rate", statuses=StatusPolicy.EXACT))
    _, trips, rate = body["results"]
    assert rate["values"] == [None] * len(rows)
    assert rate["statuses"] == ["INVALID" if row == 1001 else "NOT_FOUND" for row in rows]
    assert trips["values"] == [11 if row == 1001 else None for row in rows]
    assert trips["statuses"] == ["PRESENT" if row == 1001 else "NOT_FOUND" for row in rows]
    assert trips["event_timestamps"] == rate["event_timestamps"]
    assert trips["event_timestamps"][0] != "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("rows", [[1001], [1001, 7]])
def test_strict_answers_nothing_of_a_view_whose_time_is_corrupt(
    rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a value is too old cannot be said."""
    monkeypatch.setitem(STORE, (KEYS[1001], "stats", ""), b"\x08")
    body = json.loads(ask({"driver_id": rows}, "stats:trips", statuses=StatusPolicy.EXACT))
    assert body["results"][1] == {
        "values": [None] * len(rows),
        "statuses": ["INVALID", "NOT_FOUND"][: len(rows)],
        "event_timestamps": ["1970-01-01T00:00:00Z"] * len(rows),
    }


DERIVED = messages.OnDemandFeatureView(
    spec=messages.OnDemandFeatureViewSpec(
        name="derived",
        project=PROJECT,
        mode="python",
        features=fields({"sum": ValueType.INT64}),
        sources={"stats": messages.OnDemandSource(feature_view_projection=projection(STATS))},
    )
)


@pytest.mark.parametrize("policy", StatusPolicy)
@pytest.mark.parametrize("values", [[None], [1], [1, None], [1, 2]], ids=str)
def test_a_computed_column_comes_last_and_only_strict_tells_its_nulls(
    policy: StatusPolicy, values: list[int | None]
) -> None:
    plan = catalog(*BASE, DERIVED, statuses=policy).plan_for(None, ["derived:sum", "stats:trips"], False)
    body = json.loads(
        answer(plan, {"driver_id": [1001, 7][: len(values)]}, STORE, computed=[ComputedColumn("sum", list(values))])
    )
    assert body["metadata"]["feature_names"] == ["driver_id", "trips", "sum"]
    null = "NULL_VALUE" if policy is StatusPolicy.EXACT else "PRESENT"
    assert body["results"][2] == {
        "values": values,
        "statuses": [null if value is None else "PRESENT" for value in values],
        "event_timestamps": [EPOCH] * len(values),
    }


@pytest.mark.parametrize("rows", [[1001], [1001, 7]])
def test_strict_keeps_absent_and_null_cells_beside_a_corrupt_time(
    rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORE, (KEYS[1001], "stats", ""), b"\x08")
    for stored, status in ((None, "NOT_FOUND"), (b"", "NULL_VALUE")):
        monkeypatch.setitem(STORE, (KEYS[1001], "stats", "rate"), stored)
        body = json.loads(ask({"driver_id": rows}, "stats:trips", "stats:rate", statuses=StatusPolicy.EXACT))
        assert [column["statuses"][0] for column in body["results"][1:]] == ["INVALID", status]


@pytest.mark.parametrize("rows", [1, MAX_ROWS_IN_RUNS, MAX_ROWS_IN_RUNS + 1])
def test_what_is_read_for_a_function_alone_is_not_answered(rows: int) -> None:
    plan = catalog(*BASE, DERIVED).plan_for(None, ["derived:sum"], False)
    body = json.loads(answer(plan, {"driver_id": [1001] * rows}, STORE, computed=[ComputedColumn("sum", [5] * rows)]))
    assert body["metadata"]["feature_names"] == ["driver_id", "sum"]
    assert [result["values"] for result in body["results"]] == [[1001] * rows, [5] * rows]


@pytest.mark.parametrize(
    "features", [["other:tags", "other:name", "stats:trips"], ["other:tags", "stats:trips", "other:name"]]
)
@pytest.mark.parametrize("statuses", StatusPolicy)
def test_an_answer_of_many_rows_says_the_same_as_one_of_few(features: list[str], statuses: StatusPolicy) -> None:
    """They are joined in two ways."""
    rows = [1001, 1002, 7, 1001]
    few, many = (
        json.loads(ask({"driver_id": rows * times}, *features, statuses=statuses))["results"]
        for times in (1, MAX_ROWS_IN_RUNS)
    )
    assert [{name: cells[: len(rows)] for name, cells in column.items()} for column in many] == few


def test_a_service_is_answered_with_full_names_under_its_aliases() -> None:
    svc = service(
        "fs",
        projection(STATS, ["trips"], alias="a", join_key_map={"driver_id": "first"}),
        projection(STATS, ["trips"], alias="b", join_key_map={"driver_id": "second"}),
    )
    body = json.loads(
        answer(catalog(*BASE, svc).plan_for("fs", [], True), {"first": [1001, 7], "second": [7, 1001]}, STORE)
    )
    assert body["metadata"]["feature_names"] == ["first", "second", "a__trips", "b__trips"]
    assert [result["values"] for result in body["results"]] == [[1001, 7], [7, 1001], [11, None], [None, 11]]
