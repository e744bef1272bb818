"""Causes that Feast's own writes do not leave behind, judged from evidence that is made here: bytes in, a cause out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.diagnosis.test_question import question
from yummy_fast.diagnosis.causes import Elsewhere, Evidence, Explanation, Neighbours, judge, span
from yummy_fast.diagnosis.question import KeyPart, entity_key
from yummy_fast.diagnosis.report import explanation_lines, key_text
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.stores.looks import StoredHash

NOW = datetime(2026, 3, 20, tzinfo=UTC)
STAMP = Timestamp(seconds=int((NOW - timedelta(hours=1)).timestamp())).SerializeToString()
TRIPS = feature_field("stats", "trips")
ROW = {timestamp_field("stats"): STAMP, TRIPS: Value(int64_val=11).SerializeToString()}


def evidence(row: dict[bytes, bytes] | None, **more: Any) -> Evidence:
    stored = None if row is None else StoredHash(row, len(row), encoding="listpack")
    made = Evidence(question("sound"), "redis", "redis:6379", 0, {0: 5}, 0, stored)
    return replace(made, **more)


def neighbours(**more: Any) -> Neighbours:
    return replace(Neighbours(10, True, 10, 10, 10, 0, ("rides",)), **more)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({}, "present"),
        ({TRIPS: b"\xff\xff"}, "corrupt"),
        ({timestamp_field("stats"): b"\xff"}, "corrupt"),
        ({TRIPS: b""}, "stored_null"),
        ({TRIPS: Value(string_val="11").SerializeToString()}, "value_type"),
        ({TRIPS: None}, "added_feature"),
        ({timestamp_field("stats"): None, timestamp_field("stats_v2"): STAMP}, "view_version"),
    ],
)
def test_a_row(change: dict[bytes, bytes | None], cause: str) -> None:
    row = {field: value for field, value in {**ROW, **change}.items() if value is not None}
    assert judge(evidence(row), NOW).name == cause


def test_a_disabled_view() -> None:
    asked = question("sound")
    disabled = replace(asked, view=replace(asked.view, disabled=True))
    assert judge(evidence(ROW, question=disabled), NOW).name == "disabled"


def test_an_age_at_the_ttl() -> None:
    asked = question("sound")
    for ttl_s, cause in ((3_600.0, "present"), (3_599.0, "expired")):
        limited = replace(asked, view=replace(asked.view, ttl_s=ttl_s))
        registry = replace(asked.registry, views={"stats": limited.view})
        assert judge(evidence(ROW, question=replace(limited, registry=registry)), NOW).name == cause


@pytest.mark.parametrize(
    ("sample", "cause"),
    [
        (None, "wrong_redis"),
        (neighbours(keys=0), "wrong_redis"),
        (neighbours(of_project=0, projects=("staging",)), "wrong_redis"),
        (neighbours(with_view=0), "never_materialized"),
        (neighbours(with_view=0, shapes=("city_id (INT64)",)), "join_keys"),
        (neighbours(expiring=1), "redis_expiry"),
        (neighbours(), "unknown_entity"),
    ],
)
def test_no_row(sample: Neighbours | None, cause: str) -> None:
    found = judge(evidence(None, neighbours=sample), NOW)
    assert found.name == cause
    assert found.sentence.endswith(".")


def test_a_view_that_was_materialized_and_has_no_row_here() -> None:
    """The registry has an interval of it, so it is not said that it was never materialized."""
    asked = question("sound")
    written = replace(asked, view=replace(asked.view, materialized_until_s=1_772_359_200.0))
    found = judge(evidence(None, question=written, neighbours=neighbours(with_view=0, complete=False)), NOW)
    assert found.name == "rows_missing"
    assert "no row of it in this store (of 10 keys that were looked at)" in found.sentence


def test_a_row_elsewhere_counts_if_the_view_is_in_it() -> None:
    there = Elsewhere("other_project", "staging", 0, has_view=True)
    hollow = Elsewhere("key_version", "2", 0, has_view=False)
    assert judge(evidence(None, elsewhere=(hollow, there)), NOW).name == "other_project"
    assert judge(evidence(None, elsewhere=(hollow,), neighbours=neighbours()), NOW).name == "unknown_entity"
    in_db_3 = replace(evidence(None), elsewhere=(Elsewhere("key_version", "2, driver_id as STRING", 3, has_view=True),))
    assert (
        "in database 3 is under an entity key of serialization version 2, with driver_id"
        in judge(in_db_3, NOW).sentence
    )


def test_join_keys_in_another_order() -> None:
    """Feast sorts them, but a writer of somebody's own may not."""
    from yummy_fast.diagnosis.ideas import ideas

    asked = question("fewer_join_keys")
    city, driver = asked.parts
    assert (city.join_key, driver.join_key) == ("city_id", "driver_id")
    unsorted = entity_key([driver, city], 3) + b"rides"
    (idea,) = [idea for idea in ideas(asked) if idea.key == unsorted]
    assert (idea.cause, idea.words) == ("join_keys", "the order driver_id, city_id")


def test_the_key_as_text() -> None:
    asked = question("sound")
    parts = (KeyPart("a", ValueType.STRING, "x"), KeyPart("b", ValueType.INT64, 1))
    assert key_text(replace(asked, parts=parts)) == (
        '02000000 02000000 01000000 "a" 02000000 01000000 "b" 02000000 01000000 "x" 04000000 08000000 '
        '0100000000000000 "rides"'
    )
    assert key_text(replace(asked, parts=parts[1:], key_version=2)) == (
        '02000000 "b" 04000000 08000000 0100000000000000 "rides"'
    )


@pytest.mark.parametrize("row", [None, {}, ROW, {TRIPS: b"\xff", timestamp_field("other"): b"\xff"}])
def test_the_report_ends_with_the_sentence(row: dict[bytes, bytes] | None) -> None:
    found = evidence(row, elsewhere=(Elsewhere("key_version", "2", 0, has_view=False),), neighbours=neighbours())
    explanation = Explanation(found, judge(found, NOW), NOW)
    for values in (False, True):
        assert explanation_lines(explanation, values=values)[-1] == explanation.cause.sentence


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (90, "90 s"), (300, "5 min"), (10_800, "3 h"), (86_400, "24 h"), (864_000, "10 days")],
)
def test_a_length_of_time(seconds: float, words: str) -> None:
    assert span(seconds) == words
