"""The 35 traps for whoever imitates Feast 0.67.0, each with a test; those that bite most easily come first.

A test is named after its trap, by number. Most ask a server process over a real Valkey: the corpus that Feast itself
wrote and answered (tests/conformance), or RIDES, a small registry whose rows are written here byte by byte from the
layouts of Feast's files (feast/infra/key_encoding_utils.py, feast/infra/online_stores/helpers.py and redis.py), and not
by code of ours, where the corpus lacks the thing. What is about bytes or configuration alone (14 to 20, 28) is tested
without a server as well.

Expected values come from Feast's code and from its recorded answers. Where this project means to answer better than
Feast, the test pins our answer, and its docstring says so; docs/compatibility.md has the list. Traps about what this
server does not have are turned into what a client sees instead.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dill
import mmh3
import pytest

from tests.harness import CORPUS, Answer, Server, Valkey, add_service, replace_file, repository, request
from tests.registries import catalog, entity, fields, parsed, projection, serialised, service, view
from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.entities import convert_column
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.connection_string import parse_target
from yummy_fast.stores.redis import RedisStore

INT32, INT64, FLOAT, DOUBLE = ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE
STRING, UNIX_TIMESTAMP = ValueType.STRING, ValueType.UNIX_TIMESTAMP

EPOCH = "1970-01-01T00:00:00Z"
ASK = "/get-online-features"

# ---------------------------------------------------------------------------------------------------------------- RIDES


def python_function() -> Callable[..., Any]:
    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": [type(value).__name__ for value in inputs["val"]],
            "sum": [None if trips is None else trips + 1 for trips in inputs["trips"]],
        }

    return function


def one_row_function() -> Callable[..., Any]:
    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"one": (inputs["trips"] or 0) + 100}

    return function


def square_function() -> Callable[..., Any]:
    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"square": [value * value for value in inputs["val"]]}

    return function


def on_demand(
    name: str, function: Callable[..., Any], features: Mapping[str, ValueType], *, read: bool, singleton: bool = False
) -> messages.OnDemandFeatureView:
    spec = messages.OnDemandFeatureViewSpec(
        name=name, project="rides", features=fields(features), mode="python", singleton=singleton
    )
    spec.feature_transformation.user_defined_function.body = dill.dumps(function, recurse=True)
    if read:
        spec.sources["stats"].feature_view_projection.CopyFrom(projection(STATS))
    if not singleton:
        asked = spec.sources["asked"].request_data_source.request_data_options
        asked.schema.extend(fields({"val": STRING if read else INT64}))
    return messages.OnDemandFeatureView(spec=spec)


STATS = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64, "conv_rate": FLOAT, "acc_rate": DOUBLE})
STATS.spec.ttl.seconds = 86_400
OFFLINE = view("offline", ["driver"], {"driver_id": INT64}, {"o": INT64})
OFFLINE.spec.online = False
RIDES = serialised(
    [
        *(entity("driver", "driver_id"), entity("customer", "customer_id", STRING), entity("zone", "zone_id", INT32)),
        *(STATS, OFFLINE),
        view("small", ["zone"], {"zone_id": INT32}, {"s": INT64}),
        view("pair", ["driver", "customer"], {"driver_id": INT64, "customer_id": STRING}, {"p": INT64}),
        view("seen", ["customer"], {"customer_id": STRING}, {"c": INT64}),
        view("glob", ["__dummy"], {}, {"g": INT64}),
        view("third", ["driver"], {"driver_id": INT64}, {"t": INT64}, version=3),
        view("off", ["driver"], {"driver_id": INT64}, {"z": INT64}, disabled=True),
        on_demand("py", python_function(), {"kind": STRING, "sum": INT64}, read=True),
        on_demand("one", one_row_function(), {"one": INT64}, read=True, singleton=True),
        on_demand("request", square_function(), {"square": INT64}, read=False),
        service("svc", projection(STATS, ["trips"])),
        service("aliased", projection(STATS, ["trips"], alias="renamed", join_key_map={"driver_id": "who_id"})),
    ]
)

DRIVER_1001 = "0100000002000000090000006472697665725f69640400000008000000e903000000000000"
"""driver_id = INT64 1001 in serialization version 3, as feast/infra/key_encoding_utils.py wrote it."""
STORED_TIME = bytes.fromhex("08bbf08dd80610c0a9d33a")
"""As feast/infra/online_stores/redis.py wrote it under _ts:stats: 1795389499 s and 123000000 ns."""
STORED_TIME_TEXT = "2026-11-22T23:18:19.123Z"


def driver(number: int) -> bytes:
    """The entity key of a driver: that of 1001 with another number."""
    return bytes.fromhex(DRIVER_1001)[:-8] + number.to_bytes(8, "little", signed=True)


def field(view_name: str, feature: str) -> bytes:
    """murmur3, by the library and without our code."""
    return mmh3.hash(f"{view_name}:{feature}", signed=False).to_bytes(4, "little")


def write(valkey: Valkey, key: bytes, view_name: str, values: Mapping[str, bytes], time: bytes = STORED_TIME) -> None:
    """A row as Feast's Redis store writes it: the project follows the key."""
    pairs = [part for name, value in values.items() for part in (field(view_name, name), value)]
    valkey.do("HSET", key + b"rides", *pairs, b"_ts:" + view_name.encode(), time)


