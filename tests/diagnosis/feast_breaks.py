"""Has Feast write repositories whose features are null, each for another reason. Runs in Feast's own venv.

    TZ=UTC python feast_breaks.py FOLDER [--redis-port PORT]

FOLDER gets a folder for each of them, with what a reader has: feature_store.yaml, registry.db, store.jsonl (what is in
Redis: a line a key, with its database, bytes in hex), and question.json (the view or feature, and the key values, that
somebody wonders about). The rule: registry and store are written by Feast (`apply`, `write_to_online_store`, `push`);
what is broken is broken by writing with one repository and reading with another, as it happens to people.

PORT is a Redis with nothing in it; it is emptied before each repository. Without it, Feast writes to SQLite instead,
and what each reader's file has is written to online.sql, beside the files that are there already. What stands in
tests/diagnosis/recorded was written by this, with Feast 0.67.0. Names of features that collide in murmur3 are found by
trying.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mmh3
import pandas as pd
import redis
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Float64, Int32, Int64, String

MOMENT = datetime(2026, 3, 1, 10, tzinfo=UTC)
"""When everything happened that is stored."""


class Broken:
    """One repository: what its writer and its reader have, and the question."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self.client: Any = redis.Redis(port=port)
        self.client.flushall()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def repository(self, *objects: Any, reads: bool = False, **changes: Any) -> FeatureStore:
        """A repository with these objects applied. What `reads` is kept."""
        folder = self._folder if reads else Path(tempfile.mkdtemp(prefix="writer-"))
        db = changes.pop("db", 0)
        online_store = {**self._online_store(db), **changes.pop("online_store", {})}
        config = {
            "project": "rides",
            "provider": "local",
            "registry": "registry.db",
            "online_store": online_store,
            "offline_store": {"type": "file"},
            "entity_key_serialization_version": 3,
            **changes,
        }
        (folder / "feature_store.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        store = FeatureStore(repo_path=str(folder))
        store.apply(list(objects))
        return store

    def _online_store(self, db: int) -> dict[str, Any]:
        address = f"localhost:{self._port}" + (f",db={db}" if db else "")
        return {"type": "redis", "connection_string": address}

    def asks(self, view: str, **entities: Any) -> None:
        (self._folder / "question.json").write_text(json.dumps({"about": view, "entities": entities}) + "\n")

    def record(self) -> None:
        lines = []
        for name in sorted(self.client.info("keyspace")):
            db = int(name.removeprefix("db"))
            client: Any = redis.Redis(port=self._port, db=db)
            for key in sorted(client.scan_iter()):
                fields = {field.hex(): value.hex() for field, value in sorted(client.hgetall(key).items())}
                lines.append(json.dumps({"db": db, "key": key.hex(), "expires": client.ttl(key) > 0, "hash": fields}))
        (self._folder / "store.jsonl").write_text("".join(f"{line}\n" for line in lines))
        path = self._folder / "feature_store.yaml"
        path.write_text(path.read_text().replace(f"localhost:{self._port}", "localhost:6379"))


class BrokenFile(Broken):
    """The same on SQLite: writer and reader share a file."""

    def __init__(self, folder: Path) -> None:
        self._kept = folder
        self._folder = Path(tempfile.mkdtemp(prefix="reader-"))
        self._file = self._folder / "online.db"

    def _online_store(self, db: int) -> dict[str, Any]:
        return {"type": "sqlite", "path": str(self._file)}

    def record(self) -> None:
        with contextlib.closing(sqlite3.connect(self._file)) as connection:
            lines = list(connection.iterdump())
        (self._kept / "online.sql").write_text("".join(f"{line}\n" for line in lines))


def entity(name: str, kind: ValueType = ValueType.INT64, join_key: str = "") -> Entity:
    return Entity(name=name, join_keys=[join_key or f"{name}_id"], value_type=kind)


def view(
    name: str,
    entities: list[Entity],
    fields: dict[str, Any] | None = None,
    *,
    keys: dict[str, Any] | None = None,
    ttl_days: int = 0,
    source: Any = None,
) -> FeatureView:
    features = {"trips": Int64, "rating": Float64} if fields is None else fields
    keys = {one.join_key: Int64 for one in entities} if keys is None else keys
    return FeatureView(
        name=name,
        entities=entities,
        schema=[Field(name=field, dtype=dtype) for field, dtype in {**keys, **features}.items()],
        source=source or FileSource(name=f"{name}_source", path=f"{name}.parquet", timestamp_field="event_timestamp"),
        ttl=timedelta(days=ttl_days),
    )


def rows(**columns: Any) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({**columns, "event_timestamp": [MOMENT] * count})


DRIVER = entity("driver")
STATS = view("stats", [DRIVER])
ROWS = rows(driver_id=[1001, 1002], trips=[11, 12], rating=[4.5, 4.0])


def other_db(broken: Broken) -> None:
    broken.repository(DRIVER, STATS, db=3).write_to_online_store("stats", df=ROWS)
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def other_project(broken: Broken) -> None:
    broken.repository(DRIVER, STATS, project="staging").write_to_online_store("stats", df=ROWS)
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def key_version(broken: Broken) -> None:
    broken.repository(DRIVER, STATS, entity_key_serialization_version=2).write_to_online_store("stats", df=ROWS)
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def text_key(broken: Broken) -> None:
    driver = entity("driver", ValueType.STRING)
    stats = view("stats", [driver], keys={"driver_id": String})
    broken.repository(driver, stats).write_to_online_store("stats", df=ROWS.astype({"driver_id": str}))
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def int32_key(broken: Broken) -> None:
    driver = entity("driver", ValueType.INT32)
    stats = view("stats", [driver], keys={"driver_id": Int32})
    broken.repository(driver, stats).write_to_online_store("stats", df=ROWS)
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def fewer_join_keys(broken: Broken) -> None:
    """Written by driver alone, read by driver and city."""
    city = entity("city")
    broken.repository(DRIVER, STATS).write_to_online_store("stats", df=ROWS)
    broken.repository(DRIVER, city, view("stats", [DRIVER, city]), reads=True)
    broken.asks("stats:trips", driver_id=1001, city_id=7)


def more_join_keys(broken: Broken) -> None:
    """Written by driver and city, read by driver alone."""
    city = entity("city")
    written = rows(driver_id=[1001, 1002], city_id=[7, 7], trips=[11, 12], rating=[4.5, 4.0])
    broken.repository(DRIVER, city, view("stats", [DRIVER, city])).write_to_online_store("stats", df=written)
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def renamed_join_key(broken: Broken) -> None:
    driver = entity("driver", join_key="driver")
    written = ROWS.rename(columns={"driver_id": "driver"})
    broken.repository(driver, view("stats", [driver])).write_to_online_store("stats", df=written)
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def renamed_view(broken: Broken) -> None:
    broken.repository(DRIVER, STATS).write_to_online_store("stats", df=ROWS)
    broken.repository(DRIVER, view("driver_stats", [DRIVER]), reads=True)
    broken.asks("driver_stats:trips", driver_id=1001)


def collision(broken: Broken) -> None:
    seen: dict[int, str] = {}
    for number in range(1_000_000):
        name = f"f{number}"
        other = seen.setdefault(mmh3.hash(f"stats:{name}"), name)
        if other != name:
            break
    stats = view("stats", [DRIVER], {other: Int64, name: String})
    written = rows(driver_id=[1001], **{other: [11], name: ["eleven"]})
    broken.repository(DRIVER, stats, reads=True).write_to_online_store("stats", df=written)
    broken.asks(f"stats:{other}", driver_id=1001)


def never_materialized(broken: Broken) -> None:
    store = broken.repository(DRIVER, STATS, view("profile", [DRIVER], {"age": Int64}), reads=True)
    store.write_to_online_store("stats", df=ROWS)
    broken.asks("profile:age", driver_id=1001)


def entityless_push(broken: Broken) -> None:
    batch = FileSource(name="weather_batch", path="weather.parquet", timestamp_field="event_timestamp")
    push = PushSource(name="weather_push", batch_source=batch)
    weather = view("weather", [], {"rain": Float64}, source=push)
    store = broken.repository(weather, reads=True)
    store.push("weather_push", rows(rain=[0.5]))
    broken.asks("weather:rain")


def expired(broken: Broken) -> None:
    store = broken.repository(DRIVER, view("stats", [DRIVER], ttl_days=1), reads=True)
    store.write_to_online_store("stats", df=ROWS)
    broken.asks("stats:trips", driver_id=1001)


def stored_null(broken: Broken) -> None:
    written = rows(driver_id=[1001, 1002], trips=pd.array([None, 12], dtype="Int64"), rating=[4.5, 4.0])
    broken.repository(DRIVER, STATS, reads=True).write_to_online_store("stats", df=written)
    broken.asks("stats:trips", driver_id=1001)


def added_feature(broken: Broken) -> None:
    broken.repository(DRIVER, STATS).write_to_online_store("stats", df=ROWS)
    wider = view("stats", [DRIVER], {"trips": Int64, "rating": Float64, "tips": Float64})
    broken.repository(DRIVER, wider, reads=True)
    broken.asks("stats:tips", driver_id=1001)


def unknown_entity(broken: Broken) -> None:
    broken.repository(DRIVER, STATS, reads=True).write_to_online_store("stats", df=ROWS)
    broken.asks("stats:trips", driver_id=2000)


def redis_expiry(broken: Broken) -> None:
    """key_ttl_seconds: the row of 1001 has gone by itself, which its expiry is shortened for here."""
    store = broken.repository(DRIVER, STATS, reads=True, online_store={"key_ttl_seconds": 3600})
    store.write_to_online_store("stats", df=ROWS)
    for key in list(broken.client.scan_iter()):
        if (1001).to_bytes(8, "little") in key:
            broken.client.delete(key)
    broken.asks("stats:trips", driver_id=1001)


def wrong_redis(broken: Broken) -> None:
    """The reader's Redis is another one: it has nothing of Feast's."""
    broken.repository(DRIVER, STATS, reads=True)
    broken.asks("stats:trips", driver_id=1001)


def sound(broken: Broken) -> None:
    broken.repository(DRIVER, STATS, reads=True).write_to_online_store("stats", df=ROWS)
    broken.asks("stats:trips", driver_id=1001)


CASES: dict[str, Callable[[Broken], None]] = {
    case.__name__: case
    for case in (
        *(other_db, other_project, key_version, text_key, int32_key, fewer_join_keys, more_join_keys),
        *(renamed_join_key, renamed_view, collision, never_materialized, entityless_push, expired, stored_null),
        *(added_feature, unknown_entity, redis_expiry, wrong_redis, sound),
    )
}


NEEDS_REDIS = ("other_db", "redis_expiry")
"""What SQLite does not have."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--redis-port", type=int)
    arguments = parser.parse_args()
    for name, make in CASES.items():
        folder = arguments.folder / name
        if not arguments.redis_port and name in NEEDS_REDIS:
            continue
        broken = Broken(folder, arguments.redis_port) if arguments.redis_port else BrokenFile(folder)
        make(broken)
        broken.record()


if __name__ == "__main__":
    main()
