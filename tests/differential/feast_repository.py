"""Builds a Feast repository from a seed and fills its store, with Feast's own SDK. Runs in Feast's venv only.

    python feast_repository.py FOLDER --redis-port PORT --seed N [--key-version 2|3] [--versioning] [--sqlite]

Everything that can be random is: which entities there are and of what key types, which views share them, which features
a view has (every value type occurs at least once), which names views share, what the services choose, rename and map,
which rows are there, how old they are, which of their cells are null, absent, or of another type than declared.

FOLDER gets feature_store.yaml, the registry, and manifest.json: what there is to ask for. run.py reads only the latter.
The rule: the registry and every byte in Redis come from Feast (`apply`, `online_write_batch`, `write_to_online_store`),
so nothing that we believe about the formats can slip in. The on-demand views at the end are dill-pickled by Feast, by
value, because this file runs as __main__.
"""

from __future__ import annotations

import argparse
import json
import random
import uuid
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal as PythonDecimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    KafkaSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.data_format import JsonFormat
from feast.feature_view import FeatureViewState
from feast.labeling.label_view import LabelView
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.stream_feature_view import StreamFeatureView
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    ScalarMap,
    Set,
    String,
    Struct,
    TimeUuid,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)

PROJECT = "differential"
ROWS_IN_TEN = 8  # of ten keys that are asked for, so many were written at all

Draw = Callable[[random.Random], Any]


class Kind(NamedTuple):
    """A type that a feature can have: as Feast's schema says it, as type_map says it, and a value of it."""

    name: str
    feast: Any
    value_type: Any
    draw: Draw


# ------------------------------------------------------------------------------------------------------------- values

TEXTS = (
    "",
    "a",
    "éa",
    "line\nbreak",
    'quote "\\',
    "\u2028",
    "🦊",
    "1.0",
    "null",
    "NaN",
    "x" * 300,
    "\x7f\x00\x1f",
    "</s>",
)
DOUBLES = (
    *(
        0.0,
        -0.0,
        1.0,
        0.1,
        1 / 3,
        -2.5,
        1e15,
        1e16,
        123456789012345680.0,
        1e22,
        1e-4,
        1e-5,
        5e-324,
        1.7976931348623157e308,
    ),
    *(float("nan"), float("inf"), float("-inf"), 3.0, 100.0, 2.0**53),
)
INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 10**15)
ZONES = (UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata"), timezone(timedelta(hours=-7)), None)


def _text(rng: random.Random) -> str:
    return rng.choice(TEXTS) if rng.random() < 0.6 else "".join(chr(rng.randrange(32, 0x250)) for _ in range(8))


def _double(rng: random.Random) -> float:
    return rng.choice(DOUBLES) if rng.random() < 0.6 else rng.uniform(-1e6, 1e6)


def _float32(rng: random.Random) -> float:
    return rng.choice([x for x in DOUBLES if not 3e38 < abs(x) < float("inf")]) if rng.random() < 0.5 else rng.random()


def _int64(rng: random.Random) -> int:
    return rng.choice(INTEGERS) if rng.random() < 0.5 else rng.randrange(-(10**12), 10**12)


def _int32(rng: random.Random) -> int:
    return rng.choice((0, 1, -1, 2**31 - 1, -(2**31))) if rng.random() < 0.5 else rng.randrange(-(10**6), 10**6)


def _bytes(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 2, 3, 30)))


def _moment(rng: random.Random) -> datetime:
    return datetime(2001, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(10**9), microseconds=rng.randrange(10**6))


def _zoned(rng: random.Random) -> datetime:
    zone = rng.choice(ZONES)
    moment = _moment(rng).replace(microsecond=0)
    return moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)


def _uuid(rng: random.Random) -> uuid.UUID:
    return uuid.UUID(int=rng.getrandbits(128), version=4)


def _decimal(rng: random.Random) -> PythonDecimal:
    return PythonDecimal(rng.choice(("1.50", "0", "-0.001", "1E+30", "123456789.123456789", "NaN")[:5]))


