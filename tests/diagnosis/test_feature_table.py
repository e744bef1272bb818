"""`get`: from the words of the command line to a request, and from an answer to lines."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from yummy_fast.diagnosis.feature_table import as_json, request_of, rows_of, table_rows
from yummy_fast.errors import RequestError

NOW = datetime(2026, 3, 20, tzinfo=UTC)
EPOCH = "1970-01-01T00:00:00Z"
ANSWER = {  # the shape is Feast's: docs/compatibility.md
    "metadata": {"feature_names": ["driver_id", "trips", "city"]},
    "results": [
        {"values": [1, 2], "statuses": ["PRESENT"] * 2, "event_timestamps": [EPOCH] * 2},
        {
            "values": [11, None],
            "statuses": ["PRESENT", "NOT_FOUND"],
            "event_timestamps": ["2026-03-19T23:00:00.5Z", EPOCH],
        },
        {"values": ["x" * 100, None], "statuses": ["PRESENT", "NULL_VALUE"], "event_timestamps": [EPOCH, EPOCH]},
    ],
}


def test_two_values_of_a_join_key_are_two_rows() -> None:
    asked = request_of(["driver_id=1", "driver_id=2"], ["stats:trips"], "", full_feature_names=True)
    assert asked == {
        "entities": {"driver_id": ["1", "2"]},
        "features": ["stats:trips"],
        "full_feature_names": True,
    }
    assert request_of([], [], "svc", full_feature_names=False)["feature_service"] == "svc"


@pytest.mark.parametrize("pairs", [["driver_id"], ["=1"]])
def test_what_is_no_pair(pairs: list[str]) -> None:
    with pytest.raises(RequestError, match="expected JOIN_KEY=VALUE"):
        request_of(pairs, ["a:b"], "", full_feature_names=False)


def test_lines() -> None:
    rows = rows_of(ANSWER, {"entities": {"driver_id": ["1", "2"]}}, NOW)
    assert table_rows(rows) == [
        ("driver_id", "feature", "value", "status", "event time", "age"),
        ("1", "trips", "11", "PRESENT", "2026-03-19T23:00:00.5Z", "60 min"),
        ("1", "city", "x" * 57 + "...", "PRESENT", "", ""),
        ("2", "trips", "null", "NOT_FOUND", "", ""),
        ("2", "city", "null", "NULL_VALUE", "", ""),
    ]
    assert as_json(rows)[1] == {
        "entities": {"driver_id": 2},
        "features": {
            "trips": {"value": None, "status": "NOT_FOUND", "event_time": None, "age_s": None},
            "city": {"value": None, "status": "NULL_VALUE", "event_time": None, "age_s": None},
        },
    }


def test_a_column_that_nobody_knows_is_not_answered_and_no_entity() -> None:
    """An entity that is unknown to the project vanishes from the answer, as in Feast: the first column is a feature."""
    answer = {
        "metadata": {"feature_names": ["trips"]},
        "results": [{"values": [11], "statuses": ["PRESENT"], "event_timestamps": ["2026-03-19T23:00:00Z"]}],
    }
    for asked in ({"feature_service": "svc"}, {"features": ["stats:trips"]}):
        (row,) = rows_of(answer, {"entities": {"unknown": ["1"]}, **asked}, NOW)
        assert (row.entities, row.cells[0].feature) == ({}, "trips")
