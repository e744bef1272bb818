"""The repositories that Feast has written for `feast_breaks.py`, loaded into a Valkey, a cluster or a file."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from tests.clusters import Cluster
from tests.harness import Valkey
from yummy_fast.config.settings import Config
from yummy_fast.diagnosis.question import Question, ask
from yummy_fast.feast_format.registry import Registry, parse_registry
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.redis_slots import slot_of

RECORDED = Path(__file__).parent / "recorded"
EXPIRY_S = 3_000
"""Whatever Redis removes by itself, it does not while a test runs."""

CAUSES = {
    "added_feature": "added_feature",
    "collision": "collision",
    "entityless_push": "entityless_push",
    "expired": "expired",
    "fewer_join_keys": "join_keys",
    "int32_key": "join_key_type",
    "key_version": "key_version",
    "more_join_keys": "join_keys",
    "never_materialized": "never_materialized",
    "other_db": "other_db",
    "other_project": "other_project",
    "redis_expiry": "redis_expiry",
    "renamed_join_key": "join_keys",
    "renamed_view": "renamed_view",
    "sound": "present",
    "stored_null": "stored_null",
    "text_key": "join_key_type",
    "unknown_entity": "unknown_entity",
    "wrong_redis": "wrong_redis",
}
"""Recorded repository -> the cause that `explain` has to name: what feast_breaks.py did to it."""


class Recorded(NamedTuple):
    """One recorded repository, in a folder of its own, and its data in a Valkey."""

    folder: Path
    config: Config
    about: str
    entities: dict[str, Any]

    @property
    def arguments(self) -> list[str]:
        """Its question, as the command line has it."""
        return [self.about, *(f"{name}={value}" for name, value in self.entities.items())]

    def registry(self) -> Registry:
        return parse_registry((self.folder / "registry.db").read_bytes(), "rides", "registry.db")

    def question(self) -> Question:
        return ask(self.registry(), self.about, self.entities, key_version=3, versioning=False)


def load(name: str, folder: Path, valkey: Valkey) -> Recorded:
    """Empty the Valkey, fill it with what is recorded, and make the reader's repository in `folder`."""
    recorded = RECORDED / name
    valkey.do("FLUSHALL")
    for line in (recorded / "store.jsonl").read_text().splitlines():
        row = json.loads(line)
        key = bytes.fromhex(row["key"])
        valkey.do("HSET", key, *(bytes.fromhex(part) for item in row["hash"].items() for part in item), db=row["db"])
        if row["expires"]:
            valkey.do("EXPIRE", key, EXPIRY_S, db=row["db"])
    return _reader(name, folder, f"127.0.0.1:{valkey.port}")


def load_cluster(name: str, folder: Path, cluster: Cluster) -> Recorded:
    """As `load`, of a Redis Cluster."""
    cluster.empty()
    rows = [json.loads(line) for line in (RECORDED / name / "store.jsonl").read_text().splitlines()]
    records = {
        bytes.fromhex(row["key"]): [bytes.fromhex(part) for item in row["hash"].items() for part in item]
        for row in rows
    }
    if records:
        cluster.write(records)
    for row in rows:
        if row["expires"]:
            key = bytes.fromhex(row["key"])
            cluster.primary_of(slot_of(key)).do("EXPIRE", key, EXPIRY_S)
    recorded = _reader(name, folder, cluster.addresses)
    yaml = folder / "feature_store.yaml"
    yaml.write_text(yaml.read_text().replace("type: redis", "type: redis\n  redis_type: redis_cluster"))
    return recorded._replace(config=load_config(chdir=str(folder), environ={}))


SQLITE_CAUSES = {
    name: cause
    for name, cause in CAUSES.items()
    if name not in ("other_db", "redis_expiry")  # which SQLite does not have
} | {"collision": "present", "wrong_redis": "wrong_file"}
"""As CAUSES, of a file: SQLite keeps the names of features, which therefore never collide."""


def load_sqlite(name: str, folder: Path) -> Recorded:
    """As `load`, of a file of SQLite."""
    recorded = _reader(name, folder, "localhost:6379")
    with contextlib.closing(sqlite3.connect(folder / "online.db")) as connection:
        connection.executescript((RECORDED / name / "online.sql").read_text())
    yaml = folder / "feature_store.yaml"
    block = "online_store:\n  type: sqlite\n  path: online.db\n"
    yaml.write_text(re.sub(r"online_store:\n(?:  .*\n)+", block, yaml.read_text()))
    return recorded._replace(config=load_config(chdir=str(folder), environ={}))


def _reader(name: str, folder: Path, address: str) -> Recorded:
    """The reader's repository in `folder`."""
    recorded = RECORDED / name
    folder.mkdir(exist_ok=True)
    text = (recorded / "feature_store.yaml").read_text()
    (folder / "feature_store.yaml").write_text(text.replace("localhost:6379", address))
    (folder / "registry.db").write_bytes((recorded / "registry.db").read_bytes())
    question = json.loads((recorded / "question.json").read_text())
    return Recorded(folder, load_config(chdir=str(folder), environ={}), question["about"], question["entities"])