def _json(rng: random.Random) -> Any:
    return rng.choice(('{"a": 1}', "[1, null, 2.0]", '"é"', "null", '{ "spaced" : [ ] }', "1.0"))


def _map(rng: random.Random) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "n": None,
        "i": _int64(rng),
        "x": _double(rng),
        "s": _text(rng),
        "b": rng.random() < 0.5,
        "é": [rng.randrange(9) for _ in range(rng.randrange(1, 3))],
        "m": {"deep": {"deeper": _double(rng)}},
        "ml": [{"k": _text(rng)}, {"k": None}],
    }
    return {key: drawn[key] for key in rng.sample(list(drawn), rng.randrange(len(drawn) + 1))}


def _struct(rng: random.Random) -> dict[str, Any]:
    return {"street": _text(rng), "number": rng.randrange(99), "weight": _double(rng)}


def _many(draw: Draw) -> Draw:
    return lambda rng: [draw(rng) for _ in range(rng.choice((0, 1, 1, 2, 3, 5)))]


def _distinct(draw: Draw) -> Draw:
    return lambda rng: set(_many(draw)(rng))


def _nested(rng: random.Random) -> list[Any]:
    return rng.choice(([], [[1], [2, 3]], [[], [1]], [None, [4]], [[_int64(rng)]]))


def _nested_floats(rng: random.Random) -> list[Any]:
    return [[_double(rng)] for _ in range(rng.randrange(3))]


def _nested_texts(rng: random.Random) -> list[Any]:
    return [[[_text(rng)], [_text(rng), _text(rng)]]]


STRUCT = Struct({"street": String, "number": Int64, "weight": Float64})

SCALARS = (
    Kind("int32", Int32, ValueType.INT32, _int32),
    Kind("int64", Int64, ValueType.INT64, _int64),
    Kind("float", Float32, ValueType.FLOAT, _float32),
    Kind("double", Float64, ValueType.DOUBLE, _double),
    Kind("string", String, ValueType.STRING, _text),
    Kind("bool", Bool, ValueType.BOOL, lambda rng: rng.random() < 0.5),
    Kind("bytes", Bytes, ValueType.BYTES, _bytes),
    Kind("unix_timestamp", UnixTimestamp, ValueType.UNIX_TIMESTAMP, _moment),
    Kind("uuid", Uuid, ValueType.UUID, _uuid),
    Kind("time_uuid", TimeUuid, ValueType.TIME_UUID, _uuid),
    Kind("decimal", Decimal, ValueType.DECIMAL, _decimal),
)
KINDS = (
    *SCALARS,
    Kind("zoned_timestamp", ZonedTimestamp, ValueType.ZONED_TIMESTAMP, _zoned),
    Kind("json", Json, ValueType.JSON, _json),
    Kind("map", Map, ValueType.MAP, _map),
    Kind("scalar_map", ScalarMap, ValueType.SCALAR_MAP, lambda rng: {1: _text(rng), 2: None}),
    Kind("struct", STRUCT, ValueType.STRUCT, _struct),
    Kind("json_list", Array(Json), ValueType.JSON_LIST, _many(_json)),
    Kind("map_list", Array(Map), ValueType.MAP_LIST, _many(_map)),
    Kind("struct_list", Array(STRUCT), ValueType.STRUCT_LIST, _many(_struct)),
    Kind("value_list", Array(Array(Int64)), ValueType.VALUE_LIST, _nested),
    Kind("value_list_of_floats", Array(Array(Float64)), ValueType.VALUE_LIST, _nested_floats),
    Kind("value_list_of_lists", Array(Array(Array(String))), ValueType.VALUE_LIST, _nested_texts),
    Kind("value_set", Set(Array(Int64)), ValueType.VALUE_SET, _nested),
    *(
        Kind(f"{kind.name}_list", Array(kind.feast), ValueType[f"{kind.value_type.name}_LIST"], _many(kind.draw))
        for kind in SCALARS
    ),
    *(
        Kind(f"{kind.name}_set", Set(kind.feast), ValueType[f"{kind.value_type.name}_SET"], _distinct(kind.draw))
        for kind in SCALARS
        if kind.name not in ("float", "double")  # NaN and -0.0 in a Python set tell nothing
    ),
    Kind("double_set", Set(Float64), ValueType.DOUBLE_SET, lambda rng: {rng.random() for _ in range(rng.randrange(3))}),
)


