"""Tables, explanations and samples as lines: columns are aligned in a terminal, whatever is in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from tests.diagnosis.test_causes import NOW, ROW, STAMP, TRIPS, evidence, neighbours
from tests.diagnosis.test_question import question
from yummy_fast.diagnosis.causes import Cause, Elsewhere, Explanation
from yummy_fast.diagnosis.census import Census, ViewCount
from yummy_fast.diagnosis.report import explanation_lines, sample_lines, table_lines
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.stores.looks import StoredHash


def test_numbers_are_aligned_to_the_right() -> None:
    assert table_lines([("driver", "trips"), ("a", "5"), ("bcd", "120")]) == [
        "driver  trips",
        "------  -----",
        "a           5",
        "bcd       120",
    ]


def test_wide_letters_take_two_columns_and_accents_none() -> None:
    """東京 takes four columns; e and U+0301 take one."""
    assert table_lines([("city", "n"), ("東京", "1"), ("Cafe\u0301", "2")]) == [
        "city  n",
        "----  -",
        "東京  1",
        "Cafe\u0301  2",
    ]


def test_a_value_stays_in_its_line_and_says_nothing_to_the_terminal() -> None:
    assert table_lines([("value",), ("a\nb\x1b[2Jc",)])[2] == "a\\nb\\x1b[2Jc"


WHOLE_VIEW = replace(question("sound"), features=question("sound").view.features)


def explained(row: StoredHash | None, *, values: bool = False, **more: Any) -> list[str]:
    found = replace(evidence(None, **{"question": WHOLE_VIEW, **more}), row=row)
    return explanation_lines(Explanation(found, Cause("any", "The sentence."), NOW), values=values)


HEAD = [
    "question   stats: trips, rating; for driver_id=1001 (INT64)",
    'key        01000000 02000000 09000000 "driver_id" 04000000 08000000 e903000000000000 "rides"',
    "           an entity key of serialization version 3, then the project",
    "store      redis:6379, database 0",
]
TRIPS_FIELD, RATING_FIELD = TRIPS.hex(), feature_field("stats", "rating").hex()


def test_an_explanation_of_nothing() -> None:
    assert explained(None) == [*HEAD, "found      nothing under this key", "", "The sentence."]


def test_an_explanation_of_something_that_is_no_hash() -> None:
    assert explained(StoredHash({}, 0, kind="string")) == [
        *HEAD,
        "found      a string under this key",
        "",
        "feature  field     stored as  declared as  state",
        "-------  --------  ---------  -----------  ------",
        f"trips    {TRIPS_FIELD}  -          int64        absent",
        f"rating   {RATING_FIELD}  -          double       absent",
        "",
        "The sentence.",
    ]


def test_an_explanation_of_a_row() -> None:
    """An hour old; beside it a row of a view that the registry does not have, and one that does not decode."""
    fields = {**ROW, timestamp_field("gone"): STAMP, timestamp_field("odd"): b"\xff"}
    stored = StoredHash(fields, 4, expires_s=7_200, encoding="listpack")
    asked = WHOLE_VIEW
    limited = replace(asked.view, ttl_s=60.0)
    expiring = replace(asked, view=limited, registry=replace(asked.registry, views={"stats": limited}))
    assert explained(stored, question=expiring)[4:-2] == [
        "found      a hash of 4 fields (listpack); Redis removes it in 2 h",
        "",
        "view in the hash  event time            age     ttl   note",
        "----------------  --------------------  ------  ----  -------------------",
        "gone              2026-03-19T23:00:00Z  60 min  none  not in the registry",
        "odd               not a timestamp                     not in the registry",
        "stats             2026-03-19T23:00:00Z  60 min  60 s  older than its ttl",
        "",
        "feature  field     stored as  declared as  state",
        "-------  --------  ---------  -----------  -------",
        f"trips    {TRIPS_FIELD}  int64      int64        present",
        f"rating   {RATING_FIELD}  -          double       absent",
    ]


def test_values_are_in_an_explanation_only_if_they_are_wanted() -> None:
    stored = StoredHash({**ROW, TRIPS: Value(string_val="s3cret").SerializeToString()}, 2, encoding="listpack")
    assert not any("s3cret" in line for line in explained(stored))
    (line,) = [line for line in explained(stored, values=True) if "s3cret" in line]
    assert line.split() == ["trips", TRIPS_FIELD, "string", "int64", "present", '"s3cret"']


def test_what_is_elsewhere() -> None:
    elsewhere = (
        Elsewhere("key_version", "2", 0, has_view=False),
        Elsewhere("other_db", "database 3", 3, has_view=True),
    )
    sample = neighbours(keys=90, complete=False, of_project=20, of_join_keys=10, with_view=3)
    assert explained(None, elsewhere=elsewhere, neighbours=sample)[5:] == [
        "",
        "elsewhere    database  differs by  row of the view",
        "-----------  --------  ----------  ---------------",
        "key version         0           2  no",
        "other db            3  database 3  yes",
        "",
        "keys that were looked at: 90; of project rides: 20; under these join keys: 10, with a row of the view: 3",
        "",
        "The sentence.",
    ]
    assert explained(None, neighbours=neighbours())[-3].startswith("all keys of the database: 10; ")


def test_a_sample() -> None:
    """Of four keys of two projects, and two that are not Feast's; a tenth of the bytes is of no known field."""
    count = ViewCount(keys=4, rows=3, expired=1, ages_s=[30.0, 7_200.0, 90.0])
    census = Census(
        *(6, False),
        hashes=3,
        foreign=2,
        projects=Counter(rides=3, staging=1),
        encodings=Counter(listpack=1, hashtable=2),
        fields=[9, 2, 4],
        total_bytes=1_000,
        unknown_bytes=100,
        views={"stats": count, "empty": ViewCount()},
    )
    assert sample_lines(census, 0.25) == [
        "sample     keys that were looked at: 6, in 0.2 s; hashes read: 3",
        "projects   rides 3, staging 1; keys that are not Feast's: 2",
        "hashes     hashtable 2, listpack 1; 4 fields in the middle, 9 at most; 90 % of the bytes are in the registry",
        "",
        "view   keys  rows  found  median age  expired",
        "-----  ----  ----  -----  ----------  -------",
        "empty     0     0  -      -                 0",
        "stats     4     3  75 %   90 s              1",
    ]


def test_a_sample_of_nothing() -> None:
    assert sample_lines(Census(0, True), 0.04) == [
        "sample     all keys: 0, in 0.0 s; hashes read: 0",
        "projects   none; keys that are not Feast's: 0",
    ]
