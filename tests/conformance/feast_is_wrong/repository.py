"""Builds the repository of this folder with Feast's own SDK: each part of it is something that Feast answers wrongly.

    python repository.py FOLDER [--redis-port PORT]

Runs in Feast's venv only; record.py runs it. FOLDER gets feature_store.yaml and registry.db, and the Valkey at PORT the
rows; without a port, online_store.db in FOLDER, a file of SQLite. Every byte in both comes from Feast (`apply`, `push`,
`write_to_online_store`, `online_write_batch`), so nothing that we believe about its formats can slip in. What the right
answers are is not said here: test_feast_is_wrong.py reasons about them.
"""

from __future__ import annotations

import argparse
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RequestSource
from feast.labeling.label_view import LabelView
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Array, Float64, Int64, ScalarMap, String
from feast.value_type import ValueType

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SECOND_DAY = FIRST_DAY + timedelta(days=1)


def batch(name: str) -> FileSource:
    return FileSource(name=f"{name}_batch", path="none.parquet", timestamp_field="event_timestamp")


def view(name: str, entities: list[Entity], *schema: Field, pushed: bool = False) -> FeatureView:
    source: Any = batch(name)
    if pushed:
        source = PushSource(name=f"{name}_push", batch_source=source)
    return FeatureView(name=name, entities=entities, schema=list(schema), source=source, ttl=timedelta(0))


def number(name: str) -> Field:
    return Field(name=name, dtype=Int64)


def text(name: str) -> Field:
    return Field(name=name, dtype=String)


def key_of(**values: Any) -> EntityKey:
    """An entity key as Feast's own writers make it."""
    made = [Value(string_val=value) if isinstance(value, str) else Value(int64_val=value) for value in values.values()]
    return EntityKey(join_keys=list(values), entity_values=made)


def write(store: FeatureStore, view_name: str, key: EntityKey, when: datetime, **features: Any) -> None:
    """Write a row as a materialization does."""
    found = store.get_feature_view(view_name)
    kinds = {field.name: field.dtype.to_value_type() for field in found.features}
    cells = {name: python_values_to_proto_values([value], kinds[name])[0] for name, value in features.items()}
    store._get_provider().online_write_batch(store.config, found, [(key, cells, when, None)], None)


driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
shop = Entity(name="shop", join_keys=["shop_id"])  # without a type, as in Feast's own template: views declare it
account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)


def versions(store: FeatureStore) -> None:
    """Views that were applied again with another feature, and services and on-demand views that pin no version."""
    old = view("stats", [driver], number("driver_id"), number("a"))
    trips = view("trips", [driver], number("driver_id"), number("km"))
    pushed = view("pushed", [driver], number("driver_id"), number("p"), pushed=True)

    def twice(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"twice": [None if a is None else 2 * a for a in inputs["a"]]}

    doubled = on_demand_feature_view(sources=[old], schema=[number("twice")], mode="python")(twice)
    store.apply(
        [driver, old, trips, pushed, doubled, FeatureService(name="svc", features=[old])],
    )
    for name, features in (("stats", {"a": 100}), ("trips", {"km": 7}), ("pushed", {"p": 30})):
        write(store, name, key_of(driver_id=1), FIRST_DAY, **features)
    new = view("stats", [driver], number("driver_id"), number("a"), number("b"))
    store.apply([new, view("pushed", [driver], number("driver_id"), number("p"), number("q"), pushed=True)])
    write(store, "stats", key_of(driver_id=1), SECOND_DAY, a=101, b=201)
    frame = pd.DataFrame({"driver_id": [1], "p": [31], "q": [41], "event_timestamp": [SECOND_DAY]})
    store.push("pushed_push", frame)
    current = store.get_feature_view("stats")
    store.apply(
        [
            FeatureService(name="svc", features=[current]),
            FeatureService(
                name="with_alias", features=[current.with_name("renamed"), store.get_feature_view("pushed")]
            ),
            FeatureService(name="computed", features=[store.get_on_demand_feature_view("twice")]),
            FeatureService(name="pinned_and_not", features=["stats@v0", "pushed", "trips"]),
        ]
    )


def maps(store: FeatureStore) -> None:
    """Maps whose keys are no text."""
    schema = [number("driver_id"), Field(name="m", dtype=ScalarMap), Field(name="of_keys", dtype=ScalarMap)]
    schema += [Field(name="nested", dtype=ScalarMap)]
    stored = view("maps", [driver], *schema)

    def count(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"computed_map": [{1: "one", 2.5: None} for _ in inputs["distance"]]}

    rides = view("rides", [driver], number("driver_id"), number("distance"))
    counted = on_demand_feature_view(
        sources=[rides], schema=[Field(name="computed_map", dtype=ScalarMap)], mode="python"
    )(count)
    store.apply([stored, rides, counted])
    keys = {
        True: 1,
        2.5: "x",
        Decimal("1.50"): [1, 2],
        uuid.UUID(int=5): True,
        b"\xff": 2.5,
        datetime(2026, 1, 1, tzinfo=UTC): "when",
    }
    nested = {7: {8: "deep"}}
    features = {"m": {1: "a", 2: 5}, "of_keys": keys, "nested": nested}
    write(store, "maps", key_of(driver_id=1), FIRST_DAY, **features)