def stored(**value: Any) -> bytes:
    return Value(**value).SerializeToString()


@pytest.fixture(scope="module")
def rides(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`yummy-fast serve` of RIDES."""
    folder = repository(tmp_path_factory.mktemp("rides"), "redis", f"127.0.0.1:{valkey.port}")
    text = (folder / "feature_store.yaml").read_text().replace("project: corpus", "project: rides")
    logging_block = "feature_server: {type: local, feature_logging: {enabled: true}}\n"
    (folder / "feature_store.yaml").write_text(text + logging_block)
    (folder / "registry.db").write_bytes(RIDES)
    with Server(folder) as started:
        yield started


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`yummy-fast serve` of the corpus on SQLite, in another time zone than UTC."""
    folder = repository(tmp_path_factory.mktemp("sqlite"), "sqlite", "")
    with Server(folder, environment={"TZ": "America/New_York"}) as started:
        yield started


def ask(server: Server, features: list[str] | str, **more: Any) -> Answer:
    """Ask for features, or by name for a service. Entities are `more` unless there are `entities`."""
    entities = more.pop("entities", None)
    options: dict[str, Any] = {
        name: more.pop(name) for name in ("full_feature_names", "request_context") if name in more
    }
    what: dict[str, Any] = {"feature_service": features} if isinstance(features, str) else {"features": features}
    body: dict[str, Any] = {**what, "entities": more if entities is None else entities, **options}
    return server.ask(ASK, body)


def column(answer: Answer, name: str) -> dict[str, list[Any]]:
    """One column of an answer: values, statuses, event_timestamps."""
    assert answer.status == 200, answer
    found: dict[str, list[Any]] = answer.json["results"][answer.json["metadata"]["feature_names"].index(name)]
    return found


def recorded(case: str) -> tuple[bytes, Any]:
    """A request of the corpus, and what Feast answered."""
    with open(CORPUS / "cases.jsonl", encoding="utf-8") as lines:
        found = next(json.loads(line) for line in lines if f'"id": "{case}"' in line)
    return found["request"]["body"].encode(), json.loads(found["response"]["body"])


# ----------------------------------------------------------------------------------------------------------- 1 to 7


@pytest.mark.parametrize("reverse", [False, True])
def test_trap_01_order_is_that_of_the_request_and_names_label_the_columns(server: Server, reverse: bool) -> None:
    """Feast's order within a view is random per process; that of the request is one of those it could have."""
    known = {"rank": 1, "trips": 1, "nick": "plain", "active": True, "acc_rate": 0.3333333333333333}
    names = list(reversed(known)) if reverse else list(known)
    answer = ask(server, [f"driver_stats:{name}" for name in names], driver_id=[1002])
    assert answer.json["metadata"]["feature_names"] == ["driver_id", *names]
    assert answer.columns == {"driver_id": [1002], **{name: [known[name]] for name in names}}


def test_trap_02_ttl_is_not_enforced(server: Server, corpus: Path) -> None:
    """driver_stale has a ttl of a second and a row of 2020. With --compat strict we tell its age (ours alone)."""
    stale = column(ask(server, ["driver_stale:note"], driver_id=[1001]), "note")
    assert stale == {"values": ["old"], "statuses": ["PRESENT"], "event_timestamps": ["2020-01-01T00:00:00Z"]}
    with Server(corpus, "--compat", "strict") as strict:
        told = column(ask(strict, ["driver_stale:note"], driver_id=[1001]), "note")
    assert told == {**stale, "statuses": ["OUTSIDE_MAX_AGE"]}, "the value is kept"


def test_trap_03_a_missing_entity_is_present_on_redis_and_not_found_on_sqlite(server: Server, sqlite: Server) -> None:
    for asked, status in ((server, "PRESENT"), (sqlite, "NOT_FOUND")):
        missing = column(ask(asked, ["driver_stats:trips"], driver_id=[1002, 7]), "trips")
        assert missing["values"] == [1, None]
        assert missing["statuses"] == ["PRESENT", status]
        assert missing["event_timestamps"][1] == EPOCH


def test_trap_04_a_stored_null_is_present(server: Server, sqlite: Server) -> None:
    for asked in (server, sqlite):
        null = column(ask(asked, ["driver_stats:rank"], driver_id=[1004]), "rank")
        assert null == {"values": [None], "statuses": ["PRESENT"], "event_timestamps": ["2026-01-02T03:04:08Z"]}


def test_trap_05_float32_prints_widened(server: Server) -> None:
    answer = ask(server, ["driver_stats:conv_rate"], driver_id=[1001, 1002, 1004, 1005])
    widened = b"[0.10000000149011612,0.3333333432674408,1.0000000116860974e-7,3.3999999521443642e38]"
    assert widened in re.sub(rb"e([+-])0?(\d)", lambda e: b"e" + e[1].replace(b"+", b"") + e[2], answer.body)


def test_trap_06_doubles_keep_a_point_or_an_exponent(rides: Server, valkey: Valkey) -> None:
    """Else the remote SDK would take them for integers. (Where Feast writes 1e+16 we may write 1e16.)"""
    numbers = [1.0, -0.0, 1e16, 1e22, 5e-324, 123456789.0, 1e15, 0.1, 100.0, 1.7976931348623157e308]
    keys = range(600, 600 + len(numbers))
    for key, number in zip(keys, numbers, strict=True):
        write(valkey, driver(key), "stats", {"acc_rate": stored(double_val=number)})
    answers = [ask(rides, ["stats:acc_rate"], driver_id=list(keys))]
    answers += [ask(rides, ["stats:acc_rate"], driver_id=[key]) for key in keys]
    for answer, expected in zip(answers, [numbers, *([number] for number in numbers)], strict=True):
        texts = re.findall(rb'"values":\[([^]]*)\]', answer.body)[1].decode().split(",")
        assert all(re.search("[.eE]", text) for text in texts), texts
        assert list(map(repr, map(float, texts))) == list(map(repr, expected))


def test_trap_07_errors_are_strings_feasts_own_are_json_in_a_string_and_validation_is_an_object(
    server: Server,
) -> None:
    told = ask(server, ["driver_stats:nope"], driver_id=[1])
    assert told.headers["content-type"] == "application/json"
    assert isinstance(told.json, str)
    assert ask(server, ["nofv:nope"], driver_id=[1]).body == (
        rb'"{\"module\": \"feast.errors\", \"class\": \"FeatureViewNotFoundException\", '
        rb'\"message\": \"Feature view nofv does not exist in project corpus\"}"'
    ), "byte for byte, with the separators of Python's json"
    invalid = server.ask(ASK, {"features": ["driver_stats:trips"]})
    assert (invalid.status, list(invalid.json)) == (422, ["detail"])


# ---------------------------------------------------------------------------------------------------------- 8 to 13

NOT_FOUND = [
    (["nofv:x"], {"driver_id": [1]}, 404, "FeatureViewNotFoundException"),
    ("nosvc", {"driver_id": [1]}, 404, "FeatureServiceNotFoundException"),
    (["py:sum"], {"driver_id": [1]}, 404, "RequestDataNotFoundInEntityRowsException"),
]
MISTAKES: list[tuple[Any, dict[str, Any], int, str]] = [
    (["stats:nope"], {"driver_id": [1]}, 400, "Feature nope not found in projection stats"),
    (["trips"], {"driver_id": [1]}, 400, "Invalid feature reference 'trips'. Expected format:"),
    ([], {"driver_id": [1]}, 400, "No features specified for retrieval"),
    (["stats:trips"], {}, 400, "Missing join key values for keys: ['driver_id']"),
    (["stats:trips"], {"wrong": [1]}, 400, "Provided join_key_values: []"),
    (["stats:trips"], {"driver_id": []}, 400, "No values provided for keys: ['driver_id']"),
    (["stats:trips"], {"driver_id": [1, 2], "foo": ["x"]}, 400, "All entity rows must have the same columns."),
    (["stats:trips"], {"driver_id": ["abc"]}, 400, 'entities.driver_id[0]: expected an integer, got "abc"'),
    (["stats:trips"], {"driver_id": [1, None]}, 400, "entities.driver_id[1]"),
    (["stats:trips"], {"driver_id": [[1]]}, 400, "entities.driver_id[0]"),
    (["stats:trips"], {"driver_id": [2**63]}, 400, "entities.driver_id[0]"),
    (["stats:trips", "stats:trips"], {"driver_id": [1]}, 400, "FeatureNameCollisionError"),
    (["stats@v1:trips"], {"driver_id": [1]}, 400, "online versioning is disabled"),
    (["off:z"], {"driver_id": [1]}, 400, "Feature view 'off' is disabled and cannot serve features."),
]


@pytest.mark.parametrize(("features", "entities", "status", "text"), [*NOT_FOUND, *MISTAKES])
def test_trap_08_what_is_not_there_is_404_and_other_mistakes_are_the_callers(
    rides: Server, features: Any, entities: dict[str, Any], status: int, text: str
) -> None:
    """Better than Feast: what it answers with 500 although the caller erred is 400 here, with its words in it."""
    answer = ask(rides, features, entities=entities)
    assert answer.status == status, answer
    assert text in answer.json


@pytest.mark.parametrize("column_name", ["customer_id", "nobody_knows_me"])
@pytest.mark.parametrize("values", [[1, "a"], [[]], [[1, "a"]], ["only one of two"], [1, 2**63]])
def test_trap_09_mistakes_in_columns_that_are_not_used_still_count(
    rides: Server, column_name: str, values: list[Any]
) -> None:
    """Better than Feast in the status alone: 400 for its 500. Our message names the column."""
    rows = 2 if len(values) == 2 or values == ["only one of two"] else 1
    answer = ask(rides, ["stats:trips"], entities={"driver_id": [1] * rows, column_name: values})
    assert answer.status == 400
    assert answer.json.startswith(f"entities.{column_name}")


def test_trap_10_every_join_key_of_the_project_is_echoed_and_nothing_else(rides: Server) -> None:
    entities = {"foo": ["x"], "customer_id": [2.5], "driver": [1001], "zone_id": [True]}
    answer = ask(rides, ["stats:trips"], entities=entities)
    assert answer.json["metadata"]["feature_names"] == ["customer_id", "driver_id", "zone_id", "trips"]
    assert answer.columns["customer_id"] == [2.5], "in the type that it came in: no view that is read declares it"
    assert answer.columns["driver_id"] == [1001], "an entity's name is a name for its join key"
    assert answer.columns["zone_id"] == [True]


def test_trap_11_a_part_of_a_key_is_not_found_and_none_of_it_is_a_mistake(rides: Server) -> None:
    answer = ask(rides, ["pair:p"], driver_id=[1001])
    assert (answer.status, answer.columns) == (200, {"driver_id": [1001], "p": [None]})
    assert ask(rides, ["pair:p"], zone_id=[1]).status == 400


def test_trap_12_entity_columns_come_first_in_the_requests_order_present_and_of_the_epoch(server: Server) -> None:
    entities = {"customer_id": ["a", "b"], "driver_id": [1001, 1002]}
    for order in (list(entities), list(reversed(entities))):
        answer = ask(server, ["pair_stats:seen"], entities={name: entities[name] for name in order})
        assert answer.json["metadata"]["feature_names"] == [*order, "seen"]
        for name in order:
            assert column(answer, name) == {
                "values": entities[name],
                "statuses": ["PRESENT"] * 2,
                "event_timestamps": [EPOCH] * 2,
            }


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (b"\x08\xbb\xf0\x8d\xd8\x06", "2026-11-22T23:18:19Z"),
        (STORED_TIME, STORED_TIME_TEXT),
        (b"\x08\xbb\xf0\x8d\xd8\x06\x10\x80\xca\xb5\xee\x01", "2026-11-22T23:18:19.500Z"),
        (b"\x08\xbb\xf0\x8d\xd8\x06\x10\x80\x94\xef\x3a", "2026-11-22T23:18:19.123456Z"),
        (b"\x08\xbb\xf0\x8d\xd8\x06\x10\x95\x9a\xef\x3a", "2026-11-22T23:18:19.123457Z"),
        (b"", EPOCH),
    ],
    ids=["seconds", "milliseconds", "half", "microseconds", "nanoseconds", "absent"],
)
def test_trap_13_timestamps_have_no_three_or_six_digits(rides: Server, valkey: Valkey, time: bytes, text: str) -> None:
    """Nine are for stores that keep nanoseconds: feast/infra/online_stores/redis.py rounds them to microseconds."""
    write(valkey, driver(700), "stats", {"trips": b"\x20\x0b"}, time)
    for drivers in ([700], [700, 700], [700, 701]):
        told = column(ask(rides, ["stats:trips"], driver_id=drivers), "trips")
        assert told["event_timestamps"][0] == text


