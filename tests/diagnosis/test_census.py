"""A sample, counted and judged: what Feast's own writes (test_doctor) do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.diagnosis.test_causes import ROW, STAMP, TRIPS
from tests.diagnosis.test_question import question
from yummy_fast.diagnosis import census
from yummy_fast.diagnosis.findings import Finding
from yummy_fast.diagnosis.question import KeyPart, entity_key
from yummy_fast.diagnosis.stored_keys import known_join_keys, read_key
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.feast_format.registry import Registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.stores.looks import StoredHash

NOW = datetime(2026, 3, 20, tzinfo=UTC)
RATING = feature_field("stats", "rating")
WHOLE = {**ROW, RATING: Value(double_val=0.5).SerializeToString()}


def _of(
    registry: Registry,
    hashes: Mapping[bytes, Mapping[bytes, bytes]],
    *,
    strangers: Sequence[bytes] = (),
    encoding: str = "listpack",
    key_version: int = 3,
    strict: bool = False,
) -> list[Finding]:
    known = known_join_keys(registry)
    taken = census.take(
        registry,
        kind="redis",
        versioning=False,
        key_version=key_version,
        keys={key: read_key(key, known) for key in (*hashes, *strangers)},
        hashes=[(key, StoredHash(row, len(row), encoding=encoding)) for key, row in hashes.items()],
        complete=True,
        now=NOW,
    )
    databases = {0: len(hashes)}
    return census.judge(
        taken, registry, key_version=key_version, address="redis:6379", db=0, databases=databases, strict=strict
    )


def findings(
    *rows: dict[bytes, bytes], encoding: str = "listpack", others: int = 0, until_s: float | None = None
) -> list[Finding]:
    """Those about drivers with these hashes, beside keys of other programs."""
    asked = question("sound")
    registry = replace(asked.registry, views={"stats": replace(asked.view, materialized_until_s=until_s)})
    keys = [asked.key[:-13] + number.to_bytes(8, "little") + b"rides" for number in range(len(rows))]
    strangers = [b"session:%d" % number for number in range(others)]
    return _of(registry, dict(zip(keys, rows, strict=True)), strangers=strangers, encoding=encoding)


def test_a_sound_store() -> None:
    assert findings(WHOLE, WHOLE) == []
    assert findings(WHOLE, others=3) == []


@pytest.mark.parametrize(
    ("change", "name", "is_problem"),
    [
        ({TRIPS: b"\xff"}, "corrupt", True),
        ({timestamp_field("stats"): b"\xff"}, "corrupt", True),
        ({TRIPS: Value(int32_val=1).SerializeToString()}, "value_type", True),
        ({TRIPS: b""}, "stored_null", False),
        ({timestamp_field("gone"): STAMP}, "renamed_view", True),
        ({b"gone": b"x" * 1_000}, "unknown_fields", False),
        ({RATING: Value(string_val="x" * 20_000).SerializeToString()}, "big_value", False),
    ],
)
def test_two_of_three_rows(change: dict[bytes, bytes], name: str, is_problem: bool) -> None:
    spoilt = {**WHOLE, **change}
    found = {finding.name: finding for finding in findings(spoilt, WHOLE, spoilt)}
    assert found[name].is_problem is is_problem


def test_a_null_in_every_row_is_a_problem() -> None:
    (found,) = findings({**WHOLE, TRIPS: b""}, {**WHOLE, TRIPS: b""})
    assert (found.name, found.is_problem) == ("stored_null", True)


def test_a_view_that_was_materialized_and_has_no_row_here() -> None:
    (found,) = findings({RATING: b""}, {RATING: b""}, until_s=1_772_359_200.0)
    assert (found.name, found.is_problem) == ("rows_missing", True)
    assert "(of 2 keys; 2 of them are under its join keys)" in found.text


def test_a_join_key_that_views_declare_with_different_types() -> None:
    """With --compat strict each view is read by its own type, so keys of either are right ones."""
    asked = question("sound")
    texts = replace(
        asked.view, name="texts", entity_columns=(replace(asked.view.entity_columns[0], type=ValueType.STRING),)
    )
    registry = replace(asked.registry, views={**asked.registry.views, "texts": texts})
    key = entity_key((KeyPart("driver_id", ValueType.STRING, "a"),), 3) + b"rides"
    assert "join_key_type" in {finding.name for finding in _of(asked.registry, {key: WHOLE})}
    assert "join_key_type" not in {finding.name for finding in _of(registry, {key: WHOLE})}


def test_keys_of_no_join_keys_are_read_where_answers_are_strict() -> None:
    registry = question("sound").registry
    rows = {b"\0\0\0\0rides": WHOLE}
    assert "entityless_push" in {finding.name for finding in _of(registry, rows)}
    assert "entityless_push" not in {finding.name for finding in _of(registry, rows, strict=True)}


@pytest.mark.parametrize(("stored", "configured"), [(2, 3), (1, 3), (2, 1), (1, 2)])
def test_keys_of_another_version(stored: int, configured: int) -> None:
    registry = question("sound").registry
    keys = {entity_key((KeyPart("driver_id", ValueType.INT64, 1),), stored) + b"rides": WHOLE}
    found = [finding for finding in _of(registry, keys, key_version=configured) if finding.name == "key_version"]
    assert len(found) == 1
    assert f"1 of 1 keys have serialization version {stored}, and this repository reads {configured}" in found[0].text
    same = _of(registry, keys, key_version=stored)
    assert "key_version" not in {finding.name for finding in same}


def test_texts_are_the_same_in_versions_1_and_2() -> None:
    registry = question("sound").registry
    keys = {entity_key((KeyPart("driver_id", ValueType.STRING, "a"),), 2) + b"rides": WHOLE}
    for version in (1, 2):
        assert "key_version" not in {finding.name for finding in _of(registry, keys, key_version=version)}
    assert "key_version" in {finding.name for finding in _of(registry, keys)}


def test_short_hash_tables() -> None:
    (found,) = findings(WHOLE, encoding="hashtable")
    assert (found.name, found.is_problem) == ("hashtable", False)


def test_a_store_of_other_programs() -> None:
    (found,) = findings(others=3)
    assert found.name == "wrong_redis"
    assert "none of Feast's" in found.text


def test_a_database_without_keys() -> None:
    """Those of other databases say that db is wrong; without any, that this is another Redis."""

    def judged(databases: Mapping[int, int]) -> Finding:
        (found,) = census.judge(
            census.Census(0, complete=True),
            question("sound").registry,
            key_version=3,
            address="redis:6379",
            db=1,
            databases=databases,
            strict=False,
        )
        return found

    other = judged({0: 7, 1: 5, 3: 2})
    assert (other.name, other.is_problem) == ("other_db", True)
    assert "database 1 of redis:6379 is empty, and there are keys in 0 (7 keys), 3 (2 keys): db in" in other.text
    nothing = judged({1: 0})
    assert (nothing.name, nothing.is_problem) == ("wrong_redis", True)
    assert nothing.text.startswith("redis:6379 has no keys at all: ")


def test_keys_of_join_keys_that_no_view_has() -> None:
    registry = question("sound").registry
    key = entity_key((KeyPart("city_id", ValueType.INT64, 1),), 3) + b"rides"
    found = {finding.name: finding for finding in _of(registry, {key: {}})}
    assert found["join_keys"].is_problem
    assert found["join_keys"].text.startswith(
        "1 of 1 keys have the join keys city_id, which no view of the registry has"
    )
