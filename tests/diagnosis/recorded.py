"""The repositories that Feast has written for `feast_breaks.py`, loaded into a Valkey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tests.harness import Valkey
from yummy_fast.config.settings import Config
from yummy_fast.diagnosis.question import Question, ask
from yummy_fast.feast_format.registry import Registry, parse_registry
from yummy_fast.sources.yaml_text import load_config

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
    folder.mkdir(exist_ok=True)
    text = (recorded / "feature_store.yaml").read_text()
    (folder / "feature_store.yaml").write_text(text.replace("localhost:6379", f"127.0.0.1:{valkey.port}"))
    (folder / "registry.db").write_bytes((recorded / "registry.db").read_bytes())
    question = json.loads((recorded / "question.json").read_text())
    return Recorded(folder, load_config(chdir=str(folder), environ={}), question["about"], question["entities"])