def test_trap_13_sqlite_has_whole_seconds(server: Server, sqlite: Server) -> None:
    times = [column(ask(one, ["driver_stats:trips"], driver_id=[1002]), "trips") for one in (server, sqlite)]
    assert [time["event_timestamps"] for time in times] == [["2026-01-02T03:04:06.250Z"], ["2026-01-02T03:04:06Z"]]


# --------------------------------------------------------------------------------------------------------- 14 to 20


@pytest.mark.parametrize(
    ("value_type", "values", "expected"),
    [
        (INT64, ["1001", " 1001 ", "1_001", 1001.7, True, 1e3], [1001, 1001, 1001, 1001, 1, 1000]),
        (INT32, ["1001", 1001.7, True], [1001, 1001, 1]),
        (STRING, [5, 1.5, True, "x"], ["5", "1.5", "True", "x"]),
        (UNIX_TIMESTAMP, ["1700000000", 1700000000], [1700000000, 1700000000]),
    ],
)
def test_trap_14_key_values_are_converted_as_int_and_str_do(
    value_type: ValueType, values: list[Any], expected: list[Any]
) -> None:
    assert convert_column("key", value_type, values) == expected


def test_trap_14_such_keys_find_their_rows(server: Server) -> None:
    answer = ask(server, ["driver_stats:trips"], driver_id=["1002", " 1002 ", "1_002", 1002.7, True])
    assert answer.columns == {"driver_id": [1002, 1002, 1002, 1002, 1], "trips": [1, 1, 1, 1, None]}
    body, feast = recorded("redis/entity_int_for_string")
    assert server.ask(ASK, body).columns == {"customer_id": ["1001"], "n": [4]}
    assert feast["results"][0]["values"] == ["1001"]


