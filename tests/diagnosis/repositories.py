"""The repositories that record.py has had Feast write, for a store of the test's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.harness import Valkey

WRITTEN = Path(__file__).resolve().parent / "written"


def written(folder: Path, name: str, port: int = 6379, options: str = "") -> Path:
    """A copy of one of them, with the address of its Redis."""
    shutil.copytree(WRITTEN / name, folder)
    file = folder / "feature_store.yaml"
    file.write_text(file.read_text().replace("localhost:6379", f"127.0.0.1:{port}{options}"))
    return folder


def load(valkey: Valkey, name: str, *, db: int = 0) -> None:
    """Have a Redis hold what Feast has written for one of them."""
    for line in (WRITTEN / name / "store.jsonl").read_text().splitlines():
        record = json.loads(line)
        fields = [bytes.fromhex(text) for pair in record["hash"].items() for text in pair]
        valkey.do("HSET", bytes.fromhex(record["key"]), *fields, db=db)


def replace(folder: Path, old: str, new: str) -> None:
    """Change a repository's feature_store.yaml."""
    file = folder / "feature_store.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
