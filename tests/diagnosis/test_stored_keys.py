"""Which version wrote a key: keys that Feast wrote, and what is none."""

from __future__ import annotations

import json

import pytest

from tests.diagnosis.repositories import WRITTEN
from tests.harness import CORPUS
from yummy_fast.diagnosis.stored_keys import key_versions
from yummy_fast.feast_format.keys import entity_key_header, key_value_encoder
from yummy_fast.feast_format.values import ValueType

KNOWN = (("__dummy_id",), ("customer_id",), ("customer_id", "driver_id"), ("driver_id",), ("zone",), ("zone_id",))


@pytest.mark.parametrize(
    ("folder", "project", "version"),
    [
        (CORPUS / "redis", "corpus", 3),
        (CORPUS / "redis_v2", "corpus", 2),
        (WRITTEN / "redis", "zürich", 3),
        (WRITTEN / "redis_v2", "zürich", 2),
    ],
    ids=str,
)
def test_keys_that_feast_wrote(folder, project: str, version: int) -> None:  # type: ignore[no-untyped-def]
    lines = (folder / "store.jsonl").read_text().splitlines()
    keys = [bytes.fromhex(json.loads(line)["key"]).removesuffix(project.encode()) for line in lines]
    assert keys
    for key in keys:
        found = key_versions(key, KNOWN)
        assert version in found
        assert found <= ({3} if version == 3 else {1, 2})
        assert not key_versions(key + b"my_", KNOWN), "a project whose name ends the same"
        assert not key_versions(key[:-1], KNOWN)


def test_version_1_packs_integers_into_four_bytes() -> None:
    for version in (1, 2):
        key = entity_key_header(["driver_id"], version) + key_value_encoder(ValueType.INT64, version)(7)
        assert key_versions(key, KNOWN) == {version}
    text = entity_key_header(["zone"], 2) + key_value_encoder(ValueType.STRING, 2)("a")
    assert key_versions(text, KNOWN) == {1, 2}, "only integers differ"


@pytest.mark.parametrize("key", [b"", b"\0\0\0\0", b"session:1", b"\xff" * 40, b"\1\0\0\0", b"\1\0\0\0" * 5])
def test_other_keys(key: bytes) -> None:
    assert not key_versions(key, KNOWN)