def _stored(kind: Kind, value: Any) -> Any:
    """The Value that Feast makes of a Python value."""
    if kind.name in ("uuid_list", "time_uuid_list", "decimal_list"):
        value = list(value)
    return python_values_to_proto_values([value], kind.value_type)[0]


# ----------------------------------------------------------------------------------------------------------- entities

KEY_POOLS: dict[str, Draw] = {
    "INT64": lambda rng: rng.choice((1001, 1002, 0, -5, 2**63 - 1, -(2**63), 2**53 + 1, *range(1003, 1012))),
    "INT32": lambda rng: rng.choice((7, 8, 0, -1, 2**31 - 1, -(2**31), *range(20, 28))),
    "STRING": lambda rng: rng.choice(
        ("u1", "", "5", "1.5", "True", "é🦊", " u1 ", "None", "1e+16", *map(str, range(8)))
    ),
    "UNIX_TIMESTAMP": lambda rng: rng.choice((0, -1, 1_700_000_000, *range(1_600_000_000, 1_600_000_008))),
}


class Key(NamedTuple):
    """An entity, and the values that its join key is given in the store."""

    entity: Any
    join_key: str
    type_name: str
    pool: list[Any]


def _keys(rng: random.Random) -> list[Key]:
    keys: list[Key] = []
    type_names = ["INT64", "STRING", "INT32", "UNIX_TIMESTAMP", "INT64", "STRING"]
    type_names += rng.choices(type_names, k=rng.randrange(3))
    for place, type_name in enumerate(type_names):
        name = ("driver", "user", "zone", "hour", "customer", "region", "shop", "item")[place]
        join_key = rng.choice((name, f"{name}_id", f"{name}_id", f"{name}.key"))
        if place == 0:
            join_key = "driver_id"  # the on-demand views know it by name
        if place == 5:
            name = keys[1].join_key + "_x"  # an entity called much as another's key
        pool = list(dict.fromkeys(KEY_POOLS[type_name](rng) for _ in range(12)))
        entity = Entity(name=name, join_keys=[join_key], value_type=ValueType[type_name])
        keys.append(Key(entity, join_key, type_name, pool))
    return keys


KEY_TYPES = {"INT64": Int64, "INT32": Int32, "STRING": String, "UNIX_TIMESTAMP": UnixTimestamp}


# -------------------------------------------------------------------------------------------------------------- views


class View(NamedTuple):
    """A view, its keys, the kinds of its features, and its versions where there are several."""

    view: Any
    keys: list[Key]
    kinds: dict[str, Kind]
    versions: tuple[int, ...] = ()


SHARED_NAMES = ("score", "score", "count", "label", "größe", "a:b", "with space", "x__y")