def key_of(values: Mapping[str, tuple[ValueType, Any]], version: int) -> str:
    """An entity key in hexadecimal, of values by join key."""
    names = sorted(values)
    parts = [key_value_encoder(values[name][0], version)(values[name][1]) for name in names]
    return (entity_key_header(names, version) + b"".join(parts)).hex()


def test_trap_15_the_type_is_in_the_key_and_comes_from_the_views_column(rides: Server, valkey: Valkey) -> None:
    assert key_of({"zone_id": (INT32, -1)}, 3).endswith("0300000004000000ffffffff")
    assert key_of({"zone_id": (INT32, 5)}, 3) != key_of({"zone_id": (INT64, 5)}, 3)
    head = b"\1\0\0\0\2\0\0\0\7\0\0\0zone_id"
    write(valkey, head + b"\3\0\0\0\4\0\0\0\5\0\0\0", "small", {"s": b"\x20\x01"})
    write(valkey, head + b"\4\0\0\0\x08\0\0\0\6\0\0\0\0\0\0\0", "small", {"s": b"\x20\x02"})
    assert ask(rides, ["small:s"], zone_id=[5, 6]).columns["s"] == [1, None], "6 was written as an INT64"


@pytest.mark.parametrize(
    ("values", "version", "expected"),
    [
        ({"driver_id": (INT64, 1001)}, 3, DRIVER_1001),
        ({"driver_id": (INT64, 1001)}, 2, "020000006472697665725f69640400000008000000e903000000000000"),
        (
            *({"b": (STRING, "x"), "a": (INT64, 5)}, 3),
            "0200000002000000010000006102000000010000006204000000080000000500000000000000020000000100000078",
        ),
        (
            *({"b": (STRING, "x"), "a": (INT64, 5)}, 2),
            "0200000061020000006204000000080000000500000000000000020000000100000078",
        ),
        ({"t": (UNIX_TIMESTAMP, 1700000000)}, 3, "01000000020000000100000074080000000800000000f1536500000000"),
        ({"by": (ValueType.BYTES, b"\1\2")}, 3, "010000000200000002000000627901000000020000000102"),
        ({"__dummy_id": (STRING, "")}, 3, "01000000020000000a0000005f5f64756d6d795f69640200000000000000"),
    ],
)
def test_trap_16_keys_are_sorted_and_stand_before_all_values(
    values: dict[str, tuple[ValueType, Any]], version: int, expected: str
) -> None:
    """The bytes are serialize_entity_key's of Feast. Version 2 has neither the number of keys nor their lengths."""
    assert key_of(values, version) == expected


