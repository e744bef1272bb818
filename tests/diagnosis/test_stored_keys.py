"""Which version wrote a key: keys that Feast wrote, and what is none."""

from __future__ import annotations

import json

import pytest

from tests.diagnosis.repositories import WRITTEN
from tests.harness import CORPUS
from tests.registries import PROJECT, entity, parsed, view
from yummy_fast.diagnosis.stored_keys import StoredKey, known_join_keys, read_entity_key, read_key
from yummy_fast.feast_format._proto import registry_pb2 as messages
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


def test_values_and_types_of_several_join_keys() -> None:
    """Also of no bytes at all, at the end of the key."""
    types = (ValueType.INT64, ValueType.STRING)
    values = [key_value_encoder(types[0], 3)(258), key_value_encoder(types[1], 3)("")]
    for version in (2, 3):
        key = entity_key_header(["a", "b"], version) + b"".join(values)
        expected = StoredKey(("a", "b"), ("INT64", "STRING"), "", frozenset((version,)), (b"\2\1" + bytes(6), b""))
        assert read_entity_key(key, [("a", "b")]) == expected
        assert read_key(key + b"rides", [("a", "b")]) == expected._replace(project="rides")


def test_a_key_with_integers_of_both_sizes_is_none_of_version_1() -> None:
    """An INT64 takes 4 bytes there, all of them."""
    eight, four = key_value_encoder(ValueType.INT64, 2)(7), key_value_encoder(ValueType.INT64, 1)(7)
    for values, version in ((four + four, 1), (eight + four, 2), (eight + eight, 2)):
        found = read_entity_key(entity_key_header(["a", "b"], 2) + values, [("a", "b")])
        assert found is not None
        assert found.versions == {version}


def test_a_hundred_join_keys_are_read_and_more_are_not() -> None:
    """No registry has as many. What is no key may begin with any number, and is not read for as long."""
    for count in (100, 101):
        names = [f"k{number:03}" for number in range(count)]
        key = entity_key_header(names, 3) + key_value_encoder(ValueType.STRING, 3)("x") * count
        found = read_entity_key(key)
        assert (found.join_keys if found else None) == (tuple(names) if count == 100 else None)


def test_types_that_no_key_has() -> None:
    """A DOUBLE as a value; a BYTES as the name of a join key."""
    header = entity_key_header(["driver_id"], 3)
    value = key_value_encoder(ValueType.INT64, 3)(7)
    assert read_entity_key(header + value) is not None
    assert read_entity_key(header + int(ValueType.DOUBLE).to_bytes(4, "little") + value[4:]) is None
    assert read_entity_key(header[:4] + int(ValueType.BYTES).to_bytes(4, "little") + header[8:] + value) is None
    assert read_entity_key(header.replace(b"driver_id", b"driver_\xff\xff") + value) is None


def test_join_keys_of_a_registry() -> None:
    """Each set once, sorted, in the order of the views; of on-demand views none."""
    views = [
        view("v", ["zone", "driver"], {}, {"f": ValueType.INT64}),
        view("w", ["driver", "zone"], {}, {"f": ValueType.INT64}),
        view("x", ["driver"], {}, {"f": ValueType.INT64}),
        view("y", ["driver", "gone"], {}, {"f": ValueType.INT64}),
    ]
    computed = messages.OnDemandFeatureView(spec=messages.OnDemandFeatureViewSpec(name="c", project=PROJECT))
    registry = parsed(entity("driver", "driver_id"), entity("zone", "a_zone"), *views, computed)
    assert known_join_keys(registry) == [("a_zone", "driver_id"), ("driver_id",)]
