"""A sample, counted and judged: what Feast's own writes (test_doctor) do not show."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.diagnosis.test_causes import ROW, STAMP, TRIPS
from tests.diagnosis.test_question import question
from yummy_fast.diagnosis import census
from yummy_fast.diagnosis.census import Finding
from yummy_fast.diagnosis.ideas import read_key
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.stores.looks import StoredHash

NOW = datetime(2026, 3, 20, tzinfo=UTC)
RATING = feature_field("stats", "rating")
WHOLE = {**ROW, RATING: Value(double_val=0.5).SerializeToString()}


def findings(*rows: dict[bytes, bytes], encoding: str = "listpack", others: int = 0) -> list[Finding]:
    """Those about drivers with these hashes, beside keys of other programs."""
    asked = question("sound")
    keys = [asked.key[:-13] + number.to_bytes(8, "little") + b"rides" for number in range(len(rows))]
    strangers = [b"session:%d" % number for number in range(others)]
    taken = census.take(
        asked.registry,
        versioning=False,
        key_version=3,
        keys={key: read_key(key) for key in (*keys, *strangers)},
        hashes=[(key, StoredHash(row, len(row), encoding=encoding)) for key, row in zip(keys, rows, strict=True)],
        complete=True,
        now=NOW,
    )
    return census.judge(taken, asked.registry, key_version=3, address="redis:6379", db=0, databases={0: len(keys)})


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


def test_short_hash_tables() -> None:
    (found,) = findings(WHOLE, encoding="hashtable")
    assert (found.name, found.is_problem) == ("hashtable", False)


def test_a_store_of_other_programs() -> None:
    (found,) = findings(others=3)
    assert found.name == "wrong_redis"
    assert "none of Feast's" in found.sentence