@pytest.mark.parametrize("version", [3, 2])
def test_trap_16_the_order_of_the_request_does_not_matter(version: int) -> None:
    pair = view("v", ["one", "two"], {"a": INT64, "b": STRING}, {"f": INT64})
    made = catalog(entity("one", "b", STRING), entity("two", "a"), pair, key_version=version)
    bind = made.plan_for(None, ["v:f"], False).binder.bind
    expected = bytes.fromhex(key_of({"b": (STRING, "x"), "a": (INT64, 5)}, version))
    assert bind({"b": ["x"], "a": [5]}).keys == bind({"a": [5], "b": ["x"]}).keys == [[expected]]


def test_trap_17_a_redis_key_is_the_entity_key_and_the_project_without_anything_between(
    rides: Server, valkey: Valkey
) -> None:
    """Every byte that is written here is as serialize_entity_key, _redis_key and _mmh3 of Feast made it."""
    valkey.do(
        *("HSET", bytes.fromhex(DRIVER_1001) + b"rides", bytes.fromhex("eb342a65"), bytes.fromhex("200b")),
        *(bytes.fromhex("d5713f9f"), bytes.fromhex("350000003f"), b"_ts:stats", STORED_TIME),
    )
    answer = ask(rides, ["stats:trips", "stats:conv_rate", "stats:acc_rate"], driver_id=[1001])
    assert answer.columns == {"driver_id": [1001], "trips": [11], "conv_rate": [0.5], "acc_rate": [None]}
    assert column(answer, "trips")["event_timestamps"] == [STORED_TIME_TEXT]
    for other in (b"_rides", b"rides2", b""):
        valkey.do("HSET", driver(1003) + other, bytes.fromhex("eb342a65"), bytes.fromhex("200b"))
    assert ask(rides, ["stats:trips"], driver_id=[1003]).columns["trips"] == [None]


def test_trap_18_fields_are_murmur_hashes_and_times_are_under_text() -> None:
    hashes = {name: feature_field("stats", name).hex() for name in ("trips", "conv_rate", "acc_rate")}
    assert hashes == {"trips": "eb342a65", "conv_rate": "d5713f9f", "acc_rate": "6361db4b"}
    assert timestamp_field("stats") == b"_ts:stats"


def test_trap_18_the_real_name_of_a_view_is_hashed_and_never_its_alias(rides: Server, valkey: Valkey) -> None:
    write(valkey, driver(1004), "stats", {"trips": b"\x20\x04"})
    write(valkey, driver(1004), "renamed", {"trips": b"\x20\x05"})
    answer = ask(rides, "aliased", who_id=[1004], full_feature_names=True)
    assert answer.columns == {"who_id": [1004], "renamed__trips": [4]}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("10.0.0.1:1,10.0.0.2:2", {"host": "10.0.0.1", "port": 1}),
        ("h:1,ssl=true,db=2,password=123", {"host": "h", "port": 1, "ssl": True, "db": 2, "password": 123}),
        ('h:1,password="123",username=0123', {"host": "h", "port": 1, "password": "123", "username": "0123"}),
        ("h:1,password=a=b", {"host": "h", "port": 1, "password": "a=b"}),
        ("redis://h:7/3", {"host": "h", "port": 7, "db": 3}),
        ("[::1]:6379", {"host": "::1", "port": 6379}),
    ],
)
def test_trap_19_connection_strings_are_feasts(text: str, options: dict[str, Any]) -> None:
    """Better than Feast in the last two: it knows neither URLs nor IPv6."""
    target = parse_target(text, "redis", "here")
    assert {**target.addresses[0]._asdict(), **target.options} == options


def test_trap_19_spaces_after_commas_do_no_harm() -> None:
    """To Feast, " db" is the name of an option, which redis-py does not know: it fails."""
    target = parse_target("h:1, db=2", "redis", "here")
    assert {**target.addresses[0]._asdict(), **target.options} == {"host": "h", "port": 1, "db": 2}