def _views(rng: random.Random, keys: list[Key], folder: Path) -> list[View]:
    queue = list(KINDS)
    rng.shuffle(queue)
    views: list[View] = []
    asked = keys[:-1]  # the last entity has no view: its key is a column like any other, and still echoed
    for place in range(18):
        chosen = rng.sample(asked, rng.choice((1, 1, 1, 1, 2, 2, 3)))
        if place < len(asked):
            chosen = [asked[place]]
        if place in (8, 9):
            chosen = []
        kinds = [queue.pop() if queue else rng.choice(KINDS) for _ in range(rng.randrange(2, 7))]
        names = rng.sample(sorted(set(SHARED_NAMES)), k=min(rng.randrange(3), len(kinds)))
        names += [f"{kind.name}_{place}_{i}" for i, kind in enumerate(kinds[len(names) :])]
        if place == 11:
            chosen = [keys[0]]
            names[0] = keys[2].join_key  # a feature with the name of another entity's key
        view_name = rng.choice((f"view_{place}", f"view_{place}", f"view.{place}", f"VIEW-{place}", f"view_{place}__x"))
        views.append(_view(rng, place, view_name, chosen, dict(zip(names, kinds, strict=True)), folder))
    driver_kinds = {"trips": KINDS[1], "rate": KINDS[3], "city": KINDS[4], "seen": KINDS[7], "quota": KINDS[2]}
    views.append(_view(rng, 0, "driver_stats", [keys[0]], driver_kinds, folder))
    views.append(_view(rng, 0, "pairs", [keys[0], keys[4]], {"points": KINDS[1]}, folder))
    return views + _lots(rng, folder)


