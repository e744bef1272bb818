"""Writes tests/diagnosis/written with Feast's own SDK. Runs in Feast's virtual environment only; needs a Redis.

    python tests/diagnosis/record.py REDIS_PORT

Each folder is one repository, as `feast apply` and `materialize` have left it: feature_store.yaml, registry.db, and the
store's content, online.db or store.jsonl (one line for each Redis key, bytes in hex).

The project is called zürich. Of its views, `stats` and `profile` were materialized, and declare their common join key
as INT64 and STRING; `empty` and `pushed` have no rows; `archive` is not for online reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import redis
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

WRITTEN = Path(__file__).resolve().parent / "written"
MOMENT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def objects(folder: Path) -> list[Any]:
    """Everything that is applied."""
    frame = pd.DataFrame({"driver_id": [1001, 1002], "trips": [7, 8], "event_timestamp": [MOMENT, MOMENT]})
    frame.to_parquet(folder / "stats.parquet")
    names = frame.assign(driver_id=["1001", "1002"], nick=["a", "b"]).drop(columns="trips")
    names.to_parquet(folder / "profile.parquet")
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    named = Entity(name="named_driver", join_keys=["driver_id"], value_type=ValueType.STRING)

    def source(name: str) -> FileSource:
        return FileSource(name=f"{name}_source", path=f"{name}.parquet", timestamp_field="event_timestamp")

    def view(name: str, source: Any, *schema: Field, entity: Entity = driver, **options: Any) -> FeatureView:
        return FeatureView(
            name=name, entities=[entity], ttl=timedelta(days=3650), schema=list(schema), source=source, **options
        )

    stats_source = source("stats")
    trips, key = Field(name="trips", dtype=Int64), Field(name="driver_id", dtype=Int64)
    stats = view("stats", stats_source, trips, key)
    nick, text_key = Field(name="nick", dtype=String), Field(name="driver_id", dtype=String)
    profile = view("profile", source("profile"), nick, text_key, entity=named)
    empty = view("empty", stats_source, trips, key)
    pushed = view("pushed", PushSource(name="pushes", batch_source=stats_source), trips, key)
    archive = view("archive", stats_source, trips, key, online=False)

    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[stats, RequestSource(name="offer", schema=[Field(name="amount", dtype=Float64)])],
        schema=[Field(name="bonus", dtype=Float64)],
        mode="python",
    )
    def bonus(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "bonus": [(trips or 0) + amount for trips, amount in zip(inputs["trips"], inputs["amount"], strict=True)]
        }

    services = [
        FeatureService(name="z_trips", features=[stats]),
        FeatureService(name="both", features=[stats, profile]),
        FeatureService(
            name="twice",
            features=[
                stats.with_name("origin").with_join_key_map({"driver_id": "origin_id"}),
                stats.with_name("goal").with_join_key_map({"driver_id": "goal_id"}),
            ],
        ),
        FeatureService(name="offers", features=[bonus]),
        FeatureService(name="a_empty", features=[empty]),
    ]
    return [driver, named, stats, profile, empty, pushed, archive, bonus, *services]


def write(name: str, online_store: str, key_version: int) -> None:
    """Make one repository in WRITTEN."""
    target = WRITTEN / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "feature_store.yaml").write_text(
        f"project: zürich\nprovider: local\nregistry: registry.db\nonline_store:\n{online_store}"
        f"offline_store:\n  type: file\nentity_key_serialization_version: {key_version}\n"
    )
    with tempfile.TemporaryDirectory() as made, contextlib.chdir(made):
        folder = Path(made)
        for given in target.iterdir():
            shutil.copy(given, folder)
        store = FeatureStore(repo_path=str(folder))
        store.apply(objects(folder))
        store.materialize(MOMENT - timedelta(days=1), MOMENT + timedelta(hours=1), feature_views=["stats", "profile"])
        for file in ("registry.db", "online.db"):
            if (folder / file).exists():
                # A pickled function has the path of its file; of the same length, so that the pickle stays one.
                path = os.fsencode(__file__)
                data = (folder / file).read_bytes().replace(path, b"record.py".rjust(len(path), b"_"))
                (target / file).write_bytes(data)


def main() -> None:
    port = int(sys.argv[1])
    client: Any = redis.Redis(port=port)
    for name, version in (("redis", 3), ("redis_v2", 2)):
        client.flushall()
        write(name, f"  type: redis\n  connection_string: localhost:{port}\n", version)
        with open(WRITTEN / name / "store.jsonl", "w", encoding="utf-8") as lines:
            for key in sorted(client.scan_iter()):
                fields = {field.hex(): value.hex() for field, value in client.hgetall(key).items()}
                lines.write(json.dumps({"key": key.hex(), "hash": fields}) + "\n")
        yaml = WRITTEN / name / "feature_store.yaml"
        yaml.write_text(yaml.read_text().replace(f"localhost:{port}", "localhost:6379"))
    write("sqlite", "  type: sqlite\n  path: online.db\n", 3)


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"  # Feast writes the times of SQLite in local time
    main()