def test_trap_20_no_bytes_are_a_null(rides: Server, valkey: Valkey) -> None:
    write(valkey, driver(800), "stats", {"trips": b"", "conv_rate": stored(float_val=0.5)})
    write(valkey, driver(801), "stats", {"trips": b"\x20\x05", "conv_rate": b""})
    null = {"values": [None], "statuses": ["PRESENT"], "event_timestamps": [STORED_TIME_TEXT]}
    answer = ask(rides, ["stats:trips", "stats:conv_rate"], driver_id=[800])
    assert (column(answer, "trips"), answer.columns["conv_rate"]) == (null, [0.5])
    answer = ask(rides, ["stats:trips", "stats:conv_rate"], driver_id=[800, 801])
    assert (answer.columns["trips"], answer.columns["conv_rate"]) == ([None, 5], [0.5, None])


# --------------------------------------------------------------------------------------------------------- 21 to 27


def test_trap_21_sqlite_times_are_those_of_a_server_in_utc_whatever_our_zone_is(sqlite: Server) -> None:
    """Better than Feast, which would shift them by its own zone; this server runs in New York."""
    body, feast = recorded("sqlite/service_stale")
    answer = sqlite.ask(ASK, body)
    times = {json.dumps(column["event_timestamps"]) for column in answer.json["results"]}
    assert times == {json.dumps(column["event_timestamps"]) for column in feast["results"]}
    assert "2026-01-02T03:04:05Z" in answer.body.decode()


def test_trap_22_json_is_text_timestamps_are_integers_bytes_are_base64_and_empty_lists_stay(server: Server) -> None:
    body, feast = recorded("redis/service_types")
    answer = server.ask(ASK, body)
    assert answer.columns == dict(
        zip(feast["metadata"]["feature_names"], (column["values"] for column in feast["results"]), strict=True)
    )
    columns = answer.columns
    assert columns["js"][0] == '{"i": 0, "s": ""}'
    assert columns["l_ts"][:2] == [[], [0]]
    assert columns["l_bytes"] == [[], [""], ["", "AP8="], None]
    assert columns["m"][0] == {"d": 0.5, "k": "x", "n": 0}
    alone = ask(server, ["driver_stats:last_seen", "driver_stats:blob"], driver_id=[1002]).columns
    assert (alone["last_seen"], alone["blob"]) == ([1767323045], ["YWJj"])


def test_trap_23_numbers_that_json_has_not_are_strings(server: Server) -> None:
    body, _ = recorded("redis/nan_and_infinity")
    answer = server.ask(ASK, body)
    assert (answer.columns["conv_rate"], answer.columns["acc_rate"]) == (["NaN", "-Infinity"], ["Infinity", "NaN"])
    assert json.loads(answer.body, parse_constant=pytest.fail)


def test_trap_24_a_service_beats_features_unless_it_is_empty(rides: Server) -> None:
    """Better than Feast where neither is given: 400 for its 500."""
    entities = {"driver_id": [5]}

    def names(**body: Any) -> Any:
        answer = rides.ask(ASK, {"entities": entities, **body})
        return answer.json["metadata"]["feature_names"][1:] if answer.status == 200 else answer.status

    assert names(feature_service="svc", features=["stats:conv_rate"]) == ["trips"]
    assert names(feature_service="svc", features=["nofv:bogus"]) == ["trips"]
    assert names(feature_service="", features=["stats:conv_rate"]) == ["conv_rate"]
    assert names(feature_service=None, features=["stats:conv_rate"]) == ["conv_rate"]
    assert names() == names(features=[]) == names(feature_service="") == 400
    refused = rides.ask(ASK, {"entities": entities, "feature_service": "svc", "features": None})
    assert (refused.status, refused.json["detail"][0]["loc"]) == (422, ["body", "features"])


@pytest.mark.parametrize(
    ("entities", "kind", "loc"),
    [
        (..., "missing", ["body", "entities"]),
        (None, "dict_type", ["body", "entities"]),
        ([{"driver_id": 1001}], "dict_type", ["body", "entities"]),
        ({"driver_id": 1001}, "list_type", ["body", "entities", "driver_id"]),
    ],
)
def test_trap_25_entities_are_required_and_lists_by_name(rides: Server, entities: Any, kind: str, loc: Any) -> None:
    body = {"features": ["stats:trips"], **({} if entities is ... else {"entities": entities})}
    answer = rides.ask(ASK, body)
    (detail,) = answer.json["detail"]
    assert (answer.status, detail["type"], detail["loc"]) == (422, kind, loc)


def test_trap_25_views_without_entities_need_no_columns(rides: Server, valkey: Valkey) -> None:
    """Better than Feast: `{}` is one row for them, where it answers 500; for other views it is a 400."""
    write(
        valkey,
        bytes.fromhex("01000000020000000a0000005f5f64756d6d795f69640200000000000000"),
        "glob",
        {"g": b"\x20\x07"},
    )
    assert ask(rides, ["glob:g"], entities={}).columns == {"g": [7]}
    assert ask(rides, ["glob:g"], entities={"x": ["any", None]}).columns == {"g": [7, 7]}
    assert ask(rides, ["stats:trips"], entities={}).status == 400


