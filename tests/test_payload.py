"""Bodies in by pydantic's rules, bodies out by Feast's recorded answers (FEAST.md 1.2, 1.4, 2.8, 3). More in property/.

The tables of refusals were answered by FastAPI 0.165.0 and pydantic 2.14.3, which Feast 0.67.0 runs on.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.registries import Item, answer, catalog, entity, projection, service, view
from yummy_fast import payload
from yummy_fast._proto import value_pb2 as values
from yummy_fast._proto.value_pb2 import Value
from yummy_fast.codec import CorruptValueError, ValueType
from yummy_fast.errors import LimitError, RequestError, ValidationError
from yummy_fast.payload import LARGE_BODY_BYTES, MAX_KNOWN_TIMES, Query, Statuses, parse_query

# ------------------------------------------------------------------------------------------------------- requests in


def details(body: bytes) -> list[dict[str, Any]]:
    with pytest.raises(ValidationError) as caught:
        parse_query(body)
    found: list[dict[str, Any]] = json.loads(caught.value.body())["detail"]
    return found


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (b'{"entities":{}}', Query({}, None, [], False, False)),
        (b'{"entities":{"a":[1,null,"x",[]]},"unknown":1}', Query({"a": [1, None, "x", []]}, None, [], False, False)),
        (b'{"entities":{"":[]},"feature_service":null}', Query({"": []}, None, [], False, False)),
        (b'{"entities":{},"feature_service":""}', Query({}, "", [], False, False)),
        (b'{"entities":{},"features":["a:b",""]}', Query({}, None, ["a:b", ""], False, False)),
        (b'{"entities":{"a":[1]},"entities":{"b":[2]}}', Query({"b": [2]}, None, [], False, False)),
        (
            b' {"entities": {"\\u00e9": [9223372036854775807]}, "feature_service": "svc", "full_feature_names": true,'
            b' "include_feature_view_version_metadata": true} ',
            Query({"é": [2**63 - 1]}, "svc", [], True, True),
        ),
    ],
)
def test_a_request_is_read(body: bytes, query: Query) -> None:
    assert parse_query(body) == query


@pytest.mark.parametrize("key", ["full_feature_names", "include_feature_view_version_metadata"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("true", '"yes"', '"ON"', '"t"', '"Y"', '"1"', '"True"', "1", "1.0")),
        *((text, False) for text in ("false", '"no"', '"Off"', '"f"', '"N"', '"0"', '"FALSE"', "0", "0.0", "-0.0")),
    ],
)
def test_booleans_are_lax(key: str, text: str, value: bool) -> None:
    query = parse_query(f'{{"entities":{{}},"{key}":{text}}}'.encode())
    assert (query.full_feature_names, query.version_metadata) == (
        value if key == "full_feature_names" else False,
        value if key != "full_feature_names" else False,
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, "bool_parsing") for text in ("2", "-1", "1e18", '""', '"maybe"', '" true"', "9223372036854775807")),
        *((text, "bool_type") for text in ("0.5", "1e300", "null", "[]", "{}", "9223372036854775808")),
    ],
)
def test_what_is_no_boolean_is_refused(text: str, kind: str) -> None:
    messages = {
        "bool_parsing": "Input should be a valid boolean, unable to interpret input",
        "bool_type": "Input should be a valid boolean",
    }
    assert details(f'{{"entities":{{}},"full_feature_names":{text}}}'.encode()) == [
        {"type": kind, "loc": ["body", "full_feature_names"], "msg": messages[kind], "input": json.loads(text)}
    ]


NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


@pytest.mark.parametrize(
    ("body", "kind", "loc", "message", "given"),
    [
        (b"", "missing", [], "Field required", None),
        (b"[]", "model_attributes_type", [], NO_OBJECT, []),
        (b"null", "model_attributes_type", [], NO_OBJECT, None),
        (b'"x"', "model_attributes_type", [], NO_OBJECT, "x"),
        (b"{}", "missing", ["entities"], "Field required", {}),
        (b'{"features":["a:b"]}', "missing", ["entities"], "Field required", {"features": ["a:b"]}),
        (b'{"entities":null}', "dict_type", ["entities"], "Input should be a valid dictionary", None),
        (
            b'{"entities":[{"driver_id":1001}]}',
            *("dict_type", ["entities"], "Input should be a valid dictionary", [{"driver_id": 1001}]),
        ),
        (b'{"entities":{"d":1001}}', "list_type", ["entities", "d"], "Input should be a valid list", 1001),
        (b'{"entities":{},"features":null}', "list_type", ["features"], "Input should be a valid list", None),
        (b'{"entities":{},"features":"a"}', "list_type", ["features"], "Input should be a valid list", "a"),
        (b'{"entities":{},"features":["a",1]}', "string_type", ["features", 1], "Input should be a valid string", 1),
        (
            b'{"entities":{},"feature_service":1}',
            "string_type",
            ["feature_service"],
            "Input should be a valid string",
            1,
        ),
    ],
)
def test_another_shape_is_refused_as_fastapi_does(
    body: bytes, kind: str, loc: list[str | int], message: str, given: object
) -> None:
    assert details(body) == [{"type": kind, "loc": ["body", *loc], "msg": message, "input": given}]


def test_every_mistake_is_told_in_the_order_of_the_fields() -> None:
    found = details(
        b'{"include_feature_view_version_metadata":3,"full_feature_names":"x","features":{},"feature_service":[],'
        b'"entities":{"d":null,"e":"x","f":[1],"g":{}}}'
    )
    assert [(one["type"], *one["loc"][1:]) for one in found] == [
        ("list_type", "entities", "d"),
        ("list_type", "entities", "e"),
        ("list_type", "entities", "g"),
        ("string_type", "feature_service"),
        ("list_type", "features"),
        ("bool_parsing", "full_feature_names"),
        ("bool_parsing", "include_feature_view_version_metadata"),
    ]


@pytest.mark.parametrize(
    ("body", "place", "error"),
    [
        (b"nope", 0, "Expecting value"),
        (b"{", 1, "Expecting property name enclosed in double quotes"),
        (b'{"a":1', 6, "Expecting ',' delimiter"),
        (b'{"a" 1}', 5, "Expecting ':' delimiter"),
        (b"[1,]", 3, "Expecting value"),
        (b'{"a":1}x', 7, "Extra data"),
        (b'"abc', 0, "Unterminated string starting at"),
        (b'{"a":"\\x"}', 6, "Invalid \\escape"),
        (b"\x00", 0, "Expecting value"),
    ],
)
def test_what_is_no_json_is_refused_with_the_words_of_pythons_parser(body: bytes, place: int, error: str) -> None:
    assert details(body) == [
        {
            "type": "json_invalid",
            "loc": ["body", place],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error},
        }
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"entities":{"a":["\\ud800"]}}',
        b'{"entities":{"a":["\xff"]}}',
        b"[" * 60_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"entities":{"a":[' + b"1" * 5_000 + b"]}}",
        b"[" + b"1" * 5_000 + b",",
    ],
    ids=[
        *("half a surrogate pair", "not UTF-8", "deep", "deep and closed"),
        *("a number of 5000 digits", "such a number and a mistake"),
    ],
)
def test_json_that_cannot_be_taken_is_refused_and_nothing_else_happens(body: bytes) -> None:
    [found] = details(body)
    assert (found["type"], found["msg"]) == ("json_invalid", "JSON decode error")


def test_the_numbers_that_only_python_writes_are_read_as_python_reads_them() -> None:
    query = parse_query(b'{"entities":{"a":[NaN,Infinity,-Infinity,1e999,100000000000000000000]}}')
    assert [str(value) for value in query.entities["a"]] == ["nan", "inf", "-inf", "inf", "100000000000000000000"]


@pytest.mark.parametrize("body", [b'{"entities":NaN}', b'{"entities":{"a":Infinity}}', b"[NaN]"])
def test_a_refusal_is_json_even_if_the_body_was_not_quite(body: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_query(body)
    json.loads(caught.value.body(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("depth", [10, 500, 990, 1_000, 1_010, 1_020, 1_024])
def test_a_body_as_deep_as_can_be_read_is_answered(depth: int) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_query(b"[" * depth + b"]" * depth)
    assert caught.value.body().startswith(b'{"detail":[{"type":"')


@pytest.mark.parametrize(
    "text",
    [
        '"entities": {"a": [1], "b": ["x"]}, "feature_service": "s"',
        '"feature_service": "", "entities": {}',
        '"feature_service": "s", "entities": {"a": []}',
    ],
)
@pytest.mark.parametrize("more", ["", ', "features": []', ', "unknown": 1'])
def test_the_usual_body_and_the_same_with_more_keys_say_one_thing(text: str, more: str) -> None:
    data = json.loads("{" + text + "}")
    expected = Query(data["entities"], data["feature_service"], [], False, False)
    assert parse_query(("{" + text + more + "}").encode()) == expected


def large(body: bytes) -> bytes:
    """`body` with an unknown key that makes it a large one."""
    return b'{"x":"%b",%b' % (b"a" * LARGE_BODY_BYTES, body.removeprefix(b"{"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"entities":{"a":[%b1]}}' % (b"1," * 900_000),
        b'{"entities":{"a":[%b""]}}' % (b'"{3F2504E0-4F89-11D3-9A0C-0305E82C3301}",' * 20_000),
        b'{"entities":{"a":[%b""]}}' % (b'"[x",' * 20_000),
        b'{"entities":{"a":[%b""]}}' % (b'"urn:li:member:7" , ' * 20_000),
        b'{"entities":{"a":[1]},"features":[%b"a:b"]}' % (b'"view:feature",\n ' * 9_000),
        b'{"entities":{"a":[%b[]]}}' % (b"[]," * 9_000),
        b'{"entities":{"a":[1]},"x":{%b"":0}}' % (b'"y":0,' * 9_000),
    ],
    ids=["numbers", "GUIDs", "brackets", "colons", "features", "lists", "keys"],
)
def test_what_people_send_in_a_large_body_passes(body: bytes) -> None:
    parse_query(large(body))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_001,
        b'{"entities":{"a":[%b1]}}' % (b"[]," * 10_001),
        b'{"entities":{"a":[%b1]}}' % (b'{},"{",' * 10_001),
        b'{"entities":{"a":[%b1]}}' % (b"[[],{}]," * 3_400),
        b'{"entities":{"a":[1]},"x":{%b"":0}}' % b"".join(b'"%d":0,' % number for number in range(10_001)),
        b'{"entities":{"a":[1]},"x":{%b"":0}}' % b"".join(b'"%d,"\n \t\r:0,' % number for number in range(10_001)),
        b'{"entities":{"a":[%b1]}}' % (b'{"a" : 1},' * 10_001),
    ],
    ids=["deep", "lists", "objects", "in each other", "keys", "keys and spaces", "objects with keys"],
)
def test_a_large_body_that_keeps_a_parser_busy_is_refused(body: bytes) -> None:
    with pytest.raises(LimitError, match=r"^Content Too Large: the limit is 10000 lists, ") as caught:
        parse_query(large(body))
    assert caught.value.status == 413


def test_a_million_values_are_too_many() -> None:
    with pytest.raises(LimitError, match=r"^Content Too Large: the limit is 1000000 values$"):
        parse_query(b'{"entities":{"a":[%b1]}}' % (b"1," * 1_000_001))


def test_a_large_body_is_not_quoted() -> None:
    for body in (b'{"entities":[1]}', b'{"entities":{"a":"b"},"features":[{}]}', b"[1]"):
        for sent, quoted in ((body, True), (large(body) if body[:1] == b"{" else b"[%b1]" % (b"1," * 40_000), False)):
            with pytest.raises(ValidationError) as caught:
                parse_query(sent)
            details = json.loads(caught.value.body())["detail"]
            assert all((detail["input"] is not None) is quoted for detail in details)
            assert len(caught.value.body()) < 1_000


# ------------------------------------------------------------------------------------------------ feature vectors out

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
    statuses: Statuses = Statuses.PRESENT,
    version_metadata: bool = False,
    now: datetime = payload.NO_MOMENT,
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


# Another type than the declared one: what is stored decides what is answered (FEAST.md 3), in one row or in many.

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
        (Statuses.PRESENT, datetime(2200, 1, 1, tzinfo=UTC), {1001: "PRESENT", 1002: "PRESENT", 7: "PRESENT"}),
        (Statuses.FOUND, datetime(2200, 1, 1, tzinfo=UTC), {1001: "PRESENT", 1002: "PRESENT", 7: "NOT_FOUND"}),
        (Statuses.TRUE, datetime(2023, 11, 14, tzinfo=UTC), {1001: "PRESENT", 1002: "NULL_VALUE", 7: "NOT_FOUND"}),
        (Statuses.TRUE, STORED_AT + MINUTE, {1001: "PRESENT", 1002: "NULL_VALUE", 7: "NOT_FOUND"}),
        (
            Statuses.TRUE,
            STORED_AT + MINUTE + timedelta(microseconds=1),
            {1001: "OUTSIDE_MAX_AGE", 1002: "NULL_VALUE", 7: "NOT_FOUND"},
        ),
    ],
)
def test_statuses(statuses: Statuses, now: datetime, expected: dict[int, str], rows: list[int]) -> None:
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


def test_what_is_remembered_of_times_has_a_bound() -> None:
    """In number and in bytes: of long columns whose times repeat, and of a Timestamp with fields of somebody else's."""
    payload._KNOWN_TIMES.clear()
    stamps = [Timestamp(seconds=second).SerializeToString() for second in range(1, 3 * MAX_KNOWN_TIMES)]
    assert payload._times([*stamps, *stamps]).endswith(b',"1970-01-01T03:24:47Z"')
    assert len(payload._KNOWN_TIMES) <= MAX_KNOWN_TIMES
    for first in range(0, len(stamps), 10):
        for _ in range(8):
            payload._times(stamps[first : first + 20])
            payload._present_tails(stamps[first : first + 10])
    assert 0 < len(payload._KNOWN_TIMES) <= MAX_KNOWN_TIMES
    assert 0 < len(payload._KNOWN_TAILS) <= MAX_KNOWN_TIMES
    foreign = Timestamp(seconds=7).SerializeToString() + b"\x1a\xff\x01" + bytes(255)
    for _ in range(9):
        assert payload._times([foreign, None]) == b'"1970-01-01T00:00:07Z","1970-01-01T00:00:00Z"'
    assert foreign not in payload._KNOWN_TIMES


@pytest.mark.parametrize("rows", [[1001], [1001, 7, 1001]])
def test_strict_marks_what_is_corrupt_and_nothing_else(rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STORE, (KEYS[1001], "stats", "rate"), b"\x08")
    body = json.loads(ask({"driver_id": rows}, "stats:trips", "stats:rate", statuses=Statuses.TRUE))
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
    body = json.loads(ask({"driver_id": rows}, "stats:trips", statuses=Statuses.TRUE))
    assert body["results"][1] == {
        "values": [None] * len(rows),
        "statuses": ["INVALID", "NOT_FOUND"][: len(rows)],
        "event_timestamps": ["1970-01-01T00:00:00Z"] * len(rows),
    }


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