def _lots(rng: random.Random, folder: Path) -> list[View]:
    """Views that declare one join key with different types, since its entity has none. A label view says STRING."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has none
        lot = Entity(name="lot", join_keys=["lot_id"])
    numbers = Key(lot, "lot_id", "INT64", list(range(1, 9)))
    texts = Key(lot, "lot_id", "STRING", list(map(str, numbers.pool)))
    batch = FileSource(name="lots_source", path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    labels = LabelView(
        name="lot_labels",
        entities=[lot],
        schema=[Field(name="verdict", dtype=String), Field(name="labeler", dtype=String)],
        source=PushSource(name="lots_push", batch_source=batch),
    )
    views = [View(labels, [texts], {"verdict": KINDS[4], "labeler": KINDS[4]})]
    for name, key, kind in (("lots", numbers, rng.choice(SCALARS)), ("lot_names", texts, KINDS[4])):
        schema = [Field(name=f"{name}_x", dtype=kind.feast), Field(name="lot_id", dtype=KEY_TYPES[key.type_name])]
        view = FeatureView(name=name, entities=[lot], schema=schema, source=batch, ttl=timedelta(0))
        views.append(View(view, [key], {f"{name}_x": kind}))
    rng.shuffle(views)
    return views


def _view(rng: random.Random, place: int, name: str, keys: list[Key], kinds: dict[str, Kind], folder: Path) -> View:
    schema = [Field(name=feature, dtype=kind.feast) for feature, kind in kinds.items()]
    # Where the schema does not name the key, Feast takes the type from the entity.
    schema += [Field(name=key.join_key, dtype=KEY_TYPES[key.type_name]) for key in keys if rng.random() < 0.8]
    batch = FileSource(name=f"{name}_source", path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    arguments: dict[str, Any] = {
        "name": name,
        "entities": [key.entity for key in keys],
        "schema": schema,
        "ttl": rng.choice((timedelta(0), timedelta(seconds=1), timedelta(days=1), None)),
        "online": rng.random() < 0.9,
    }
    if place == 3 or name == "driver_stats":
        source: Any = PushSource(name=f"{name}_push", batch_source=batch)
        return View(FeatureView(source=source, **arguments), keys, kinds)
    if place == 4:
        source = KafkaSource(
            name=f"{name}_kafka",
            kafka_bootstrap_servers="127.0.0.1:1",
            topic="none",
            timestamp_field="event_timestamp",
            batch_source=batch,
            message_format=JsonFormat(schema_json="x string"),
        )
        arguments["ttl"] = arguments["ttl"] or timedelta(days=1)
        return View(StreamFeatureView(source=source, **arguments), keys, kinds)
    if place == 7:
        arguments["schema"].append(Field(name="labeler", dtype=String))
        source = PushSource(name=f"{name}_push", batch_source=batch)
        return View(LabelView(source=source, **arguments), keys, kinds)
    enabled = place != 14
    return View(FeatureView(source=batch, enabled=enabled, **arguments), keys, kinds)


# --------------------------------------------------------------------------------------------------------------- rows


def _rows(rng: random.Random, view: View) -> list[Any]:
    """Rows of a view for most combinations of its keys that can be asked for, as online_write_batch takes them."""
    combinations: list[list[Any]] = [[]]
    for key in view.keys:
        combinations = [[*row, value] for row in combinations for value in key.pool]
    rng.shuffle(combinations)
    rows = []
    for values in combinations[: max(1, min(len(combinations) * ROWS_IN_TEN // 10, 40))]:
        key = EntityKey(
            join_keys=[key.join_key for key in view.keys] or ["__dummy_id"],
            entity_values=[
                Value(**{key.type_name.lower() + "_val": value}) for key, value in zip(view.keys, values, strict=True)
            ]
            or [Value(string_val="")],
        )
        kinds = list(view.kinds.items())
        if rng.random() < 0.2:
            rng.shuffle(kinds)
        cells = {name: _cell(rng, kind) for name, kind in kinds if rng.random() < 0.95}
        rows.append((key, cells, _event_time(rng), None))
    return rows


def _write(store: Any, view: View, rows: list[Any]) -> None:
    store._get_provider().online_write_batch(store.config, view.view, rows, None)


def _write_all(store: Any, rng: random.Random, views: list[View]) -> None:
    """The rows of all views, in three rounds of different orders: the hash of an entity has its fields in any order."""
    rows = [_rows(rng, view) for view in views]
    for part in range(3):
        for place in rng.sample(range(len(views)), len(views)):
            _write(store, views[place], rows[place][part::3])


def _cell(rng: random.Random, kind: Kind) -> Any:
    chance = rng.random()
    if chance < 0.08:
        return Value()
    if chance < 0.1:
        kind = rng.choice(KINDS)  # written before its type was changed
    return _stored(kind, kind.draw(rng))


def _event_time(rng: random.Random) -> datetime:
    moment = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(days=rng.choice((0, 0, 1, 30, 9000)))
    return moment + timedelta(
        seconds=rng.randrange(86_400), microseconds=rng.choice((0, 0, 500_000, 123_000, 123_456, 1, 999_999))
    )


def _new_version(store: Any, rng: random.Random, view: View) -> View:
    """The view with one feature more: Feast keeps the old one as v0, and the new rows under a name of their own."""
    kinds = {**view.kinds, "added": rng.choice(SCALARS)}
    schema = [Field(name=feature, dtype=kind.feast) for feature, kind in kinds.items()]
    schema += [Field(name=key.join_key, dtype=KEY_TYPES[key.type_name]) for key in view.keys]
    changed = FeatureView(
        name=view.view.name,
        entities=[key.entity for key in view.keys],
        schema=schema,
        source=view.view.batch_source,
        ttl=timedelta(days=1),
    )
    store.apply([changed])
    current = View(store.get_feature_view(changed.name), view.keys, kinds, (0, 1))
    _write(store, current, _rows(rng, current))
    return current


def _write_by_frame(store: Any, rng: random.Random, view: View) -> None:
    """The rows of `driver_stats`, by way of a DataFrame."""
    pool = view.keys[0].pool[:-2]
    frame = pd.DataFrame(
        {
            "driver_id": pool,
            "trips": [rng.randrange(1, 50) for _ in pool],
            "rate": [None if rng.random() < 0.2 else rng.random() for _ in pool],
            "city": [rng.choice(("Łódź", "Oslo", None)) for _ in pool],
            "seen": [_moment(rng) for _ in pool],
            "quota": pd.Series([rng.random() for _ in pool], dtype="float32"),
            "event_timestamp": [_event_time(rng) for _ in pool],
        }
    )
    store.write_to_online_store("driver_stats", frame)


# ----------------------------------------------------------------------------------------------------------- services


def _services(rng: random.Random, views: list[View]) -> list[dict[str, Any]]:
    """Services, each with the names and types of the keys that a request must give."""
    services = []
    for place in range(16):
        projections: list[Any] = []
        request_keys: dict[str, str] = {}
        chosen = rng.sample(views, rng.randrange(1, 4))
        if place < 4:  # the same view twice, under two names and two keys
            twice = rng.choice([view for view in views if view.keys and type(view.view) is not LabelView])
            chosen = [twice, twice, *chosen[:1]]
        for number, view in enumerate(chosen):
            projection: Any = view.view
            if rng.random() < 0.5:
                subset = rng.sample(list(view.kinds), rng.randrange(1, len(view.kinds) + 1))
                projection = projection[subset]
            renamed = place < 4 and number < 2 and (number or place)  # unless both are renamed, Feast serves neither
            if renamed or rng.random() < 0.2:
                projection = projection.with_name(f"alias_{place}_{number}")
            mapping = {}
            if (renamed or rng.random() < 0.15) and hasattr(projection, "with_join_key_map"):  # label views do not
                mapping = {key.join_key: f"{rng.choice(('origin', 'dest'))}_{key.join_key}" for key in view.keys}
                projection = projection.with_join_key_map(mapping)
            for key in view.keys:
                request_keys[mapping.get(key.join_key, key.join_key)] = key.join_key
            projections.append(projection)
        service = FeatureService(name=f"service_{place}", features=projections, precompute_online=place == 15)
        services.append({"service": service, "request_keys": request_keys})
    return services


# ---------------------------------------------------------------------------------------------------- on-demand views


def _on_demand(stats: Any, driver: Any, pairs: Any, second_key: str) -> list[dict[str, Any]]:
    """On-demand views over `driver_stats`: every mode and every habit that Feast has with them.

    `pairs` has two join keys, of which `second_key` is asked for as request data as well.
    """
    asked = RequestSource(name="asked", schema=[Field(name="amount", dtype=Int64), Field(name="note", dtype=String)])
    asked_tags = RequestSource(name="asked_tags", schema=[Field(name="tags", dtype=Array(String))])
    asked_key = RequestSource(name="asked_key", schema=[Field(name="driver_id", dtype=Int64)])
    asked_second = RequestSource(name="asked_second", schema=[Field(name=second_key, dtype=Int64)])

    def tagged(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"tag_count": [-1 if tags is None else len(tags) for tags in inputs["tags"]]}

    def keyed(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"with_key": [f"{t}/{key}" for t, key in zip(inputs["trips"], inputs["driver_id"], strict=True)]}

    def paired(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"pair_points": [-1 if points is None else points // 2 for points in inputs["points"]]}

    def in_python(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "py_total": [(t or 0) + a for t, a in zip(inputs["trips"], inputs["amount"], strict=True)],
            "py_note": [f"{c}/{n}" for c, n in zip(inputs["city"], inputs["note"], strict=True)],
        }

    def in_pandas(inputs: pd.DataFrame) -> pd.DataFrame:
        frame = pd.DataFrame()
        frame["pd_double"] = inputs["rate"] * 2
        frame["pd_trips"] = inputs["trips"].fillna(0).astype("int64") + 1
        return frame

    def one_row(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"one_city": str(inputs["city"]), "one_trips": float(inputs["trips"] or 0)}

    def request_only(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"squared": [a * a for a in inputs["amount"]], "many": [[a, a + 1] for a in inputs["amount"]]}

    def raising(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"never": [t if (t or 0) < 25 else 1 // 0 for t in inputs["trips"]]}

    def stored(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"doubled": [(t or 0) * 2 for t in inputs["trips"]]}

    def stored_bare(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"tripled": [(t or 0) * 3 for t in inputs["trips"]]}

    def plain_pandas(inputs: pd.DataFrame) -> pd.DataFrame:
        frame = pd.DataFrame()
        frame["text"] = inputs["city"].fillna("nowhere").astype("string").astype(str)
        frame["when"] = inputs["rate"].fillna(0.0) + 0.5
        return frame

    def define(function: Any, mode: str, schema: list[Any], *, request: bool = True, **more: Any) -> Any:
        sources = more.pop("sources", [stats, asked] if request else [stats])
        return on_demand_feature_view(sources=sources, schema=schema, mode=mode, **more)(function)

    two_texts = [Field(name="py_total", dtype=Int64), Field(name="py_note", dtype=String)]
    two_numbers = [Field(name="pd_double", dtype=Float64), Field(name="pd_trips", dtype=Int64)]
    one_each = [Field(name="one_city", dtype=String), Field(name="one_trips", dtype=Float64)]
    squares = [Field(name="squared", dtype=Int64), Field(name="many", dtype=Array(Int64))]
    texts = [Field(name="text", dtype=String), Field(name="when", dtype=Float64)]
    tags = [Field(name="tag_count", dtype=Int64)]
    with_key = [Field(name="with_key", dtype=String)]
    points = [Field(name="pair_points", dtype=Int64)]
    both = ["amount", "note"]
    defined: list[tuple[Any, list[str], list[str]]] = [
        (define(in_python, "python", two_texts), both, ["driver_id"]),
        (define(in_pandas, "pandas", two_numbers, request=False), [], ["driver_id"]),
        (define(one_row, "python", one_each, request=False, singleton=True), [], ["driver_id"]),
        (define(request_only, "python", squares, sources=[asked]), both, []),
        (define(raising, "python", [Field(name="never", dtype=Int64)], request=False), [], ["driver_id"]),
        (
            define(
                stored,
                "python",
                [Field(name="doubled", dtype=Int64)],
                request=False,
                write_to_online_store=True,
                entities=[driver],
            ),
            [],
            ["driver_id"],
        ),
        (
            define(
                stored_bare,
                "python",
                [Field(name="tripled", dtype=Int64)],
                request=False,
                write_to_online_store=True,
                entities=[],  # nothing can be written to it, but Feast answers for it
            ),
            [],
            ["driver_id"],
        ),
        (define(tagged, "python", tags, sources=[asked_tags]), ["tags"], []),
        (define(keyed, "python", with_key, sources=[stats, asked_key]), [], ["driver_id"]),
        (define(paired, "python", points, sources=[pairs, asked_second]), [], ["driver_id", second_key]),
        (define(plain_pandas, "pandas", texts, request=False), [], ["driver_id"]),
    ]
    return [{"view": view, "asks": asks, "keys": keys} for view, asks, keys in defined]


# --------------------------------------------------------------------------------------------------------------- main


def build(folder: Path, arguments: argparse.Namespace) -> None:
    rng = random.Random(arguments.seed)
    folder.mkdir(parents=True, exist_ok=True)
    store_lines = f'  type: redis\n  connection_string: "127.0.0.1:{arguments.redis_port}"\n'
    if arguments.sqlite:
        store_lines = f"  type: sqlite\n  path: {folder / 'online.db'}\n"
    (folder / "feature_store.yaml").write_text(
        f"project: {PROJECT}\n"
        "provider: local\n"
        "registry:\n"
        f"  path: {folder / 'registry.db'}\n"
        f"  enable_online_feature_view_versioning: {str(arguments.versioning).lower()}\n"
        "online_store:\n"
        f"{store_lines}"
        "offline_store:\n"
        "  type: file\n"
        f"entity_key_serialization_version: {arguments.key_version}\n",
        encoding="utf-8",
    )
    store = FeatureStore(repo_path=str(folder))
    keys = _keys(rng)
    views = _views(rng, keys, folder)
    for view in views if arguments.sqlite else ():
        view.view.online = True  # else there is no table, and reading is a 500
    services = _services(rng, views)
    stats = next(view for view in views if view.view.name == "driver_stats")
    pairs = next(view for view in views if view.view.name == "pairs")
    on_demand = _on_demand(stats.view, keys[0].entity, pairs.view, keys[4].join_key)
    if arguments.sqlite:  # where Feast makes no table for those that are stored
        on_demand = [each for each in on_demand if not each["view"].write_to_online_store]
    every = [each["view"] for each in on_demand]
    for place, chosen in enumerate(([every[0]], every[1:3], [stats.view, every[1]], [every[0].with_name("other")])):
        service = FeatureService(name=f"on_demand_{place}", features=chosen)
        asks = ["amount", "note"] if place in (0, 3) else []
        services.append({"service": service, "request_keys": {"driver_id": "driver_id"}, "asks": asks})
    lots = [view.view for view in views if view.keys and view.keys[0].join_key == "lot_id"]
    for place, chosen in enumerate((lots, lots[::-1], lots[1:])):
        service = FeatureService(name=f"lots_{place}", features=chosen)
        services.append({"service": service, "request_keys": {"lot_id": "lot_id"}})
    store.apply(
        [
            *{key.entity.name: key.entity for view in views for key in (*keys, *view.keys)}.values(),
            *(view.view for view in views),
            *(each["view"] for each in on_demand),
            *(each["service"] for each in services),
        ]
    )
    _write_all(store, rng, [view for view in views if view is not stats])
    _write_by_frame(store, rng, stats)
    if arguments.versioning:
        plain = [place for place, view in enumerate(views) if type(view.view) is FeatureView and view.view.enabled]
        of_entities = [place for place in plain if views[place].view.name not in ("driver_stats", "pairs")]
        for place in rng.sample(of_entities, 3):
            views[place] = _new_version(store, rng, views[place])
        versioned = [view.view.name for view in views if view.versions]
        pinned = FeatureService(name="pinned", features=[f"{name}@v{rng.randrange(2)}" for name in versioned])
        # One view pinned, the others not, and one of them twice.
        mixed = FeatureService(name="pinned_and_not", features=[f"{versioned[0]}@v{rng.randrange(2)}", *versioned])
        store.apply([pinned, mixed])
        request_keys = {key.join_key: key.join_key for view in views for key in view.keys if view.versions}
        services += [{"service": service, "request_keys": request_keys} for service in (pinned, mixed)]
    store.set_feature_view_state(views[16].view.name, FeatureViewState.CREATED)  # and so it cannot be served
    for state in ("CREATED", "GENERATED", "MATERIALIZING", "AVAILABLE_ONLINE"):
        store.set_feature_view_state(views[17].view.name, FeatureViewState[state])
    pool = keys[0].pool[:5]
    frame = pd.DataFrame({"driver_id": pool, "trips": range(5), "event_timestamp": [_event_time(rng) for _ in pool]})
    if not arguments.sqlite:
        store.write_to_online_store("stored", frame)
    manifest = {
        "seed": arguments.seed,
        "keys": {
            key.join_key: {"entity": key.entity.name, "type": key.type_name, "pool": key.pool}
            for key in (*keys, *(key for view in views for key in view.keys if key.join_key == "lot_id"))
        },
        "views": [
            {
                "name": view.view.name,
                "keys": [key.join_key for key in view.keys],
                "features": {name: kind.name for name, kind in view.kinds.items()},
                "enabled": getattr(view.view, "enabled", True),
                "versions": view.versions,
            }
            for view in views
        ],
        "services": [
            {
                "name": each["service"].name,
                "keys": each["request_keys"],
                "asks": each.get("asks", []),
            }
            for each in services
        ],
        "on_demand": [
            {
                "name": each["view"].name,
                "features": [field.name for field in each["view"].features],
                "keys": each["keys"],
                "asks": each["asks"],
            }
            for each in on_demand
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--key-version", type=int, default=3)
    parser.add_argument("--versioning", action="store_true")
    parser.add_argument("--sqlite", action="store_true", help="in place of Redis")
    arguments = parser.parse_args()
    build(arguments.folder.resolve(), arguments)


if __name__ == "__main__":
    main()