def test_trap_26_health_is_empty_and_so_is_the_answer_to_a_push(rides: Server) -> None:
    """Better than Feast: /health takes POST as well (Yummy's clients use it).

    What is pushed, and the rest of /push, is in tests/conformance and tests/system/test_writing.py.
    """
    answer = rides.ask("/health")
    assert (answer.status, answer.body) == (200, b"")
    assert "content-type" not in answer.headers
    assert rides.ask("/health", method="POST").status == 200
    wrong = rides.ask("/health", method="PUT")
    assert (wrong.status, wrong.json) == (405, {"detail": "Method Not Allowed"})
    answer = rides.ask("/push", {"push_source_name": "nope", "df": {}})
    assert answer.status == 422
    assert json.loads(answer.json)["class"] == "PushSourceNotFoundException"
    assert rides.ask("/materialize", {}).status == 501, "that is for Feast's own server: --forward-to"


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded", ""],
)
def test_trap_27_any_content_type_will_do(rides: Server, kind: str) -> None:
    """Better than Feast: it refuses all but JSON with 422, and the examples of its own documentation send none."""
    body = json.dumps({"features": ["stats:trips"], "entities": {"driver_id": [5]}}).encode()
    header = f"Content-Type: {kind}\r\n" if kind else ""
    with rides.client() as client:
        head = f"POST {ASK} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: {len(body)}\r\n\r\n"
        client.send(head.encode() + body)
        assert client.answer().columns == {"driver_id": [5], "trips": [None]}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *zip((True, 1, 1.0, "yes", "on", "1", "TRUE", "t", "y"), ["stats__trips"] * 9, strict=True),
        *zip((False, 0, "no", "off", "0", "False", "f", "n"), ["trips"] * 8, strict=True),
        *zip((2, "2", "maybe", "", None, [], 0.5), [422] * 7, strict=True),
    ],
)
def test_trap_27_booleans_are_lax_and_unknown_keys_ignored(rides: Server, value: Any, name: str | int) -> None:
    body = {"features": ["stats:trips"], "entities": {"driver_id": [5]}, "full_feature_names": value, "unknown": {}}
    answer = rides.ask(ASK, body)
    assert (answer.json["metadata"]["feature_names"][1] if answer.status == 200 else answer.status) == name


# --------------------------------------------------------------------------------------------------------- 28 to 35


def load(folder: Path, *lines: str, **environ: str) -> Config:
    text = "\n".join(["registry: data/registry.db", *lines])
    (folder / "feature_store.yaml").write_text(text if "project:" in text else f"project: rides\n{text}")
    return load_config(chdir=str(folder), environ=environ)


def redis_store(config: Config) -> RedisStore:
    return RedisStore(config.repository, config.store)


def test_trap_28_variables_are_text_before_it_is_yaml(tmp_path: Path) -> None:
    """One that is not set stays as it is where nobody reads it. Where it is read: tests/config."""
    lines = ("online_store: {type: redis, connection_string: '${HOST}:$PORT,db=2'}", "$MORE", "provider: ${NOPE}")
    config = load(tmp_path, *lines, HOST="h", PORT="1", MORE="entity_key_serialization_version: 2")
    assert config.repository.online_store["connection_string"] == "h:1,db=2"
    assert config.repository.key_version == 2


@pytest.mark.parametrize("name", ["my-project", "_hidden", "-x"])
def test_trap_28_such_projects_are_always_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="project"):
        load(tmp_path, f"project: {name}", "online_store: redis")


def test_trap_28_the_default_store_is_sqlite_and_paths_are_the_repositorys(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.repository.online_store["type"] == "sqlite"
    assert config.repository.registry_path == str(tmp_path / "data" / "registry.db")


def test_trap_28_unknown_keys_of_the_online_store_are_refused_and_others_ignored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"online_store\.extra"):
        redis_store(load(tmp_path, "online_store: {type: redis, extra: 1}"))
    assert load(tmp_path, "extra: 1").repository.project == "rides"


def test_trap_29_a_registry_that_cannot_be_read_fails_no_request(corpus: Path) -> None:
    """Better than Feast, which answers the request that meets a bad registry with 500: here the one before stays."""
    registry = corpus / "registry.db"
    good = registry.read_bytes()
    with Server(corpus, "-r", "3600") as server:
        asked = {"feature_service": "new", "entities": {"driver_id": [1002]}}
        assert server.ask(ASK, asked).status == 404
        for bad in (b"\xff\xff corrupt", b""):
            mark = len(server.lines)
            replace_file(registry, bad)
            server.send_signal(signal.SIGHUP)
            server.wait_for("registry not reloaded, the previous one stays in use", after=mark)
            assert server.features([1002]).columns["trips"] == [1]
        replace_file(registry, add_service(good, "new", "svc_subset"))
        server.send_signal(signal.SIGHUP)
        server.wait_for("registry reloaded")
        assert server.ask(ASK, asked).columns["trips"] == [1]


def test_trap_30_keys_of_an_answer_stand_in_feasts_order(rides: Server) -> None:
    body = ask(rides, ["stats:trips"], driver_id=[5]).body
    assert body == (
        b'{"results":[{"values":[5],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]},'
        b'{"values":[null],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]}],'
        b'"metadata":{"feature_names":["driver_id","trips"]}}'
    )