def singletons(store: FeatureStore) -> None:
    """Functions that are called for one row."""
    stored = view("rides", [driver], number("driver_id"), number("distance"))

    def one(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"longer": (inputs["distance"] or 0) + 1, "pair": [inputs["distance"], 0]}

    def frame(inputs: pd.DataFrame) -> pd.DataFrame:
        made = pd.DataFrame()
        made["half"] = inputs["distance"] / 2
        return made

    def constant(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"always": 5}

    pair = [number("longer"), Field(name="pair", dtype=Array(Int64))]
    store.apply(
        [
            stored,
            on_demand_feature_view(sources=[stored], schema=pair, mode="python", singleton=True)(one),
            on_demand_feature_view(sources=[stored], schema=[Field(name="half", dtype=Float64)], mode="pandas")(frame),
            on_demand_feature_view(sources=[stored], schema=[number("always")], mode="python")(constant),
        ]
    )
    for driver_id, distance in ((1, 10), (2, 20)):
        write(store, "rides", key_of(driver_id=driver_id), FIRST_DAY, distance=distance)


def without_entities(store: FeatureStore) -> None:
    """Views without entities: what is pushed to them, Feast writes under another key than it reads."""
    names = ("pushed_last", "pushed_first", "only_pushed")
    views = [view(name, [], number(f"{name}_n"), text(f"{name}_t"), pushed=True) for name in names]
    store.apply([*views, FeatureService(name="without", features=views)])
    dummy = key_of(__dummy_id="")
    for name, materialized, pushed in (
        ("pushed_last", FIRST_DAY, SECOND_DAY),
        ("pushed_first", SECOND_DAY, FIRST_DAY),
        ("only_pushed", None, FIRST_DAY),
    ):
        if materialized is not None:
            write(store, name, dummy, materialized, **{f"{name}_n": 1, f"{name}_t": "materialized"})
        frame = pd.DataFrame({f"{name}_n": [2], f"{name}_t": ["pushed"], "event_timestamp": [pushed]})
        store.push(f"{name}_push", frame)


def request_data(store: FeatureStore) -> None:
    """Request data with the names of join keys, and with types that JSON alone does not tell."""
    stored = view("fares", [driver], number("driver_id"), number("fare"))
    both = view("loyalty", [driver, customer], number("driver_id"), number("customer_id"), number("points"))
    asks_key = RequestSource(name="asks_key", schema=[number("driver_id")])
    asks_one = RequestSource(name="asks_one", schema=[number("customer_id")])
    asks_tags = RequestSource(name="asks_tags", schema=[Field(name="tags", dtype=Array(String)), text("note")])
    asks_number = RequestSource(name="asks_number", schema=[Field(name="factor", dtype=Float64)])

    def shout(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"sum": [fare + key for fare, key in zip(inputs["fare"], inputs["driver_id"], strict=True)]}

    def earn(inputs: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(inputs["points"], inputs["customer_id"], strict=True)
        return {"earned": [-1 if points is None else points + key for points, key in pairs]}

    def tag(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"tag_count": [len(tags or ()) for tags in inputs["tags"]]}

    def scale(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"scaled": [factor * 2.0 for factor in inputs["factor"]]}

    store.apply(
        [
            customer,
            stored,
            both,
            on_demand_feature_view(sources=[stored, asks_key], schema=[number("sum")], mode="python")(shout),
            on_demand_feature_view(sources=[both, asks_one], schema=[number("earned")], mode="python")(earn),
            on_demand_feature_view(sources=[asks_tags], schema=[number("tag_count")], mode="python")(tag),
            on_demand_feature_view(sources=[asks_number], schema=[Field(name="scaled", dtype=Float64)], mode="python")(
                scale
            ),
        ]
    )
    write(store, "fares", key_of(driver_id=1), FIRST_DAY, fare=50)
    write(store, "loyalty", key_of(driver_id=1, customer_id=9), FIRST_DAY, points=70)


def key_types(store: FeatureStore) -> None:
    """Views that declare a join key with different types. A label view takes STRING where nothing else is said."""
    sales = view("sales", [shop], number("shop_id"), number("sold"))
    names = view("names", [shop], text("shop_id"), text("title"))
    labels = LabelView(
        name="labels",
        entities=[shop],
        schema=[text("verdict"), text("labeler")],
        source=PushSource(name="labels_push", batch_source=batch("labels")),
    )
    store.apply(
        [
            *(shop, sales, names, labels),
            FeatureService(name="number_last", features=[names, sales]),
            FeatureService(name="text_last", features=[sales, names]),
            FeatureService(name="labelled", features=[sales, labels]),
        ]
    )
    write(store, "sales", key_of(shop_id=5), FIRST_DAY, sold=12)
    write(store, "names", key_of(shop_id="5"), FIRST_DAY, title="corner")
    frame = pd.DataFrame({"shop_id": ["5"], "verdict": ["good"], "labeler": ["anna"], "event_timestamp": [FIRST_DAY]})
    store.push("labels_push", frame)


def others(store: FeatureStore) -> None:
    """An entity that no view above has: no error about them may name it."""
    store.apply([account, view("accounts", [account], text("account_id"), number("balance"))])
    write(store, "accounts", key_of(account_id="x"), FIRST_DAY, balance=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--redis-port", type=int)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    online_store = f"  type: redis\n  connection_string: localhost:{arguments.redis_port}\n"
    if arguments.redis_port is None:
        online_store = f"  type: sqlite\n  path: {folder}/online_store.db\n"
    (folder / "feature_store.yaml").write_text(
        "project: wrong\n"
        "provider: local\n"
        "registry:\n"
        f"  path: {folder}/registry.db\n"
        "  enable_online_feature_view_versioning: true\n"
        "online_store:\n"
        f"{online_store}"
        "offline_store:\n"
        "  type: file\n"
        "entity_key_serialization_version: 3\n",
        encoding="utf-8",
    )
    store = FeatureStore(repo_path=str(folder))
    for part in (versions, maps, singletons, without_entities, request_data, key_types, others):
        part(store)


if __name__ == "__main__":
    main()
