"""Which version wrote a key: keys that Feast wrote, and what is none."""

from __future__ import annotations

import json

import pytest

from tests.diagnosis.repositories import WRITTEN
from tests.harness import CORPUS
from yummy_fast.diagnosis.stored_keys import StoredKey, read_entity_key, read_key
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
        found = read_entity_key(key, KNOWN)
        assert found is not None
        assert version in found.versions
        assert found.versions <= ({3} if version == 3 else {1, 2})
        assert not read_entity_key(key + b"my_", KNOWN), "a project whose name ends the same"
        assert not read_entity_key(key[:-1], KNOWN)
        assert read_key(key + project.encode(), KNOWN) == found._replace(project=project)
        assert read_key(key + b"my_" + project.encode(), KNOWN) == found._replace(project=f"my_{project}")
        assert read_key(key, KNOWN) is None, "in Redis, a project follows"


def test_version_1_packs_integers_into_four_bytes() -> None:
    for version in (1, 2):
        key = entity_key_header(["driver_id"], version) + key_value_encoder(ValueType.INT64, version)(7)
        seven = b"\7" + bytes(3 if version == 1 else 7)
        assert read_entity_key(key, KNOWN) == StoredKey(("driver_id",), ("INT64",), "", frozenset((version,)), (seven,))
    text = entity_key_header(["zone"], 2) + key_value_encoder(ValueType.STRING, 2)("a")
    found = read_entity_key(text, KNOWN)
    assert found is not None
    assert found.versions == {1, 2}, "only integers differ"


def test_the_key_of_no_join_keys_that_a_push_of_feast_makes() -> None:
    assert read_entity_key(b"\0\0\0\0") == StoredKey((), (), "", frozenset((3,)))
    assert read_key(b"\0\0\0\0rides") == StoredKey((), (), "rides", frozenset((3,)))


@pytest.mark.parametrize("project", ["1st", "z\u00fcrich", "with-hyphen", "_x"])
def test_names_that_feast_takes_for_projects(project: str) -> None:
    found = read_key(b"\0\0\0\0" + project.encode())
    assert found is not None
    assert found.project == project


@pytest.mark.parametrize("key", [b"", b"session:1", b"\xff" * 40, b"\1\0\0\0", b"\1\0\0\0" * 5])
def test_other_keys(key: bytes) -> None:
    assert not read_entity_key(key, KNOWN)
    assert not read_key(key, KNOWN)
    assert not read_key(key + b"rides", KNOWN)