def test_trap_30_versions_come_when_asked_and_without_zeros(rides: Server) -> None:
    body = {
        "features": ["stats:trips", "third:t"],
        "entities": {"driver_id": [5]},
        "include_feature_view_version_metadata": True,
    }
    metadata = rides.ask(ASK, body).json["metadata"]
    assert list(metadata) == ["feature_names", "feature_view_metadata"]
    assert metadata["feature_view_metadata"] == [{"name": "stats"}, {"name": "third", "version": 3}]


def test_trap_30_columns_without_rows_have_no_times(rides: Server) -> None:
    assert ask(rides, ["request:square"], val=[]).json["results"] == [{"values": [], "statuses": []}]


def test_trap_31_on_demand_columns_are_present_and_of_the_epoch(rides: Server, valkey: Valkey) -> None:
    write(valkey, driver(900), "stats", {"trips": b"\x20\x05"})
    entities = {"driver_id": [900, 901], "val": [1, 2]}
    answer = ask(rides, ["py:sum", "py:kind", "stats:trips"], entities=entities)
    assert answer.json["metadata"]["feature_names"] == ["driver_id", "trips", "sum", "kind"], "they come last"
    assert answer.columns["trips"] == [5, None]
    assert column(answer, "sum") == {
        "values": [6, None],
        "statuses": ["PRESENT", "PRESENT"],
        "event_timestamps": [EPOCH, EPOCH],
    }
    assert answer.columns["kind"] == ["int", "int"], "request data is not echoed, and not of its declared type"


def test_trap_31_full_names_keep_the_columns_of_python_mode(rides: Server) -> None:
    """Better than Feast, which loses them."""
    answer = ask(rides, ["py:sum"], driver_id=[901], val=["x"], full_feature_names=True)
    assert answer.columns == {"driver_id": [901], "py__sum": [None]}


def test_trap_31_a_singleton_has_one_value(rides: Server, valkey: Valkey) -> None:
    write(valkey, driver(902), "stats", {"trips": b"\x20\x05"})
    assert ask(rides, ["one:one"], driver_id=[902, 903]).columns == {"driver_id": [902, 903], "one": [105]}


@pytest.mark.parametrize(("features", "entities", "status", "text"), [*NOT_FOUND, *MISTAKES])
def test_trap_32_the_remote_sdk_repeats_no_request_and_finds_the_class_to_raise(
    rides: Server, features: Any, entities: dict[str, Any], status: int, text: str
) -> None:
    """It repeats 429, 500, 502, 503 and 504 three times each, and parses the body of all else.

    feast/permissions/client/http_auth_requests_wrapper.py does the first, feast/rest_error_handler.py the second.
    """
    answer = ask(rides, features, entities=entities)
    assert answer.status not in (429, 500, 502, 503, 504)
    if text.endswith(("Exception", "Error")):
        inner = json.loads(answer.json)
        assert (list(inner), inner["module"], inner["class"]) == (["module", "class", "message"], "feast.errors", text)


@pytest.mark.parametrize("header", ["Authorization: Bearer nonsense", "Authorization: Basic eDp5", "Authorization: "])
def test_trap_33_tokens_are_not_looked_at(rides: Server, header: str) -> None:
    """As Feast with `no_auth`. There is no other here, so no 401 and no 403: a proxy has to do it."""
    with rides.client() as client:
        body = {"features": ["stats:trips"], "entities": {"driver_id": [5]}}
        assert client.ask(ASK, body, "POST", header).status == 200


def test_trap_34_one_process_and_one_connection_outlive_thousands_of_requests_and_errors(rides: Server) -> None:
    """Better than Feast: it replaces workers after a thousand requests, and closes the connection after each error."""
    good = request(ASK, {"features": ["stats:trips"], "entities": {"driver_id": [5]}})
    kinds = {
        200: good,
        404: request(ASK, {"features": ["nofv:x"], "entities": {"driver_id": [5]}}),
        400: request(ASK, {"features": ["stats:nope"], "entities": {"driver_id": [5]}}),
        422: request(ASK, b"no json"),
        405: request(ASK),
    }
    with rides.client() as client:
        for _ in range(50):
            client.send(b"".join(kinds.values()) * 10)
            statuses = []
            for _ in range(10 * len(kinds)):
                answer = client.answer()
                statuses.append(answer.status)
                assert "connection" not in answer.headers
            assert statuses == [*kinds] * 10
    assert rides.process.poll() is None
    assert "stopping" not in rides.log


def test_trap_35_request_context_is_what_the_go_server_takes_it_for(rides: Server) -> None:
    """Feast's Python server ignores it, so that a request for what needs it fails there."""
    context = {"val": [1]}
    assert ask(rides, ["stats:trips"], driver_id=[5], request_context=context).status == 200
    answer = ask(rides, ["request:square"], driver_id=[5], request_context=context)
    assert answer.columns == {"driver_id": [5], "square": [1]}
    assert ask(rides, ["request:square"], val=[3], request_context=context).columns == {"square": [9]}


def test_trap_35_offline_views_are_served_and_logging_and_ranges_are_not_there(rides: Server, valkey: Valkey) -> None:
    """`rides` runs with feature_logging switched on, which is taken and has no effect, as in Feast."""
    write(valkey, driver(950), "offline", {"o": b"\x20\x09"})
    assert ask(rides, ["offline:o"], driver_id=[950]).columns["o"] == [9]
    assert rides.ask("/get-online-features-range", {"entities": {}}).status == 404
    assert parsed(OFFLINE).views["offline"] is not None
